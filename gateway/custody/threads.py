"""Blocking work of the custodian, in threads of its own.

Whoever is cancelled waits until the work has ended: otherwise the duties of a reload, or the next custodian,
would do the same to the same files at the same time. What looks up names for sinks runs elsewhere: a name
server that is silent takes none of these threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

_MOST: Final = 16
_threads: Final = ThreadPoolExecutor(_MOST, thread_name_prefix="custody")
_Result = TypeVar("_Result")


async def in_thread(work: Callable[..., _Result], *arguments: object) -> _Result:
    """Run it and return what it returns, or raise what it raises; cancelled, first let it end."""
    running = asyncio.get_running_loop().run_in_executor(_threads, work, *arguments)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({running})
        running.exception()  # nobody is left to be told
        raise
