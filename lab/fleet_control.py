"""The fleet's control API: who plays with the load balancers' health does it here, over HTTP and JSON."""

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any, Final, Protocol

import msgspec
from aiohttp import web

from fencepost.errors import StartupError
from fencepost.region import MAX_CAPACITY

MAX_LATENCY_MS: Final = 60_000.0

Capacity = Annotated[int, msgspec.Meta(ge=0, le=MAX_CAPACITY)]
LatencyMs = Annotated[float, msgspec.Meta(ge=0, le=MAX_LATENCY_MS)]


class Failure(StrEnum):
    """How a load balancer fails, health checks included.

    `refuse`: its socket is closed; `hang`: it accepts and never answers; `error`: it answers 500 to everything.
    """

    NONE = "none"
    REFUSE = "refuse"
    HANG = "hang"
    ERROR = "error"


class Condition(msgspec.Struct, frozen=True):
    """How a load balancer is.

    Attributes:
        healthy: what `/health` says; customers' requests are served all the same.
        capacity: requests per second that `/health` reports; nothing enforces it.
        latency_ms: how long a customer's request takes, milliseconds.
        failure: how it fails, `none` if it does not.
    """

    healthy: bool = True
    capacity: int = 100
    latency_ms: float = 0.0
    failure: Failure = Failure.NONE


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The body of a PUT: any part of a condition; what is left out stays."""

    healthy: bool | msgspec.UnsetType = msgspec.UNSET
    capacity: Capacity | msgspec.UnsetType = msgspec.UNSET
    latency_ms: LatencyMs | msgspec.UnsetType = msgspec.UNSET
    failure: Failure | msgspec.UnsetType = msgspec.UNSET

    def applied_to(self, condition: Condition) -> Condition:
        """Return the condition with this wish's parts in place."""
        parts = {name: getattr(self, name) for name in self.__struct_fields__}
        return msgspec.structs.replace(condition, **{k: v for k, v in parts.items() if v is not msgspec.UNSET})


class Balancer(Protocol):
    """What the control API needs of a load balancer."""

    condition: Condition

    def state(self) -> dict[str, Any]:
        """Return what is shown of it, JSON-able."""


class Fleet(Protocol):
    """What the control API needs of the fleet."""

    @property
    def balancers(self) -> Mapping[str, Balancer]:
        """Every load balancer by its name."""

    async def change(self, name: str, wish: Wish) -> None:
        """Make a load balancer ill or well. Raises: StartupError if its port cannot be had again."""


def control_app(fleet: Fleet) -> web.Application:
    """Return `GET /v1/balancers` and `PUT /v1/balancers/{name}`.

    Both answer JSON; bad input is 400, an unknown name 404, a port that was taken 409, each with `{"error": ...}`, and
    nothing is changed.
    """

    async def show(_: web.Request) -> web.Response:
        return web.json_response({"balancers": [balancer.state() for balancer in fleet.balancers.values()]})

    async def put(request: web.Request) -> web.Response:
        balancer = fleet.balancers.get(request.match_info["name"])
        if balancer is None:
            return _error(
                HTTPStatus.NOT_FOUND, f"no load balancer {request.match_info['name']!r}; GET /v1/balancers lists them"
            )
        try:
            wish = msgspec.json.decode(await request.read(), type=Wish)
            await fleet.change(request.match_info["name"], wish)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return _error(HTTPStatus.BAD_REQUEST, f'{error}; send e.g. {{"healthy": false, "failure": "hang"}}')
        except StartupError as error:
            return _error(HTTPStatus.CONFLICT, str(error))
        return web.json_response(balancer.state())

    app = web.Application(middlewares=[_errors_as_json])
    app.router.add_get("/v1/balancers", show)
    app.router.add_put("/v1/balancers/{name}", put)
    return app


def _error(status: HTTPStatus, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return web.json_response({"error": f"{request.method} {request.path}: {error.reason}"}, status=error.status)
