"""Whether a task was cancelled, even if what it waited for kept that to itself."""

import asyncio


def was_cancelled() -> bool:
    """Say whether the running task was cancelled: a loop without an end has to ask after each round.

    redis-py sends by `asyncio.wait_for`, which on Python 3.11 drops a cancellation that comes as it is about to return.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
