"""One alarm out of many symptoms: the cause leads, what follows from it stands below, and a healthy system has none."""

from itertools import pairwise

import pytest
from msgspec.structs import replace

from fencepost.alarms import EVERYWHERE, HERE, KINDS, Patience, Severity, conclude, judge, shown
from fencepost.errors import (
    ControlRecordInvalid,
    FenceAhead,
    PlanUnsafe,
    TreeTaken,
    ZoneFrozen,
)
from fencepost.facts import Answer, EndpointFacts, Facts, FenceFacts, LockFacts, Loss, Place, Pointer, ProcessFacts
from fencepost.network import PROFILES
from fencepost.notice import Notice
from fencepost.symptoms import PATIENCE_S, Cause, Thresholds, find, hold_cause

AT_S = 1_760_942_880.0  # 2025-10-20 06:48:00 UTC
NAMES = ("a.test.", "b.test.", "c.test.", "d.test.", "e.test.", "f.test.")
PLACE = Place(store="redis://127.0.0.1:6379/0", dns_port=5300, cache_port=5301, api_port=5302, run_dir="/runs/0001")
OK, EMPTY, SILENT = Answer("NOERROR", 1), Answer("NOERROR"), Answer("")
NOTICE = Notice("alice", int(AT_S), "race in the enactor")


def endpoint(name="a.test.", **changes):
    """Return an endpoint that is well, with changes."""
    well = EndpointFacts(
        name=name,
        types=("A",),
        serial=100,
        root=(Pointer("A", f"plan-000145.{name}"),),
        rollback=(Pointer("A", f"plan-000144.{name}"),),
        live=145,
        addresses={"A": 18},
        fence=FenceFacts(145, "0123abcd"),
        planned=True,
        answers={"A": OK},
        cached={"A": OK},
        behind_s=0.0,
    )
    return replace(well, **changes)


def process(name, kind, **changes):
    """Return a process that is well, with changes."""
    well = ProcessFacts(name=name, kind=kind, port=5310, expected=True, answers=True, report_age_s=1.0, generation=145)
    return replace(well, **changes)


ENACTORS = tuple(process(f"use1-az{n}-enactor", "enactor") for n in (1, 2, 3))
PLANNER = process("planner", "planner")


def facts(*endpoints, processes=(PLANNER, *ENACTORS), **changes):
    """Return a system that is well but for these endpoints."""
    named = {found.name: found for found in endpoints}
    everywhere = tuple(named.get(name, endpoint(name)) for name in NAMES)
    well = Facts(
        at_s=AT_S, place=PLACE, latest=145, queue_size=0, latest_age_s=1.0, negative_ttl_s=9, endpoints=everywhere
    )
    return replace(well, processes=processes, **changes)


def dangling(name="a.test.", **changes):
    """Return an endpoint as the incident left it: stale flip, deleted tree, empty answers, a plan that cannot come."""
    return endpoint(
        name,
        root=(Pointer("A", f"plan-000110.{name}", exists=False),),
        live=110,
        addresses={"A": 0},
        fence=None,
        answers={"A": EMPTY},
        cached={"A": EMPTY},
        lag_s=60.0,
        lag_generations=35,
        loss=Loss("use1-az2-enactor", AT_S, "clean 100 to 135", "use1-az1-enactor", AT_S - 1),
        held={"use1-az1-enactor": "InvalidChangeBatch: that target was not found"},
        **changes,
    )


def primary(found):
    """Return the primary finding of facts; there must be an alarm."""
    alarm = judge(found).alarm
    assert alarm is not None
    return alarm.primary


def test_judge_of_a_healthy_system_is_silent():
    """Nothing is wrong: no alarm and no note."""
    judgement = judge(facts())

    assert (judgement.alarm, judgement.notes) == (None, ())


def test_judge_of_a_busy_system_is_silent():
    """A pass is under way: plans wait for a second, locks are held, commits are on their way to DNS."""
    busy = [
        endpoint(
            name,
            lag_s=4.0,
            lag_generations=120,
            lock=LockFacts("use1-az1-enactor", 1.5),
            behind_s=0.5,
            live=25,
            fence=FenceFacts(25, "ffffffff"),
        )
        for name in NAMES
    ]

    assert judge(facts(*busy, queue_size=120)).alarm is None


