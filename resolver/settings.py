"""Settings of a resolver."""

from typing import Annotated

from pydantic import Field

from fencepost.settings import Settings


class ResolverSettings(Settings):
    """What a resolver has besides `Settings`.

    Attributes:
        workers: how many processes answer on the authoritative port together; the system deals queries out among them.
        worker: which of them this one is, from 1 on. The first has the caching resolver as well.
    """

    workers: Annotated[int, Field(ge=1)] = 1
    worker: Annotated[int, Field(ge=1)] = 1
