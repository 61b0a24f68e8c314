"""When a batch is stored."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from gateway.audit.protocol import ASYNC, GROUP, REMOTE, STRICT, Records
from gateway.ledger.chunk import FRAME_BUNDLE_BYTES, FRAME_RECORDS
from gateway.ledger.connection import Connection
from gateway.ledger.gathering import GATHER_S, Gathering
from tests.unit.ledger.running import Clock


@pytest.fixture
def connection() -> Iterator[Connection]:
    here, there = socket.socketpair()
    with here, there:
        yield Connection(here)


def sent(grade: int, payloads: list[bytes], first: int = 1) -> Records:
    return Records(grade, first, payloads, b"\1" * len(payloads))


def test_nothing_is_never_due() -> None:
    gathering = Gathering(Clock())
    assert (gathering.is_due(), gathering.due_at, gathering.take()) == (False, None, [])


def test_what_nobody_waits_for_is_due_a_moment_after_the_first_of_it(connection: Connection) -> None:
    clock = Clock()
    gathering = Gathering(clock)
    first, second = sent(ASYNC, [b"a"]), sent(ASYNC, [b"b", b"c"], 2)
    gathering.add(connection, first)
    clock.now += 0.02
    gathering.add(connection, second)
    assert (gathering.is_due(), gathering.records) == (False, 3)
    assert gathering.due_at == 1000.0 + GATHER_S
    clock.now = 1000.0 + GATHER_S
    assert gathering.is_due()
    assert gathering.take() == [(connection, first), (connection, second)]
    assert (gathering.is_due(), gathering.records, gathering.take()) == (False, 0, [])
    gathering.add(connection, second)
    assert gathering.due_at == clock.now + GATHER_S


@pytest.mark.parametrize("grade", [GROUP, STRICT, REMOTE])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_record_that_somebody_waits_for_is_due_at_once(connection: Connection, grade: int, is_first: bool) -> None:
    gathering = Gathering(Clock())
    for awaited in (is_first, not is_first):
        gathering.add(connection, sent(grade if awaited else ASYNC, [b"a"]))
    assert gathering.is_due()


@pytest.mark.parametrize(
    "payloads", [[b""] * FRAME_RECORDS, [b"x" * (FRAME_BUNDLE_BYTES // 16)] * 16], ids=["records", "bytes"]
)
def test_as_much_as_a_frame_of_the_log_holds_is_due_at_once(connection: Connection, payloads: list[bytes]) -> None:
    gathering = Gathering(Clock())
    gathering.add(connection, sent(ASYNC, payloads[:-1]))
    assert not gathering.is_due()
    gathering.add(connection, sent(ASYNC, payloads[-1:], len(payloads)))
    assert gathering.is_due()
    gathering.take()
    gathering.add(connection, sent(ASYNC, payloads[:-1]))
    assert not gathering.is_due(), "the next batch begins anew"
