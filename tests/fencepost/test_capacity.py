"""What velocity control compares with: the highest capacity of a window, however it was noted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencepost.capacity import MAX_SAMPLES, CapacityHistory, capacity_of
from fencepost.errors import ControlRecordInvalid
from fencepost.plan import Target, content
from fencepost.records import txt

ZONE = "a.test."
NOTES = st.lists(
    st.tuples(st.floats(0, 5), st.tuples(st.integers(0, 5000), st.integers(0, 9))), min_size=1, max_size=60
)


def noted(steps, window_s):
    """Return the history of (seconds since the one before, capacity) steps, and what was live from when on."""
    history, live, now_s = CapacityHistory(), [], 1_792_000_000.0
    for after_s, capacity in steps:
        now_s += after_s
        history = history.noted(now_s, capacity, window_s)
        live.append((now_s, capacity))
    return history, live, now_s


def truth(live, now_s, window_s):
    """Return the most that was live at any instant of the window."""
    ends_s = [at_s for at_s, _ in live[1:]] + [now_s]
    within = [capacity for (_, capacity), end_s in zip(live, ends_s, strict=True) if end_s >= now_s - window_s]
    return tuple(map(max, zip(*within, strict=True)))


@given(steps=NOTES, window_s=st.integers(1, 40), later_s=st.floats(0, 60))
def test_highest_of_any_history_is_never_understated(steps, window_s, later_s):
    """Whatever was noted and merged: no window forgets the most that was live in it."""
    history, live, now_s = noted(steps, window_s)

    exact = truth(live, now_s + later_s, window_s)
    said = history.highest(now_s + later_s, window_s)
    assert all(a >= b for a, b in zip(said, exact, strict=True))
    assert len(history.record(ZONE).values[0]) <= 257
    assert CapacityHistory.parse(ZONE, history.record(ZONE)) == history


@given(steps=NOTES, window_s=st.integers(1, 40), later_s=st.floats(0, 60))
def test_highest_of_few_samples_is_overstated_by_a_second_at_most(steps, window_s, later_s):
    """Seconds are whole, so what was live a second before the window may count too; nothing older does."""
    if any(len(noted(steps[:number], window_s)[0].samples) == MAX_SAMPLES for number in range(len(steps) + 1)):
        return  # some were joined, and one of those may be in the window still
    history, live, now_s = noted(steps, window_s)

    wider = truth(live, now_s + later_s, window_s + 1)
    assert all(a <= b for a, b in zip(history.highest(now_s + later_s, window_s), wider, strict=True))


def test_highest_forgets_what_is_out_of_the_window():
    """A loss counts as long as the window is, and no longer."""
    history = CapacityHistory().noted(100.2, (1800, 0), 30).noted(110.5, (1200, 0), 30)

    assert history.highest(120, 30) == (1800, 0)
    assert history.highest(141, 30) == (1800, 0)
    assert history.highest(142, 30) == (1200, 0)
    assert CapacityHistory().highest(120, 30) == (0, 0)


def test_noted_with_a_clock_that_went_back_stands_still():
    """A clock that is behind an earlier writer's forgets nothing."""
    history = CapacityHistory().noted(200, (1800, 0), 30).noted(50, (900, 0), 30)

    assert history.highest(200, 30) == (1800, 0)
    assert history.samples[-1].capacity == (900, 0)


def test_sample_from_far_in_the_future_says_nothing():
    """A clock that is a year ahead does not hold an endpoint for a year; one within bounds is believed."""
    wrong = CapacityHistory().noted(100_000, (1800, 0), 30)
    near = CapacityHistory().noted(300, (1800, 0), 30)

    assert wrong.highest(100, 30) == (0, 0)
    assert wrong.noted(100, (900, 0), 30).samples[-1] == (100, (900, 0))
    assert near.highest(100, 30) == (1800, 0)


def test_parse_of_another_text_is_refused():
    """What nobody of ours wrote is not guessed at."""
    with pytest.raises(ControlRecordInvalid, match=r"_capacity\.a\.test\. says 'many'"):
        CapacityHistory.parse(ZONE, txt("_capacity.a.test.", "many"))


def test_capacity_of_counts_each_type():
    """A and AAAA are held apart; nothing has no capacity."""
    both = content(
        5, [Target("lb", "A", "127.1.0.1", 7), Target("lb", "AAAA", "::1", 3), Target("m", "A", "127.1.0.2", 1)]
    )

    assert capacity_of(both) == (8, 3)
    assert capacity_of(None) == (0, 0)
