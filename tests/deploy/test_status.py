"""Status: facts out of a real store that was broken by hand, with every process of the system dead, and as typed."""

import json
from pathlib import Path

import msgspec
import pytest

from deploy.page_list import Page, format_pages, parse_pages
from deploy.rollback import Rollback
from deploy.said import Behind
from deploy.status import StatusSettings, collecting
from deploy.status_text import endpoint_table
from enactor.tree import flip_rollback, flip_root, tree_records
from fencepost import cli
from fencepost.alarms import judge
from fencepost.batch import ChangeBatch, create, delete, upsert
from fencepost.client import stores
from fencepost.clock import SystemClock
from fencepost.connect import open_plan_store, open_zone_store
from fencepost.errors import PlanUnsafe, StartupError, ZoneFrozen
from fencepost.events import EventBus
from fencepost.facts import FenceFacts, Pointer
from fencepost.fence import Fence
from fencepost.names import lock_name, tree_name
from fencepost.notice import Notice
from fencepost.plan import Draft, Target, content, digest, short
from fencepost.records import txt
from fencepost.redis_client import open_client
from fencepost.region import load_region
from fencepost.stores import Actor, Report
from fencepost.symptoms import Cause

ONE, TWO = "one.fencepost.test.", "two.fencepost.test."
REGION = """
name = "small"
ttl_s = 5
soa = {ttl_s = 9, minimum_s = 864}
availability_zone = [{id = "z1"}]
load_balancer = [
  {name = "lb-1", zone = "z1", address = "127.1.1.1", address6 = "::ffff:127.1.1.1"},
  {name = "lb-2", zone = "z1", address = "127.1.1.2", address6 = "::ffff:127.1.1.2"},
]
endpoint = [
  {name = "one.fencepost.test", kind = "regional-ipv4", load_balancers = ["lb-*"]},
  {name = "two.fencepost.test", kind = "dual-stack", types = ["A", "AAAA"], load_balancers = ["lb-*"]},
]
"""
NOTICE = Notice("alice", 1_760_942_880, "a race")


def balancers(count, kinds=("A",)):
    """Return a content of the region's first load balancers."""
    address = {"A": "127.1.1.{}", "AAAA": "::ffff:127.1.1.{}"}
    return content(5, [Target(f"lb-{n}", k, address[k].format(n), 10) for n in range(1, count + 1) for k in kinds])


class World:
    """Stores of the small region, and what a person does to them."""

    def __init__(self, settings: StatusSettings) -> None:
        self.settings = settings
        self.zones = open_zone_store(settings, Actor("alice", operator=True))
        self.plans = open_plan_store(settings)
        self._flips = 0

    async def create(self) -> None:
        region = load_region(self.settings.region_file)
        for name in region.endpoint_names:
            await self.zones.create_zone(name, region.zone_records(name))

    async def publish(self, one=2, two=2) -> int:
        changes = {ONE: balancers(one), TWO: balancers(two, ("A", "AAAA"))}
        return await self.plans.publish(Draft(changes, "a test"), expected=await self.plans.latest_generation())

    async def commit(self, zone, *changes, comment="by hand") -> None:
        await self.zones.change(ChangeBatch(zone, changes, comment=comment))

    async def records(self, zone):
        return (await self.zones.page(zone)).record_sets

    async def install(self, *, fenced=True) -> None:
        """Put the latest plan live everywhere, as an enactor leaves it."""
        plan = await self.plans.latest()
        assert plan is not None
        for zone in plan.digests:
            root = [r for r in await self.records(zone) if r.name == zone and r.alias]
            tree = tree_records(zone, plan.generation, plan.content(zone))
            self._flips += 1
            fence = Fence(plan.generation, short(plan.digests[zone]), f"e-1-{self._flips}").record(zone)
            flip = (*flip_rollback(zone, root), *flip_root(zone, plan.generation, plan.content(zone), root))
            await self.commit(zone, *map(upsert, tree), *flip, *([upsert(fence)] if fenced else []))

    async def lose_tree(self, zone, generation, *, spare=()) -> None:
        leaves = [r for r in await self.records(zone) if r.name == tree_name(zone, generation)]
        gone = [delete(r) for r in leaves if r.set_identifier not in spare]
        await self.commit(zone, *gone, comment=f"clean {generation}")

    async def look(self):
        async with collecting(self.settings, SystemClock()) as collector:
            return await collector.look()

    async def judge(self):
        return judge(await self.look())


