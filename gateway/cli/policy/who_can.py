"""`gateway policy who-can`: everybody who can send one request, with the lines that let them.

Beside gateway.yaml and the policies it reads the people and API keys of the gateway's state, unless `--roles-only`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import click

from gateway.cli.administration import NO, administration, table
from gateway.cli.invocation import current
from gateway.cli.policy.reading import Policies, load_policies, refuse
from gateway.document.source import did_you_mean
from gateway.exchange.errors import GatewayError
from gateway.exchange.reason import ANSWERS, Reason
from gateway.policy.condition import Facts
from gateway.policy.declaration import METHODS
from gateway.policy.judgement import parse_request
from gateway.policy.proof.access import Access, Entry, Holders, Standing, place_at, standing, who_can
from gateway.policy.proof.effect import NOBODY
from gateway.policy.proof.space import World
from gateway.store.api_keys import ApiKey
from gateway.store.records import User

_STANDINGS: Final[Mapping[Standing, str]] = {
    "allowed": "always",
    "depends": "under conditions",
    "refused": "never",
    "undecided": "not decided",
}


_FEW_TENANTS: Final = 4


class Holder(NamedTuple):
    """Somebody whom the gateway knows."""

    kind: str
    """`user` or `api_key`."""
    name: str
    tenant: str
    roles: tuple[str, ...]
    standing: Standing


@click.command(name="who-can")
@click.option("--roles-only", is_flag=True, help="Do not look for people and API keys in the gateway's state.")
@click.argument("method")
@click.argument("url")
def who_can_verb(*, roles_only: bool, method: str, url: str) -> None:
    """List everybody who can send METHOD URL: roles, people and API keys; exit 1 when nobody can."""
    policies = load_policies()
    method = method.upper()
    if method not in METHODS:
        refuse(f"unknown method {method!r}{did_you_mean(method, METHODS)}")
    try:
        facts = parse_request(method, url)
    except ValueError as error:
        refuse(str(error))
    now = float(int(time.time()))
    world = world_of(policies)
    found = who_can(world, facts, now=now)
    if isinstance(found, Reason):
        sentence = f"{method} {url}\n\nNOBODY ({found}): {ANSWERS[found].sentence}"
        value: dict[str, Any] = {"route": None, "reason": found, "version": policies.table.version, "holders": []}
        current().answer(value, sentence)
        raise click.exceptions.Exit(NO)
    known, trouble = ([], "") if roles_only or found.rule.public else _known(world, facts, found, now)
    value = {**_as_json(found, policies), "people": None if roles_only else [holder._asdict() for holder in known]}
    value |= {"people_error": trouble} if trouble else {}
    lines = [f"{method} {url}", "", *_as_text(found, policies.settings.tenants)]
    if not roles_only and found.rule.public is None:
        lines += ["", *_people_as_text(known, trouble)]
    current().answer(value, "\n".join(lines))
    if not found.is_open:
        raise click.exceptions.Exit(NO)


def world_of(policies: Policies) -> World:
    """Take from the policies what is solved over."""
    return World(policies.table, policies.hosts, tuple(policies.settings.tenants))


def _known(world: World, facts: Facts, found: Access, now: float) -> tuple[list[Holder], str]:
    """Look for the people and API keys that the entries are about; a sentence where the state cannot be opened."""
    named = {chain[0] for entry in found.grants for chain in entry.roles}
    try:
        with administration() as act:
            act.record_administration("policy who-can", action="view", resources=[("users", "all")])
            users = [user for user in act.store.users() if not user.disabled]
            keys = [kept.key for kept in act.store.api_keys.all() if kept.key.is_live(now)]
    except GatewayError as error:
        return [], f"people and API keys cannot be looked up: {error}"
    place = place_at(found.rule, facts)
    holders = []
    for user in users:
        if not named.isdisjoint(user.roles):
            how = standing(world, place, fixed_of(user), now=now)
            holders.append(Holder("user", user.name, user.tenant, user.roles, how))
    for key in keys:
        if not named.isdisjoint(key.granted):
            how = standing(world, place, fixed_of(key), now=now)
            holders.append(Holder("api_key", f"{key.user} ({key.handle})", key.tenant, key.granted, how))
    return holders, ""


def tenants_as_text(tenants: Sequence[str], every: Collection[str]) -> str:
    """Write the names of few tenants; of many some, and how many there are."""
    if len(tenants) <= _FEW_TENANTS:
        return ", ".join(tenants)
    return "every tenant" if set(tenants) >= set(every) else f"{', '.join(tenants[:3])} … {len(tenants)} in all"


def fixed_of(holder: User | ApiKey) -> dict[str, Sequence[Any]]:
    """Say what is known of somebody's requests: who they are, and of a key all that it proves."""
    fixed: dict[str, Sequence[Any]] = {"tenant": (holder.tenant,), "email": (holder.email,)}
    if isinstance(holder, User):
        return {
            **fixed,
            "user": (holder.name,),
            "user_id": (holder.id,),
            "roles": (holder.roles,),
            "credential": ("cookie",),
            "provider": (holder.provider,),
            "scopes": ((),),
        }
    return {
        **fixed,
        "user": (holder.user,),
        "user_id": (holder.user_id,),
        "roles": (holder.granted,),
        "credential": ("api_key",),
        "scopes": (holder.scopes,),
        "provider": ("",),
    }


