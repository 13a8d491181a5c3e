"""Figures of a benchmark: ours and its peers', measured in turn, with their spread, in whatever unit it measures."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

import msgspec
from rich.table import Table


class Unit(msgspec.Struct, frozen=True):
    """What figures count.

    Attributes:
        key: the last part of a key in JSON, as `s` in `runs_s`.
        words: what stands behind a figure.
        more_is_better: whether a larger figure is the better one.
        digits: behind the point, for people.
    """

    key: str
    words: str
    more_is_better: bool = False
    digits: int = 3

    def text(self, value: float) -> str:
        """Return a figure for people."""
        return f"{value:,.{self.digits}f} {self.words}"

    @property
    def better(self) -> str:
        """Which ratio, ours / theirs, is good for us."""
        return f"{'above' if self.more_is_better else 'below'} 1: ours is better"


SECONDS: Final = Unit("s", "s")
MILLISECONDS: Final = Unit("ms", "ms")
PER_SECOND: Final = Unit("per_s", "/s", more_is_better=True, digits=0)


class Spread(msgspec.Struct, frozen=True):
    """What one side came to in each round that counts; at least one."""

    runs: tuple[float, ...]
    unit: Unit = SECONDS

    @property
    def median(self) -> float:
        """The middle one, which a single disturbed round does not move."""
        return median(self.runs)

    @property
    def least(self) -> float:
        """The smallest of all rounds."""
        return min(self.runs)

    @property
    def most(self) -> float:
        """The largest of all rounds."""
        return max(self.runs)

    def ratio(self, other: "Spread") -> float | None:
        """Return this / other, by their medians; None where the other's is 0."""
        return self.median / other.median if other.median else None


def document(bench: str, ours: Spread | None, peers: Mapping[str, Spread], **more: Any) -> dict[str, Any]:
    """Return a result for programs: medians and ratios (ours / theirs), then whatever this benchmark has besides.

    Raises nothing: a peer whose median is 0 has the ratio None, and so has every peer if ours has no figure.
    """
    sides = {"ours": ours, **peers} if ours else dict(peers)
    units = {spread.unit.key for spread in sides.values()}
    assert len(units) == 1, f"figures of {sorted(units)} are not compared"
    return {
        "bench": bench,
        "ours": round(ours.median, 6) if ours else None,
        "peers": {name: round(peer.median, 6) for name, peer in peers.items()},
        "ratios": {name: _rounded(ours.ratio(peer) if ours else None) for name, peer in peers.items()},
        f"runs_{units.pop()}": {name: list(spread.runs) for name, spread in sides.items()},
        **more,
    }


def _rounded(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, 4)


def table(rows: Sequence[tuple[str, Spread]], *, title: str, ours: Spread | None = None) -> Table:
    """Return figures for people; with `ours` each row says ours / theirs, too, but for ours itself."""
    shown = Table(title=title, title_justify="left")
    for heading in ("", *HEADINGS, *(("ours / theirs",) if ours else ())):
        shown.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, spread in rows:
        shown.add_row(name, *cells(spread), *((ratio_text(ours, spread),) if ours else ()))
    return shown


HEADINGS: Final = ("median", "least", "most")


def cells(spread: Spread) -> tuple[str, ...]:
    """Return a side's figures as `HEADINGS` has them, for people."""
    return tuple(spread.unit.text(value) for value in (spread.median, spread.least, spread.most))


def ratio_text(ours: Spread, theirs: Spread) -> str:
    """Return ours / theirs for people: "" for ours itself, "-" where there is none."""
    if ours is theirs:
        return ""
    ratio = ours.ratio(theirs)
    return "-" if ratio is None else f"{ratio:.2f}"
