"""What a new session owes, given the rule for second factors, the person and what is unusual about the sign-in.

A pure table: nothing here asks a store or sets a cookie. Whether a route wants more than a session that owes
nothing is `exchange.step_up`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from gateway.exchange.session import Owed


class Method(StrEnum):
    """A way to prove a second factor (`mfa.methods`)."""

    WEBAUTHN = "webauthn"
    TOTP = "totp"
    RECOVERY = "recovery"
    EMAIL = "email"


class Required(StrEnum):
    """Whom the rule asks for a second factor (`mfa.required`)."""

    ALWAYS = "always"
    """Everybody; whoever has none sets one up."""
    BY_ROLE = "by_role"
    """Who holds one of the roles; the others when they have a factor."""
    RISK = "risk"
    """Everybody, when something about the sign-in is unusual."""
    OFFERED = "offered"
    """Who has a factor; the others are offered one."""
    ENROLLED = "enrolled"
    """Who has a factor. What an absent section means."""


class Signal(StrEnum):
    """Something unusual about a sign-in."""

    NEW_DEVICE = "new_device"
    """The browser brought no device cookie of this person."""
    NEW_COUNTRY = "new_country"
    NEW_NETWORK = "new_network"
    RECENT_RESET = "recent_reset"
    """The password was reset lately, by mail or by an operator."""
    MANY_FAILURES = "many_failures"
    """Many attempts failed on the account lately."""
    EMERGENCY = "emergency"
    """The account was opened for an emergency."""


ENROLLABLE: Final = frozenset((Method.WEBAUTHN, Method.TOTP))
"""Methods by which a person comes to have a factor at all."""
_FORGETS: Final = frozenset(Signal) - {Signal.NEW_NETWORK}
"""Signals for which a remembered device is asked all the same: who travels changes networks every hour."""


class FactorRule(msgspec.Struct, frozen=True, kw_only=True):
    """What gateway.yaml says about second factors."""

    required: Required = Required.ENROLLED
    roles: frozenset[str] = frozenset()
    """With `by_role`: who holds one of them needs a second factor."""
    methods: frozenset[Method] = frozenset((Method.TOTP, Method.RECOVERY))
    remember_s: float = 0.0
    """How long a device is remembered; 0 = never."""
    never_remembered: frozenset[str] = frozenset()
    """Who holds one of these roles is asked on every device, each time."""

    def demands(self, roles: frozenset[str], signals: frozenset[Signal]) -> bool:
        """Tell whether somebody with these roles must have a factor for this sign-in."""
        match self.required:
            case Required.ALWAYS:
                return True
            case Required.BY_ROLE:
                return not self.roles.isdisjoint(roles)
            case Required.RISK:
                return bool(signals)
            case Required.OFFERED | Required.ENROLLED:
                return False

    def remembers(self, roles: frozenset[str]) -> bool:
        """Tell whether a device of somebody with these roles may be remembered."""
        return self.remember_s > 0 and self.never_remembered.isdisjoint(roles)


def owed(
    rule: FactorRule,
    *,
    roles: frozenset[str],
    factors: frozenset[Method],
    proven: bool,
    remembered: bool = False,
    signals: frozenset[Signal] = frozenset(),
) -> Owed:
    """Say what a session owes when the first factor is proven.

    Args:
        rule: what gateway.yaml says.
        roles: every role the person holds.
        factors: what the person has; recovery codes alone are none.
        proven: a second factor came with the first: a passkey that verified its user, or a provider whose word counts.
        remembered: the browser proved a second factor of this person within `remember_s`.
        signals: what is unusual. One more never makes the session owe less.

    A factor that is no longer among the allowed methods still has to be proven by whoever has no other: else
    forbidding a method would let a stolen password set up the next one. See `owed_after`.

    """
    if proven:
        return Owed.NOTHING
    has_factor = not factors.isdisjoint(ENROLLABLE) or Method.EMAIL in factors & rule.methods
    demanded = rule.demands(roles, signals)
    if not has_factor:
        return Owed.ENROLMENT if demanded else Owed.NOTHING
    if not demanded and rule.required is Required.RISK:
        return Owed.NOTHING
    if remembered and rule.remembers(roles) and signals.isdisjoint(_FORGETS):
        return Owed.NOTHING
    return Owed.MFA


def owed_after(rule: FactorRule, *, factors: frozenset[Method]) -> Owed:
    """Say what a session owes once a second factor was proven: an enrolment where none of the person's is allowed any more."""
    return Owed.ENROLMENT if rule.methods.isdisjoint(factors - {Method.RECOVERY}) else Owed.NOTHING
