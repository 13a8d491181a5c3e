"""How much capacity an endpoint had lately: what velocity control compares with. Pure.

The zone itself carries it, in the record `_capacity.<zone>`, moved by compare-and-swap in the same batch as the flip:
so it holds for all enactors together, and outlives each of them. Capacity is the sum of an address type's weights.
"""

import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from fencepost.errors import ControlRecordInvalid
from fencepost.names import capacity_name
from fencepost.plan import Content
from fencepost.records import ADDRESS_TYPES, RecordKey, RecordSet, txt

MAX_SAMPLES: Final = 8
"""Samples that one TXT string holds for certain: 255 characters, at most 29 a sample."""

MAX_SKEW_S: Final = 300
"""By how much a writer's clock may be ahead: a sample from further in the future says nothing, and is dropped."""

_SAMPLE: Final = re.compile(r"^([0-9]{1,10}):([0-9]{1,8})/([0-9]{1,8})$", re.ASCII)

Capacity = tuple[int, int]
"""The weights of A and of AAAA, each summed up."""

NOTHING: Final[Capacity] = (0, 0)


class Sample(NamedTuple):
    """From `since_s` (epoch seconds) until the next sample, no type had more than `capacity`."""

    since_s: int
    capacity: Capacity


class CapacityHistory(NamedTuple):
    """Samples in order of time; the last one is what is live, and since when at the latest.

    Invariant: the highest capacity within the window that it was noted with is never understated. It is overstated by
    at most a second at the window's edge; by more only where more samples competed than `MAX_SAMPLES`, until those that
    were joined for that are out of the window.
    """

    samples: tuple[Sample, ...] = ()

    def highest(self, now_s: float, window_s: float) -> Capacity:
        """Return the most that each type had within the last `window_s` seconds; nothing if nothing is known."""
        if len(self.samples) == 1:  # as it is with most endpoints at most times
            return self.samples[0].capacity if self.samples[0].since_s <= now_s + MAX_SKEW_S else NOTHING
        return _most(sample.capacity for sample in _reaching(self.believed(now_s).samples, now_s - window_s))

    def noted(self, now_s: float, capacity: Capacity, window_s: float) -> "CapacityHistory":
        """Return the history with what is live from now on; samples that no window can ask for any more are left out.

        Time that goes backwards counts as standing still, up to `MAX_SKEW_S`.
        """
        believed = self.believed(now_s).samples
        second = max([math.floor(now_s), *(sample.since_s - 1 for sample in believed[-1:])])
        earlier = [sample for sample in believed if sample.since_s < second]
        # Whatever was live at some time within this second: what it began with, and each thing noted in it.
        within = believed[len(earlier) :]
        begun_with = earlier[-1:] if not within or within[0].since_s > second else []
        most = _most([*(sample.capacity for sample in (*begun_with, *within)), capacity])
        samples = [*earlier, Sample(second, most), Sample(second + 1, capacity)]
        return CapacityHistory(tuple(_merged(_reaching(samples, now_s - window_s))))

    def believed(self, now_s: float) -> "CapacityHistory":
        """Return the history without samples from so far ahead that only a wrong clock can have written them."""
        return CapacityHistory(tuple(sample for sample in self.samples if sample.since_s <= now_s + MAX_SKEW_S))

    def record(self, zone: str) -> RecordSet:
        """Return the TXT record that says it."""
        words = (f"{sample.since_s}:{sample.capacity[0]}/{sample.capacity[1]}" for sample in self.samples)
        return txt(capacity_name(zone), " ".join(words))

    @classmethod
    def parse(cls, zone: str, record_set: RecordSet) -> "CapacityHistory":
        """Read the TXT record. Raises: ControlRecordInvalid if it is no such history."""
        text = " ".join(record_set.values).strip('"')
        matches = [_SAMPLE.match(word) for word in text.split(" ")]
        if not all(matches):
            raise ControlRecordInvalid(zone, record_set.name, text)
        return cls(tuple(Sample(int(m[1]), (int(m[2]), int(m[3]))) for m in matches if m))


# One endpoint is judged by several rules, one after the other: each content is looked through once for all of them.
@lru_cache(maxsize=256)
def capacity_of(content: Content | None) -> Capacity:
    """Return the capacity of a content; nothing for None."""
    if content is None:
        return NOTHING
    a, aaaa = (sum(t.weight for t in content.targets if t.type == kind) for kind in ADDRESS_TYPES)
    return a, aaaa


@lru_cache(maxsize=4_096)
def capacity_key(zone: str) -> RecordKey:
    """Return where a zone's history of its capacity is found."""
    return RecordKey(capacity_name(zone), "TXT")


def _reaching(samples: Sequence[Sample], start_s: float) -> list[Sample]:
    """Return the samples that were in force at some time from an instant on; the last one always is."""
    ends_s = [*(sample.since_s for sample in samples[1:]), math.inf]
    return [sample for sample, end_s in zip(samples, ends_s, strict=False) if end_s >= start_s]


def _merged(samples: list[Sample]) -> list[Sample]:
    """Join each sample that a later one covers, which changes no answer, and the oldest where too many are left.

    A window that reaches back to a sample has every later one in it, so the lower of the two is never the highest.
    """
    joined: list[Sample] = []
    for sample in samples:
        since_s = sample.since_s
        while joined and _most([joined[-1].capacity, sample.capacity]) == sample.capacity:
            since_s = joined.pop().since_s
        joined.append(Sample(since_s, sample.capacity))
    while len(joined) > MAX_SAMPLES:
        first, second, *rest = joined
        joined = [Sample(first.since_s, _most([first.capacity, second.capacity])), *rest]
    return joined


def _most(found: Iterable[Capacity]) -> Capacity:
    each = list(found)
    return max((a for a, _ in each), default=0), max((aaaa for _, aaaa in each), default=0)
