"""The gateway's own roles: what they are called, and which names nobody else may use.

They are kept apart from the roles of policies (`User.gateway_roles`, never `User.roles`), so that no rule can ask for
one, no portal is told of one, and no claim of an identity provider gives, copies or takes one.
"""

from __future__ import annotations

from typing import Final

RESERVED_PREFIX: Final = "gateway."
OPERATOR: Final = "gateway.admin"
"""Sees and manages every organisation in the console."""
TENANT_ADMIN: Final = "gateway.tenant-admin"
"""Sees and manages their own organisation in the console."""
BUILT_IN_ROLES: Final = (OPERATOR, TENANT_ADMIN)
RESERVED_SENTENCE: Final = "names that begin with gateway. are the gateway's own roles; they are given with gateway user add or gateway user role, and nowhere else"


def is_reserved(role: str) -> bool:
    """Tell whether a name is kept for the gateway's own roles, in any case: `Gateway.Admin` must not pass for one."""
    return role.lower().startswith(RESERVED_PREFIX)
