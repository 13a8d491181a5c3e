"""The checker: each invariant accepted where it holds and found where it is broken, one at a time."""

import pytest

from fencepost import records
from fencepost.batch import delete, upsert
from fencepost.names import lock_name, manifest_name, rollback_name, tree_name
from lab.invariants import check

BOUND_S = 5.0
ME, OTHER = "use1-az1-enactor", "use1-az2-enactor"


def broken(history, bound_s=BOUND_S):
    return [violation.invariant for violation in check(history, convergence_bound_s=bound_s)]


@pytest.fixture
def zone(script):
    """A zone with plans 1 and 2 installed, root at 2 and rollback at 1."""
    return script()


@pytest.fixture
def installed(zone, kit):
    for generation in (1, 2):
        zone.install(ME, generation, kit.contents(weight=generation))
    return zone


def test_check_two_plans_installed_in_order_finds_nothing(installed, kit):
    """A run as it should be, with probes, is clean under all invariants."""
    probes = tuple(kit.probe(0.01 * n, "127.1.0.1") for n in range(9))

    assert broken(kit.history_of(installed, wanted=kit.contents(weight=2), generation=2, probes=probes)) == []


def test_check_empty_history_finds_nothing(kit, zone):
    """A zone that never had an endpoint has lost none."""
    assert broken(kit.history_of(zone)) == []
    assert broken(kit.history_of()) == []


class TestNeverEmpty:
    """I1."""

    def test_root_deleted_by_operator_is_found(self, installed, kit):
        """Whoever did it: an endpoint that answered answers no more, and stays so."""
        installed.commit("alice", delete(records.alias(kit.zone, "A", tree_name(kit.zone, 2))), operator=True)
        installed.now_s += 1.0

        (violation,) = check(kit.history_of(installed), convergence_bound_s=BOUND_S)

        assert (violation.invariant, violation.endpoint, violation.serial) == ("I1", kit.zone, 8)
        assert "for 1.000 s, to the end of the recording, the root had no A address" in violation.detail
        assert "it had 3 until operator alice committed serial 8" in violation.detail

    def test_one_type_of_dual_stack_lost_is_found(self, zone, kit):
        """AAAA alone going away is an outage of those who use it."""
        zone.install(ME, 1, kit.contents(kinds=("A", "AAAA")))
        zone.commit("alice", delete(records.alias(kit.zone, "AAAA", tree_name(kit.zone, 1))), operator=True)

        (violation,) = check(kit.history_of(zone), convergence_bound_s=BOUND_S)

        assert violation.invariant == "I1"
        assert "no AAAA address" in violation.detail

    def test_emptied_and_regained_twice_is_two_violations_with_their_ends(self, installed, kit):
        """Each episode is told once, however many commits it spans."""
        root = records.alias(kit.zone, "A", tree_name(kit.zone, 2))
        for _ in range(2):
            installed.commit("alice", delete(root), operator=True)
            installed.commit("alice", upsert(records.txt(f"note.{kit.zone}", "hurry")), operator=True)
            installed.commit("alice", upsert(root), operator=True)

        found = check(kit.history_of(installed), convergence_bound_s=BOUND_S)

        assert [violation.invariant for violation in found] == ["I1", "I1"]
        assert all("for 0.020 s, the root" in violation.detail for violation in found)

    def test_before_first_install_is_no_violation(self, zone, kit):
        """An endpoint that never answered cannot be emptied."""
        zone.build(ME, 1, kit.contents())

        assert broken(kit.history_of(zone, probes=(kit.probe(0.01), kit.probe(0.02, rcode="NXDOMAIN")))) == []

    def test_probes_empty_after_answers_are_one_violation_an_episode(self, zone, kit):
        """What the canary saw counts by itself, with start, length and count; a lost packet is neither good nor bad."""
        probes = (
            kit.probe(0.0),
            kit.probe(1.0, "127.1.0.1"),
            kit.probe(2.0),
            kit.probe(2.5, rcode="", error="no answer within 1 s"),
            kit.probe(3.0, rcode="NXDOMAIN"),
            kit.probe(4.0, "127.1.0.1"),
            kit.probe(5.0),
        )

        first, second = check(kit.history_of(zone, probes=probes, run={"stopped_us": 0}), convergence_bound_s=BOUND_S)

        assert (first.invariant, first.serial, first.at_us) == ("I1", None, kit.start_us + 2_000_000)
        assert "from 2.000 s on, for 2.000 s, the resolver had no A address to give: 2 answers" in first.detail
        assert "from 5.000 s on, for 0.000 s, to the end of the recording" in second.detail

    @pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", ""])
    def test_probe_without_authority_is_no_violation(self, zone, kit, rcode):
        """A resolver that restarts answers nothing about the zone: that is its availability, not the zone's content."""
        probes = (kit.probe(1.0, "127.1.0.1"), kit.probe(2.0, rcode=rcode, error="" if rcode else "timeout"))

        assert broken(kit.history_of(zone, probes=probes)) == []


