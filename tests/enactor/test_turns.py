"""Which of several enactors begins with an endpoint, and what the others do meanwhile."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from enactor.rounds import Rounds
from enactor.turns import FRESH_S, REPORT_S, Turns
from fencepost.batch import create
from fencepost.errors import StoreUnavailable
from fencepost.events import EventBus, Recorder
from fencepost.fence import Fence
from fencepost.notice import Notice
from fencepost.plan import Lane, Plan, short
from fencepost.stores import Report

NAMES = ("one", "two", "three")
ZONES = tuple(f"{n:02d}.test." for n in range(60))
HEAD_START_S = 0.05
POLL_S = 0.02


class Hands:
    """A clock whose hands are moved by the test."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


def said(*, age_s: float = 0.0, role: str = "enactor", held=(), **fences: tuple[int, str]) -> Report:
    """Return a report; `fences` of a_test=... are of a.test."""
    seen = {f"{name}.test.": word for name, word in fences.items()}
    return Report(role=role, generation=1, text="", age_s=age_s, held=dict.fromkeys(held, "why"), fences=seen)


def plan_of(zones=ZONES, *, generation: int = 2, digest: str = "d" * 32, since: int | None = None) -> Plan:
    """Return a plan that has changed each of some zones last in generation `since`, by default its own."""
    marks = dict.fromkeys(zones, since or generation)
    return Plan(generation, 1, Lane.FAST, "test", dict.fromkeys(zones, digest), {}, {}, marks)


def fence_of(plan: Plan) -> Fence:
    """Return the fence of a plan at any of its zones."""
    return Fence(plan.generation, short(next(iter(plan.digests.values()))), "one-0-1")


def turns_of(name: str = "one", *others: str, clock: Hands | None = None, **named: Report) -> Turns:
    """Return an enactor's turns that has heard of others."""
    turns = Turns(name, clock or Hands(), EventBus(Recorder()), HEAD_START_S)
    turns.hear({other: said() for other in others} | named)
    return turns


def second_at(turns: Turns, plan: Plan) -> str:
    """Return a zone at which exactly one other goes before this enactor."""
    return next(zone for zone in plan.digests if turns.place(zone) == 1)


def pass_time(turns: Turns, plan: Plan, zone: str, clock: Hands, seconds: float) -> bool:
    """Say whether a zone is still left to others, some time after a round that has looked."""
    clock.now_s += seconds
    return zone in turns.divide(plan, [zone], {}).left


def test_enactors_that_hear_of_each_other_divide_all_endpoints_among_them():
    """Each endpoint has one that goes first, one that is second, and so on, and each enactor gets its share."""
    every = {name: turns_of(name, *(other for other in NAMES if other != name)) for name in NAMES}
    plan = plan_of()

    for zone in ZONES:
        assert sorted(turns.place(zone) for turns in every.values()) == [0, 1, 2]
    begun = Counter(
        zone for turns in every.values() for zone in ZONES if zone not in turns.divide(plan, ZONES, {}).left
    )
    assert begun == Counter(ZONES)
    assert all(sum(not turns.place(zone) for zone in ZONES) > len(ZONES) / 6 for turns in every.values())


def test_enactor_that_goes_leaves_its_own_endpoints_alone_to_others():
    """No other endpoint changes hands: rendezvous hashing."""
    both, alone = turns_of("one", "two", "three"), turns_of("one", "two")

    first = {zone for zone in ZONES if not both.place(zone)}
    assert first < {zone for zone in ZONES if not alone.place(zone)}
    gained = {zone for zone in ZONES if not alone.place(zone)} - first
    three = turns_of("three", "one", "two")
    assert all(three.place(zone) == 0 for zone in gained)


@pytest.mark.parametrize(
    "reports",
    [
        {},
        {"one": said()},
        {"planner": said(role="planner")},
        {"two": said(age_s=FRESH_S), "three": said(age_s=1e6)},
    ],
    ids=["nobody", "itself", "a planner", "old"],
)
def test_enactor_that_knows_of_no_other_leaves_nothing_to_anybody(reports):
    """Not to itself, to a planner, or to who has said nothing for long: at the start of a system nobody waits."""
    turns, plan = turns_of("one", **reports), plan_of()

    assert turns.divide(plan, ZONES, {}) == (frozenset(), {})
    assert turns.order(ZONES[::-1]) == turns.order(ZONES)
    turns.moves(ZONES[0])
    turns.arrived(ZONES[0], fence_of(plan))
    assert not turns.fences
    assert not turns.tells_first()
    assert not turns.listens


