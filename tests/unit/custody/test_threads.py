"""Blocking work of the custodian: it ends before whoever asked for it does, and sinks cannot take its threads."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from gateway.custody.threads import in_thread


async def test_whoever_is_cancelled_again_and_again_waits_until_the_work_has_ended() -> None:
    """attack: a reload or an upgrade in the middle of a sealing, so that two do it at once."""
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert may_end.wait(20)
        ended.set()

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait, 20)
    for _ in range(3):
        task.cancel()
        await asyncio.wait({task}, timeout=0.02)
        assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_work_returns_and_raises_as_if_it_were_called() -> None:
    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 7, 0)


async def test_name_servers_that_are_silent_keep_the_custodian_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """attack: a receiver whose name is never found; each lookup takes a thread for as long as it likes."""
    silent = threading.Event()

    def never_found(*_: object, **__: object) -> list[object]:
        silent.wait(20)
        return []

    monkeypatch.setattr("socket.getaddrinfo", never_found)
    loop = asyncio.get_running_loop()
    lookups = [asyncio.ensure_future(loop.getaddrinfo("siem.example.com", 443)) for _ in range(64)]
    try:
        async with asyncio.timeout(10):
            assert await in_thread(time.monotonic)
        assert not any(lookup.done() for lookup in lookups)
    finally:
        silent.set()
        await asyncio.gather(*lookups, return_exceptions=True)
