"""Plans: numbered by the store, immutable, shared where nothing changed, kept for a while."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fencepost.errors import PlanConflict, PlanNotFound
from fencepost.plan import Draft, Lane, Target, content, digest
from fencepost.redis_client import open_client
from fencepost.redis_plans import RedisPlanStore

ONE, TWO, THREE = (f"{name}.us-east-1.fencepost.test." for name in ("dynamodb", "dynamodb-fips", "cell-01"))
MODELS = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def value(number):
    """Return a content of its own for each number."""
    return content(5, [Target("use1-az1-lb-001", "A", f"127.1.0.{number}", 10)])


async def publish(plans, expected, **fields):
    """Publish a plan that changes one endpoint."""
    return await plans.publish(Draft({ONE: value(expected % 250)}, f"after {expected}"), expected=expected, **fields)


async def test_store_without_plans_says_so(plans):
    """A store without plans has generation 0 and no latest plan; nothing is made up."""
    assert await plans.latest_generation() == 0
    assert await plans.latest() is None
    assert await plans.history() == ()
    with pytest.raises(PlanNotFound, match="plan 1 is not kept; the store has plans 0 to 0"):
        await plans.get(1)


async def test_publish_numbers_plans_from_one(plans):
    """The store numbers plans, one after the other."""
    assert [await publish(plans, expected) for expected in range(3)] == [1, 2, 3]
    assert await plans.latest_generation() == 3


async def test_publish_keeps_what_it_does_not_mention(plans):
    """A draft says only what changes; None takes an endpoint out."""
    await plans.publish(Draft({ONE: value(1), TWO: value(2), THREE: value(3)}, "first"), expected=0)
    await plans.publish(Draft({TWO: value(9), THREE: None}, "second", Lane.FAST), expected=1)

    plan = await plans.latest()
    assert (plan.generation, plan.reason, plan.lane) == (2, "second", Lane.FAST)
    assert dict(plan.digests) == {ONE: digest(value(1)), TWO: digest(value(9))}
    assert dict(plan.contents) == {digest(value(n)): value(n) for n in (1, 9)}
    assert plan.published_ms > 0


async def test_publish_on_an_outdated_plan_is_a_conflict(plans):
    """Who built on a plan that is not the latest any more publishes nothing, and may build again."""
    await publish(plans, 0)

    for expected in (0, 2):
        with pytest.raises(PlanConflict) as caught:
            await publish(plans, expected)
        assert (caught.value.expected, caught.value.latest, caught.value.retryable) == (expected, 1, True)
    assert await plans.latest_generation() == 1
    assert len(await plans.history()) == 1


async def test_publish_by_many_at_once_has_one_winner(open_plans):
    """Publishers of the same expectation: exactly one gets the number, all others the conflict."""
    stores = [open_plans() for _ in range(5)]

    outcomes = await asyncio.gather(*(publish(store, 0) for store in stores), return_exceptions=True)
    assert [outcome for outcome in outcomes if not isinstance(outcome, PlanConflict)] == [1]
    assert sum(isinstance(outcome, PlanConflict) for outcome in outcomes) == 4


@pytest.mark.parametrize(("floor", "generation"), [(0, 2), (1, 2), (7, 8), (10**14, 10**14 + 1)])
async def test_publish_goes_above_the_floor(plans, floor, generation):
    """Generations stay unique after lost writes: the next one is above the latest and the floor, however large."""
    await publish(plans, 0)

    assert await publish(plans, 1, floor=floor) == generation
    assert await plans.latest_generation() == generation
    assert [summary.generation for summary in await plans.history()] == [generation, 1]
    assert (await plans.get(1)).digests == {ONE: digest(value(0))}
    assert (await plans.latest(await plans.get(1))).generation == generation
    assert await publish(plans, generation) == generation + 1


async def test_publish_with_a_number_that_floor_skipped_is_not_found(plans):
    """A generation that was jumped over is no plan."""
    await publish(plans, 0)
    await publish(plans, 1, floor=7)

    with pytest.raises(PlanNotFound) as caught:
        await plans.get(5)
    assert (caught.value.generation, caught.value.oldest, caught.value.latest) == (5, 1, 8)


async def test_latest_given_the_latest_returns_the_very_same(plans):
    """Nothing new costs nothing: the known plan comes back as it is."""
    await publish(plans, 0)
    known = await plans.latest()

    assert await plans.latest(known) is known


async def test_history_is_newest_first_and_says_what_changed(plans):
    """History tells each plan's reason, lane, and the digests before and after."""
    await plans.publish(Draft({ONE: value(1)}, "first"), expected=0)
    await plans.publish(Draft({ONE: value(2), TWO: value(1)}, "second", Lane.FAST), expected=1)
    await plans.publish(Draft({ONE: None}, "third"), expected=2)

    third, second, first = await plans.history()
    one, two = digest(value(1)), digest(value(2))
    assert [(s.generation, s.reason, s.lane) for s in (first, second, third)] == [
        (1, "first", Lane.SLOW),
        (2, "second", Lane.FAST),
        (3, "third", Lane.SLOW),
    ]
    assert [dict(s.changed) for s in (first, second, third)] == [
        {ONE: (None, one)},
        {ONE: (one, two), TWO: (None, one)},
        {ONE: (two, None)},
    ]
    assert await plans.history(limit=1, before=3) == (second,)


