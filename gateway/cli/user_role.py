"""`gateway user role`: what a person may do, given and taken by hand.

The only way, beside `user add`, to the gateway's own roles. Roles of policies it changes for people with an account of the
gateway's own alone: those of people from an identity provider come with each sign-in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import click
import msgspec

from gateway.authn.assurance import ENROLLABLE
from gateway.cli.administration import Administration, administration, answer, refuse
from gateway.cli.invocation import current
from gateway.cli.roles import split_roles, unknown_roles
from gateway.exchange.built_in import OPERATOR, TENANT_ADMIN
from gateway.store.principals import LOCAL
from gateway.store.records import User


@click.command(name="role")
@click.argument("name")
@click.option("--add", "added", multiple=True, metavar="ROLE", help="Role to give; may be repeated.")
@click.option("--remove", "removed", multiple=True, metavar="ROLE", help="Role to take; may be repeated.")
def change_roles(*, name: str, added: tuple[str, ...], removed: tuple[str, ...]) -> None:
    """Give roles to NAME and take roles away; their sessions end, so that the next sign-in has what is true."""
    if not added and not removed:
        raise click.UsageError("name a role: --add ROLE, --remove ROLE")
    both = sorted(set(added) & set(removed))
    if both:
        raise click.UsageError(f"{both[0]} is to be added and removed")
    split_roles([*added, *removed])
    with administration() as act:
        account = act.require_user(name)
        changed = _changed(account, added, removed)
        if (changed.roles, changed.gateway_roles, changed.administers) == (
            account.roles,
            account.gateway_roles,
            account.administers,
        ):
            refuse(f"{account.name} has these roles already: {_listed(account)}")
        _require_possible(act, account, changed)
        warnings = [*unknown_roles(act.settings, split_roles(added)[0]), *_unproven(account, added)]
        more = {"added": sorted(set(added)), "removed": sorted(set(removed))}
        act.record_account_change("user.roles_changed", account, more=more)
        stored = act.store.change_user(account, changed, now=act.now)
        if stored is None:
            _changed_meanwhile(act, account)
    value = {
        "ok": True,
        "user": account.name,
        "roles": list(changed.roles),
        "gateway_roles": list(changed.gateway_roles),
        "sessions_ended": stored[1],
        **({"warnings": warnings} if warnings else {}),
    }
    ended = "1 session ended." if stored[1] == 1 else f"{stored[1]} sessions ended."
    answer(value, [f"{account.name} has the roles {_listed(changed)}. {ended}"])
    if not current().json:
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)


def _changed(account: User, added: Sequence[str], removed: Sequence[str]) -> User:
    """Return the account as it should be; a role that is added stands behind those that were there."""
    roles, own = split_roles([*account.roles, *account.gateway_roles, *added])
    own = tuple(role for role in own if role not in removed)
    administers = account.administers
    if TENANT_ADMIN in added:
        administers = account.tenant
    return msgspec.structs.replace(
        account,
        roles=tuple(role for role in roles if role not in removed),
        gateway_roles=own,
        administers=administers if TENANT_ADMIN in own else "",
    )


def _require_possible(act: Administration, account: User, changed: User) -> None:
    if changed.roles != account.roles and account.provider != LOCAL:
        refuse(
            f"the roles of {account.name} come from the identity provider {account.provider} at each sign-in; "
            "change them there, or in roles.grant"
        )
    gained = [role for role in changed.gateway_roles if role not in account.gateway_roles]
    if gained and account.provider == LOCAL and not act.store.factors_of(account) & ENROLLABLE:
        # attack: whoever has the password alone sets up a factor of their own and is an administrator
        refuse(f"{account.name} has no second factor; set one up first (gateway user reset --factors --totp-secret)")


def _unproven(account: User, added: Sequence[str]) -> list[str]:
    if account.provider == LOCAL or not {OPERATOR, TENANT_ADMIN} & set(added):
        return []
    believes = f"where {account.provider} says that a second factor was used (identity.providers.mfa)"
    return [f"the console opens to {account.name} only {believes}"]


def _listed(account: User) -> str:
    return ", ".join((*account.roles, *account.gateway_roles)) or "(none)"


def _changed_meanwhile(act: Administration, account: User) -> NoReturn:
    act.record_account_change("user.roles_changed", account, success=False, reason="changed_meanwhile")
    refuse(f"{account.name} was changed by somebody else at the same moment; nothing was done, try again")
