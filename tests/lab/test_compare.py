"""A comparison's own parts: what follows from its options, what it says in the end, and when it has converged."""

import asyncio
import signal
from pathlib import Path

import msgspec
import pytest

from deploy.topology import Mode
from enactor.pace import SWEEP_ZONE_S
from fencepost.batch import ChangeBatch, create, delete
from fencepost.clock import SystemClock
from fencepost.connect import open_plan_store, open_zone_store
from fencepost.errors import StartupError
from fencepost.names import tree_name
from fencepost.network import PROFILES
from fencepost.plan import Content, Draft, Target, content
from fencepost.records import address, alias
from fencepost.region import load_region
from fencepost.settings import Settings
from fencepost.stores import Actor
from lab.clients import Tally
from lab.compare import Outputs, closing_lines, command_line, interruptible
from lab.compare_options import CompareOptions, settle_bound_s, watcher_specs
from lab.compare_progress import Phase, Status
from lab.compare_run import Recorded, WorldFigures
from lab.history import History, RunInfo, collect
from lab.last_answers import LastAnswer, essence
from lab.settle import Settled, settle, unconverged

ZONE = "dynamodb.us-east-1.fencepost.test."
DIG = """
; <<>> DiG 9.18 <<>> @127.0.0.1 -p 5300 a.x.test. A
;; global options: +cmd
;; Got answer:
;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 41951
;; flags: qr aa; QUERY: 1, ANSWER: {count}, AUTHORITY: 1, ADDITIONAL: 1

;; QUESTION SECTION:
;a.x.test.\t\tIN\tA

{answer};; AUTHORITY SECTION:
a.x.test.\t9\tIN\tSOA\tns1.a.x.test. hostmaster.a.x.test. 1 7200 900 1209600 864
"""


def options(**changes) -> CompareOptions:
    """Return options that differ from the defaults in a few places."""
    return CompareOptions(**({"run_dir": Path("/nowhere")} | changes))


def recorded(**changes) -> Recorded:
    """Return a run in which nothing went wrong, but for some changes."""
    run = RunInfo(mode="fixed", seed=1, profile="none", started_us=0, duration_s=1)
    well = Recorded(
        history=History(run=run, commits={}),
        last_answers=(LastAnswer("a.x.test.", "A", "NOERROR", 1),),
        dig=(),
        settled_s=0.5,
        unsettled={},
        world=WorldFigures(made=20, failed=0, left_out=0, per_s=20.0),
        load=Tally(sent=10, served=10),
        restarts={},
    )
    return msgspec.structs.replace(well, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"world": "better"}, "no world 'better'; there are graceful, failures"),
        ({"profile": "fast"}, "no network profile 'fast'"),
        ({"enactors": 0}, "--enactors 0"),
        ({"without": "fence,wall"}, "no guard wall; there are fence, "),
        ({"without": "fence", "modes": (Mode.BUGGY,)}, "buggy has no guards to be without"),
        ({"plan_rate": 0.0}, "--plan-rate 0"),
        ({"duration_s": -1.0}, "--duration -1"),
        ({"region_file": Path("/no/such.toml")}, "--region"),
    ],
)
def test_options_that_cannot_be_run_are_refused_with_the_remedy(changes, message):
    """Nothing is started for a misspelt option."""
    with pytest.raises(StartupError, match=message):
        options(**changes).check()


def test_options_whose_run_directory_has_a_run_are_refused(tmp_path):
    """A history is never written over, nor added to."""
    (tmp_path / "fixed").mkdir()

    with pytest.raises(StartupError, match="name another --run-dir"):
        options(run_dir=tmp_path).check()


def test_outputs_that_cannot_be_written_are_refused_before_the_run(tmp_path):
    """Two minutes of work are not thrown away for a directory that is a file."""
    (tmp_path / "file").touch()

    with pytest.raises(StartupError, match=r"--json .* cannot be written"):
        Outputs(json_path=tmp_path / "file" / "out.json").check()


def test_parameters_name_every_option_and_what_is_in_force_where_it_was_left_out():
    """The report says on what it was run, the enactors' spans included."""
    parameters = options(keep=7, backoff_cap_s=3.0).parameters()

    assert parameters["keep"] == 7
    assert parameters["backoff_cap_s"] == 3.0
    assert parameters["lock_ttl_s"] == 2.0
    assert parameters["convergence_bound_s"] == settle_bound_s(PROFILES["accelerated"])


def test_guards_that_are_off_and_limits_are_told_to_the_system_and_written_down():
    """The checker judges by the limits that were in force, and the page says without what the run was made."""
    chosen = options(without="velocity,fence")

    assert chosen.system(Mode.FIXED).without == "velocity,fence"
    assert chosen.parameters()["without"] == ["fence", "velocity"]
    assert chosen.parameters()["velocity_window_s"] == 30.0
    assert command_line(chosen) == "fencepost compare --seed 1 --without velocity,fence"


