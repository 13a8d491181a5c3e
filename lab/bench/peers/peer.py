"""What a benchmark knows of a program that it measures beside ours, or with."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Final, TypeVar

from fencepost.errors import StartupError, UsageError
from lab.bench.processes import found

ASKED_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A program of others.

    Attributes:
        name: as in results: `knot`, `bind`, ...
        programs: all that are needed, by their names; the first one is measured.
        install: what to type to have them.
        asks_version: arguments of the first program that make it say its version.
    """

    name: str
    programs: tuple[str, ...]
    install: str
    asks_version: tuple[str, ...] = field(default=("--version",))

    @property
    def missing(self) -> tuple[str, ...]:
        """The programs that are not installed."""
        return tuple(program for program in self.programs if found(program) is None)

    @property
    def version(self) -> str:
        """The first line that says a version, "unknown" if there is none. Asks the program."""
        path = found(self.programs[0])
        command = [path or self.programs[0], *self.asks_version]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=ASKED_S, check=False)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired):
            return "unknown"
        lines = (line.strip() for line in (done.stdout + done.stderr).splitlines())
        return next((line for line in lines if any(letter.isdigit() for letter in line)), "unknown")

    @property
    def absent_words(self) -> str:
        """That it is not there, and the remedy."""
        return f"{self.name} is not measured: {' and '.join(self.missing)} not found; `{self.install}`"


P = TypeVar("P", bound=Peer)


def chosen(known: Sequence[P], names: str) -> tuple[P, ...]:
    """Return the peers that a user has named, separated by commas; "" means all. Raises: UsageError for others."""
    by_name = {peer.name: peer for peer in known}
    wanted = [name.strip() for name in names.split(",") if name.strip()] or list(by_name)
    if unknown := [name for name in wanted if name not in by_name]:
        raise UsageError(f"--peers {','.join(unknown)}: there is no such peer; there are {', '.join(by_name)}")
    return tuple(by_name[name] for name in dict.fromkeys(wanted))


def installed(peers: Sequence[P], *, named: bool) -> tuple[P, ...]:
    """Return the peers that are installed. With `named` the user asked for exactly these.

    Raises: StartupError naming every one that is missing and how to install it, if they were named.
    """
    absent = [peer for peer in peers if peer.missing]
    if named and absent:
        raise StartupError("; ".join(peer.absent_words for peer in absent))
    return tuple(peer for peer in peers if not peer.missing)


def needs(peer: Peer) -> None:
    """Refuse to go on without a tool. Raises: StartupError naming what is missing, and the remedy."""
    if peer.missing:
        raise StartupError(f"{' and '.join(peer.missing)} not found on PATH; `{peer.install}`")


def configured(template: str, *, place: Path, **values: str | int | Path) -> Path:
    """Write a configuration of ours, `lab/bench/peers/<template>.in`, into a place; return the file.

    Every `$name`, `$place` among them, in it is replaced; `$$` is a dollar.
    """
    source = Path(__file__).with_name(f"{template}.in").read_text("utf-8")
    path = place / template
    path.write_text(
        Template(source).substitute({"place": str(place)} | {key: str(value) for key, value in values.items()}), "utf-8"
    )
    return path
