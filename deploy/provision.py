"""Hosted zones: each endpoint of a region gets its own, with SOA and NS, before anything may write to it."""

from fencepost.region import Region
from fencepost.stores import ZoneStore


async def provision(zone_store: ZoneStore, region: Region) -> tuple[str, ...]:
    """Create the zones that are missing, change none that exists, and return the names of the created ones.

    Raises: StoreError; calling it again goes on from there.
    """
    return tuple(
        [name for name in region.endpoint_names if await zone_store.create_zone(name, region.zone_records(name))]
    )
