"""How sure a session is of its person, and what a route may want beyond being signed in.

The ladder has three rungs, named as SP 800-63B-4 and the OpenID EAP profile name them. What a session
stands on follows from what was proven and when, never from a word that a provider sent.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from gateway.exchange.session import Session


class Assurance(StrEnum):
    """How a person was authenticated; each rung includes those before it. The values are our `acr`."""

    AAL1 = "aal1"
    """One factor (SP 800-63B-4 §2.1)."""
    AAL2 = "aal2"
    """Two factors (SP 800-63B-4 §2.2)."""
    PHISHING_RESISTANT = "phr"
    """Two factors, one of them bound to our host by the browser (SP 800-63B-4 §3.2.5, OpenID EAP ACR values 1.0 §3)."""


class Lack(StrEnum):
    """What a session lacks for a route that wants a step-up."""

    ACR = "acr"
    """A higher rung."""
    MFA_AGE = "mfa_age"
    """A second factor proven more lately."""
    AUTH_AGE = "auth_age"
    """A sign-in from the beginning."""


_RUNG: Final = {Assurance.AAL1: 0, Assurance.AAL2: 1, Assurance.PHISHING_RESISTANT: 2}
BOUND_TO_HOST: Final = frozenset(("hwk", "swk"))
"""RFC 8176 §2: proof of possession of a key, in hardware or software."""


class StepUp(msgspec.Struct, frozen=True, kw_only=True):
    """What a route wants beyond a session that owes nothing. Ages are seconds; None = any."""

    mfa_age_s: float | None = None
    auth_age_s: float | None = None
    acr: Assurance | None = None

    def lack(self, session: Session, now: float) -> Lack | None:
        """Name the first thing that `session` lacks; None when it has all. A clock that was set back makes nothing younger than now.

        In this order, because a new sign-in proves everything anew and a better factor is a newer one.
        """
        if self.auth_age_s is not None and now - session.auth_time > self.auth_age_s:
            return Lack.AUTH_AGE
        if self.acr is not None and _RUNG[assurance_of(session)] < _RUNG[self.acr]:
            return Lack.ACR
        # A factor that was never proven has time 0: older than every limit.
        if self.mfa_age_s is not None and now - session.mfa_time > self.mfa_age_s:
            return Lack.MFA_AGE
        return None


def assurance_of(session: Session) -> Assurance:
    """Tell on which rung a session stands; a device that was remembered is no factor (`amr` has no `mfa` then)."""
    if "mfa" not in session.amr or not session.mfa_time:
        return Assurance.AAL1
    return Assurance.AAL2 if BOUND_TO_HOST.isdisjoint(session.amr) else Assurance.PHISHING_RESISTANT
