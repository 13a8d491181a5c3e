"""One enactor's hand on one zone: it takes the lock, and every batch that it commits begins with it."""

from enactor.lock import ZoneLock, lock_key
from fencepost.batch import Change, ChangeBatch
from fencepost.control import ControlApi
from fencepost.errors import FencepostError, InvalidChangeBatch, OutcomeUnknown
from fencepost.events import Events
from fencepost.names import lock_name
from fencepost.records import RecordSet
from fencepost.stores import Commit


class ZoneHand:
    """The lock of one zone and the batches under it, shared by both protocols."""

    def __init__(self, api: ControlApi, lock: ZoneLock, events: Events) -> None:
        self._api, self._lock, self._events = api, lock, events
        self.zone = lock.zone
        self.streak = 0
        self._existing: RecordSet | None = None
        self._reached = False

    @property
    def holds(self) -> bool:
        """Whether the lock is ours as far as we know."""
        return self._lock.held is not None

    async def read_lock(self) -> RecordSet | None:
        """Read the lock record."""
        key = lock_key(self.zone)
        return (await self._api.read(self.zone, [key])).records.get(key)

    async def try_lock(self, existing: RecordSet | None) -> bool:
        """Try once to take the lock, given the record as it was read; an unknown outcome counts as not taken."""
        if not self.reach(existing):
            return False
        try:
            await self.commit(None, "lock taken")
        except InvalidChangeBatch:
            return False
        return True

    def reach(self, existing: RecordSet | None) -> bool:
        """Say whether the lock is ours or free, given the record as it was read: then the next batch takes it along."""
        self._existing, self._reached = existing, self.holds or self._lock.may_take(existing)
        return self._reached or self._missed(f"held by {existing.text}" if existing else "")

    async def commit(self, generation: int | None, comment: str, *changes: Change, last: bool = False) -> Commit:
        """Commit changes behind the lock, which is taken if it is only within reach, and given back with the `last`.

        With both in one batch a lock that has expired still is taken, since it cannot be deleted twice: it stays ours.

        Raises: ChangeRefused, StoreError; after both the lock may be gone.
        """
        takes, gives = not self.holds, last and (self.holds or self._existing is None)
        assert self.holds or self._reached, f"the lock of {self.zone} is out of reach"
        if takes:
            begin = self._lock.passing() if gives else self._lock.taking(self._existing)
        else:
            begin = self._lock.releasing() if gives else self._lock.renewing()
        try:
            commit = await self._api.change(ChangeBatch(self.zone, (*begin, *changes), generation, comment))
        except InvalidChangeBatch as error:
            if error.concerns(lock_name(self.zone)):
                self._lose(generation, error)
            raise
        except OutcomeUnknown:
            self._reached = False
            self._lock.unknown()
            raise
        (self._lock.lost if gives else self._lock.committed)()
        self._reached = False
        if takes:
            self._events.emit("enactor.lock_acquired", zone=self.zone, streak=self.streak)
            self.streak = 0
        return commit

    def _lose(self, generation: int | None, error: InvalidChangeBatch) -> None:
        self._reached = False
        if not self.holds:
            self._missed("somebody else was first")
            return
        self._lock.lost()
        self._events.emit("enactor.lock_lost", zone=self.zone, generation=generation, reason=str(error))

    async def keep(self) -> None:
        """Renew the lock where it would not outlast a longer wait. Raises: as `commit`."""
        if self._lock.ages:
            await self.commit(None, "lock kept")

    async def release(self) -> None:
        """Give the lock back if it is ours; a lock that could not be given back expires."""
        if not self.holds:
            return
        try:
            await self._api.change(ChangeBatch(self.zone, self._lock.releasing(), comment="lock released"))
            self._lock.lost()
        except OutcomeUnknown:
            self._lock.unknown()
        except FencepostError as error:
            self._lock.lost()
            self._events.emit("enactor.lock_lost", zone=self.zone, reason=str(error))

    def _missed(self, reason: str) -> bool:
        self.streak += 1
        self._events.emit("enactor.lock_missed", zone=self.zone, reason=reason, streak=self.streak)
        return False
