"""What of a request says which tenant it is about, on a route that says so."""

from __future__ import annotations

from typing import Literal

import msgspec


class TenantBinding(msgspec.Struct, frozen=True, kw_only=True):
    """The `tenant` of a route. It never says who asks, only about whom."""

    by: Literal["name", "path", "header", "subdomain"]
    """`name`: the route itself, for every request."""
    value: str
    """Name of the tenant, of the path parameter or of the header field (lower case), or the domain above the hosts."""
