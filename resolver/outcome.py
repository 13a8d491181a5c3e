"""What the metrics count of prepared answers."""

from collections import Counter
from typing import Final, NamedTuple

import dns.rcode


class Outcome(NamedTuple):
    """What the metrics count of an answer: its code, and the zone and type of an empty one."""

    rcode: dns.rcode.Rcode
    empty: tuple[str, str] | None = None


ANSWERED: Final = Outcome(dns.rcode.NOERROR)
"""What is counted by a plain number."""


class Counted:
    """Chooses the only tail of an answer that the metrics tell apart."""

    def __init__(self, outcome: Outcome, counts: Counter[Outcome]) -> None:
        self._outcome, self._counts = outcome, counts

    def __getitem__(self, number: int) -> int:
        self._counts[self._outcome] += 1
        return 0
