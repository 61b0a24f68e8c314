"""Threads for work that must not block an event loop, never more of it than was agreed.

Password hashing (100 ms and 64 MiB each) and SQLite run here. When the queue is full the next caller
is refused at once: a flood of sign-ins must cost the flood, not the machine.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from gateway.exchange.errors import GatewayError
from gateway.exchange.reason import Reason

HASHING_THREADS: Final = 2
HASHING_QUEUE: Final = 30
"""At 100 ms each by two, the last in the queue waits a second and a half."""
STORE_QUEUE: Final = 256

_Result = TypeVar("_Result")


class OverloadedError(GatewayError):
    """Too much of this work is waiting already."""

    reason = Reason.OVERLOADED


class BoundedExecutor:
    """Runs at most `threads` calls at once and keeps at most `waiting` more."""

    def __init__(self, name: str, *, threads: int, waiting: int) -> None:
        self._name = name
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._places = threading.BoundedSemaphore(threads + waiting)

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Run `work` in a thread and return what it returns. Cancelling the caller does not stop work that began.

        Raises:
            OverloadedError: at once, when no place is free.

        """
        if not self._places.acquire(blocking=False):
            raise OverloadedError(f"{self._name}: too much is waiting")
        try:
            future = self._pool.submit(work)
        except BaseException:
            self._places.release()
            raise
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def _leave(self, _done: Future[Any]) -> None:
        self._places.release()

    def close(self) -> None:
        """Finish what is running, drop what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def hashing_executor() -> BoundedExecutor:
    """Make the threads for argon2id: two at once, so at most 128 MiB and two cores."""
    return BoundedExecutor("password hashing", threads=HASHING_THREADS, waiting=HASHING_QUEUE)


def store_executor() -> BoundedExecutor:
    """Make the one thread that talks to SQLite."""
    return BoundedExecutor("state store", threads=1, waiting=STORE_QUEUE)
