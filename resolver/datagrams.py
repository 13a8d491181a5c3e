"""The UDP side of a server: batches of datagrams, answered where they lie if their answer is prepared."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Final

from resolver.hot import Hot, HotTable
from resolver.mmsg import Address, Batch, batch, send_to

TURN: Final = 512
"""Prepared answers in one turn of the loop, at most about; then others have theirs. Some milliseconds."""
OTHER_COST: Final = 16
"""How many prepared answers any other datagram counts for."""


class Datagrams:
    """Reads a UDP socket whenever it has something, and answers.

    Args:
        udp: bound and not blocking; `close` closes it.
        hot: prepared answers; None if there are none.
        other: has any other datagram answered; it gets the message and how to send the answer.
        make_batch: what receives and sends.
    """

    def __init__(
        self,
        udp: socket.socket,
        hot: HotTable | None,
        other: Callable[[bytes, Callable[[bytes], None]], object],
        make_batch: Callable[[socket.socket], Batch] = batch,
    ) -> None:
        self._udp, self._hot, self._other, self._batch = udp, hot, other, make_batch(udp)
        asyncio.get_running_loop().add_reader(udp, self._read)

    def close(self) -> None:
        """Stop answering."""
        asyncio.get_running_loop().remove_reader(self._udp)
        self._udp.close()

    def _read(self) -> None:
        left = TURN
        while left > 0 and (queries := self._batch.receive()):
            left -= self._answer(queries)

    def _answer(self, queries: list[bytes]) -> int:
        """Answer a batch; return what it cost, in prepared answers."""
        if self._hot is None:
            others: Sequence[int] = range(len(queries))
        else:
            found = list(map(self._hot.prepared, queries))
            others = () if all(found) else self._prepare(self._hot, found)
            self._hot.answer(self._batch, found, others)
        for slot in others:
            self._answer_other(self._batch.message(slot), self._batch.sender(slot))
        return len(queries) + OTHER_COST * len(others)

    def _prepare(self, hot: HotTable, found: list[Hot | None]) -> list[int]:
        """Fill in answers that can be prepared; return the slots of the others."""
        for slot, known in enumerate(found):
            if known is None:
                found[slot] = hot.find(self._batch.message(slot))
        return [slot for slot, known in enumerate(found) if known is None]

    def _answer_other(self, message: bytes, sender: Address) -> None:
        def send(wire: bytes) -> None:
            if self._udp.fileno() >= 0:
                send_to(self._udp, wire, sender)

        self._other(message, send)
