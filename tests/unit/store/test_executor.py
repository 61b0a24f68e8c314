import asyncio
import threading

import pytest

from gateway.store.executor import BoundedExecutor, OverloadedError, hashing_executor, store_executor


async def test_work_runs_in_a_thread_and_its_result_comes_back() -> None:
    executor = store_executor()
    assert await executor.run(lambda: threading.current_thread() is threading.main_thread()) is False
    executor.close()


async def test_an_exception_of_the_work_is_the_callers() -> None:
    executor = store_executor()
    with pytest.raises(ZeroDivisionError):
        await executor.run(lambda: 1 // 0)
    executor.close()


async def test_never_more_than_the_agreed_threads_work_and_the_rest_is_refused_at_once() -> None:
    executor = BoundedExecutor("test", threads=2, waiting=3)
    gate, lock = threading.Event(), threading.Lock()
    working, most = 0, 0

    def work() -> None:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        gate.wait(10)
        with lock:
            working -= 1

    accepted = [asyncio.ensure_future(executor.run(work)) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await executor.run(work)
    gate.set()
    await asyncio.gather(*accepted)
    assert most == 2
    await executor.run(lambda: None)  # places are free again
    executor.close()


async def test_a_caller_that_goes_away_gives_its_place_back() -> None:
    executor = BoundedExecutor("test", threads=1, waiting=0)
    gate = threading.Event()
    caller = asyncio.ensure_future(executor.run(lambda: gate.wait(10)))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    with pytest.raises(OverloadedError):  # its work still runs
        await executor.run(lambda: None)
    gate.set()
    executor.close()


async def test_hashing_is_bounded_to_two_at_once() -> None:
    executor = hashing_executor()
    pair, third = threading.Barrier(3), threading.Event()
    hashes = [asyncio.ensure_future(executor.run(lambda: pair.wait(10))) for _ in range(2)]
    waiting = asyncio.ensure_future(executor.run(third.set))
    assert not await asyncio.to_thread(third.wait, 0.1)
    await asyncio.to_thread(pair.wait, 10)
    await asyncio.gather(*hashes, waiting)
    assert third.is_set()
    executor.close()