def test_judge_of_the_incident_names_cause_actor_time_and_command():
    """The alarm of October 2025 as it should have been: one, with who deleted what, and what to type."""
    late = [endpoint(name, lag_s=59.0, lag_generations=35) for name in NAMES[1:]]
    found = facts(dangling(), *late, queue_size=35)

    alarm = judge(found).alarm

    assert alarm is not None
    assert alarm.also == ()
    assert alarm.primary.cause is Cause.ROOT_DANGLING
    assert alarm.primary.severity is Severity.PAGE
    assert alarm.primary.endpoints == ("a.test.",)
    assert alarm.line == (
        "a.test: the root points to plan-000110, whose tree was deleted by use1-az2-enactor at 06:48:00 UTC "
        "(clean 100 to 135); use1-az1-enactor had pointed the root to it at 06:47:59 UTC"
    )
    assert alarm.primary.command == "fencepost repair a.test"
    assert alarm.primary.consequences == (
        "a.test: DNS answers without addresses (A NOERROR)",
        "a.test: InvalidChangeBatch: that target was not found (says use1-az1-enactor)",
        "a.test, b.test, c.test and 3 more: the latest plan is not installed",
        "35 plans wait to be installed",
    )


def test_judge_several_endpoints_of_one_cause_are_one_alarm():
    """Five dangling roots are one alarm that counts them, with one command for all."""
    found = primary(facts(*map(dangling, NAMES[:5])))

    assert found.sentence == "a.test, b.test, c.test and 2 more: the root points to a tree that is not there"
    assert found.command == "for e in a.test b.test c.test d.test e.test; do fencepost repair $e; done"
    assert [line.split(":")[0] for line in found.details] == ["a.test", "b.test", "c.test", "d.test", "e.test"]


def test_judge_unrelated_second_cause_is_told_beside_the_first():
    """A plan that is refused elsewhere does not follow from a dangling root, and is not lost either."""
    refused = str(PlanUnsafe.removal("b.test.", "A", removed=9, highest=18, limit=0.4, window_s=30))
    found = facts(dangling(), endpoint("b.test.", held={"use1-az1-enactor": refused}, lag_s=30.0))

    alarm = judge(found).alarm

    assert alarm is not None
    assert alarm.primary.cause is Cause.ROOT_DANGLING
    assert [also.cause for also in alarm.also] == [Cause.PLAN_REFUSED]
    assert alarm.line.endswith("(and 1 more that this does not explain)")


def test_judge_a_store_that_is_away_is_the_alarm_and_says_what_works():
    """Nothing else can be known then; DNS goes on with what it had."""
    stale = [EndpointFacts(name=name, types=("A",), answers={"A": OK}, cached={"A": OK}) for name in NAMES]

    found = primary(facts(*stale, store_problem="Connection refused", latest=0, queue_size=None))

    assert found.cause is Cause.STORE_DOWN
    assert "Connection refused" in found.sentence
    assert "DNS still answers for 6 of 6 endpoints" in found.sentence


