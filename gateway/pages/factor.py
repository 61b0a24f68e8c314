"""The authenticator app and the recovery codes: setting up, replacing, showing once."""

from __future__ import annotations

import asyncio

import segno
from aiohttp import web
from markupsafe import Markup

from gateway.exchange.reason import Reason
from gateway.exchange.session import Owed
from gateway.pages.accounts import Enrolment, Happened, Refusal
from gateway.pages.circles import note_sign_in
from gateway.pages.return_to import safe_return
from gateway.pages.sign_in import FACTOR_PAGE, MFA_PAGE, empty_code, leave, to_sign_in, turn_away
from gateway.pages.visit import Problem, Visit, problem_of

ACCOUNT_PAGE = "/.gateway/account"
PASSKEY_PAGE = "/.gateway/enrol/passkey"
OFFER_PAGE = "/.gateway/enrol/offer"

_GROUP = 4
_MAX_CODE_CHARACTERS = 64


async def show_factor(visit: Visit, problem: Problem | None = None) -> web.Response:
    """Show the QR code of the secret that waits for its first code; a person with a factor proves it first."""
    session = visit.session
    if session is None:
        return to_sign_in(visit)
    if not visit.desk.totp:
        return visit.redirect(PASSKEY_PAGE)
    query = visit.request.query
    if "return_to" in query:
        visit.head_for(safe_return(query["return_to"]))
    result = await visit.desk.accounts.begin_enrolment(visit.token, client=visit.client, now=visit.now)
    if not isinstance(result, Refusal):
        return await _show_secret(visit, result, problem)
    if result.reason is Reason.FRESH_SIGN_IN_REQUIRED and not session.mfa_time:
        # No factor could prove it: the password must. A found session must not lock its owner out.
        visit.head_for(FACTOR_PAGE)
        return to_sign_in(visit, Reason.FRESH_SIGN_IN_REQUIRED)
    return turn_away(visit, result) or visit.page("renew.html", problem=problem)


async def show_offer(visit: Visit, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """Offer a second factor to somebody who has none; they may go on without."""
    passkeys = visit.desk.factors is not None and visit.desk.factors.can_be_used(visit.client)
    target = safe_return(visit.request.query.get("return_to", "/"))
    return visit.page("offer.html", passkeys=passkeys, totp=visit.desk.totp, target=target)


async def renew_factor(visit: Visit, form: dict[str, str]) -> web.Response:
    """Take a code of the present factor, so that a new one can be set up."""
    code = form["code"]
    if not code.strip() or len(code) > _MAX_CODE_CHARACTERS:
        return visit.page("renew.html", problem=empty_code())
    result = await visit.desk.accounts.begin_enrolment(visit.token, client=visit.client, now=visit.now, code=code)
    if isinstance(result, Happened):
        visit.record(result)
    if isinstance(result, Refusal):
        visit.desk.factor_checks.inc(("failure", result.reason))
        return turn_away(visit, result) or visit.page("renew.html", problem=problem_of(result, "code"))
    visit.desk.factor_checks.inc(("success", "verified"))
    return visit.redirect(FACTOR_PAGE)


async def confirm_factor(visit: Visit, form: dict[str, str]) -> web.Response:
    """Activate the secret by its first code; show the recovery codes, this once."""
    if form["return_to"]:
        visit.head_for(safe_return(form["return_to"]))
    code = form["code"]
    if not code.strip() or len(code) > _MAX_CODE_CHARACTERS:
        return await show_factor(visit, empty_code())
    result = await visit.desk.accounts.confirm_enrolment(visit.token, code, client=visit.client, now=visit.now)
    visit.record(result)
    if isinstance(result, Refusal):
        visit.desk.factor_checks.inc(("failure", result.reason))
        return turn_away(visit, result) or await show_factor(visit, problem_of(result, "code"))
    visit.desk.factor_checks.inc(("success", "enrolled"))
    visit.take_session(result.token, result.device)
    note_sign_in(visit)
    visit.renew_flow()
    target = leave(visit)
    if not result.recovery_codes:
        return visit.redirect(target)
    return visit.page("codes.html", codes=result.recovery_codes, target=target, enrolled=True, passkey=False)


async def show_recovery(visit: Visit, problem: Problem | None = None) -> web.Response:
    """Ask for a code before making new recovery codes; whoever has passkeys alone has proven one lately."""
    return visit.page("recovery.html", problem=problem, has_totp=await _has_totp(visit))


async def replace_recovery(visit: Visit, form: dict[str, str]) -> web.Response:
    """Make ten new recovery codes against a fresh code; show them, this once."""
    code = form["code"]
    if len(code) > _MAX_CODE_CHARACTERS or (not code.strip() and await _has_totp(visit)):
        return await show_recovery(visit, empty_code())
    result = await visit.desk.accounts.replace_recovery_codes(visit.token, code, client=visit.client, now=visit.now)
    visit.record(result)
    if isinstance(result, Refusal):
        visit.desk.factor_checks.inc(("failure", result.reason))
        if result.reason is Reason.FRESH_SIGN_IN_REQUIRED and not code.strip():
            return visit.redirect(f"{MFA_PAGE}?step_up=mfa_age&return_to=/.gateway/account/recovery")
        return turn_away(visit, result) or await show_recovery(visit, problem_of(result, "code"))
    visit.desk.factor_checks.inc(("success", "verified"))
    return visit.page("codes.html", codes=result.codes, target=ACCOUNT_PAGE, enrolled=False, passkey=False)


async def _has_totp(visit: Visit) -> bool:
    """Tell whether the person has an authenticator app; where nobody has anything else, yes."""
    factors = visit.desk.factors
    return factors is None or "totp" in await factors.has_factor(visit.token, client=visit.client, now=visit.now)


async def _show_secret(visit: Visit, enrolment: Enrolment, problem: Problem | None) -> web.Response:
    """Render the secret as a picture and in groups of four."""
    picture = await asyncio.to_thread(_draw, enrolment.uri)
    secret = enrolment.secret
    groups = " ".join(secret[at : at + _GROUP] for at in range(0, len(secret), _GROUP))
    owed = visit.session is not None and visit.session.owes is Owed.ENROLMENT
    return visit.page(
        "factor.html",
        problem=problem,
        picture=picture,
        secret=groups,
        uri=enrolment.uri,
        passkeys=visit.desk.factors is not None and visit.desk.factors.can_be_used(visit.client),
        return_to=visit.flow.return_to,
        owed=owed,
    )


def _draw(uri: str) -> Markup:
    """Draw a QR code (ISO/IEC 18004, error correction M) as inline SVG."""
    drawing: str = segno.make(uri, error="m", micro=False).svg_inline(
        omitsize=True, svgclass=None, lineclass=None, border=4
    )
    # Nothing of `uri` is in it but the modules' geometry.
    return Markup(drawing.replace("<svg ", '<svg role="img" aria-label="QR code for your authenticator app" ', 1))  # noqa: S704