def test_settle_bound_of_a_network_without_delays_is_ten_seconds():
    """What the bound adds for stalls, losses and propagation is nothing where there are none."""
    assert settle_bound_s(PROFILES["none"]) == 10.0
    assert settle_bound_s(PROFILES["none"], zones=100) == pytest.approx(10 + 26 * 0.03)
    assert settle_bound_s(PROFILES["none"], zones=1_000) == pytest.approx(5 + 1_000 * SWEEP_ZONE_S + 251 * 0.03)
    assert settle_bound_s(PROFILES["accelerated"]) == pytest.approx(10 + 2 * 6 + 2 * 0.6)


def test_watchers_have_ports_of_their_own_and_write_where_the_history_is_read(tmp_path):
    """Load and canary run beside the system, not in the place of one of its processes."""
    chosen = options(run_dir=tmp_path, load_rate=7.0, canary_rate=3.0)
    specs = watcher_specs(chosen, Settings(), Mode.FIXED)

    assert specs["load"].env["FENCEPOST_LOAD_RATE"] == "7.0"
    assert specs["canary"].env["FENCEPOST_CANARY_RATE"] == "3.0"
    assert specs["canary"].env["FENCEPOST_CANARY_FILE"] == str(tmp_path / "fixed" / "canary.jsonl")
    assert specs["canary"].argv[-2:] == ("-m", "lab.canary")
    assert specs["canary"].admin_port == (specs["load"].admin_port or 0) + 1
    assert specs["canary"].env["FENCEPOST_ADMIN_PORT"] == str(specs["canary"].admin_port)


def test_command_line_names_what_differs_from_the_defaults_and_always_the_seed():
    """What the page says to type runs the same comparison again."""
    assert command_line(options()) == "fencepost compare --seed 1"
    changed = options(seed=3, keep=5, duration_s=10.0, modes=(Mode.BUGGY,))
    assert command_line(changed) == "fencepost compare --seed 3 --duration 10 --keep 5 --mode buggy"


def test_essence_of_dig_is_header_and_answer_section():
    """The SOA of a denial is no answer."""
    answer = ";; ANSWER SECTION:\na.x.test.\t5\tIN\tA\t127.1.0.1\n\n"

    empty = essence(DIG.format(count=0, answer=""))
    full = essence(DIG.format(count=1, answer=answer))

    assert len(empty) == 2
    assert "ANSWER: 0" in empty[1]
    assert full[2:] == (";; ANSWER SECTION:", "a.x.test.       5       IN      A       127.1.0.1")


def test_closing_lines_of_a_good_run_are_short():
    """A run in which nothing happened says so in three lines."""
    assert closing_lines("fixed", recorded()) == [
        "fixed: at the end, 1 of 1 questions are answered with addresses",
        "  at the last plan everywhere 0.5 s after the last change",
        "  the world made 20 changes, 20 a second (0 refused)",
    ]


def test_closing_lines_tell_emptiness_lags_overload_and_restarts():
    """What the figures do not show is said, the lab's own failures included."""
    lines = closing_lines(
        "buggy",
        recorded(
            last_answers=(LastAnswer("a.x.test.", "A", "NOERROR", 0),),
            settled_s=None,
            unsettled={"a.x.test.": "the root's A target is not there"},
            load=Tally(overloaded=4),
            restarts={"planner": 1},
        ),
    )

    assert "  a.x.test. A: NOERROR, 0 addresses" in lines
    assert "  not at the last plan: a.x.test.: the root's A target is not there" in lines
    assert "  the load generator itself could not send 4 requests; they count nowhere else" in lines
    assert "  planner died and was started again 1 x" in lines


async def test_status_of_a_new_mode_forgets_the_one_before():
    """The second mode's display does not begin with the first one's figures."""
    status, clock = Status(), SystemClock()
    status.begin("buggy", clock)
    status.seen({"probes": 9, "empty": 2}, {"load": {"sent": 5, "failed": 1}})
    status.enter(Phase.RUNNING, clock, 10.0)
    told = status.line(clock.monotonic())

    status.begin("fixed", clock)

    assert told == "buggy: world changing (10 s left); plan 0, 2 of 9 answers empty, 1 of 5 requests failed"
    assert status.line(0) == "fixed: starting; plan 0, 0 of 0 answers empty, 0 of 0 requests failed"