def _as_text(found: Access, every: Collection[str]) -> Iterator[str]:
    route = found.rule.route
    yield f"  route       {route.name} at {route.source}: {route.template}"
    if found.rule.public:
        yield "  everybody   the route is public"
    if found.credentials:
        yield f"  credential  {' or '.join(found.credentials)}"
    if found.needs_mfa:
        yield "  factor      a second factor, of people"
    for words in found.requirements:
        yield f"  require     {words}"
    for title, entries in (("Refused, whatever else is allowed", found.denials), ("Allowed", found.grants)):
        if entries:
            yield ""
            yield title
        for entry in entries:
            yield from _entry_as_text(entry)
    yield ""
    if not found.holders:
        yield "NOBODY can." if not found.doubts else f"It could not be decided: {'; '.join(found.doubts)}."
        return
    yield "Who can"
    rows = [
        (f"  {_held(holders)}", tenants_as_text(holders.tenants, every), _STANDINGS[holders.standing])
        for holders in found.holders
    ]
    yield table(("  ROLES", "TENANTS", ""), rows)


def _entry_as_text(entry: Entry) -> Iterator[str]:
    yield f"  {entry.source}"
    chains = [" includes ".join(chain) for chain in entry.roles] or ["everybody"]
    for index, chain in enumerate(chains):
        yield f"    {'role' if index == 0 else '':<8}{chain}"
    if entry.tenants is not None:
        yield f"    {'tenant':<8}{', '.join(entry.tenants)}"
    if entry.scopes:
        yield f"    {'scope':<8}{' '.join(entry.scopes)}, of API keys and bearer tokens"
    if entry.when:
        yield f"    {'when':<8}{entry.when}"


def _held(holders: Holders) -> str:
    if holders.roles == NOBODY:
        return "everybody, without signing in"
    return " with ".join(holders.roles) or "no role"


def _people_as_text(known: Sequence[Holder], trouble: str) -> Iterator[str]:
    if trouble:
        yield f"{trouble[0].upper()}{trouble[1:]}."
        return
    if not known:
        yield "Nobody whom the gateway knows holds such a role."
        return
    yield "People and API keys that hold such a role"
    words = {"user": "person", "api_key": "API key"}
    rows = [
        (f"  {holder.name}", words[holder.kind], holder.tenant, ", ".join(holder.roles), _STANDINGS[holder.standing])
        for holder in known
    ]
    yield table(("  NAME", "", "TENANT", "ROLES", ""), rows)


def _as_json(found: Access, policies: Policies) -> dict[str, Any]:
    route = found.rule.route
    return {
        "route": route.name,
        "route_source": route.source,
        "template": route.template,
        "public": route.public,
        "credentials": found.credentials,
        "second_factor": found.needs_mfa,
        "require": found.requirements,
        "deny": [entry._asdict() for entry in found.denials],
        "allow": [entry._asdict() for entry in found.grants],
        "holders": [
            {
                "roles": None if holders.roles == NOBODY else holders.roles,
                "tenants": holders.tenants,
                "standing": holders.standing,
            }
            for holders in found.holders
        ],
        "undecided": found.doubts,
        "version": policies.table.version,
    }
