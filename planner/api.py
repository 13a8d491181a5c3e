"""The operator API: load balancers, requests in force, capacity and drains; JSON over HTTP on loopback.

Every change is answered after the request is durable and a plan that holds it is published: 200 and `{"request": {...,
"in_force": bool}, "generation": n, "held": {endpoint: why}, "limited": {endpoint: why}, "pinned": {endpoint: who}}`.
`held` names the endpoints that stay as they are because none of their load balancers can be used, `limited` those of
which less goes than was asked, so as not to take too much at once, `pinned` those that an operator has rolled back.

202, with `"generation": null`, says that the request is durable and its plan comes later: at once with `?wait=false`;
after some seconds, with `"why"`, where plans are held back; and with `"frozen": who, when and why` while the automation
is frozen.

`{"force": true}` lets a drain, or a capacity that is taken away, take more than protective checks allow; `"by"` says
who wants that. No force leaves an endpoint without a load balancer.

Every error is `{"error": one sentence with the remedy}`; 4xx means that nothing has changed. 429 says that too many
requests are waiting, and in `Retry-After` when to try again.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeVar

import msgspec
from aiohttp import web

from fencepost.errors import FencepostError, OutcomeUnknown
from fencepost.region import MAX_CAPACITY
from planner.admission import Refused, Wanted
from planner.loop import RETRY_AFTER_S, Planner, Submitted
from planner.requests import OPERATOR, Kind, Request

MAX_BODY: Final = 16 * 1024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


Reason = Annotated[str, msgspec.Meta(max_length=500)]
By = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,64}$")]


class CapacityBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a capacity request: requests per second on top of what is in force."""

    add: Annotated[int, msgspec.Meta(ge=-MAX_CAPACITY, le=MAX_CAPACITY)]
    reason: Reason = ""
    force: bool = False
    by: By = OPERATOR


class DrainBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a drain, which may be left out whole."""

    reason: Reason = ""
    force: bool = False
    by: By = OPERATOR


B = TypeVar("B", CapacityBody, DrainBody)


def api_app(planner: Planner) -> web.Application:
    """Return the operator API of a planner."""

    async def load_balancers(_: web.Request) -> web.Response:
        return _json({"load_balancers": await planner.load_balancers()})

    async def requests(_: web.Request) -> web.Response:
        in_force = await planner.requests()
        return _json({"requests": [_shown(request, in_force=True) for request in in_force.by_key.values()]})

    async def submit(request: web.Request, wanted: Wanted) -> web.Response:
        # A planner that has not seen the fleet cannot say what a request would do.
        if problem := planner.not_ready():
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, f"the planner is not ready ({problem}); try again")
        return _answer(await planner.submit(wanted, wait=_waits(request)))

    async def add_capacity(request: web.Request) -> web.Response:
        body = await _body(request, CapacityBody)
        return await submit(request, _wanted(request, Kind.CAPACITY, body, ends=False, add=body.add))

    def drain(kind: Kind, *, ends: bool) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            body = await _body(request, DrainBody) if await request.read() else DrainBody()
            return await submit(request, _wanted(request, kind, body, ends=ends))

        return handle

    app = web.Application(middlewares=[_errors_as_json], client_max_size=MAX_BODY)
    app.router.add_get("/v1/load-balancers", load_balancers)
    app.router.add_get("/v1/requests", requests)
    app.router.add_post("/v1/load-balancers/{name}/capacity", add_capacity)
    for path, kind in (
        ("/v1/load-balancers/{name}/drain", Kind.DRAIN),
        ("/v1/availability-zones/{name}/drain", Kind.ZONE_DRAIN),
    ):
        app.router.add_post(path, drain(kind, ends=False))
        app.router.add_delete(path, drain(kind, ends=True))
    return app


def _wanted(request: web.Request, kind: Kind, body: CapacityBody | DrainBody, *, ends: bool, add: int = 0) -> Wanted:
    if body.force and (ends or add > 0):
        raise web.HTTPBadRequest(text="force is for taking something out; leave it out here")
    return Wanted(kind, request.match_info["name"], ends, add, body.reason, body.force, body.by)


def _waits(request: web.Request) -> bool:
    """Say whether the caller waits for the plan. Raises: HTTPBadRequest for a `wait` that is neither true nor false."""
    text = request.query.get("wait", "true")
    if text not in {"true", "false"}:
        raise web.HTTPBadRequest(text=f"wait is {text!r}; it may be true or false")
    return text == "true"


def _answer(result: Submitted | Refused) -> web.Response:
    if isinstance(result, Refused):
        response = _error(result.status, result.error)
        if result.status is HTTPStatus.TOO_MANY_REQUESTS:
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return response
    admitted, outcome, late = result
    if outcome.error and not late:
        state = "in force" if admitted.stored else "ended"
        return _error(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"the request is stored ({admitted.request.key} is {state}), but no plan is published yet: {outcome.error};"
            " do not repeat it, GET /v1/requests shows it",
        )
    settled = outcome.settled
    answer = {
        "request": _shown(admitted.request, in_force=admitted.stored is not None),
        "generation": outcome.generation,
        "held": settled.held,
        "limited": {name: limited.text for name, limited in settled.limited.items()},
        "pinned": settled.pinned,
    }
    if not late and settled.frozen is None:
        return _json(answer)
    later = {"generation": None, "why": late or outcome.why}
    frozen = {"frozen": settled.frozen} if settled.frozen is not None else {}
    return _json({**answer, **later, **frozen}, HTTPStatus.ACCEPTED)


def _shown(request: Request, *, in_force: bool) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(request)
    return {**shown, "in_force": in_force}


async def _body(request: web.Request, kind: type[B]) -> B:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        fields = ", ".join(kind.__struct_fields__)
        raise web.HTTPBadRequest(text=f"{error}; send a JSON object with {fields}") from error


def _json(body: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


def _error(status: HTTPStatus, text: str) -> web.Response:
    return _json({"error": text}, status)


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error in JSON; a store in trouble is 503."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _error(HTTPStatus(error.status), error.text or error.reason)
    except OutcomeUnknown as error:
        return _error(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"{error}; look at GET /v1/requests whether it is in force before repeating it",
        )
    except FencepostError as error:
        return _error(HTTPStatus.SERVICE_UNAVAILABLE, f"nothing was changed: {error}; try again")
