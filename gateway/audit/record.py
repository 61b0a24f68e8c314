"""Builds the records that are not about one request through the data plane, with OCSF names.

Application lifecycle (6002), account change (3001), administration (6003).
Each builder takes a `Stamp` first and returns a plain mapping for `canonical.encode`. Text that
comes from outside goes through `redact`. Builders decide what a record says, never when it is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from gateway.audit.protocol import SEQUENCE_MASK
from gateway.audit.redact import redact
from gateway.exchange.stream import Stream

OCSF_VERSION = "1.8.0"
LOG_VERSION = 2
MAX_DETAIL = 1024

INFORMATIONAL, LOW, MEDIUM, HIGH, CRITICAL = 1, 2, 3, 4, 5
OTHER = 99

LIFECYCLE_ACTIVITIES: Mapping[str, int] = {
    "gateway.started": 3,
    "gateway.stopped": 4,
    "gateway.reloaded": 8,
    "gateway.reload_rejected": 8,
    "audit.started": 3,
    "audit.stopped": 4,
}
"""OCSF 6002 activity_id; every other event of that class is 99 (Other)."""
ACCOUNT_ACTIVITIES: Mapping[str, int] = {
    "user.added": 1,
    "user.enabled": 2,
    "break_glass.opened": 2,
    "password.reset": 4,
    "user.disabled": 5,
    "break_glass.closed": 5,
    "break_glass.expired": 5,
    "user.deleted": 6,
}
"""OCSF 3001 activity_id."""
ADMINISTRATION_ACTIVITIES: Mapping[str, int] = {
    "create": 1,
    "view": 2,
    "download": 2,
    "export": 2,
    "edit": 3,
    "share": 3,
    "admin": 3,
    "delete": 4,
}
"""OCSF 6003 activity_id for our actions."""


GapCause = Literal["producer_jump", "refused", "when_full"]
"""A process lost the records, their requests were refused, or they were left out while their requests went on."""

DETECTIONS: Mapping[str, tuple[str, str, int]] = {
    "session.bound_elsewhere": ("A session was used from elsewhere than where it is bound to", "T1539", HIGH),
    "login.locked": ("An account was locked after failed sign-ins", "T1110", MEDIUM),
    "login.looped": ("A browser signs in again and again without being signed in", "T1110", LOW),
    "request.forged": ("A page of another site made a browser send a request that changes something", "T1185", MEDIUM),
    "answer.overshared": ("A portal let scripts of any site read an answer", "T1213", LOW),
    "request.hostile": ("A request carried what looks like an attack", "T1190", MEDIUM),
    "upload.infected": ("Somebody uploaded a file in which the antivirus found something", "T1105", HIGH),
    "upload.unscanned": ("A file was uploaded of which the antivirus gave no verdict", "T1562", MEDIUM),
    "data.exposed": ("An answer held card numbers, secrets or what an operator looks for", "T1213", MEDIUM),
    "data.hoarded": ("Somebody took more records than their role needs", "T1213", MEDIUM),
    "data.sent": ("A request held card numbers, secrets or what an operator looks for", "T1213", LOW),
    "break_glass.used": ("Somebody signed in with an account that was opened for an emergency", "T1078", HIGH),
    "factor.copied": ("A passkey's counter went back: it may have been copied", "T1606", HIGH),
}
"""Title, MITRE ATT&CK technique and severity of what is found, by event."""
_OF_SIGN_INS: Final = frozenset(("session", "login", "break_glass", "factor"))
"""How events begin that are about proving who one is; the others are found in what somebody asked for."""


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """When and by what a record is made."""

    uid: str
    """UUIDv7 of the event."""
    sequence: int
    time_ms: int
    mono_ns: int
    boot_uid: str
    node: str
    version: str
    """Version of the gateway."""
    stream: Stream = Stream.SECURITY


def uuid7(time_ms: int, random: bytes) -> str:
    """Return a UUID of version 7 (RFC 9562 section 5.7) from ten random bytes."""
    value = (time_ms & ((1 << 48) - 1)) << 80 | int.from_bytes(random[:10], "big")
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(3 << 62) | 2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _base(
    stamp: Stamp,
    class_uid: int,
    activity: int,
    *,
    event: str,
    action: str,
    success: bool = True,
    reason: str = "",
    detail: str = "",
    severity: int = INFORMATIONAL,
    tenant: str = "",
    correlation_uid: str = "",
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    text, redactions = redact(detail[:MAX_DETAIL])
    gw: dict[str, Any] = {
        "action": action,
        "boot_uid": stamp.boot_uid,
        "event": event,
        "mono_ns": stamp.mono_ns,
        "phase": "single",
        "outcome": "completed",
        "redactions": redactions,
        **(more or {}),
    }
    if reason:
        gw["reason"] = reason
    record: dict[str, Any] = {
        "activity_id": activity,
        "category_uid": class_uid // 1000,
        "class_uid": class_uid,
        "device": {"hostname": stamp.node, "uid": stamp.node},
        "metadata": {
            "correlation_uid": correlation_uid or stamp.uid,
            "log_name": stamp.stream.value,
            "log_version": LOG_VERSION,
            "product": {"name": "gateway", "vendor_name": "gateway", "version": stamp.version},
            "profiles": ["host", "security_control", "trace"],
            "sequence": stamp.sequence & SEQUENCE_MASK,
            "tenant_uid": tenant,
            "uid": stamp.uid,
            "version": OCSF_VERSION,
        },
        "severity_id": severity,
        "status_id": 1 if success else 2,
        "time": stamp.time_ms,
        "trace": {"span": {"uid": stamp.uid.replace("-", "")[16:]}, "uid": stamp.uid.replace("-", "")},
        "type_uid": class_uid * 100 + activity,
        "unmapped": {"gw": gw},
    }
    if text:
        record["status_detail"] = text
    return record


def lifecycle(
    stamp: Stamp,
    event: str,
    *,
    success: bool = True,
    reason: str = "",
    detail: str = "",
    severity: int = INFORMATIONAL,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the record of something that happened to the gateway itself: started, reloaded, `audit.recovery`."""
    record = _base(
        stamp,
        6002,
        LIFECYCLE_ACTIVITIES.get(event, OTHER),
        event=event,
        action="admin",
        success=success,
        reason=reason,
        detail=detail,
        severity=severity,
        more=more,
    )
    record["app"] = {"name": "gateway", "vendor_name": "gateway", "version": stamp.version}
    return record


