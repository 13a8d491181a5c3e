"""Is a process ready? Ours say so on /readyz, the server by answering PING."""

from http import HTTPStatus

import aiohttp

from deploy.topology import ProcessSpec
from fencepost.connect import check_server
from fencepost.errors import StartupError
from fencepost.settings import LOOPBACK

ASK_TIMEOUT_S = 1.0


def admin_url(port: int) -> str:
    """Return the URL under which a process serves its admin pages."""
    return f"http://{LOOPBACK}:{port}"


class Probe:
    """Asks processes whether they are ready; it keeps HTTP connections from the first question until `close`."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Give up the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def problem(self, spec: ProcessSpec) -> str | None:
        """Return why a process is not ready, None if it is."""
        if spec.ping_url is not None:
            return await self._ping_problem(spec.ping_url)
        return await self._page_problem(spec)

    async def _ping_problem(self, url: str) -> str | None:
        try:
            await check_server(url)
        except StartupError as error:
            return str(error)
        return None

    async def _page_problem(self, spec: ProcessSpec) -> str | None:
        assert spec.admin_port is not None, spec.name
        self._session = self._session or aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ASK_TIMEOUT_S))
        try:
            async with self._session.get(f"{admin_url(spec.admin_port)}/readyz") as answer:
                text = (await answer.text()).strip()
        except (aiohttp.ClientError, TimeoutError):
            return f"no answer on its admin port {spec.admin_port}"
        return None if answer.status == HTTPStatus.OK else text