def test_orders_of_two_enactors_differ_and_leave_no_zone_out():
    """Each is its own, and the same every time: whatever order the zones were given in."""
    one, two = turns_of("one"), turns_of("two")

    assert one.order(ZONES) == one.order(ZONES[::-1]) == turns_of("one").order(ZONES)
    assert one.order(ZONES) != two.order(ZONES)
    assert sorted(one.order(ZONES)) == sorted(two.order(ZONES)) == list(ZONES)


def test_who_takes_over_begins_where_the_first_would_end():
    """So the two meet once, and not at each endpoint."""
    one, two = turns_of("one", "two"), turns_of("two", "one")
    ones = [zone for zone in ZONES if not one.place(zone)]

    assert two.order(ZONES)[-len(ones) :] == one.order(ones)[::-1]
    assert not any(two.place(zone) for zone in two.order(ZONES)[: -len(ones)])


def test_head_start_is_as_long_for_each_enactor_before_and_ends():
    """The second begins after one, the third after two, both counted from the round after the one that looked."""
    clock, plan = Hands(), plan_of()
    turns = turns_of("one", "two", "three", clock=clock)
    second, third = second_at(turns, plan), next(zone for zone in ZONES if turns.place(zone) == 2)

    assert turns.divide(plan, ZONES, {}).left == {zone for zone in ZONES if turns.place(zone)}
    clock.now_s += 10.0  # a long round: the others' may be as long
    assert {second, third} <= turns.divide(plan, ZONES, {}).left
    assert pass_time(turns, plan, second, clock, 0.99 * HEAD_START_S)
    assert not pass_time(turns, plan, second, clock, 0.02 * HEAD_START_S)
    assert pass_time(turns, plan, third, clock, 0.98 * HEAD_START_S)
    assert not pass_time(turns, plan, third, clock, 0.02 * HEAD_START_S)


def test_endpoint_that_others_say_has_the_plan_is_told_and_one_that_went_on_is_left_anew():
    """A fence with the plan's content is as good as seen; one between says that somebody is at it."""
    clock = Hands()
    turns, plan = turns_of("one", "two", clock=clock), plan_of(generation=5)
    zone = second_at(turns, plan)
    name = zone.partition(".")[0]
    assert pass_time(turns, plan, zone, clock, 0)
    assert pass_time(turns, plan, zone, clock, 0)

    turns.hear({"two": said(**{name: (4, "e" * 8)})})
    assert pass_time(turns, plan, zone, clock, 2 * HEAD_START_S)
    assert pass_time(turns, plan, zone, clock, 2 * HEAD_START_S)
    turns.hear({"two": said()})  # it has nothing to say of it any more: that is no step
    assert not pass_time(turns, plan, zone, clock, 2 * HEAD_START_S)

    turns.hear({"two": said(**{name: (5, "d" * 8)})})
    assert turns.divide(plan, [zone], {}).told.keys() == {zone}
    turns.hear({"two": said(**{name: (5, "e" * 8)})})
    assert not turns.divide(plan, [zone], {}).told, "another plan of this number: a lost one"


def test_endpoint_in_trouble_is_left_to_nobody():
    """Neither one that is held here, nor one that another says is held there."""
    turns, plan = turns_of("one", "two", three=said(held=ZONES[:30])), plan_of()
    behind = [zone for zone in ZONES if turns.place(zone)]

    left = turns.divide(plan, behind, dict.fromkeys(ZONES[50:], "why")).left

    assert left == {zone for zone in behind if zone in ZONES[30:50]}


