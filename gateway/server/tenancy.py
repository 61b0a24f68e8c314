"""What tenants and header fields of gateway.yaml and the routes of the policies have to do with each other."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.policy import PolicyTable
from gateway.server.settings import Settings
from gateway.wire.names import fold


def tenant_fields(*tables: PolicyTable | None) -> frozenset[bytes]:
    """Return the header fields that name a tenant on some route, folded: no client's copy of them reaches an upstream by itself."""
    return frozenset(
        rule.tenancy.folded
        for table in tables
        if table is not None
        for rule in table.rules.values()
        if rule.tenancy is not None and rule.tenancy.field
    )


def field_conflicts(settings: Settings, table: PolicyTable) -> Iterator[str]:
    """Find header fields that name the tenant on a route, or that policy sets, and are the gateway's own words at an upstream.

    One would hide the other.
    """
    taken = {
        fold(name.encode("ascii")): f"upstreams.{upstream}.{key}: {name}"
        for upstream, rules in settings.upstreams.items()
        for key, names in (("headers", rules.headers), ("token_fields", rules.token_fields))
        for name in names.values()
    }
    key_field = settings.identity.api_keys.header
    taken[fold(key_field.encode("ascii"))] = f"identity.api_keys.header: {key_field}"
    bound = tenant_fields(table)
    for rule in table.rules.values():
        tenancy = rule.tenancy
        if tenancy is not None and tenancy.field and tenancy.folded in taken:
            yield f"{tenancy.mismatch.rule}: {tenancy.field} is taken: {taken[tenancy.folded]}"
        for source, name in rule.set_fields:
            if fold(name) in taken:
                yield f"{source}: headers cannot set {name.decode('ascii')}: it is taken: {taken[fold(name)]}"
            elif fold(name) in bound:  # upstream gets it as it was judged, once
                yield f"{source}: headers cannot set {name.decode('ascii')}: it names the tenant on some route"
