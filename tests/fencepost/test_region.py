"""The region file: the default one's shape, and a clear error for each way to write a bad one."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencepost.errors import RegionInvalid
from fencepost.region import LoadBalancer, Members, load_region

GOOD = """
name = "tiny"
ttl_s = 5
[[availability_zone]]
id = "az1"
[[endpoint]]
name = "API.test"
kind = "regional-ipv4"
load_balancers = ["lb-*"]
[[load_balancer]]
name = "lb-1"
zone = "az1"
address = "127.1.0.1"
"""
SECOND = '\n[[load_balancer]]\nname = "{}"\nzone = "{}"\naddress = "{}"\n'


def test_default_region_has_the_incidents_shape():
    """Six endpoints over at least 24 load balancers in three Availability Zones."""
    region = load_region()

    assert len(region.endpoint_names) == 6
    assert len(region.availability_zone) == 3
    assert len(region.load_balancer) >= 24
    assert "dynamodb.us-east-1.fencepost.test." in region.endpoint_names
    assert {kind for endpoint in region.endpoint for kind in endpoint.types} == {"A", "AAAA"}
    for endpoint in region.endpoint:
        assert {lb.zone for lb in region.members(endpoint)} == {zone.id for zone in region.availability_zone}
    assert region.negative_ttl_s == min(region.soa.ttl_s, region.soa.minimum_s)


def test_region_file_is_read_with_names_made_absolute(tmp_path):
    """A small file is enough; names get their one form."""
    path = tmp_path / "region.toml"
    path.write_text(GOOD)

    region = load_region(path)
    assert region.endpoint_names == ("api.test.",)
    assert [r.type for r in region.zone_records("api.test.")] == ["SOA", "NS"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name = ", "is not TOML: "),
        (GOOD.replace("ttl_s = 5", ""), "missing required field `ttl_s`"),
        (GOOD.replace("ttl_s = 5", 'ttl_s = "5"'), "Expected `int`, got `str` - at `$.ttl_s`"),
        (GOOD.replace("kind", "kin"), "unknown field `kin`"),
        (GOOD.replace("API.test", "a..b"), "'a..b' is not a DNS name"),
        (GOOD.replace("lb-*", "nope-*"), "endpoint api.test.: no load balancer is called 'nope-*'"),
        (GOOD.replace('["lb-*"]', "[]"), "endpoint api.test. has no load balancers"),
        (
            GOOD.replace('zone = "az1"', 'zone = "az9"'),
            "load balancer lb-1 is in 'az9', which is no [[availability_zone]]",
        ),
        (GOOD.replace("127.1.0.1", "localhost"), "load balancer lb-1: 'localhost' is not an address of type A"),
        (GOOD.replace('address = "127.1.0.1"', ""), "load balancer lb-1 has no address"),
        (GOOD + "capacity = -1\n", "load balancer lb-1 has capacity -1, outside 0 to 1000000"),
        (GOOD + 'address6 = "127.1.0.1"\n', "load balancer lb-1: '127.1.0.1' is not an address of type AAAA"),
        (GOOD + SECOND.format("lb-1", "az1", "127.1.0.2"), "load balancer lb-1 occurs twice"),
        (GOOD + SECOND.format("lb-2", "az1", "127.1.0.1"), "address 127.1.0.1 occurs twice"),
        (GOOD + '\n[[availability_zone]]\nid = "az1"\n', "availability zone az1 occurs twice"),
        (
            GOOD.replace('"regional-ipv4"', '"x"\ntypes = ["AAAA"]'),
            "endpoint api.test. answers AAAA, but lb-1 has no address6",
        ),
        (
            GOOD.replace('"regional-ipv4"', '"x"\ntypes = ["MX"]'),
            "endpoint api.test. has types ['MX']; they may be A, AAAA or both",
        ),
        ('name = "x"\nttl_s = 5\navailability_zone = []\nload_balancer = []\nendpoint = []', "it has no endpoint; add"),
    ],
)
def test_region_file_malformed_is_refused_with_place_and_problem(tmp_path, text, problem):
    """The error names the file, the place and what is wrong there."""
    path = tmp_path / "region.toml"
    path.write_text(text)

    with pytest.raises(RegionInvalid) as caught:
        load_region(path)
    assert str(caught.value).startswith(f"region file {path}: ")
    assert problem in str(caught.value)


def test_region_file_missing_names_the_option(tmp_path):
    """A file that is not there: the error says so, and how to name another."""
    with pytest.raises(RegionInvalid, match=r"cannot be read \(No such file or directory\); name one with --region"):
        load_region(tmp_path / "nope.toml")


names = st.lists(st.text("ab-[*", min_size=1, max_size=4), max_size=8, unique=True)
patterns = st.lists(st.text("ab-*?[]!", max_size=5), max_size=3).map(tuple)


@given(names, patterns)
def test_members_are_those_whose_name_a_pattern_matches_in_order(found, wanted):
    """They are found by what a pattern begins with; any other way to find them would find the same."""
    members = Members([LoadBalancer(name, "az1", "127.1.0.1") for name in found])

    assert [lb.name for lb in members.of(wanted)] == sorted(
        name for name in found if any(fnmatchcase(name, pattern) for pattern in wanted)
    )
