"""`fencepost load`: customers' requests to a running system, by hand, with progress and a summary."""

import asyncio
import math
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fencepost.clock import SystemClock
from fencepost.events import EventBus
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE
from lab.clients import Tally
from lab.history import Request
from lab.load import LoadGenerator, LoadSettings

REFRESH_S: Final = 0.2
SHARES: Final = (0.5, 0.9, 0.99)


class Summary(msgspec.Struct, frozen=True):
    """What a load by hand came to.

    Attributes:
        rate, duration_s: as asked for; `sent_per_s` as reached.
        requests, requests_failed, availability: of the service; availability is None without finished requests.
        overloaded, worst_late_ms: what the generator itself could not send, and how late it was at worst.
        latency_ms: percentile -> milliseconds from the intended arrival, of requests that were served.
        errors: failures by error.
    """

    rate: float
    duration_s: float
    sent_per_s: float
    requests: int
    requests_failed: int
    availability: float | None
    overloaded: int
    worst_late_ms: float
    latency_ms: dict[str, float]
    errors: dict[str, int]


def summarize(requests: Sequence[Request], tally: Tally, *, rate: float, duration_s: float, took_s: float) -> Summary:
    """Return the figures of a load that was driven for `took_s` seconds."""
    served_ms = sorted(request.took_ms for request in requests if request.ok)
    failed = sum(not request.ok for request in requests)
    return Summary(
        rate=rate,
        duration_s=duration_s,
        sent_per_s=round(tally.sent / took_s, 2) if took_s > 0 else 0.0,
        requests=len(requests),
        requests_failed=failed,
        availability=1 - failed / len(requests) if requests else None,
        overloaded=tally.overloaded,
        worst_late_ms=round(tally.worst_late_ms, 3),
        latency_ms={f"p{100 * share:g}": _percentile(served_ms, share) for share in SHARES if served_ms},
        errors=dict(sorted(tally.errors.items())),
    )


def _percentile(in_order: Sequence[float], share: float) -> float:
    return in_order[max(0, math.ceil(share * len(in_order)) - 1)]


def lines(summary: Summary) -> list[str]:
    """Return a summary in words."""
    found = [
        f"{summary.requests} requests at {summary.sent_per_s:g} a second, {summary.requests_failed} failed"
        + (f": availability {summary.availability:.5f}" if summary.availability is not None else "")
    ]
    if summary.latency_ms:
        spans = ", ".join(f"{name} {value:.1f} ms" for name, value in summary.latency_ms.items())
        found.append(f"latency from the intended arrival, served requests: {spans}")
    found += [f"  {count} x {error}" for error, count in summary.errors.items()]
    if summary.overloaded:
        found.append(
            f"the load generator itself could not send {summary.overloaded} requests (too many in flight): "
            "these are not counted as the service's failures; lower --rate"
        )
    return found


async def drive(settings: LoadSettings, duration_s: float, console: Console, stop: asyncio.Event) -> Summary:
    """Send requests for a while, or until `stop`, and return what came of it."""
    clock, requests = SystemClock(), list[Request]()
    generator = LoadGenerator(settings, clock, EventBus(), requests.append)
    began_s = clock.monotonic()
    columns = (TextColumn("load"), BarColumn(), TextColumn("{task.fields[said]}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        shown = progress.add_task("load", total=duration_s, said="")
        running = asyncio.create_task(generator.run())
        try:
            while (passed_s := clock.monotonic() - began_s) < duration_s and not stop.is_set() and not running.done():
                progress.update(shown, completed=passed_s, said=_so_far(generator.tally))
                await asyncio.wait({running}, timeout=min(REFRESH_S, duration_s - passed_s))
        finally:
            running.cancel()
            await asyncio.wait({running})
    if not running.cancelled():
        running.result()
    took_s = clock.monotonic() - began_s
    return summarize(requests, generator.tally, rate=settings.load_rate, duration_s=duration_s, took_s=took_s)


def _so_far(tally: Tally) -> str:
    return f"{tally.served} served, {tally.failed} failed, {tally.in_flight} in flight"


def write_json(path: Path, document: Any) -> None:
    """Write a result for programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")


def load_by_hand(settings: LoadSettings, *, duration_s: float, json_path: Path | None) -> int:
    """Do what `fencepost load` does; return 0 if every request was served, else 1. Ctrl-C ends it early."""
    summary = uvloop.run(_until_interrupted(settings, duration_s))
    console = Console()
    for line in lines(summary):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if json_path is not None:
        write_json(json_path, summary)
    return EXIT_CHECK_FAILED if summary.requests_failed or not summary.requests else EXIT_FINE


async def _until_interrupted(settings: LoadSettings, duration_s: float) -> Summary:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await drive(settings, duration_s, Console(stderr=True), stop)
