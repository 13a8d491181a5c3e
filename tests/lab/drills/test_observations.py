"""The drill of wrong observations: what it makes people believe, and by which figures it judges."""

import random

import msgspec
import pytest

from fencepost.alarms import Alarm, Finding, Severity
from fencepost.errors import PlanUnsafe
from fencepost.plan import Target, content, target_problems
from fencepost.region import load_region
from fencepost.safety import Limits, check_known, known_addresses
from fencepost.symptoms import Cause
from lab.drills.cases import PlanCase, endpoints_of, fleet_cases, plan_cases, restoring
from lab.drills.ears import Ears, status_of
from lab.drills.observations import NO_LOSS, Blamed, Loss, Seen, Status, Told, Tried, highest, result, worst_loss
from lab.drills.streams import Point
from lab.invariants import Violation

ZONE = "a.x.test."
EXPLAINS = "`fencepost status` explains it"
REGION = load_region()
S = 1_000_000


def points(*found):
    """Return a zone's capacity over time from (seconds, weights of A)."""
    return tuple(Point(round(at_s * S), (weight, 0)) for at_s, weight in found)


def said(*blamed):
    """Return a status that blames each (cause, endpoints)."""
    return Status(line="TICKET", blamed=tuple(Blamed(*one) for one in blamed))


def tried(**changes):
    """Return a case that went well, from 10 to 20 s, but for some changes."""
    well = {
        "name": "everything unhealthy",
        "begun_us": 10 * S,
        "until_us": 20 * S,
        "words": ("takes away", "keeps"),
        "cause": Cause.REMOVAL_LIMITED,
        "concerned": (ZONE,),
        "status": said((Cause.REMOVAL_LIMITED, (ZONE,))),
        "told": (Told("planner", ZONE, "keeps 11 of 18 load balancers"),),
        "moved": True,
        "recovered_s": 2.0,
    }
    return Tried(**(well | changes))


def seen(found=(), capacity=((0, 100), (11, 60), (18, 100)), **changes):
    """Return what a drill of one case has seen, by default at the very limit."""
    well = Seen([tried(**dict(found))], {ZONE: points(*capacity)}, Limits(window_s=5.0), frozenset(), ())
    return well._replace(**changes)


def broken(drill):
    """Return the claims that did not hold."""
    return [promise.claim for promise in drill.promises if not promise.held]


def usual():
    """Return what the region's first plan has."""
    return {
        endpoint.name: content(
            5,
            [
                Target(lb.name, kind, lb.address_of(kind), lb.capacity)
                for lb in REGION.members(endpoint)
                for kind in endpoint.types
            ],
        )
        for endpoint in REGION.endpoint
    }


def test_highest_looks_back_over_the_window_and_at_what_it_began_with():
    """What was live when the window began counts, what ended before it does not."""
    line = points((0, 300), (1, 200), (4, 50), (8, 70))

    assert highest(line, 8 * S, 5.0) == (200, 0)
    assert highest(line, 8 * S, 3.0) == (70, 0)
    assert highest(line, 8 * S, 8.0) == (300, 0)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (points((0, 100)), NO_LOSS),
        (points((0, 100), (11, 60), (12, 100)), Loss(0.6, 0.6, f"{ZONE} A")),
        (points((0, 100), (11, 60), (17, 36)), Loss(0.6, 0.36, f"{ZONE} A")),
        (points((0, 100), (11, 60), (14, 36)), Loss(0.36, 0.36, f"{ZONE} A")),
        (points((0, 100), (9, 10), (11, 100)), Loss(1.0, 1.0, "")),
        (points((0, 100), (12, 0)), Loss(0.0, 0.0, f"{ZONE} A")),
    ],
)
def test_worst_loss_is_against_the_window_not_against_the_start(line, expected):
    """Forty percent, and forty of the rest when the window has passed, is what velocity control allows."""
    assert worst_loss(ZONE, line, 10 * S, 20 * S, 5.0) == expected


def test_result_at_the_very_limit_is_held():
    """Sixty percent left of a hundred is as much as may go."""
    good = result("title", seen())

    assert good.held
    assert good.rows == (("everything unhealthy", "60%", "NO", "0", "yes", "planner"),)


@pytest.mark.parametrize(
    ("given", "claims"),
    [
        ({"capacity": ((0, 100), (11, 59))}, ["no endpoint loses more than 40% within 5 s (I7)"]),
        (
            {"capacity": ((0, 100), (11, 0))},
            ["no endpoint becomes empty (I1)", "no endpoint loses more than 40% within 5 s (I7)"],
        ),
        ({"found": {"live": (ZONE,)}}, ["no wrong plan goes live"]),
        ({"found": {"moved": False}}, ["other endpoints still move"]),
        ({"found": {"told": ()}}, ["whoever refuses says why"]),
        ({"found": {"told": (Told("enactors", ZONE, "not now"),)}}, ["whoever refuses says why"]),
        ({"found": {"status": said()}}, [EXPLAINS]),
        ({"found": {"status": Status(problem="no answer within 20 s")}}, [EXPLAINS]),
        ({"found": {"status": said((Cause.REMOVAL_LIMITED, ("b.x.test.",)))}}, [EXPLAINS]),
        ({"found": {"status": said((Cause.REMOVAL_LIMITED, ()))}}, [EXPLAINS]),
        ({"found": {"status": said((Cause.PLAN_REFUSED, (ZONE,)))}}, [EXPLAINS]),
        (
            {"found": {"status": said((Cause.PLAN_REFUSED, (ZONE,)), (Cause.REMOVAL_LIMITED, (ZONE,)))}},
            [EXPLAINS],
        ),
        ({"found": {"recovered_s": None}}, ["all is as before when the observation is right again"]),
        ({"violations": (Violation("I2", ZONE, "back", 1),)}, ["no invariant is broken"]),
    ],
)
def test_result_of_each_failure_breaks_its_own_promises(given, claims):
    """One thing that goes wrong breaks what it has to do with, and the drill does not hold."""
    bad = result("title", seen(**given))

    assert broken(bad) == claims
    assert not bad.held