@pytest.fixture
def region_file(tmp_path: Path) -> Path:
    """The small region."""
    path = tmp_path / "region.toml"
    path.write_text(REGION)
    return path


@pytest.fixture
async def world(redis_url, region_file, port_base):
    """Zones without any plan; nobody listens on any port."""
    found = World(StatusSettings(redis_url=redis_url, region_file=region_file, port_base=port_base))
    await found.create()
    yield found
    await found.zones.close()
    await found.plans.close()


def of_stores(judgement):
    """Return the findings that do not only say that no name server listens, which is so in all of these tests."""
    found = ([judgement.alarm.primary, *judgement.alarm.also] if judgement.alarm else []) + list(judgement.notes)
    return [finding for finding in found if finding.cause is not Cause.RESOLVER_SILENT]


async def test_look_at_a_plan_store_with_a_damaged_content_says_so_each_time(world, damage):
    """It is the store's trouble: no look ends by it, and nothing is concluded from what cannot be read."""
    await world.publish()
    await world.install()
    damaged = (await world.plans.latest()).digests[ONE]
    await damage(damaged)

    async with collecting(world.settings, SystemClock()) as collector:
        looks = [await collector.look() for _ in range(2)]

    for facts in looks:
        assert f"content {damaged} is damaged in the plan store" in facts.store_problem


@pytest.mark.parametrize("known", [False, True])
async def test_look_at_a_plan_store_whose_damaged_content_is_replaced_has_every_fact_again(world, damage, known):
    """Whether the collector was there before the damage or not."""
    await world.publish(one=1)
    await world.install()

    async with collecting(world.settings, SystemClock()) as collector:
        if known:
            assert (await collector.look()).store_problem == ""
        await world.publish(one=2)
        await damage((await world.plans.latest()).digests[ONE])
        damaged = await collector.look()
        await world.publish(one=1)
        mended = await collector.look()

    assert damaged.store_problem.startswith(f"{ONE}: content ")
    assert (mended.store_problem, len(mended.endpoints)) == ("", 2)
    assert mended.endpoints[0].serial > 0


async def test_look_at_a_system_that_is_well_has_every_fact(world):
    """Root, rollback, fence, addresses by type, and no lag; only DNS is silent."""
    await world.publish(one=1)
    await world.install()
    await world.publish(one=2)
    await world.install()

    facts = await world.look()

    one, two = facts.endpoints
    assert (facts.latest, facts.store_problem, facts.queue_size) == (2, "", None)
    assert one.root == (Pointer("A", f"plan-000002.{ONE}"),)
    assert one.rollback == (Pointer("A", f"plan-000001.{ONE}"),)
    assert (one.live, one.addresses, one.lag_s, one.damaged) == (2, {"A": 2}, None, 0)
    assert one.fence == FenceFacts(2, short(digest(balancers(2))))
    assert two.addresses == {"A": 2, "AAAA": 2}
    assert of_stores(judge(facts)) == []


async def test_status_of_a_dangling_root_names_who_deleted_its_tree(world):
    """An operator deletes the live tree: which one, who, for what, and who had flipped to it."""
    await world.publish()
    await world.install()
    await world.lose_tree(ONE, 1)

    (finding,) = of_stores(await world.judge())

    assert finding.cause is Cause.ROOT_DANGLING
    assert finding.endpoints == (ONE,)
    assert "the root points to plan-000001, whose tree was deleted by alice at " in finding.sentence
    assert "(clean 1); alice had pointed the root to it at " in finding.sentence
    assert finding.command == "fencepost repair one.fencepost.test"


async def test_age_of_a_hidden_commit_is_the_least_where_the_history_was_trimmed(world, redis_url):
    """DNS is at commit 1, 2 is no longer kept and 3 is: what DNS shows may be older than 3 says."""
    for text in "ab":
        await world.commit(ONE, upsert(txt(f"note.{ONE}", text)))
    async with collecting(world.settings, SystemClock()) as collector:
        whole = await collector._behind(3, 1, ONE)
        client = open_client(redis_url)
        await client.xtrim(f"{{{ONE}}}:stream", maxlen=1, approximate=False)
        await client.aclose()
        trimmed = await collector._behind(3, 1, ONE)

        assert not whole.more
        assert trimmed.more
        assert whole.age_s > 0
        assert trimmed.age_s > 0
        assert await collector._behind(3, 3, ONE) == Behind(0.0)


