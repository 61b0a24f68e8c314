"""`gateway vault`: with what people are signed on to portals. It says which accounts there are, never their passwords."""

from __future__ import annotations

import sys
from typing import Final

import click

from gateway.cli.administration import Administration, administration, answer, moment, refuse, table
from gateway.server.sections.portal import VAULTED
from gateway.store.portal_accounts import PortalAccount, PortalAccounts

_MOST_BYTES: Final = 4096

_user = click.option("--user", "name", required=True, help="Name of the person.")
_upstream = click.option("--upstream", required=True, help="Name of the portal in gateway.yaml.")


@click.group()
def vault() -> None:
    """Keep, list and delete the accounts that people have at portals."""


@vault.command(name="set")
@_user
@_upstream
@click.option("--username", default="", help="The person's name at the portal, where gateway.yaml does not say it.")
def set_account(*, name: str, upstream: str, username: str) -> None:
    """Keep an account; one line with its password is read from standard input, where gateway.yaml has none.

    It takes the place of the one before, and counts as never tried.
    """
    with administration() as act:
        own = act.settings.upstreams.get(upstream)
        sign_on = own.sign_on if own is not None else None
        if sign_on is None or not sign_on.asks_person:
            refuse(f"upstreams.{upstream}.sign_on asks nobody for an account")
        if (sign_on.username == VAULTED) is not bool(username):
            raise click.UsageError(
                "--username is missing"
                if not username
                else f"upstreams.{upstream}.sign_on.username says the name already"
            )
        if not username.isprintable():
            raise click.UsageError("--username holds characters that no name has")
        password = _read_line() if sign_on.password is None else ""
        user = act.require_user(name)
        act.record_administration(
            "vault set", action="edit", resources=[("user", user.id), ("upstream", upstream)], tenant=user.tenant
        )
        _accounts(act).set(user.id, upstream, username=username, password=password, now=act.now)
    answer({"ok": True, "user": user.name, "upstream": upstream}, [f"{user.name} has an account at {upstream}."])


@vault.command(name="list")
@_user
def list_accounts(*, name: str) -> None:
    """List a person's accounts: portal, name there, since when, and what became of it."""
    with administration() as act:
        user = act.require_user(name)
        act.record_administration("vault list", action="view", resources=[("user", user.id)], tenant=user.tenant)
        found = _accounts(act).of(user.id)
    rows = [(account.upstream, account.username or "-", moment(account.since), _standing(account)) for account in found]
    answer(
        {
            "accounts": [
                {
                    "upstream": account.upstream,
                    "username": account.username,
                    "since": account.since,
                    "standing": _standing(account),
                }
                for account in found
            ]
        },
        [table(("PORTAL", "NAME THERE", "SINCE", "STANDING"), rows) if rows else "There is no account."],
    )


@vault.command()
@_user
@_upstream
def delete(*, name: str, upstream: str) -> None:
    """Delete an account, with what is remembered of attempts to use it; exit 1 when there is none."""
    with administration() as act:
        user = act.require_user(name)
        act.record_administration(
            "vault delete", action="delete", resources=[("user", user.id), ("upstream", upstream)], tenant=user.tenant
        )
        if not _accounts(act).delete(user.id, upstream):
            refuse(f"{user.name} has no account at {upstream}")
    answer({"ok": True, "user": user.name, "upstream": upstream}, [f"The account at {upstream} is deleted."])


def _accounts(act: Administration) -> PortalAccounts:
    return PortalAccounts(act.store.rows, act.store.sealer)


def _standing(account: PortalAccount) -> str:
    if account.refused:
        return "refused"
    return "accepted" if account.accepted else "untried"


def _read_line() -> str:
    line = sys.stdin.buffer.readline(_MOST_BYTES + 1)
    if len(line) > _MOST_BYTES:
        raise click.UsageError("the line on standard input is too long for a password")
    try:
        password = line.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise click.UsageError("the password on standard input is not UTF-8") from None
    if not password or not password.isprintable():
        raise click.UsageError("there is no password on standard input")
    return password
