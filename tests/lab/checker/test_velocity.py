"""I7: what automation may take away at once and within the window, and what is not its doing."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencepost.batch import delete, upsert
from fencepost.names import tree_name
from fencepost.plan import Lane, PlanSummary
from fencepost.safety import Limits
from lab.invariants import check
from lab.invariants.velocity import _Highest, limits_of

ME = "use1-az1-enactor"
BOUND_S = 5.0


def broken(history):
    return [violation.invariant for violation in check(history, convergence_bound_s=BOUND_S)]


def installed(script, kit, *sizes: int, apart_s: float = 1.0, **fields):
    """A zone to which plans of these many load balancers came, one every `apart_s` seconds."""
    zone = script()
    for generation, count in enumerate(sizes, 1):
        zone.now_s = generation * apart_s
        zone.install(ME, generation, kit.contents(count, **fields))
    return zone


class TestVelocity:
    """I7."""

    def test_half_of_an_endpoint_taken_away_at_once_is_found(self, script, kit):
        """The words name who, how much of what, and the limit."""
        zone = installed(script, kit, 10, 5)

        (violation,) = check(kit.history_of(zone), convergence_bound_s=BOUND_S)

        assert (violation.invariant, violation.endpoint, violation.serial) == ("I7", kit.zone, 6)
        assert violation.detail == (
            f"serial 6 of {ME} takes away 500 of 1000 A capacity within 30 s (50%), the limit is 40%"
        )

    def test_what_is_allowed_at_once_is_no_violation(self, script, kit):
        """Exactly the limit may go."""
        assert broken(kit.history_of(installed(script, kit, 10, 6))) == []

    def test_small_steps_within_the_window_are_found_once_they_are_too_many(self, script, kit):
        """Three plans that take a fifth each are one plan that takes more than half, and each further one is found."""
        zone = installed(script, kit, 20, 16, 12, 8, 6)

        assert broken(kit.history_of(zone)) == ["I7", "I7"]

    def test_small_steps_a_window_apart_are_fine(self, script, kit):
        """What has been gone for longer than the window is gone for good."""
        zone = installed(script, kit, 10, 8, 6, 5, apart_s=40.0)

        assert broken(kit.history_of(zone)) == []

    def test_limits_of_the_run_are_what_counts(self, script, kit):
        """A run that was made with a window of 5 s and half as its limit is judged by these."""
        zone = installed(script, kit, 10, 6, 3, apart_s=6.0)
        parameters = {"velocity_window_s": 5.0, "max_removal_fraction": 0.5}

        assert broken(kit.history_of(zone)) == ["I7"]
        assert broken(kit.history_of(zone, run={"parameters": parameters})) == []
        assert limits_of(parameters) == Limits(0.5, 5.0)
        assert limits_of({}) == Limits()

    def test_window_is_judged_shorter_by_what_a_stalled_batch_may_take(self, script, kit):
        """The zone's note is older than the commit that carries it: a link that stalls is nobody's fault."""
        zone = installed(script, kit, 10, 8, 5, apart_s=27.0)

        assert broken(kit.history_of(zone)) == ["I7"]
        assert broken(kit.history_of(zone, run={"profile": "accelerated"})) == []

    def test_each_type_is_held_apart(self, script, kit):
        """All of A kept is no excuse for half of AAAA gone."""
        zone = script()
        zone.install(ME, 1, kit.contents(10, kinds=("A", "AAAA")))
        both = kit.contents(5, kinds=("A", "AAAA"))
        more = kit.contents(5, first=6)
        mixed = msgspec.structs.replace(both, targets=(*both.targets, *more.targets))
        zone.install(ME, 2, mixed)

        (violation,) = check(kit.history_of(zone), convergence_bound_s=BOUND_S)

        assert "500 of 1000 AAAA capacity" in violation.detail

    def test_weight_counts_and_not_the_number_of_load_balancers(self, script, kit):
        """Ten load balancers at half their weight are half of the capacity."""
        zone = script()
        zone.install(ME, 1, kit.contents(10))
        zone.install(ME, 2, kit.contents(10, weight=50))

        assert broken(kit.history_of(zone)) == ["I7"]

    def test_small_fleet_is_exempt_and_too_few_are_not(self, script, kit):
        """One of two is half of everything; one of ten is an outage in waiting, whatever it weighs."""
        heavy = kit.contents(1, weight=255)
        light = kit.contents(10, weight=20)
        zone = script()
        zone.install(ME, 1, light)
        zone.install(ME, 2, heavy)

        (violation,) = check(kit.history_of(zone), convergence_bound_s=BOUND_S)

        assert broken(kit.history_of(installed(script, kit, 4, 1))) == []
        assert "leaves 1 load balancers with A addresses, the limit is 2" in violation.detail

    def test_operators_commit_is_exempt_and_starts_the_window_anew(self, script, kit):
        """What a person took away is no reason to hold the next plan against what was before."""
        zone = installed(script, kit, 20)
        zone.build("alice", 2, kit.contents(10))
        zone.release("alice")
        zone.flip("alice", 2, operator=True)
        zone.install(ME, 3, kit.contents(8))
        found = broken(kit.history_of(zone))
        zone.install(ME, 4, kit.contents(5))

        assert found == []
        assert broken(kit.history_of(zone)) == ["I7"]

    @pytest.mark.parametrize(
        ("forced", "where", "expected"),
        [(2, None, []), (3, None, []), (1, None, ["I7"]), (4, None, ["I7"]), (2, "b.test.", ["I7"])],
    )
    def test_plan_by_force_is_exempt_where_the_flip_brings_it(self, script, kit, forced, where, expected):
        """A flip from 1 to 3 brings what was forced as 2 or 3; not what was forced before, later, or elsewhere."""
        zone = installed(script, kit, 10)
        zone.install(ME, 3, kit.contents(5))
        changed = {where or kit.zone: (None, "a")}
        plans = tuple(
            PlanSummary(g, kit.start_us // 1000, Lane.FAST, "", changed, by="alice", operator=True, force=g == forced)
            for g in (1, 2, 3, 4)
        )

        assert broken(kit.history_of(zone, plans=plans)) == expected

    def test_emptiness_is_told_as_i1_and_not_again(self, incident, kit):
        """The incident's cleaner took everything away: that is I1, I3 and I4, and no question of how much."""
        zone, _ = incident(6)

        assert broken(kit.history_of(zone)) == ["I2", "I1", "I3", "I4"]

    def test_endpoint_that_comes_back_smaller_is_no_violation(self, script, kit):
        """Who has nothing can only gain."""
        zone = installed(script, kit, 10)
        zone.clean(ME, 1)
        zone.build(ME, 2, kit.contents(3))
        zone.commit(ME, *zone.lock(ME), *zone.flip_changes(2)[1:])

        assert "I7" not in broken(kit.history_of(zone))

    def test_live_tree_cut_by_half_is_both_i4_and_i7(self, script, kit):
        """One is about whose records they were, the other about how much went."""
        zone = installed(script, kit, 10)
        name = tree_name(kit.zone, 1)
        doomed = [delete(found) for key, found in sorted(zone.records.items()) if key[0] == name][:5]
        zone.commit(ME, *zone.lock(ME), *doomed)

        assert broken(kit.history_of(zone)) == ["I4", "I7"]

    def test_live_record_that_loses_its_weight_in_place_is_found(self, script, kit):
        """No flip is needed to take capacity away."""
        zone = installed(script, kit, 10)
        zone.commit(ME, *zone.lock(ME), *map(upsert, zone.leaves(1, kit.contents(10, weight=10))))

        assert broken(kit.history_of(zone)) == ["I7"]


steps = st.lists(st.tuples(st.integers(0, 20), st.tuples(st.integers(0, 9), st.integers(0, 9))), max_size=40)


@given(steps=steps, window=st.integers(0, 30))
def test_highest_is_what_a_plain_reading_of_the_window_says(steps, window):
    """The most of each type that was in force at any instant of the window, its ends included."""
    highest, now, spans = _Highest(window), 0, [(0, (0, 0))]
    for wait, capacity in steps:
        now += wait
        ends = [start for start, _ in spans[1:]] + [now]
        seen = [had for (_, had), end in zip(spans, ends, strict=True) if end >= now - window]

        assert highest.at(now) == (max(a for a, _ in seen), max(b for _, b in seen))

        highest.note(now, capacity)
        spans.append((now, capacity))


def test_highest_of_a_long_history_costs_each_note_twice_at_most():
    """Of many notes within one window only those are kept that can still be the answer."""
    highest, rng = _Highest(10**9), random.Random(1)
    for at in range(20_000):
        highest.note(at, (rng.randrange(1000), 20_000 - at))

    assert len(highest._ended[0]) < 50
    assert len(highest._ended[1]) == 19_999