async def test_status_of_a_root_that_dangles_in_one_type_says_which(world):
    """AAAA alone going away is an outage for those who use it."""
    await world.publish()
    await world.install()
    gone = [r for r in await world.records(TWO) if r.type == "AAAA" and r.set_identifier]
    await world.commit(TWO, *map(delete, gone))

    (finding,) = of_stores(await world.judge())

    assert finding.cause is Cause.ROOT_DANGLING
    assert "the root's AAAA points to plan-000001" in finding.sentence


async def test_status_of_a_dangling_root_explains_the_plan_that_does_not_come(world):
    """What cannot be installed since is a consequence, at the other endpoint too; it is one alarm."""
    await world.publish(one=1, two=1)
    await world.install(fenced=False)
    await world.lose_tree(ONE, 1)
    await world.publish()
    facts = await world.look()
    late = [msgspec.structs.replace(found, lag_s=60.0) for found in facts.endpoints if found.lag_s is not None]

    judgement = judge(msgspec.structs.replace(facts, endpoints=tuple(late)))

    assert len(late) == 2, "both wait for plan 2"
    found = {finding.cause: finding for finding in of_stores(judgement)}
    assert set(found) == {Cause.ROOT_DANGLING, Cause.BUGGY_PROTOCOL}
    assert "the latest plan is not installed" in " ".join(found[Cause.ROOT_DANGLING].consequences)


async def test_status_of_a_damaged_tree_counts_what_is_wrong(world):
    """One record of the live tree is gone: capacity that no plan took away."""
    await world.publish()
    await world.install()
    await world.lose_tree(ONE, 1, spare=("lb-1",))

    (finding,) = of_stores(await world.judge())

    assert finding.cause is Cause.TREE_DAMAGED
    assert finding.sentence.startswith(
        "one.fencepost.test: its live tree plan-000001 differs from its plan in 1 record set; "
        "records of it were deleted by alice at "
    )


async def test_status_of_a_lost_rollback_is_a_ticket(world):
    """The tree that rollback points to is gone: customers are served, but there is no way back."""
    await world.publish(one=1)
    await world.install()
    await world.publish(one=2)
    await world.install()
    await world.lose_tree(ONE, 1)

    (finding,) = of_stores(await world.judge())

    assert (finding.cause, finding.severity) == (Cause.ROLLBACK_DANGLING, "ticket")


async def test_status_of_frozen_and_pinned_is_no_alarm(world):
    """What operators did is a note, with who, when, why, and how it ends."""
    await world.publish()
    await world.install()
    await world.commit(ONE, create(NOTICE.freezing(ONE)))
    await world.plans.publish(
        Draft({TWO: balancers(1, ("A", "AAAA"))}, "rollback", by="bob", operator=True, pin=NOTICE), expected=1
    )

    facts = await world.look()

    notes = {note.cause: note for note in judge(facts).notes}
    assert facts.endpoints[0].frozen == facts.endpoints[1].pinned == NOTICE
    assert "frozen by alice since 06:48:00 UTC: a race" in notes[Cause.FROZEN].sentence
    assert notes[Cause.FROZEN].command == "fencepost thaw --endpoint one.fencepost.test"
    assert notes[Cause.PINNED].command == "fencepost thaw --endpoint two.fencepost.test"


async def test_status_row_of_a_frozen_endpoint_tells_that_once(world):
    """The zone says so with who, when and why; that enactors report the same adds nothing."""
    await world.publish()
    await world.install()
    await world.commit(ONE, create(NOTICE.freezing(ONE)))
    word = Report(role="enactor", generation=1, text="", held={ONE: str(ZoneFrozen(ONE, NOTICE.told))})
    await world.plans.report("az1-enactor", word)

    table = endpoint_table(await world.look())

    row = [str(next(iter(column.cells))) for column in table.columns]
    assert row[-1] == "frozen by alice since 06:48:00 UTC: a race"