def gap(
    stamp: Stamp,
    *,
    cause: GapCause,
    slot: int,
    first: int,
    last: int,
    count: int | None = None,
) -> dict[str, Any]:
    """Return `audit.gap`: records `first` to `last` of a producer are not in the log, and that is known.

    The sequences stand as text: they are larger than JSON's integers.
    """
    return lifecycle(
        stamp,
        "audit.gap",
        success=False,
        reason=cause,
        severity=HIGH,
        more={
            "gap": {
                "count": last - first + 1 if count is None else count,
                "first": str(first),
                "last": str(last),
                "slot": slot,
            }
        },
    )


def unknown_outcome(stamp: Stamp, *, correlation_uid: str, slot: int) -> dict[str, Any]:
    """Return the closing record of an intent whose producer ended before it could say what came of it."""
    record = lifecycle(stamp, "audit.intent_closed", success=False, severity=MEDIUM, more={"slot": slot})
    record["metadata"]["correlation_uid"] = correlation_uid
    record["unmapped"]["gw"] |= {"outcome": "unknown", "phase": "outcome"}
    return record


def account_change(
    stamp: Stamp,
    event: str,
    *,
    actor: Mapping[str, Any],
    user_uid: str,
    user_name: str = "",
    tenant: str = "",
    success: bool = True,
    reason: str = "",
    detail: str = "",
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the record of a change to a person's account: `user.added`, `password.reset`."""
    record = _base(
        stamp,
        3001,
        ACCOUNT_ACTIVITIES.get(event, OTHER),
        event=event,
        action="admin",
        success=success,
        reason=reason,
        detail=detail,
        severity=LOW,
        tenant=tenant,
        more=more,
    )
    record["actor"] = dict(actor)
    record["user"] = _user(user_uid, user_name)
    return record


def administration(
    stamp: Stamp,
    operation: str,
    *,
    actor: Mapping[str, Any],
    action: str = "admin",
    resources: Sequence[tuple[str, str]] = (),
    tenant: str = "",
    success: bool = True,
    reason: str = "",
    detail: str = "",
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the record of an act of an operator: a verb of the command line, a query of this log.

    `operation` is the verb (`session revoke`), `resources` are pairs of type and uid.
    """
    record = _base(
        stamp,
        6003,
        ADMINISTRATION_ACTIVITIES.get(action, 3),
        event="admin",
        action=action,
        success=success,
        reason=reason,
        detail=detail,
        severity=LOW,
        tenant=tenant,
        more=more,
    )
    record["actor"] = dict(actor)
    record["api"] = {"operation": redact(operation[:MAX_DETAIL])[0], "service": {"name": "gateway.admin"}}
    record["action_id"] = record["disposition_id"] = 1 if success else 2
    record["src_endpoint"] = {"hostname": stamp.node}
    if resources:
        record["resources"] = [{"type": kind, "uid": redact(uid[:256])[0]} for kind, uid in resources]
    return record


def detection(
    stamp: Stamp, event: str, *, correlation_uid: str, user: Mapping[str, Any] | None = None, tenant: str = ""
) -> dict[str, Any]:
    """Return the finding (2004) that goes with an event which somebody should look at: one of `DETECTIONS`."""
    title, technique, severity = DETECTIONS[event]
    record = _base(
        stamp,
        2004,
        1,
        event=event,
        action="login" if event.partition(".")[0] in _OF_SIGN_INS else "view",
        success=False,
        severity=severity,
        tenant=tenant,
        correlation_uid=correlation_uid,
    )
    record["action_id"] = 3
    record["disposition_id"] = 17
    record["finding_info"] = {"title": title, "uid": stamp.uid}
    record["attacks"] = [{"technique": {"uid": technique}}]
    if user is not None:
        record["user"] = dict(user)
    return record


def abuse(
    stamp: Stamp,
    *,
    title: str,
    technique: str,
    severity: int,
    found: Mapping[str, Any],
    tenant: str = "",
    address: str = "",
    user: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Return `abuse.found`, the finding (2004) of a detector: what it counted, of whom, and what was answered.

    `found` becomes `unmapped.gw.abuse`; `user` is the id and the name of the person whom it is about.
    """
    record = _base(
        stamp,
        2004,
        1,
        event="abuse.found",
        action="view",
        success=False,
        severity=severity,
        tenant=tenant,
        more={"abuse": dict(found)},
    )
    record["action_id"] = 3
    record["disposition_id"] = 17
    record["finding_info"] = {"title": title, "uid": stamp.uid}
    if technique:
        record["attacks"] = [{"technique": {"uid": technique}}]
    if address:
        record["src_endpoint"] = {"ip": address}
    if user is not None:
        record["user"] = _user(*user)
    return record


def system_actor(name: str, uid: str, program: str = "gateway") -> dict[str, Any]:
    """Return the actor of a record made from the command line: the operating system's user (type 3, System)."""
    return {"app_name": program, "user": {"name": name, "type_id": 3, "uid": uid}}


def _user(uid: str, name: str) -> dict[str, Any]:
    user: dict[str, Any] = {"type_id": 1}
    if uid:
        user["uid"] = uid
    if name:
        user["name"] = name
    return user
