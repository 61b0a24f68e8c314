"""`gateway apikey`: what programs prove themselves with, for a person or for a service that is nobody.

A key is shown once and kept nowhere. What is revoked or replaced is so from the next request on, on every worker and node,
whether the gateway runs or not. Each act is recorded before it is done.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_network
from typing import Any, Final

import click
import msgspec

from gateway.authn.api_key import HANDLE_BYTES, is_handle, make_handle
from gateway.cli.administration import Administration, administration, answer, moment, refuse, table
from gateway.cli.invocation import current
from gateway.cli.roles import unknown_roles
from gateway.cli.user import require_tenant
from gateway.document.quantity import duration, rate, written_duration
from gateway.exchange.built_in import is_reserved
from gateway.exchange.notice import Notice
from gateway.policy.declaration import NAME, NAME_SENTENCE
from gateway.policy.entries import SCOPE, SCOPE_SENTENCE
from gateway.policy.obligations import MAX_BURST
from gateway.store.api_keys import SERVICE, ApiKey, KeptKey
from gateway.store.sealing import SealBrokenError

MAX_LABEL: Final = 64
MAX_SCOPES: Final = 64
MAX_NETWORKS: Final = 64
_SERVICE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

_user = click.option("--user", metavar="NAME", help="The person who owns it.")
_service = click.option("--service", metavar="NAME", help="The service that owns it; needs --tenant.")
_tenant = click.option("--tenant", help="Organisation of the service.")


@click.group()
def apikey() -> None:
    """Create, list, rotate and revoke API keys."""


@apikey.command()
@click.argument("label")
@_user
@_service
@_tenant
@click.option("--role", "roles", multiple=True, required=True, help="Role that it gives; may be repeated.")
@click.option("--scope", "scopes", multiple=True, help="Scope that it has; may be repeated.")
@click.option(
    "--expires", metavar="TIME", help="How long it serves, such as 30d.  [default: identity.api_keys.lifetime]"
)
@click.option(
    "--network", "networks", multiple=True, metavar="CIDR", help="Where it may be used from; may be repeated."
)
@click.option("--rate", "pace", metavar="RATE", help="A limit of its own, such as 10/s; needs --burst.")
@click.option("--burst", type=click.IntRange(1, MAX_BURST), help="Requests at once under --rate.")
def create(
    *,
    label: str,
    user: str | None,
    service: str | None,
    tenant: str | None,
    roles: tuple[str, ...],
    scopes: tuple[str, ...],
    expires: str | None,
    networks: tuple[str, ...],
    pace: str | None,
    burst: int | None,
) -> None:
    """Make a key called LABEL for a person or a service; prints it once."""
    if not label or len(label) > MAX_LABEL or not label.isprintable():
        raise click.UsageError(f"a label is one line of 1 to {MAX_LABEL} characters")
    _require_form(roles, scopes)
    blocks = _networks(networks)
    if (pace is None) != (burst is None):
        raise click.UsageError("--rate and --burst go together")
    with administration() as act:
        rules = act.settings.identity.api_keys
        lifetime = rules.lifetime if expires is None else _time("--expires", expires)
        if not 0 < lifetime <= rules.longest:
            raise click.UsageError(
                f"a key serves for {written_duration(rules.longest)} at most (identity.api_keys.longest)"
            )
        key = ApiKey(
            handle=make_handle(os.urandom(HANDLE_BYTES)),
            label=label,
            user_id="",
            user="",
            tenant="",
            roles=tuple(dict.fromkeys(roles)),
            scopes=tuple(dict.fromkeys(scopes)),
            created=act.now,
            expires=act.now + lifetime,
            networks=blocks,
            rate_per_s=0.0 if pace is None else _pace(pace),
            burst=burst or 0,
        )
        key = _owned(act, key, user=user, service=service, tenant=tenant)
        warnings = unknown_roles(act.settings, roles)
        _record(act, "apikey create", [key])
        stored = act.store.create_api_key(key, now=act.now)
        if stored is None:
            refuse(f"{key.user} was deleted or lost a role meanwhile; nothing was made")
        text, made = stored
        act.tell(made.user_id, Notice.API_KEY_CREATED, subject=made.label)
    _show(text, made, [f"Made the key {made.handle} of {made.user} (tenant {made.tenant})."], warnings)


@apikey.command(name="list")
@_user
@_service
@_tenant
def list_keys(*, user: str | None, service: str | None, tenant: str | None) -> None:
    """List keys, newest first: whose, what they give, until when, when they were used last."""
    with administration() as act:
        owner = _owner_id(act, user=user, service=service, tenant=tenant) if user or service else None
        act.record_administration(
            "apikey list", action="view", resources=[("api_keys", owner or tenant or "all")], tenant=tenant or ""
        )
        found = act.store.api_keys.all(user_id=owner, tenant=None if owner else tenant)
        now = act.now
    rows = [
        (
            kept.key.handle,
            kept.key.label,
            kept.key.user,
            kept.key.tenant,
            ", ".join(kept.key.granted) or "none",
            " ".join(kept.key.scopes),
            _state(kept.key, now),
            moment(kept.key.expires),
            moment(kept.used),
        )
        for kept in found
    ]
    columns = ("KEY", "LABEL", "OWNER", "TENANT", "ROLES", "SCOPES", "STATE", "ENDS", "LAST USED")
    answer(
        {"api_keys": [_as_json(kept, now) for kept in found]},
        [table(columns, rows) if rows else "There is no API key."],
    )


@apikey.command()
@click.argument("handle")
@click.option("--overlap", metavar="TIME", help="How long the old key serves on.  [default: identity.api_keys.overlap]")
def rotate(*, handle: str, overlap: str | None) -> None:
    """Make a new key in place of HANDLE, with the same owner and rights; prints it once."""
    _require_handle(handle)
    with administration() as act:
        overlap_s = act.settings.identity.api_keys.overlap if overlap is None else _time("--overlap", overlap)
        kept = act.store.api_keys.get(handle)
        if kept is None:
            refuse(f"there is no API key {handle}")
        _record(act, "apikey rotate", [kept.key])
        done = act.store.api_keys.rotate(handle, overlap_s=overlap_s, now=act.now)
        if done is None:
            refuse(f"{handle} was replaced before, or serves no longer")
    text, new, old = done
    left = f"{old.handle} serves until {moment(old.expires)}." if overlap_s else f"{old.handle} serves no longer."
    _show(text, new, [f"Made the key {new.handle} of {new.user} (tenant {new.tenant}).", left], (), replaces=old.handle)


@apikey.command()
@click.argument("handle", required=False)
@_user
@_service
@_tenant
def revoke(*, handle: str | None, user: str | None, service: str | None, tenant: str | None) -> None:
    """End a key at once by its HANDLE, or every key of an owner."""
    if (handle is None) == (not user and not service):
        raise click.UsageError("name one key, or the owner whose keys all end: --user or --service")
    with administration() as act:
        if handle is not None:
            _require_handle(handle)
            kept = act.store.api_keys.get(handle)
            if kept is None:
                refuse(f"there is no API key {handle}")
            _record(act, "apikey revoke", [kept.key])
            ended = 0 if act.store.api_keys.revoke(handle) is None else 1
        else:
            owner, keys = _owner_id(act, user=user, service=service, tenant=tenant), []
            with suppress(SealBrokenError):  # a damaged key ends as well, unnamed
                keys = [kept.key for kept in act.store.api_keys.all(user_id=owner)]
            _record(act, "apikey revoke", keys, owner=owner)
            ended = act.store.api_keys.revoke_owner(owner)
    answer({"ok": True, "keys_ended": ended}, ["1 key ended." if ended == 1 else f"{ended} keys ended."])


# Whose it is


def _owned(act: Administration, key: ApiKey, *, user: str | None, service: str | None, tenant: str | None) -> ApiKey:
    """Give the key its owner. A person's key holds no role that the person does not."""
    if (user is None) == (service is None):
        raise click.UsageError("name the owner: --user or --service")
    if user is not None:
        if tenant is not None:
            raise click.UsageError("--tenant goes with --service; a person has one")
        account = act.require_user(user)
        if (
            account.until
        ):  # attack: it begins to count when the account is enabled for every day, and nobody remembers it
            refuse(f"{account.name} was opened for an emergency, in which no key counts; close it first")
        lacking = [role for role in key.roles if role not in account.roles]
        if lacking:
            refuse(f"{account.name} does not hold the role {lacking[0]}; a key gives no more than its owner has")
        return msgspec.structs.replace(
            key,
            user_id=account.id,
            user=account.name,
            tenant=account.tenant,
            email=account.email,
            owner_roles=account.roles,
            owner_rests=account.lends_nothing,
        )
    owner = _owner_id(act, user=None, service=service, tenant=tenant)
    return msgspec.structs.replace(key, user_id=owner, user=f"{SERVICE}{service}", tenant=tenant or "")


