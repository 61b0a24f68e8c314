"""The flat view of a record: one row of a table, the same for searches, SQL, CSV and Parquet.

It says which members of a record are columns, and under which names. A value that is sealed under a
person's key stays sealed here: whoever may see it opens it later. Control characters stand as
escapes, so that a value can neither move a cursor nor end a row. What a row is good for is not
decided here; the record itself is the evidence, a row is only a view of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from gateway.audit import subject

SEALED: Final = "\x01"
"""Begins a sealed value: its token follows, `CIPHER`, and what is sealed. No clear value has this character."""
CIPHER: Final = "\x02"
AND: Final = "\x03"
"""Between the members of a column that holds several."""
_NONE: Final[dict[str, Any]] = {}


class Column(NamedTuple):
    """One column of the view `records`."""

    name: str
    kind: str
    """The type in SQL: VARCHAR, BIGINT, or TIMESTAMP (kept as milliseconds of unix time)."""
    meaning: str
    personal: str = ""
    """The path of the member in the record, where it may be sealed under a person's key."""
    is_shown: bool = True
    """False for what only searches look at."""


COLUMNS: Final = (
    Column("time", "TIMESTAMP", "when it happened, UTC"),
    Column("event", "VARCHAR", "`request`, or the name of the event: `gateway.started`, `user.added`"),
    Column("operation", "VARCHAR", "method and path template of a route, or the verb of an operator"),
    Column("class_uid", "BIGINT", "OCSF class: 6003 API activity, 3002 authentication, 3001 account change"),
    Column("severity", "BIGINT", "1 informational to 5 critical"),
    Column("tenant", "VARCHAR", "organisation"),
    Column("actor_id", "VARCHAR", "id of who did it", subject.USER_UID),
    Column("actor", "VARCHAR", "name of who did it", subject.USER_NAME),
    Column("account_id", "VARCHAR", "id of the account that was changed or signed in", subject.CHANGED_UID),
    Column("account", "VARCHAR", "its name", subject.CHANGED_NAME),
    Column("session", "VARCHAR", "handle of the session"),
    Column("ip", "VARCHAR", "address of the client", subject.ADDRESS),
    Column("country", "VARCHAR", "country of the address, where it is known"),
    Column("user_agent", "VARCHAR", "what the client calls itself", subject.USER_AGENT),
    Column("method", "VARCHAR", "HTTP method"),
    Column("host", "VARCHAR", "host that was asked for"),
    Column("path", "VARCHAR", "path that was asked for"),
    Column("upstream", "VARCHAR", "portal behind the route"),
    Column("status", "BIGINT", "HTTP status of the answer"),
    Column("bytes_in", "BIGINT", "bytes of the request's body"),
    Column("bytes_out", "BIGINT", "bytes of the answer"),
    Column("latency_ms", "BIGINT", "milliseconds until the answer"),
    Column("decision", "VARCHAR", "`allow` or `deny`"),
    Column("action", "VARCHAR", "`view`, `download`, `create`, `edit`, `delete`, `share`, `export`, `admin`, `login`, `logout`"),
    Column("phase", "VARCHAR", "`single`, `intent`, `opening`, `closing`, `outcome`"),
    Column("outcome", "VARCHAR", "`completed`, `blocked`, `aborted_client`, `upstream_error`, `pending`, `unknown`"),
    Column("reason", "VARCHAR", "why it was decided so"),
    Column("route", "VARCHAR", "route of the policy"),
    Column("rule", "VARCHAR", "line of the policy that decided"),
    Column("policy_version", "VARCHAR", "version of the policy that decided"),
    Column("request_id", "VARCHAR", "joins the records of one request"),
    Column("trace_id", "VARCHAR", "W3C trace id"),
    Column("resource_type", "VARCHAR", "what kind of data was accessed; of the first resource"),
    Column("resource_id", "VARCHAR", "which one", subject.RESOURCE_UID),
    Column("owner_id", "VARCHAR", "whose data it is", subject.OWNER_UID),
    Column("purpose", "VARCHAR", "what the data is used for on this route"),
    Column("legal_basis", "VARCHAR", "what allows that"),
    Column("detail", "VARCHAR", "a sentence, where there is one"),
    Column("uid", "VARCHAR", "id of the record"),
    Column("people", "VARCHAR", "everybody the record names", is_shown=False),
    Column("actors", "VARCHAR", "id and name of who did it", is_shown=False),
    Column("owners", "VARCHAR", "everybody whose data it was", is_shown=False),
    Column("resources", "VARCHAR", "every resource as type/id", is_shown=False),
)  # fmt: skip
NAMES: Final = tuple(column.name for column in COLUMNS)
BY_NAME: Final[Mapping[str, Column]] = {column.name: column for column in COLUMNS}
DECISIONS: Final[Mapping[int, str]] = {1: "allow", 2: "deny"}
"""OCSF `action_id` in the words of queries; what was only observed was not decided."""


