"""`gateway user`: people who sign in with a password of the gateway's own.

Each act is recorded before it is done, and ends the person's sessions where it should. Passwords are
read from standard input or made here and shown once; they are never an argument, where `ps` shows them.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from base64 import b32encode
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import click
import msgspec
import segno

from gateway.authn import totp
from gateway.authn.assurance import ENROLLABLE
from gateway.authn.name import InvalidNameError, canonical_name
from gateway.authn.password import (
    SALT_BYTES,
    Hasher,
    PasswordRefusedError,
    context_words,
    normalise,
    require_acceptable,
)
from gateway.cli.administration import Administration, administration, answer, moment, refuse, table
from gateway.cli.invocation import current
from gateway.cli.roles import split_roles, unknown_roles
from gateway.cli.user_role import change_roles
from gateway.document.source import did_you_mean
from gateway.exchange.built_in import TENANT_ADMIN
from gateway.exchange.notice import Notice
from gateway.server.passwords import breach_service, password_rules
from gateway.server.progress import Progress
from gateway.server.settings import Settings
from gateway.store.breach_online import BreachServiceError, OnlineBreachedPasswords
from gateway.store.breached import LocalBreachedPasswords
from gateway.store.records import Factor, User

MAX_PASSWORD_LINE: Final = 4096
MAX_EMAIL: Final = 254  # RFC 5321 section 4.5.3.1.3, less the brackets
_TENANT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_EMAIL: Final = re.compile(r"[^\s@,;<>\"\x00-\x1f\x7f]{1,64}@[A-Za-z0-9.-]{1,253}")
_MADE_BYTES: Final = 15
"""A password made here has 120 bits."""

_password_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password, one line, from standard input."
)
_totp_secret = click.option(
    "--totp-secret", metavar="BASE32", help="Enrol this TOTP secret.  [default: a fresh one, shown as its URI]"
)
_self_enrol = click.option(
    "--self-enrol", is_flag=True, help="Enrol no factor: the person sets one up at the next sign-in."
)


@click.group()
def user() -> None:
    """Add, list, disable, enable, reset and delete people, and change their roles."""


@user.command()
@click.argument("name")
@click.option("--tenant", required=True, help="Organisation the person belongs to.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    help="Role of the policy, or gateway.admin or gateway.tenant-admin; may be repeated.",
)
@click.option("--email", default="", help="E-mail address, told to the portal.")
@_password_stdin
@_totp_secret
@_self_enrol
def add(
    *,
    name: str,
    tenant: str,
    roles: tuple[str, ...],
    email: str,
    password_stdin: bool,
    totp_secret: str | None,
    self_enrol: bool,
) -> None:
    """Add a person NAME; prints the URI for an authenticator app and, unless one was given, a password, once."""
    secret = _secret(totp_secret, self_enrol=self_enrol)
    _require_form(roles, email)
    given = _read_password() if password_stdin else None
    with administration() as act, Progress("adding the user"):
        require_tenant(act.settings, tenant)
        given_roles, own_roles = split_roles(roles)
        if own_roles and secret is None:
            raise click.UsageError(f"{own_roles[0]} needs a second factor from the start; leave out --self-enrol")
        warnings = unknown_roles(act.settings, given_roles)
        try:
            canonical = canonical_name(name)
        except InvalidNameError as error:
            raise click.UsageError(str(error)) from None
        if act.store.user_named(canonical) is not None:
            refuse(f"there is a user {canonical!r} already; names are unique over the whole gateway")
        password = given or _make_password()
        account = User(
            id=f"u_{os.urandom(16).hex()}",
            stamp=os.urandom(16).hex(),
            name=canonical,
            tenant=tenant,
            roles=given_roles,
            gateway_roles=own_roles,
            administers=tenant if TENANT_ADMIN in own_roles else "",
            email=email,
            password=_hash(
                act, password, canonical, email, tenant, given=given is not None, has_factor=secret is not None
            ),
            password_changed=act.now,
            created=act.now,
        )
        factor = None if secret is None else Factor(secret=secret, created=act.now)
        act.record_account_change("user.added", account, more={"roles": [*account.roles, *account.gateway_roles]})
        if not act.store.add_user(account, now=act.now, factor=factor):
            act.record_account_change("user.added", account, success=False, reason="name_taken")
            refuse(f"there is a user {canonical!r} already; names are unique over the whole gateway")
    _tell(act, account, f"Added {_named(account)}.", made=None if given else password, secret=secret, warnings=warnings)


@user.command(name="list")
@click.option("--tenant", help="Only people of this organisation.")
def list_users(*, tenant: str | None) -> None:
    """List people: organisation, roles, whether they may sign in, whether they have a second factor."""
    with administration() as act:
        act.record_administration(
            "user list", action="view", resources=[("users", tenant or "all")], tenant=tenant or ""
        )
        people = [_as_json(act, found) for found in act.store.users(tenant=tenant)]
    rows = [
        (
            person["name"],
            person["tenant"],
            ", ".join((*person["roles"], *person["gateway_roles"])),
            _state(person),
            ", ".join(person["factors"]) or "none",
            moment(person["last_sign_in"]),
        )
        for person in people
    ]
    columns = ("NAME", "TENANT", "ROLES", "STATE", "FACTOR", "LAST SIGN-IN")
    answer({"users": people}, [table(columns, rows) if rows else "There is no user."])


@user.command()
@click.argument("name")
def disable(*, name: str) -> None:
    """Keep NAME from signing in and end their sessions at once."""
    with administration() as act:
        account = act.require_user(name)
        act.record_account_change("user.disabled", account)
        changed = act.store.change_user(account, account.disabled_for_good(), now=act.now)
        if changed is None:
            _changed_meanwhile(act, "user.disabled", account)
        ended = changed[1]
    answer({"ok": True, "user": account.name, "sessions_ended": ended}, [f"Disabled {account.name}. {_ended(ended)}"])


@user.command()
@click.argument("name")
def enable(*, name: str) -> None:
    """Let NAME sign in again, and forget failed attempts that locked the account or its factor."""
    with administration() as act:
        account = act.require_user(name)
        if account.until:
            refuse(f"{account.name} was opened for an emergency; gateway break-glass close {account.name} comes first")
        if account.restricted:
            act.record_account_change("user.enabled", account, success=False, reason="restricted")
            refuse(f"the data of {account.name} are restricted; lift that first: gateway privacy lift")
        act.record_account_change("user.enabled", account)
        changed = act.store.change_user(account, msgspec.structs.replace(account, disabled=False), now=act.now)
        if changed is None:
            _changed_meanwhile(act, "user.enabled", account)
        act.unlock(account)
    answer({"ok": True, "user": account.name}, [f"Enabled {account.name}."])


@user.command()
@click.argument("name")
@_password_stdin
@_totp_secret
@_self_enrol
@click.option(
    "--factors",
    is_flag=True,
    help="Keep the password; forget every second factor: app, passkeys, recovery codes, remembered devices.",
)
def reset(*, name: str, password_stdin: bool, totp_secret: str | None, self_enrol: bool, factors: bool) -> None:
    """Give NAME a new password and a new second factor; passkeys, recovery codes and sessions of before end at once."""
    if factors:
        if password_stdin:
            raise click.UsageError("--factors keeps the password; --password-stdin gives a new one")
        _reset_factors(name, None if totp_secret is None else _secret(totp_secret, self_enrol=self_enrol))
        return
    secret = _secret(totp_secret, self_enrol=self_enrol)
    given = _read_password() if password_stdin else None
    with administration() as act, Progress("resetting the user"):
        account = act.require_user(name)
        password = given or _make_password()
        phc = _hash(
            act,
            password,
            account.name,
            account.email,
            account.tenant,
            given=given is not None,
            has_factor=secret is not None,
        )
        act.record_account_change(
            "password.reset", account, more={"factor": "removed" if secret is None else "replaced"}
        )
        new = msgspec.structs.replace(account, password=phc, password_changed=act.now)
        factor = None if secret is None else Factor(secret=secret, created=act.now)
        changed = act.store.reset_user(account, new, factor=factor, now=act.now)
        if changed is None:
            _changed_meanwhile(act, "password.reset", account)
        act.unlock(account)
        act.tell(account.id, Notice.PASSWORD_CHANGED)
        ended = changed[1]
    made = None if given else password
    _tell(act, account, f"Reset {_named(account)}. {_ended(ended)}", made=made, secret=secret, sessions_ended=ended)


def _reset_factors(name: str, secret: str | None) -> None:
    with administration() as act, Progress("resetting the factors"):
        account = act.require_user(name)
        act.record_account_change("factor.removed", account, more={"factor": "all"})
        factor = None if secret is None else Factor(secret=secret, created=act.now)
        changed = act.store.reset_user(account, account, factor=factor, now=act.now)
        if changed is None:
            _changed_meanwhile(act, "factor.removed", account)
        act.unlock(account)
        act.tell(account.id, Notice.FACTOR_REMOVED)
        ended = changed[1]
    sentence = f"Removed every second factor of {_named(account)}. {_ended(ended)}"
    _tell(act, account, sentence, made=None, secret=secret, sessions_ended=ended)


@user.command()
@click.argument("name")
def delete(*, name: str) -> None:
    """Delete NAME with factors and sessions; the audit trail keeps what they did."""
    with administration() as act:
        account = act.require_user(name)
        act.record_account_change("user.deleted", account)
        ended = act.store.delete_user(account.id)
        if ended is None:
            _changed_meanwhile(act, "user.deleted", account)
        act.unlock(account)
    answer({"ok": True, "user": account.name, "sessions_ended": ended}, [f"Deleted {account.name}. {_ended(ended)}"])


user.add_command(change_roles)


# What a person is made of


def _secret(given: str | None, *, self_enrol: bool) -> str | None:
    if given is not None and self_enrol:
        raise click.UsageError("--totp-secret and --self-enrol exclude each other")
    if self_enrol:
        return None
    if given is None:
        return totp.make_secret(os.urandom(totp.SECRET_BYTES))
    try:
        return totp.parse_secret(given)
    except totp.InvalidSecretError as error:
        raise click.UsageError(str(error)) from None


def _require_form(roles: Sequence[str], email: str) -> None:
    split_roles(roles)
    if email and (len(email) > MAX_EMAIL or not email.isprintable() or not _EMAIL.fullmatch(email)):
        raise click.UsageError(f"{email!r} is not an e-mail address")


def require_tenant(settings: Settings, tenant: str) -> None:
    """Refuse a tenant that cannot be, or that gateway.yaml does not know."""
    if not _TENANT.fullmatch(tenant):
        raise click.UsageError(f"{tenant!r} is not a tenant: lower-case letters, digits, _ - (64 at most)")
    if settings.tenants and tenant not in settings.tenants:
        raise click.UsageError(f"gateway.yaml has no tenant {tenant!r}{did_you_mean(tenant, settings.tenants)}")


def _read_password() -> str:
    line = sys.stdin.buffer.readline(MAX_PASSWORD_LINE + 1)
    if len(line) > MAX_PASSWORD_LINE:
        raise click.UsageError("the line on standard input is too long for a password")
    try:
        password = line.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise click.UsageError("the password on standard input is not UTF-8") from None
    if not password:
        raise click.UsageError("there is no password on standard input")
    return password


def _make_password() -> str:
    text = b32encode(os.urandom(_MADE_BYTES)).decode("ascii").lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def _hash(
    act: Administration, password: str, name: str, email: str, tenant: str, *, given: bool, has_factor: bool
) -> str:
    breached = None if act.settings.passwords.breach_check == "off" else LocalBreachedPasswords(act.settings.state_dir)
    rules = password_rules(act.settings)
    alone = not has_factor and act.settings.mfa.required != "always"
    try:
        require_acceptable(
            password,
            context=context_words(name, email, tenant, *rules.place),
            breached=breached,
            min_length=rules.least(alone=alone),
            min_score=rules.min_score,
        )
    except PasswordRefusedError as error:
        refuse(f"the password is refused: {error}")
    service = breach_service(act.settings)
    if given and service is not None:
        _require_unknown_online(password, service, on_failure=rules.on_failure)
    return Hasher().hash(password, salt=os.urandom(SALT_BYTES))


def _require_unknown_online(password: str, service: OnlineBreachedPasswords, *, on_failure: str) -> None:
    """Ask the breach service about a password that somebody chose; one made here is on no list."""
    try:
        is_known = asyncio.run(service.holds(normalise(password)))
    except BreachServiceError as error:
        if on_failure == "open":
            click.echo(f"warning: the password was not looked up: {error}", err=True)
            return
        refuse(f"the password cannot be checked: {error}; try again later")
    if is_known:
        refuse("the password is refused: This password is known from data breaches. Please choose another one.")


def _changed_meanwhile(act: Administration, event: str, account: User) -> NoReturn:
    act.record_account_change(event, account, success=False, reason="changed_meanwhile")
    refuse(f"{account.name} was changed by somebody else at the same moment; nothing was done, try again")


# What is told


def _state(person: Mapping[str, Any]) -> str:
    if person["disabled"]:
        return "disabled"
    return "locked" if person["locked_s"] else "emergency" if person["until"] else "active"


def _as_json(act: Administration, account: User) -> dict[str, Any]:
    passkeys = act.store.passkeys.of(account.id)
    return {
        "id": account.id,
        "name": account.name,
        "tenant": account.tenant,
        "roles": list(account.roles),
        "gateway_roles": list(account.gateway_roles),
        "email": account.email,
        "disabled": account.disabled,
        "until": account.until,
        "locked_s": act.locked_s(account),
        "totp": act.store.factor(account.id) is not None,
        "passkeys": len(passkeys),
        "factors": sorted(kind.value for kind in act.store.factors_of(account) & ENROLLABLE),
        "recovery_codes_left": act.store.count_recovery(account.id),
        "created": account.created,
        "password_changed": account.password_changed,
        "last_sign_in": account.last_sign_in,
    }


def _tell(
    act: Administration,
    account: User,
    sentence: str,
    *,
    made: str | None,
    secret: str | None,
    warnings: Sequence[str] = (),
    **more: object,
) -> None:
    """Print what the person needs: it is shown once and kept nowhere in the clear."""
    value: dict[str, Any] = {"ok": True, "user": account.name, "id": account.id, **more}
    lines = [sentence]
    if made is not None:
        value["password"] = made
        lines.append(f"Password:       {made}  (shown once)")
    if secret is not None and totp.is_short(secret):
        warnings = [*warnings, "the TOTP secret has less than 128 bits (RFC 4226); let the person enrol a new one"]
    if secret is not None:
        uri = totp.enrolment_uri(secret, name=account.name, issuer=act.settings.public_url.host)
        value["uri"] = uri
        lines.append(f"Authenticator:  {uri}")
    else:
        everybody = act.settings.mfa.required == "always"
        lines.append(
            "The second factor is set up at the next sign-in"
            + ("." if everybody else ", if mfa.required asks for one.")
        )
    if warnings:
        value["warnings"] = list(warnings)
    answer(value, lines)
    if not current().json:
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)
    if secret is not None and sys.stdout.isatty() and not current().json:
        segno.make(value["uri"]).terminal(compact=True)


def _named(account: User) -> str:
    return f"{account.name} (tenant {account.tenant}, roles {', '.join((*account.roles, *account.gateway_roles))})"


def _ended(count: int) -> str:
    return "1 session ended." if count == 1 else f"{count} sessions ended."
