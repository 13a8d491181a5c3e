"""What the processes say on their own pages: who they are, and what they are at."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp

from deploy.page_list import Page
from deploy.readiness import admin_url
from deploy.topology import SystemOptions, pages_of, process_specs
from fencepost.settings import Settings

ASK_TIMEOUT_S: Final = 0.8


def guessed_pages(settings: Settings) -> tuple[Page, ...]:
    """Return where the pages of a system are that was started without any options, at the settings' ports."""
    options = SystemOptions(Path(), port_base=settings.port_base, region_file=settings.region_file)
    specs = process_specs(options, settings.region(), settings.redis_url)
    return tuple(page._replace(expected=False) for page in pages_of(specs))


class Pages:
    """Asks every process but `without` for its /state; connections are kept from the first question until `close`."""

    def __init__(self, pages: Sequence[Page], *, without: str) -> None:
        self.pages = tuple(page for page in pages if page.name != without)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Give up the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def states(self) -> dict[str, Mapping[str, Any]]:
        """Return process -> its state, of those that answer. Never raises."""
        found = await asyncio.gather(*map(self._state, self.pages))
        return {page.name: state for page, state in zip(self.pages, found, strict=True) if state is not None}

    async def _state(self, page: Page) -> Mapping[str, Any] | None:
        timeout = aiohttp.ClientTimeout(total=ASK_TIMEOUT_S)
        self._session = self._session or aiohttp.ClientSession(timeout=timeout)
        try:
            async with self._session.get(f"{admin_url(page.port)}/state") as answer:
                state = await answer.json()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None
        # Another program may have the port by now.
        return state if isinstance(state, dict) and state.get("name") == page.name else None