def test_enactor_that_is_late_is_not_waited_for_until_it_says_something():
    """It costs its endpoints one head start, not one with each plan; and it comes back by its own word."""
    clock, plan = Hands(), plan_of()
    turns = turns_of("one", "two", clock=clock)
    zone = second_at(turns, plan)
    turns.divide(plan, ZONES, {})
    turns.moves(zone)
    assert turns.place(zone) == 1, "it has its head start still"

    assert pass_time(turns, plan, zone, clock, 0)
    assert not pass_time(turns, plan, zone, clock, HEAD_START_S)
    turns.moves(zone)
    assert not turns.divide(plan_of(generation=3), ZONES, {}).left

    clock.now_s += 1.0
    turns.hear({"two": said(age_s=1.5)})
    assert not turns.place(zone), "that is from before"
    turns.hear({"two": said(age_s=0.5)})
    assert turns.place(zone) == 1


def test_words_are_told_once_each_and_for_a_while():
    """What a look finds again is no news; what is older than the others may wait is left out."""
    clock, plan = Hands(), plan_of()
    turns = turns_of("one", "two", clock=clock)

    turns.arrived(ZONES[0], fence_of(plan))
    news = turns.news
    turns.arrived(ZONES[0], fence_of(plan))
    assert turns.news == news
    assert turns.fences == {ZONES[0]: (2, "d" * 8)}

    clock.now_s += REPORT_S / 2
    turns.arrived(ZONES[1], fence_of(plan))
    assert turns.news != news
    assert set(turns.fences) == set(ZONES[:2])
    clock.now_s += REPORT_S / 2 + 0.1
    assert set(turns.fences) == {ZONES[1]}


def test_round_ends_to_tell_the_others_but_never_twice_in_a_row():
    """Cleaning comes in the next round, however many plans there are."""
    turns, plan = turns_of("one", "two"), plan_of()
    told = []

    for zone in ZONES[:4]:
        turns.arrived(zone, fence_of(plan))
        told.append(turns.tells_first())

    assert told == [True, False, True, False]
    assert not turns.tells_first()


class Words:
    """The plan store's reports, whose ages are by the world's virtual time; `away`: they cannot be read."""

    def __init__(self, world) -> None:
        self._plans, self._clock = world.plans, world.clock
        self._said_s: dict[str, float] = {}
        self.away = False

    async def report(self, name: str, report: Report) -> None:
        self._said_s[name] = self._clock.now_s
        await self._plans.report(name, report)

    async def reports(self) -> dict[str, Report]:
        if self.away:
            raise StoreUnavailable("not now")
        now_s = self._clock.now_s
        found = await self._plans.reports()
        return {name: replace(word, age_s=now_s - self._said_s[name]) for name, word in found.items()}


class Crew:
    """Enactors with their rounds on one world; `stopped` ones do none."""

    def __init__(self, world) -> None:
        self.world, self.words, self.stopped = world, Words(world), set[str]()
        self.staged = {name: world.enactor("fixed", name) for name in NAMES}
        self.rounds = {name: self._rounds(name) for name in NAMES}
        self.reads = Counter[str]()
        for name, staged in self.staged.items():
            staged.store.read = self._counting(name, staged.store.read)

    def _rounds(self, name: str) -> Rounds:
        staged = self.staged[name]
        tools, bus = staged.tools, EventBus(staged.recorder)
        return Rounds(
            staged.enactor, staged.settings, self.words, clock=self.world.clock, events=bus, turns=tools.turns
        )

    def _counting(self, name: str, read: Callable) -> Callable:
        async def counting(zone, keys):
            self.reads[name] += 1
            return await read(zone, keys)

        return counting

    def first(self, zone: str) -> str:
        return next(name for name in NAMES if not self.staged[name].tools.turns.place(zone))

    def flips(self, name: str, generation: int) -> list[str]:
        """Return the zones that an enactor has moved to a plan."""
        found = self.staged[name].saw("enactor.flip_committed")
        return sorted(event.zone for event in found if event.generation == generation)

    async def go(self) -> None:
        """Let everybody do a round, side by side, and a pause pass."""
        await asyncio.gather(*(rounds.one() for name, rounds in self.rounds.items() if name not in self.stopped))
        self.world.clock.now_s += POLL_S

    async def install(self, weight: int) -> int:
        """Publish a plan that changes every zone; do rounds until everybody who works knows it to be installed."""
        contents = {zone.partition(".")[0]: self.world.targets(weight=weight) for zone in self.world.zones}
        generation = await self.world.publish(**contents)
        for _ in range(30):
            await self.go()
            if all(
                rounds.last.installed == generation for name, rounds in self.rounds.items() if name not in self.stopped
            ):
                return generation
        raise AssertionError({name: rounds.last for name, rounds in self.rounds.items()})


