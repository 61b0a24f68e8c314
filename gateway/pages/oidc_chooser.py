"""Which ways to sign in a page offers: passwords, and the identity providers of this host.

A person who has only one way is sent along it; one who has several sees the way they went last first. What the browser
remembers of that is a name, and decides nothing.
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec
from aiohttp import web

from gateway.exchange.reason import Reason
from gateway.pages.oidc_seams import Offer
from gateway.pages.visit import Visit

REMEMBERED_S = 180 * 86_400
_ALONG = frozenset({"", Reason.SESSION_EXPIRED, Reason.SIGN_IN_REQUIRED})
"""Reasons for which nobody needs to read anything before they go on."""


class Ways(msgspec.Struct, frozen=True, kw_only=True):
    """What the sign-in page shows."""

    passwords: bool
    offers: tuple[tuple[str, str], ...] = ()
    """Address and title of each button."""
    last: str = ""
    """Address of the way that this browser went last."""
    asks_address: bool = False
    """An e-mail address says which of them is the right one."""


def ways(visit: Visit, reason: str) -> Ways:
    """Say how people can sign in on this host."""
    desk, envelope = visit.desk, visit.envelope
    if desk.providers is None:
        return Ways(passwords=True)
    offers = desk.providers.offered(envelope.host, envelope.tenant)
    remembered = remembered_provider(visit)
    fresh = "?fresh=1" if reason == Reason.FRESH_SIGN_IN_REQUIRED else ""
    ordered = sorted(offers, key=lambda offer: offer.id != remembered)  # stable: the rest in the order of the file
    passwords = desk.takes_passwords(envelope.tenant)
    several = len(offers) > 1 or passwords
    return Ways(
        passwords=passwords,
        offers=tuple((f"{start_of(offer)}{fresh}", offer.title) for offer in ordered),
        last=next((f"{start_of(offer)}{fresh}" for offer in offers if several and offer.id == remembered), ""),
        asks_address=several and any(offer.has_domains for offer in offers),
    )


def only_way(visit: Visit, found: Ways, reason: str) -> web.Response | None:
    """Send the browser along the one way there is, unless there is something to read first."""
    if found.passwords or len(found.offers) != 1 or reason not in _ALONG:
        return None
    return visit.redirect(found.offers[0][0])


def start_of(offer: Offer) -> str:
    """Return the address that begins a sign-in at a provider."""
    return f"/.gateway/oidc/{quote(offer.id, safe='')}/start"


def remembered_provider(visit: Visit) -> str:
    """Return the id of the provider that this browser last signed in at, as far as it says."""
    name = f"{visit.envelope.cookie_name}-provider"
    return visit.request.cookies.get(name, "")[:64]


def remember_provider(visit: Visit, response: web.Response, provider: str) -> None:
    """Have the browser remember where it signed in."""
    attributes = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if visit.envelope.scheme == "https" else "")
    name = f"{visit.envelope.cookie_name}-provider"
    response.headers.add("Set-Cookie", f"{name}={provider}{attributes}; Max-Age={REMEMBERED_S}")
