"""What planner, enactors and `fencepost status` say while something is wrong."""

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fencepost.exit_codes import EXIT_USAGE
from lab.drills.observations import Told
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
            state = await stage.state("planner")
            for kind in ("limited", "held"):
                self.hear("planner", state.get(kind) or {})
            for report in (await stage.stores.plans.reports()).values():
                self.hear("planner" if report.role == "planner" else "enactors", report.held)
            await stage.clock.sleep(LISTEN_S)

    def sentences(self) -> tuple[Told, ...]:
        """Return all that was heard, in order of who said it of which endpoint."""
        return tuple(self.told[key] for key in sorted(self.told))


async def status_line(stage: Stage) -> str | None:
    """Return the first line of what `fencepost status` prints, None if there is no such command."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        env={**os.environ, **dict(_environment(stage))},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(STATUS_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        return f"no answer within {STATUS_TIMEOUT_S:g} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == EXIT_USAGE:
        return None
    return next(iter(output.decode("utf-8", "replace").splitlines()), "")


def _environment(stage: Stage) -> Iterator[tuple[str, str]]:
    settings = stage.stores.settings
    yield "FENCEPOST_REDIS_URL", settings.redis_url
    yield "FENCEPOST_PORT_BASE", str(settings.port_base)
    yield "FENCEPOST_PROFILE", settings.profile
    if settings.region_file is not None:
        yield "FENCEPOST_REGION_FILE", str(settings.region_file.resolve())
