"""`gateway audit query`: search the log."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import click

from gateway.cli.administration import read_settings
from gateway.cli.audit.showing import member_of, parse, show, time_ms
from gateway.cli.audit.span import when
from gateway.cli.audit.use import record_use
from gateway.exchange.route import Action
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.reader import Stored, entries
from gateway.server.progress import Progress


@click.command("query", short_help="Search the log.")
@click.option("--user", help="Name or id of a person.")
@click.option("--tenant")
@click.option("--route", help="Name of a route.")
@click.option("--action", type=click.Choice([*(action.value for action in Action), "login", "logout"]))
@click.option("--decision", type=click.Choice(["allow", "deny"]))
@click.option("--status", type=click.IntRange(100, 599), help="HTTP status of the answer.")
@click.option("--since", callback=when, help="A time, or a length of time before now: 15m, 2d.")
@click.option("--until", callback=when)
@click.option("--resource", help="TYPE or TYPE/ID of what was accessed.")
@click.option("--request-id", "request_id")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Show the newest so many.")
@click.option("--reason", "purpose", default="", help="Why you look; it is recorded.")
def query_verb(limit: int, purpose: str, **asked: Any) -> None:
    """Show records, oldest first. The query itself is recorded before anything is shown."""
    filters = {name: value for name, value in asked.items() if value is not None}
    settings = read_settings()
    keys = AuditKeys.load(settings.audit.keys)
    record_use(settings, "audit query", {name: str(value) for name, value in filters.items()}, purpose)
    damages: list[str] = []
    since_ns = int(filters.get("since", 0) * 1e9)
    found: deque[tuple[Stored, dict[str, Any]]] = deque(maxlen=limit)
    with Progress("searching the audit log"):
        for stored in entries(Layout(settings.state_dir).directory, keys, since_ns=since_ns, on_damage=damages.append):
            read = parse(stored)
            if matches(read, filters):
                found.append((stored, read))
    for stored, read in found:
        show(stored, read)
    for damage in damages:
        click.echo(f"warning: {damage}; run gateway audit verify", err=True)


def _people(read: Mapping[str, Any]) -> set[Any]:
    return {
        member_of(read, *path)
        for path in (("actor", "user", "uid"), ("actor", "user", "name"), ("user", "uid"), ("user", "name"))
    } | {
        event.get(name) for event in _list(member_of(read, "unmapped", "gw", "events")) for name in ("user", "user_id")
    }


def _list(value: Any) -> list[dict[str, Any]]:
    return [member for member in value if isinstance(member, dict)] if isinstance(value, list) else []


def matches(read: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    """Tell whether a record is asked for; every filter must fit."""
    for name, wanted in filters.items():
        match name:
            case "user":
                fits = wanted in _people(read)
            case "tenant":
                fits = member_of(read, "metadata", "tenant_uid") == wanted
            case "route":
                fits = member_of(read, "unmapped", "gw", "route") == wanted
            case "action":
                fits = member_of(read, "unmapped", "gw", "action") == wanted
            case "decision":
                fits = member_of(read, "action_id") == (1 if wanted == "allow" else 2)
            case "status":
                fits = member_of(read, "http_response", "code") == wanted
            case "since":
                fits = time_ms(read) >= wanted * 1000
            case "until":
                fits = time_ms(read) < wanted * 1000
            case "resource":
                kind, _, uid = wanted.partition("/")
                fits = any(
                    member.get("type") == kind and (not uid or member.get("uid") == uid)
                    for member in _list(read.get("resources"))
                )
            case _:
                fits = wanted in (
                    member_of(read, "metadata", "correlation_uid"),
                    member_of(read, "http_request", "uid"),
                )
        if not fits:
            return False
    return True
