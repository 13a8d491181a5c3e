"""Plans: what nobody could want is refused with every problem named, and equal contents have equal digests."""

import random

import pytest

from fencepost.errors import PlanInvalid
from fencepost.plan import Content, Draft, Target, check_draft, content, decode_content, digest, encode_content

ONE, TWO = "dynamodb.us-east-1.fencepost.test.", "dynamodb-fips.us-east-1.fencepost.test."
GOOD = Target("lb-1", "A", "127.1.0.1", 10)
IPV6 = Target("lb-1", "AAAA", "::ffff:127.1.0.1", 10)


def problems(value, name=ONE):
    """Return what is wrong with a content, in words."""
    with pytest.raises(PlanInvalid) as caught:
        check_draft(Draft({name: value}, "test"), frozenset({ONE, TWO}))
    head, _, rest = str(caught.value).partition(": ")
    assert head == "the plan was not published"
    return rest


@pytest.mark.parametrize(
    ("ttl", "targets", "problem"),
    [
        (5, (), f"{ONE} would have no address"),
        (5, (Target("lb-1", "A", "127.1.0.1", 0),), f"{ONE} would have only targets of weight 0"),
        (-1, (GOOD,), f"{ONE}: TTL -1 is outside 0 to 86400 s"),
        (86_401, (GOOD,), f"{ONE}: TTL 86401 is outside 0 to 86400 s"),
        (5, (Target("lb-1", "A", "", 1),), f"{ONE}: load balancer lb-1 has no address"),
        (5, (Target("lb-1", "A", "::1", 1),), f"{ONE}: load balancer lb-1: '::1' is not an address of type A"),
        (
            5,
            (Target("lb-1", "AAAA", "fe80::1%eth0", 1),),
            f"{ONE}: load balancer lb-1: 'fe80::1%eth0' is not an address of type AAAA",
        ),
        (5, (Target("lb-1", "MX", "x", 1),), f"{ONE}: load balancer lb-1 has type 'MX', which is neither A nor AAAA"),
        (5, (Target("lb-1", "A", "127.1.0.1", 256),), f"{ONE}: load balancer lb-1 has weight 256, outside 0 to 255"),
        (
            5,
            (Target("", "A", "127.1.0.1", 1),),
            f"{ONE}: load balancer name '' must be 1 to 128 printable characters",
        ),
        (
            5,
            (GOOD, Target("lb-1", "A", "127.1.0.2", 1)),
            f"{ONE}: load balancer lb-1 (A) occurs twice",
        ),
        (5, (GOOD, Target("lb-2", "A", "127.1.0.1", 1)), f"{ONE}: address 127.1.0.1 occurs twice"),
    ],
)
def test_draft_with_a_problem_is_refused_with_its_words(ttl, targets, problem):
    """Each thing that no region could want is named with its figures."""
    assert problems(Content(ttl, targets)) == problem


def test_draft_for_an_unknown_endpoint_is_refused_with_the_known_ones():
    """A plan cannot invent endpoints, nor take away what is not there."""
    for value in (Content(5, (GOOD,)), None):
        assert problems(value, "nope.test.") == (f"nope.test. is not an endpoint of this region (it has {TWO}, {ONE})")


def test_draft_with_several_problems_names_all():
    """One look at the refusal is enough to correct the draft."""
    text = problems(Content(-1, (Target("a", "A", "x", 300), Target("b", "A", "x", 1))))

    assert len(text.split("; ")) == 5


def test_draft_that_is_well_passes():
    """Weight 0 beside others, both types of one balancer, and taking an endpoint out are all fine."""
    both = content(0, [GOOD, IPV6, Target("lb-2", "A", "127.1.0.2", 0)])

    check_draft(Draft({ONE: both, TWO: None}, "test"), frozenset({ONE, TWO}))


def test_digest_does_not_depend_on_the_order_of_targets():
    """Equal contents have equal digests, whoever built them; any difference shows."""
    targets = [GOOD, IPV6, *(Target(f"lb-{n}", "A", f"127.1.1.{n}", n) for n in range(2, 20))]
    shuffled = random.Random(1).sample(targets, len(targets))

    assert digest(content(5, targets)) == digest(content(5, shuffled))
    assert digest(content(6, targets)) != digest(content(5, targets))
    assert digest(content(5, targets[1:])) != digest(content(5, targets))


def test_digest_stays_what_it_was():
    """Digests are stored: this one may never change."""
    value = content(5, [GOOD])

    assert encode_content(value) == b'[5,[["lb-1","A","127.1.0.1",10]]]'
    assert decode_content(encode_content(value)) == value
    assert digest(value) == "d60272a1976cd55b23b127f1a2336d17"
