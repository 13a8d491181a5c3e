"""What the resolver knows of one zone's history, and what follows from it: a state machine without I/O and clock."""

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from fencepost.feed import FeedPage, Since
from fencepost.slices import Look, no_look
from fencepost.stores import Commit, Position
from resolver.zone import ZoneImage, image_of

AT_ONCE: Final = 200
"""How much is applied in one go, in changes: less than 0.1 ms; a larger commit is one all the same."""
COMMIT_COST: Final = 100
"""What a commit costs besides its changes, as so many of them: answers of it are dropped, and it is told."""


class Pending(NamedTuple):
    """A commit that the data plane has, but does not answer with before `due_s`, seconds on the monotonic clock."""

    due_s: float
    commit: Commit


class Track:
    """One zone as it is followed.

    Invariant: once loaded, the image and the pending commits together are the zone at the serial of `head`, without a
    gap; pending commits become visible in order, none overtakes another. The image is only ever moved on by the next
    commit, or replaced whole: whatever happens to the store, there is a last good state to answer with.

    Attributes:
        zone: the zone's name.
        image: what is answered; None until the zone has been read once.
        head: the last commit taken; None until the zone has been read once.
        reload: why the zone must be read whole, in words; None while following suffices.
        is_damaged: whether the store was last found to have the zone damaged; it must be read whole then.
    """

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self.image: ZoneImage | None = None
        self.head: Position | None = None
        self.reload: str | None = "it was not read yet"
        self.is_damaged = False
        self.pending: deque[Pending] = deque()

    def loaded(self, image: ZoneImage, head: Position) -> None:
        """Take a state that was read whole; it is visible at once, and what was pending is part of it."""
        assert image.serial == head.serial, (image.serial, head)
        self.image, self.head, self.reload, self.is_damaged = image, head, None, False
        self.pending.clear()

    def check(self, oldest: Position | None) -> str | None:
        """Compare the head with what the store has in its place; return what is wrong, None if nothing is.

        A store that failed over may have forgotten its last commits and put others in their places, so that serials
        alone prove nothing; the commit time tells the two apart.

        Args:
            oldest: the oldest commit that the store keeps from the head's serial on; None if there is none.
        """
        if self.head is None or self.reload is not None:
            return None
        serial, at_us = self.head
        if oldest is None:
            return self._wants_reload(f"the store went back: it has no commit {serial}, which is served here")
        if oldest.serial != serial:
            return self._wants_reload(f"commit {serial} is no longer kept, the oldest is {oldest.serial}")
        if oldest.at_us != at_us:
            return self._wants_reload(f"the store went back: commit {serial} is another one than the one served here")
        return None

    def gone(self) -> str | None:
        """Note that the store has no such zone; return that as a problem if it had one before."""
        if self.head is None or self.reload is not None:
            return None
        return self._wants_reload("the store does not have the zone any more; its last good state is served")

    def damaged(self, problem: str) -> str | None:
        """Note that the store has the zone damaged; return that as a problem if it is news since it was last read."""
        if self.is_damaged:
            return None
        self.is_damaged = True
        return self._wants_reload(problem)

    def take(self, commit: Commit, now_s: float, delay_s: float) -> str | None:
        """Take the next commit, to be visible after `delay_s`; return what is wrong if it is not the next one.

        The caller has checked the head by the very reading that brought the commit; else a commit of another history
        could come in under the right number.
        """
        if self.head is None or self.reload is not None or commit.serial <= self.head.serial:
            return None
        if commit.serial != self.head.serial + 1:
            return self._wants_reload(f"commits {self.head.serial + 1} to {commit.serial - 1} are missing")
        self.head = Position(commit.serial, commit.at_us)
        due_s = max(now_s + delay_s, self.pending[-1].due_s if self.pending else now_s)
        self.pending.append(Pending(due_s, commit))
        return None

    def is_due(self, now_s: float) -> bool:
        """Say whether there is a commit to be made visible."""
        return bool(self.pending) and self.pending[0].due_s <= now_s

    def release(self, now_s: float, most: int = AT_ONCE, look: Look = no_look) -> list[Commit]:
        """Make commits that are due visible, and return them in order: until they cost `most`, or all.

        `look` is called between two parts of a long one, while no image is to be used.
        """
        released: list[Commit] = []
        while self.is_due(now_s) and most > 0:
            assert self.image is not None, "commits are taken only after the zone was read"
            commit = self.pending.popleft().commit
            self.image = self.image.apply(commit, look)
            released.append(commit)
            most -= cost(commit)
        return released

    def _wants_reload(self, problem: str) -> str:
        self.reload = problem
        return problem


def cost(commit: Commit) -> int:
    """Return what it costs to make a commit visible, in changes."""
    return len(commit.changes) + COMMIT_COST


def assemble(zone: str, pages: Sequence[FeedPage], history: Since) -> tuple[ZoneImage, Position] | None:
    """Return a zone's state from a listing and the history beside it; None if both must be read again.

    Args:
        zone: the zone's name.
        pages: one listing, in order.
        history: what came since the first page's serial, read after the pages.
    Returns: the image and the position of its last commit. None if the store went back meanwhile, or the history does
        not reach from the first page's serial to the last one's without a gap.
    """
    serials = [page.head.serial for page in pages]
    if history.oldest is None or serials != sorted(serials):
        return None
    known = (history.oldest, *(Position(commit.serial, commit.at_us) for commit in history.commits))
    times = {position.serial: position.at_us for position in known}
    if list(times) != list(range(serials[0], serials[0] + len(known))) or serials[-1] not in times:
        return None
    if any(page.head.at_us not in {0, times[page.head.serial]} for page in pages):
        return None
    image = image_of(zone, pages)
    for commit in history.commits:
        image = image.apply(commit)
    return image, known[-1]


def visible_after_s(commit: Commit, propagation_s: float, epoch_s: float) -> float:
    """Return how long after its arrival a commit becomes visible, so that it is visible `propagation_s` after its time.

    Commit times are the store's, `epoch_s` is ours: clocks that disagree cannot make it take longer than from now on.
    """
    return min(propagation_s, max(0.0, commit.at_us / 1_000_000 + propagation_s - epoch_s))
