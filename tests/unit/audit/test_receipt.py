"""What a receipt says, and for which records there is one."""

from __future__ import annotations

import hmac
from base64 import b64decode
from hashlib import sha256
from typing import Any

import orjson
import pytest

from gateway.audit.receipt import announced, line_digest, sign_receipt

SALT = bytes(range(16))
LINE = line_digest(SALT, b"POST", b"/transfer?to=7")
UID = "01890a5d-ac96-774b-8aaa-0242ac130002"


def record(**changes: Any) -> bytes:
    gw = {"phase": "intent", "sent": {"key": 1, "line": LINE}, **changes.pop("gw", {})}
    return orjson.dumps(
        {
            "dst_endpoint": {"svc_name": "bank"},
            "metadata": {"correlation_uid": UID},
            "unmapped": {"gw": gw},
            **changes,
        },
        option=orjson.OPT_SORT_KEYS,
    )


def test_a_receipt_is_the_documented_text_and_its_code() -> None:
    receipt = sign_receipt(b"k" * 32, origin="gateway/n/01234567/access", index=7, request_uid=UID, line=LINE)
    place, _, code = receipt.partition(b" ")
    assert place == b"gateway/n/01234567/access#7"
    digest = sha256(SALT + b"POST /transfer?to=7 HTTP/1.1").hexdigest()
    text = f"gateway audit receipt v1\ngateway/n/01234567/access\n7\n{UID}\n{digest}\n".encode()
    assert b64decode(code, validate=True) == hmac.new(b"k" * 32, text, "sha256").digest()


def test_an_intent_says_for_which_request_and_upstream_its_receipt_is() -> None:
    assert announced(record()) == ("bank", 1, UID, LINE)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        record(gw={"phase": "single"}),
        record(gw={"phase": "closing"}),
        record(gw={"sent": None}),
        record(gw={"sent": {"key": True, "line": LINE}}),
        record(gw={"sent": {"key": 0, "line": LINE}}),
        record(gw={"sent": {"key": 65_536, "line": LINE}}),
        record(gw={"sent": {"key": "1", "line": LINE}}),
        record(gw={"sent": {"key": 1, "line": LINE[:-1]}}),
        record(gw={"sent": {"key": 1, "line": 7}}),
        record(metadata={"correlation_uid": UID + "\n" + LINE}),
        record(metadata={"correlation_uid": "x" * 65}),
        record(metadata={}),
        record(dst_endpoint={"svc_name": "b" * 129}),
        record(dst_endpoint={"svc_name": "bänk"}),
        record(dst_endpoint=[]),
        record(unmapped="gw"),
    ],
)
def test_a_record_that_announces_nothing_of_the_kind_gets_none(payload: bytes) -> None:
    assert announced(payload) is None


@pytest.mark.parametrize(
    "payload",
    [
        record().replace(b'"phase":"intent"', b'"phase": "intent"'),
        record().replace(b'"intent"', b'"int\\u0065nt"'),
        record().replace(b'{"dst_endpoint"', b'{"unmapped":{"gw":{"phase":"single"}},"dst_endpoint"'),
        record().replace(b'{"dst_endpoint"', b'{"dst_endpoint":{"svc_name":"wiki"},"dst_endpoint"'),
        record(actor={"correlation_uid": "another"}),
        record(zone={"phase": "single"}),
        record() + b" ",
    ],
)
def test_a_record_that_can_be_read_in_two_ways_gets_none(payload: bytes) -> None:
    """Attack: a worker that was taken over gets a receipt, and the daemon follows no intent, or another one."""
    assert announced(payload) is None
