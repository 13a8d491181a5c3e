"""A tree in a crowd is asked for a little after it is built, by what the last trees took; a lone one at once."""

from contextlib import ExitStack

import pytest

from enactor.lag import FEW, MOST_S, Lag


def first_s(lag, others):
    """Return how long a tree is waited for before the first question, while so many others are waited for."""
    with ExitStack() as crowd:
        for _ in range(others + 1):
            crowd.enter_context(lag)
        return lag.first_s


@pytest.fixture
def lag():
    """A lag that was 30 ms for many trees."""
    found = Lag()
    for _ in range(40):
        found.note(0.02, 0.04)
    return found


def test_lag_nothing_known_asks_at_once():
    """The first trees say how it is."""
    assert first_s(Lag(), others=100) == 0


@pytest.mark.parametrize(("others", "wanted_s"), [(0, 0), (FEW - 1, 0), (FEW, 0.015), (100, 0.015)])
def test_lag_in_a_crowd_waits_for_half_of_it(lag, others, wanted_s):
    """Few trees are known within a moment, whatever it was in the crowd before."""
    assert first_s(lag, others) == pytest.approx(wanted_s, rel=0.01)


def test_lag_that_has_passed_is_forgotten_within_some_trees(lag):
    """Each tree that is known when it is first asked for shortens the wait for the next one."""
    waits = []
    for _ in range(12):
        waits.append(first_s(lag, others=100))
        lag.note(0.0, waits[-1])

    assert waits == sorted(waits, reverse=True)
    assert waits[-1] < waits[0] / 8


def test_lag_is_never_waited_for_long():
    """A server that was behind for seconds is asked soon all the same."""
    lag = Lag()
    for _ in range(100):
        lag.note(60.0, 120.0)

    assert 0 < first_s(lag, others=100) <= MOST_S / 2


def test_lag_counts_who_waits_also_when_that_fails(lag):
    """A wait that ends by an error ends."""
    for _ in range(2 * FEW):
        with pytest.raises(ValueError, match="rejected"), lag:
            raise ValueError("rejected")

    assert first_s(lag, others=0) == 0
