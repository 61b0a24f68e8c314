"""What gateway.yaml says about second factors, in the words of `authn`: the one place where the two meet."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import msgspec

from gateway.authn.assurance import FactorRule, Method, Required
from gateway.document.source import did_you_mean
from gateway.policy.roles import Roles
from gateway.server.sections.mfa import MFA
from gateway.server.sections.tenants import Tenant

Place = tuple[str | int, ...]


def factor_rule(mfa: MFA, roles: Roles) -> FactorRule:
    """Build the rule. What is said of a role holds for whoever holds it, also by inclusion."""
    return FactorRule(
        required=Required(mfa.required),
        roles=roles.holders(mfa.roles or ()),
        methods=frozenset(Method(method) for method in mfa.methods),
        remember_s=mfa.remember_device,
        never_remembered=roles.holders(mfa.never_remember),
    )


def tenant_rules(tenants: Mapping[str, Tenant], mfa: MFA, roles: Roles) -> dict[str, FactorRule]:
    """Build what tenants ask for beside the general rule; methods and remembering are the general rule's."""
    general = factor_rule(mfa, roles)
    return {
        name: msgspec.structs.replace(
            general, required=Required(tenant.mfa.required), roles=roles.holders(tenant.mfa.roles or ())
        )
        for name, tenant in tenants.items()
        if tenant.mfa is not None
    }


def unknown_roles(mfa: MFA, known: Collection[str]) -> Iterator[tuple[Place, str]]:
    """Find roles that no policy declares: the rule would hold for nobody."""
    for key, names in (("roles", mfa.roles or ()), ("never_remember", mfa.never_remember)):
        for index, role in enumerate(names):
            if role not in known:
                yield ("mfa", key, index), f"no policy declares the role {role!r}{did_you_mean(role, known)}"
