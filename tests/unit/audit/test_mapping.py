"""Records in the words of others: complete, and never more lines or fields than were written."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.flat import COLUMNS, NAMES, flatten
from gateway.audit.mapping import (
    CSV_COLUMNS,
    Position,
    csv_header,
    csv_line,
    find,
    moment,
    shown,
    to_cef,
    to_ecs,
    to_ocsf,
    to_row,
)

POSITION = Position("gateway/node-a/1a2b3c4d/access", 42, 1_767_225_600_123_456_789)
CEF_EXTENSION = re.compile(r"(?:^| )([A-Za-z0-9]+)=((?:[^=\\]|\\.)*?)(?= [A-Za-z0-9]+=|$)")


def access(**changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "action_id": 1, "activity_id": 2, "actor": {"session": {"uid": "h"}, "user": {"name": "alice", "type_id": 1, "uid": "u1"}},
        "api": {"operation": "GET /invoices/{id}", "service": {"name": "portal"}}, "category_uid": 6, "class_uid": 6003,
        "device": {"hostname": "node-a", "uid": "node-a"}, "dst_endpoint": {"hostname": "portal.example", "svc_name": "portal"},
        "http_request": {"body_length": 0, "http_method": "GET", "uid": "r-1", "url": {"path": "/invoices/42"}, "user_agent": "x", "version": "1.1"},
        "http_response": {"code": 200, "content_type": "text/html", "latency": 3, "length": 12},
        "metadata": {"correlation_uid": "r-1", "log_name": "access", "product": {"name": "gateway", "version": "0.1.0"}, "tenant_uid": "acme", "uid": "u-1"},
        "policy": {"uid": "policies/a.yaml:1:2", "version": "abc"}, "resources": [{"owner": {"uid": "p1"}, "type": "invoice", "uid": "42"}],
        "severity_id": 1, "src_endpoint": {"ip": "192.0.2.1", "port": 555}, "status_id": 1, "time": 1_767_225_600_000,
        "tls": {"version": "TLSv1.3"}, "trace": {"span": {"uid": "b" * 16}, "uid": "a" * 32}, "type_uid": 600302,
        "unmapped": {"gw": {"action": "view", "phase": "single", "reason": "allowed", "route": "invoice", "purpose": "billing"}},
    }  # fmt: skip
    return {**record, **changes}


def test_ecs_has_the_names_that_a_siem_asks_for() -> None:
    ecs = to_ecs(access(), POSITION)
    assert ecs["@timestamp"] == "2026-01-01T00:00:00.000Z"
    assert ecs["event"]["outcome"] == "success"
    assert ecs["event"]["type"] == ["access"]
    assert ecs["event"]["category"] == ["api", "web"]
    assert (ecs["user"]["id"], ecs["source"]["ip"], ecs["http"]["response"]["status_code"]) == ("u1", "192.0.2.1", 200)
    assert (ecs["url"]["path"], ecs["trace"]["id"], ecs["rule"]["id"]) == (
        "/invoices/42",
        "a" * 32,
        "policies/a.yaml:1:2",
    )
    assert ecs["gateway"]["log"] == {"origin": POSITION.origin, "index": 42}
    assert ecs["tls"]["version"] == "1.3"


def test_ecs_tells_a_refusal_and_a_detection() -> None:
    assert to_ecs(access(action_id=2, status_id=2))["event"]["type"] == ["access", "denied"]
    assert to_ecs(access(action_id=2))["gateway"]["decision"] == "deny"
    assert to_ecs(access(status_id=2))["event"]["outcome"] == "failure"
    assert to_ecs(access(class_uid=2004, activity_id=1))["event"]["kind"] == "alert"


def test_what_is_sealed_is_shown_by_its_token_and_is_no_address() -> None:
    sealed = {"c": "AAAA", "e": 1, "t": "k7"}
    record = access(src_endpoint={"ip": sealed, "port": 1}, actor={"user": {"uid": sealed, "type_id": 1}})
    ecs = to_ecs(record)
    assert ecs["user"]["id"] == "sealed:k7"
    assert "ip" not in ecs.get("source", {})
    assert "client" not in ecs
    assert ecs["gateway"]["source"] == "sealed:k7"
    assert "AAAA" not in to_cef(record)
    assert "AAAA" not in csv_line(to_row(record))


def test_cef_is_one_line_with_the_fields_of_the_specification() -> None:
    line = to_cef(access(), POSITION)
    header, found = line.split("|")[:7], dict(CEF_EXTENSION.findall(line.split("|", 7)[7]))
    assert header == ["CEF:0", "gateway", "gateway", "0.1.0", "600302", "GET /invoices/{id}", "1"]
    assert (found["src"], found["suser"], found["request"], found["requestMethod"]) == (
        "192.0.2.1",
        "alice",
        "/invoices/42",
        "GET",
    )
    assert (found["cs1Label"], found["cs1"], found["cn1Label"], found["cn1"]) == (
        "origin",
        POSITION.origin,
        "index",
        "42",
    )
    assert (found["act"], found["outcome"]) == ("view", "success")
    assert (found["flexString1Label"], found["flexString1"]) == ("decision", "allow")


def test_a_row_has_a_cell_for_each_column() -> None:
    row = dict(zip(CSV_COLUMNS, to_row(access(), POSITION), strict=True))
    assert (row["index"], row["decision"], row["owner_id"], row["purpose"]) == ("42", "allow", "p1", "billing")
    assert (row["event"], row["time"][:5], row["actor"]) == ("request", "2026-", "alice")
    assert next(csv.reader(io.StringIO(csv_header())))[:3] == ["origin", "index", "stream"]


def test_a_table_calls_everything_as_searches_and_sql_do() -> None:
    names = [column.name for column in COLUMNS if column.is_shown]
    assert list(CSV_COLUMNS[3 : 3 + len(names)]) == names
    record = access()
    row = dict(zip(CSV_COLUMNS, to_row(record, POSITION), strict=True))
    view = dict(zip(NAMES, flatten(record), strict=True))
    assert [row[name] for name in names if name != "time"] == [view[name] for name in names if name != "time"]
    assert dict(zip(CSV_COLUMNS, to_row(access(action_id=2)), strict=True))["decision"] == "deny"
    assert dict(zip(CSV_COLUMNS, to_row(access(action_id=3)), strict=True))["decision"] == ""


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", " =", "\uff1d"])
def test_formula_injection_no_cell_makes_a_spreadsheet_calculate(start: str) -> None:
    record = access()
    record["http_request"]["user_agent"] = f"{start}cmd|' /C calc'!A0"
    cell = to_row(record)[CSV_COLUMNS.index("user_agent")]
    assert cell.startswith(("'", "\\")), "a tab stands as an escape, which computes nothing"


def test_ocsf_as_exported_says_where_it_stands_and_leaves_the_stored_record_alone() -> None:
    record = access()
    before = orjson.dumps(record)
    exported = to_ocsf(record, POSITION)
    assert orjson.dumps(record) == before
    assert exported["metadata"]["logged_time"] == 1_767_225_600_123
    assert (exported["unmapped"]["gw"]["origin"], exported["unmapped"]["gw"]["log_index"]) == (POSITION.origin, 42)
    assert exported["unmapped"]["gw"]["ingest_time"] == 1_767_225_600_123_456
    assert exported["attestation_list"][0]["serialization_id"] == 2
    assert {**exported["unmapped"]["gw"], "action": "view"}["route"] == "invoice"


@pytest.mark.parametrize(
    "record", [{}, {"unmapped": 1}, {"metadata": "x", "resources": [], "time": -1}, {"actor": None}]
)
def test_a_record_that_lacks_everything_is_mapped_all_the_same(record: dict[str, Any]) -> None:
    to_ecs(record, POSITION)
    assert to_cef(record).startswith("CEF:0|")
    assert len(to_row(record)) == len(CSV_COLUMNS)
    assert to_ocsf(record, POSITION)["unmapped"]["gw"]["log_index"] == 42


def test_paths_times_and_values() -> None:
    assert find({"a": [{"b": 1}]}, "a.b") == 1
    assert find({"a": []}, "a.b") is None
    assert (moment(10**18), moment(None), moment(True)) == ("", "", "")
    assert (shown(True), shown([1, "x"]), shown({"e": 1}), shown(None)) == ("true", "1 x", "e=1", "")


VALUES = st.text(max_size=40) | st.text(st.sampled_from("\\|= \r\n\x1b\u2028a\"'"), max_size=20)


def keys(line: str) -> list[str]:
    """Read the keys of an extension as a receiver does: seven fields of a header, then keys before what is not escaped."""
    parts = re.findall(r"((?:[^|\\]|\\.)*)\|", line)[:7]
    extension = line[sum(len(part) + 1 for part in parts) :]
    return re.findall(r"([A-Za-z0-9]+)(?<!\\)=", re.sub(r"\\.", "", extension))


@given(VALUES, VALUES, VALUES)
def test_no_text_ends_a_line_or_a_field(agent: str, path: str, operation: str) -> None:
    record = access(api={"operation": operation or "x", "service": {"name": agent}})
    record["http_request"] |= {"user_agent": agent, "url": {"path": path}}
    line = to_cef(record, POSITION)
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line
    assert keys(line) == [
        key
        for key in keys(to_cef(access(), POSITION))
        if (agent or key != "requestClientApplication") and (path or key != "request")
    ]
    text = csv_line(to_row(record))
    assert [len(row) for row in csv.reader(io.StringIO(text))] == [len(CSV_COLUMNS)]
    assert len(text.splitlines()) == 1
    text.encode()
    line.encode()
    orjson.dumps(to_ecs(record, POSITION)["event"])
