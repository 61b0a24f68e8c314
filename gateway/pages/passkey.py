"""Passkeys on our pages: signing in with one, proving one, adding, naming and removing them.

Browsers hand passkeys to scripts alone, so each page carries one small script; without it, or in a browser that has no
passkeys, the page says so and offers the other ways.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from aiohttp import web

from gateway.authn.passkey import MAX_ANSWER_CHARACTERS
from gateway.exchange.reason import ANSWERS, Reason
from gateway.exchange.session import Owed
from gateway.pages.accounts import Refusal
from gateway.pages.circles import note_sign_in
from gateway.pages.factor_seams import SecondFactors
from gateway.pages.flow import ADD, PROVE, SIGN_IN
from gateway.pages.return_to import safe_return
from gateway.pages.sign_in import FACTOR_PAGE, MFA_PAGE, advance, leave, show_mfa, show_sign_in, to_sign_in, turn_away
from gateway.pages.texts import marked
from gateway.pages.visit import Problem, Visit, problem_of

PASSKEYS_PAGE = "/.gateway/account/passkeys"
ADD_PAGE = "/.gateway/enrol/passkey"

_MAX_NAME_CHARACTERS = 200

_NOTICES = {
    "passkey_added": (marked("The passkey is added"), marked("You can sign in with it from now on.")),
    "passkey_renamed": (marked("The passkey has a new name"), ""),
    "passkey_removed": (
        marked("The passkey is removed"),
        marked("It no longer opens your account, and every other session of yours has been signed out."),
    ),
    "app_removed": (
        marked("The authenticator app is removed"),
        marked("Its codes no longer open your account, and every other session of yours has been signed out."),
    ),
    "passkey_gone": (marked("Nothing to do"), marked("That had been removed already.")),
}


# Signing in


async def sign_in_with_passkey(visit: Visit, form: dict[str, str]) -> web.Response:
    """Begin a session by a passkey alone."""
    if form["return_to"]:
        visit.head_for(safe_return(form["return_to"]))
    challenge = visit.flow.owns_challenge(form["challenge"], SIGN_IN, "", visit.now)
    if challenge is None or len(form["credential"]) > MAX_ANSWER_CHARACTERS:
        return await show_sign_in(visit, _too_late())
    result = await _factors(visit).sign_in(
        form["credential"],
        challenge,
        origin=visit.origin,
        client=visit.client,
        now=visit.now,
        replaces=visit.token,
    )
    visit.record(result)
    if isinstance(result, Refusal):
        visit.desk.sign_ins.inc(("failure", result.reason))
        return await show_sign_in(visit, problem_of(result))
    visit.desk.sign_ins.inc(("success", result.session.owes or "complete"))
    return advance(visit, result)


async def to_sign_in_page(visit: Visit, problem: Problem | None = None) -> web.Response:
    """Show the sign-in page to whoever opens the address of a form, or whose form has expired."""
    return to_sign_in(visit) if problem is None else await show_sign_in(visit, problem)


async def to_mfa_page(visit: Visit, problem: Problem | None = None) -> web.Response:
    """Show the page of the second factor to whoever opens the address of a form, or whose form has expired."""
    return visit.redirect(MFA_PAGE) if problem is None else await show_mfa(visit, problem)


async def prove_passkey(visit: Visit, form: dict[str, str]) -> web.Response:
    """Take a passkey as second factor; the session is rotated."""
    if form["return_to"]:
        visit.head_for(safe_return(form["return_to"]))
    challenge = visit.flow.owns_challenge(form["challenge"], PROVE, visit.handle, visit.now)
    if challenge is None or len(form["credential"]) > MAX_ANSWER_CHARACTERS:
        return await show_mfa(visit, _too_late())
    result = await _factors(visit).prove(
        visit.token,
        form["credential"],
        challenge,
        origin=visit.origin,
        client=visit.client,
        now=visit.now,
        remember=bool(form["remember"]),
    )
    visit.record(result)
    if isinstance(result, Refusal):
        visit.desk.factor_checks.inc(("failure", result.reason))
        return turn_away(visit, result) or await show_mfa(visit, problem_of(result))
    visit.desk.factor_checks.inc(("success", "verified"))
    return advance(visit, result)


# Adding


async def show_add(visit: Visit, problem: Problem | None = None) -> web.Response:
    """Offer to add a passkey; whoever proved nothing lately does that first."""
    query = visit.request.query
    if "return_to" in query:
        visit.head_for(safe_return(query["return_to"]))
    if not _factors(visit).can_be_used(visit.client):
        return visit.redirect(FACTOR_PAGE if visit.desk.totp else PASSKEYS_PAGE)
    challenge, raw = visit.new_challenge(ADD)
    result = await _factors(visit).creation_request(visit.token, raw, client=visit.client, now=visit.now)
    if isinstance(result, Refusal):
        return await _turn_away(visit, result, ADD_PAGE)
    owed = visit.session is not None and visit.session.owes is Owed.ENROLMENT
    return visit.page(
        "passkey_add.html",
        scripted=True,
        problem=problem,
        options=result,
        challenge=challenge,
        return_to=visit.flow.return_to,
        owed=owed,
        totp=visit.desk.totp,
    )


async def add(visit: Visit, form: dict[str, str]) -> web.Response:
    """Add the passkey that the browser made; show the recovery codes, this once, where there were none."""
    if form["return_to"]:
        visit.head_for(safe_return(form["return_to"]))
    challenge = visit.flow.owns_challenge(form["challenge"], ADD, visit.handle, visit.now)
    if challenge is None or max(len(form["credential"]), len(form["name"])) > MAX_ANSWER_CHARACTERS:
        return await show_add(visit, _too_late())
    owed = visit.session is not None and visit.session.owes is Owed.ENROLMENT
    result = await _factors(visit).register(
        visit.token,
        form["credential"],
        challenge,
        form["name"][:_MAX_NAME_CHARACTERS],
        origin=visit.origin,
        client=visit.client,
        now=visit.now,
    )
    visit.record(result)
    if isinstance(result, Refusal):
        visit.desk.factor_checks.inc(("failure", result.reason))
        if result.reason in {Reason.PASSKEY_REFUSED, Reason.PASSKEY_NOT_ALLOWED}:
            return await show_add(visit, problem_of(result))
        return await _turn_away(visit, result, ADD_PAGE)
    visit.desk.factor_checks.inc(("success", "enrolled"))
    visit.take_session(result.token, result.device)
    if owed:
        note_sign_in(visit)
    visit.renew_flow()
    target = leave(visit) if owed else PASSKEYS_PAGE
    if not owed:
        visit.change_flow(notice="passkey_added")
    if not result.recovery_codes:
        return visit.redirect(target)
    return visit.page("codes.html", codes=result.recovery_codes, target=target, enrolled=True, passkey=True)


# The list


async def show_passkeys(visit: Visit, problem: Problem | None = None) -> web.Response:
    """List the passkeys of the person."""
    view = await _factors(visit).view(visit.token, client=visit.client, now=visit.now)
    if isinstance(view, Refusal):
        return turn_away(visit, view) or to_sign_in(visit)
    notice = _NOTICES.get(visit.flow.notice)
    visit.change_flow(notice="")
    is_last = len(view.passkeys) + view.has_totp == 1
    return visit.page(
        "passkeys.html",
        problem=problem,
        notice=notice,
        view=view,
        now=visit.now,
        can_add=_factors(visit).can_be_used(visit.client),
        is_held=is_last and not view.may_remove_last,
    )


async def rename(visit: Visit, form: dict[str, str]) -> web.Response:
    """Give a passkey another name."""
    name = form["name"][:_MAX_NAME_CHARACTERS]
    result = await _factors(visit).rename(visit.token, form["handle"], name, client=visit.client, now=visit.now)
    visit.record(result)
    if isinstance(result, Refusal):
        return await _turn_away(visit, result, PASSKEYS_PAGE)
    visit.change_flow(notice="passkey_renamed" if result.events else "")
    return visit.redirect(PASSKEYS_PAGE)


async def remove(visit: Visit, form: dict[str, str]) -> web.Response:
    """Remove a passkey, or the authenticator app; every other session ends."""
    is_app = form["handle"] == "app"
    factors = _factors(visit)
    if is_app:
        result = await factors.remove_totp(visit.token, client=visit.client, now=visit.now)
    else:
        result = await factors.remove(visit.token, form["handle"] or "-", client=visit.client, now=visit.now)
    visit.record(result)
    if isinstance(result, Refusal):
        if result.reason is Reason.LAST_FACTOR:
            return await show_passkeys(visit, problem_of(result))
        return await _turn_away(visit, result, PASSKEYS_PAGE)
    if not result.token:
        visit.change_flow(notice="passkey_gone")
        return visit.redirect(PASSKEYS_PAGE)
    visit.take_session(result.token)
    visit.renew_flow()
    visit.change_flow(notice="app_removed" if is_app else "passkey_removed")
    return visit.redirect(PASSKEYS_PAGE)


async def to_passkeys(visit: Visit, problem: Problem | None = None) -> web.Response:
    """Show the list to whoever opens the address of a form, or whose form has expired."""
    return visit.redirect(PASSKEYS_PAGE) if problem is None else await show_passkeys(visit, problem)


async def _turn_away(visit: Visit, refusal: Refusal, page: str) -> web.Response:
    """Send the session where it proves what is missing, and back to `page`."""
    if refusal.reason is Reason.FRESH_SIGN_IN_REQUIRED:
        has = await _factors(visit).has_factor(visit.token, client=visit.client, now=visit.now)
        if {"webauthn", "totp"}.isdisjoint(has):  # nothing could prove it but the sign-in itself
            visit.head_for(page)
            return to_sign_in(visit, Reason.FRESH_SIGN_IN_REQUIRED)
        return visit.redirect(f"{MFA_PAGE}?step_up=mfa_age&return_to={quote(page, safe='/')}")
    return turn_away(visit, refusal) or to_sign_in(visit)


def _too_late() -> Problem:
    """Say that the answer of the browser is too old, or was made for another page."""
    return Problem(
        reason=Reason.PASSKEY_REFUSED,
        title=ANSWERS[Reason.PASSKEY_REFUSED].title,
        sentence=marked("That took longer than five minutes. Please try again."),
    )


def _factors(visit: Visit) -> SecondFactors[Any]:
    """Return what knows passkeys; where none are allowed these pages do not exist."""
    factors = visit.desk.factors
    if factors is None:
        raise web.HTTPNotFound
    return factors
