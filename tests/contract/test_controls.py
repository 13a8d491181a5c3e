"""What operators hold the automation to, in the plan store: freeze, pins, force; and what processes last said."""

import pytest

from fencepost.errors import EndpointPinned, PlansFrozen
from fencepost.notice import Notice
from fencepost.plan import Draft, Forced, Lane, Target, content, digest
from fencepost.redis_client import open_client
from fencepost.redis_plans import REPORTS
from fencepost.stores import Controls, Report

ONE, TWO = (f"{name}.us-east-1.fencepost.test." for name in ("dynamodb", "dynamodb-fips"))
WHO = Notice("ada", 1_792_000_000, "the health checks lie")


def value(number):
    """Return a content of its own for each number."""
    return content(5, [Target("use1-az1-lb-001", "A", f"127.1.0.{number}", 10)])


def by_hand(changes, **fields):
    """Return a draft of an operator."""
    return Draft(changes, "by hand", Lane.FAST, by="ada", operator=True, **fields)


async def test_frozen_store_takes_plans_of_operators_only(plans):
    """While it is frozen the planner publishes nothing, and learns who, when and why; an operator may."""
    await plans.freeze(WHO)

    with pytest.raises(PlansFrozen, match=r"\(by ada since 2026-10-14 .* UTC: the health checks lie\)"):
        await plans.publish(Draft({ONE: value(1)}, "routine"), expected=0)
    assert await plans.latest_generation() == 0
    assert await plans.publish(by_hand({ONE: value(1)}), expected=0) == 1
    assert await plans.controls() == Controls(WHO, {})
    assert await plans.thaw() == WHO
    assert await plans.thaw() is None
    assert await plans.controls() == Controls()
    assert await plans.publish(Draft({ONE: value(2)}, "routine"), expected=1) == 2


async def test_pinned_endpoint_is_left_alone_by_automation(plans):
    """What an operator pins, automation may repeat but not change; other endpoints go on."""
    await plans.publish(by_hand({ONE: value(1)}, pin=WHO), expected=0)

    with pytest.raises(EndpointPinned) as caught:
        await plans.publish(Draft({ONE: value(2), TWO: value(2)}, "routine"), expected=1)
    assert (caught.value.endpoint, caught.value.retryable) == (ONE, True)
    with pytest.raises(EndpointPinned):
        await plans.publish(Draft({ONE: None}, "routine"), expected=1)
    assert await plans.publish(Draft({ONE: value(1), TWO: value(2)}, "routine"), expected=1) == 2
    assert dict((await plans.controls()).pins) == {ONE: WHO}


async def test_pin_ends_by_the_operators_next_plan_or_by_hand(plans):
    """A plan of an operator's for the endpoint ends its pin, and so does unpin, which tells what there was."""
    await plans.publish(by_hand({ONE: value(1), TWO: value(1)}, pin=WHO), expected=0)
    await plans.publish(by_hand({ONE: value(2)}), expected=1)

    assert dict((await plans.controls()).pins) == {TWO: WHO}
    assert dict(await plans.unpin([ONE, TWO])) == {TWO: WHO}
    assert await plans.publish(Draft({ONE: value(3), TWO: value(3)}, "routine"), expected=2) == 3


async def test_force_is_recorded_and_stays_with_the_endpoint(plans):
    """Later plans still say what was forced, until it is forced anew; an earlier plan does not know of it."""
    await plans.publish(Draft({ONE: value(1), TWO: value(1)}, "routine"), expected=0)
    known = await plans.latest()
    await plans.publish(by_hand({ONE: value(2)}, force=True), expected=1)
    await plans.publish(Draft({TWO: value(2)}, "routine"), expected=2)

    expected = {ONE: Forced(2, digest(value(2)), "ada")}
    assert [dict(plan.forced) for plan in (await plans.latest(), await plans.latest(known))] == [expected, expected]
    assert [dict((await plans.get(generation)).forced) for generation in (1, 2)] == [{}, expected]
    assert [(s.by, s.operator, s.force) for s in await plans.history()] == [
        ("planner", False, False),
        ("ada", True, True),
        ("planner", False, False),
    ]


async def test_force_goes_with_the_endpoint(plans):
    """An endpoint that leaves the plan leaves no mark."""
    await plans.publish(by_hand({ONE: value(2)}, force=True), expected=0)
    await plans.publish(by_hand({ONE: None}), expected=1)

    assert dict((await plans.latest()).forced) == {}


async def test_reports_are_the_last_word_of_each_process(open_plans):
    """Everybody sees what a process last said, and how long ago by the store's clock."""
    first, second = open_plans(), open_plans()
    await first.report("use1-az2-enactor", Report(role="enactor", generation=1, text="begins"))
    last = Report(role="enactor", generation=7, text="idle", held={ONE: "frozen"})
    await first.report("use1-az2-enactor", last)
    await second.report("planner", Report(role="planner", generation=9, text="held back"))

    found = await second.reports()
    assert list(found) == ["planner", "use1-az2-enactor"]
    assert (found["use1-az2-enactor"].generation, dict(found["use1-az2-enactor"].held)) == (7, {ONE: "frozen"})
    assert all(0 <= report.age_s < 5 for report in found.values())


async def test_report_of_another_version_hides_no_other_and_stops_nobody(plans, redis_url):
    """What cannot be read is left out: the planner reads all reports in every round."""
    await plans.report("use1-az2-enactor", Report(role="enactor", generation=7, text="idle"))
    client = open_client(redis_url)
    strange = {
        "later": '5 {"role":"enactor","generation":"seven"}',
        "no-json": "5 idle",
        "no-time": "idle",
        "bytes": b"5 \xff",
        b"no-utf-8 \xff": '5 {"role":"enactor","generation":7,"text":"idle"}',
    }
    await client.hset(REPORTS, mapping=strange)
    await client.aclose()

    assert list(await plans.reports()) == ["use1-az2-enactor"]


async def test_requests_of_many_are_set_at_once(plans):
    """Several requests, put in force and ended by one call."""
    await plans.set_requests({"a": "1", "b": "2", "c": "3"})
    await plans.set_requests({"a": None, "b": "4"})

    assert dict(await plans.requests()) == {"b": "4", "c": "3"}


@pytest.mark.parametrize(
    ("notice", "text"),
    [
        (Notice("ada", 7, 'said "stop"\n\\ now'), "ada 7 said ?stop? ? now"),
        (Notice("ada lovelace", 7, ""), "ada-lovelace 7"),
        (Notice("", 7, "x" * 400), "somebody 7 " + "x" * 160),
    ],
)
def test_notice_holds_only_what_a_txt_record_can(notice, text):
    """Who and why come from people: what a TXT record cannot hold does not stop a freeze."""
    assert notice.text == text
    assert Notice.parse(text).text == text
    assert notice.freezing("a.test.").values == (f'"{text}"',)
