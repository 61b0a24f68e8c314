"""What is delivered is what was stored, and can be proven to be."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.delivery import Batch, DeliveryError, Format, deliver_entry, idempotency_key, restore_entry
from gateway.audit.entry import pack_entry
from gateway.audit.merkle import hash_leaf
from gateway.audit.syslog import write_message
from gateway.exchange.stream import Stream
from tests.fakes.log_source import ORIGIN, TIME_NS, entry


def of(payload: bytes) -> bytes:
    return pack_entry(Stream.ACCESS, 3, TIME_NS, 9, b"s" * 16, payload)


def delivered(raw: bytes, index: int = 7) -> dict[str, Any]:
    record: dict[str, Any] = orjson.loads(deliver_entry(raw, origin=ORIGIN, index=index).line)
    return record


def test_a_delivered_record_says_where_it_is_from_and_gives_its_entry_back() -> None:
    record = delivered(entry(7))
    gw = record["unmapped"]["gw"]
    assert (gw["origin"], gw["log_index"]) == (ORIGIN, 7)
    assert record["metadata"]["logged_time"] == (TIME_NS + 7 * 1_000_000_123) // 1_000_000
    assert record["attestation_list"][0]["fingerprint"]["value"] == hash_leaf(entry(7)).hex()
    assert restore_entry(record) == (ORIGIN, 7, entry(7))


def test_the_same_entry_always_becomes_the_same_bytes() -> None:
    for form in Format:
        one = deliver_entry(entry(3), origin=ORIGIN, index=3, form=form)
        assert one.line == deliver_entry(entry(3), origin=ORIGIN, index=3, form=form).line
        assert b"\n" not in one.line


def test_a_changed_record_is_told_from_the_one_that_was_stored() -> None:
    record = delivered(entry(7))
    record["severity_id"] = 6
    with pytest.raises(DeliveryError, match="changed"):
        restore_entry(record)


@pytest.mark.parametrize("missing", ["origin", "log_index", "entry_head"])
def test_a_record_without_its_place_is_no_delivered_record(missing: str) -> None:
    record = delivered(entry(7))
    del record["unmapped"]["gw"][missing]
    with pytest.raises(DeliveryError):
        restore_entry(record)


def test_a_record_with_its_personal_fields_opened_says_so_when_it_is_checked() -> None:
    with pytest.raises(DeliveryError, match="opened"):
        restore_entry({**delivered(entry(7)), "status_detail": "alice"})


@pytest.mark.parametrize(
    "payload",
    [
        b"junk",
        b"\xff\xfe",
        b"[]",
        b'{"b":1,"a":2}',
        b'{"a":1,"a":2}',
        b'{"metadata":{},"unmapped":{}}',
        b'{"metadata":{},"unmapped":{"gw":{"origin":"another/log"}}}',
        b'{"attestation_list":[],"metadata":{},"unmapped":{"gw":{}}}',
        b'{"metadata":{"logged_time":1},"unmapped":{"gw":{}}}',
    ],
)
def test_what_a_hostile_worker_wrote_goes_as_it_is_and_claims_no_place(payload: bytes) -> None:
    record = delivered(of(payload))
    assert record["unmapped"]["gw"]["origin"] == ORIGIN
    assert restore_entry(record) == (ORIGIN, 7, of(payload))
    for form in (Format.ECS, Format.CEF):
        assert b"\n" not in deliver_entry(of(payload), origin=ORIGIN, index=7, form=form).line


@given(payload=st.binary(min_size=1, max_size=300), index=st.integers(0, 1 << 50))
def test_every_entry_is_delivered_and_given_back(payload: bytes, index: int) -> None:
    assert restore_entry(delivered(of(payload), index)) == (ORIGIN, index, of(payload))


def test_a_batch_is_named_by_its_range_and_what_is_in_it() -> None:
    deliveries = [deliver_entry(entry(i), origin=ORIGIN, index=i) for i in range(4, 7)]
    batch = Batch(ORIGIN, "access", deliveries)
    assert batch.key().startswith(f"{ORIGIN}#4-6#")
    assert batch.key() == batch.key(batch.body())
    assert batch.part(0, 2).key() != batch.key()
    assert idempotency_key(ORIGIN, 5) == f"{ORIGIN}#5"


HOSTILE: list[Any] = [
    None,
    True,
    -1,
    2**63,
    1e300,
    "",
    '|=\\]"\n',
    [],
    [[]],
    ["a"],
    [{}],
    {},
    {"c": 1, "e": [], "t": {}},
]


@pytest.mark.parametrize("form", list(Format))
def test_a_record_of_any_shape_becomes_a_line_and_a_message(form: Format) -> None:
    """attack: a worker that was taken over writes one record that stops a sink for good."""
    whole: dict[str, Any] = orjson.loads(entry(7)[40:])
    names = [
        *whole, "activity_id", "actor", "api", "class_uid", "dst_endpoint", "http_request", "http_response", "resources",
        "severity_id", "src_endpoint", "status_id", "tls", "trace", "user",
    ]  # fmt: skip
    for name in names:
        for value in HOSTILE:
            payload = orjson.dumps({**whole, name: value}, option=orjson.OPT_SORT_KEYS)
            delivery = deliver_entry(of(payload), origin=ORIGIN, index=7, form=form)
            assert b"\n" not in delivery.line
            assert b"\n" not in write_message(delivery, origin=ORIGIN, enterprise=32473)
