"""What one enactor has left to another: how far that is seen to be, and whether it comes on."""

import pytest

from enactor.left import LEAST, Left, most_patiences


def order(count: int) -> tuple[str, ...]:
    """Return so many endpoints."""
    return tuple(f"{at}." for at in range(count))


def glance(left: Left, begun: set[int]) -> tuple[Left | None, int]:
    """Return what is left after a glance at a world in which those places are begun, and how many it looked at."""
    now, looked = left.seen({at: at in begun for at in left.unbegun}), len(left.unbegun)
    while now.furthest > left.furthest and (middle := now.middle) is not None:
        now, looked = now.seen({middle: middle in begun}), looked + 1
    return left.after(now), looked


@pytest.mark.parametrize(
    ("count", "places"),
    [
        (2, (1,)),
        (3, (1, 2)),
        (9, (1, 2, 4, 8)),
        (12, (1, 2, 4, 8, 11)),
        (100, (1, 2, 4, 8, 16, 32, 64, 99)),
    ],
)
def test_first_glance_goes_ever_further_ahead_and_to_the_last(count, places):
    """Few looks find about how far somebody is, wherever that may be."""
    assert Left.of(order(count)).unbegun == places


@pytest.mark.parametrize("count", [2, 3, 24, 100])
def test_glance_finds_exactly_how_far_somebody_is_with_few_looks(count):
    """Whatever was begun in order since the last glance, and what comes after it was seen not begun."""
    for begun in range(LEAST, count):
        left, looked = glance(Left.of(order(count)), set(range(begun + 1)))

        assert left is not None
        assert left.furthest == begun
        assert left.unbegun[:1] == ((begun + 1,) if begun + 1 < count else ())
        assert looked <= 2 * count.bit_length()


@pytest.mark.parametrize("gaps", [set(), {9, 10, 13}, {12, 24, 48}, {2, 4, 8, 16, 32, 64}, set(range(1, 60))])
@pytest.mark.parametrize("last", [LEAST, 17, 50, 63, 98, 99])
def test_trail_of_somebody_who_is_gone_shows_nothing_at_the_second_glance(gaps, last):
    """Also where it left out some endpoints, so that not all of the trail is found."""
    trail = set(range(last + 1)) - gaps
    left, _ = glance(Left.of(order(100)), trail)

    assert left is None or glance(left, trail)[0] is None


@pytest.mark.parametrize(
    ("glances", "begun", "comes_on"),
    [
        ([], LEAST - 1, False),
        ([], LEAST, True),
        ([8], 8, False),
        ([4], 7, False),
        ([7], 8, True),
        ([7, 9], 11, False),
        ([7, 9], 12, True),
        ([16, 17, 18, 19], 19, False),
        ([16, 17, 18], 19, True),
    ],
)
def test_plan_is_left_to_who_comes_on_until_one_glance_after_the_last_is_begun(glances, begun, comes_on):
    """Some more at each glance, and on the average a few; near the end there are no more than what is left."""
    left = Left.of(order(20))
    for furthest in glances:
        left, _ = glance(left, set(range(furthest + 1)))
        assert left is not None

    assert (glance(left, set(range(begun + 1)))[0] is not None) == comes_on


def test_what_cannot_be_read_shows_nothing_now_or_later():
    """Else a zone that answers again would be taken for somebody's progress."""
    left = Left.of(order(20))

    now = left.seen({1: None, 2: True, 4: None, 8: False, 16: None, 19: None})

    assert (now.furthest, now.unbegun, now.middle) == (2, (8,), 5)
    assert now.seen({5: None}) == now
    assert left.seen(dict.fromkeys(left.unbegun)).middle is None


@pytest.mark.parametrize("count", [2, 3, 5, 6, 24, 100])
@pytest.mark.parametrize("pace", [1, LEAST - 1, LEAST, LEAST + 1, 30])
def test_plan_is_left_to_nobody_for_longer_than_is_told(count, pace):
    """Whoever begins as few as can be is left alone the longest; one endpoint is left to nobody."""
    left, begun, glances = Left.of(order(count)), 0, 0
    while left is not None:
        begun, glances = begun + pace, glances + 1
        left, _ = glance(left, set(range(begun + 1)))

    assert glances <= most_patiences(count)
    assert pace != LEAST or glances == most_patiences(count)
    assert most_patiences(1) == 0
