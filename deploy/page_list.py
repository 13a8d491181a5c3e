"""Which processes serve pages, and where: how a watch and a status are told."""

from collections.abc import Sequence
from typing import NamedTuple

from fencepost.errors import StartupError


class Page(NamedTuple):
    """A process and the port of its pages; `expected` if somebody said that it runs, else it is a guess."""

    kind: str
    name: str
    port: int
    expected: bool = True


def parse_pages(text: str) -> tuple[Page, ...]:
    """Return the pages that a setting lists: `kind:name:port`, separated by commas. Raises: StartupError."""
    try:
        parts = [part.split(":") for part in text.split(",") if part]
        return tuple(Page(kind, name, int(port)) for kind, name, port in parts)
    except ValueError as error:
        raise StartupError(f"FENCEPOST_PROCESSES is {text!r}; it is kind:name:port,kind:name:port ...") from error


def format_pages(pages: Sequence[Page]) -> str:
    """Return the setting that lists pages."""
    return ",".join(f"{page.kind}:{page.name}:{page.port}" for page in pages)