@pytest.fixture
async def crew(world) -> Crew:
    """Three enactors that have heard of each other, and have installed a plan."""
    await world.add_zones(*(f"{letter}.test." for letter in "abcdefgh"))
    crew = Crew(world)
    await crew.go()
    world.clock.now_s += REPORT_S
    await crew.go()
    await crew.install(1)
    return crew


async def test_plan_is_installed_by_whoever_goes_first_and_known_to_all_without_a_look(world, crew):
    """Each zone is looked at by one enactor, built once and flipped once; the others take its word."""
    crew.reads.clear()

    generation = await crew.install(2)

    for name in NAMES:
        mine = [zone for zone in world.zones if crew.first(zone) == name]
        assert crew.flips(name, generation) == mine
        assert crew.reads[name] == len(mine)
        assert not crew.staged[name].saw("enactor.lock_missed")
        assert not crew.staged[name].saw("enactor.others_late")
    assert await world.violations() == ()


async def test_stopped_enactor_costs_its_endpoints_one_head_start_and_the_next_plan_none(world, crew):
    """The next in order take them over; when it is back and says so, it goes first again."""
    gone = crew.first("a.test.")
    theirs = [zone for zone in world.zones if crew.first(zone) == gone]
    crew.stopped = {gone}
    heirs = [name for name in NAMES if name != gone]

    began_s = world.clock.now_s
    generation = await crew.install(2)
    taken_s = world.clock.now_s - began_s
    assert sorted(zone for name in heirs for zone in crew.flips(name, generation)) == world.zones
    assert taken_s < 2 * (HEAD_START_S + POLL_S) + 4 * POLL_S
    late = [event for name in heirs for event in crew.staged[name].saw("enactor.others_late")]
    assert late
    assert all(event.zone in theirs and gone in event.reason for event in late)

    began_s = world.clock.now_s
    generation = await crew.install(3)
    assert world.clock.now_s - began_s < HEAD_START_S, "nobody waits a second time"
    assert len([event for name in heirs for event in crew.staged[name].saw("enactor.others_late")]) == len(late)

    crew.stopped = set()
    for _ in range(3):
        await crew.go()
    world.clock.now_s += REPORT_S
    await crew.go()
    generation = await crew.install(4)
    assert crew.flips(gone, generation) == theirs
    assert await world.violations() == ()


async def test_zone_that_is_frozen_is_tried_by_everybody_and_makes_nobody_late(world, crew):
    """Who goes first says that it is held; the others look for themselves, and wait for nobody else's zones."""
    await world.operate("a.test.", create(Notice("anna", 1, "looking").freezing("a.test.")))

    generation = await crew.install(2)

    assert all("a.test." in rounds.last.held for rounds in crew.rounds.values())
    assert sorted(zone for name in NAMES for zone in crew.flips(name, generation)) == world.zones[1:]
    assert not [name for name in NAMES if crew.staged[name].saw("enactor.others_late")]


async def test_enactors_that_cannot_hear_each_other_install_all_the_same(world, crew):
    """Reports that cannot be read put nothing off for longer than the head start."""
    crew.words.away = True

    await crew.install(2)

    assert {await world.fenced(zone) for zone in world.zones} == {2}


async def test_zones_are_swept_by_who_goes_first_and_less_often_by_the_others(world, crew):
    """Within one span each by somebody, within two by the second, within three by the third."""
    for _ in range(3):
        await crew.go()
    counts = Counter[tuple[str, str]]()
    for name, staged in crew.staged.items():

        async def counting(zone, keys, name=name, read=staged.store.read):
            counts[name, zone] += 1
            return await read(zone, keys)

        staged.store.read = counting
    sweep_s = crew.staged["one"].settings.pauses.sweep_s

    for _ in range(60):
        world.clock.now_s += sweep_s / 10
        await crew.go()

    for zone in world.zones:
        looks = sorted((counts[name, zone] for name in NAMES), key=int, reverse=True)
        places = sorted(NAMES, key=lambda name: crew.staged[name].tools.turns.place(zone))
        assert [counts[name, zone] for name in places] == looks
        assert looks[0] >= 5
        assert 1 <= looks[2] <= 3