def test_result_spares_small_fleets_but_for_the_last_load_balancer():
    """One of two is half of everything; both of two is an outage all the same."""
    assert result("title", seen(capacity=((0, 100), (11, 50)), exempt=frozenset({ZONE}))).held
    assert not result("title", seen(capacity=((0, 100), (11, 0)), exempt=frozenset({ZONE}))).held


def test_result_is_explained_by_a_cause_that_the_primary_alarm_does_not_explain():
    """Whatever else is wrong comes first; the case's own cause stands beside it."""
    status = said((Cause.NO_ENACTOR, ()), (Cause.REMOVAL_LIMITED, ("b.x.test.", ZONE)))

    assert result("title", seen({"status": status})).held


def test_status_is_read_from_the_document_that_the_command_writes():
    """The alarm's cause first, then the others; no alarm is no cause, and no document is a problem with its words."""
    first, second = (
        Finding(cause=cause, severity=Severity.TICKET, endpoints=(ZONE,), sentence="it is wrong")
        for cause in (Cause.PLAN_REFUSED, Cause.PLAN_LATE)
    )
    document = {"alarm": Alarm(primary=first, also=(second,)), "notes": (), "facts": {}}

    read = status_of(msgspec.json.encode(document), ["TICKET: it is wrong", "a table"])
    well = status_of(msgspec.json.encode(document | {"alarm": None}), ["All is well"])
    missing = status_of(b"", ["Usage: fencepost", "Error: No such command 'status'."])

    assert read == Status("TICKET: it is wrong", "", (Blamed(first.cause, (ZONE,)), Blamed(second.cause, (ZONE,))))
    assert (well.blamed, well.text) == ((), "all is well")
    assert "No such command" in missing.problem


def test_cases_have_the_cause_of_who_refuses_them():
    """The planner keeps what the fleet says is gone; a plan that is published past it only enactors can refuse."""
    assert {case.cause for case in fleet_cases(REGION, random.Random(1))} == {Cause.REMOVAL_LIMITED}
    assert {case.cause for case in plan_cases(REGION, usual())} == {Cause.PLAN_REFUSED}


def test_ears_keep_the_first_sentence_of_each_on_each_endpoint_concerned():
    """A sentence on another endpoint is no explanation."""
    ears = Ears(frozenset({ZONE}))

    ears.hear("planner", {ZONE: "first", "b.x.test.": "elsewhere"})
    ears.hear("planner", {ZONE: "second"})
    ears.hear("enactors", {ZONE: "refused"})

    assert ears.sentences() == (Told("enactors", ZONE, "refused"), Told("planner", ZONE, "first"))


def test_fleet_cases_are_what_the_fleet_can_say_and_restoring_takes_all_of_it_back():
    """Everything, all of the smallest endpoint, a tenth, nothing, and half; nothing is left behind by any of them."""
    cases = {case.name: case.wishes for case in fleet_cases(REGION, random.Random(1))}

    names = {lb.name for lb in REGION.load_balancer}
    assert set(cases["everything unhealthy"]) == names
    assert "dynamodb-fips.us-east-1.fencepost.test." in endpoints_of(REGION, list(cases["one endpoint unhealthy"]))
    assert len(cases["one endpoint unhealthy"]) == 6
    assert {wish["capacity"] for wish in cases["90 % of capacity gone"].values()} == {10}
    assert {wish["capacity"] for wish in cases["no capacity anywhere"].values()} == {0}
    assert len(cases["half of the fleet gone"]) == len(names) // 2
    for wishes in cases.values():
        for name, wish in wishes.items():
            assert wish.keys() <= restoring(REGION)[name].keys()


def plan_case(name) -> PlanCase:
    """Return one wrong plan by its name."""
    return next(case for case in plan_cases(REGION, usual()) if case.name == f"plan: {name}")


@pytest.mark.parametrize("name", ["unknown load balancer", "a duplicate address"])
def test_plan_cases_of_strangers_are_what_the_region_does_not_have(name):
    """The check that enactors make has something to refuse."""
    ((endpoint, value),) = plan_case(name).victims.items()

    with pytest.raises(PlanUnsafe) as refused:
        check_known(endpoint, value, known_addresses(REGION)[endpoint])
    assert plan_case(name).words[0] in str(refused.value)


def test_plan_cases_are_wrong_in_the_way_that_they_say():
    """Each victim's content is broken in one way; the bystander's is better than before and otherwise the same."""
    weights = {
        name: [t.weight for t in next(iter(plan_case(name).victims.values())).targets]
        for name in ("all weights 0", "a negative weight", "90 % gone", "no address at all")
    }
    half, good = plan_case("half of all gone"), plan_case("all weights 0")

    assert set(weights["all weights 0"]) == {0}
    assert min(weights["a negative weight"]) < 0
    assert len(weights["90 % gone"]) == 1
    assert weights["no address at all"] == []
    assert half.victims.keys() == set(REGION.endpoint_names)
    assert half.bystander is None
    assert good.bystander not in good.victims
    assert good.bystander_content.weight == usual()[good.bystander].weight + 1
    assert [problem for target in good.bystander_content.targets for problem in target_problems(target)] == []
