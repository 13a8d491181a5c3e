"""Batches of chance, judged by the store and by the rules written down once more, as plainly as can be."""

import random
from collections import Counter

import pytest

from fencepost.batch import Action, Change, ChangeBatch, delete, swap
from fencepost.errors import InvalidChangeBatch
from fencepost.records import RecordSet, address, alias, ns, soa, txt

ZONE = "a.test."
NAMES = (ZONE, f"www.{ZONE}", f"plan-000001.{ZONE}", f"plan-000002.{ZONE}")
ACTIONS = tuple(Action)
REASONS = {
    "not_found", "mismatch", "exists", "deleted_twice", "cname_conflict", "policy_conflict", "target_missing",
}  # fmt: skip


def why_not_delete(zone, deleted, record_set):
    """Return why a DELETE is refused, None if it is not."""
    existing = zone.get(record_set.key)
    if record_set.key in deleted:
        return "deleted_twice"
    if existing is None:
        return "not_found"
    return None if existing == record_set else "mismatch"


def why_not_put(zone, action, record_set):
    """Return why a CREATE or UPSERT is refused, None if it is not."""
    others = [key for key in zone if key.name == record_set.name and key != record_set.key]
    peers = {key.set_identifier for key in others if key.type == record_set.type}
    if action is Action.CREATE and record_set.key in zone:
        return "exists"
    if others and "CNAME" in {record_set.type, *(key.type for key in others)}:
        return "cname_conflict"
    if record_set.key not in zone and peers and "" in {record_set.key.set_identifier, *peers}:
        return "policy_conflict"
    target = (record_set.alias, record_set.type)
    if record_set.alias and (target == record_set.key[:2] or target not in {key[:2] for key in zone}):
        return "target_missing"
    return None


def judged(zone, changes):
    """Return what a batch makes of a zone, and (index, reason) of each change that is refused."""
    zone, deleted, refused = dict(zone), set(), []
    for index, (action, record_set) in enumerate((change.action, change.record_set) for change in changes):
        takes = action is Action.DELETE
        reason = why_not_delete(zone, deleted, record_set) if takes else why_not_put(zone, action, record_set)
        if reason:
            refused.append((index, reason))
        elif takes:
            deleted.add(record_set.key)
            del zone[record_set.key]
        else:
            zone[record_set.key] = record_set
    return zone, refused


def leaf(rng, name, identifier):
    """Return a tree's record set, which now and then is not as the others are."""
    return address(name, "A", "10.0.0.1", ttl=5, set_identifier=identifier, weight=rng.choice((1, 1, 1, 2)))


def any_record_set(rng):
    """Return a record set of any form, of few names, so that they meet."""
    name, identifier = rng.choice(NAMES), rng.choice("abcd")
    forms = (
        leaf(rng, name, identifier),
        leaf(rng, name, identifier),
        address(name, "A", "10.0.0.1", ttl=5),
        address(name, "AAAA", "fd00::1", ttl=5, set_identifier=identifier, weight=1),
        alias(name, rng.choice(("A", "AAAA")), rng.choice(NAMES)),
        txt(name, identifier),
        RecordSet(name, "CNAME", 5, (f"x.{ZONE}",)),
        RecordSet(name, "CNAME", 5, (f"x.{ZONE}",), identifier, 1),
    )
    return rng.choice(forms)


def some_changes(rng, _):
    """Return changes that have nothing to do with each other."""
    return tuple(Change(rng.choice(ACTIONS), any_record_set(rng)) for _ in range(rng.randint(1, 4)))


def part_of_a_tree(rng, _):
    """Return changes of one action to record sets of one name and type, and sometimes something else in between."""
    action, name = rng.choice(ACTIONS), rng.choice(NAMES)
    changes = [Change(action, leaf(rng, name, identifier)) for identifier in rng.sample("abcdefgh", rng.randint(1, 8))]
    for _ in range(rng.choice((0, 0, 1, 2))):
        other = rng.choice((any_record_set(rng), leaf(rng, name, rng.choice("abcd"))))
        changes.insert(rng.randint(0, len(changes)), Change(rng.choice(ACTIONS), other))
    return tuple(changes)


def swaps(rng, zone):
    """Return DELETE + CREATE of some that are there, or the DELETE alone, and something else."""
    found = rng.sample([r for r in zone.values() if r.type not in {"SOA", "NS"}], min(2, len(zone) - 2))
    changes = [change for r in found for change in rng.choice((swap(r, r), (delete(r),)))]
    return (*changes, Change(rng.choice(ACTIONS), any_record_set(rng)))


async def failures(zones, changes):
    """Return (index, reason) of each change that the store refuses; nothing if it committed the batch."""
    try:
        await zones.change(ChangeBatch(ZONE, changes))
    except InvalidChangeBatch as error:
        return [(failed.index, failed.reason) for failed in error.failed]
    return []


@pytest.mark.parametrize("seed", range(3))
async def test_batches_of_chance_are_judged_as_the_rules_say(open_zones, seed):
    """CRRS: whatever the batch, each failing change is listed with its reason, or the zone is as the batch makes it."""
    zones, rng, reached = open_zones(), random.Random(seed), Counter()
    zone = {record_set.key: record_set for record_set in (soa(ZONE, ttl=9, minimum=9), ns(ZONE))}
    await zones.create_zone(ZONE, tuple(zone.values()))

    for _ in range(600):
        changes = rng.choice((part_of_a_tree, part_of_a_tree, some_changes, swaps))(rng, zone)
        after, refused = judged(zone, changes)
        assert await failures(zones, changes) == refused, changes
        zone = zone if refused else after
        reached.update({reason for _, reason in refused} or {"committed"})

    page = await zones.page(ZONE)
    assert {record_set.key: record_set for record_set in page.record_sets} == zone
    assert reached.keys() == REASONS | {"committed"}, reached
