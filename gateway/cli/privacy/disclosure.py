"""What a person is told of one record that concerns them: what happened, when, why, on what ground, and by whom.

A record that the person made is told in full. Of others' it is told what concerns the person; whoever did it stands there by
roles, or by name where that was approved. Other people's data are left out (Art. 15(4) GDPR).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final

COLUMNS: Final = (
    "time",
    "what",
    "detail",
    "purpose",
    "legal_basis",
    "by",
    "resources",
    "outcome",
    "client_ip",
    "user_agent",
    "request",
    "stream",
    "index",
)


def disclosed(
    shown: Mapping[str, Any], staff: Mapping[str, Any], *, names: Collection[str], others: str
) -> dict[str, Any]:
    """Return what is told of a record.

    Args:
        shown: the record with what is the person's opened and what is others' replaced by `others`.
        staff: the record with everybody opened; empty = members of staff are not named.
        names: under which the person is known.
        others: what stands for other people.

    """
    gw = _at(shown, "unmapped", "gw") or {}
    is_own = _at(shown, "actor", "user", "uid") in names or _at(shown, "actor", "user", "name") in names
    told: dict[str, Any] = {
        "kind": "own" if is_own else "of_others",
        "time": _moment(shown.get("time", 0)),
        "what": gw.get("action", ""),
        "detail": _at(shown, "api", "operation") or gw.get("event", ""),
        "purpose": gw.get("purpose", ""),
        "legal_basis": gw.get("legal_basis", ""),
        "by": "the person" if is_own else _actor(shown, staff, others),
        "resources": _resources(shown, names, others, is_own=is_own),
        "outcome": _outcome(shown, gw),
        "request": _at(shown, "metadata", "correlation_uid") or "",
    }
    if is_own or _at(shown, "src_endpoint", "ip") not in (None, others):
        told["client_ip"] = _at(shown, "src_endpoint", "ip") or ""
        told["user_agent"] = _at(shown, "http_request", "user_agent") or ""
    if not is_own:
        for private in ("client_ip", "user_agent"):  # of whoever looked
            told.pop(private, None)
    events = [
        event.get("name", "")
        for event in _list(gw.get("events"))
        if is_own or event.get("user_id") in names or event.get("user") in names
    ]
    if events:
        told["events"] = events
    return told


def _actor(shown: Mapping[str, Any], staff: Mapping[str, Any], others: str) -> list[str]:
    roles = _at(shown, "unmapped", "gw", "decision_inputs", "roles")
    found = [f"role {role}" for role in roles] if isinstance(roles, list) and roles else []
    if _at(shown, "actor", "user", "type_id") == 3:  # noqa: PLR2004 - OCSF: System
        found = ["an operator of the gateway"]
    name = _at(staff, "actor", "user", "name") if staff else None
    if isinstance(name, str) and name != others:
        found.insert(0, name)
    return found or ["somebody who was not signed in"]


def _resources(shown: Mapping[str, Any], names: Collection[str], others: str, *, is_own: bool) -> list[str]:
    found = []
    for resource in _list(shown.get("resources")):
        uid, owner = resource.get("uid"), _at(resource, "owner", "uid")
        if is_own or uid in names or owner in names:
            kind = str(resource.get("type", ""))
            found.append(f"{kind}/{uid}" if uid not in (None, others) else kind)
    return found


def _outcome(shown: Mapping[str, Any], gw: Mapping[str, Any]) -> str:
    decision = {1: "allowed", 2: "refused"}.get(shown.get("action_id", 0), "")
    code = _at(shown, "http_response", "code")
    return " ".join(str(part) for part in (decision, code, gw.get("phase")) if part)


def _moment(time_ms: object) -> str:
    if not isinstance(time_ms, int) or not time_ms:
        return ""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _at(read: Mapping[str, Any], *path: str) -> Any:
    value: Any = read
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _list(value: Any) -> list[dict[str, Any]]:
    return [member for member in value if isinstance(member, dict)] if isinstance(value, list) else []