CASES = {
    "root gone": (
        (endpoint(root=(), live=None, addresses={}, answers={"A": EMPTY}),),
        {},
        Cause.ROOT_MISSING,
        "a.test: its root record is gone",
        "fencepost repair a.test",
    ),
    "damaged": (
        (endpoint(damaged=3, loss=Loss("operator", AT_S, "by mistake")),),
        {},
        Cause.TREE_DAMAGED,
        "a.test: its live tree plan-000145 differs from its plan in 3 record sets; records of it were deleted by ",
        "fencepost repair a.test",
    ),
    "resolver behind": (
        (endpoint(behind_s=40.0, answers={"A": EMPTY}, cached={"A": EMPTY}),),
        {},
        Cause.RESOLVER_BEHIND,
        "a.test: DNS shows a state of the zone that is 40 s old",
        "fencepost zone show a.test",
    ),
    "resolver behind by more than the history has": (
        (endpoint(behind_s=40.0, behind_more=True),),
        {},
        Cause.RESOLVER_BEHIND,
        "a.test: DNS shows a state of the zone that is at least 40 s old",
        "fencepost zone show a.test",
    ),
    "DNS empty for no reason that the store knows": (
        (endpoint(answers={"A": EMPTY}, cached={"A": EMPTY}),),
        {},
        Cause.ANSWERS_EMPTY,
        "a.test: DNS answers without addresses (A NOERROR)",
        "fencepost zone show a.test",
    ),
    "cache still empty after a repair": (
        (endpoint(cached={"A": EMPTY}),),
        {},
        Cause.CACHE_EMPTY,
        "a.test: the cache still answers without addresses",
        "dig @127.0.0.1 -p 5301 a.test   # wait: a cached empty answer lives for 9 s (negative TTL)",
    ),
    "resolver silent": (
        tuple(endpoint(name, answers={"A": SILENT}, cached={"A": SILENT}) for name in NAMES),
        {},
        Cause.RESOLVER_SILENT,
        "the authoritative server on port 5300 does not answer",
        "tail -n 5 /runs/0001/logs/resolver.*",
    ),
    "fence from a lost future": (
        (endpoint(fence=FenceFacts(150, "0123abcd"), live=150),),
        {},
        Cause.FENCE_AHEAD,
        "a.test: its fence is at plan 150, the plan store knows plans up to 145 only",
        "fencepost zone show a.test",
    ),
    "lock from a wrong clock": (
        (endpoint(lock=LockFacts("use1-az1-enactor", 280.0), lag_s=30.0),),
        {},
        Cause.LOCK_TOO_LONG,
        "a.test: use1-az1-enactor has locked it until 280 s from now",
        "fencepost repair a.test   # it needs no lock; without it, wait",
    ),
    "control record": (
        (endpoint(invalid=("_lock.a.test. says 'hello', which no enactor writes",), lag_s=30.0),),
        {},
        Cause.RECORD_INVALID,
        "a.test: _lock.a.test. says 'hello'",
        "fencepost zone show a.test",
    ),
    "planner keeps what should leave": (
        (endpoint(limited="a.test.: 9 of 18 load balancers are out; 5 of them stay"),),
        {},
        Cause.REMOVAL_LIMITED,
        "a.test: 9 of 18 load balancers are out; 5 of them stay",
        (
            "curl http://127.0.0.1:5302/v1/load-balancers   # wait for the window, bring capacity back (`trouble` says "
            'why it is out), or drain again with {"force": true}'
        ),
    ),
    "late for no known reason": (
        (endpoint(live=140, lag_s=30.0, lag_generations=5),),
        {},
        Cause.PLAN_LATE,
        "a.test: plan 145 is not installed: it has plan 140, and has waited for 30 s",
        "fencepost zone show a.test",
    ),
    "no way back": (
        (endpoint(rollback=(Pointer("A", "plan-000144.a.test.", exists=False),)),),
        {},
        Cause.ROLLBACK_DANGLING,
        "a.test: its rollback points to plan-000144, which is not there",
        "fencepost zone show a.test",
    ),
    "no enactor": (
        tuple(endpoint(name, live=140, lag_s=60.0, lag_generations=5) for name in NAMES),
        {
            "processes": (PLANNER, *(replace(e, report_age_s=60.0, answers=False) for e in ENACTORS)),
            "queue_size": 25,
        },
        Cause.NO_ENACTOR,
        "no enactor lives: nothing installs plans; DNS stays as it is (its last word was 60 s ago)",
        "tail -n 5 /runs/0001/logs/use1-az1-enactor.*",
    ),
    "one enactor of three": (
        (),
        {"processes": (PLANNER, *ENACTORS[:2], replace(ENACTORS[2], report_age_s=60.0, answers=False))},
        Cause.PROCESS_SILENT,
        "use1-az3-enactor is silent",
        "tail -n 5 /runs/0001/logs/use1-az3-enactor.*",
    ),
    "one resolver of two": (
        (),
        {
            "processes": (
                *(PLANNER, *ENACTORS),
                process("resolver", "resolver"),
                replace(process("resolver-2", "resolver"), answers=False),
            )
        },
        Cause.PROCESS_SILENT,
        "resolver-2 is silent",
        "tail -n 5 /runs/0001/logs/resolver-2.*",
    ),
    "no planner": (
        (),
        {"processes": (replace(PLANNER, report_age_s=60.0, answers=False), *ENACTORS)},
        Cause.NO_PLANNER,
        "the planner does not live: nothing follows the load balancers' health",
        "tail -n 5 /runs/0001/logs/planner.*",
    ),
    "planner fails": (
        (),
        {"planner_problem": "the plan was not published: a.test. would have no address"},
        Cause.PLANNER_FAILING,
        "the planner publishes nothing: the plan was not published",
        "curl http://127.0.0.1:5302/v1/load-balancers   # `trouble` says why they are out",
    ),
}


