"""`fencepost odds`: how likely the outage is, and on what that depends. Imports what it needs when it is run."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from lab.options import JsonFile

NAMES = "plans, stalls, stall-length, enactors, keep, backoff"


def register(parent: typer.Typer) -> None:
    """Add `odds` to the command line."""
    parent.command()(odds)


def odds(
    *,
    mode: Annotated[Literal["buggy", "fixed"], typer.Option(help="The enactors' protocol.")] = "buggy",
    only: Annotated[
        str, typer.Option(metavar="NAME[,NAME]", help=f"Which parameters to change. Default: all: {NAMES}.")
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Fixes every draw of delays, plans and jitter.")] = 1,
    hours: Annotated[float, typer.Option(help="Simulated hours of each setting, at most.")] = 0.4,
    outages: Annotated[int, typer.Option(min=1, help="A setting has been run enough after so many.")] = 30,
    minutes: Annotated[float, typer.Option(help="Wall time, at most; what there is then is told.")] = 15.0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Workers. Default: one for each CPU.")] = None,
    plan_rate: Annotated[float, typer.Option(help="Base: plans a second, at random instants.")] = 10.0,
    enactors: Annotated[int, typer.Option(min=1, help="Base: how many.")] = 3,
    endpoints: Annotated[int, typer.Option(min=1, max=26, help="How many, each a zone of its own.")] = 3,
    keep: Annotated[int, typer.Option(min=1, help="Base: generations that the cleaner keeps.")] = 10,
    median: Annotated[float, typer.Option(help="Of a round trip to the control API, seconds.")] = 0.01,
    p99: Annotated[float, typer.Option(help="Its 99th percentile without stalls, seconds.")] = 0.04,
    stall: Annotated[float, typer.Option(min=0, max=1, help="Base: share of calls that stall besides.")] = 0.002,
    stall_length: Annotated[float, typer.Option(min=0, help="Base: average stall, seconds.")] = 0.5,
    backoff_base: Annotated[float, typer.Option(help="First pause after a lost lock, seconds.")] = 0.05,
    backoff_cap: Annotated[float, typer.Option(help="Base: longest pause after a lost lock, seconds.")] = 2.0,
    lock_ttl: Annotated[float, typer.Option(help="A lock's life, seconds.")] = 2.0,
    poll: Annotated[float, typer.Option(help="Pause between two looks for a plan, seconds.")] = 0.1,
    json: JsonFile = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots there.")] = None,
) -> int:
    """Say how likely an outage of the shipped enactors is in an hour, and on what that depends.

    The shipped code runs in virtual time over links with random delays, nothing is scripted: each run ends when an
    endpoint that answered is emptied (I1), or after 300 simulated seconds. Around a base setting one parameter at a
    time is changed. A stale flip is a root that was taken back; `deepest` is by how many plans the worst was behind.

    Intervals are exact ones of 95 % (Garwood) for the rate, from which the probability follows; without any outage
    it is the rule of three. The same seed gives the same figures, unless --minutes or Ctrl-C cut it short: then what
    there is is told, runs under way included. About five minutes on two idle cores.

    Exit code: 0, or 1 if `--mode fixed` emptied an endpoint or made a stale flip; 2 wrong usage, 3 a file cannot be
    written, 130 after Ctrl-C.
    """
    from lab.compare import Outputs
    from lab.odds.estimate import HOUR_S
    from lab.odds.model import Setting
    from lab.odds.run import OddsOptions, run_odds
    from lab.odds.schedule import Effort
    from lab.odds.sweep import chosen

    base = Setting(
        mode=mode,
        enactors=enactors,
        endpoints=endpoints,
        plans_per_s=plan_rate,
        median_s=median,
        p99_s=p99,
        stall=stall,
        stall_s=stall_length,
        keep=keep,
        backoff_base_s=backoff_base,
        backoff_cap_s=backoff_cap,
        lock_ttl_s=lock_ttl,
        poll_s=poll,
    )
    options = OddsOptions(
        base,
        chosen(only),
        Effort(outages, hours, min(Effort().lasts_s, HOUR_S * hours)),
        seed=seed,
        minutes=minutes,
        jobs=jobs or os.cpu_count() or 1,
        command="fencepost " + shlex.join(sys.argv[1:]),
    )
    return run_odds(options, Outputs(json, html))
