"""Whether another site made a browser send a request that changes something (cross-site request forgery, CWE-352).

Judges by what a page cannot write itself: Fetch Metadata (`Sec-Fetch-Site`, W3C), else Origin (RFC 6454 §7), else Referer.
Whether a request is subject at all is said by `is_forgeable`: what a browser sends along by itself makes it so, and a field
that only a script of the own origin may set takes it out. What nobody said is the operator's to weigh (`missing`), or a form
token's (`form_token`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from gateway.inspection.web_origin import origin_of_url, read_origin
from gateway.wire.request import SAFE_METHODS

Mode = Literal["off", "detect", "block"]
_OWN_SITES: Final = frozenset((b"same-origin", b"none"))
"""`none`: a person typed the address, or opened a bookmark. No page caused it."""
_AMBIENT_SCHEMES: Final = (b"basic", b"digest", b"negotiate", b"ntlm")
"""What browsers send by themselves once a person has signed in so (RFC 7617, RFC 7616, RFC 4559)."""


class Sender(StrEnum):
    """Whose page sent a request."""

    OWN = "own"
    TRUSTED = "trusted"
    """A page of an origin, or of the site, that the operator trusts here."""
    FOREIGN = "foreign"
    UNSAID = "unsaid"


@dataclass(frozen=True, slots=True)
class OriginRules:
    """What the operator says about a route."""

    mode: Mode = "block"
    trusted_origins: frozenset[bytes] = frozenset()
    """As `read_origin` returns them."""
    same_site: bool = False
    """Pages of sibling hosts count as trusted, where the browser says that they are (`Sec-Fetch-Site: same-site`)."""
    missing: Literal["allow", "refuse"] = "allow"
    """What becomes of a request of which nobody says where it comes from: old browsers, and programs with cookies."""
    token: bool = False
    """Forms of the portal get a hidden field, and what the browser does not vouch for must bring it."""
    methods: frozenset[bytes] = frozenset()
    """Methods that change something here although they should not (RFC 9110 §9.2.1): GET, of old portals."""

    def is_subject(self, method: bytes) -> bool:
        """Tell whether a request with this method changes something; portals do for HEAD what they do for GET."""
        if self.mode == "off":
            return False
        return (
            method not in SAFE_METHODS
            or (b"GET" if method == b"HEAD" else method) in self.methods
            or method in self.methods
        )


@dataclass(frozen=True, slots=True)
class Said:
    """What a request says about its sender; empty where it says nothing."""

    site: bytes = b""
    """`Sec-Fetch-Site`."""
    origin: bytes = b""
    referer: bytes = b""


def is_forgeable(*, cookies: bool, certificate: bool, authorization: bytes) -> bool:
    """Tell whether a browser may have been made to send the request with somebody's authority.

    `cookies`: any came; `certificate`: the connection's counts; `authorization`: the field, empty when absent. A scheme
    that browsers do not repeat by themselves (Bearer) can only be set by a script that was allowed to (Fetch §4.9).
    """
    if authorization:
        return authorization.lower().startswith(_AMBIENT_SCHEMES)
    return cookies or certificate


def sender_of(said: Said, rules: OriginRules, own: bytes) -> Sender:
    """Tell whose page sent a request; `own` is our origin as the browser writes it.

    Fetch Metadata goes first: a page that hides its origin (`Referrer-Policy: no-referrer`) writes `Origin: null` to
    its own server, and behind a proxy that changes Host the browser alone knows. A word that is none of the standard's is
    taken for a foreign page.
    """
    if said.site in _OWN_SITES:
        return Sender.OWN
    if said.site:
        if said.site == b"same-site" and rules.same_site:
            return Sender.TRUSTED
        return _trusted(said.origin, rules)
    if said.origin:  # `null` too: a sandboxed frame, a file, a redirect across origins
        return Sender.OWN if read_origin(said.origin) == own else _trusted(said.origin, rules)
    if said.referer:
        origin = origin_of_url(said.referer)
        return Sender.OWN if origin == own else _trusted(origin or b"", rules)
    return Sender.UNSAID


def _trusted(origin: bytes, rules: OriginRules) -> Sender:
    return Sender.TRUSTED if read_origin(origin) in rules.trusted_origins else Sender.FOREIGN