@pytest.mark.parametrize(("endpoints", "changes", "cause", "sentence", "command"), CASES.values(), ids=CASES)
def test_judge_each_cause_leads_alone(endpoints, changes, cause, sentence, command):
    """Whatever follows from the cause stands below it: there is one alarm, and it has a command."""
    alarm = judge(facts(*endpoints, **changes)).alarm

    assert alarm is not None
    assert (alarm.primary.cause, alarm.also) == (cause, ())
    assert alarm.primary.sentence.startswith(sentence)
    assert alarm.primary.command == command


def test_judge_plan_refused_says_numbers_and_how_to_force_it():
    """Protective checks: the refusal with its numbers, a look at the difference, and force only behind a comment."""
    refused = str(PlanUnsafe.removal("a.test.", "A", removed=9, highest=18, limit=0.4, window_s=30))
    found = primary(facts(endpoint(live=144, fence=FenceFacts(144, "f" * 8), lag_s=30.0, held={"e": refused})))

    assert found.cause is Cause.PLAN_REFUSED
    assert found.sentence.startswith(
        "a.test: the plan takes away 9 of 18 A capacity within 30 s (50%), the limit is 40%"
    )
    assert found.consequences == ("a.test: plan 145 is not installed: it has plan 144, and has waited for 30 s",)
    assert found.command == (
        "fencepost plan diff 144 145   # if it is meant: fencepost plan show --endpoint a.test --json plan.json "
        "&& fencepost plan publish plan.json --force"
    )


def test_judge_frozen_is_a_note_that_explains_the_lag():
    """An operator did it: no alarm, but whoever looks is told who, why, and how it ends."""
    frozen = [endpoint(name, frozen=NOTICE, lag_s=600.0, lag_generations=50) for name in NAMES]

    judgement = judge(facts(*frozen, plans_frozen=NOTICE))

    assert judgement.alarm is None
    (note,) = judgement.notes
    assert note.cause is Cause.FROZEN
    assert "the latest plan is not installed" in note.consequences[0]
    assert note.sentence == "no plan is published: frozen by alice since 06:48:00 UTC: race in the enactor"
    assert note.command == "fencepost thaw"


def test_judge_one_frozen_endpoint_is_thawed_alone():
    """The command ends what was done, and no more."""
    (note,) = judge(facts(endpoint(frozen=NOTICE))).notes

    assert note.command == "fencepost thaw --endpoint a.test"


def test_judge_frozen_hides_no_dangling_root():
    """A freeze explains why nothing moves, not why a tree is gone."""
    judgement = judge(facts(dangling(frozen=NOTICE)))

    assert judgement.alarm is not None
    assert judgement.alarm.primary.cause is Cause.ROOT_DANGLING
    assert [note.cause for note in judgement.notes] == [Cause.FROZEN]


