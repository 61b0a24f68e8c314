"""The page where a second factor is asked for: which ways it offers, and where those go who have none of them.

Also the page of step-up: a session that owes nothing comes here because a route wants a fresher or stronger proof. What
the address says of that chooses what is shown and nothing more; the route decides again.
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec
from aiohttp import web

from gateway.exchange.reason import Reason
from gateway.exchange.session import Owed
from gateway.exchange.step_up import Assurance, Factor, Lack
from gateway.pages.flow import PROVE
from gateway.pages.visit import Visit

SIGN_IN_PAGE = "/.gateway/login"
FACTOR_PAGE = "/.gateway/enrol"
_LOCAL = "local"


class Ways(msgspec.Struct, frozen=True, kw_only=True):
    """What the page offers."""

    options: str = ""
    """What the browser is asked of its passkeys; empty = no passkey of the person works here."""
    challenge: str = ""
    codes: bool = True
    """Codes of an authenticator app."""
    recovery: bool = False
    """Recovery codes."""
    again: bool = False
    """It is a step-up: the person is signed in."""
    needs_passkey: bool = False
    """Nothing but a passkey is enough."""
    needs_code: bool = False
    """Nothing but a code is enough."""
    remember_s: float = 0.0
    """How long this device may be remembered; 0 = it may not, or it makes no difference."""
    query: str = ""
    """For the addresses of the forms, so that a second try still knows what is wanted."""


async def find_ways(visit: Visit) -> Ways | web.Response:
    """Say how the person of this session can prove a second factor, or send them where they can do something about it."""
    said = visit.request.query
    step_up, acr, factor = said.get("step_up", ""), said.get("acr", ""), said.get("factor", "")
    session, factors = visit.session, visit.desk.factors
    again = session is not None and session.owes is Owed.NOTHING
    if again and session is not None and step_up == Lack.AUTH_AGE:
        return _from_the_beginning(visit, session.provider)
    roles = frozenset(session.roles) if session is not None else frozenset()
    remembers = not again and visit.desk.never_remembered.isdisjoint(roles)
    remember_s = visit.desk.remember_device_s if remembers else 0.0
    if factors is None:
        return Ways(recovery=visit.desk.recovery_codes, again=again, remember_s=remember_s)
    has = await factors.has_factor(visit.token, client=visit.client, now=visit.now)
    challenge, raw = visit.new_challenge(PROVE)
    options = await factors.proof_request(visit.token, raw, client=visit.client, now=visit.now)
    needs_passkey = again and (acr == Assurance.PHISHING_RESISTANT or factor == Factor.WEBAUTHN)
    needs_code = again and not needs_passkey and factor == Factor.TOTP
    if again and session is not None and {"webauthn", "totp"}.isdisjoint(has):
        return (
            visit.redirect(FACTOR_PAGE) if session.provider == _LOCAL else _from_the_beginning(visit, session.provider)
        )
    return Ways(
        options="" if needs_code else options,
        challenge=challenge,
        codes="totp" in has and not needs_passkey,
        recovery=visit.desk.recovery_codes and not needs_passkey,
        again=again,
        needs_passkey=needs_passkey,
        needs_code=needs_code,
        remember_s=remember_s,
        query="?step_up=acr&acr=phr" if needs_passkey else "?step_up=factor&factor=totp" if needs_code else "",
    )


def _from_the_beginning(visit: Visit, provider: str) -> web.Response:
    """Send the person to sign in again, at whoever vouched for them."""
    if provider == _LOCAL:
        return visit.redirect(f"{SIGN_IN_PAGE}?reason={Reason.FRESH_SIGN_IN_REQUIRED}")
    return visit.redirect(f"/.gateway/oidc/{quote(provider, safe='')}/start?fresh=1")
