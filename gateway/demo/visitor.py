"""Who the gateway says is asking. The portal believes these headers, as any portal behind the gateway does.

It never checks them: a portal that can be reached past the gateway greets whoever it is told to greet.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Visitor(msgspec.Struct, frozen=True):
    """One person as named by `X-Gateway-User`, `-Tenant` and `-Roles`; all empty when nobody is named."""

    user: str
    tenant: str
    roles: tuple[str, ...]

    @property
    def name(self) -> str:
        """How the portal addresses the person."""
        return self.user or "guest"


def visitor_of(headers: Mapping[str, str]) -> Visitor:
    """Read the visitor from request headers; missing ones make a guest."""
    return Visitor(
        user=headers.get("X-Gateway-User", ""),
        tenant=headers.get("X-Gateway-Tenant", ""),
        roles=tuple(filter(None, (role.strip() for role in headers.get("X-Gateway-Roles", "").split(",")))),
    )
