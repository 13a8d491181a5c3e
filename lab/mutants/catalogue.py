"""The catalogue of small faults: what each one is in the world, where it is planted, and what has to catch it.

It is read in the very process in which a fault is planted, before anything of ours is imported: standard library only.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
"""The checkout: what is tried here needs its tests."""

FAULTS: Final = files("lab.mutants") / "catalogue"
SUBJECTS: Final = ("flip", "tree", "lock", "cleaner", "checks", "zone", "plans")
"""A file each, in the order in which they are told."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One small fault.

    Attributes:
        id: in kebab-case, unique.
        file: where it is planted, from the checkout's root: a module, or a script.
        existing: the text that is there, exactly once.
        planted: what stands for it.
        what: in one line, what it is in the world.
        tests: node ids of the tests of which at least one has to fail; none: no test has to notice.
        explorer: arguments of an exploration that has to find a violation, as typed; "": none has to.
        survives: why nothing notices; "": it has to be caught.
    """

    id: str
    file: str
    existing: str
    planted: str
    what: str
    tests: tuple[str, ...] = ()
    explorer: str = ""
    survives: str = ""

    @property
    def module(self) -> str:
        """The module that has to be imported for the fault to be there: the one that loads scripts, for a script."""
        return "fencepost.redis_client" if self.script else self.file.removesuffix(".py").replace("/", ".")

    @property
    def script(self) -> str | None:
        """The script's name, None if the fault is in a module."""
        return Path(self.file).stem if self.file.endswith(".lua") else None

    def plant(self, text: str) -> str:
        """Return a file's text with the fault in it. Raises: LookupError if it does not fit there exactly once."""
        if (found := text.count(self.existing)) != 1:
            raise LookupError(f"{self.id}: the text that it changes is in {self.file} {found} times, not once")
        return text.replace(self.existing, self.planted)


def load_catalogue() -> dict[str, Mutant]:
    """Return every mutant by its id, in the order in which they are told."""
    found = [mutant for subject in SUBJECTS for mutant in _load(subject)]
    by_id = {mutant.id: mutant for mutant in found}
    assert len(by_id) == len(found), "an id names one mutant"
    return by_id


def _load(subject: str) -> Iterator[Mutant]:
    for entry in tomllib.loads((FAULTS / f"{subject}.toml").read_text("utf-8"))["mutant"]:
        yield _mutant(entry)


def _mutant(entry: Mapping[str, Any]) -> Mutant:
    return Mutant(**{**entry, "tests": tuple(entry.get("tests", ()))})
