"""A plan's contents are decoded at the first look; one that is damaged is told to who looks, and seen repaired."""

import pytest

from fencepost.errors import ContentDamaged
from fencepost.plan import Draft, Target, content, digest, encode_content

ONE, TWO = (f"{name}.us-east-1.fencepost.test." for name in ("dynamodb", "dynamodb-fips"))


def value(number):
    """Return a content of its own for each number."""
    return content(5, [Target("use1-az1-lb-001", "A", f"127.1.0.{number}", 10)])


async def test_content_is_decoded_once_for_all_plans_that_share_it_and_its_text_is_dropped(plans):
    """The first look decodes, in whichever plan; a plan that nobody looks into costs no more than its texts."""
    await plans.publish(Draft({ONE: value(1), TWO: value(2)}, "first"), expected=0)
    first = await plans.latest()
    await plans.publish(Draft({ONE: value(3)}, "one moves"), expected=1)

    second = await plans.latest(first)

    shared = second.contents.kept[digest(value(2))]
    assert shared.held == encode_content(value(2))
    assert first.content(TWO) == value(2)
    assert shared.held is second.content(TWO) is first.content(TWO)
    assert second.contents.kept[digest(value(3))].held == encode_content(value(3))


@pytest.mark.parametrize("text", [b"", b"{}", b"[5,[[", b'[5,[["lb","A","127.1.0.1","heavy"]]]', b'[5,[["\xff"]]]'])
async def test_content_that_is_damaged_in_the_store_is_told_to_who_looks_at_it(plans, damage, text):
    """By a store's error, which the loops of services survive, each time; the plan's other contents are well."""
    await plans.publish(Draft({ONE: value(1), TWO: value(2)}, "first"), expected=0)
    await damage(digest(value(1)), text)

    for plan in (await plans.latest(), await plans.get(1)):
        assert plan.content(TWO) == value(2)
        for _ in range(2):
            with pytest.raises(ContentDamaged, match=f"content {digest(value(1))} is damaged in the plan store"):
                plan.content(ONE)
    kept = await plans.contents([digest(value(n)) for n in (1, 2, 3)])
    assert list(kept) == [digest(value(n)) for n in (1, 2)]
    with pytest.raises(ContentDamaged):
        kept.get(digest(value(1)))


async def test_content_that_is_damaged_is_no_trouble_that_another_try_may_end(plans, damage):
    """Who knows its endpoint names that, and what to type; who can do without has none."""
    await plans.publish(Draft({ONE: value(1), TWO: value(2)}, "first"), expected=0)
    await damage(digest(value(1)))

    plan = await plans.latest()
    (error,) = plan.damaged()

    assert (error.endpoint, error.digest, error.retryable) == (ONE, digest(value(1)), False)
    assert str(error).startswith(f"{ONE}: content {digest(value(1))} is damaged in the plan store (")
    assert str(error).endswith(f"`fencepost plan publish`, or an earlier one with `fencepost rollback {ONE}`")
    assert (plan.readable(ONE), plan.readable(TWO), plan.readable("none.")) == (None, value(2), None)


@pytest.mark.parametrize("how", ["by hand", "by a plan"])
async def test_content_that_is_repaired_in_the_store_is_seen_by_who_has_met_it_damaged(plans, damage, how):
    """It is read again for as long as it is damaged; a plan that has it again writes it again."""
    await plans.publish(Draft({ONE: value(1), TWO: value(2)}, "first"), expected=0)
    await damage(digest(value(1)))
    known = await plans.latest()
    for _ in range(2):
        with pytest.raises(ContentDamaged):
            known.content(ONE)
        assert await plans.latest(known) is known

    if how == "by hand":
        await damage(digest(value(1)), encode_content(value(1)))
    else:
        await plans.publish(Draft({ONE: value(1)}, "again"), expected=1)
    latest = await plans.latest(known)

    assert latest.content(ONE) == known.content(ONE) == value(1)
    assert (latest.contents.damaged, known.contents.damaged) == (set(), set())