class TestNoRegression:
    """I2."""

    def test_automation_flipping_back_is_found_once(self, installed, kit):
        """The step down is one violation; going on from there is none."""
        installed.flip(OTHER, 1)
        installed.install(OTHER, 3, kit.contents())

        (violation,) = check(kit.history_of(installed), convergence_bound_s=BOUND_S)

        assert (violation.invariant, violation.serial) == ("I2", 8)
        assert "use1-az2-enactor took the root back from plan 2 to plan 1" in violation.detail

    def test_operator_flipping_back_is_allowed(self, installed, kit):
        """An operator's hand may, and automation may go on from where the operator left the root."""
        installed.flip("alice", 1, operator=True)
        installed.install(ME, 2, kit.contents())

        assert broken(kit.history_of(installed)) == []

    def test_going_back_by_way_of_no_root_is_found(self, installed, kit):
        """A root that is deleted and made again is held against what it was."""
        installed.commit("alice", delete(records.alias(kit.zone, "A", tree_name(kit.zone, 2))), operator=True)
        installed.commit(ME, *installed.lock(ME), upsert(records.alias(kit.zone, "A", tree_name(kit.zone, 1))))

        assert broken(kit.history_of(installed)) == ["I1", "I2"]

    def test_one_type_of_dual_stack_going_back_is_found(self, zone, kit):
        """Each type's root is held against its own past."""
        for generation in (1, 2):
            zone.install(ME, generation, kit.contents(kinds=("A", "AAAA")))
        zone.flip(ME, 1, ("AAAA",))

        assert broken(kit.history_of(zone)) == ["I2"]


class TestNoDangling:
    """I3."""

    def test_rollback_losing_its_target_is_found(self, installed, kit):
        """Rollback must be there when it is needed; the violation lasts until it points somewhere again."""
        installed.clean(OTHER, 1)
        installed.install(OTHER, 3, kit.contents())

        found = check(kit.history_of(installed), convergence_bound_s=BOUND_S)

        assert [violation.invariant for violation in found] == ["I3", "I4"]
        assert f"rollback pointed to {tree_name(kit.zone, 1)}, which did not exist" in found[0].detail
        assert "to the end" not in found[0].detail

    def test_alias_made_to_a_missing_target_is_found(self, zone, kit):
        """Even one that no zone should have taken: the checker believes no store."""
        zone.commit("alice", upsert(records.alias(kit.zone, "A", tree_name(kit.zone, 9))), operator=True, lenient=True)

        assert broken(kit.history_of(zone)) == ["I3"]

    def test_target_with_another_type_only_is_found(self, zone, kit):
        """An alias stands for records of its own type."""
        zone.build(ME, 1, kit.contents(kinds=("A",)))
        dangling = upsert(records.alias(kit.zone, "AAAA", tree_name(kit.zone, 1)))
        zone.commit("alice", dangling, operator=True, lenient=True)

        assert broken(kit.history_of(zone)) == ["I3"]

    def test_rollback_left_out_is_no_violation(self, zone, kit):
        """No rollback record means that there is nothing to roll back to."""
        zone.install(ME, 1, kit.contents())

        assert (rollback_name(kit.zone), "A", "") not in zone.records
        assert broken(kit.history_of(zone)) == []


