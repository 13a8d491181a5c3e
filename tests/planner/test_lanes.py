"""The lanes: what their invariant says, for every sequence of queues, plans and times."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencepost.errors import StartupError
from fencepost.network import PROFILES
from fencepost.plan import Draft, Lane
from fencepost.settings import load_settings
from planner.lanes import LOOK_S, ROUTINE_BY_FAST, Lanes, Marks, Pace
from planner.settings import PlannerSettings

MARKS = {Lane.SLOW: Marks(4, 1), Lane.FAST: Marks(16, 8)}
PACE = Pace(0.5, MARKS)
ROUTINE, URGENT = Draft({}, "a weight"), Draft({}, "a zone out", Lane.FAST)


def test_slow_lane_lets_one_plan_go_per_interval():
    """The first at once, the next in its turn."""
    lanes = Lanes(PACE)

    assert lanes.why_not(Lane.SLOW, 10.0) is None
    after = lanes.after(ROUTINE, 10.0, 0.5)
    assert after.why_not(Lane.SLOW, 10.4) == "the slow lane's next plan goes in 0.1 s"
    assert after.rest_s(10.4) == pytest.approx(0.1)
    assert after.why_not(Lane.SLOW, 10.5) is None


def test_fast_lane_waits_for_no_interval_and_takes_the_slow_ones_turn():
    """An emergency goes at once; what was routine went with it, so the slow lane's turn begins anew."""
    lanes = Lanes(PACE).after(ROUTINE, 10.0, 0.5)

    assert lanes.why_not(Lane.FAST, 10.01) is None
    after = lanes.after(URGENT, 10.4, 0.5)
    assert after.why_not(Lane.FAST, 10.4) is None
    assert after.why_not(Lane.SLOW, 10.8) is not None


@pytest.mark.parametrize(("lane", "other"), [(Lane.SLOW, Lane.FAST), (Lane.FAST, None)])
def test_lane_is_held_from_its_high_mark_down_to_its_low_one(lane, other):
    """Hysteresis: what was held at the high mark does not go on one below it."""
    high, low = MARKS[lane]
    below, at = Lanes(PACE).seeing(high - 1), Lanes(PACE).seeing(high)

    assert lane not in below.held
    assert lane in at.held
    assert other not in at.held
    assert f"{high} plans are published and not installed, it goes on at {low}" in at.why_not(lane, 0.0)
    assert lane in at.seeing(low + 1).held
    assert lane not in at.seeing(low + 1).seeing(low).held
    assert at.rest_s(0.0) == 0.5
    assert Lanes(Pace(0.0, MARKS)).seeing(high).rest_s(0.0) == LOOK_S


def test_share_of_routine_plans_goes_by_the_fast_lane_at_once_and_says_so():
    """A draw below the share decides the next routine plan; an urgent plan does not use it up."""
    lanes = Lanes(Pace(0.5, MARKS, fast_share=0.1))

    drawn = lanes.after(lanes.sorted_in(ROUTINE), 0.0, 0.09).after(URGENT, 0.0, 0.5)
    draft = drawn.sorted_in(ROUTINE)
    assert (draft.lane, draft.reason) == (Lane.FAST, "a weight (routine, by the fast lane)")
    assert drawn.rest_s(0.0) == 0
    assert drawn.why_not(draft.lane, 0.0) is None
    assert drawn.after(draft, 0.0, 0.1).sorted_in(ROUTINE) == ROUTINE


def test_held_slow_lane_is_not_gone_around_by_the_fast_one():
    """What is routine waits until the enactors have caught up, whatever was drawn."""
    lanes = Lanes(Pace(0.5, MARKS, fast_share=1.0), routine=Lane.FAST).seeing(4)

    assert lanes.sorted_in(ROUTINE) == ROUTINE
    assert lanes.sorted_in(URGENT) == URGENT


steps = st.lists(
    st.tuples(
        st.floats(0, 1),  # time that passes
        st.sampled_from([ROUTINE, URGENT]),
        st.integers(0, 5),  # plans that are installed meanwhile
        st.floats(0, 1, exclude_max=True),
    ),
    max_size=200,
)


@given(steps, st.floats(0, 1))
def test_queue_never_grows_above_the_high_marks_and_slow_plans_keep_their_distance(found, share):
    """For every sequence: hysteresis, distance, and a queue that is bounded, with nobody installing anything too."""
    lanes, now_s, queue, last_s = Lanes(Pace(0.5, MARKS, share)), 0.0, 0, -math.inf
    since_high = dict.fromkeys(MARKS, False)
    for passed_s, wanted, installed, chance in found:
        now_s += passed_s
        queue = max(0, queue - installed)
        lanes = lanes.seeing(queue)
        for lane, marks in MARKS.items():
            since_high[lane] = queue >= marks.high or (since_high[lane] and queue > marks.low)
        draft = lanes.sorted_in(wanted)
        if lanes.why_not(draft.lane, now_s) is None:
            assert not since_high[draft.lane]
            assert draft.lane is Lane.FAST or now_s - last_s >= 0.5 - 1e-9
            assert not (draft.reason.endswith(ROUTINE_BY_FAST) and since_high[Lane.SLOW])
            lanes, last_s, queue = lanes.after(draft, now_s, chance), now_s, queue + 1
        assert queue <= 16


def test_pace_follows_the_network_profile_unless_it_is_set():
    """Two round trips to the control API, and never under a tenth of a second."""
    found = {name: load_settings(PlannerSettings, profile=name).pace.slow_interval_s for name in PROFILES}

    assert found == {"none": 0.1, "lan": 0.1, "region": 0.2, "accelerated": 0.1, "rough": 0.1}
    assert load_settings(PlannerSettings, slow_interval_s=3).pace.slow_interval_s == 3


def test_marks_that_make_no_sense_are_refused():
    """A lane that is let go where it is held would be neither."""
    with pytest.raises(StartupError, match=r"FENCEPOST_SLOW_QUEUE_LOW: .*4 is not below 4"):
        load_settings(PlannerSettings, slow_queue_low=4)
