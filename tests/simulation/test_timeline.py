"""The time line: words that come from what was committed, answered and said."""

from pathlib import Path

import msgspec
import pytest

from lab.simulation.choice import START, Choice, Fault
from lab.simulation.saved import load
from lab.simulation.scenario import Scenario
from lab.simulation.timeline import tell

OUTAGE = load(Path(__file__).parent / "outage.json")
WANTED = frozenset(OUTAGE.wanted)
ALONE = Scenario(mode="buggy", enactors=1, endpoints=1, generations=1)
TWO = Scenario(mode="buggy", enactors=2, endpoints=1, generations=1)
PUBLISH = Choice("publisher", "publish_plan plans")


def up_to_the_lock(process, fault=Fault.NONE):
    """Return what a buggy enactor does from its look for a plan to its call for the lock."""
    reads = ("read_plan plans", "HMGET plans", "read_records a.test.", "read_records a.test.")
    return (*(Choice(process, what) for what in reads), Choice(process, "change_batch a.test.", fault))


@pytest.fixture(scope="module")
def outage():
    """The outage of October 2025, in 25 choices, told."""
    return tell(OUTAGE.scenario, OUTAGE.choices, WANTED)


def moment_of(story, words):
    """Return the first step whose text has these words."""
    return next(moment for moment in story.moments if words in moment.text)


def test_outage_told_has_the_incident_in_its_order(outage):
    """The slow enactor sets out with plan 1, plan 3 goes live, the root goes back to 1, and tree 1 is deleted."""
    telling = (
        ("enactor-1", "sets out with plan 1"),
        ("publisher", "publishes plan 3"),
        ("enactor-2", "flips the root to plan-000003"),
        ("enactor-1", "flips the root from plan-000003 to plan-000001"),
        ("enactor-2", "deletes the old plan-000001"),
    )

    moments = [moment_of(outage, words) for _, words in telling]

    assert [moment.who for moment in moments] == [who for who, _ in telling]
    assert [moment.number for moment in moments] == sorted(moment.number for moment in moments)
    assert [moment.generation for moment in moments] == [1, 3, 3, 1, 3]


def test_outage_told_is_at_most_25_steps_and_leaves_out_no_choice(outage):
    """The steps tell of every choice, once and in order."""
    spans = [(moment.first, moment.last) for moment in outage.moments]

    assert len(outage.moments) <= len(outage.trace) <= 25
    assert [at for first, last in spans for at in range(first, last + 1)] == list(range(1, len(outage.trace) + 1))


def test_outage_told_has_each_violation_at_the_step_that_broke_it(outage):
    """The stale flip breaks I2; deleting the tree breaks I4, I1 and I3, and for how long is the checker's to say."""
    flip, clean = moment_of(outage, "to plan-000001"), moment_of(outage, "deletes the old plan-000001")

    assert [v.invariant for v in flip.violations] == ["I2"]
    assert {v.invariant for v in clean.violations} == {"I1", "I3", "I4"}
    lasted = f"for {outage.healing.lasted_s:.3f} s, to the end of the recording"
    assert any(lasted in v.detail for v in clean.violations)


def test_outage_told_says_what_the_zone_held(outage):
    """After the stale flip rollback points to plan 3; after the cleaner the root points to what is not there."""
    flip, clean = moment_of(outage, "to plan-000001").holding, moment_of(outage, "deletes").holding

    assert (flip.root, flip.rollback, flip.missing, flip.addresses) == ("plan-000001", "plan-000003", (), 2)
    assert (clean.root, clean.missing, clean.addresses, clean.trees) == ("plan-000001", ("plan-000001",), 0, {3: 3})
    assert "root -> plan-000001 (not there); rollback -> plan-000003; trees 3; lock enactor-2" in clean.text


def test_outage_told_says_what_healing_came_to(outage):
    """Left in peace it is stuck: every flip is refused for rollback's missing target, and nothing is answered."""
    healing = outage.healing

    (note,) = healing.notes
    assert note.times > 10
    assert note.text == (
        "wants to flip the root to plan-000003, and is refused by a.test.: "
        "rollback cannot point to plan-000001: that target was not found"
    )
    assert healing.silent == ("a.test.",)
    assert "plan 3 is not live" in healing.pending[0]
    assert outage.violations[-1].invariant == "I5"


def test_schedule_told_twice_is_the_same(outage):
    """The same choices give the same story, to the last word and digit."""
    again = tell(OUTAGE.scenario, OUTAGE.choices, WANTED)

    assert again == outage


def test_another_schedule_has_another_digest(outage):
    """The digest tells schedules apart."""
    assert tell(OUTAGE.scenario, OUTAGE.choices[:-1], WANTED).digest != outage.digest


@pytest.mark.parametrize(
    ("fault", "words", "holder"),
    [
        (Fault.NONE, "takes the lock", "enactor-1"),
        (Fault.ERROR, "wants to take the lock, but the connection breaks before that", ""),
        (Fault.LOST, "takes the lock, but never hears so", "enactor-1"),
        (
            Fault.LATE,
            "wants to take the lock, and gives up waiting for the reply, while the call is still under way",
            "",
        ),
        (Fault.CRASH, "dies when it is about to take the lock", ""),
    ],
)
def test_fault_told_says_whether_the_call_was_executed(fault, words, holder):
    """An error, a lost reply and a death read differently, and the zone's lock shows which of them had an effect."""
    choices = (PUBLISH, *up_to_the_lock("enactor-1", fault))

    story = tell(ALONE, choices, frozenset({"I1"}))

    last = story.moments[-1]
    held = last.holding or story.beginning[0]
    assert words in last.text
    assert last.fault is fault
    assert held.lock == holder


