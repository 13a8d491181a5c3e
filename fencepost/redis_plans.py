"""Plans in Redis: numbered and kept as what each one changed; contents are kept once."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from fencepost.errors import EndpointPinned, PlanConflict, PlanNotFound, PlansFrozen, StoreUnavailable
from fencepost.notice import Notice
from fencepost.plan import (
    Contents,
    Draft,
    Forced,
    KeptContent,
    Lane,
    Plan,
    PlanSummary,
    digest,
    encode_content,
)
from fencepost.redis_client import Argument, Scripts, reading
from fencepost.redis_pipe import PipedRedis
from fencepost.stores import Controls, Report

HEAD: Final = "{plans}:head"
CURRENT: Final = "{plans}:current"
LOG: Final = "{plans}:log"
CONTENTS: Final = "{plans}:contents"
REFERENCES: Final = "{plans}:references"
REQUESTS: Final = "{plans}:requests"
FORCED: Final = "{plans}:forced"
PINS: Final = "{plans}:pins"
FROZEN: Final = "{plans}:frozen"
REPORTS: Final = "{plans}:reports"

MAX_WAIT_S: Final = 2.0
"""Longest wait of one `wait` call: well below the client's time-out for an answer."""

SCRIPTS: Final = ("publish_plan", "read_plan", "set_report", "read_reports", "read_controls")
"""What services run, all the time; the others are an operator's."""

PUBLISH_KEYS: Final = (HEAD, CURRENT, LOG, CONTENTS, REFERENCES, FORCED, PINS, FROZEN)
READ_KEYS: Final = (HEAD, CURRENT, LOG, FORCED, CONTENTS)


