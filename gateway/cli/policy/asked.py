"""About whom a verb is asked: `--as USER`, whom the gateway knows, or `--as USER:ROLE,ROLE`, who need not exist."""

from __future__ import annotations

from contextlib import closing

from gateway.authn.name import InvalidNameError, canonical_name
from gateway.cli.policy.reading import Policies, refuse
from gateway.document.source import did_you_mean
from gateway.exchange.errors import GatewayError
from gateway.policy.judgement import Person
from gateway.server.settings import Settings
from gateway.server.state import open_state, read_redis_options
from gateway.store.keyring import Keyring
from gateway.store.records import User


def person_of(
    policies: Policies, who: str, tenant: str | None, host_tenant: str, *, email: str, ages: tuple[float, float | None]
) -> Person:
    """Read USER[:ROLES]. Roles after the colon count; without a colon the user of the gateway is looked up."""
    name, colon, listed = who.partition(":")
    if not name:
        refuse("--as needs a name: USER, or USER:ROLE,ROLE")
    if tenant is not None and policies.settings.tenants and tenant not in policies.settings.tenants:
        refuse(f"unknown tenant {tenant!r}{did_you_mean(tenant, policies.settings.tenants)}")
    if colon:
        roles = tuple(dict.fromkeys(role.strip() for role in listed.split(",") if role.strip()))
        return Person(
            user=name,
            tenant=host_tenant if tenant is None else tenant,
            roles=roles,
            email=email,
            auth_age=ages[0],
            mfa_age=ages[1],
        )
    user = look_up(policies.settings, name, hint=f"give the roles to explain without it: --as {name}:ROLE")
    return Person(
        user=user.name,
        user_id=user.id,
        tenant=user.tenant if tenant is None else tenant,
        roles=user.roles,
        email=email or user.email,
        auth_age=ages[0],
        mfa_age=ages[1],
    )


def look_up(settings: Settings, name: str, *, hint: str) -> User:
    """Find a user of the gateway in its state, which is not changed; `hint` says what helps where there is none."""
    try:
        store = open_state(settings, Keyring.load(settings.keyring), read_redis_options(settings))
    except GatewayError as error:
        refuse(f"the user {name!r} cannot be looked up ({error}); {hint}")
    with closing(store):
        try:
            user = store.user_named(canonical_name(name))
        except InvalidNameError as error:
            refuse(f"{name!r}: {error}")
    if user is None:
        refuse(f"there is no user {name!r}; {hint}")
    if user.disabled:
        refuse(f"the user {name!r} is disabled and can have no session; {hint}")
    return user