def _owner_id(act: Administration, *, user: str | None, service: str | None, tenant: str | None) -> str:
    if user is not None and service is not None:
        raise click.UsageError("--user and --service exclude each other")
    if user is not None:
        return act.require_user(user).id
    if service is None or tenant is None:
        raise click.UsageError("--service needs --tenant: a service belongs to one organisation")
    if not _SERVICE_NAME.fullmatch(service):
        raise click.UsageError(f"{service!r} is not a service: lower-case letters, digits, . _ - (64 at most)")
    require_tenant(act.settings, tenant)
    return f"{SERVICE}{tenant}:{service}"


# What it is made of


def _require_form(roles: Sequence[str], scopes: Sequence[str]) -> None:
    for role in roles:
        if not NAME.fullmatch(role):
            raise click.UsageError(f"{role!r} is not a role: {NAME_SENTENCE}")
        if is_reserved(role):
            raise click.UsageError(f"{role!r} is no role of a key: the console is for people who are signed in")
    for scope in scopes:
        if not SCOPE.fullmatch(scope):
            raise click.UsageError(f"{scope!r}: {SCOPE_SENTENCE}")
    if len(scopes) > MAX_SCOPES:
        raise click.UsageError(f"a key has {MAX_SCOPES} scopes at most")


def _networks(networks: Sequence[str]) -> tuple[str, ...]:
    if len(networks) > MAX_NETWORKS:
        raise click.UsageError(f"a key has {MAX_NETWORKS} networks at most")
    found = []
    for text in networks:
        try:
            found.append(str(ip_network(text, strict=True)))
        except ValueError:
            raise click.UsageError(f"{text!r} is not an IP address or a network such as 10.0.0.0/8") from None
    return tuple(dict.fromkeys(found))


