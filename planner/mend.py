"""Reading a plan that somebody else has published, and that no region could want, for what it can mean. Pure.

The plan store takes plans past `fencepost.plan.check_draft`. What is wrong with the last one must neither stop the
planner nor come back in its next plan.
"""

from collections.abc import Sequence

from fencepost.batch import MAX_WEIGHT
from fencepost.plan import Content, Target, content


def mended(value: Content) -> Content:
    """Return a content without duplicates, its weights within 0 to `MAX_WEIGHT`; one that is well as it is.

    The first target of a load balancer and type, and of an address, counts.
    """
    targets = value.targets
    if _is_well(targets):
        return content(value.ttl, list(targets))
    who, addresses = set[tuple[str, str]](), set[str]()
    kept: list[Target] = []
    for target in targets:
        if (target.identifier, target.type) not in who and target.address not in addresses:
            weight = min(max(target.weight, 0), MAX_WEIGHT)
            kept.append(Target(target.identifier, target.type, target.address, weight))
            who.add((target.identifier, target.type))
            addresses.add(target.address)
    return content(value.ttl, kept)


def _is_well(targets: Sequence[Target]) -> bool:
    who, addresses = {(target.identifier, target.type) for target in targets}, {target.address for target in targets}
    one_each = len(who) == len(addresses) == len(targets)
    return one_each and all(0 <= target.weight <= MAX_WEIGHT for target in targets)
