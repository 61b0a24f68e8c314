"""Limits that nodes share never admit more than they say, whoever asks when, and whatever becomes of leases."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.edge.remote_limits import Charge
from gateway.ratelimit.lease import LEASE_S
from gateway.store import redis_limits
from gateway.store.keyring import Keyring
from gateway.store.redis_keys import Keys
from gateway.store.redis_limits import CHARGE, Granted, RedisLimits
from gateway.store.redis_link import RedisLink
from gateway.store.redis_options import RedisOptions
from gateway.store.redis_whereabouts import whereabouts
from gateway.store.sealing import Sealer
from tests.fakes.redis_servers import Server, standalone

ROUNDING_S = 1e-6


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with standalone() as made:
        yield made


class Counter:
    """The limits of one worker."""

    def __init__(self, link: RedisLink, sealer: Sealer, holder: bytes) -> None:
        self._limits = RedisLimits(link, Keys("gateway"), sealer, holder=holder)

    async def charge(self, *charges: Charge) -> list[Granted] | None:
        heard: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._limits.charge(charges, heard.set_result)
        return await asyncio.wait_for(heard, 20)


@pytest.fixture
async def link(server: Server) -> AsyncIterator[RedisLink]:
    options = RedisOptions(nodes=(("127.0.0.1", server.port),), timeout_s=2.0)
    made = RedisLink(whereabouts(options), options, report=lambda *_: None)
    yield made
    await made.close()


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(Keyring.generate(os.urandom, time.time()))


def charge(
    subject: str = "u1",
    *,
    burst: int = 3,
    wanted: int = 1,
    reserve: int = 0,
    used: int = -1,
    interval_s: float = 3600.0,
) -> Charge:
    return Charge("limit", subject, interval_s, burst, wanted, reserve, used)


async def test_two_workers_count_as_one(link: RedisLink, sealer: Sealer) -> None:
    first, second = Counter(link, sealer, b"a"), Counter(link, sealer, b"b")
    assert await first.charge(charge(wanted=2)) == [(2, 0, 0.0)]
    granted = await second.charge(charge(wanted=2))
    assert granted is not None
    ((admitted, _, wait_s),) = granted
    assert admitted == 1
    assert 3500 < wait_s <= 3600
    assert await first.charge(charge("u2")) == [(1, 0, 0.0)]


async def test_everything_of_a_tick_is_one_answer_in_order(
    link: RedisLink, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_limits, "MAX_CHARGES", 3)
    counter = Counter(link, sealer, b"a")
    granted = await counter.charge(*(charge(f"u{each}", burst=each + 1, wanted=9) for each in range(8)))
    assert granted is not None
    assert [admitted for admitted, _, _ in granted] == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_a_script_that_redis_forgot_is_told_again(link: RedisLink, sealer: Sealer, server: Server) -> None:
    counter = Counter(link, sealer, b"a")
    assert await counter.charge(charge()) == [(1, 0, 0.0)]
    server.ask("SCRIPT", "FLUSH")
    assert await counter.charge(charge()) == [(1, 0, 0.0)]


async def test_nobody_is_counted_by_a_name_that_can_be_read(link: RedisLink, sealer: Sealer, server: Server) -> None:
    await Counter(link, sealer, b"a").charge(charge("mallory@example.com"))
    assert not [key for key in server.ask("KEYS", "*") if b"mallory" in key]


async def test_a_full_server_admits_nothing(sealer: Sealer) -> None:
    with standalone() as full:
        options = RedisOptions(nodes=(("127.0.0.1", full.port),), timeout_s=2.0)
        made = RedisLink(whereabouts(options), options, report=lambda *_: None)
        full.ask("CONFIG", "SET", "maxmemory", "1")
        assert await Counter(made, sealer, b"a").charge(charge()) is None
        full.ask("CONFIG", "SET", "maxmemory", "0")
        assert await Counter(made, sealer, b"a").charge(charge()) == [(1, 0, 0.0)]
        await made.close()


async def test_what_is_counted_is_forgotten_by_itself(link: RedisLink, sealer: Sealer, server: Server) -> None:
    server.ask("FLUSHALL")
    await Counter(link, sealer, b"a").charge(charge(interval_s=0.01, burst=100, reserve=5))
    (key,) = server.ask("KEYS", "*")
    assert 0 < server.ask("PTTL", key) < 10_000


# Never more than the limit, whatever happens

# The script with the time as an argument: what is tried is every other line of it.
TIMED = CHARGE.text.replace("redis.call('TIME')", "{ARGV[#ARGV], 0}")


class Step(NamedTuple):
    """One thing that a worker does."""

    worker: int
    after_s: float
    what: str
    requests: int


STEPS = st.lists(
    st.builds(
        Step,
        worker=st.integers(0, 2),
        after_s=st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.2, 0.5, 0.95, 1.0, 1.3, 4.0]),
        what=st.sampled_from(["ask", "ask", "lease", "lease", "use", "use", "crash"]),
        requests=st.sampled_from([1, 1, 2, 6, 16]),
    ),
    min_size=8,
    max_size=40,
)


class Holding(NamedTuple):
    left: int
    size: int
    until: float


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, burst=st.sampled_from([2, 5, 10, 16]), rate=st.sampled_from([0.5, 7.0, 40.0]))
@example(  # a lease that is used at its end, and counted only after it
    steps=[Step(0, 0.0, "lease", 16), Step(0, 0.95, "use", 16), Step(1, 0.2, "ask", 16)], burst=16, rate=7.0
)
@example(  # leases that nobody used yet
    steps=[Step(0, 0.0, "lease", 16), Step(1, 0.0, "ask", 16), Step(0, 0.0, "use", 16)], burst=16, rate=7.0
)
def test_no_interleaving_admits_more_than_the_limit(server: Server, steps: list[Step], burst: int, rate: float) -> None:
    """In no span of time is more admitted than burst + rate x span, however workers lease, use, return, crash or sit on leases."""
    now, admitted = 1_000_000.0, []
    key = b"k" + os.urandom(8).hex().encode()
    held: dict[int, Holding] = {}
    lives = dict.fromkeys(range(3), 0)
    with_script = server.ask("SCRIPT", "LOAD", TIMED)
    for step in steps:
        now += step.after_s
        lease = held.get(step.worker)
        if step.what == "crash":
            held.pop(step.worker, None)
            lives[step.worker] += 1  # whoever comes after it is another holder
        elif step.what == "use":
            if lease is not None and now < lease.until:
                take = min(step.requests, lease.left)
                admitted += [now] * take
                held[step.worker] = lease._replace(left=lease.left - take)
        else:
            used = lease.size - lease.left if lease is not None else -1
            held.pop(step.worker, None)
            wanted, reserve = (1, step.requests) if step.what == "lease" else (step.requests, 0)
            holder = f"w{step.worker}.{lives[step.worker]}"
            granted, reserved, _ = server.ask(
                "EVALSHA",
                with_script,
                1,
                key,
                holder,
                LEASE_S,
                repr(1 / rate),
                burst,
                wanted,
                reserve,
                used,
                repr(now),
            )
            admitted += [now] * granted
            if reserved:
                held[step.worker] = Holding(reserved, reserved, now + LEASE_S)
    for first, begin in enumerate(admitted):
        for last in range(first, len(admitted)):
            span = admitted[last] - begin
            assert last - first + 1 <= burst + rate * (span + ROUNDING_S) + 1e-3


def test_what_was_not_used_of_a_lease_is_there_again(server: Server) -> None:
    sha = server.ask("SCRIPT", "LOAD", TIMED)
    key = b"k" + os.urandom(8).hex().encode()

    def ask(wanted: int, reserve: int, used: int, now: float) -> list[int]:
        return server.ask("EVALSHA", sha, 1, key, "w", LEASE_S, "1000.0", 64, wanted, reserve, used, repr(now))  # type: ignore[no-any-return]

    assert ask(1, 8, -1, 1000.0)[:2] == [1, 8]
    assert ask(1, 0, 2, 1000.5)[:2] == [1, 0]
    assert ask(64, 0, -1, 1000.5)[:2] == [60, 0]  # one, two of the lease, one


def test_a_clock_that_stepped_back_locks_nobody_out_for_long(server: Server) -> None:
    sha = server.ask("SCRIPT", "LOAD", TIMED)
    key = b"k" + os.urandom(8).hex().encode()
    call = ("EVALSHA", sha, 1, key, "w", LEASE_S, "1.0", 5)
    assert server.ask(*call, 5, 0, -1, "90000.0")[0] == 5
    assert server.ask(*call, 5, 0, -1, "1000.0")[0] == 0
    assert server.ask(*call, 5, 0, -1, "1003.0")[0] == 3
