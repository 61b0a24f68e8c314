"""`gateway audit recover --dry-run`: what the next start would do, without doing any of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.audit.canonical import encode
from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import UNFINISHED_SUFFIX, Layout
from gateway.ledger.lock import lock_log
from gateway.ledger.log import open_log
from tests.unit.cli.conftest import House

INTENT = {"metadata": {"correlation_uid": "r-1"}, "unmapped": {"gw": {"phase": "intent"}}}


def keys(house: House) -> AuditKeys:
    return AuditKeys.load(house.directory / "config" / "audit-keys.json")


@pytest.fixture
def newest(house: House) -> Path:
    """A log of two writes, the last of which was not published; its newest file."""
    layout = Layout(house.state_dir)
    layout.create()
    log = open_log(house.state_dir, keys(house), Stream.ACCESS, boot="b", capacity=1 << 20)
    log.append([(1, [1, 2], [b"{}", encode(INTENT)])], is_safe=True, now_ns=10**18)
    log.publish()
    known = layout.checkpoint(Stream.ACCESS).read_bytes()
    log.append([(1, [3], [b'{"a":1}'])], is_safe=True, now_ns=10**18 + 1)
    log.close()
    layout.checkpoint(Stream.ACCESS).write_bytes(known)
    return max(layout.directory.glob("access-*.log"))


def test_nothing_is_discarded_after_a_clean_stop_and_open_intents_are_counted(house: House, newest: Path) -> None:
    before = {path: path.read_bytes() for path in newest.parent.iterdir()}
    leftover = newest.parent / f"access-000000000009.log{UNFINISHED_SUFFIX}"
    leftover.write_bytes(b"x")
    told = house.run("audit", "recover", "--dry-run")
    assert told.exit_code == 0, told.output
    assert (
        f"access: goes on at entry 3, in a file after {newest.name}; nothing is discarded; "
        "1 intent is closed with the outcome unknown" in told.stdout
    )
    assert "security: a new log begins" in told.stdout
    assert leftover.exists()
    leftover.unlink()
    assert {path: path.read_bytes() for path in newest.parent.iterdir()} == before


def test_what_a_crash_left_is_said_with_its_hash_and_left_alone(house: House, newest: Path) -> None:
    data = newest.read_bytes()
    newest.write_bytes(data[:-20])
    found = house.value("audit", "recover", "--dry-run")["streams"][1]
    assert (found["size"], found["was_interrupted"], found["open_intents"]) == (2, True, 1)
    assert found["discarded_bytes"] > 0
    assert len(found["discarded_sha256"]) == 64
    assert "a write that was interrupted" in found["sentence"]
    assert newest.read_bytes() == data[:-20]


def test_a_log_that_would_not_be_continued_is_exit_1(house: House, newest: Path) -> None:
    data = bytearray(newest.read_bytes())
    data[len(data) // 3] ^= 1
    newest.write_bytes(data)
    told = house.run("audit", "recover", "--dry-run")
    assert told.exit_code == 1
    assert "is not what was written and is not continued" in told.stdout


def test_there_is_nothing_to_recover_while_the_gateway_runs_before_the_first_start_and_without_dry_run(
    house: House,
) -> None:
    assert "there is no log yet" in house.run("audit", "recover", "--dry-run").stdout
    assert house.run("audit", "recover").exit_code == 2
    layout = Layout(house.state_dir)
    layout.create()
    lock = lock_log(layout, Stream.SECURITY)
    told = house.run("audit", "recover", "--dry-run")
    os.close(lock)
    assert (told.exit_code, "the gateway runs" in told.stderr) == (1, True)