def test_call_that_was_given_up_is_told_when_the_network_delivers_it():
    """Whose it was, and what it did, on a lane of its own."""
    late = Choice("network", "change_batch a.test.")

    story = tell(ALONE, (PUBLISH, *up_to_the_lock("enactor-1", Fault.LATE), late), frozenset({"I1"}))

    assert story.moments[-1].who == "network"
    assert "delivers what enactor-1 gave up waiting for, to take the lock, which is done" in story.moments[-1].text
    assert story.moments[-1].holding.lock == "enactor-1"
    assert story.processes == ("publisher", "enactor-1", "network")


def test_process_that_starts_again_is_told_with_what_it_does_next():
    """A start is told as such, and it carries no plan until it has read one."""
    crash = (PUBLISH, *up_to_the_lock("enactor-1", Fault.CRASH))
    choices = (*crash, Choice("enactor-1", START), Choice("enactor-1", "read_plan plans"))

    story = tell(ALONE, choices, frozenset({"I1"}))

    assert story.moments[-2].generation is None
    assert story.moments[-1].text == "starts again with empty memory, and looks for the latest plan: it is plan 1"


def test_lock_refused_is_told_as_refused_by_the_lock():
    """Of two that saw the lock free one gets it; the other is told why it does not."""
    first, second = up_to_the_lock("enactor-1"), up_to_the_lock("enactor-2")
    choices = (PUBLISH, *first[:-1], *second[:-1], first[-1], second[-1])

    story = tell(TWO, choices, frozenset({"I1"}))

    last = story.moments[-1]
    assert last.refused
    assert last.holding is None
    assert last.text == "wants to take the lock and is refused: the lock is not as it knew it"


def test_looks_are_not_told_with_a_write_before_which_somebody_else_acted():
    """What one enactor saw before the other one wrote stays before that: the order is what the story is about."""
    first, second = up_to_the_lock("enactor-1"), up_to_the_lock("enactor-2")
    choices = (PUBLISH, *first[:-1], *second, first[-1])

    story = tell(TWO, choices, frozenset({"I1"}))

    assert [(moment.who, moment.kind) for moment in story.moments] == [
        ("publisher", "publish"),
        ("enactor-1", "read"),
        ("enactor-2", "lock"),
        ("enactor-1", "lock"),
    ]


def test_schedule_that_breaks_nothing_is_told_with_its_healing():
    """A failure that is not there any more is seen to be gone: the world converges."""
    story = tell(ALONE, (PUBLISH, *up_to_the_lock("enactor-1")), WANTED)

    assert story.holds
    assert story.violations == ()
    assert story.healing.pending == ()
    assert any(note.text == "flips the root to plan-000001 in a.test." for note in story.healing.notes)


def test_choices_that_cannot_be_made_are_counted():
    """A schedule of another world is told as far as it goes."""
    stranger = Choice("enactor-9", "timer")

    story = tell(ALONE, (stranger, PUBLISH, stranger), frozenset({"I1"}))

    assert story.left_out == 2
    assert story.trace == (PUBLISH,)


def test_fixed_protocol_with_the_outage_choices_breaks_nothing():
    """The choices that lost the endpoint are harmless to the fixed protocol, as far as they can be made there."""
    fixed = msgspec.structs.replace(OUTAGE.scenario, mode="fixed")

    story = tell(fixed, OUTAGE.choices, WANTED)

    assert story.holds
    assert story.violations == ()


def test_looks_that_find_nothing_are_told_only_where_nothing_else_is():
    """An enactor that looks again and again finds the same plan; one that did only that is said to."""
    looks = ("read_plan plans", "read_plan plans", "HMGET plans")
    choices = (PUBLISH, *(Choice("enactor-1", what) for what in (*looks[:1], *looks[2:], *looks[:1])))
    fixed = Scenario(mode="fixed", enactors=1, endpoints=1, generations=1)

    story = tell(fixed, (*choices, *(Choice("enactor-1", "read_plan plans") for _ in range(2))), frozenset({"I1"}))

    assert all(moment.text for moment in story.moments)
    assert story.moments[1].text.startswith("looks for the latest plan: it is plan 1, and sets out with plan 1")


def test_look_at_one_of_several_zones_is_told_with_the_zone():
    """With more than one endpoint a look says at whose zone it was."""
    pair = Scenario(mode="buggy", enactors=1, endpoints=2, generations=1)
    reads = ("read_plan plans", "HMGET plans", "read_records a.test.", "read_records b.test.")

    story = tell(pair, (PUBLISH, *(Choice("enactor-1", what) for what in reads)), frozenset({"I1"}))

    assert [moment.zone for moment in story.moments[1:]] == ["a.test.", "b.test."]
    assert story.moments[1].text.endswith("looks at the root: it points nowhere yet (a.test.)")
