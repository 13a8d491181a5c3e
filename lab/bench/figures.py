"""Figures of a benchmark: ours and a peer's, measured in turn, with their spread."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import msgspec
from rich.table import Table


class Spread(msgspec.Struct, frozen=True):
    """What a program took in each round, in seconds; at least one."""

    runs_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The middle one, which a single disturbed round does not move."""
        return median(self.runs_s)


def document(bench: str, ours: Spread, peers: Mapping[str, Spread], **more: Any) -> dict[str, Any]:
    """Return a result for programs: medians and ratios (ours / theirs), then whatever this benchmark has besides."""
    return {
        "bench": bench,
        "ours": round(ours.median_s, 6),
        "peers": {name: round(peer.median_s, 6) for name, peer in peers.items()},
        "ratios": {name: round(ours.median_s / peer.median_s, 4) for name, peer in peers.items()},
        "runs_s": {"ours": list(ours.runs_s)} | {name: list(peer.runs_s) for name, peer in peers.items()},
        **more,
    }


def table(rows: Sequence[tuple[str, Spread]], *, title: str) -> Table:
    """Return figures for people."""
    shown = Table(title=title, title_justify="left")
    for heading in ("", "median", "least", "most"):
        shown.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, spread in rows:
        least_s, most_s = min(spread.runs_s), max(spread.runs_s)
        shown.add_row(name, *(f"{seconds:.3f} s" for seconds in (spread.median_s, least_s, most_s)))
    return shown