def _time(option: str, text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from None


def _pace(text: str) -> float:
    try:
        found = rate(text)
    except ValueError as error:
        raise click.UsageError(f"--rate: {error}") from None
    if found <= 0:
        raise click.UsageError("--rate: must be more than 0")
    return found


def _require_handle(handle: str) -> None:
    if not is_handle(handle):
        raise click.UsageError("a key is named as `apikey list` prints it: k_ and 16 hexadecimal digits")


# What is told


def _record(act: Administration, operation: str, keys: Sequence[ApiKey], *, owner: str = "") -> None:
    resources = [("api_key", key.handle) for key in keys] + [("owner", owner or keys[0].user_id)]
    tenant = keys[0].tenant if keys else ""
    act.record_administration(operation, action="admin", resources=resources, tenant=tenant)


def _show(text: bytes, key: ApiKey, lines: Sequence[str], warnings: Sequence[str], **more: object) -> None:
    """Print a key, for the only time."""
    shown = text.decode("ascii")
    value: dict[str, Any] = {"ok": True, "key": shown, **_facts(key), **more}
    if warnings:
        value["warnings"] = list(warnings)
    answer(value, [*lines, f"Key:   {shown}  (shown once)", f"Ends:  {moment(key.expires)}"])
    if not current().json:
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)


def _state(key: ApiKey, now: float) -> str:
    if now >= key.expires:
        return "ended"
    if key.owner_rests:
        return "rests"
    return f"replaced by {key.replaced_by}" if key.replaced_by else "serves"


def _facts(key: ApiKey) -> dict[str, Any]:
    return {
        "handle": key.handle,
        "label": key.label,
        "user": key.user,
        "user_id": key.user_id,
        "tenant": key.tenant,
        "roles": list(key.granted),
        "scopes": list(key.scopes),
        "networks": list(key.networks),
        "rate_per_s": key.rate_per_s,
        "burst": key.burst,
        "created": key.created,
        "expires": key.expires,
        "replaced_by": key.replaced_by,
    }


def _as_json(kept: KeptKey, now: float) -> dict[str, Any]:
    return {**_facts(kept.key), "state": _state(kept.key, now).partition(" ")[0], "last_used": kept.used}
