"""A record in the words of others: ECS, CEF, flat CSV, and OCSF as it is exported.

Pure. Takes the record as it was stored, or as `reveal` shows it, and where it stands in its log. What is sealed under a
subject's key stays sealed: its token stands in the place of the value, so that the records of one person still belong
together. A member that a record does not have is left out. No text of a record, whoever wrote it, can end a
field or a line, or make a spreadsheet calculate.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gateway.audit.flat import COLUMNS, DECISIONS, flatten, token_of

Record = Mapping[str, Any]

VENDOR: Final = "gateway"
CEF_VERSION: Final = "0"
"""Of the header; the extension is ArcSight's Common Event Format, revision 16."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS: Final = 253_402_300_799_999
"""The last millisecond that ISO 8601 writes with four digits of a year."""
_CEF_SEVERITIES: Final = {1: 1, 2: 3, 3: 5, 4: 7, 5: 9, 6: 10}
"""OCSF `severity_id` to CEF's scale of 0 to 10."""
_LINE_BREAKS: Final = re.compile(r"\r\n|[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_UNSEEN: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
"""Controls that a terminal obeys (ANSI), and halves of characters that UTF-8 cannot write."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet calculate (OWASP, CSV Injection), in full width as well."""

_CATEGORIES: Final = {
    3001: ("iam",),
    3002: ("authentication",),
    3003: ("iam", "session"),
    4002: ("web", "network"),
    6002: ("process",),
    6003: ("api", "web"),
    2004: ("intrusion_detection",),
    2005: ("intrusion_detection",),
}
_TYPES: Final = {
    (3001, 1): ("user", "creation"),
    (3001, 6): ("user", "deletion"),
    (3002, 1): ("start",),
    (3002, 2): ("end",),
    (6002, 3): ("start",),
    (6002, 4): ("end",),
    (6002, 8): ("change",),
    (6003, 1): ("creation",),
    (6003, 2): ("access",),
    (6003, 3): ("change",),
    (6003, 4): ("deletion",),
}


@dataclass(frozen=True, slots=True)
class Position:
    """Where a record stands: what is derived from its entry, and never stored inside."""

    origin: str
    """Of the log: the first line of its checkpoints."""
    index: int
    taken_in_ns: int = 0
    """When the log took it in, unix nanoseconds; 0 = unknown."""

    @property
    def key(self) -> str:
        """The idempotency key: `origin#index`."""
        return f"{self.origin}#{self.index}"


def find(record: Record, path: str) -> Any:
    """Return the member at a dotted path; None where there is none. The first of a list stands for the list."""
    here: Any = record
    for name in path.split("."):
        if isinstance(here, list):
            here = here[0] if here else None
        if not isinstance(here, Mapping):
            return None
        here = here.get(name)
    return here


def shown(value: Any) -> str:
    """Write a value as one text; a sealed one by its token, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        token = value.get("t")
        if value.get("e") == 1 and isinstance(token, str):
            return f"sealed:{token}"
        return " ".join(f"{name}={shown(member)}" for name, member in value.items())
    if isinstance(value, list | tuple):
        return " ".join(shown(member) for member in value)
    return str(value)


def moment(time_ms: Any) -> str:
    """Write milliseconds since 1970 as RFC 3339 in UTC; nothing for what is no time."""
    if not isinstance(time_ms, int) or isinstance(time_ms, bool) or not 0 <= time_ms <= _LAST_MS:
        return ""
    return (_EPOCH + timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_ocsf(record: Record, position: Position) -> dict[str, Any]:
    """Return the record as it is exported: with its place in the log, and how its bytes were made.

    `attestation_list` says that the stored bytes are RFC 8785 (`serialization_id` 2) and which log vouches for them.
    """
    gw = find(record, "unmapped.gw")
    unmapped = dict(record["unmapped"]) if isinstance(record.get("unmapped"), Mapping) else {}
    own: dict[str, Any] = {**(gw if isinstance(gw, Mapping) else {}), "log_index": position.index}
    own["origin"] = position.origin
    metadata = dict(record["metadata"]) if isinstance(record.get("metadata"), Mapping) else {}
    if position.taken_in_ns:
        own["ingest_time"] = position.taken_in_ns // 1000
        metadata["logged_time"] = position.taken_in_ns // 1_000_000
    return {
        **record,
        "attestation_list": [{"authority_uid": position.origin, "chain_uid": position.key, "serialization_id": 2}],
        "metadata": metadata,
        "unmapped": {**unmapped, "gw": own},
    }


def _number(record: Record, path: str) -> int:
    """Return an enumerated member, 0 for what is no integer (attack: a list, which no table can be asked for)."""
    value = find(record, path)
    return value if isinstance(value, int) else 0


def to_ecs(record: Record, position: Position | None = None) -> dict[str, Any]:
    """Return the record with the names of the Elastic Common Schema 8, nested."""
    class_uid, activity = _number(record, "class_uid"), _number(record, "activity_id")
    is_finding = class_uid in {2004, 2005}
    outcome = {1: "success", 2: "failure"}.get(_number(record, "status_id"), "unknown")
    action = find(record, "unmapped.gw.event") or find(record, "unmapped.gw.action")
    types = _TYPES.get((class_uid, activity), ("info",))
    if find(record, "action_id") == 2:
        types = (*types, "denied")
    flat: dict[str, Any] = {
        "@timestamp": moment(find(record, "time")),
        "ecs.version": "8.11.0",
        "event.kind": "alert" if is_finding else "event",
        "event.category": list(_CATEGORIES.get(class_uid, ("web",))),
        "event.type": list(types),
        "event.action": shown(action),
        "event.code": shown(find(record, "type_uid")),
        "event.dataset": f"gateway.{shown(find(record, 'metadata.log_name')) or 'audit'}",
        "event.id": shown(find(record, "metadata.uid")),
        "event.module": "gateway",
        "event.outcome": outcome,
        "event.reason": shown(find(record, "unmapped.gw.reason")),
        "event.severity": find(record, "severity_id"),
        "client.ip": shown(find(record, "src_endpoint.ip")),
        "destination.domain": shown(find(record, "dst_endpoint.hostname")),
        "host.name": shown(find(record, "device.hostname")),
        "http.request.id": shown(find(record, "http_request.uid")),
        "http.request.method": shown(find(record, "http_request.http_method")),
        "http.request.body.bytes": find(record, "http_request.body_length"),
        "http.response.status_code": find(record, "http_response.code"),
        "http.response.body.bytes": find(record, "http_response.length"),
        "http.response.mime_type": shown(find(record, "http_response.content_type")),
        "http.version": shown(find(record, "http_request.version")),
        "observer.product": VENDOR,
        "observer.version": shown(find(record, "metadata.product.version")),
        "organization.id": shown(find(record, "metadata.tenant_uid")),
        "rule.id": shown(find(record, "policy.uid")),
        "rule.version": shown(find(record, "policy.version")),
        "service.name": shown(find(record, "api.service.name")),
        "source.geo.country_iso_code": shown(find(record, "src_endpoint.location.country")),
        "source.ip": shown(find(record, "src_endpoint.ip")),
        "source.port": find(record, "src_endpoint.port"),
        "tls.cipher": shown(find(record, "tls.cipher")),
        "tls.version": shown(find(record, "tls.version")).removeprefix("TLSv"),
        "trace.id": shown(find(record, "trace.uid")),
        "span.id": shown(find(record, "trace.span.uid")),
        "url.path": shown(find(record, "http_request.url.path")),
        "user.id": shown(find(record, "actor.user.uid")),
        "user.name": shown(find(record, "actor.user.name")),
        "user.target.id": shown(find(record, "user.uid")),
        "user_agent.original": shown(find(record, "http_request.user_agent")),
        "gateway.decision": DECISIONS.get(_number(record, "action_id"), ""),
        "gateway.action": shown(find(record, "unmapped.gw.action")),
        "gateway.route": shown(find(record, "unmapped.gw.route")),
        "gateway.phase": shown(find(record, "unmapped.gw.phase")),
        "gateway.purpose": shown(find(record, "unmapped.gw.purpose")),
        "gateway.resource.type": shown(find(record, "resources.type")),
        "gateway.resource.id": shown(find(record, "resources.uid")),
        "gateway.resource.owner": shown(find(record, "resources.owner.uid")),
        "gateway.session": shown(find(record, "actor.session.uid")),
    }
    if not _is_address(flat["source.ip"]):  # sealed, or erased: no value for a field of type `ip`
        flat["gateway.source"] = flat.pop("source.ip")
        flat.pop("client.ip")
    if position is not None:
        flat["gateway.log.origin"], flat["gateway.log.index"] = position.origin, position.index
        flat["event.ingested"] = moment(position.taken_in_ns // 1_000_000) if position.taken_in_ns else ""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        if value not in (None, "", []):
            *parents, last = name.split(".")
            here = nested
            for parent in parents:
                here = here.setdefault(parent, {})
            here[last] = value
    return nested


def to_cef(record: Record, position: Position | None = None) -> str:
    """Return the record as one line of CEF, without a line break at its end."""
    code = shown(find(record, "type_uid"))
    operation = shown(find(record, "api.operation")) or shown(find(record, "unmapped.gw.event")) or code
    header = (
        f"CEF:{CEF_VERSION}",
        _cef_header(VENDOR),
        _cef_header(shown(find(record, "metadata.product.name")) or VENDOR),
        _cef_header(shown(find(record, "metadata.product.version"))),
        _cef_header(code),
        _cef_header(operation),
        str(_CEF_SEVERITIES.get(_number(record, "severity_id"), 0)),
    )
    fields = {
        "rt": find(record, "time"),
        "externalId": find(record, "metadata.uid"),
        "src": find(record, "src_endpoint.ip"),
        "spt": find(record, "src_endpoint.port"),
        "suid": find(record, "actor.user.uid"),
        "suser": find(record, "actor.user.name"),
        "duid": find(record, "user.uid"),
        "dhost": find(record, "dst_endpoint.hostname"),
        "dvchost": find(record, "device.hostname"),
        "request": find(record, "http_request.url.path"),
        "requestMethod": find(record, "http_request.http_method"),
        "requestClientApplication": find(record, "http_request.user_agent"),
        "act": find(record, "unmapped.gw.action"),
        "outcome": {1: "success", 2: "failure"}.get(_number(record, "status_id")),
        "reason": find(record, "unmapped.gw.reason"),
        "in": find(record, "http_request.body_length"),
        "out": find(record, "http_response.length"),
    }
    custom = (
        ("cs1", "origin", position.origin if position else None),
        ("cs2", "route", find(record, "unmapped.gw.route")),
        ("cs3", "rule", find(record, "policy.uid")),
        ("cs4", "resource", _resource(record)),
        ("cs5", "tenant", find(record, "metadata.tenant_uid")),
        ("cs6", "request_id", find(record, "metadata.correlation_uid")),
        ("cn1", "index", position.index if position else None),
        ("cn2", "status", find(record, "http_response.code")),
        ("flexString1", "decision", DECISIONS.get(_number(record, "action_id"))),
    )
    for key, label, value in custom:
        if value not in (None, ""):
            fields |= {f"{key}Label": label, key: value}
    extension = " ".join(
        f"{key}={_cef_value(shown(value))}" for key, value in fields.items() if value not in (None, "")
    )
    return "|".join((*header, extension))


CSV_COLUMNS: Final = (
    *("origin", "index", "stream"),
    *(column.name for column in COLUMNS if column.is_shown),
    *("activity_id", "classification", "node"),
)
"""Where a record stands, the columns that searches and SQL have, under their names, and what only a table shows."""

_ONLY_SHOWN: Final = ("activity_id", "unmapped.gw.classification", "device.hostname")
"""Members behind the last columns."""


def to_row(record: Record, position: Position | None = None) -> tuple[str, ...]:
    """Return the cells of a record in the order of `CSV_COLUMNS`; of several resources the first."""
    where = ("", "") if position is None else (position.origin, str(position.index))
    cells = [*where, shown(find(record, "metadata.log_name"))]
    for column, value in zip(COLUMNS, flatten(record), strict=True):
        if not column.is_shown:
            continue
        if column.kind == "TIMESTAMP":
            cells.append(moment(find(record, column.name)))
        else:
            token = token_of(value)
            cells.append(f"sealed:{token}" if token else value)
    cells += [shown(find(record, path)) for path in _ONLY_SHOWN]
    return tuple(map(cell, cells))


def csv_line(cells: tuple[str, ...]) -> str:
    """Write cells as one line of RFC 4180, CRLF at its end; no cell holds a line break."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue()


def csv_header() -> str:
    """Write the names of the columns as the first line."""
    return csv_line(CSV_COLUMNS)


def _resource(record: Record) -> str | None:
    kind = find(record, "resources.type")
    if kind is None:
        return None
    uid = shown(find(record, "resources.uid"))
    return f"{shown(kind)}/{uid}" if uid else shown(kind)


def _visible(text: str) -> str:
    return _UNSEEN.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _cef_header(text: str) -> str:
    r"""Escape a field of the header: `\` and `|`; a line break cannot stand there at all."""
    return _LINE_BREAKS.sub(" ", _visible(text)).replace("\\", "\\\\").replace("|", "\\|")


def _cef_value(text: str) -> str:
    r"""Escape a value of the extension: `\`, `=` and line breaks."""
    escaped = _visible(text).replace("\\", "\\\\").replace("=", "\\=")
    return _LINE_BREAKS.sub(lambda found: "\\r" if found[0] == "\r" else "\\n", escaped)


def cell(text: str) -> str:
    """Make a text safe in a cell: one line, and never a formula."""
    plain = _LINE_BREAKS.sub(" ", _visible(text))
    return f"'{plain}" if plain.lstrip(" ").startswith(_FORMULA) else plain


def _is_address(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9A-Fa-f.:]{2,45}", text))
