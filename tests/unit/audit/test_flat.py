from __future__ import annotations

import os
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit import subject
from gateway.audit.flat import AND, BY_NAME, COLUMNS, NAMES, SEALED, flatten, opened, token_of
from gateway.audit.subject import Sealing
from gateway.exchange.subject import ERASED, SubjectKey

RECORD: dict[str, Any] = {
    "action_id": 2,
    "actor": {"session": {"uid": "h1"}, "user": {"name": "alice", "uid": "u-1"}},
    "api": {"operation": "GET /invoices/{id}"},
    "class_uid": 6003,
    "http_request": {"http_method": "GET", "url": {"path": "/invoices/7"}, "user_agent": "x\x1b[31my"},
    "http_response": {"code": 403, "latency": 12, "length": 0},
    "metadata": {"correlation_uid": "req-7", "tenant_uid": "acme", "uid": "e-7"},
    "resources": [
        {"owner": {"uid": "c-9"}, "type": "invoice", "uid": "7"},
        {"type": "file", "uid": "8"},
    ],
    "src_endpoint": {"ip": "10.0.0.1"},
    "time": 1_700_000_000_000,
    "unmapped": {"gw": {"action": "view", "events": [{"user": "bob", "user_id": "u-2"}], "reason": "role_missing"}},
}


def row(record: dict[str, Any]) -> dict[str, str]:
    return dict(zip(NAMES, flatten(record), strict=True))


def test_a_row_says_who_did_what_to_what() -> None:
    flat = row(RECORD)
    assert (flat["actor"], flat["actor_id"], flat["session"]) == ("alice", "u-1", "h1")
    assert (flat["decision"], flat["status"], flat["reason"]) == ("deny", "403", "role_missing")
    assert (flat["resource_type"], flat["resource_id"], flat["owner_id"]) == ("invoice", "7", "c-9")
    assert flat["resources"].split(AND) == ["invoice/7", "file/8"]
    assert flat["people"].split(AND) == ["u-1", "alice", "bob", "u-2", "c-9"]
    assert (flat["event"], flat["time"], flat["bytes_in"]) == ("request", "1700000000000", "")


def test_no_value_can_move_a_cursor_or_end_a_row() -> None:
    assert row(RECORD)["user_agent"] == "x\\x1b[31my"


def test_every_column_has_one_name() -> None:
    assert len(set(NAMES)) == len(COLUMNS)


def test_a_sealed_value_stays_sealed_until_it_is_opened_in_its_own_field() -> None:
    key = SubjectKey(os.urandom(16), os.urandom(32))
    sealed = Sealing(key, os.urandom).value(subject.USER_NAME, "al\nice")
    flat = row({"actor": {"user": {"name": sealed}}})
    value = flat["actor"]
    assert value.startswith(SEALED)
    assert token_of(value) == key.token.hex()
    assert "alice" not in value
    assert flat["people"] == value
    path = BY_NAME["actor"].personal
    assert opened(path, value, lambda _: key) == "al\\nice"
    assert opened(path, value, lambda _: ERASED) == ERASED
    assert opened(BY_NAME["ip"].personal, value, lambda _: key) == ERASED, "it was moved to another field"
    assert opened(path, "clear", lambda _: key) == "clear"
    assert not token_of("clear")


def test_no_clear_text_can_pass_for_a_sealed_one() -> None:
    flat = row({"actor": {"user": {"name": "\x01token\x02cipher"}}})
    assert not flat["actor"].startswith(SEALED)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["uid", "user", "gw", "t", "c", "e", "x"]), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from([*RECORD, "user", "policy", "trace"]), _JSON, max_size=6))
def test_any_object_has_a_row_of_printable_cells(record: dict[str, Any]) -> None:
    try:
        read = orjson.loads(orjson.dumps(record))
    except (TypeError, orjson.JSONEncodeError):
        return
    cells = flatten(read)
    assert len(cells) == len(NAMES)
    assert all(cell.replace("\x01", "").replace("\x02", "").replace("\x03", "").isprintable() for cell in cells)


@pytest.mark.parametrize("record", [{}, {"raw": "x"}, {"actor": 5, "unmapped": []}])
def test_what_is_no_request_has_a_row_too(record: dict[str, Any]) -> None:
    assert set(flatten(record)) <= {""}
