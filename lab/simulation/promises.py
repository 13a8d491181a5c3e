"""What an operator was told, and relies on: that all is frozen, that an endpoint stays as it was rolled back to.

The zones' own records say the same; but what counts is what a person knows when a command has returned.
Source: docs/invariants.md, I9.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from fencepost.plan import Content, digest
from fencepost.stores import Commit
from lab.invariants.violation import Violation

PLANS: Final = "plans"
"""Stands for the plan store among what is frozen."""


@dataclass(slots=True)
class Promises:
    """What one operator relies on just now.

    Attributes:
        frozen: the zones, and `PLANS`, whose freeze has returned, and whose thaw was not called yet.
        planned: endpoint -> what the latest plan has for it for as long as it is pinned.
        live: endpoint -> what it answers for as long as it is pinned: what a rollback has made of it.
    """

    frozen: set[str] = field(default_factory=set)
    planned: dict[str, Content] = field(default_factory=dict)
    live: dict[str, Content] = field(default_factory=dict)

    def forget(self, endpoint: str) -> None:
        """Rely no longer on what an endpoint is held at."""
        self.planned.pop(endpoint, None)
        self.live.pop(endpoint, None)

    def broken_by_commit(self, commit: Commit, difference: Callable[[Content], str | None]) -> Iterator[Violation]:
        """Yield what an automation's commit breaks; `difference` says how its zone now differs from a content."""
        where = (commit.zone, commit.at_us, commit.serial)
        if commit.zone in self.frozen:
            yield _broken(*where, f"{commit.actor.name} committed serial {commit.serial} after freeze had returned")
        wanted = self.live.get(commit.zone)
        if wanted is not None and (problem := difference(wanted)):
            yield _broken(
                *where, f"{commit.actor.name} moved an endpoint that is held as it was rolled back: {problem}"
            )

    def broken_by_plan(self, by: str, changes: Mapping[str, str], at_us: int) -> Iterator[Violation]:
        """Yield what an automation's plan breaks; `changes`: endpoint -> digest, "" if it leaves the plan."""
        if PLANS in self.frozen:
            yield _broken("", at_us, None, f"{by} published a plan after freeze had returned")
        for endpoint, became in sorted(changes.items()):
            if endpoint in self.planned and digest(self.planned[endpoint]) != became:
                yield _broken(endpoint, at_us, None, f"{by} published another content of an endpoint that is held")


def _broken(endpoint: str, at_us: int, serial: int | None, detail: str) -> Violation:
    return Violation("I9", endpoint, detail, at_us, serial)
