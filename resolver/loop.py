"""The resolver's process: it follows every zone of the region, and answers on two ports, or is one of those who do."""

import asyncio
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
from resolver.collector import Collector
from resolver.follow import Follower
from resolver.hot import HotTable
from resolver.message import Reply, Transport
from resolver.metrics import AUTHORITATIVE, CACHING, QueryMetrics
from resolver.server import DnsServer
from resolver.settings import ResolverSettings
from resolver.trouble import Failures, Replier, Trouble, guarded
from resolver.upstream import AiodnsUpstream
from resolver.zone import ZoneImage


class ResolverService:
    """The authoritative server on `dns_port` and the caching one in front of it on `cache_port`.

    Of several workers each has all zones in memory and answers on `dns_port`; the first alone has the cache. One that
    is started again takes its part of the queries only when it has read the zones: till then the others answer.
    """

    def __init__(self, context: Context, settings: ResolverSettings) -> None:
        clock = SystemClock(settings.clock_skew_s)
        region = settings.region()
        self._settings, self._zones = settings, frozenset(region.endpoint_names)
        self._feed = open_zone_feed(settings, self._look)
        self._rng: random.Random = stream(settings.seed, settings.name, "answers")
        self._follower = Follower(
            self._feed,
            region.endpoint_names,
            events=context.events,
            clock=clock,
            propagation=settings.network.propagation,
            seed=settings.seed,
            name="resolver",  # not the worker's: a commit takes as long to reach one as to reach another
            changed=self._changed,
            look=self._look,
        )
        self._hot = HotTable(self._follower.images, self._rng, self._zones)
        self._collector = Collector(clock)
        self._cache = CachingResolver(AiodnsUpstream(settings.dns_port), clock)
        self._states: dict[str, tuple[ZoneImage, dict[str, Any]]] = {}
        metrics, failures = QueryMetrics(context.registry, self._hot), Failures(context.events, clock)

        def server(listener: str, replier: Replier, port: int, hot: HotTable | None, *, shared: bool) -> DnsServer:
            answerer = metrics.counted(listener, guarded(replier, failures))
            return DnsServer(
                answerer, port, hot=hot, trouble=Trouble(failures, metrics.unsent(listener)), shared=shared
            )

        is_shared = settings.workers > 1
        self._authoritative = server(AUTHORITATIVE, self._answer, settings.dns_port, self._hot, shared=is_shared)
        self._servers = [self._authoritative]
        if settings.worker == 1:
            self._servers.append(server(CACHING, self._cache.reply, settings.cache_port, None, shared=False))

    async def start(self) -> None:
        """See `Service.start`."""
        await check_server(self._settings.redis_url)
        for server in self._servers:
            if self._settings.workers == 1 or server is not self._authoritative:
                await server.start()

    async def run(self) -> None:
        """See `Service.run`."""
        following = asyncio.create_task(self._follower.run())
        collecting = asyncio.create_task(self._collect_when_read())
        try:
            if not self._authoritative.is_listening:
                await self._open_when_read(following)
            await following
        finally:
            following.cancel()
            collecting.cancel()
            self._collector.stop()
            await asyncio.wait({following, collecting})

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
                zone: {**self._endpoint_state(image), "commits_on_their_way": self._follower.pending(zone)}
                for zone, image in sorted(images.items())
            },
        } | ({"cache": self._cache.statistics._asdict()} if self._settings.worker == 1 else {})

    async def _collect_when_read(self) -> None:
        """Let the garbage collector pass over the zones, as soon as they are there."""
        await self._follower.first_read.wait()
        self._collector.start(asyncio.get_running_loop().call_soon_threadsafe)

    async def _open_when_read(self, following: asyncio.Task[None]) -> None:
        """Take part in the port that the workers share; not if following has failed."""
        reading = asyncio.create_task(self._follower.first_read.wait())
        try:
            await asyncio.wait({following, reading}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
        if not following.done():
            await self._authoritative.start()

    def _endpoint_state(self, image: ZoneImage) -> dict[str, Any]:
        """Return `endpoint_state`, made once for each image: a watch asks every second, for a thousand endpoints."""
        kept = self._states.get(image.name)
        if kept is None or kept[0] is not image:
            kept = self._states[image.name] = image, endpoint_state(image)
        return kept[1]

    def _changed(self, zone: str, image: ZoneImage, commits: Sequence[Commit]) -> None:
        self._hot.changed(zone, image, commits, self._look)

    def _look(self) -> None:
        self._authoritative.look()
        if self._collector.collect_new():
            self._authoritative.look()

    def _answer(self, message: bytes, transport: Transport) -> Reply | None:
        return reply(self._follower.images, message, transport, self._rng, self._zones)


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
