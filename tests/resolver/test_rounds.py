"""Looking at all zones in turn: each once a round, few at a time, and late parts are not hurried."""

import pytest

from resolver.rounds import CHECK_S, MAX_PARTS, PART, Rounds


@pytest.mark.parametrize("count", [0, 1, PART, PART + 1, 20 * PART])
def test_round_has_every_zone_once_and_takes_its_time(count) -> None:
    """Whoever comes when it is due has looked at every zone after `CHECK_S`, and begins again."""
    zones = [str(n) for n in range(count)]
    rounds, now_s, seen = Rounds(zones), 0.0, []

    while now_s < CHECK_S - 1e-9:
        part = rounds.take(now_s)
        assert len(part) <= PART
        seen += part
        assert rounds.take(now_s) == ()
        now_s += rounds.wait_s(now_s)

    assert seen == zones
    assert rounds.take(now_s + 1e-9) == tuple(zones[:PART])


def test_round_that_is_late_goes_on_where_it_was_without_hurry() -> None:
    """After a pause the next part is due, one, and the one after it no sooner than usual."""
    rounds = Rounds([str(n) for n in range(10 * PART)])
    rounds.take(0)

    assert rounds.take(100.0)[0] == str(PART)
    assert rounds.wait_s(100.0) == pytest.approx(CHECK_S / 10)


def test_round_of_very_many_zones_takes_longer_rather_than_more_time() -> None:
    """The rate of looking has a bound."""
    rounds = Rounds([str(n) for n in range(100 * PART)])
    rounds.take(0)

    assert rounds.wait_s(0) == pytest.approx(CHECK_S / MAX_PARTS)
