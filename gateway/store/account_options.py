"""What gateway.yaml says about accounts, in the store's words."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.session.life import Lifetimes
from gateway.store.new_passwords import PasswordRules


class AccountOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What gateway.yaml says about accounts."""

    issuer: str
    """Name of the gateway in authenticator apps: the host of `public_url`."""
    lifetimes: Lifetimes = Lifetimes()
    tenant_lifetimes: Mapping[str, Lifetimes] = {}
    """Whole lifetimes of tenants that differ."""
    mfa_always: bool = True
    """True: people without a factor owe an enrolment. False: only people who have a factor are asked for it."""
    recovery_codes: bool = True
    passwords: PasswordRules = PasswordRules()
    """What a new password must be."""

    def lifetimes_of(self, tenant: str) -> Lifetimes:
        """Return how long sessions of a tenant live."""
        return self.tenant_lifetimes.get(tenant, self.lifetimes)
