"""A failing schedule as a small file: what `fencepost replay` needs to make the same happen again, and to know it."""

from pathlib import Path
from typing import Any, Final

import msgspec

from fencepost.errors import StartupError, UsageError
from fencepost.guards import parse_guards
from lab.invariants import Violation
from lab.simulation.choice import Choice
from lab.simulation.scenario import NAMES, Scenario, Scene
from lab.simulation.story import Story

FORMAT: Final = 1
"""The version of the file's format; another one is refused."""

MOST_BYTES: Final = 16 * 1024 * 1024
"""A larger file is none of ours."""


class Saved(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is saved of a failure.

    Attributes:
        wanted: what it breaks, as numbers of invariants: the failure is still there if all of these are broken.
        choices: the schedule.
        found: all that was broken, in the checker's words.
        digest: see `Story.digest`.
    """

    format: int
    scenario: Scenario
    wanted: tuple[str, ...]
    choices: tuple[Choice, ...]
    found: tuple[Violation, ...]
    digest: str

    @classmethod
    def of(cls, story: Story) -> "Saved":
        """Return what is saved of a story."""
        return cls(
            format=FORMAT,
            scenario=story.scenario,
            wanted=story.wanted,
            choices=story.trace,
            found=story.violations,
            digest=story.digest,
        )


class NotSaved(UsageError):
    """A file does not hold a failing schedule; the message says what is wrong and what to do."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}; name a file that `fencepost explore --save FILE` has written")
        self.path, self.problem = path, problem


def save(path: Path, story: Story) -> None:
    """Write a failure into a file. Raises: StartupError if that cannot be."""
    write_text(path, _text(Saved.of(story)))


def write_text(path: Path, text: str) -> None:
    """Write a file that was asked for. Raises: StartupError if that cannot be."""
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise StartupError(f"{path}: {error.strerror}; name a file that can be written") from error


def _text(saved: Saved) -> str:
    """Return a file's text: one line for each choice, and every option, as its default may be another one some day."""
    fields = msgspec.structs.asdict(saved) | {"scenario": msgspec.structs.asdict(saved.scenario)}
    return "{\n" + ",\n".join(f'"{name}": {_value(value)}' for name, value in fields.items()) + "\n}\n"


def _value(value: Any) -> str:
    lines = (msgspec.json.encode(item).decode() for item in value) if isinstance(value, tuple) else None
    return msgspec.json.encode(value).decode() if lines is None else "[\n " + ",\n ".join(lines) + "\n]"


def load(path: Path) -> Saved:
    """Read a failure from a file. Raises: NotSaved."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise NotSaved(path, error.strerror or str(error)) from error
    if len(text) > MOST_BYTES:
        raise NotSaved(path, f"is larger than {MOST_BYTES} bytes")
    try:
        raw = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotSaved(path, f"is no JSON object: {error}") from error
    if raw.get("format") != FORMAT:
        raise NotSaved(path, f"has format {raw.get('format')!r}, this version reads {FORMAT}")
    try:
        saved = msgspec.convert(raw, Saved)
    except msgspec.ValidationError as error:
        raise NotSaved(path, f"is not a saved failure: {error}") from error
    if problem := _problem(saved, raw["scenario"]):
        raise NotSaved(path, problem)
    return saved


def _problem(saved: Saved, scenario: dict[str, Any]) -> str:
    """Return what is wrong with a file that has the right shape, "" if nothing is."""
    given = saved.scenario
    if unknown := sorted(scenario.keys() - set(Scenario.__struct_fields__)):
        return f"its scenario has {', '.join(unknown)}, which this version does not know"
    if min(given.enactors, given.generations, given.rounds) < 1 or not 1 <= given.endpoints <= len(NAMES):
        return "its scenario has no enactor, endpoint or plan, or too many endpoints"
    if given.balancers < 2:  # noqa: PLR2004  -- one may be taken out, and one has to stay
        return "its scenario has fewer than 2 load balancers"
    try:
        parse_guards(given.without)
        Scene(given).enactor_settings  # noqa: B018  -- worked out to see whether it can be
    except (UsageError, ValueError) as error:
        return f"its scenario cannot be: {error}"
    found = {violation.invariant for violation in saved.found}
    return "" if saved.wanted and found.issuperset(saved.wanted) else "what it says is broken was not found to be"
