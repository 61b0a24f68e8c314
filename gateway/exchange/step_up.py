"""How sure a session is of its person, and what a route may require beyond being signed in.

The ladder has three rungs, named as SP 800-63B-4 and the OpenID EAP profile name them. What a session
stands on follows from what was proven and when, never from a word that a provider sent.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

import msgspec

from gateway.exchange.session import Session

Network = IPv4Network | IPv6Network


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
    FACTOR = "factor"
    """A proof by the kind of factor that the route names."""
    MFA_AGE = "mfa_age"
    """A second factor proven more lately."""
    AUTH_AGE = "auth_age"
    """A sign-in from the beginning."""


_RUNG: Final = {Assurance.AAL1: 0, Assurance.AAL2: 1, Assurance.PHISHING_RESISTANT: 2}
BOUND_TO_HOST: Final = frozenset(("hwk", "swk"))
"""RFC 8176 §2: proof of possession of a key, in hardware or software."""


class Factor(StrEnum):
    """By which kind of second factor a session must have been proven (`require: {factor: …}`)."""

    ANY = "any"
    TOTP = "totp"
    """A code of an authenticator app."""
    WEBAUTHN = "webauthn"
    """A passkey or a security key."""


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """What a route wants beyond a session that owes nothing. Ages are seconds; None = any.

    What a person can still prove (`lack`) leads to a step-up; where and by which browser they come (`refuses_…`) refuses.
    """

    mfa_age_s: float | None = None
    auth_age_s: float | None = None
    acr: Assurance | None = None
    factor: Factor | None = None
    known_device: bool = False
    """Only from a browser that the person signed in with before."""
    networks: tuple[Network, ...] = ()
    """Only from one of these; empty = from everywhere."""

    @property
    def asks_proof(self) -> bool:
        """Whether anything of it can be met by a step-up."""
        return not (self.mfa_age_s is None and self.auth_age_s is None and self.acr is None and self.factor is None)

    def lack(self, session: Session, now: float) -> Lack | None:
        """Name the first thing that `session` lacks; None when it has all. A clock that was set back makes nothing younger than now.

        In this order, because a new sign-in proves everything anew and a better factor is a newer one.
        """
        if session.credential == "api_key" and self.asks_proof:
            return Lack.AUTH_AGE  # attack: a key that was made a minute ago is no sign-in of a minute ago
        if self.auth_age_s is not None and now - session.auth_time > self.auth_age_s:
            return Lack.AUTH_AGE
        if self.acr is not None and _RUNG[assurance_of(session)] < _RUNG[self.acr]:
            return Lack.ACR
        if self.factor is not None and not proven_by(session, self.factor):
            return Lack.FACTOR
        # A factor that was never proven has time 0: older than every limit.
        if self.mfa_age_s is not None and now - session.mfa_time > self.mfa_age_s:
            return Lack.MFA_AGE
        return None

    def refuses_address(self, address: str) -> bool:
        """Tell whether a client's address is in none of the networks; one that cannot be read never is."""
        if not self.networks:
            return False
        known = _address(address)
        return known is None or not any(known in network for network in self.networks)

    def refuses_device(self, session: Session) -> bool:
        """Tell whether the person must come by a browser they signed in with before, and does not."""
        return self.known_device and not session.known_device


@lru_cache(maxsize=4096)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def proven_by(session: Session, factor: Factor) -> bool:
    """Tell whether the second factor of a session was of this kind; a device that was remembered is no factor."""
    if "mfa" not in session.amr or not session.mfa_time:
        return False
    match factor:
        case Factor.ANY:
            return True
        case Factor.TOTP:
            return "otp" in session.amr
        case Factor.WEBAUTHN:
            return not BOUND_TO_HOST.isdisjoint(session.amr)


def assurance_of(session: Session) -> Assurance:
    """Tell on which rung a session stands; a device that was remembered is no factor (`amr` has no `mfa` then)."""
    if "mfa" not in session.amr or not session.mfa_time:
        return Assurance.AAL1
    return Assurance.AAL2 if BOUND_TO_HOST.isdisjoint(session.amr) else Assurance.PHISHING_RESISTANT