async def test_unconverged_reads_the_stores_and_names_each_endpoint_that_differs(redis_url):
    """A root without a tree, with the plan's tree, and with half of it."""
    settings, region = Settings(redis_url=redis_url), load_region()
    zones, plans = open_zone_store(settings, Actor("test")), open_plan_store(settings)
    wanted = content(5, [Target("lb-1", "A", "127.1.0.1", 10), Target("lb-2", "A", "127.1.0.2", 10)])
    await zones.create_zone(ZONE, region.zone_records(ZONE))
    before = await unconverged(zones, plans)
    await plans.publish(Draft({ZONE: wanted}, "first"), expected=0)

    missing = await unconverged(zones, plans)
    await zones.change(ChangeBatch(ZONE, tuple(map(create, tree(wanted)))))
    installed = await unconverged(zones, plans)
    await zones.change(ChangeBatch(ZONE, (delete(tree(wanted)[0]),)))
    halved = await unconverged(zones, plans)

    assert before == installed == {}
    assert list(missing) == list(halved) == [ZONE]
    assert "1 A record set of the plan missing" in halved[ZONE]
    await zones.close()
    await plans.close()


async def test_settle_waits_for_a_plan_that_comes_after_all_was_at_rest(redis_url):
    """A plan that was held back comes while nothing seems to be left: the system has settled when that is live, too."""
    settings, region = Settings(redis_url=redis_url), load_region()
    zones, plans = open_zone_store(settings, Actor("test")), open_plan_store(settings)
    wanted = content(5, [Target("lb-1", "A", "127.1.0.1", 10), Target("lb-2", "A", "127.1.0.2", 10)])
    await zones.create_zone(ZONE, region.zone_records(ZONE))
    clock, looks = VirtualClock(), list[float]()

    async def meanwhile() -> None:
        looks.append(clock.now_s)
        if len(looks) == 2:
            await plans.publish(Draft({ZONE: wanted}, "late"), expected=0)
        if len(looks) == 4:
            await zones.change(ChangeBatch(ZONE, tuple(map(create, tree(wanted)))))

    found = await settle(zones, plans, clock, deadline_s=60.0, quiet_s=2.0, meanwhile=meanwhile)

    assert found == Settled(1, 2.0, {})
    assert clock.now_s == 4.0
    await zones.close()
    await plans.close()


async def test_settle_that_finds_no_rest_says_what_is_left(redis_url):
    """The bound is over: the endpoint, and how it differs."""
    settings, region = Settings(redis_url=redis_url), load_region()
    zones, plans = open_zone_store(settings, Actor("test")), open_plan_store(settings)
    await zones.create_zone(ZONE, region.zone_records(ZONE))
    await plans.publish(Draft({ZONE: content(5, [Target("lb-1", "A", "127.1.0.1", 10)])}, "first"), expected=0)
    clock = VirtualClock()

    found = await settle(zones, plans, clock, deadline_s=3.2, quiet_s=1.0)

    assert (found.generation, found.after_s, list(found.left)) == (1, None, [ZONE])
    assert clock.now_s == 3.2
    await zones.close()
    await plans.close()


async def test_collect_until_an_instant_leaves_out_what_came_after(redis_url):
    """A plan that came after the last look, and what was made of it, are no part of the run."""
    settings, region = Settings(redis_url=redis_url), load_region()
    zones, plans = open_zone_store(settings, Actor("test")), open_plan_store(settings)
    await zones.create_zone(ZONE, region.zone_records(ZONE))
    wanted = [content(5, [Target("lb-1", "A", "127.1.0.1", weight)]) for weight in (10, 20)]
    await plans.publish(Draft({ZONE: wanted[0]}, "first"), expected=0)
    until_us = int(SystemClock().epoch_s() * 1e6)
    await asyncio.sleep(0.005)  # plans are stamped in whole milliseconds
    await plans.publish(Draft({ZONE: wanted[1]}, "second"), expected=1)
    await zones.change(ChangeBatch(ZONE, tuple(map(create, tree(wanted[1])))))

    cut, whole = await collect(zones, plans, [ZONE], until_us=until_us), await collect(zones, plans, [ZONE])

    assert [len(found.commits[ZONE]) for found in (cut, whole)] == [1, 2]
    assert [len(found.plans) for found in (cut, whole)] == [1, 2]
    assert [found.last_plan.content(ZONE) for found in (cut, whole)] == wanted
    await zones.close()
    await plans.close()


class VirtualClock:
    """Time passes when somebody waits."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def epoch_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def tree(wanted: Content):
    """Return the record sets of plan 1's tree and the root that points to it."""
    name = tree_name(ZONE, 1)
    leaves = [
        address(name, t.type, t.address, ttl=wanted.ttl, set_identifier=t.identifier, weight=t.weight)
        for t in wanted.targets
    ]
    return [*leaves, alias(ZONE, "A", name)]


async def test_interruptible_work_is_cancelled_by_a_signal_and_cleans_up():
    """Ctrl-C reaches the work as a cancellation, so that every `finally` runs."""
    cleaned = asyncio.Event()

    async def work() -> int:
        signal.raise_signal(signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()
        return 0

    with pytest.raises(asyncio.CancelledError):
        await interruptible(work())

    assert cleaned.is_set()