async def test_history_is_trimmed_and_its_contents_with_it(open_plans):
    """With `keep` plans kept, older ones are not found; contents go with the last summary that names them."""
    plans = open_plans(keep=3)
    for expected in range(8):
        await publish(plans, expected)

    assert [summary.generation for summary in await plans.history()] == [8, 7, 6]
    with pytest.raises(PlanNotFound, match="plan 5 is not kept; the store has plans 6 to 8"):
        await plans.get(5)
    assert (await plans.get(6)).digests == {ONE: digest(value(5))}
    kept = await plans.contents([digest(value(n)) for n in range(8)])
    assert dict(kept) == {digest(value(n)): value(n) for n in (4, 5, 6, 7)}


async def test_content_shared_by_endpoints_and_plans_is_kept_once_and_while_needed(open_plans, redis_url):
    """One content in several places is stored once, and goes only when no kept plan has it any more."""
    plans, client = open_plans(keep=2), open_client(redis_url)
    await plans.publish(Draft({ONE: value(1), TWO: value(1)}, "both"), expected=0)
    assert await client.hlen("{plans}:contents") == 1

    for number in (2, 3, 4):
        await plans.publish(Draft({ONE: value(number)}, "one moves"), expected=number - 1)
    assert (await plans.latest()).contents == {digest(value(n)): value(n) for n in (1, 4)}

    for number in (5, 6, 7):
        await plans.publish(Draft({TWO: value(number)}, "the other one moves"), expected=number - 1)
    assert await plans.contents([digest(value(1))]) == {}
    assert await client.hkeys("{plans}:references") == await client.hkeys("{plans}:contents")
    await client.aclose()


async def test_latest_from_a_trimmed_plan_reads_the_whole_one(open_plans):
    """Who was away for longer than the history gets the whole plan."""
    plans = open_plans(keep=2)
    await publish(plans, 0)
    known = await plans.latest()
    for expected in range(1, 6):
        await publish(plans, expected)

    assert await plans.latest(known) == await plans.latest()


async def test_latest_after_lost_writes_is_not_a_delta_of_another_past(open_plans, redis_url):
    """A plan of the same number but from another past is no base for a delta: the whole plan is read."""
    plans, client = open_plans(), open_client(redis_url)
    await plans.publish(Draft({ONE: value(1), TWO: value(2)}, "lost"), expected=0)
    lost = await plans.latest()

    await client.flushall()
    await asyncio.sleep(0.002)
    await plans.publish(Draft({THREE: value(3)}, "in its place"), expected=0)
    await plans.publish(Draft({ONE: value(4)}, "next"), expected=1)

    assert dict((await plans.latest(lost)).digests) == {THREE: digest(value(3)), ONE: digest(value(4))}
    await client.aclose()


