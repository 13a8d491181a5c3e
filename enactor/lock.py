"""A zone's lock: a TXT record with its holder and when it expires, taken and kept by compare-and-swap.

Source: the enactors' lock as told in AWS's talk DAT453 (re:Invent 2025): every batch begins with a DELETE of the lock
exactly as the holder knows it and a CREATE with a new time, so that it fails as a whole if somebody else took it.
"""

import math
import re
from functools import lru_cache
from typing import Final

from fencepost.batch import Change, create, delete, swap
from fencepost.clock import Clock
from fencepost.errors import ControlRecordInvalid
from fencepost.names import lock_name
from fencepost.records import RecordKey, RecordSet, txt

LOCK: Final = re.compile(r"^\S+ ([0-9]{1,15}(?:\.[0-9]+)?)$", re.ASCII)


@lru_cache(maxsize=4_096)
def lock_key(zone: str) -> RecordKey:
    """Return where a zone's lock is found."""
    return RecordKey(lock_name(zone), "TXT")


class ZoneLock:
    """One zone's lock as one enactor knows it.

    Invariant: `held` is exactly the record that this enactor last knew to be in the zone as its own, or None.
    Nothing is trusted but the zone: a batch that begins with `renewing` fails if the record is another one. After a
    write whose outcome is unknown, either of two records may be there and be ours; `may_take` knows both.
    """

    def __init__(self, zone: str, holder: str, ttl_s: float, clock: Clock) -> None:
        self.zone, self.holder = zone, holder
        self.held: RecordSet | None = None
        self._offered: RecordSet | None = None
        self._perhaps: tuple[RecordSet | None, ...] = ()
        self._ttl_s, self._clock = ttl_s, clock

    def may_take(self, existing: RecordSet | None) -> bool:
        """Say whether the lock is free: absent, expired, or ours by a write whose outcome we did not learn.

        Raises: ControlRecordInvalid if it cannot be read.
        """
        if existing is None or existing in self._perhaps:
            return True
        return self._expires_s(existing) < self._clock.epoch_s()

    def taking(self, existing: RecordSet | None) -> tuple[Change, ...]:
        """Return the changes that take a lock which `may_take`."""
        return swap(existing, self._offer())

    def passing(self) -> tuple[Change, ...]:
        """Return the changes that take a lock that nobody has, and give it back: for work of one batch."""
        offered = self._offer()
        return (create(offered), delete(offered))

    def renewing(self) -> tuple[Change, ...]:
        """Return what every batch of the holder begins with."""
        assert self.held is not None, f"{self.holder} does not hold {self.zone}"
        held = self.held
        return (delete(held), create(self._offer()))

    def releasing(self) -> tuple[Change, ...]:
        """Return the change that gives the lock back."""
        assert self.held is not None, f"{self.holder} does not hold {self.zone}"
        return (delete(self.held),)

    @property
    def ages(self) -> bool:
        """Whether half of the time is over for which our lock is good, so that a long wait has to renew it."""
        return self.held is not None and self._expires_s(self.held) - self._clock.epoch_s() < self._ttl_s / 2

    def committed(self) -> None:
        """Note that the batch with the last `taking` or `renewing` is in the zone."""
        self.held, self._perhaps = self._offered, ()

    def lost(self) -> None:
        """Note that the lock is not ours any more."""
        self.held, self._perhaps = None, ()

    def unknown(self) -> None:
        """Note that the last batch may or may not be in the zone."""
        self.held, self._perhaps = None, (self.held, self._offered)

    def _expires_s(self, existing: RecordSet) -> float:
        match = LOCK.match(" ".join(existing.values).strip('"'))
        if match is None:
            raise ControlRecordInvalid(self.zone, existing.name, " ".join(existing.values))
        return float(match[1])

    def _offer(self) -> RecordSet:
        expires_s = math.ceil(self._clock.epoch_s() + self._ttl_s)
        self._offered = txt(lock_name(self.zone), f"{self.holder} {expires_s}")
        return self._offered
