"""The region that benchmarks measure with, of any size."""

from fencepost.capacity import CapacityHistory
from fencepost.plan import Draft, check_draft, digest
from fencepost.region import load_region
from fencepost.safety import Baseline, Limits, check_known, check_removal, known_addresses
from lab.bench.many import Many


def test_region_file_of_many_is_a_region_that_every_turn_fits_into(tmp_path):
    """Every content is one that the plan store takes, of load balancers that the endpoint may have."""
    many = Many(endpoints=3, members=4, turns=3)

    region = load_region(many.write(tmp_path / "region.toml"))

    assert region.endpoint_names == many.names
    known = known_addresses(region)
    for contents in (dict.fromkeys(many.names, many.content(1)), *(many.all(turn) for turn in range(4))):
        check_draft(Draft(contents, "turn"), frozenset(region.endpoint_names))
        for name in many.names:
            check_known(name, contents[name], known[name])


def test_content_of_the_next_turn_takes_nothing_away():
    """Otherwise enactors would refuse it, and rightly."""
    many = Many(endpoints=1, members=24, turns=5)
    baseline = Baseline.of(many.content(1), CapacityHistory(), 0.0, Limits())

    check_removal("x.", many.content(2), baseline, Limits())

    assert digest(many.content(1)) != digest(many.content(2))


def test_address_tells_the_turn():
    """Any answer says which plan it is from, beyond 250 and 62,500 load balancers, too."""
    many = Many(endpoints=1, members=300, turns=300)

    found = {many.turn_of(target.address) for turn in (0, 1, 299) for target in many.content(turn).targets}

    assert found == {0, 1, 299}


def test_content_with_an_odd_one_differs_in_one_record():
    """That is the smallest change that there is."""
    many = Many(endpoints=1, members=5)

    before, after = many.content(0), many.content(0, odd_one=2)

    assert [a != b for a, b in zip(before.targets, after.targets, strict=True)] == [False, False, True, False, False]


def test_all_endpoints_have_contents_of_their_own_at_each_turn():
    """What is done once for each content is then done for each endpoint, as in a region where all differ."""
    many = Many(endpoints=10, members=4, turns=3)

    contents = [content for turn in range(3) for content in many.all(turn).values()]

    assert len({digest(content) for content in contents}) == 30
    assert all(len(content.targets) == 4 for content in contents)
    for name in many.names:
        addresses = [target.address for turn in range(3) for target in many.all(turn)[name].targets]
        assert len(set(addresses)) == 12, "no load balancer is in two turns of an endpoint"
