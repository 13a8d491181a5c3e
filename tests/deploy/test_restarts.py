"""When a dead process is started again."""

import random

from hypothesis import given
from hypothesis import strategies as st

from deploy.restarts import RestartPolicy


def test_policy_waits_grow_up_to_the_limit():
    """Each death waits longer than the one before; the one after the limit is given up."""
    policy = RestartPolicy()

    longest = [max(policy.wait_s(deaths, random.Random(seed)) for seed in range(200)) for deaths in range(1, 6)]

    assert [round(wait_s, 1) for wait_s in longest] == [0.2, 0.6, 1.8, 5.4, 10.0]
    assert policy.wait_s(6, random.Random(1)) is None


def test_policy_survives_an_outage_of_ten_seconds():
    """Even with the shortest jitter, a process that cannot start is not given up before 8 s; on average 13 s."""
    policy = RestartPolicy()

    sums = [sum(policy.wait_s(deaths, random.Random(seed)) for deaths in range(1, 6)) for seed in range(200)]

    assert min(sums) > 8
    assert sum(sums) / len(sums) > 13


def test_policy_old_deaths_are_forgiven():
    """A death longer ago than the window does not count."""
    policy = RestartPolicy(window_s=60)

    assert policy.recent((0.0, 30.0, 59.0), now_s=61.0) == (30.0, 59.0)


@given(seed=st.integers(), lives=st.lists(st.floats(0, 20), min_size=30, max_size=60))
def test_policy_never_restarts_more_than_limit_in_window(seed, lives):
    """Whatever lives a process has, it is started `limit` times at most within any window."""
    policy, rng = RestartPolicy(), random.Random(seed)
    now_s, deaths, restarts = 0.0, (), []

    for life_s in lives:
        now_s += life_s
        deaths = (*policy.recent(deaths, now_s), now_s)
        wait_s = policy.wait_s(len(deaths), rng)
        if wait_s is None:
            break
        now_s += wait_s
        restarts.append(now_s)

    for start_s in restarts:
        within = [at_s for at_s in restarts if start_s <= at_s < start_s + policy.window_s - policy.longest_wait_s]
        assert len(within) <= policy.limit + 1