def test_judge_all_processes_gone_says_how_to_start_the_system():
    """The supervisor takes its children with it: no log of one of them says why."""
    gone = tuple(replace(found, report_age_s=60.0, answers=False) for found in (PLANNER, *ENACTORS))

    alarm = judge(facts(processes=gone)).alarm

    assert alarm is not None
    assert alarm.primary.command.startswith("fencepost up --reuse --run-dir /runs/0001")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (PlanUnsafe.empty("a.test.", "A", existing=3), Cause.PLAN_REFUSED),
        (PlanUnsafe.removal("a.test.", "A", removed=9, highest=18, limit=0.4, window_s=30), Cause.PLAN_REFUSED),
        (PlanUnsafe.too_few("a.test.", "A", left=1, needed=2), Cause.PLAN_REFUSED),
        (PlanUnsafe.strangers("a.test.", ["x"]), Cause.PLAN_REFUSED),
        (ZoneFrozen("a.test.", NOTICE.text), Cause.FROZEN),
        (FenceAhead("a.test.", fence="9 0123abcd", latest=8), Cause.FENCE_AHEAD),
        (TreeTaken("a.test.", generation=9), Cause.TREE_TAKEN),
        (ControlRecordInvalid("a.test.", "_lock.a.test.", "x"), Cause.RECORD_INVALID),
        (ValueError("the lock was lost 8 times in a row"), Cause.ENDPOINT_HELD),
    ],
)
def test_hold_cause_is_told_by_the_words_of_our_errors(error, cause):
    """What an enactor reports as its reason is an error's text: the two are held together here."""
    assert hold_cause(str(error)) is cause


def test_every_cause_has_severity_and_words():
    """No cause was forgotten in a table."""
    assert set(KINDS) == set(Cause)
    assert set(HERE) | set(EVERYWHERE) | set(PATIENCE_S) <= set(Cause)


def test_no_cause_explains_itself_in_a_circle():
    """Otherwise an alarm would have no root."""
    follows = {cause: HERE.get(cause, frozenset()) | EVERYWHERE.get(cause, frozenset()) for cause in Cause}
    below = dict(follows)
    for _ in Cause:
        below = {c: frozenset().union(direct, *(below[d] for d in direct)) for c, direct in follows.items()}

    assert [cause for cause in Cause if cause in below[cause]] == []


def test_thresholds_grow_with_the_network():
    """A region's stalls and propagation are no faults; a LAN's would be."""
    found = [Thresholds.of(PROFILES[name]) for name in ("none", "lan", "accelerated", "region")]

    assert all(a.late_s <= b.late_s and a.behind_s <= b.behind_s for a, b in pairwise(found))
    assert found[0].late_s == 10
    assert found[3].late_s > 60


def test_patience_believes_what_lasts_and_forgets_what_ended():
    """A silent name server is believed after three seconds at a stretch, a dangling root at once."""
    silent = facts(*(endpoint(n, answers={"A": SILENT}, cached={"A": SILENT}) for n in NAMES))
    patience = Patience()

    def believed(found, now_s):
        symptoms = find(found)
        patience.look(symptoms, now_s)
        alarm = conclude(symptoms, found, patience.believes).alarm
        return alarm.primary.cause if alarm else None

    assert believed(silent, 0.0) is None
    assert believed(silent, 2.0) is None
    assert believed(facts(), 2.5) is None
    assert believed(silent, 3.0) is None
    assert believed(silent, 6.0) is Cause.RESOLVER_SILENT
    assert believed(facts(dangling()), 7.0) is Cause.ROOT_DANGLING


def test_conclude_tells_what_is_not_believed_yet_below_what_is():
    """Empty answers need patience to be an alarm, but none to be a consequence."""
    found = facts(dangling())

    alarm = conclude(find(found), found, lambda symptom: symptom.cause is Cause.ROOT_DANGLING).alarm

    assert alarm is not None
    assert any("DNS answers without addresses" in line for line in alarm.primary.consequences)


def test_shown_names_the_first_and_counts_the_others():
    """A sentence stays readable."""
    assert shown(["a.test."]) == "a.test"
    assert shown(["a.test.", "b.test."]) == "a.test and b.test"
    assert shown(NAMES) == "a.test, b.test, c.test and 3 more"
