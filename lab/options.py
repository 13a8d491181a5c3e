"""Options that several commands of this room have, each with its help once."""

from pathlib import Path
from typing import Annotated, Final

import typer

REGION_HELP: Final = "The region file; the default region is us-east-1."

Enactors = Annotated[int, typer.Option(help="How many enactors, over the Availability Zones in turn.")]
RegionFile = Annotated[Path | None, typer.Option(help=REGION_HELP)]
PortBase = Annotated[int, typer.Option(help="DNS is served on it; other ports follow.")]
RunDir = Annotated[
    Path | None, typer.Option(help="Where histories and logs go. Default: a fresh directory under ./runs.")
]
JsonFile = Annotated[Path | None, typer.Option(help="Write the result there as JSON.")]
