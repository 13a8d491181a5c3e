"""All processes' logs as one, in the order of their time stamps, while they are being written."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from deploy.log_view import LogLine, LogView, parse
from fencepost.clock import Clock

POLL_S: Final = 0.1
CHUNK_BYTES: Final = 1 << 20


class Source(NamedTuple):
    """A file to follow: whose it is; `quiet` is shown only in a verbose view."""

    process: str
    path: Path
    quiet: bool = False


class Tail:
    """Reads what is added to a file from now on, whole lines only; the file need not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def read_lines(self) -> list[str]:
        """Return the lines that were completed since the last call; at most `CHUNK_BYTES` are read at once."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                chunk = file.read(CHUNK_BYTES)
        except FileNotFoundError:
            return []
        self._offset += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines if line.strip()]


class MergedLog:
    """Follows log files and hands rendered lines on.

    Lines of one poll are sorted by time; a line without a time stays behind its predecessor in the same process.
    """

    def __init__(self, sources: Sequence[Source], view: LogView, echo: Callable[[str], None], clock: Clock) -> None:
        self._tails = [(source, Tail(source.path)) for source in sources if view.verbose or not source.quiet]
        self._view, self._echo, self._clock = view, echo, clock

    async def follow(self) -> NoReturn:
        """Show lines as they come, until cancelled."""
        while True:
            self.poll()
            await self._clock.sleep(POLL_S)

    def poll(self) -> None:
        """Show what is there now."""
        for line in sorted_by_time(self._lines()):
            if (text := self._view.render(line)) is not None:
                self._echo(text)

    def _lines(self) -> Iterator[LogLine]:
        for source, tail in self._tails:
            for text in tail.read_lines():
                yield parse(source.process, text)


def sorted_by_time(lines: Iterator[LogLine]) -> list[LogLine]:
    """Return lines in the order of their times; input is in order within each process."""
    latest: dict[str, str] = {}
    timed = []
    for line in lines:
        at = line.timestamp or latest.get(line.process, "")
        latest[line.process] = at
        timed.append((at, line))
    return [line for _, line in sorted(timed, key=lambda pair: pair[0])]
