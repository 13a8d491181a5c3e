"""I9: a zone that is frozen takes nothing from automation."""

from fencepost import records
from fencepost.batch import delete, upsert
from fencepost.notice import Notice
from lab.invariants import check

ME = "use1-az1-enactor"
BOUND_S = 5.0


def found(zone, kit):
    return check(kit.history_of(zone), convergence_bound_s=BOUND_S)


def frozen(zone, kit):
    """Freeze a zone as an operator does; return the record."""
    record = Notice("alice", 1_792_000_000, "the cleaner").freezing(kit.zone)
    zone.commit("alice", upsert(record), operator=True)
    return record


class TestFrozen:
    """I9."""

    def test_automations_commit_to_a_frozen_zone_is_found(self, script, kit):
        """It names who, how long after the freeze, and whose freeze it was."""
        zone = script()
        frozen(zone, kit)
        zone.now_s += 1.0
        zone.install(ME, 1, kit.contents())

        violations = found(zone, kit)

        assert [violation.invariant for violation in violations] == ["I9", "I9", "I9"]
        assert violations[0].detail == (
            f"{ME} committed serial 3 1.010 s after the zone was frozen (alice 1792000000 the cleaner)"
        )

    def test_operators_commits_to_a_frozen_zone_are_fine(self, script, kit):
        """A repair works, frozen or not."""
        zone = script()
        zone.install(ME, 1, kit.contents())
        frozen(zone, kit)
        zone.commit("alice", upsert(records.txt(f"note.{kit.zone}", "mine")), operator=True)

        assert found(zone, kit) == ()

    def test_commits_before_the_freeze_and_after_the_thaw_are_fine(self, script, kit):
        """The freeze lasts from the commit that makes the record to the one that deletes it."""
        zone = script()
        zone.install(ME, 1, kit.contents())
        record = frozen(zone, kit)
        zone.commit("alice", delete(record), operator=True)
        zone.install(ME, 2, kit.contents())

        assert found(zone, kit) == ()

    def test_freeze_ended_by_automation_itself_is_found(self, script, kit):
        """The commit that thaws is a commit to a frozen zone."""
        zone = script()
        record = frozen(zone, kit)
        zone.commit(ME, *zone.lock(ME), delete(record))

        assert [violation.invariant for violation in found(zone, kit)] == ["I9"]