class TestReferencedKept:
    """I4."""

    def test_live_tree_cut_in_part_is_found(self, installed, kit):
        """Losing one load balancer's record of the live tree is already a violation, though the endpoint answers."""
        installed.clean(OTHER, 2, keep_sets=2)

        (violation,) = check(kit.history_of(installed), convergence_bound_s=BOUND_S)

        assert violation.invariant == "I4"
        assert f"deleted 1 record set of {tree_name(kit.zone, 2)} while root pointed to it; 2 left" in violation.detail

    def test_manifest_of_live_tree_deleted_is_found(self, installed, kit):
        """The manifest belongs to the tree."""
        manifest = records.txt(manifest_name(kit.zone, 2), "1/1 0a1b2c3d")
        installed.commit(ME, *installed.lock(ME), upsert(manifest))
        installed.commit(ME, *installed.lock(ME), delete(manifest))

        assert broken(kit.history_of(installed)) == ["I4"]

    def test_tree_that_root_moves_to_and_rollback_from_is_kept(self, installed, kit):
        """A flip turns root's tree into rollback's: it was in use before and is after."""
        doomed = [delete(found) for key, found in installed.records.items() if key[0] == tree_name(kit.zone, 2)]
        installed.build(ME, 3, kit.contents())
        installed.commit(ME, *installed.lock(ME), *installed.flip_changes(3), *doomed, lenient=True)

        assert broken(kit.history_of(installed)) == ["I3", "I4"]

    def test_record_replaced_in_one_batch_is_no_violation(self, installed, kit):
        """DELETE and CREATE of one record set is how a value is swapped."""
        leaf = installed.leaves(2, kit.contents(weight=2))[0]
        installed.commit(ME, *installed.lock(ME), delete(leaf), upsert(leaf))

        assert broken(kit.history_of(installed)) == []

    def test_tree_that_nothing_points_to_may_go(self, installed, kit):
        """That is what a cleaner is for."""
        installed.install(ME, 3, kit.contents())
        installed.clean(ME, 1)

        assert broken(kit.history_of(installed)) == []

    def test_tree_mended_in_the_batch_that_makes_it_live_is_no_violation(self, installed, kit):
        """What nobody used before the batch may be put right in it."""
        installed.build(ME, 3, kit.contents())
        spare = delete(installed.leaves(3, kit.contents())[0])
        installed.commit(ME, *installed.lock(ME), spare, *installed.flip_changes(3))

        assert broken(kit.history_of(installed)) == []

    def test_tree_given_up_in_the_same_batch_may_go(self, installed, kit):
        """What was referenced before the batch but is not after it was not deleted under anybody."""
        doomed = [delete(found) for key, found in installed.records.items() if key[0] == tree_name(kit.zone, 1)]
        installed.build(ME, 3, kit.contents())
        installed.commit(ME, *installed.lock(ME), *installed.flip_changes(3), *doomed)

        assert broken(kit.history_of(installed)) == []


class TestConvergence:
    """I5."""

    def test_last_plan_not_installed_is_found(self, installed, kit):
        """The endpoint is at plan 2's content and the last plan wants another one."""
        history = kit.history_of(installed, wanted=kit.contents(4, weight=2), generation=3)

        (violation,) = check(history, convergence_bound_s=BOUND_S)

        assert violation.invariant == "I5"
        assert "plan 3: 1 A record set of the plan missing and 0 too many at" in violation.detail

    def test_same_content_under_an_earlier_number_is_enough(self, installed, kit):
        """Convergence is what customers are answered, not a number."""
        assert broken(kit.history_of(installed, wanted=kit.contents(weight=2), generation=7)) == []

    def test_weight_that_differs_is_found(self, installed, kit):
        """The right addresses at the wrong weights are not the plan."""
        (violation,) = check(kit.history_of(installed, wanted=kit.contents(weight=9)), convergence_bound_s=BOUND_S)

        assert "3 A record sets of the plan missing and 3 too many" in violation.detail

    def test_zone_without_history_is_found(self, kit, script):
        """A plan's endpoint whose zone nobody wrote to has not converged."""
        history = kit.history_of(script(), wanted=kit.contents())

        assert broken(history) == ["I5"]

    def test_reached_after_the_bound_is_found(self, zone, kit):
        """Too late is a violation although the end is well."""
        zone.install(ME, 1, kit.contents())
        zone.now_s = 8.0
        zone.install(ME, 2, kit.contents(weight=2))
        history = kit.history_of(zone, wanted=kit.contents(weight=2), generation=2)

        assert broken(history, bound_s=7.0) == ["I5"]
        assert broken(history, bound_s=9.0) == []

    def test_bound_counts_from_the_last_change_of_the_world(self, zone, kit):
        """While the world still changes nobody has to be done."""
        zone.now_s = 8.0
        zone.install(ME, 1, kit.contents())
        late = {"world_stopped_us": kit.start_us + 6_000_000}

        assert broken(kit.history_of(zone, wanted=kit.contents()), bound_s=3.0) == ["I5"]
        assert broken(kit.history_of(zone, wanted=kit.contents(), run=late), bound_s=3.0) == []

    def test_lost_again_after_the_bound_is_found(self, installed, kit):
        """Converged means converged for good."""
        installed.now_s = 8.0
        installed.install("alice", 3, kit.contents())
        history = kit.history_of(installed, wanted=kit.contents(weight=2), generation=2)

        assert broken(history, bound_s=5.0) == ["I5"]

    @pytest.mark.parametrize(("seen", "expected"), [((), ["I1", "I5"]), (("127.1.0.9",), ["I5"]), (("127.1.0.2",), [])])
    def test_answers_after_the_bound_must_fit_the_plan(self, installed, kit, seen, expected):
        """The zone may be right and the resolver still wrong; what it said before the bound was over is past."""
        probes = (kit.probe(0.5, "127.1.0.77"), kit.probe(7.0, *seen))
        history = kit.history_of(installed, wanted=kit.contents(weight=2), generation=2, probes=probes)

        assert sorted(broken(history)) == expected