async def test_status_of_a_refused_plan_explains_the_refusal(world):
    """The enactors' own report says why: numbers, limit and remedy stand in the alarm."""
    await world.publish()
    await world.install()
    await world.publish(one=1)
    refused = str(PlanUnsafe.removal(ONE, "A", removed=10, highest=20, limit=0.4, window_s=30))
    for name in ("az1-enactor", "az2-enactor"):
        report = Report(role="enactor", generation=2, text="plan 2 is on every endpoint but one", held={ONE: refused})
        await world.plans.report(name, report)

    facts = await world.look()

    (finding,) = of_stores(judge(facts))
    assert finding.cause is Cause.PLAN_REFUSED
    assert "the plan takes away 10 of 20 A capacity within 30 s (50%), the limit is 40%" in finding.sentence
    assert finding.command.startswith("fencepost plan diff 1 2   # if it is meant: ")
    assert facts.queue_size == 0
    assert [process.name for process in facts.processes] == ["az1-enactor", "az2-enactor"]


async def test_status_of_a_rollback_is_a_note_whatever_the_planner_reports(world):
    """The planner reports what is pinned among what it holds; nobody has to do anything, before a thaw and after it."""
    await world.publish()
    await world.install()
    await world.publish(one=1)
    await world.install()
    async with stores(world.settings, Actor("ada", operator=True)) as opened:
        done = await Rollback(opened, SystemClock(), EventBus()).run(ONE, why="a race")
    word = Report(role="planner", generation=3, text="all is well", held={ONE: done.pin.text})
    await world.plans.report("planner", word)

    (note,) = of_stores(await world.judge())
    await world.plans.unpin([ONE])

    assert (note.cause, note.severity) == (Cause.PINNED, "note")
    assert of_stores(await world.judge()) == []


async def test_status_of_a_limited_removal_is_one_finding_with_what_helps(world):
    """Only the planner's report says so, its page is silent: it is no enactor that refuses a plan."""
    await world.publish()
    await world.install()
    limited = f"{ONE}: 9 of 18 load balancers would leave, the limit is 7; 2 of them stay"
    await world.plans.report("planner", Report(role="planner", generation=1, text="", held={ONE: limited}))

    (finding,) = of_stores(await world.judge())

    assert (finding.cause, finding.endpoints) == (Cause.REMOVAL_LIMITED, (ONE,))
    assert finding.sentence == "one.fencepost.test: 9 of 18 load balancers would leave, the limit is 7; 2 of them stay"
    assert "/v1/load-balancers   # wait for the window" in finding.command
    assert finding.command.endswith('drain again with {"force": true}')


async def test_status_of_control_records_that_nobody_writes_says_what_they_say(world):
    """Each is told, and none hides another."""
    await world.publish()
    await world.install()
    await world.commit(ONE, create(txt(lock_name(ONE), "hello")), create(txt(f"_capacity.{ONE}", "much")))

    (finding,) = of_stores(await world.judge())

    assert finding.cause is Cause.RECORD_INVALID
    assert "_capacity" in " ".join(finding.details)
    assert "hello" in " ".join(finding.details)


async def test_status_of_a_lock_from_a_wrong_clock_is_told(world):
    """It expires in minutes, which no lock of ours does."""
    await world.publish()
    await world.install()
    expires_s = int(SystemClock().epoch_s()) + 288
    await world.commit(ONE, create(txt(lock_name(ONE), f"az1-enactor {expires_s}")))

    (finding,) = of_stores(await world.judge())

    assert finding.cause is Cause.LOCK_TOO_LONG
    assert "az1-enactor has locked it until 28" in finding.sentence


async def test_status_of_a_fence_from_a_lost_future_is_told(world):
    """The plan store lost what the zone has."""
    await world.publish()
    await world.install()
    fence = next(r for r in await world.records(ONE) if r.name == f"_generation.{ONE}")
    await world.commit(ONE, delete(fence), create(Fence(9, "0123abcd", "e-1-9").record(ONE)))

    (finding,) = of_stores(await world.judge())

    assert finding.cause is Cause.FENCE_AHEAD


async def test_status_of_a_zone_that_is_gone_says_so(world):
    """A region has an endpoint that the store has no zone for."""
    await world.publish()
    await world.install()
    text = world.settings.region_file.read_text().replace("one.fencepost.test", "three.fencepost.test")
    world.settings.region_file.write_text(text)

    (finding,) = of_stores(await world.judge())

    assert finding.cause is Cause.ZONE_UNREADABLE
    assert "No hosted zone found" in finding.sentence


