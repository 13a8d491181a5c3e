"""Files of the lab: one JSON object a line, appended in batches, so that a busy process makes few writes."""

from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec

FLUSH_S: Final = 0.25
"""How often writers flush, in seconds; a process that is killed loses at most this much of its history."""


class LinesFile:
    """Appends msgspec structs to a file. `add` never waits; `flush` makes one write of whole lines."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("ab", buffering=0)
        self._encoder = msgspec.json.Encoder()
        self._waiting: list[msgspec.Struct] = []

    def add(self, item: msgspec.Struct) -> None:
        """Take one object, to be written with the next `flush`."""
        self._waiting.append(item)

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            self._file.write(self._encoder.encode_lines(self._waiting))
            self._waiting.clear()

    def close(self) -> None:
        """Write what waits and close the file; a second call does nothing."""
        if not self._file.closed:
            self.flush()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
