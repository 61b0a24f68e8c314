"""About which tenant a request is, where its route says more than its host does.

Reads the one field that the route names; `policy.tenancy` decides. Whether the person belongs there is the pipeline's question.
"""

from __future__ import annotations

from gateway.edge.exchange import Exchange
from gateway.policy import Match
from gateway.policy.table import Rule
from gateway.policy.tenancy import NO_FIELDS, Tenancy


def settle_tenant(x: Exchange, match: Match, tenancy: Tenancy, host: str) -> None:
    """Set the tenant of `x`, which stands at that of its host; `x.is_torn` where host and route do not name one and the same."""
    fields = NO_FIELDS if not tenancy.field else fields_meant(x, tenancy)
    tenant = match.tenant(x.tenant, host, fields)
    if tenant is None:
        x.is_torn = True
    else:
        x.tenant = tenant


def fields_meant(x: Exchange, tenancy: Tenancy) -> tuple[tuple[str, str], ...]:
    """Return every field that some upstream could take for the bound one, whether or not a client's copy goes on."""
    forwarded = [line.partition(b": ") for line in x.fields.forward.split(b"\r\n") if line]
    found = [*x.fields.reserved, *((name, value) for name, _, value in forwarded)]
    return tuple(
        (name.decode("ascii"), value.decode("latin-1"))
        for name, value in found
        if tenancy.is_meant(name.decode("ascii"))
    )


def tenant_field(x: Exchange) -> bytes:
    """Write the field that named the tenant, as it was judged; empty where none did."""
    match = x.resolution.match if x.resolution is not None else None
    tenancy = match.rule.tenancy if match is not None else None
    if tenancy is None or not tenancy.field:
        return b""
    return b"%b: %b\r\n" % (tenancy.field.encode("ascii"), x.tenant.encode("ascii"))


def bound_at(rule: Rule) -> str:
    """Return the place that says about which tenant a route is; empty where its host alone does."""
    return rule.tenancy.mismatch.rule if rule.tenancy is not None else ""
