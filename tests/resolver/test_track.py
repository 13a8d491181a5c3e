"""The state machine behind following a zone: gaps, a store that went back, and order of visibility."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencepost import records
from fencepost.batch import Change, create, upsert
from fencepost.feed import FeedPage, Since
from fencepost.network import PROFILES
from fencepost.stores import Actor, Commit, Position
from resolver.track import COMMIT_COST, Track, assemble, visible_after_s
from resolver.zone import ZoneImage

ZONE = "z.test."


def commit(serial: int, *changes: Change, at_us: int | None = None) -> Commit:
    return Commit(ZONE, serial, serial * 1000 if at_us is None else at_us, Actor("x"), None, "", changes)


def value(number: int) -> Change:
    return upsert(records.txt(f"n.{ZONE}", str(number)))


@pytest.fixture
def track() -> Track:
    """A zone that was read whole at serial 10."""
    followed = Track(ZONE)
    followed.loaded(ZoneImage(ZONE, 10, []), Position(10, 10_000))
    return followed


def test_track_that_was_never_read_takes_nothing() -> None:
    """Before the first reading there is no image, and nothing to compare."""
    track = Track(ZONE)

    assert track.reload == "it was not read yet"
    assert track.take(commit(1), 0, 0) is None
    assert track.check(Position(1, 1000)) is None
    assert track.gone() is None
    assert track.release(99) == []
    assert track.image is None


def test_take_next_commit_is_visible_when_due(track) -> None:
    """Until its time has come the commit is known, but not answered."""
    assert track.take(commit(11, value(1)), now_s=100.0, delay_s=2.0) is None
    assert track.head == Position(11, 11_000)

    assert track.release(101.9) == []
    assert track.image.serial == 10
    assert [c.serial for c in track.release(102.0)] == [11]
    assert track.image.serial == 11


def test_take_a_commit_beyond_the_next_wants_a_reload(track) -> None:
    """Serials have no gaps; what lies between must be read again. The last good state stays."""
    problem = track.take(commit(13), 0, 0)

    assert problem == "commits 11 to 12 are missing"
    assert track.reload == problem
    assert track.image.serial == 10
    assert track.take(commit(11), 0, 0) is None, "nothing is taken until it was read whole"
    assert track.head == Position(10, 10_000)


def test_take_a_commit_again_changes_nothing(track) -> None:
    """What is known already is passed over."""
    assert track.take(commit(10), 0, 0) is None
    assert track.reload is None
    assert not track.pending


def test_check_same_commit_is_fine(track) -> None:
    """The store has the commit that is served here: nothing to say."""
    assert track.check(Position(10, 10_000)) is None
    assert track.reload is None


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (None, "went back: it has no commit 10"),
        (Position(10, 7), "went back: commit 10 is another one"),
        (Position(12, 12_000), "commit 10 is no longer kept, the oldest is 12"),
    ],
    ids=["history ends before", "another commit has its number", "trimmed away"],
)
def test_check_other_history_wants_a_reload_once(track, found, problem: str) -> None:
    """A failover that forgot the last writes shows in the commit time even if the serials went on."""
    assert problem in track.check(found)
    assert problem in track.reload
    assert track.check(found) is None, "one problem is told once"
    assert track.image.serial == 10


def test_gone_zone_is_served_on(track) -> None:
    """A zone that is not in the store any more is no reason to answer nothing."""
    assert "last good state" in track.gone()
    assert track.gone() is None
    assert track.image.serial == 10


def test_damaged_zone_is_served_on_and_told_once_between_two_readings(track) -> None:
    """What was taken still becomes visible; nothing more is taken before the zone was read whole."""
    track.take(commit(11, value(1)), 0, 0)
    assert track.damaged("it has no time") == "it has no time"
    assert track.damaged("it has no actor") is None
    assert track.gone() is None
    assert track.take(commit(12, value(2)), 0, 0) is None
    assert [c.serial for c in track.release(0)] == [11]

    track.loaded(ZoneImage(ZONE, 12, []), Position(12, 12_000))
    assert not track.is_damaged
    assert track.damaged("it has no actor") == "it has no actor"


def test_damaged_zone_is_told_whatever_was_wrong_before(track) -> None:
    """A gap is no reason to keep silent about why it is not read again; nor is it that the zone was never read."""
    track.gone()

    assert track.damaged("it has no time") == "it has no time"
    assert Track(ZONE).damaged("it has no time") == "it has no time"


def test_loaded_state_replaces_what_was_pending(track) -> None:
    """Pending commits are part of the state that was read, and belong to a history that may be void."""
    track.take(commit(11, value(1)), 0, 60)
    track.check(None)

    track.loaded(ZoneImage(ZONE, 9, []), Position(9, 123))

    assert (track.image.serial, track.head, track.reload) == (9, Position(9, 123), None)
    assert track.release(1000) == []


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 10)), min_size=1, max_size=20))
def test_commits_become_visible_in_order_and_none_before_its_time(arrivals) -> None:
    """However delays are drawn, no commit overtakes another, and each is visible at last."""
    track, now_s, earliest = Track(ZONE), 0.0, {}
    track.loaded(ZoneImage(ZONE, 0, []), Position(0, 0))
    seen = []
    for serial, (passed_s, delay_s) in enumerate(arrivals, 1):
        now_s += passed_s
        seen += [(c.serial, now_s) for c in track.release(now_s)]
        track.take(commit(serial), now_s, delay_s)
        earliest[serial] = now_s + delay_s
    while track.pending:
        now_s = max(now_s, track.pending[0].due_s)
        seen += [(c.serial, now_s) for c in track.release(now_s)]

    assert [serial for serial, _ in seen] == list(range(1, len(arrivals) + 1))
    assert all(at_s >= earliest[serial] for serial, at_s in seen)
    assert seen[-1][1] <= max(*earliest.values(), now_s)
    assert track.image.serial == len(arrivals)


def page(serial: int, *numbers: int, at_us: int | None = None) -> FeedPage:
    head = Position(serial, serial * 1000 if at_us is None else at_us)
    return FeedPage(head, tuple(records.txt(f"n{n}.{ZONE}", "x") for n in numbers))


def since(serial: int, *commits: Commit) -> Since:
    return Since(Position(serial, serial * 1000), commits)


def test_assemble_replays_from_the_first_pages_serial() -> None:
    """Pages at serials 3 and 5, commits 3 to 6: the state is that of commit 6."""
    history = since(3, commit(4, create(records.txt(f"n9.{ZONE}", "x"))), commit(5), commit(6, value(6)))

    image, head = assemble(ZONE, [page(3, 1), page(5, 2)], history)

    assert head == Position(6, 6000)
    assert image.serial == 6
    assert {record_set.name for record_set in image.record_sets()} == {f"{n}.{ZONE}" for n in ("n1", "n2", "n9", "n")}


@pytest.mark.parametrize(
    ("pages", "history"),
    [
        ([page(3)], Since(None, ())),
        ([page(3)], since(4)),
        ([page(3), page(5)], since(3, commit(4))),
        ([page(3), page(5)], since(3, commit(5))),
        ([page(5), page(3)], since(5, commit(6))),
        ([page(3, at_us=7), page(5)], since(3, commit(4), commit(5))),
        ([page(3), page(5, at_us=7)], since(3, commit(4), commit(5))),
    ],
    ids=[
        "no history",
        "first commit trimmed",
        "history too short",
        "gap in history",
        "store went back between pages",
        "first page of another history",
        "last page of another history",
    ],
)
def test_assemble_of_what_does_not_fit_is_refused(pages, history) -> None:
    """Half a state is none: it is read again."""
    assert assemble(ZONE, pages, history) is None


def test_assemble_of_pages_that_do_not_know_their_time_takes_the_historys() -> None:
    """A zone whose last commit was made before zones noted its time."""
    image, head = assemble(ZONE, [page(3, 1, at_us=0)], since(3))

    assert (image.serial, head) == (3, Position(3, 3000))


def test_release_of_many_changes_stops_between_two_commits(track) -> None:
    """What is made visible in one go is bounded, by whole commits: no state in between is ever served."""
    for serial in (11, 12, 13):
        track.take(commit(serial, *(value(n) for n in range(4))), 0, 0)

    assert [c.serial for c in track.release(1, most=COMMIT_COST + 5)] == [11, 12]
    assert track.image.serial == 12
    assert [c.serial for c in track.release(1, most=5)] == [13]


def test_visible_after_counts_from_the_commit_whatever_the_clocks_say() -> None:
    """Two seconds after its commit; a clock of ours that lags or leads moves that by no more than those two seconds."""
    at_100_s = commit(1, at_us=100_000_000)

    assert visible_after_s(at_100_s, 2.0, epoch_s=100.5) == 1.5
    assert visible_after_s(at_100_s, 2.0, epoch_s=500.0) == 0.0
    assert visible_after_s(at_100_s, 2.0, epoch_s=-188.0) == 2.0


def test_propagation_profile_draws_have_the_stated_median_and_tail() -> None:
    """`accelerated`: median 0.1 s, p99 0.6 s, as `region` divided by a hundred."""
    spec, chance = PROFILES["accelerated"].propagation, random.Random(1)
    draws = sorted(spec.draw_s(chance) for _ in range(10_000))

    assert draws[5000] == pytest.approx(0.1, rel=0.1)
    assert draws[9900] == pytest.approx(0.6, rel=0.15)