async def test_since_is_the_last_plan_that_says_anything_of_an_endpoint(plans):
    """An endpoint has its content since the last plan that named it: changed, back to an earlier one, or the same."""
    await plans.publish(Draft({ONE: value(1), TWO: value(2), THREE: value(3)}, "first"), expected=0)
    assert dict((await plans.latest()).since) == {ONE: 1, TWO: 1, THREE: 1}

    await plans.publish(Draft({ONE: value(4)}, "changed"), expected=1)
    assert dict((await plans.latest()).since) == {ONE: 2, TWO: 1, THREE: 1}

    await plans.publish(Draft({ONE: value(1)}, "back to what it had"), expected=2)
    await plans.publish(Draft({TWO: value(2)}, "what it has"), expected=3)
    plan = await plans.latest()
    assert dict(plan.since) == {ONE: 3, TWO: 4, THREE: 1}
    assert [plan.unchanged_since(endpoint) for endpoint in (ONE, TWO, THREE)] == [3, 4, 1]


async def test_since_of_an_endpoint_that_left_and_returned_is_its_return(plans):
    """What an endpoint had before it left says nothing: it is new when it returns, with the same content, too."""
    await plans.publish(Draft({ONE: value(1), TWO: value(2)}, "first"), expected=0)
    known = await plans.latest()
    await plans.publish(Draft({TWO: None}, "leaves"), expected=1)
    assert dict((await plans.latest()).since) == {ONE: 1}
    await plans.publish(Draft({TWO: value(2)}, "returns"), expected=2)

    assert dict((await plans.latest()).since) == {ONE: 1, TWO: 3}
    assert dict((await plans.latest(known)).since) == {ONE: 1, TWO: 3}


async def test_plan_above_a_floor_leaves_nothing_unchanged(plans):
    """Plans up to a floor were lost, and may still be installed by who knew them: every endpoint is to go past them."""
    await plans.publish(Draft({ONE: value(1), TWO: value(2)}, "first"), expected=0)
    known = await plans.latest()

    await plans.publish(Draft({ONE: value(3)}, "above what was lost"), expected=1, floor=7)
    assert dict((await plans.latest()).since) == dict((await plans.latest(known)).since) == {ONE: 8, TWO: 8}

    await plans.publish(Draft({ONE: value(4)}, "next"), expected=8, floor=8)
    assert dict((await plans.latest()).since) == dict((await plans.latest(known)).since) == {ONE: 9, TWO: 8}


async def test_reader_of_a_lost_plan_takes_nothing_for_unchanged(open_plans, redis_url):
    """Who knows a plan that the store has lost is told that all is new: others who know it may yet install it."""
    plans, client = open_plans(), open_client(redis_url)
    await plans.publish(Draft({ONE: value(1), TWO: value(2)}, "first"), expected=0)
    keys = [b"{plans}:" + part for part in (b"head", b"current", b"log", b"contents", b"references")]
    kept = [await client.dump(key) for key in keys]
    await plans.publish(Draft({ONE: value(3)}, "lost"), expected=1)
    lost = await plans.latest()
    for key, dumped in zip(keys, kept, strict=True):
        await client.restore(key, 0, dumped, replace=True)

    assert dict((await plans.latest(lost)).since) == {ONE: 1, TWO: 1}
    await asyncio.sleep(0.002)
    await plans.publish(Draft({TWO: value(4)}, "of the lost one's number"), expected=1)
    await plans.publish(Draft({TWO: value(5)}, "next"), expected=2)
    plan = await plans.latest(lost)
    assert (plan.generation, dict(plan.since)) == (3, {ONE: 3, TWO: 3})
    await client.aclose()


async def test_store_written_without_generations_counts_as_changed_just_now(plans, redis_url):
    """A store that an earlier version wrote is read: what nobody has noted is as new as the latest plan."""
    client = open_client(redis_url)
    await plans.publish(Draft({ONE: value(1), TWO: value(2)}, "first"), expected=0)
    await client.hset("{plans}:current", mapping={ONE: digest(value(1)), TWO: digest(value(2))})
    await client.hdel("{plans}:head", "raised")

    plan = await plans.latest()
    assert (dict(plan.digests), dict(plan.since)) == ({ONE: digest(value(1)), TWO: digest(value(2))}, {ONE: 1, TWO: 1})
    await plans.publish(Draft({ONE: value(3)}, "next"), expected=1)
    plan = await plans.latest()
    assert (dict(plan.since), plan.content(TWO)) == ({ONE: 2, TWO: 2}, value(2))
    assert [dict(summary.changed) for summary in await plans.history(1)] == [
        {ONE: (digest(value(1)), digest(value(3)))}
    ]
    await client.aclose()


