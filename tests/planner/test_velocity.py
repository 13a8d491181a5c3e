"""Velocity control over time, on the default region and real stores, with time and observations of the test's own."""

import itertools
import random

import pytest

from fencepost.batch import ChangeBatch, upsert
from fencepost.capacity import CapacityHistory, capacity_of
from fencepost.events import EventBus
from fencepost.fence import Fence
from fencepost.plan import Content, Contents, Draft, Forced, Lane, Plan, Target, content, digest
from fencepost.region import load_region
from planner.floor import ZoneSeen
from planner.layout import Layout
from planner.memory import Memory
from planner.observe import Observed
from planner.publish import Publisher
from planner.requests import Kind, Request, encode_request

LAYOUT = Layout.of(load_region())
NAMES = tuple(LAYOUT.balancers)
MAIN = "dynamodb.us-east-1.fencepost.test."
WELL, DEAD = Observed(healthy=True, capacity=100), Observed(healthy=False, capacity=100)
WINDOW_S = 30


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def epoch_s(self) -> float:
        return 1_792_000_000 + self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def publisher_of(settings, plans, zones, recorder, clock):
    """Makes publishers over the default region."""

    def make(**changed: object) -> Publisher:
        changed_settings = settings.model_copy(update={"look_interval_s": 3.0, **changed})
        return Publisher(changed_settings, LAYOUT, plans, zones, events=EventBus(recorder), clock=clock)

    return make


def capacity(publisher: Publisher, name: str = MAIN) -> int:
    """Return the A capacity that the latest plan has."""
    return capacity_of(publisher.snapshot.contents[name])[0]


async def flap(publisher: Publisher, clock: Hand, seconds: int) -> list[tuple[float, dict[str, int]]]:
    """Let every load balancer be up for 1 s, then down for 2 to 5 s, each at its own pace; return the capacities."""
    rng = random.Random(7)
    paces = {name: (rng.uniform(3, 6), rng.uniform(0, 6)) for name in NAMES}
    await publisher.settle(dict.fromkeys(NAMES, WELL))
    found, began_s = [], clock.now_s
    while clock.now_s < began_s + seconds:
        clock.now_s += 0.5
        up = {name for name, (period_s, phase_s) in paces.items() if (clock.now_s + phase_s) % period_s < 1}
        await publisher.settle({name: WELL if name in up else DEAD for name in NAMES})
        found.append((clock.now_s, {name: capacity(publisher, name) for name in LAYOUT.endpoints}))
    return found


def worst(found: list[tuple[float, dict[str, int]]], name: str) -> float:
    """Return the smallest share of what an endpoint had within the window before, over all times."""
    return min(
        had[name] / max(before[name] for at_s, before in found[: index + 1] if at_s > now_s - WINDOW_S)
        for index, (now_s, had) in enumerate(found)
    )


async def test_flapping_health_checks_never_drain_an_endpoint(publisher_of, clock):
    """A minute in which four of five are down at any time: no endpoint ever has less than 60 % of its window's best."""
    publisher = publisher_of()
    found = await flap(publisher, clock, 60)

    large = [name for name, members in LAYOUT.members.items() if len(members) > 4]
    assert len(large) == 6
    for name in large:
        assert worst(found, name) >= 0.6
    assert min(had[MAIN] for _, had in found) >= 600
    assert min(had[MAIN] for at_s, had in found if at_s < found[0][0] + WINDOW_S - 1) >= 1080


async def test_flapping_health_checks_drain_an_endpoint_without_velocity_control(publisher_of, clock):
    """Each plan by itself takes no more than it may, and many of them take nearly everything: the guard's worth."""
    publisher = publisher_of(without="throttling,velocity")
    found = await flap(publisher, clock, 60)

    assert worst(found, MAIN) < 0.4
    assert min(had[MAIN] for _, had in found) < 600


