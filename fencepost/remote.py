"""The stores as a process sees them over a link: every call takes its round trip, and may get lost."""

from collections.abc import Mapping, Sequence

from fencepost.batch import ChangeBatch
from fencepost.network import Link
from fencepost.notice import Notice
from fencepost.plan import Contents, Draft, Plan, PlanSummary
from fencepost.records import RecordKey, RecordSet
from fencepost.stores import MAX_PAGE, Commit, Controls, PlanStore, Report, ZonePage, ZoneRead, ZoneStore


class RemoteZoneStore:
    """A `ZoneStore` behind a link. History and feed belong to the data plane, which has delays of its own."""

    def __init__(self, inner: ZoneStore, link: Link) -> None:
        self._inner, self._link = inner, link

    async def prepare(self) -> None:
        """See `ZoneStore.prepare`; no call is made over the link."""
        await self._inner.prepare()

    async def create_zone(self, zone: str, record_sets: Sequence[RecordSet]) -> bool:
        """See `ZoneStore.create_zone`."""
        return await self._link.call(lambda: self._inner.create_zone(zone, record_sets))

    async def read(self, zone: str, keys: Sequence[RecordKey]) -> ZoneRead:
        """See `ZoneStore.read`."""
        return await self._link.call(lambda: self._inner.read(zone, keys))

    async def page(
        self, zone: str, start: RecordKey | None = None, limit: int = MAX_PAGE, *, within: str | None = None
    ) -> ZonePage:
        """See `ZoneStore.page`."""
        return await self._link.call(lambda: self._inner.page(zone, start, limit, within=within))

    async def change(self, batch: ChangeBatch) -> Commit:
        """See `ZoneStore.change`."""
        return await self._link.call(lambda: self._inner.change(batch))

    async def commits(self, zone: str, after_serial: int = 0, limit: int = 1000) -> tuple[Commit, ...]:
        """See `ZoneStore.commits`."""
        return await self._inner.commits(zone, after_serial, limit)

    async def follow(self, positions: Mapping[str, int], wait_s: float) -> tuple[Commit, ...]:
        """See `ZoneStore.follow`."""
        return await self._inner.follow(positions, wait_s)

    async def close(self) -> None:
        """Close the store behind the link."""
        await self._inner.close()


class RemotePlanStore:
    """A `PlanStore` behind a link."""

    def __init__(self, inner: PlanStore, link: Link) -> None:
        self._inner, self._link = inner, link

    async def prepare(self) -> None:
        """See `PlanStore.prepare`; no call is made over the link."""
        await self._inner.prepare()

    async def publish(self, draft: Draft, *, expected: int, floor: int = 0) -> int:
        """See `PlanStore.publish`."""
        return await self._link.call(lambda: self._inner.publish(draft, expected=expected, floor=floor))

    async def latest_generation(self) -> int:
        """See `PlanStore.latest_generation`."""
        return await self._link.call(self._inner.latest_generation)

    async def wait(self, generation: int, wait_s: float) -> int:
        """See `PlanStore.wait`; what it tells of is read over the link."""
        return await self._inner.wait(generation, wait_s)

    async def latest(self, known: Plan | None = None) -> Plan | None:
        """See `PlanStore.latest`."""
        return await self._link.call(lambda: self._inner.latest(known))

    async def get(self, generation: int) -> Plan:
        """See `PlanStore.get`."""
        return await self._link.call(lambda: self._inner.get(generation))

    async def history(self, limit: int = 20, before: int | None = None) -> tuple[PlanSummary, ...]:
        """See `PlanStore.history`."""
        return await self._link.call(lambda: self._inner.history(limit, before))

    async def contents(self, digests: Sequence[str]) -> Contents:
        """See `PlanStore.contents`."""
        return await self._link.call(lambda: self._inner.contents(digests))

    async def requests(self) -> Mapping[str, str]:
        """See `PlanStore.requests`."""
        return await self._link.call(self._inner.requests)

    async def set_requests(self, changes: Mapping[str, str | None]) -> None:
        """See `PlanStore.set_requests`."""
        await self._link.call(lambda: self._inner.set_requests(changes))

    async def controls(self) -> Controls:
        """See `PlanStore.controls`."""
        return await self._link.call(self._inner.controls)

    async def freeze(self, notice: Notice) -> None:
        """See `PlanStore.freeze`."""
        await self._link.call(lambda: self._inner.freeze(notice))

    async def thaw(self) -> Notice | None:
        """See `PlanStore.thaw`."""
        return await self._link.call(self._inner.thaw)

    async def unpin(self, endpoints: Sequence[str]) -> Mapping[str, Notice]:
        """See `PlanStore.unpin`."""
        return await self._link.call(lambda: self._inner.unpin(endpoints))

    async def report(self, name: str, report: Report) -> None:
        """See `PlanStore.report`."""
        await self._link.call(lambda: self._inner.report(name, report))

    async def reports(self) -> Mapping[str, Report]:
        """See `PlanStore.reports`."""
        return await self._link.call(self._inner.reports)

    async def close(self) -> None:
        """Close the store behind the link."""
        await self._inner.close()
