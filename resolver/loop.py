"""The resolver's process: it follows every zone of the region, and answers on two ports, or is one of those who do."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from fencepost.clock import SystemClock, stream
from fencepost.connect import check_server, open_zone_feed
from fencepost.names import fence_name, rollback_name
from fencepost.records import ADDRESS_TYPES
from fencepost.service import Context, Service
from fencepost.stores import Commit
from resolver.answer import addresses, reply
from resolver.cache import CachingResolver
from resolver.follow import Follower
from resolver.hot import HotTable
from resolver.message import Reply, Transport
from resolver.metrics import AUTHORITATIVE, CACHING, QueryMetrics
from resolver.server import DnsServer
from resolver.settings import ResolverSettings
from resolver.upstream import AiodnsUpstream
from resolver.zone import ZoneImage


class ResolverService:
    """The authoritative server on `dns_port` and the caching one in front of it on `cache_port`.

    Of several workers each has all zones in memory and answers on `dns_port`; the first alone has the cache.
    """

    def __init__(self, context: Context, settings: ResolverSettings) -> None:
        clock = SystemClock(settings.clock_skew_s)
        region = settings.region()
        self._settings, self._zones = settings, region.endpoint_names
        self._feed = open_zone_feed(settings)
        self._rng: random.Random = stream(settings.seed, settings.name, "answers")
        self._follower = Follower(
            self._feed,
            self._zones,
            events=context.events,
            clock=clock,
            propagation=settings.network.propagation,
            seed=settings.seed,
            name="resolver",  # not the worker's: a commit takes as long to reach one as to reach another
            changed=self._changed,
        )
        self._hot = HotTable(self._follower.images, self._rng)
        self._cache = CachingResolver(AiodnsUpstream(settings.dns_port), clock)
        metrics = QueryMetrics(context.registry, self._hot)
        authoritative = metrics.counted(AUTHORITATIVE, self._answer)
        self._servers = [
            DnsServer(authoritative, settings.dns_port, hot=self._hot, shared=settings.workers > 1),
        ]
        if settings.worker == 1:
            self._servers.append(DnsServer(metrics.counted(CACHING, self._cache.reply), settings.cache_port))

    async def start(self) -> None:
        """See `Service.start`."""
        await check_server(self._settings.redis_url)
        for server in self._servers:
            await server.start()

    async def run(self) -> None:
        """See `Service.run`."""
        await self._follower.run()

    async def stop(self) -> None:
        """See `Service.stop`."""
        for server in reversed(self._servers):
            await server.stop()
        await self._cache.close()
        await self._feed.close()

    def not_ready(self) -> str | None:
        """See `Service.not_ready`."""
        if not all(server.is_listening for server in self._servers):
            return "the ports are not open yet"
        if waiting := self._follower.not_loaded():
            return f"{len(waiting)} of {len(self._zones)} zones were not read yet: {', '.join(waiting)}"
        return None

    def state(self) -> Mapping[str, Any]:
        """See `Service.state`: what every endpoint answers, and how the cache does."""
        images = self._follower.images
        return {
            "store_lost": self._follower.lost,
            "endpoints": {
                zone: {**endpoint_state(image), "commits_on_their_way": self._follower.pending(zone)}
                for zone, image in sorted(images.items())
            },
        } | ({"cache": self._cache.statistics._asdict()} if self._settings.worker == 1 else {})

    def _changed(self, zone: str, image: ZoneImage, commits: Sequence[Commit]) -> None:
        self._hot.changed(zone, image, commits)

    def _answer(self, message: bytes, transport: Transport) -> Reply | None:
        return reply(self._follower.images, message, transport, self._rng)


def endpoint_state(image: ZoneImage) -> dict[str, Any]:
    """Return what a person on call asks of one endpoint.

    Returns: `serial`; `root` and `rollback`, the alias target of each address type; `generation`, the fence's text or
        None; `addresses`, how many different ones it answers, by type. A type without an alias is left out.
    """
    fence = image.sets(fence_name(image.name), "TXT").get("")
    root = _targets(image, image.name)
    return {
        "serial": image.serial,
        "root": root,
        "rollback": _targets(image, rollback_name(image.name)),
        "generation": " ".join(fence.values).strip('"') if fence else None,
        "addresses": {kind: len(addresses(image, image.name, kind)) for kind in root},
    }


def _targets(image: ZoneImage, name: str) -> dict[str, str]:
    found = {kind: image.sets(name, kind).get("") for kind in ADDRESS_TYPES}
    return {kind: record_set.alias for kind, record_set in found.items() if record_set and record_set.alias}


def build(context: Context) -> Service:
    """Return the resolver."""
    assert isinstance(context.settings, ResolverSettings), "see resolver/__main__.py"
    return ResolverService(context, context.settings)
