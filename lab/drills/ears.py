"""What planner, enactors and `fencepost status` say while something is wrong."""

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from fencepost.alarms import Alarm
from lab.drills.observations import Blamed, Status, Told
from lab.drills.stage import Stage

LISTEN_S: Final = 0.1
STATUS_TIMEOUT_S: Final = 20.0
COMMAND: Final = (sys.executable, "-P", "-c", "from fencepost.cli import main; main()", "status")


@dataclass(slots=True)
class Ears:
    """Hear what is said of some endpoints: the first sentence that the planner, and the enactors, say of each."""

    concerned: frozenset[str]
    told: dict[tuple[str, str], Told] = field(default_factory=dict)

    def hear(self, by: str, sentences: Mapping[str, Any]) -> None:
        """Take what somebody says: endpoint -> sentence."""
        for endpoint, sentence in sentences.items():
            if endpoint in self.concerned:
                self.told.setdefault((by, endpoint), Told(by, endpoint, str(sentence)))

    async def listen(self, stage: Stage) -> None:
        """Listen until cancelled: to /state of the planner, and to everybody's reports in the plan store."""
        while True:
            for by, sentences in await complaints(stage):
                self.hear(by, sentences)
            await stage.clock.sleep(LISTEN_S)

    def sentences(self) -> tuple[Told, ...]:
        """Return all that was heard, in order of who said it of which endpoint."""
        return tuple(self.told[key] for key in sorted(self.told))


async def complaints(stage: Stage) -> list[tuple[str, Mapping[str, Any]]]:
    """Return who complains now, and what of which endpoint: by the planner's /state, and by everybody's reports."""
    state = await stage.state("planner")
    reports = (await stage.stores.plans.reports()).values()
    said = [("planner", state.get(kind) or {}) for kind in ("limited", "held")]
    return said + [("planner" if report.role == "planner" else "enactors", report.held) for report in reports]


async def ask_status(stage: Stage) -> Status:
    """Return what `fencepost status` says, by its `--json`; one that says nothing in time is a problem."""
    path = stage.system.run_dir / "status.json"
    path.unlink(missing_ok=True)
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "--json",
        str(path),
        env={**os.environ, **dict(_environment(stage))},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(STATUS_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        return Status(problem=f"no answer within {STATUS_TIMEOUT_S:g} s")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return status_of(path.read_bytes() if path.exists() else b"", lines)


class _Document(msgspec.Struct):
    """What the drill needs of what `fencepost status --json` writes."""

    alarm: Alarm | None


def status_of(document: bytes, lines: Sequence[str]) -> Status:
    """Return what `fencepost status` says, by what it wrote as JSON, b"" for nothing, and the lines that it printed."""
    try:
        alarm = msgspec.json.decode(document, type=_Document).alarm
    except msgspec.DecodeError as error:
        return Status(problem=f"it wrote no alarm as JSON ({error}); it said: {lines[-1] if lines else 'nothing'}")
    found = (alarm.primary, *alarm.also) if alarm else ()
    blamed = tuple(Blamed(finding.cause, finding.endpoints) for finding in found)
    return Status(line=lines[0] if lines else "", blamed=blamed)


def _environment(stage: Stage) -> Iterator[tuple[str, str]]:
    settings = stage.stores.settings
    yield "FENCEPOST_REDIS_URL", settings.redis_url
    yield "FENCEPOST_PORT_BASE", str(settings.port_base)
    yield "FENCEPOST_PROFILE", settings.profile
    if settings.region_file is not None:
        yield "FENCEPOST_REGION_FILE", str(settings.region_file.resolve())
