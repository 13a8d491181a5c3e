"""Options and arguments that several commands have, each with its help once."""

from pathlib import Path
from typing import Annotated

import typer

from fencepost.client import REDIS_URL_HELP

RedisUrl = Annotated[str | None, typer.Option("--redis-url", help=REDIS_URL_HELP)]
RegionFile = Annotated[Path | None, typer.Option("--region", help="The region file; the default is us-east-1.")]
JsonPath = Annotated[Path | None, typer.Option("--json", help="Write the result there as JSON.")]
Endpoint = Annotated[str, typer.Argument(metavar="ENDPOINT", help="An endpoint's DNS name.")]
By = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who does this; kept in the history. Default: your login.")
]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Why, in one sentence; kept in the history.")]
PortBase = Annotated[
    int | None, typer.Option("--port-base", help="Where the system's DNS is; the cache is on +1. Default: 5300.")
]
Wait = Annotated[
    float,
    typer.Option(
        "--wait", min=0, help="How long to watch, in seconds, until both resolvers answer with it; 0: not at all."
    ),
]