class RedisPlanStore:
    """The `PlanStore` port over Redis or Valkey >= 6.2.

    Args:
        client: a client that does not retry; closed by `close`.
        replicas: how many replicas must have a plan before it counts as published.
        keep: how many plans are kept as history, at least.
    """

    def __init__(self, client: PipedRedis, *, replicas: int = 0, keep: int = 10_000) -> None:
        self._client, self._keep = client, keep
        self._scripts = Scripts(client, replicas)

    async def prepare(self) -> None:
        """Connect, and load scripts; see `PlanStore.prepare`."""
        await self._scripts.prepare(SCRIPTS)

    async def publish(self, draft: Draft, *, expected: int, floor: int = 0) -> int:
        """Publish a plan; see `PlanStore.publish`."""
        head, *rest = await self._scripts.write("publish_plan", PUBLISH_KEYS, self._arguments(draft, expected, floor))
        if head == b"frozen":
            raise PlansFrozen(Notice.parse(rest[0].decode()).told)
        if head == b"pinned":
            raise EndpointPinned(rest[0].decode(), Notice.parse(rest[1].decode()).told)
        if head == b"conflict":
            raise PlanConflict(expected=expected, latest=rest[0])
        return int(rest[0])

    def _arguments(self, draft: Draft, expected: int, floor: int) -> list[Argument]:
        flags = (draft.by, int(draft.operator), int(draft.force), draft.pin.text if draft.pin else "")
        arguments: list[Argument] = [expected, floor, draft.lane.value, draft.reason, self._keep, *flags]
        for endpoint, content in sorted(draft.changes.items()):
            arguments += [endpoint, "", ""] if content is None else [endpoint, digest(content), encode_content(content)]
        return arguments

    async def latest_generation(self) -> int:
        """Return the latest generation; see `PlanStore.latest_generation`."""
        with reading():
            return int(await self._client.hget(HEAD, "generation") or 0)

    async def wait(self, generation: int, wait_s: float) -> int:
        """Wait for a newer plan; see `PlanStore.wait`."""
        block_ms = max(1, round(min(wait_s, MAX_WAIT_S) * 1000))
        with reading():
            reply: Any = await self._client.xread({LOG: f"{generation}-0"}, count=1, block=block_ms)
        return int(reply[0][1][0][0].partition(b"-")[0]) if reply else generation

    async def latest(self, known: Plan | None = None) -> Plan | None:
        """Return the latest plan; see `PlanStore.latest`."""
        if known and known.contents.damaged:  # somebody may have repaired the store
            known.contents.renew(await self._read(sorted(known.contents.damaged)))
        generation, published = (known.generation, known.published_ms) if known else (0, "")
        kind, *rest = await self._scripts.read("read_plan", READ_KEYS, (generation, published, "since"))
        if kind == b"none":
            return None
        number, published_ms, lane, reason, raised = rest[0]
        head = PlanSummary(int(number), int(published_ms), Lane(lane.decode()), reason.decode(), {})
        if kind == b"delta":
            assert known is not None, "only a known plan can have a delta"
            if not rest[1]:
                return known
            _, entries, marks, brought = rest
            standing = _Standing(dict(known.digests), dict(known.since))
            for entry in entries:
                standing.go_on(_summary(*entry))
            if int(raised) > known.generation:
                standing.raise_to(int(raised))
        else:
            _, current, _, marks = rest
            brought = []
            standing = _Standing.of(current, head.generation)
            # What the reader knows was lost: it may be about to be installed by others who know it, too.
            standing.raise_to(head.generation if kind == b"lost" else int(raised))
        have = _kept([key.decode() for key in brought[::2]], brought[1::2])
        if known:
            have |= known.contents.kept
        return await self._plan(head, standing, have, _forced(marks, head.generation))

    async def get(self, generation: int) -> Plan:
        """Return an earlier plan; see `PlanStore.get`."""
        head, *rest = await self._scripts.read("read_plan", READ_KEYS, (generation, "", "back"))
        if head == b"none":
            raise PlanNotFound(generation, oldest=0, latest=0)
        if head == b"missing":
            raise PlanNotFound(generation, oldest=int(rest[0].partition(b"-")[0]), latest=int(rest[1]))
        standing = _Standing.of(rest[1], generation)
        standing.raise_to(int(rest[0][-1]))
        for entry in reversed(rest[2]):
            standing.go_back(_summary(*entry))
        standing.lower_to(generation)
        (summary,) = await self.history(limit=1, before=generation + 1)
        return await self._plan(summary, standing, {}, _forced(rest[-1], generation))

    async def history(self, limit: int = 20, before: int | None = None) -> tuple[PlanSummary, ...]:
        """Return summaries of plans; see `PlanStore.history`."""
        newest = "+" if before is None else f"({before}-0"
        with reading():
            entries: Any = await self._client.xrevrange(LOG, newest, "-", count=limit)
        flat = ((entry_id, [part for pair in fields.items() for part in pair]) for entry_id, fields in entries)
        return tuple(_summary(entry_id, fields) for entry_id, fields in flat)

    async def contents(self, digests: Sequence[str]) -> Contents:
        """Return contents by their digests; see `PlanStore.contents`."""
        return Contents(await self._read(digests))

    async def _read(self, digests: Sequence[str]) -> dict[str, KeptContent]:
        if not digests:
            return {}
        with reading():
            texts: Any = await self._client.hmget(CONTENTS, list(digests))
        return _kept(digests, texts)

    async def requests(self) -> Mapping[str, str]:
        """Return the operator requests in force; see `PlanStore.requests`."""
        with reading():
            found: Any = await self._client.hgetall(REQUESTS)
        return {key.decode(): value.decode() for key, value in sorted(found.items())}

    async def set_requests(self, changes: Mapping[str, str | None]) -> None:
        """Put requests in force or end them; see `PlanStore.set_requests`."""
        arguments = [part for key, value in sorted(changes.items()) for part in (key, value or "")]
        await self._scripts.write("set_requests", (REQUESTS,), arguments)

    async def controls(self) -> Controls:
        """Return freeze and pins; see `PlanStore.controls`."""
        frozen, *pins = await self._scripts.read("read_controls", (FROZEN, PINS), ())
        return Controls(Notice.parse(frozen.decode()) if frozen else None, _notices(pins))

    async def freeze(self, notice: Notice) -> None:
        """Let only operators publish; see `PlanStore.freeze`."""
        await self._scripts.write("set_frozen", (FROZEN,), (notice.text,))

    async def thaw(self) -> Notice | None:
        """Let everybody publish; see `PlanStore.thaw`."""
        before = await self._scripts.write("set_frozen", (FROZEN,), ("",))
        return Notice.parse(before.decode()) if before else None

    async def unpin(self, endpoints: Sequence[str]) -> Mapping[str, Notice]:
        """End pins; see `PlanStore.unpin`."""
        return _notices(await self._scripts.write("unpin", (PINS,), list(endpoints)))

    async def report(self, name: str, report: Report) -> None:
        """Leave word; see `PlanStore.report`."""
        await self._scripts.write("set_report", (REPORTS,), (name, msgspec.json.encode(report)))

    async def reports(self) -> Mapping[str, Report]:
        """Read every process's word; see `PlanStore.reports`."""
        now_ms, *flat = await self._scripts.read("read_reports", (REPORTS,), ())
        said = (_report(name, text, int(now_ms)) for name, text in zip(flat[::2], flat[1::2], strict=True))
        return dict(sorted(filter(None, said)))

    async def close(self) -> None:
        """Close the client."""
        await self._client.aclose()

    async def _plan(
        self, summary: PlanSummary, standing: "_Standing", have: dict[str, KeptContent], forced: Mapping[str, Forced]
    ) -> Plan:
        """Return a plan, whose contents are read as far as they are not in `have`."""
        generation, wanted = summary.generation, set(standing.digests.values())
        for digest_of in have.keys() - wanted:
            del have[digest_of]
        have |= await self._read(sorted(wanted - have.keys()))
        if lost := sorted(wanted - have.keys()):
            raise StoreUnavailable(f"plan {generation}: contents {', '.join(lost)} are gone; a newer plan replaced it")
        return Plan(
            generation,
            summary.published_ms,
            summary.lane,
            summary.reason,
            standing.in_order(),
            Contents(have),
            forced,
            standing.since,
        )