async def test_capacity_that_is_really_gone_leaves_window_by_window(publisher_of, clock):
    """Nine of ten dead for good: 60 % at once, more whenever the window has passed, until only what lives is left."""
    publisher = publisher_of()
    fleet = dict.fromkeys(NAMES, WELL)
    await publisher.settle(fleet)
    members = [lb.name for lb in LAYOUT.members[MAIN]]
    fleet |= dict.fromkeys(members[:16], DEAD)

    seen = []
    for _ in range(100):
        clock.now_s += 3
        settled = await publisher.settle(fleet)
        seen.append((capacity(publisher), MAIN in settled.limited))

    assert [value for value, _ in seen[:9]] == [1100] * 9
    steps = list(dict.fromkeys(value for value, _ in seen))
    assert steps[0] == 1100
    assert steps[-1] == 200
    assert all(after >= 0.6 * before for before, after in itertools.pairwise(steps))
    assert seen[0][1]
    assert not seen[-1][1]


async def test_capacity_that_the_zone_had_lately_counts_after_a_restart(publisher_of, zones, clock, plans):
    """A planner that remembers nothing reads it from the zone, until the window has passed there."""
    first = publisher_of()
    members = [lb.name for lb in LAYOUT.members[MAIN]]
    fleet = {**dict.fromkeys(NAMES, WELL), **dict.fromkeys(members[:6], DEAD)}
    await first.settle(fleet)
    assert capacity(first) == 1200
    await zones.create_zone(MAIN, LAYOUT.region.zone_records(MAIN))
    history = CapacityHistory().noted(clock.epoch_s() - 20, (1800, 0), WINDOW_S)
    history = history.noted(clock.epoch_s(), (1200, 0), WINDOW_S)
    await zones.change(ChangeBatch(MAIN, (upsert(history.record(MAIN)),)))

    restarted = publisher_of()
    dead = {**fleet, **dict.fromkeys(members[:10], DEAD)}
    await restarted.settle(dead)
    assert capacity(restarted) == 1100
    clock.now_s += WINDOW_S + 4
    await restarted.settle(dead)

    assert capacity(restarted) == 800


async def forced_by_hand(publisher, plans, members):
    """Publish by force what leaves an endpoint only some of its load balancers; return that."""
    existing = publisher.snapshot.contents[MAIN]
    left = existing.__class__(existing.ttl, tuple(t for t in existing.targets if t.identifier in members))
    await plans.publish(Draft({MAIN: left}, "by hand", by="ada", operator=True, force=True), expected=1)
    return left


async def test_what_force_took_is_no_part_of_an_endpoints_history(publisher_of, plans, clock):
    """An operator has taken two thirds by force: what is left is what the next removals are measured by."""
    publisher = publisher_of()
    fleet = dict.fromkeys(NAMES, WELL)
    await publisher.settle(fleet)
    members = [lb.name for lb in LAYOUT.members[MAIN]]
    await forced_by_hand(publisher, plans, members[12:])

    fleet |= dict.fromkeys(members[:12], DEAD)
    await publisher.settle(fleet)
    assert capacity(publisher) == 600
    settled = await publisher.settle({**fleet, **dict.fromkeys(members[12:14], DEAD)})

    assert capacity(publisher) == 400
    assert MAIN not in settled.limited


async def test_force_does_not_begin_the_window_anew(publisher_of, plans, clock):
    """A third has gone by itself, then one by force: what has gone by itself still counts until the window is over."""
    publisher = publisher_of()
    members = [lb.name for lb in LAYOUT.members[MAIN]]
    await publisher.settle(dict.fromkeys(NAMES, WELL))
    await publisher.settle({**dict.fromkeys(NAMES, WELL), **dict.fromkeys(members[:6], DEAD)})
    drain = Request(Kind.DRAIN, members[6], force=True)
    await plans.set_requests({drain.key: encode_request(drain)})
    await publisher.settle({**dict.fromkeys(NAMES, WELL), **dict.fromkeys(members[:6], DEAD)})
    assert capacity(publisher) == 1100

    fleet = {**dict.fromkeys(NAMES, WELL), **dict.fromkeys(members[:12], DEAD)}
    await publisher.settle(fleet)

    assert capacity(publisher) == 1100  # 60 % of 1700, in whole load balancers
    clock.now_s += WINDOW_S + 4
    await publisher.settle(fleet)
    assert capacity(publisher) == 700


