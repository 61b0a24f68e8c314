"""What gateway.yaml says about sessions, in the words of `session.rules`: the one place where the two meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.document.source import did_you_mean
from gateway.policy import PolicyTable
from gateway.policy.roles import Roles
from gateway.server.sections.sessions import RoleSessions, SessionBinding, SessionRules, TenantSessions
from gateway.server.settings import Settings
from gateway.session.binding import Binding
from gateway.session.life import Lifetimes
from gateway.session.rules import Bounds, RuleBook, Rules, TenantRules


def rule_book(settings: Settings, roles: Roles) -> RuleBook:
    """Build the rules of every tenant. A role's bounds hold for whoever holds it, also by inclusion."""
    general = settings.sessions
    return RuleBook(
        general=_tenant_rules(general, [general.roles], roles),
        tenants={
            name: _tenant_rules(settings.session_rules(name), [general.roles, tenant.sessions.roles], roles)
            for name, tenant in settings.tenants.items()
        },
    )


def is_bound_to_country(settings: Settings) -> bool:
    """Tell whether any session is bound to the country it begins in."""
    sections: list[SessionRules | TenantSessions] = [settings.sessions]
    sections += [tenant.sessions for tenant in settings.tenants.values()]
    bindings = [section.bind for section in sections]
    bindings += [role.bind for section in sections for role in section.roles.values()]
    return any(binding is not None and binding.network.country for binding in bindings)


def unknown_roles(settings: Settings, table: PolicyTable) -> list[str]:
    """Find roles with rules of their own that no policy declares: such rules would hold for nobody."""
    sections = [("sessions", settings.sessions.roles)]
    sections += [(f"tenants.{name}.sessions", tenant.sessions.roles) for name, tenant in settings.tenants.items()]
    return [
        f"{place}.roles.{role}: no policy declares the role {role}" + did_you_mean(role, table.roles)
        for place, of_roles in sections
        for role in of_roles
        if role not in table.roles
    ]


def _tenant_rules(rules: SessionRules, sections: Iterable[Mapping[str, RoleSessions]], roles: Roles) -> TenantRules:
    bounds: dict[str, list[Bounds]] = {}
    for section in sections:
        for name, role in section.items():
            for holder in roles.holders([name]):
                bounds.setdefault(holder, []).append(_bounds(role))
    return TenantRules(
        rules=Rules(
            lifetimes=Lifetimes(
                idle_s=rules.idle, absolute_s=rules.absolute, concurrent=rules.concurrent, when_full=rules.when_full
            ),
            binding=_binding(rules.bind),
            new_device=rules.new_device,
        ),
        roles={name: tuple(of_role) for name, of_role in bounds.items()},
    )


def _bounds(role: RoleSessions) -> Bounds:
    return Bounds(idle_s=role.idle, absolute_s=role.absolute, concurrent=role.concurrent, binding=_binding(role.bind))


def _binding(bind: SessionBinding) -> Binding:
    return Binding(device=bind.device, network=bind.network, certificate=bind.certificate)