class TestOnlyHolder:
    """I6."""

    def test_commit_under_another_ones_lock_is_found(self, installed, kit):
        """The intruder's batch says nothing of the lock."""
        installed.build(ME, 3, kit.contents())
        installed.commit(OTHER, upsert(records.txt(f"note.{kit.zone}", "mine")))

        (violation,) = check(kit.history_of(installed), convergence_bound_s=BOUND_S)

        assert violation.invariant == "I6"
        assert (
            "use1-az2-enactor committed serial 9 while use1-az1-enactor held the lock for another 4.98"
            in violation.detail
        )

    def test_lock_taken_over_before_it_expired_is_found(self, installed, kit):
        """Compare-and-swap alone does not make a theft right."""
        installed.build(ME, 3, kit.contents())
        installed.build(OTHER, 3, kit.contents())

        assert broken(kit.history_of(installed)) == ["I6"]

    def test_lock_taken_over_after_it_expired_is_fine(self, installed, kit):
        """That is what the time in it is for."""
        installed.build(ME, 3, kit.contents())
        installed.now_s += 6.0
        installed.build(OTHER, 3, kit.contents())

        assert broken(kit.history_of(installed)) == []

    def test_commit_after_expiry_without_taking_the_lock_is_found(self, installed, kit):
        """An expired lock is nobody's until it is taken."""
        installed.build(ME, 3, kit.contents())
        installed.now_s += 6.0
        installed.commit(OTHER, upsert(records.txt(f"note.{kit.zone}", "mine")))

        assert broken(kit.history_of(installed)) == ["I6"]

    def test_holder_whose_lock_expired_may_still_use_it(self, installed, kit):
        """Nobody took it: its compare-and-swap says so."""
        installed.build(ME, 3, kit.contents())
        installed.now_s += 6.0
        installed.flip(ME, 3)

        assert broken(kit.history_of(installed)) == []

    def test_commit_without_any_lock_is_found(self, installed, kit):
        """Every batch begins with the lock."""
        installed.commit(ME, upsert(records.txt(f"note.{kit.zone}", "mine")))

        (violation,) = check(kit.history_of(installed), convergence_bound_s=BOUND_S)

        assert "without the lock, which nobody held" in violation.detail

    def test_lock_taken_by_upsert_is_found(self, installed, kit):
        """UPSERT would overwrite whoever came in between; only CREATE proves that nobody did."""
        installed.commit(ME, upsert(records.txt(lock_name(kit.zone), f"{ME} 9999999999")))

        assert broken(kit.history_of(installed)) == ["I6"]

    def test_clock_skew_of_the_run_is_tolerated(self, installed, kit):
        """With clocks 2 s apart a lock may look expired 2 s too early, and no more than that."""
        installed.build(ME, 3, kit.contents())
        installed.now_s += 3.5
        installed.build(OTHER, 3, kit.contents())

        assert broken(kit.history_of(installed)) == ["I6"]
        assert broken(kit.history_of(installed, run={"parameters": {"clock_skew_s": 2.0}})) == []
        assert broken(kit.history_of(installed, run={"parameters": {"clock_skew_s": 1.0}})) == ["I6"]

    def test_unreadable_lock_never_expires(self, installed, kit):
        """A lock that nobody understands is not free for the taking."""
        installed.commit("alice", upsert(records.txt(lock_name(kit.zone), "alice forever")), operator=True)
        installed.build(ME, 3, kit.contents())

        assert broken(kit.history_of(installed)) == ["I6"]


def test_check_same_history_gives_the_same_answer_in_order_of_time(incident, kit):
    """Reports of one run can be compared line by line."""
    zone, wanted = incident()
    history = kit.history_of(zone, wanted=wanted, generation=146, probes=(kit.probe(1, "127.1.0.1"), kit.probe(10.5)))

    found = check(history, convergence_bound_s=BOUND_S)

    assert found == check(history, convergence_bound_s=BOUND_S)
    assert [violation.at_us for violation in found] == sorted(violation.at_us for violation in found)
