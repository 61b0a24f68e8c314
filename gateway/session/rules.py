"""By which rules a session of a person lives: those of the tenant, tightened by each role the person holds.

Where several apply the strictest wins, key by key. It knows no configuration file, and nothing of what
the sessions do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from gateway.session.binding import Binding
from gateway.session.life import Lifetimes


class NewDevice(StrEnum):
    """What happens when somebody signs in with a browser that they did not use before."""

    OFF = "off"
    NOTIFY = "notify"
    """They are told by mail."""
    CONFIRM = "confirm"
    """They type a code that is mailed to them before they go on."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a role may only tighten; None = it says nothing."""

    idle_s: float | None = None
    absolute_s: float | None = None
    concurrent: int | None = None
    binding: Binding = Binding()


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a new session has to know."""

    lifetimes: Lifetimes = Lifetimes()
    binding: Binding = Binding()
    new_device: NewDevice = NewDevice.OFF

    def tightened(self, bounds: Iterable[Bounds]) -> Rules:
        """Return the rules with every bound kept; no bound makes a session longer."""
        idle_s, absolute_s = self.lifetimes.idle_s, self.lifetimes.absolute_s
        concurrent, binding = self.lifetimes.concurrent, self.binding
        for bound in bounds:
            idle_s = idle_s if bound.idle_s is None else min(idle_s, bound.idle_s)
            absolute_s = absolute_s if bound.absolute_s is None else min(absolute_s, bound.absolute_s)
            if bound.concurrent is not None:
                concurrent = bound.concurrent if concurrent is None else min(concurrent, bound.concurrent)
            binding = binding.narrower(bound.binding)
        return Rules(
            lifetimes=Lifetimes(
                idle_s=min(idle_s, absolute_s),
                absolute_s=absolute_s,
                concurrent=concurrent,
                when_full=self.lifetimes.when_full,
            ),
            binding=binding,
            new_device=self.new_device,
        )


class TenantRules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of one tenant, and what its roles add."""

    rules: Rules = Rules()
    roles: Mapping[str, tuple[Bounds, ...]] = MappingProxyType({})
    """Role as people hold it -> what it and every role that it includes ask for."""

    def of(self, roles: Iterable[str]) -> Rules:
        """Return the rules for somebody who holds `roles`."""
        bounds = [bound for role in roles for bound in self.roles.get(role, ())]
        return self.rules.tightened(bounds) if bounds else self.rules


class RuleBook(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of every tenant."""

    general: TenantRules = TenantRules()
    tenants: Mapping[str, TenantRules] = MappingProxyType({})

    def of(self, tenant: str, roles: Iterable[str]) -> Rules:
        """Return the rules for a person; a tenant that is not among them lives by the general ones."""
        return self.tenants.get(tenant, self.general).of(roles)
