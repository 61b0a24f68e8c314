"""What is said of one organisation: its hosts, and where it differs from everybody else.

A tenant never widens what holds for all: its limits and its rules of second factors come on top of the general ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gateway.document.source import did_you_mean
from gateway.server.fields import Host, Name, RoleName
from gateway.server.sections.branding import Branding
from gateway.server.sections.limits import Limit
from gateway.server.sections.section import Section
from gateway.server.sections.sessions import TenantSessions

Place = tuple[str | int, ...]


class TenantMFA(Section):
    """Of whom a second factor is asked in this tenant, beside those of whom `mfa` asks it."""

    required: Literal["always", "by_role", "risk"]
    roles: Annotated[tuple[RoleName, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        if (self.required == "by_role") is (self.roles is None):
            raise ValueError("required: by_role and roles need each other")
        return self


class Tenant(Section):
    """An organisation and the hosts that belong to it alone."""

    hosts: Annotated[tuple[Host, ...], Field(min_length=1)] = ()
    """Without any, its people use the host of `public_url`, and routes say by `tenant` what is its own."""
    sessions: TenantSessions = TenantSessions()
    mfa: TenantMFA | None = None
    limits: dict[Name, Limit] = Field(default_factory=dict)
    """Counted for requests about this tenant, beside the general limits."""
    branding: Branding | None = None
    """What differs from the general look, on the hosts of this tenant."""


def contradictions(tenants: Mapping[str, Tenant], *, mfa_required: str) -> Iterator[tuple[Place, str]]:
    """Find what tenants say that changes nothing; `mfa_required` is what holds for everybody."""
    for name, tenant in tenants.items():
        if tenant.mfa is not None and mfa_required == "always":
            yield ("tenants", name, "mfa"), "has no effect: mfa.required is always for everybody"
        login = tenant.limits.get("login")
        if login is not None and login.per != "ip":
            yield (
                ("tenants", name, "limits", "login", "per"),
                "attempts to sign in are counted per ip: nobody is signed in yet",
            )
        if login is not None and not tenant.hosts:
            yield ("tenants", name, "limits", "login"), "has no effect: people of this tenant sign in on a shared host"


def unknown_roles(tenants: Mapping[str, Tenant], known: frozenset[str]) -> Iterator[tuple[Place, str]]:
    """Find roles with a rule of second factors that no policy declares: it would hold for nobody."""
    for name, tenant in tenants.items():
        for index, role in enumerate(tenant.mfa.roles or ()) if tenant.mfa is not None else ():
            if role not in known:
                yield (
                    ("tenants", name, "mfa", "roles", index),
                    f"no policy declares the role {role!r}{did_you_mean(role, known)}",
                )