def test_zone_behind_a_plan_by_force_counts_with_what_that_plan_leaves():
    """Enactors compare with that, so a region file that shrinks before it is installed is measured by it, too."""
    left = content(5, [Target(f"lb-{n}", "A", f"127.1.0.{n}", 100) for n in range(1, 13)])
    forced = Forced(7, digest(left), "ada")
    plan = Plan(8, 0, Lane.FAST, "", {MAIN: digest(left)}, Contents.of({digest(left): left}), {MAIN: forced})
    history = CapacityHistory().noted(1000, (1800, 0), WINDOW_S)

    def live(generation: int, latest: Plan = plan, **meant: Content) -> dict[str, object]:
        zones = {MAIN: ZoneSeen(Fence(generation, "aaaaaaaa", "x"), history)}
        return Memory(WINDOW_S).live(latest, zones, {digest(value): value for value in meant.values()}, epoch_s=1001)

    assert live(6) == {MAIN: (1200, 0)}
    assert live(7) == {MAIN: (1800, 0)}
    other = content(5, left.targets[:6])
    gone = Plan(9, 0, Lane.FAST, "", {MAIN: digest(other)}, Contents.of({digest(other): other}), {MAIN: forced})
    assert live(6, gone, meant=left) == {MAIN: (1200, 0)}
    # What the plan store has forgotten, enactors cannot compare with either: what is live counts again.
    assert live(6, gone) == {MAIN: (1800, 0)}


async def test_plan_by_force_that_is_not_live_yet_counts_though_others_came_after_it(publisher_of, plans, clock):
    """Enactors compare with what was forced until it is live; without it they would refuse this plan for ever."""
    publisher = publisher_of()
    await publisher.settle(dict.fromkeys(NAMES, WELL))
    members = [lb.name for lb in LAYOUT.members[MAIN]]
    await forced_by_hand(publisher, plans, members[12:])
    await publisher.settle({**dict.fromkeys(NAMES, WELL), **dict.fromkeys(members[:14], DEAD)})
    assert capacity(publisher) == 400

    clock.now_s += WINDOW_S + 4
    await publisher.settle({**dict.fromkeys(NAMES, WELL), **dict.fromkeys(members[:16], DEAD)})

    assert capacity(publisher) == 400  # 60 % of the 600 that were forced, in whole load balancers


async def test_plan_by_force_that_is_damaged_counts_as_forgotten(publisher_of, plans, damage):
    """It is not the latest any more, so nobody would ever replace it: it must not end every round."""
    publisher = publisher_of()
    await publisher.settle(dict.fromkeys(NAMES, WELL))
    members = [lb.name for lb in LAYOUT.members[MAIN]]
    left = await forced_by_hand(publisher, plans, members[12:])
    await publisher.settle(dict.fromkeys(NAMES, WELL))
    await damage(digest(left))

    restarted = publisher_of()
    settled = await restarted.settle({**dict.fromkeys(NAMES, WELL), members[0]: DEAD})

    assert settled.why.startswith("published plan 4")
    assert capacity(restarted) == 1700


async def test_damaged_content_is_replaced_by_no_plan_that_leaves_far_less_than_the_zone_has(
    publisher_of, plans, zones, clock, damage
):
    """What it was is not known, but what the zone has is; the endpoint is held with what to type, the others go on."""
    fleet = dict.fromkeys(NAMES, WELL)
    first = publisher_of()
    await first.settle(fleet)
    await zones.create_zone(MAIN, LAYOUT.region.zone_records(MAIN))
    history = CapacityHistory().noted(clock.epoch_s(), (1800, 0), WINDOW_S)
    await zones.change(ChangeBatch(MAIN, (upsert(history.record(MAIN)),)))
    await damage((await plans.latest()).digests[MAIN])
    members = [lb.name for lb in LAYOUT.members[MAIN]]

    restarted = publisher_of()
    settled = await restarted.settle({**fleet, **dict.fromkeys(members[:16], DEAD)})
    again = await restarted.settle(fleet)

    assert settled.held[MAIN].startswith(f"{MAIN} is in no plan that can be read, and its zone has 1800 A capacity")
    assert settled.held[MAIN].endswith("publish what it should have with `fencepost plan publish --force`")
    assert MAIN not in again.held
    assert (await plans.latest()).content(MAIN) == first.snapshot.contents[MAIN]
