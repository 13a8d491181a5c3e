"""DNS over UDP and TCP on one port, for any answerer: the authoritative server and the caching one both listen here."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from fencepost.errors import StartupError
from fencepost.service import cannot_listen
from fencepost.settings import LOOPBACK
from resolver.datagrams import Datagrams
from resolver.hot import HotTable
from resolver.message import Transport
from resolver.trouble import Trouble

Answerer = Callable[[bytes, Transport], bytes | Awaitable[bytes | None] | None]
"""Takes a message and returns its answer, None for no answer at all, or something to wait for. Never raises."""

MAX_CONNECTIONS: Final = 256
MAX_AT_ONCE: Final = 1000
"""Queries that may be waited for at one time, all senders together; more are dropped, as a full network would."""
IDLE_TIMEOUT_S: Final = 10.0
"""After this long without a whole message, or with an answer that is not taken, a connection is closed."""
RECEIVE_BUFFER: Final = 1 << 20
_LENGTH_SIZE: Final = 2
_PORT_TRIES: Final = 20


class DnsServer:
    """Listeners for UDP and TCP on one loopback port.

    Over TCP each connection may send any number of queries without waiting (RFC 7766 section 6.2.1.1); answers that
    must be waited for may overtake each other. Whatever bytes come, the listeners live on: a message that gets no
    answer is passed over, a connection that breaks the framing is closed.

    Args:
        answerer: answers each message.
        port: loopback port; 0 lets the system choose one, see `port`.
        hot: answers that are prepared, for UDP; `answerer` is not asked for them.
        trouble: where troubles with single datagrams go.
        shared: whether other processes listen on the same port, and the system deals queries out among them.
        idle_timeout_s: see `IDLE_TIMEOUT_S`.
        max_connections: TCP connections at one time; a further one is closed at once.
    """

    def __init__(
        self,
        answerer: Answerer,
        port: int,
        *,
        hot: HotTable | None = None,
        trouble: Trouble = Trouble(),  # noqa: B008  -- it is frozen
        shared: bool = False,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._answerer, self._port, self._hot, self._shared = answerer, port, hot, shared
        self._trouble = trouble
        self._idle_timeout_s, self._max_connections = idle_timeout_s, max_connections
        self._udp: Datagrams | None = None
        self._tcp: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._port

    @property
    def is_listening(self) -> bool:
        """Whether both listeners are open."""
        return self._udp is not None and self._tcp is not None

    async def start(self) -> None:
        """Open both listeners. Raises: StartupError naming the port if it is in use."""
        udp, tcp = self._bind()
        self._port = tcp.getsockname()[1]
        self._udp = Datagrams(udp, self._hot, self._answer_datagram, self._trouble)
        self._tcp = await asyncio.start_server(self._connected, sock=tcp)

    async def stop(self) -> None:
        """Close the listeners and every connection."""
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        tasks = self._connections | self._waiting
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._udp = self._tcp = None

    def look(self) -> None:
        """See `Datagrams.look`; nothing while it does not listen."""
        if self._udp is not None:
            self._udp.look()

    def answer(self, message: bytes, transport: Transport, send: Callable[[bytes], None]) -> asyncio.Task[None] | None:
        """Have one message answered: `send` is called now, or by the task that is returned, or never."""
        result = self._answerer(message, transport)
        if isinstance(result, bytes):
            send(result)
        elif result is not None and len(self._waiting) < MAX_AT_ONCE:
            return _keep(self._waiting, _send_later(result, send))
        elif isinstance(result, Coroutine):
            result.close()
        return None

    def _answer_datagram(self, message: bytes, send: Callable[[bytes], None]) -> None:
        self.answer(message, Transport.UDP, send)

    def _bind(self) -> tuple[socket.socket, socket.socket]:
        """Bind both sockets; a port that the system chose for TCP may be taken for UDP, hence the tries."""
        tries = 1 if self._port else _PORT_TRIES
        while True:
            tries -= 1
            try:
                return _bind_pair(self._port, shared=self._shared)
            except OSError as error:
                if not tries:
                    raise StartupError(cannot_listen(LOOPBACK, self._port, error)) from error

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._max_connections:
            writer.close()
        else:
            _keep(self._connections, self._converse(reader, writer))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def send(wire: bytes) -> None:
            if not writer.is_closing():
                writer.write(len(wire).to_bytes(_LENGTH_SIZE) + wire)

        open_answers: set[asyncio.Task[None]] = set()
        try:
            while message := await self._next_message(reader):
                if (task := self.answer(message, Transport.TCP, send)) is not None:
                    open_answers.add(task)
                    task.add_done_callback(open_answers.discard)
                await self._drain(writer)
            if open_answers:  # the asker has sent its last query, and may still be reading
                await asyncio.wait(open_answers, timeout=self._idle_timeout_s)
                await self._drain(writer)
        except TimeoutError:
            writer.transport.abort()  # an orderly end would wait for a reader that does not read
        except (OSError, asyncio.IncompleteReadError):
            pass  # gone, or stopped within a message: nothing that anybody waits for
        finally:
            writer.close()
            if (error := reader.exception()) is not None:  # its traceback and the reader hold each other, and much more
                error.with_traceback(None)

    async def _next_message(self, reader: asyncio.StreamReader) -> bytes:
        """Return the next message; b"" when there are no more, or after a length of 0, which no message has."""
        async with asyncio.timeout(self._idle_timeout_s):
            head = await reader.read(1)
            if not head:
                return b""
            length = int.from_bytes(head + await reader.readexactly(_LENGTH_SIZE - 1))
            return await reader.readexactly(length)

    async def _drain(self, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(self._idle_timeout_s):
            await writer.drain()


def _bind_pair(port: int, *, shared: bool) -> tuple[socket.socket, socket.socket]:
    """Return a UDP and a listening TCP socket on one loopback port. Raises: OSError.

    Only who means to share a port says so to the system: anybody else is told that it is in use.
    """
    with contextlib.ExitStack() as opened:
        tcp = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        tcp.bind((LOOPBACK, port))
        tcp.listen()
        udp = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        udp.settimeout(0)
        if shared:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        udp.bind(tcp.getsockname())
        opened.pop_all()
    return udp, tcp


def _keep(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task and hold it until it is done."""
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


async def _send_later(answer: Awaitable[bytes | None], send: Callable[[bytes], None]) -> None:
    if (wire := await answer) is not None:
        send(wire)
