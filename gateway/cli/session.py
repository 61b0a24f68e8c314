"""`gateway session`: who is signed in, and ending that at once.

A revocation holds from the next request on, on every worker, whether the gateway runs or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import click

from gateway.cli.administration import Administration, administration, answer, moment, refuse, table
from gateway.document.quantity import duration
from gateway.exchange.built_in import is_reserved
from gateway.exchange.notice import Notice
from gateway.exchange.session import Owed
from gateway.pages.device import describe_device
from gateway.session.binding import is_bound
from gateway.session.selection import Selection
from gateway.session.token import is_handle
from gateway.store.records import StoredSession

_Command = Callable[..., None]


def _network(value: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not an IP address or a network such as 203.0.113.0/24") from None


def _moment(value: str) -> float:
    with suppress(ValueError):
        return time.time() - duration(value)
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r}: write how long ago (2h) or when (2026-11-22T20:00Z)") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _conditions(command: _Command) -> _Command:
    """Take the options that choose sessions; all that are given have to hold."""
    for option in reversed(
        (
            click.option("--user", "name", help="Sessions of this person."),
            click.option("--tenant", help="Sessions of this organisation."),
            click.option(
                "--provider", help="Sessions of people for whom this identity provider vouched; `local` is ours."
            ),
            click.option("--role", help="Sessions of people who were given this role."),
            click.option(
                "--ip",
                "network",
                type=_network,
                metavar="CIDR",
                help="Sessions that began at this address or in this network.",
            ),
            click.option(
                "--issued-before",
                "before",
                type=_moment,
                metavar="TIME",
                help="Sessions that began earlier: 2h ago, or a time (UTC).",
            ),
        )
    ):
        command = option(command)
    return command


@click.group()
def session() -> None:
    """List and revoke sessions."""


@session.command(name="list")
@_conditions
def list_sessions(**given: Any) -> None:
    """List live sessions, newest first. Of several conditions all have to hold."""
    with administration() as act:
        selection, resources = _selected(act, **given)
        act.record_administration("session list", action="view", resources=resources, tenant=selection.tenant or "")
        found = _found(act, selection)
    answer({"sessions": [_as_json(stored) for stored in found]}, [_as_table(found, "Nobody is signed in.")])


@session.command()
@_conditions
@click.option("--session", "handle", help="The one session of this handle.")
@click.option("--all", "everybody", is_flag=True, help="Every session of the gateway.")
@click.option("--dry-run", is_flag=True, help="Say which sessions would end, and end none.")
def revoke(*, handle: str | None, everybody: bool, dry_run: bool, **given: Any) -> None:
    """End sessions at once: one by its handle, all, or those for which every given condition holds."""
    has_conditions = any(value is not None for value in given.values())
    if [has_conditions, handle is not None, everybody].count(True) != 1:
        raise click.UsageError(
            "name --session, or --all, or at least one of --user, --tenant, --provider, --role, --ip and --issued-before"
        )
    if handle is not None and not is_handle(handle):
        raise click.UsageError("--session takes a handle as `session list` prints it: s_ and 32 hexadecimal digits")
    with administration() as act:
        if handle is not None:
            selection, resources = Selection(), [("session", handle)]
        else:
            selection, resources = _selected(act, **given)
        if dry_run:
            act.record_administration("session revoke --dry-run", action="view", resources=resources)
            found = [stored for stored in _found(act, selection) if handle in {None, stored.session.handle}]
            lines = [_as_table(found, "No session would end."), f"{_count(len(found))} would end."]
            answer({"ok": True, "would_end": [_as_json(stored) for stored in found]}, lines if found else lines[:1])
            return
        act.record_administration("session revoke", action="admin", resources=resources, tenant=selection.tenant or "")
        owner = selection.user_id
        if handle is not None:
            found = act.store.end_handle(handle)
            ended, owner = len(found), found[0].session.user_id if found else None
        else:
            ended = act.store.end_chosen(selection, now=act.now)
        if handle is not None and not ended:
            refuse(f"there is no session {handle}")
        act.record_administration(
            "session revoke",
            action="admin",
            resources=resources,
            tenant=selection.tenant or "",
            more={"events": [{"name": "session.revoked", "count": ended}]},
        )
        if ended and owner is not None:  # a letter to everybody would be a flood, and says less than the operator does
            act.tell(owner, Notice.SESSIONS_REVOKED)
    answer({"ok": True, "sessions_ended": ended}, [f"{_count(ended)} ended."])


def _selected(
    act: Administration,
    *,
    name: str | None,
    tenant: str | None,
    provider: str | None,
    role: str | None,
    network: IPv4Network | IPv6Network | None,
    before: float | None,
) -> tuple[Selection, list[tuple[str, str]]]:
    """Build the selection, and say of what the record is."""
    account = None if name is None else act.require_user(name)
    if role is not None and is_reserved(role):
        raise click.UsageError(f"no session carries {role}; name the person: --user")
    selection = Selection(
        user_id=None if account is None else account.id,
        tenant=tenant,
        provider=provider,
        role=role,
        network=network,
        issued_before=before,
    )
    said = {
        "user": selection.user_id,
        "tenant": tenant,
        "provider": provider,
        "role": role,
        "network": None if network is None else str(network),
        "issued_before": None if before is None else moment(before),
    }
    resources = [(kind, value) for kind, value in said.items() if value is not None]
    return selection, resources or [("sessions", "all")]


def _found(act: Administration, selection: Selection) -> list[StoredSession]:
    found = act.store.sessions(now=act.now, user_id=selection.user_id, tenant=selection.tenant)
    return [stored for stored in found if selection.chooses(stored.session)]


def _count(number: int) -> str:
    return "1 session" if number == 1 else f"{number} sessions"


_COLUMNS = ("SESSION", "USER", "TENANT", "PROVIDER", "PROVEN", "SIGNED IN", "LAST SEEN", "FROM", "COUNTRY", "BROWSER")


def _as_table(found: list[StoredSession], nothing: str) -> str:
    rows = [
        (
            stored.session.handle,
            stored.session.user,
            stored.session.tenant,
            stored.session.provider,
            "+".join(stored.session.amr) if stored.session.owes is Owed.NOTHING else f"owes {stored.session.owes}",
            moment(stored.session.created),
            moment(stored.seen),
            stored.session.client_ip,
            stored.session.country or "-",
            describe_device(stored.session.user_agent),
        )
        for stored in found
    ]
    return table(_COLUMNS, rows) if rows else nothing


def _as_json(stored: StoredSession) -> dict[str, Any]:
    session = stored.session
    return {
        "session": session.handle,
        "user": session.user,
        "user_id": session.user_id,
        "tenant": session.tenant,
        "roles": list(session.roles),
        "provider": session.provider,
        "amr": list(session.amr),
        "acr": session.acr,
        "owes": session.owes.value,
        "created": session.created,
        "mfa_time": session.mfa_time,
        "seen": stored.seen,
        "expires": session.expires,
        "idle_s": session.idle_s,
        "host": session.host,
        "client_ip": session.client_ip,
        "country": session.country,
        "bound": is_bound(session),
        "user_agent": session.user_agent,
    }
