"""That answers follow the weights: Route 53 answers one record set, with the chance weight / sum of weights."""

import random
import socket
from collections import Counter

import dns.message
import pytest

from fencepost import records
from resolver.answer import reply
from resolver.message import Transport

ZONE = "dynamodb.us-east-1.fencepost.test."
QUERIES = 10_000
CHI_SQUARE_999 = {2: 13.816, 4: 18.467}
"""Quantile 0.999 by degrees of freedom. Source: NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.4."""


def answered(image, seed: int) -> Counter[str]:
    """Return how often each address came in 10,000 queries."""
    query, chance = dns.message.make_query(ZONE, "A").to_wire(), random.Random(seed)
    found: Counter[str] = Counter()
    for _ in range(QUERIES):
        answer = reply({ZONE: image}, query, Transport.UDP, chance)
        assert answer is not None
        assert int.from_bytes(answer.wire[6:8]) == 1, "one record set is answered, of one address"
        found[socket.inet_ntoa(answer.wire[-4:])] += 1  # without EDNS the address ends the message
    return found


def chi_square(found: Counter[str], weights: dict[str, int]) -> float:
    whole = sum(weights.values())
    expected = {value: QUERIES * weight / whole for value, weight in weights.items() if weight}
    assert set(found) == set(expected)
    return sum((found[value] - mean) ** 2 / mean for value, mean in expected.items())


def test_answers_follow_the_weights(image, weights) -> None:
    """10,000 queries over weights 10, 20, 30, 40 and 100: chi-square below its 0.999 quantile."""
    found = answered(image(), seed=145)

    assert chi_square(found, {f"127.1.0.{name[-1]}": w for name, w in weights.items()}) < CHI_SQUARE_999[4]


@pytest.mark.parametrize(
    ("stored", "effective"),
    [((0, 0, 0), (1, 1, 1)), ((255, 255, 255), (1, 1, 1))],
    ids=["all 0 means all equal", "equal weights"],
)
def test_answers_of_equal_weights_are_equally_likely(image, stored, effective) -> None:
    """Weights count only against each other; if all are 0, all are equal (Route 53 Developer Guide)."""
    tree = f"plan-000146.{ZONE}"
    leaves = [
        records.address(tree, "A", f"127.1.1.{n}", ttl=5, set_identifier=f"lb-{n}", weight=w)
        for n, w in enumerate(stored)
    ]

    found = answered(image(*leaves, records.alias(ZONE, "A", tree)), seed=7)

    assert chi_square(found, {f"127.1.1.{n}": w for n, w in enumerate(effective)}) < CHI_SQUARE_999[2]


def test_weight_zero_is_never_answered_beside_others(image) -> None:
    """A drained load balancer gets no queries while another has weight."""
    drained = records.address(f"plan-000145.{ZONE}", "A", "127.1.0.9", ttl=5, set_identifier="lb-009", weight=0)

    assert "127.1.0.9" not in answered(image(drained), seed=3)
