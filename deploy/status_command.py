"""`fencepost status`."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fencepost.client import REDIS_URL_HELP, write_json
from fencepost.exit_codes import EXIT_CHECK_FAILED, EXIT_FINE, EXIT_NOT_STARTED

if TYPE_CHECKING:
    from rich.console import Console

    from deploy.status import StatusSettings
    from fencepost.alarms import Judgement
    from fencepost.facts import Facts

AGAIN_S: Final = 2.0
WIDEST: Final = 240


def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every 2 s, until Ctrl-C.")] = False,
    json: Annotated[Path | None, typer.Option("--json", help="Write facts and alarm there as JSON.")] = None,
    redis_url: Annotated[str | None, typer.Option(help=REDIS_URL_HELP)] = None,
    port_base: Annotated[
        int | None, typer.Option(help="Where the system's DNS is; the processes' pages are from +10 on.")
    ] = None,
    region: Annotated[Path | None, typer.Option(help="The region file; the default is us-east-1.")] = None,
) -> int:
    """Say whether all is well; if not, what the cause is, where, what follows from it, and what to type.

    It reads the stores themselves, so it needs no enactor, no planner and no resolver; whatever of them answers is
    asked too. Nothing is changed.

    Exit codes: 0 all is well, 1 there is an alarm, 3 the store cannot be read (which then is the alarm).
    """
    from deploy.status import StatusSettings
    from fencepost.settings import load_settings

    given = {"redis_url": redis_url, "port_base": port_base, "region_file": region}
    settings = load_settings(StatusSettings).model_copy(update={k: v for k, v in given.items() if v is not None})
    return asyncio.run(_status(settings, json, watch=watch))


async def _status(settings: "StatusSettings", json: Path | None, *, watch: bool) -> int:
    from rich.console import Console

    from deploy.status import collecting
    from fencepost.alarms import judge
    from fencepost.clock import SystemClock
    from fencepost.symptoms import Thresholds

    console, clock, thresholds = Console(), SystemClock(), Thresholds.of(settings.network)
    if not console.is_terminal:  # a table in a file, or in a ticket, is not cut to a terminal's width
        console.width = WIDEST
    async with collecting(settings, clock) as collector:
        while True:
            facts = await collector.look()
            judgement = judge(facts, thresholds)
            write_json(json, {"alarm": judgement.alarm, "notes": judgement.notes, "facts": facts})
            if watch:
                console.clear()
            _print(console, settings, facts, judgement)
            if not watch:
                return _exit_code(facts, judgement)
            await clock.sleep(AGAIN_S)


def _print(console: "Console", settings: "StatusSettings", facts: "Facts", judgement: "Judgement") -> None:
    from deploy.status_text import endpoint_table, process_table, summary, verdict

    for line in verdict(facts, judgement):
        console.print(line, soft_wrap=True)
    if not settings.processes and not facts.processes:
        console.print(f"(nobody answers at port base {settings.port_base}; `. RUN-DIR/env` tells where a system is)")
    console.print()
    if not facts.store_problem:
        console.print(summary(facts), highlight=False)
    console.print(endpoint_table(facts))
    if facts.processes:
        console.print(process_table(facts))


def _exit_code(facts: "Facts", judgement: "Judgement") -> int:
    if facts.store_problem:
        return EXIT_NOT_STARTED
    return EXIT_CHECK_FAILED if judgement.alarm else EXIT_FINE