async def test_since_in_an_earlier_plan_is_never_too_low(plans):
    """An earlier plan knows it of what has not moved since then; what has may have come with that very plan."""
    await plans.publish(Draft({ONE: value(1), TWO: value(2), THREE: value(3)}, "first"), expected=0)
    for number, endpoint in enumerate((TWO, THREE, ONE), start=1):
        await plans.publish(Draft({endpoint: value(9 + number)}, "moves one"), expected=number)

    assert dict((await plans.get(3)).since) == {ONE: 3, TWO: 2, THREE: 3}


async def test_requests_stay_in_force_until_ended(open_plans):
    """What an operator asked for is seen by every process, in order of keys, until it is ended."""
    first, second = open_plans(), open_plans()
    await first.set_requests({"weight lb-2": '{"weight": 0}'})
    await first.set_requests({"weight lb-1": '{"weight": 3}'})
    assert list((await second.requests()).items()) == [
        ("weight lb-1", '{"weight": 3}'),
        ("weight lb-2", '{"weight": 0}'),
    ]

    await second.set_requests({"weight lb-2": None})
    await second.set_requests({"never there": None})
    assert dict(await first.requests()) == {"weight lb-1": '{"weight": 3}'}


DRAFTS = st.lists(
    st.dictionaries(st.sampled_from([ONE, TWO, THREE]), st.one_of(st.none(), st.integers(1, 4)), max_size=3),
    min_size=1,
    max_size=8,
)


@MODELS
@given(drafts=DRAFTS, since=st.integers(0, 7), keep=st.integers(1, 9))
async def test_plans_of_any_history_equal_a_model(redis_url, drafts, since, keep):
    """Full, delta and backward reads all give what a dictionary gives, for every plan kept; no content is left over."""
    client = open_client(redis_url)
    await client.flushall()
    plans, model, known, said = RedisPlanStore(client, keep=keep), [{}], None, [{}]
    for number, changes in enumerate(drafts):
        wanted = {name: None if n is None else value(n) for name, n in changes.items()}
        assert await plans.publish(Draft(wanted, "any"), expected=number) == number + 1
        model.append({k: digest(v) for k, v in {**as_values(model[-1]), **wanted}.items() if v is not None})
        said.append({name: number + 1 if name in wanted else said[-1][name] for name in model[-1]})
        if number == since:
            known = await plans.latest()

    whole = await plans.latest()
    assert dict(whole.digests) == model[-1]
    assert dict(whole.since) == said[-1]
    assert await plans.latest(known) == whole
    kept = [summary.generation for summary in await plans.history(limit=100)]
    assert kept == list(range(len(drafts), max(0, len(drafts) - keep), -1))
    for generation in kept:
        plan = await plans.get(generation)
        assert dict(plan.digests) == model[generation]
        assert set(plan.contents) == set(model[generation].values())
        assert all(said[generation][name] <= since <= generation for name, since in plan.since.items())
    needed = {found for generation in kept for found in model[generation].values()}
    # What the oldest kept plan replaced is still told by its summary: it goes together with that plan.
    replaced = {before for summary in await plans.history(limit=100) for before, _ in summary.changed.values()}
    stored = {key.decode() for key in await client.hkeys("{plans}:contents")}
    assert needed <= stored <= needed | replaced
    await plans.close()


def as_values(state):
    """Return the contents of a state of the model."""
    known = {digest(value(n)): value(n) for n in range(1, 5)}
    return {name: known[found] for name, found in state.items()}


async def test_wait_for_a_plan_ends_with_it_and_without_one_in_time(plans):
    """A plan that is there already, one that comes meanwhile, and none."""
    first = await publish(plans, 0)

    assert await plans.wait(0, 60) == first
    waiting = asyncio.create_task(plans.wait(first, 60))
    second = await publish(plans, first)
    assert await waiting == second
    assert await plans.wait(second, 0.01) == second