def visible(text: str) -> str:
    """Return text without a character that moves a cursor, colours a terminal or ends a line (attack: a user agent does)."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def flatten(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the row of a record, a text for each of `COLUMNS`, empty where there is nothing. Total."""
    actor, user = _part(record, "actor"), _part(record, "user")
    who = _part(actor, "user")
    request, response = _part(record, "http_request"), _part(record, "http_response")
    api, policy, source, target = (
        _part(record, "api"),
        _part(record, "policy"),
        _part(record, "src_endpoint"),
        _part(record, "dst_endpoint"),
    )
    metadata, gw = _part(record, "metadata"), _part(_part(record, "unmapped"), "gw")
    resources = _parts(record.get("resources"))
    first = resources[0] if resources else _NONE
    decision = record.get("action_id")
    return (
        _text(record.get("time")),
        _text(gw.get("event") or ("request" if request else "")),
        _text(api.get("operation")),
        _text(record.get("class_uid")),
        _text(record.get("severity_id")),
        _text(metadata.get("tenant_uid")),
        _text(who.get("uid")),
        _text(who.get("name")),
        _text(user.get("uid")),
        _text(user.get("name")),
        _text(_part(actor, "session").get("uid")),
        _text(source.get("ip")),
        _text(_part(source, "location").get("country")),
        _text(request.get("user_agent")),
        _text(request.get("http_method")),
        _text(target.get("hostname")),
        _text(_part(request, "url").get("path")),
        _text(target.get("svc_name")),
        _text(response.get("code")),
        _text(request.get("body_length")),
        _text(response.get("length")),
        _text(response.get("latency")),
        DECISIONS.get(decision, "") if isinstance(decision, int) else "",
        _text(gw.get("action")),
        _text(gw.get("phase")),
        _text(gw.get("outcome")),
        _text(gw.get("reason")),
        _text(gw.get("route")),
        _text(policy.get("uid")),
        _text(policy.get("version")),
        _text(metadata.get("correlation_uid")),
        _text(_part(record, "trace").get("uid")),
        _text(first.get("type")),
        _text(first.get("uid")),
        _text(_part(first, "owner").get("uid")),
        _text(gw.get("purpose")),
        _text(gw.get("legal_basis")),
        _text(record.get("status_detail")),
        _text(metadata.get("uid")),
        _people(who, user, gw, resources),
        AND.join([_text(each) for each in (who.get("uid"), who.get("name")) if each]),
        AND.join([_text(each) for each in _owners(resources)]),
        AND.join([f"{_text(each.get('type'))}/{_text(each.get('uid'))}" for each in resources]),
    )


def _people(
    who: Mapping[str, Any], user: Mapping[str, Any], gw: Mapping[str, Any], resources: list[dict[str, Any]]
) -> str:
    found = [who.get("uid"), who.get("name")] if who else []
    if user:
        found += (user.get("uid"), user.get("name"))
    if "events" in gw:
        for event in _parts(gw["events"]):
            found += (event.get("user"), event.get("user_id"))
    found += _owners(resources)
    return AND.join([_text(each) for each in found if each])


def _owners(resources: list[dict[str, Any]]) -> list[Any]:
    return [owner for each in resources if (owner := _part(each, "owner").get("uid"))]


def _part(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    return value if value.__class__ is dict else _NONE


def _parts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    if value.__class__ is str:
        return value if value.isprintable() else visible(value)
    if value is None:
        return ""
    if value.__class__ is dict and subject.is_sealed(value):
        return f"{SEALED}{visible(str(value['t']))}{CIPHER}{visible(str(value['c']))}"
    return visible(orjson.dumps(value).decode())


def token_of(value: str) -> str:
    """Return the pseudonym of a sealed value, empty for a clear one."""
    return value[1:].partition(CIPHER)[0] if value.startswith(SEALED) else ""


def opened(path: str, value: str, keys: subject.Keys) -> str:
    """Return the text behind a value of a column, what `keys` shows for one whose key is gone."""
    if not value.startswith(SEALED):
        return value
    token, _, cipher = value[1:].partition(CIPHER)
    return visible(str(subject.reveal({path: {"c": cipher, "e": 1, "t": token}}, keys)[path]))
