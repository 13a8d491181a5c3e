"""The UDP side of a server: batches of datagrams, answered where they lie if their answer is prepared."""

import asyncio
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from resolver.hot import Hot, HotTable
from resolver.mmsg import Address, Batch, batch, send_to
from resolver.trouble import NOT_TAKEN, OVERLOADED, Trouble

TURN: Final = 512
"""Datagrams that are read in one turn of the loop, whoever looks, at most about; then others have theirs. 2 ms."""
WORK: Final = 16
"""What is spent in one turn on queries that had to wait: each costs 1 if it is answered by the table, about 20 us."""
MADE_COST: Final = 5
"""What it costs besides to prepare all answers to a question; about 0.1 ms."""
OTHER_COST: Final = 10
"""What any other costs, as its answer is made by other means; about 0.2 ms."""
MAX_WAITING: Final = 2048
"""Queries that may wait at one time in each of the two queues; more are dropped, as a full network would."""


class Datagrams:
    """Reads a UDP socket whenever it has something, and answers.

    Known queries are answered at once. All others wait in one of two queues, of which each turn of the loop does
    a part: first those that were asked before, whose answers a commit has dropped, and that are known again once one of
    them is answered. So strangers with endless names hold up each other, and nobody else.

    Args:
        udp: bound and not blocking; `close` closes it.
        hot: prepared answers; None if there are none.
        other: has any other datagram answered; it gets the message and how to send the answer.
        trouble: where errors, and answers that were not sent, are told.
        make_batch: what receives and sends.
    """

    def __init__(
        self,
        udp: socket.socket,
        hot: HotTable | None,
        other: Callable[[bytes, Callable[[bytes], None]], object],
        trouble: Trouble,
        make_batch: Callable[[socket.socket], Batch] = batch,
    ) -> None:
        self._udp, self._hot, self._other, self._batch = udp, hot, other, make_batch(udp)
        self._trouble = trouble
        self._known_before: deque[tuple[bytes, Address]] = deque()
        self._strangers: deque[tuple[bytes, Address]] = deque()
        self._is_working = self._is_turn_ending = False
        self._left = TURN
        poll = select.poll()
        poll.register(udp, select.POLLIN)
        self._what_has_come = poll.poll
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(udp, self._read)

    def close(self) -> None:
        """Stop answering."""
        self._loop.remove_reader(self._udp)
        self._known_before.clear()
        self._strangers.clear()
        self._udp.close()

    def look(self) -> None:
        """Answer what is known of what has come, at most a batch: for who works on this loop, between two pieces of it.

        Whatever is prepared must be right when it is called. It does nothing once closed, or once this turn of the loop
        has read its part. Mostly there is nothing, which `poll` says in half the time that a batch takes to come empty.
        """
        if self._udp.fileno() < 0 or not self._what_has_come(0) or not self._take_in():
            return
        self._end_turn()
        if (self._known_before or self._strangers) and not self._is_working:
            self._is_working = True
            self._loop.call_soon(self._work)

    def _read(self) -> None:
        if not self._is_turn_ending:
            self._left = TURN
        while self._take_in():
            pass
        if self._left <= 0:  # whoever looks first in the next turn must find that it is another one
            self._end_turn()
        if (self._known_before or self._strangers) and not self._is_working:
            self._work()

    def _take_in(self) -> bool:
        """Read one batch if this turn may read any more, and answer what is known; say whether there was anything."""
        if self._left <= 0 or not (queries := self._batch.receive()):
            return False
        self._wait(self._answer_known(queries))
        self._left -= len(queries)
        return True

    def _end_turn(self) -> None:
        """See to it that the next turn of the loop may read as much again."""
        if not self._is_turn_ending:
            self._is_turn_ending = True
            self._loop.call_soon(self._begin_turn)

    def _begin_turn(self) -> None:
        self._left, self._is_turn_ending = TURN, False

    def _answer_known(self, queries: list[bytes]) -> Sequence[int]:
        """Answer those of a batch whose answers are prepared; return the slots of the others."""
        every = range(len(queries))
        if self._hot is None:
            return every
        try:
            found = list(map(self._hot.prepared, queries))
            others = () if all(found) else self._look_again(self._hot, found)
            unsent = self._hot.answer(self._batch, found, others) if len(others) < len(queries) else 0
        except Exception as error:  # noqa: BLE001  -- whatever it was, each may have its answer by itself
            self._trouble.failed(b"", error)
            return every
        if unsent:
            self._trouble.unsent(NOT_TAKEN, unsent)
        return others

    def _look_again(self, hot: HotTable, found: list[Hot | None]) -> list[int]:
        """Fill in answers that are prepared after all; return the slots of the others."""
        for slot, known in enumerate(found):
            if known is None:
                found[slot] = hot.known(self._batch.message(slot))
        return [slot for slot, known in enumerate(found) if known is None]

    def _wait(self, slots: Sequence[int]) -> None:
        """Put some slots' queries into the queues, as far as there is room."""
        dropped = 0
        for slot in slots:
            message = self._batch.message(slot)
            queue = self._known_before if self._is_awaited(message) else self._strangers
            if len(queue) < MAX_WAITING:
                queue.append((message, self._batch.sender(slot)))
            else:
                dropped += 1
        if dropped:
            self._trouble.unsent(OVERLOADED, dropped)

    def _is_awaited(self, message: bytes) -> bool:
        try:
            return self._hot is not None and self._hot.is_awaited(message)
        except Exception as error:  # noqa: BLE001  -- it waits with the others
            self._trouble.failed(message, error)
        return False

    def _work(self) -> None:
        """Answer queries that have waited; leave to the next turn what is too much for this one."""
        left, self._is_working = WORK, True
        while left > 0 and (queue := self._known_before or self._strangers):
            self.look()
            message, sender = queue.popleft()
            try:
                left -= self._answer(message, sender)
            except Exception as error:  # noqa: BLE001  -- whatever it was, the others wait
                self._trouble.failed(message, error)
                left -= OTHER_COST
        self._is_working = bool(self._known_before or self._strangers)
        if self._is_working:
            self._loop.call_soon(self._work)

    def _answer(self, message: bytes, sender: Address) -> int:
        """Answer one query; return what it cost."""
        made = self._made()
        wire = self._by_table(message)
        cost = 0 if self._made() == made else MADE_COST
        if wire is None:
            self._other(message, lambda answer: self._send(answer, sender))
            return cost + OTHER_COST
        self._send(wire, sender)
        return cost + 1

    def _made(self) -> int:
        return 0 if self._hot is None else self._hot.made

    def _by_table(self, message: bytes) -> bytes | None:
        """Return the answer if it is prepared by now, or can be made."""
        try:
            return None if self._hot is None else self._hot.reply(message)
        except Exception as error:  # noqa: BLE001  -- the slow path may do better
            self._trouble.failed(message, error)
        return None

    def _send(self, wire: bytes, sender: Address) -> None:
        if self._udp.fileno() >= 0 and not send_to(self._udp, wire, sender):
            self._trouble.unsent(NOT_TAKEN, 1)
