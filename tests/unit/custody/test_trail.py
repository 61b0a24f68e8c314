"""The custodian's own records: exactly once where they have a mark, whoever is away."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from gateway.audit import record
from gateway.audit.protocol import CUSTODIAN_SLOT
from gateway.custody.trail import JOURNAL_NAME, DirectLog, Mark, Trail
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import Stream
from tests.unit.custody.conftest import Custody, Start
from tests.unit.custody.test_sealing import published

BUILD = partial(record.lifecycle, event="custody.tried")


def test_a_record_goes_through_the_daemon(custody: Custody, daemon: Start) -> None:
    daemon()
    asyncio.run(custody.trail().record(BUILD))
    published(custody, "custody.tried", 1)
    [gw] = custody.events("custody.tried")
    assert gw["boot_uid"] == "boot"


def test_a_mark_is_kept_and_known_to_the_next(custody: Custody, daemon: Start) -> None:
    daemon()
    trail = custody.trail()
    assert trail.done("sealed/x") == 0
    trail.write(BUILD, mark=Mark("sealed/x", 7))
    assert trail.done("sealed/x") == 7
    assert custody.trail().done("sealed/x") == 7
    assert custody.trail().done("sealed/y") == 0


def test_without_a_daemon_nothing_is_marked(custody: Custody) -> None:
    custody.bench.layout.create()
    with pytest.raises(AuditUnavailableError, match="did not take a record of the custodian"):
        custody.trail().write(BUILD, mark=Mark("sealed/x", 7))
    assert custody.trail().done("sealed/x") == 0


def test_a_pending_record_is_not_taken_for_done_while_the_daemon_is_away(custody: Custody, daemon: Start) -> None:
    process = daemon()
    trail = custody.trail()
    trail.write(BUILD, mark=Mark("sealed/x", 1))

    class Dying(Trail):
        def _settle(self, *_: object) -> None:
            raise KeyboardInterrupt

    dying = Dying(
        custody.bench.layout,
        node="n",
        boot_uid="b",
        version="0",
        badge=custody.bench.keys.badge(CUSTODIAN_SLOT),
    )
    with pytest.raises(KeyboardInterrupt):
        dying.write(BUILD, mark=Mark("sealed/x", 2))
    process.kill()
    process.wait()
    custody.bench.layout.socket.unlink()
    with pytest.raises(AuditUnavailableError, match="does not answer"):
        custody.trail().done("sealed/x")
    daemon("boot-2")
    assert custody.trail().done("sealed/x") == 2
    published(custody, "custody.tried", 2)
    assert custody.trail().done("sealed/x") == 2
    assert len(custody.events("custody.tried")) == 2


def test_a_damaged_journal_is_an_error_and_no_guess(custody: Custody, daemon: Start) -> None:
    daemon()
    (custody.bench.layout.custody / JOURNAL_NAME).write_bytes(b"{")
    with pytest.raises(AuditUnavailableError, match="cannot be read"):
        custody.trail().done("sealed/x")


def test_where_no_gateway_runs_the_log_is_written_directly(custody: Custody) -> None:
    custody.fill(files=1)
    log = DirectLog(custody.bench.layout, custody.bench.keys)
    trail = Trail(custody.bench.layout, node="n", boot_uid="b", version="0", connect=log.connect)
    try:
        for number in (1, 2):
            trail.write(BUILD, mark=Mark("sealed/x", number))
        with pytest.raises(ValueError, match="security stream"):
            trail.write(BUILD, stream=Stream.ACCESS)
    finally:
        log.close()
    assert trail.done("sealed/x") == 2
    assert [stored.entry.slot for stored in custody.bench.stored()][-2:] == [CUSTODIAN_SLOT] * 2
    assert custody.bench.verify().failures == []
