from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
import pytest

from gateway.audit import protocol, record
from gateway.audit.protocol import CLI_SLOT, PAGES_SLOT, SUPERVISOR_SLOT
from gateway.exchange.errors import AuditUnavailableError, KeyringError
from gateway.ledger import producer
from gateway.ledger.errors import LogBusyError
from gateway.ledger.keys import AuditKeys

Bench = Any
BUILD = partial(record.lifecycle, event="gateway.started")


def events(bench: Bench) -> list[tuple[int, str]]:
    return [
        (stored.entry.slot, orjson.loads(stored.entry.payload)["unmapped"]["gw"]["event"]) for stored in bench.stored()
    ]


def test_without_a_daemon_the_command_writes_the_log_itself(bench: Bench) -> None:
    producer.append(bench.state_dir, bench.keys_path, [BUILD, BUILD])
    producer.append(bench.state_dir, bench.keys_path, [BUILD], slot=SUPERVISOR_SLOT, node="node-a", boot_uid="b")
    assert events(bench) == [(CLI_SLOT, "gateway.started")] * 2 + [(SUPERVISOR_SLOT, "gateway.started")]
    decoded = orjson.loads(bench.stored()[2].entry.payload)
    assert decoded["metadata"]["sequence"] == bench.stored()[2].entry.sequence & protocol.SEQUENCE_MASK
    assert "coerced" not in decoded["unmapped"]["gw"]
    assert decoded["device"]["hostname"] == "node-a"
    assert bench.verify().exit_code == 0
    assert sum(path.stat().st_size for path in bench.files()) < 10_000, "small files for single records"


@pytest.mark.fault
def test_with_a_daemon_the_record_goes_through_it(bench: Bench, daemon: Callable[..., subprocess.Popen[bytes]]) -> None:
    daemon()
    threads = [
        threading.Thread(target=producer.append, args=(bench.state_dir, bench.keys_path, [BUILD] * 3)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [slot for slot, _ in events(bench)].count(CLI_SLOT) == 12, "commands at once lose nothing"
    sequences = [stored.entry.sequence for stored in bench.stored() if stored.entry.slot == CLI_SLOT]
    assert sequences == sorted(set(sequences))
    assert bench.verify().exit_code == 0


def test_a_stale_socket_is_nobody(bench: Bench) -> None:
    bench.layout.create()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(bench.layout.socket))
    producer.append(bench.state_dir, bench.keys_path, [BUILD])
    assert len(bench.stored()) == 1


def test_a_busy_log_is_waited_for_and_then_an_error(bench: Bench) -> None:
    log = bench.open()
    with pytest.raises(LogBusyError):
        producer.append(bench.state_dir, bench.keys_path, [BUILD], timeout_s=0.1)
    threading.Timer(0.1, log.close).start()
    producer.append(bench.state_dir, bench.keys_path, [BUILD])


def test_recovery_of_a_crashed_log_is_recorded_by_whoever_finds_it(bench: Bench) -> None:
    log = bench.open()
    bench.append(log, 1)
    end = log._safe.offset
    bench.crash(log)
    with bench.files()[0].open("r+b") as file:
        file.seek(end)
        file.write(b"GWB1")
    producer.append(bench.state_dir, bench.keys_path, [BUILD])
    last = [orjson.loads(stored.entry.payload) for stored in bench.stored()][1:]
    assert [decoded["unmapped"]["gw"]["event"] for decoded in last] == ["audit.recovery", "gateway.started"]
    assert last[0]["unmapped"]["gw"]["recovery"]["discarded_bytes"] == 4


def test_missing_keys_and_an_impossible_directory_are_named(bench: Bench) -> None:
    with pytest.raises(KeyringError, match="do not exist"):
        producer.append(bench.state_dir, bench.state_dir / "none.json", [BUILD])
    bench.state_dir.parent.joinpath("file").write_text("")
    with pytest.raises(AuditUnavailableError):
        producer.append(bench.state_dir.parent / "file" / "state", bench.keys_path, [BUILD])


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ([protocol.pack_ack(1)], "no welcome"),
        ([b""], "does not answer"),
        ([b"\xff" * 16], "unknown type"),
        ([protocol.pack_welcome(0), protocol.pack_refused(1 << 63, 1)], "the disk is full"),
        ([protocol.pack_welcome(0), protocol.pack_refused(1 << 63, 2)], "cannot be written"),
        ([protocol.pack_welcome(0)], "does not answer"),
    ],
)
def test_a_daemon_that_refuses_or_misbehaves_is_an_error(bench: Bench, answers: list[bytes], text: str) -> None:
    bench.layout.create()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(bench.layout.socket))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                for answer in answers:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(AuditUnavailableError, match=text):
            producer.append(bench.state_dir, bench.keys_path, [BUILD], timeout_s=5)
        thread.join()


def test_the_operator_is_the_person_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_UID", "1")
    assert producer.operator()["user"]["uid"] == "1"
    monkeypatch.setenv("SUDO_UID", "x")
    assert producer.operator()["user"] == {"name": "root", "type_id": 3, "uid": "0"}
    monkeypatch.setattr("os.geteuid", lambda: 54321)
    assert producer.operator()["user"]["name"] == "54321"


def say_farewell(listener: socket.socket) -> None:
    """Welcome one producer as a daemon does that makes room for its successor, and hang up."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(64)
        connection.sendall(protocol.pack_welcome(0) + protocol.pack_farewell(5000))
        connection.recv(4096)


def test_a_daemon_that_makes_room_for_its_successor_is_waited_for(bench: Bench) -> None:
    """It says farewell and hangs up; the next one that listens takes the records, once."""
    bench.layout.create()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(bench.layout.socket))
    listener.listen()

    def make_room() -> None:
        say_farewell(listener)
        listener.close()
        bench.layout.socket.unlink()

    thread = threading.Thread(target=make_room)
    thread.start()
    producer.append(bench.state_dir, bench.keys_path, [BUILD])
    thread.join()
    assert events(bench) == [(CLI_SLOT, "gateway.started")]


@pytest.mark.fault
def test_a_process_with_a_badge_and_no_keys_writes_through_the_daemon_alone(
    bench: Bench, daemon: Callable[..., subprocess.Popen[bytes]]
) -> None:
    keys = AuditKeys.load(bench.keys_path)
    write = partial(producer.append_with_badge, str(bench.state_dir), slot=PAGES_SLOT, node="node-a", boot_uid="b")
    with pytest.raises(AuditUnavailableError, match="does not answer"):
        write(keys.badge(PAGES_SLOT), [BUILD])
    daemon()
    write(keys.badge(PAGES_SLOT), [BUILD])
    with pytest.raises(AuditUnavailableError, match="does not answer"):  # attack: somebody else's badge
        write(keys.badge(SUPERVISOR_SLOT), [BUILD], timeout_s=2)
    assert [slot for slot, _ in events(bench)].count(PAGES_SLOT) == 1


def test_a_daemon_that_is_being_replaced_takes_nothing_of_a_process_that_can_try_again(bench: Bench) -> None:
    bench.layout.create()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(bench.layout.socket))
        listener.listen()

        thread = threading.Thread(target=say_farewell, args=(listener,))
        thread.start()
        with pytest.raises(AuditUnavailableError, match="is being replaced"):
            producer.append_with_badge(
                str(bench.state_dir), bytes(16), [BUILD], slot=PAGES_SLOT, node="node-a", boot_uid="b", timeout_s=5
            )
        thread.join()