def digest_in(text: bytes) -> bytes:
    """Return the digest in what `CURRENT` has for an endpoint: "digest generation"."""
    return text.partition(b" ")[0]


class _Standing:
    """What each endpoint has at a generation, and since when: moved on and back by what plans have changed."""

    def __init__(self, digests: dict[str, str], since: dict[str, int]) -> None:
        self.digests, self.since = digests, since

    @classmethod
    def of(cls, flat: Sequence[bytes], generation: int) -> "_Standing":
        """Read what the store has; who wrote before it kept generations counts as having written the given one."""
        digests, since = {}, {}
        for endpoint, text in _pairs(flat).items():
            digests[endpoint], _, number = text.partition(" ")
            since[endpoint] = int(number) if number else generation
        return cls(digests, since)

    def go_on(self, plan: PlanSummary) -> None:
        """Move on to the next plan."""
        for endpoint, (_, after) in plan.changed.items():
            self._put(endpoint, after, plan.generation)

    def go_back(self, plan: PlanSummary) -> None:
        """Move back to the plan before; since when its endpoints had that is not known, so they count as just moved."""
        for endpoint, (before, _) in plan.changed.items():
            self._put(endpoint, before, plan.generation)

    def _put(self, endpoint: str, digest_of: str | None, generation: int) -> None:
        if digest_of is None:
            self.digests.pop(endpoint, None)
            self.since.pop(endpoint, None)
        else:
            self.digests[endpoint], self.since[endpoint] = digest_of, generation

    def in_order(self) -> dict[str, str]:
        """Return the digests in order of their endpoints' names."""
        names = list(self.digests)
        in_order = sorted(names)  # as they are already, but for endpoints that have come
        return self.digests if names == in_order else {name: self.digests[name] for name in in_order}

    def raise_to(self, generation: int) -> None:
        """Let no endpoint have its content since before a generation."""
        self.since = {endpoint: max(since, generation) for endpoint, since in self.since.items()}

    def lower_to(self, generation: int) -> None:
        """Let no endpoint have its content since after a generation."""
        self.since = {endpoint: min(since, generation) for endpoint, since in self.since.items()}


def _notices(flat: Sequence[bytes]) -> dict[str, Notice]:
    return {endpoint: Notice.parse(text) for endpoint, text in sorted(_pairs(flat).items())}


def _report(name: bytes, text: bytes, now_ms: int) -> tuple[str, Report] | None:
    """Return who said what, None if it cannot be read: one of another version must not stop the others."""
    at_ms, _, words = text.partition(b" ")
    try:
        said = msgspec.json.decode(words, type=Report)
        return name.decode(), msgspec.structs.replace(said, age_s=max(0, now_ms - int(at_ms)) / 1000)
    except ValueError:  # msgspec's errors and those of UTF-8 are ValueErrors, too
        return None


def _forced(flat: Sequence[bytes], latest: int) -> dict[str, Forced]:
    """Return the marks that a plan knows of: not those of later ones."""
    found = {}
    for endpoint, text in sorted(_pairs(flat).items()):
        generation, digest_of, by = text.split(" ", 2)
        if int(generation) <= latest:
            found[endpoint] = Forced(int(generation), digest_of, by)
    return found


def _kept(digests: Sequence[str], texts: Sequence[bytes | None]) -> dict[str, KeptContent]:
    return {key: KeptContent(key, text) for key, text in zip(digests, texts, strict=True) if text is not None}


def _pairs(flat: Sequence[bytes]) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in zip(flat[::2], flat[1::2], strict=True)}


def _summary(entry_id: bytes, flat: Sequence[bytes]) -> PlanSummary:
    fields = _pairs(flat)
    changed = {}
    for line in filter(None, fields["changes"].split("\n")):
        endpoint, before, after = line.split(" ")
        changed[endpoint] = (None if before == "-" else before, None if after == "-" else after)
    number = int(entry_id.partition(b"-")[0])
    return PlanSummary(
        number,
        int(fields["at_ms"]),
        Lane(fields["lane"]),
        fields["reason"],
        changed,
        fields["by"],
        fields["operator"] == "1",
        fields["force"] == "1",
    )
