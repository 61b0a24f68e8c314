"""`gateway session`: who is signed in, and ending that at once.

A revocation holds from the next request on, on every worker, whether the gateway runs or not.
"""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.administration import administration, answer, moment, refuse, table
from gateway.exchange.session import Owed
from gateway.session.token import is_handle
from gateway.store.records import StoredSession


@click.group()
def session() -> None:
    """List and revoke sessions."""


@session.command(name="list")
@click.option("--user", "name", help="Only sessions of this person.")
@click.option("--tenant", help="Only sessions of this organisation.")
def list_sessions(*, name: str | None, tenant: str | None) -> None:
    """List live sessions, newest first."""
    if name is not None and tenant is not None:
        raise click.UsageError("--user and --tenant exclude each other")
    with administration() as act:
        user_id = None if name is None else act.require_user(name).id
        resources = [("user", user_id)] if user_id else [("sessions", tenant or "all")]
        act.record_administration("session list", action="view", resources=resources, tenant=tenant or "")
        found = act.store.sessions(now=act.now, user_id=user_id, tenant=tenant)
    rows = [
        (
            stored.session.handle,
            stored.session.user,
            stored.session.tenant,
            "+".join(stored.session.amr) if stored.session.owes is Owed.NOTHING else f"owes {stored.session.owes}",
            moment(stored.session.created),
            moment(stored.seen),
            stored.session.client_ip,
        )
        for stored in found
    ]
    columns = ("SESSION", "USER", "TENANT", "PROVEN", "SIGNED IN", "LAST SEEN", "FROM")
    answer(
        {"sessions": [_as_json(stored) for stored in found]},
        [table(columns, rows) if rows else "Nobody is signed in."],
    )


@session.command()
@click.option("--user", "name", help="Every session of this person.")
@click.option("--session", "handle", help="The one session of this handle.")
@click.option("--tenant", help="Every session of this organisation.")
@click.option("--all", "everybody", is_flag=True, help="Every session of the gateway.")
def revoke(*, name: str | None, handle: str | None, tenant: str | None, everybody: bool) -> None:
    """End sessions at once: of a person, one by its handle, of an organisation, or all. Name exactly one."""
    if [name is not None, handle is not None, tenant is not None, everybody].count(True) != 1:
        raise click.UsageError("name exactly one of --user, --session, --tenant and --all")
    if handle is not None and not is_handle(handle):
        raise click.UsageError("--session takes a handle as `session list` prints it: s_ and 32 hexadecimal digits")
    with administration() as act:
        if name is not None:
            account = act.require_user(name)
            act.record_administration(
                "session revoke", action="admin", resources=[("user", account.id)], tenant=account.tenant
            )
            ended = act.store.end_user(account.id)
        elif handle is not None:
            act.record_administration("session revoke", action="admin", resources=[("session", handle)])
            ended = len(act.store.end_handle(handle))
            if not ended:
                refuse(f"there is no session {handle}")
        elif tenant is not None:
            act.record_administration("session revoke", action="admin", resources=[("tenant", tenant)], tenant=tenant)
            ended = act.store.end_tenant(tenant)
        else:
            act.record_administration("session revoke", action="admin", resources=[("sessions", "all")])
            ended = act.store.end_all()
    answer({"ok": True, "sessions_ended": ended}, ["1 session ended." if ended == 1 else f"{ended} sessions ended."])


def _as_json(stored: StoredSession) -> dict[str, Any]:
    session = stored.session
    return {
        "session": session.handle,
        "user": session.user,
        "user_id": session.user_id,
        "tenant": session.tenant,
        "roles": list(session.roles),
        "amr": list(session.amr),
        "owes": session.owes.value,
        "created": session.created,
        "seen": stored.seen,
        "expires": session.expires,
        "host": session.host,
        "client_ip": session.client_ip,
        "user_agent": session.user_agent,
    }
