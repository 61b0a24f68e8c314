"""A record as people and programs see it on a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import click
import orjson

from gateway.cli.invocation import current
from gateway.ledger.reader import Stored

_NOT_SHOWN: Final = frozenset(("auth", "decision_inputs", "shadow"))
"""Members of `unmapped.gw` that are about a request; others say what an event of the log itself is about."""


def parse(stored: Stored) -> dict[str, Any]:
    """Return the record of an entry; one that is no JSON object is shown as what it is, never left out."""
    try:
        read = orjson.loads(stored.entry.payload)
    except orjson.JSONDecodeError:
        read = None
    return read if isinstance(read, dict) else {"raw": stored.entry.payload.decode("utf-8", "backslashreplace")}


def member_of(read: Mapping[str, Any], *path: str) -> Any:
    """Return what stands at a path of a record, None where there is nothing."""
    value: Any = read
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def show(stored: Stored, read: Mapping[str, Any]) -> None:
    """Print a record, with where it stands in the log."""
    click.echo(entry_json(stored, read) if current().json else plain(line(stored, read)))


def entry_json(stored: Stored, read: Mapping[str, Any]) -> str:
    """Return a record and where it stands as one line of JSON; no terminal obeys anything in it."""
    place = {
        "stream": stored.stream.value,
        "index": stored.index,
        "ingest_time_ns": stored.entry.time_ns,
        "slot": stored.entry.slot,
    }
    return json.dumps({"log": place, "record": read}, ensure_ascii=True)


def time_ms(read: Mapping[str, Any]) -> int:
    """Return when a record says that it happened, 0 when it does not."""
    value = read.get("time")
    return value if isinstance(value, int) else 0


def line(stored: Stored, read: Mapping[str, Any]) -> str:
    """Return a record as one line for people: when, who, what, from where, and what came of it."""
    moment = _moment(time_ms(read), stored.entry.time_ns // 1_000_000)
    gw = member_of(read, "unmapped", "gw")
    gw = gw if isinstance(gw, dict) else {}
    who = member_of(read, "actor", "user", "name") or member_of(read, "user", "name") or "-"
    tenant = member_of(read, "metadata", "tenant_uid")
    words = [
        f"{stored.stream}/{stored.index}",
        moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z",
        f"{who}@{tenant}" if tenant else str(who),
    ]
    if "http_request" in read:
        decision = {"1": "allow", "2": "deny"}.get(str(read.get("action_id")), "-")
        words += [
            str(member_of(read, "http_request", "http_method")),
            str(member_of(read, "http_request", "url", "path")),
            str(member_of(read, "http_response", "code") or "-"),
            decision,
            f"route={gw.get('route', '-')}",
            f"reason={gw.get('reason', '-')}",
            f"phase={gw.get('phase', '-')}",
            f"from={member_of(read, 'src_endpoint', 'ip') or '-'}",
            f"request={member_of(read, 'metadata', 'correlation_uid')}",
        ]
    elif "raw" in read:
        words.append(str(read["raw"]))
    else:
        words.append(str(member_of(read, "api", "operation") or gw.get("event", "-")))
        words += [f"{name}={gw[name]}" for name in ("reason", "outcome") if gw.get(name) not in (None, "completed")]
        words += [
            f"{name}={value}"
            for about, members in sorted(gw.items())
            if about not in _NOT_SHOWN and isinstance(members, dict)
            for name, value in sorted(members.items())
            if isinstance(value, str | int) and value != ""
        ]
        detail = read.get("status_detail")
        words += [f"detail={detail}"] if detail else []
    return " ".join(words)


def _moment(said_ms: int, taken_in_ms: int) -> datetime:
    """Return when a record happened (attack: a worker that was taken over writes a year that ends every search)."""
    try:
        return datetime.fromtimestamp((said_ms or taken_in_ms) / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(taken_in_ms / 1000, UTC)


def plain(text: str) -> str:
    """Return text that cannot move the cursor or colour the terminal (attack: escape sequences in a user agent)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
