"""Blocking work of one sink, in threads that nobody waits for: one that hangs delays neither a sink nor the end.

It starts no more than a few: a receiver that swallows every call gets no more of them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gateway.custody.sinks.sink import Fault, NotDeliveredError


class SinkThreads:
    """Runs up to `most` pieces of work at a time."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._busy = 0
        self._lock = threading.Lock()

    async def __call__(self, work: Callable[[], Any]) -> Any:
        """Run it, and return what it returns; who is cancelled leaves it to itself. Raises NotDeliveredError when all hang."""
        with self._lock:
            if self._busy >= self._most:
                raise NotDeliveredError(Fault.TIMED_OUT, "earlier calls have not ended")
            self._busy += 1
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()

        def settle(result: Any, error: BaseException | None) -> None:
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)

        def run() -> None:
            result, error = None, None
            try:
                result = work()
            except BaseException as exc:  # noqa: BLE001 - handed to whoever waits
                error = exc
            with self._lock:
                self._busy -= 1
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(settle, result, error)

        threading.Thread(target=run, name=self._name, daemon=True).start()
        return await done
