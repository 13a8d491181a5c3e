"""A process that makes runs, `python -m lab.odds.worker`: one order a line on standard input, one run a line back.

When its input ends, it tells how far the run under way has got, and ends; so nobody loses what was already run.
"""

import select
import signal
import sys

import msgspec

from lab.odds.model import Region, Setting


class Order(msgspec.Struct, frozen=True):
    """A run to be made."""

    setting: Setting
    seed: int
    lasts_s: float


def main() -> None:
    """Make runs until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who gave the orders hears it, and closes our input
    for line in sys.stdin.buffer:
        order = msgspec.json.decode(line, type=Order)
        # A region of its own for each run: it is made in milliseconds, and its server would keep all that was in it.
        run = Region(order.setting).run(order.seed, order.lasts_s, _input_ended)
        sys.stdout.buffer.write(msgspec.json.encode(run) + b"\n")
        sys.stdout.buffer.flush()


def _input_ended() -> bool:
    """Say whether our input has ended: nothing else comes in it while a run is made."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


if __name__ == "__main__":
    main()
