"""Roles as the verbs of people and keys take them: those of the policy, and the gateway's own."""

from __future__ import annotations

from collections.abc import Sequence

import click

from gateway.document.source import did_you_mean
from gateway.exchange.built_in import BUILT_IN_ROLES, is_reserved
from gateway.exchange.errors import GatewayError
from gateway.policy import compile_policy
from gateway.policy.declaration import NAME, NAME_SENTENCE
from gateway.server.bundle import read_directory
from gateway.server.settings import Settings


def split_roles(roles: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tell roles of the policy from the gateway's own, each once. Raises UsageError for what can be neither."""
    for role in roles:
        if not NAME.fullmatch(role):
            raise click.UsageError(f"{role!r} is not a role: {NAME_SENTENCE}")
        if is_reserved(role) and role not in BUILT_IN_ROLES:
            raise click.UsageError(
                f"{role!r}: the gateway's own roles are {' and '.join(BUILT_IN_ROLES)}{did_you_mean(role, BUILT_IN_ROLES)}"
            )
    distinct = tuple(dict.fromkeys(roles))
    own = tuple(role for role in distinct if is_reserved(role))
    return tuple(role for role in distinct if role not in own), own


def unknown_roles(settings: Settings, roles: Sequence[str]) -> list[str]:
    """Warn of roles that the policy does not know, as far as there is a policy that compiles."""
    unchecked = ["the policy does not compile, so the roles were not checked; run: gateway policy check"]
    errors: list[str] = []
    files = read_directory(settings.policies, settings.policies.parent, errors)
    if errors:
        return unchecked
    try:
        compiled, _ = compile_policy(
            files,
            upstreams=settings.upstreams.keys(),
            tenants=settings.tenants.keys(),
            hosts=settings.hosts,
            mfa_required=settings.mfa.required == "always",
        )
    except GatewayError:
        return unchecked
    return [
        f"the role {role!r} allows nothing: the policy does not know it{did_you_mean(role, compiled.roles)}"
        for role in roles
        if role not in compiled.roles
    ]
