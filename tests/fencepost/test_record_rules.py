"""What is said of a change without looking at the zone, one by one and of many together."""

from hypothesis import given
from hypothesis import strategies as st

from fencepost.batch import Action, Change, create
from fencepost.plan import Content, Target, all_well, content_problems, target_problems
from fencepost.record_rules import all_well_in, static_failure, static_failures
from fencepost.records import RecordSet, address

ZONE = "a.test."

identifiers = st.sampled_from(["lb-1", "lb-2", "ü", "", "x" * 128, "x" * 129, "a\nb", None])
types = st.sampled_from(["A", "A", "AAAA", "TXT", "CNAME"])
addresses = st.sampled_from(["127.1.0.1", "127.1.0.2", "::1", "", "nowhere", '"x"'])
weights = st.sampled_from([0, 1, 255, 256, -1, None])
record_sets = st.builds(
    RecordSet,
    st.sampled_from([f"plan-000001.{ZONE}", f"plan-000002.{ZONE}", f"-x.{ZONE}", "b.test.", ZONE]),
    types,
    st.sampled_from([5, 0, 2_147_483_648, -1, None]),
    st.lists(addresses, max_size=2).map(tuple),
    identifiers,
    weights,
    st.sampled_from([None, None, None, ZONE]),
)
nearly_well = st.builds(
    address,
    st.just(f"plan-000001.{ZONE}"),
    st.just("A"),
    addresses.filter(bool),
    ttl=st.just(5),
    set_identifier=identifiers,
    weight=weights,
)
targets = st.builds(Target, identifiers.filter(lambda x: x is not None), types, addresses, st.integers(-1, 256))


@given(found=st.lists(st.one_of(record_sets, nearly_well), max_size=8), action=st.sampled_from(Action))
def test_changes_that_are_looked_at_together_fail_exactly_as_each_does_alone(found, action):
    """The short way through a tree's addresses lets nothing pass, and refuses nothing, that the rules do not."""
    changes = [Change(action, record_set) for record_set in found]

    failures = static_failures(ZONE, changes)

    alone = {index: static_failure(ZONE, change) for index, change in enumerate(changes)}
    assert failures == {index: failure for index, failure in alone.items() if failure}


def test_a_tree_of_many_addresses_is_well_as_a_whole():
    """Otherwise the short way would never be gone; one bad record set is found among many."""
    tree = [
        address(f"plan-000001.{ZONE}", "A", f"127.1.0.{n}", ttl=5, set_identifier=f"lb-{n}", weight=n)
        for n in range(1, 101)
    ]
    bad = address(f"plan-000001.{ZONE}", "A", "127.1.0.999", ttl=5, set_identifier="bad", weight=1)

    assert all_well_in(ZONE, tree)
    assert [*static_failures(ZONE, [*map(create, [*tree, bad])])] == [100]


@given(found=st.lists(targets, max_size=6))
def test_targets_that_are_well_together_are_those_of_which_each_is(found):
    """The same for what a plan wants, whose problems are then named one by one."""
    columns = zip(*((t.identifier, t.type, t.address, t.weight) for t in found), strict=True)

    together = all_well(*map(list, columns)) if found else all_well([], [], [], [])

    assert together == (not any(True for target in found for _ in target_problems(target)))
    twice = len({t.address for t in found}) < len(found) or len({(t.identifier, t.type) for t in found}) < len(found)
    assert bool(list(content_problems(Content(5, tuple(found))))) == (twice or not together)
