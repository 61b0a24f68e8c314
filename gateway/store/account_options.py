"""What gateway.yaml says about accounts, in the store's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from gateway.authn.assurance import FactorRule, Method, Required
from gateway.session.rules import RuleBook, Rules
from gateway.store.new_passwords import PasswordRules

_ALWAYS: Final = FactorRule(required=Required.ALWAYS, methods=frozenset(Method))
_ENROLLED: Final = FactorRule(required=Required.ENROLLED, methods=frozenset(Method))


class AccountOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What gateway.yaml says about accounts."""

    issuer: str
    """Name of the gateway in authenticator apps: the host of `public_url`."""
    rules: RuleBook = RuleBook()
    """How long sessions live, and what they are bound to."""
    mfa_always: bool = True
    """True: people without a factor owe an enrolment. False: only people who have a factor are asked for it."""
    factor_rule: FactorRule | None = None
    """Whom to ask for which second factor; None = as `mfa_always` says."""
    tenants: frozenset[str] = frozenset()
    """Every tenant that there is; empty = whatever people belong to."""
    password_tenants: frozenset[str] = frozenset()
    """Whose people sign in by what they have here, without a provider; empty = everybody's."""
    tenant_rules: Mapping[str, FactorRule] = MappingProxyType({})
    """What tenants ask for beside that; what either asks for is owed."""
    recovery_codes: bool = True
    passwords: PasswordRules = PasswordRules()
    """What a new password must be."""

    @property
    def rule(self) -> FactorRule:
        """Whom to ask for which second factor."""
        return self.factor_rule or (_ALWAYS if self.mfa_always else _ENROLLED)

    def admits(self, tenant: str, owner: str) -> bool:
        """Tell whether people of a tenant may sign in on a host of `owner` (empty = shared by all there are)."""
        return tenant == owner if owner else not self.tenants or tenant in self.tenants

    def rules_of(self, tenant: str, roles: Iterable[str]) -> Rules:
        """Return the rules of sessions for a person."""
        return self.rules.of(tenant, roles)
