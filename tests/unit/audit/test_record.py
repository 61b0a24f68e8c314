from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.audit import record
from gateway.audit.canonical import encode

STAMP = record.Stamp(
    uid="0197-uid", sequence=7, time_ms=1_700_000_000_000, mono_ns=5, boot_uid="boot", node="node-a", version="1.2"
)
ACTOR = record.system_actor("root", "0")


def built() -> list[dict[str, Any]]:
    return [
        record.lifecycle(STAMP, "gateway.started"),
        record.lifecycle(STAMP, "audit.recovery", success=False, severity=record.HIGH, more={"recovery": {"size": 1}}),
        record.gap(STAMP, cause="refused", slot=3, first=4, last=9),
        record.unknown_outcome(STAMP, correlation_uid="r1", slot=3),
        record.account_change(STAMP, "user.added", actor=ACTOR, user_uid="u1", user_name="alice", tenant="acme"),
        record.administration(STAMP, "session revoke", actor=ACTOR, resources=[("session", "h")], tenant="acme"),
    ]


@pytest.mark.parametrize("made", built(), ids=lambda made: made["unmapped"]["gw"]["event"])
def test_every_record_has_the_fields_that_all_must_have(made: dict[str, Any]) -> None:
    decoded = orjson.loads(encode(made))
    assert decoded["type_uid"] == decoded["class_uid"] * 100 + decoded["activity_id"]
    assert decoded["category_uid"] == decoded["class_uid"] // 1000
    assert decoded["metadata"]["sequence"] == 7
    assert decoded["metadata"]["log_name"] == "security"
    assert decoded["metadata"]["correlation_uid"]
    assert decoded["metadata"]["product"] == {"name": "gateway", "vendor_name": "gateway", "version": "1.2"}
    assert decoded["device"]["hostname"] == "node-a"
    assert decoded["time"] == 1_700_000_000_000
    assert decoded["status_id"] in {1, 2}
    gw = decoded["unmapped"]["gw"]
    assert {"action", "boot_uid", "event", "mono_ns", "outcome", "phase", "redactions"} <= set(gw)
    assert "coerced" not in gw, "builders use allowed values only"


def test_classes_and_activities_are_ocsfs() -> None:
    found = [(made["class_uid"], made["activity_id"]) for made in built()]
    assert found == [(6002, 3), (6002, 99), (6002, 99), (6002, 99), (3001, 1), (6003, 3)]


def test_a_gap_counts_what_is_missing() -> None:
    gw = record.gap(STAMP, cause="producer_jump", slot=3, first=4, last=9)["unmapped"]["gw"]
    assert gw["gap"] == {"count": 6, "first": "4", "last": "9", "slot": 3}
    assert gw["reason"] == "producer_jump"
    assert record.gap(STAMP, cause="refused", slot=3, first=4, last=9, count=2)["unmapped"]["gw"]["gap"]["count"] == 2


def test_an_unknown_outcome_closes_its_intent() -> None:
    from gateway.audit.intent import note_intent

    intents = {"r1": 3}
    note_intent(intents, 1003, encode(record.unknown_outcome(STAMP, correlation_uid="r1", slot=3)))
    assert intents == {}


def test_text_from_outside_is_redacted_and_counted() -> None:
    made = record.administration(
        STAMP, "user add --password=hunter2", actor=ACTOR, detail="token=abc", resources=[("user", "password=x")]
    )
    data = encode(made)
    assert b"hunter2" not in data
    assert b"abc" not in data
    assert made["unmapped"]["gw"]["redactions"] == 1
    assert made["resources"] == [{"type": "user", "uid": "password=[redacted]"}]


def test_a_failure_says_why_and_weighs_more() -> None:
    made = record.lifecycle(STAMP, "gateway.reload_rejected", success=False, reason="invalid", severity=record.MEDIUM)
    assert (made["status_id"], made["severity_id"]) == (2, record.MEDIUM)
    assert made["unmapped"]["gw"]["reason"] == "invalid"


def test_a_uuid_of_version_7_begins_with_its_time() -> None:
    made = record.uuid7(0x0123456789AB, b"\xff" * 10)
    assert made == "01234567-89ab-7fff-bfff-ffffffffffff"
    assert record.uuid7(1, bytes(10)) == "00000000-0001-7000-8000-000000000000"