async def test_lag_counts_from_the_first_plan_that_changes_the_endpoint(world):
    """Plans that leave an endpoint as it is do not make it late."""
    await world.publish(one=1)
    await world.install()
    await world.plans.publish(Draft({TWO: balancers(1, ("A", "AAAA"))}, "two only"), expected=1)
    await world.plans.publish(Draft({ONE: balancers(2)}, "one only"), expected=2)

    facts = await world.look()

    one, two = facts.endpoints
    assert one.lag_s is not None
    assert two.lag_s is not None
    assert one.lag_s <= two.lag_s
    assert (one.lag_generations, two.lag_generations) == (2, 2)


async def test_lag_among_many_plans_is_found_from_where_the_endpoint_stands(world):
    """Hundreds of plans that change the other endpoint only lie before the first one that it waits for."""
    await world.publish(one=1)
    await world.install()
    for number in range(130):
        change = {TWO: balancers(1 + number % 2, ("A", "AAAA"))}
        await world.plans.publish(Draft(change, "two only"), expected=1 + number)
    await world.plans.publish(Draft({ONE: balancers(2)}, "one"), expected=131)
    await world.plans.publish(Draft({ONE: balancers(2), TWO: balancers(1)}, "both"), expected=132)
    history = {summary.generation: summary.published_ms for summary in await world.plans.history(200)}

    async with collecting(world.settings, SystemClock()) as collector:
        said = await collector._ask_stores()

    assert said.waiting_ms == {ONE: history[132], TWO: history[2]}


async def test_lag_of_a_zone_ahead_of_the_store_is_unknown(world):
    """No plan is known that it waits for: it is told as what it is, a fence from a lost future."""
    await world.publish()
    await world.install()
    fence = next(r for r in await world.records(ONE) if r.name == f"_generation.{ONE}")
    await world.commit(ONE, delete(fence), create(Fence(9, "0123abcd", "e-1-9").record(ONE)))

    facts = await world.look()

    assert (facts.endpoints[0].lag_s, facts.endpoints[0].lag_generations) == (None, 0)


async def test_look_without_a_store_says_so_and_asks_the_rest(world):
    """The store being away is a fact, no error."""
    away = world.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    async with collecting(away, SystemClock()) as collector:
        facts = await collector.look()

    assert "cannot be read" in facts.store_problem
    assert [endpoint.name for endpoint in facts.endpoints] == [ONE, TWO]
    alarm = judge(facts).alarm
    assert alarm is not None
    assert alarm.primary.cause is Cause.STORE_DOWN


def status(world, *arguments):
    """Run the command as typed."""
    settings = world.settings
    where = ["--redis-url", settings.redis_url, "--region", str(settings.region_file)]
    return cli.run(["status", *where, "--port-base", str(settings.port_base), *arguments])


async def in_thread(call, *arguments):
    """Run a command, which has a loop of its own, beside the test's."""
    import asyncio

    return await asyncio.to_thread(call, *arguments)


async def test_status_as_typed_prints_the_alarm_first_and_ends_with_code_1(world, capsys, tmp_path):
    """First line the cause, then what to type; facts and alarm as JSON."""
    await world.publish()
    await world.install()
    await world.lose_tree(ONE, 1)

    code = await in_thread(status, world, "--json", str(tmp_path / "status.json"))

    said = capsys.readouterr().out.splitlines()
    assert code == 1
    assert said[0].startswith("PAGE: one.fencepost.test: the root points to plan-000001, whose tree was deleted by")
    assert "    run: fencepost repair one.fencepost.test" in said
    document = json.loads((tmp_path / "status.json").read_text())
    assert document["alarm"]["primary"]["cause"] == "root-dangling"
    assert document["facts"]["endpoints"][0]["name"] == ONE


async def test_status_as_typed_without_a_store_is_code_3(world, capsys):
    """The alarm is the store; the exit code says that nothing could be read."""
    world.settings = world.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})

    code = await in_thread(status, world)

    assert code == 3
    assert "PAGE: the store at redis://127.0.0.1:1/0 does not answer" in capsys.readouterr().out


def test_pages_setting_is_read_as_it_is_written():
    """What the supervisor tells, a status understands."""
    pages = (Page("enactor", "use1-az1-enactor", 5313), Page("planner", "planner", 5312))

    assert parse_pages(format_pages(pages)) == pages
    assert parse_pages("") == ()


def test_pages_setting_bad_one_is_named():
    """A setting that is none is an error of ours."""
    with pytest.raises(StartupError, match="kind:name:port"):
        parse_pages("planner=5312")
