"""What real processes have sent to real zones, sent again to the small server: does it answer as the real one did?"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fencepost.batch import Action, ChangeBatch
from fencepost.errors import ChangeRefused, FailedChange, InvalidChangeBatch
from fencepost.redis_zones import RedisZoneStore
from fencepost.stores import Actor, Commit, ZoneStore
from lab.history import History
from lab.simulation.direct import DirectClient
from lab.simulation.server import Server


class Refusal(NamedTuple):
    """How a batch was refused: the error's name, what it says, and every failing change if it has such."""

    error: str
    text: str
    failed: tuple[FailedChange, ...] = ()

    @classmethod
    def of(cls, error: ChangeRefused) -> "Refusal":
        """Return what an error says."""
        failed = error.failed if isinstance(error, InvalidChangeBatch) else ()
        return cls(type(error).__name__, str(error), failed)


class Sent(NamedTuple):
    """One batch that reached a zone, and what the real server made of it.

    `creates` is true for a zone's first batch, which `create_zone` writes.
    """

    actor: Actor
    batch: ChangeBatch
    creates: bool
    outcome: Commit | Refusal


class Mismatch(NamedTuple):
    """A batch that the small server answers in another way than the real one did."""

    sent: Sent
    replayed: Commit | Refusal

    @property
    def told(self) -> str:
        """What was expected and what came, in one sentence."""
        batch = self.sent.batch
        what = f"{batch.zone}: {self.sent.actor.name}'s batch {batch.comment!r} of {len(batch.changes)} changes"
        return f"{what}: the real server {_told(self.sent.outcome)}, the small one {_told(self.replayed)}"


class Replayed(NamedTuple):
    """How a replay went: so many batches had the same outcome, until the first that had not (None: all had)."""

    matched: int
    first: Mismatch | None

    @property
    def told(self) -> str:
        """How it went, in one sentence."""
        if self.first is None:
            return f"{self.matched:,} batches of real processes, each committed here with the same serial and time"
        return f"{self.matched:,} batches had the same outcome here; then not: {self.first.told}"


def sent_in(history: History) -> Iterator[Sent]:
    """Yield every batch of a recorded run as it was committed, oldest first: refused ones are in no history."""
    commits = (commit for zone in sorted(history.commits) for commit in history.commits[zone])
    for commit in sorted(commits, key=lambda commit: (commit.at_us, commit.zone, commit.serial)):
        batch = ChangeBatch(commit.zone, commit.changes, commit.generation, commit.comment)
        yield Sent(commit.actor, batch, commit.serial == 1, commit)


async def replay_history(history: History) -> Replayed:
    """Send every committed batch of a recorded run to a small server; each must be committed with the same serial."""
    return await replay_batches(sent_in(history))


async def replay_batches(batches: Iterable[Sent]) -> Replayed:
    """Send batches in the order in which the real server executed them, until one has another outcome.

    The small server's clock stands where the real one's stood at each commit, so that even the time is the same.
    """
    server, matched = Server(), 0
    for sent in batches:
        if isinstance(sent.outcome, Commit):
            server.now_us = sent.outcome.at_us
        replayed = await _send(RedisZoneStore(DirectClient(server), sent.actor), sent)  # type: ignore[arg-type]  # it has what the adapter calls
        if replayed != sent.outcome:
            return Replayed(matched, Mismatch(sent, replayed))
        matched += 1
    return Replayed(matched, None)


async def _send(store: ZoneStore, sent: Sent) -> Commit | Refusal:
    try:
        return await (_create(store, sent.batch) if sent.creates else store.change(sent.batch))
    except ChangeRefused as error:
        return Refusal.of(error)


async def _create(store: ZoneStore, batch: ChangeBatch) -> Commit | Refusal:
    assert all(change.action is Action.CREATE for change in batch.changes), batch
    if not await store.create_zone(batch.zone, [change.record_set for change in batch.changes]):
        return Refusal("ZoneExists", f"{batch.zone} exists")
    (commit,) = await store.commits(batch.zone, 0, 1)
    return commit


def _told(outcome: Commit | Refusal) -> str:
    if isinstance(outcome, Commit):
        return f"committed it as {outcome.serial}"
    return f"refused it ({outcome.text})"
