"""What a redis client makes of raw answers: the shapes that the adapters get from redis-py (RESP2, bytes)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from redis.exceptions import ResponseError

from lab.simulation.server import ServerError

Entry = tuple[bytes, dict[bytes, bytes]]


def pairs(reply: Any) -> dict[bytes, bytes]:
    """Return HGETALL's flat list as a dict."""
    return dict(zip(reply[::2], reply[1::2], strict=True))


def entries(reply: Any) -> list[Entry]:
    """Return XRANGE's and XREVRANGE's entries as (id, fields)."""
    return [(entry_id, pairs(fields)) for entry_id, fields in reply]


def streams(reply: Any) -> list[list[Any]]:
    """Return XREAD's answer as [key, entries] of each stream that has something new."""
    return [[key, entries(found)] for key, found in reply or ()]


SHAPES: Final[Mapping[str, Callable[[Any], Any]]] = {
    "HGETALL": pairs,
    "XRANGE": entries,
    "XREVRANGE": entries,
    "XREAD": streams,
}
"""By command; every other one's answer is handed on as it is."""


def shaped(command: str, reply: Any) -> Any:
    """Return what redis-py returns for a command's raw answer."""
    shape = SHAPES.get(command)
    return shape(reply) if shape else reply


def range_arguments(key: str, first: object, last: object, count: int | None) -> Sequence[str]:
    """Return the arguments of XRANGE or XREVRANGE, in the order in which its ends are sent."""
    return (key, str(first), str(last), *(() if count is None else ("COUNT", str(count))))


def read_arguments(streams_from: Mapping[str, str], count: int | None) -> Sequence[str]:
    """Return the arguments of an XREAD that does not wait."""
    return (*(() if count is None else ("COUNT", str(count))), "STREAMS", *streams_from, *streams_from.values())


def refused(error: ServerError) -> ResponseError:
    """Return what redis-py raises for an error of the server: the word ERR is not part of its text."""
    return ResponseError(str(error).removeprefix("ERR "))
