"""Reading a plan that somebody else has published, and that no region could want, for what it can mean. Pure.

The plan store takes plans past `fencepost.plan.check_draft`. What is wrong with the last one must neither stop the
planner nor come back in its next plan.
"""

from fencepost.batch import MAX_WEIGHT
from fencepost.plan import Content, Target, content


def mended(value: Content) -> Content:
    """Return a content without duplicates, its weights within 0 to `MAX_WEIGHT`; one that is well as it is.

    The first target of a load balancer and type, and of an address, counts.
    """
    who, addresses = set[tuple[str, str]](), set[str]()
    kept: list[Target] = []
    for target in value.targets:
        if (target.identifier, target.type) not in who and target.address not in addresses:
            weight = min(max(target.weight, 0), MAX_WEIGHT)
            kept.append(Target(target.identifier, target.type, target.address, weight))
            who.add((target.identifier, target.type))
            addresses.add(target.address)
    return content(value.ttl, kept)
