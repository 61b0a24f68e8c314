"""The daemon gives receipts: for intents that are safe, to workers, of the place where the record is."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.audit.protocol import ASYNC, GROUP, PAGES_SLOT, RECEIPTED, RESERVED, Ack, Receipt, Refused, Reply
from gateway.audit.receipt import line_digest
from gateway.exchange.errors import KeyringError
from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from tests.fakes.receipts import ReceiptError, Receipts
from tests.unit.ledger.running import Producer, Running

Bench = Any
ASKS = bytes([2 | RECEIPTED])
"""In the access stream."""
LINE = b"POST /transfer?to=7 HTTP/1.1"
SALT = bytes(range(16))
UID = "01890a5d-ac96-774b-8aaa-0242ac130002"
THEN = 0x01890A5DAC96 / 1000


def intent(upstream: str = "bank", key: int = 1, target: bytes = b"/transfer?to=7", phase: str = "intent") -> bytes:
    sent = {"key": key, "line": line_digest(SALT, b"POST", target)}
    return orjson.dumps(
        {
            "dst_endpoint": {"svc_name": upstream},
            "metadata": {"correlation_uid": UID},
            "unmapped": {"gw": {"phase": phase, "sent": sent}},
        }
    )


def replies(producer: Producer, until: int) -> list[Reply]:
    found = [producer.next()]
    while found[-1] != Ack(until):
        found.append(producer.next())
    return found


def checked(keys: AuditKeys, receipt: bytes, *, upstream: str = "bank", key: int = 1, line: bytes = LINE) -> str:
    checker = Receipts([keys.receipt_key(upstream, key)], clock=lambda: THEN)
    place: str = checker.verify(line, UID, f"{receipt.decode()} {SALT.hex()}")
    return place


def test_a_receipt_comes_before_the_acknowledgement_and_names_the_place_of_its_record(bench: Bench) -> None:
    running = Running(bench)
    first, second = running.producer(0), running.producer(1)
    first.send(1, [b"other", intent(), b"other"], GROUP, b"\2" + ASKS + b"\1")
    second.send(1, [b"other", intent("shop", 3)], GROUP, b"\2" + bytes([2 | RESERVED | RECEIPTED]))
    running.turn()
    for producer, sequence, upstream, key in ((first, 2, "bank", 1), (second, 2, "shop", 3)):
        receipt, *rest = replies(producer, 3 if producer is first else 2)
        assert isinstance(receipt, Receipt)
        assert receipt.seq == sequence
        assert rest == [Ack(3 if producer is first else 2)]
        origin, _, index = checked(bench.keys, receipt.text, upstream=upstream, key=key).partition("#")
        (stored,) = [s for s in bench.stored(Stream.ACCESS) if s.index == int(index)]
        assert stored.entry.payload == intent(upstream, key)
        assert origin == running.logs[Stream.ACCESS].origin
    assert dict(running.samples()["gateway_audit_receipts_total"].values) == {("given",): 2, ("refused",): 0}
    running.daemon.close()


def test_a_receipt_is_worth_nothing_for_another_line_upstream_or_number_of_the_key(bench: Bench) -> None:
    running = Running(bench)
    producer = running.producer(0)
    producer.send(1, [intent()], GROUP, ASKS)
    running.turn()
    receipt = producer.next()
    assert isinstance(receipt, Receipt)
    assert checked(bench.keys, receipt.text)
    for other in ({"line": b"POST /transfer?to=8 HTTP/1.1"}, {"upstream": "shop"}, {"key": 2}):
        with pytest.raises(ReceiptError, match="another request"):
            checked(bench.keys, receipt.text, **other)
    running.daemon.close()


@pytest.mark.parametrize(
    ("payload", "grade", "streams"),
    [
        (intent(), GROUP, b"\2"),
        (intent(), ASYNC, ASKS),
        (intent(phase="single"), GROUP, ASKS),
        (b"no record at all", GROUP, ASKS),
    ],
    ids=["not asked for", "not safe", "announces nothing", "unreadable"],
)
def test_other_records_are_acknowledged_without_one(bench: Bench, payload: bytes, grade: int, streams: bytes) -> None:
    running = Running(bench)
    producer = running.producer(0)
    producer.send(1, [payload], grade, streams)
    running.turn()
    running.clock.now += 0.025
    running.turn()
    assert producer.next() == Ack(1)
    running.daemon.close()


def test_only_a_worker_gets_receipts(bench: Bench) -> None:
    running = Running(bench)
    producer = running.producer(PAGES_SLOT)
    producer.send(1, [intent()], GROUP, ASKS)
    running.turn()
    assert producer.next() == Ack(1)
    running.daemon.close()


def test_what_cannot_be_stored_gets_none(bench: Bench) -> None:
    running = Running(bench)
    producer = running.producer(0)
    running.store(producer, 1, [b"first"])
    bench.disk.fail_sync = 99
    producer.send(2, [intent()], GROUP, ASKS)
    running.turn()
    assert isinstance(producer.next(), Refused)
    bench.disk.fail_sync = 0
    running.daemon.close()


def test_a_record_that_is_sent_again_gets_none_since_its_request_may_have_gone(bench: Bench) -> None:
    running = Running(bench)
    producer = running.producer(0)
    producer.send(1, [intent()], GROUP, ASKS)
    running.turn()
    assert isinstance(producer.next(), Receipt)
    producer.sock.close()
    running.turn()
    again = Producer(bench, 0)
    again.sock.sendall(bench.hello(0))
    running.turn(2)
    again.welcome()
    again.send(1, [intent(), intent(target=b"/")], GROUP, ASKS * 2)
    running.turn()
    receipt = again.next()
    assert isinstance(receipt, Receipt)
    assert receipt.seq == 2
    assert again.next() == Ack(2)
    running.daemon.close()


def test_keys_are_derived_from_the_seed_alone(bench: Bench) -> None:
    keys = bench.keys
    assert keys.receipt_key("bank", 1) == AuditKeys.parse(keys.dump()).receipt_key("bank", 1)
    assert len({keys.receipt_key(name, number) for name in ("bank", "shop") for number in (1, 2)}) == 4
    with pytest.raises(KeyringError, match="give no receipts"):
        AuditKeys.parse_for_reading(keys.dump_for_reading()).receipt_key("bank", 1)


def test_a_worker_that_makes_up_names_fills_no_memory(bench: Bench) -> None:
    running = Running(bench)
    producer = running.producer(0)
    for turn in range(3):
        payloads = [intent(f"u{turn}-{n}") for n in range(200)]
        producer.send(1 + turn * 200, payloads, GROUP, ASKS * 200)
        running.turn()
        assert len(replies(producer, (turn + 1) * 200)) == 201
    assert len(running.daemon._intake._receipts._keys) <= 256
    running.daemon.close()
