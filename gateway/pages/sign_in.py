"""Signing in and out: the password step, the second-factor step, the end.

The steps are ordered by the session alone: what it owes says which page is next. Nothing the
browser sends can skip one.
"""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web

from gateway.exchange.reason import ANSWERS, Reason
from gateway.exchange.session import Owed, Session
from gateway.pages import circles, second_step
from gateway.pages.accounts import Refusal, SignedIn
from gateway.pages.flow import SIGN_IN
from gateway.pages.kept import KEPT_PAGE, forget_kept
from gateway.pages.oidc_chooser import only_way, ways
from gateway.pages.portal_client import client_of
from gateway.pages.return_to import START_PAGE, safe_return
from gateway.pages.texts import marked
from gateway.pages.visit import Problem, Visit, problem_of

SIGN_IN_PAGE = "/.gateway/login"
MFA_PAGE = "/.gateway/mfa"
FACTOR_PAGE = "/.gateway/enrol"
SESSIONS_PAGE = "/.gateway/sessions"
DEVICE_PAGE = "/.gateway/device"

_EXPLAINED = frozenset(
    {
        Reason.SESSION_REVOKED,
        Reason.SESSION_ELSEWHERE,
        Reason.FRESH_SIGN_IN_REQUIRED,
        Reason.TOO_MANY_ATTEMPTS,
        Reason.SIGN_IN_EXPIRED,
    }
)
_SIGNED_OUT = "signed_out"
_PASSWORD_RESET = "password_reset"  # noqa: S105 - a word in an address
_MAX_NAME_CHARACTERS = 254
_MAX_SECRET_CHARACTERS = 1024


def owed_page(session: Session) -> str:
    """Name the page where the session pays what it owes; empty when it owes nothing."""
    match session.owes:
        case Owed.MFA:
            return MFA_PAGE
        case Owed.ENROLMENT:
            return FACTOR_PAGE
        case Owed.DEVICE:
            return DEVICE_PAGE
        case Owed.ROOM:
            return SESSIONS_PAGE
        case Owed.NOTHING:
            return ""


def advance(visit: Visit, signed_in: SignedIn) -> web.Response:
    """Go on with a new session: to the page it owes, then to a form that waits, else where the person wanted to go."""
    visit.take_session(signed_in.token, signed_in.device)
    circles.note_sign_in(visit)
    visit.renew_flow()
    target = owed_page(signed_in.session) or leave(visit)
    return visit.redirect(_offer(target) if _is_offered(visit, signed_in, target) else target)


def _is_offered(visit: Visit, signed_in: SignedIn, target: str) -> bool:
    """Tell whether to offer a second factor first: to whoever has none, once a browser, and never before a form that waits."""
    session = signed_in.session
    return (
        visit.desk.offers_factor
        and session.owes is Owed.NOTHING
        and not session.mfa_time
        and session.provider == "local"
        and target != KEPT_PAGE
        and any(event.name == "device.added" for event in signed_in.events)
    )


def _offer(target: str) -> str:
    return f"/.gateway/enrol/offer?return_to={quote(target, safe='/')}"


def leave(visit: Visit) -> str:
    """End the sign-in and name where the person goes now; of the login state stays the memory of it, for a moment."""
    if visit.flow.kept:
        return KEPT_PAGE
    target = visit.flow.return_to
    visit.change_flow(return_to=START_PAGE)
    visit.shorten_flow(circles.CIRCLE_S)
    return target


def to_sign_in(visit: Visit, reason: Reason | None = None) -> web.Response:
    """Send the browser to the sign-in page, with the reason from the closed list."""
    return visit.redirect(f"{SIGN_IN_PAGE}?reason={reason}" if reason else SIGN_IN_PAGE)


def why_signed_out(visit: Visit) -> Reason | None:
    """Say why a browser that brought a cookie has no session; None when it brought none."""
    if visit.envelope.astray:
        return Reason.SESSION_ELSEWHERE
    return Reason.SESSION_EXPIRED if visit.token else None


def turn_away(visit: Visit, refusal: Refusal) -> web.Response | None:
    """Send a session that ended, or owes something, where it belongs; None for refusals that the page itself explains."""
    match refusal.reason:
        case Reason.SESSION_EXPIRED | Reason.SESSION_REVOKED:
            return to_sign_in(visit, refusal.reason)
        case Reason.MFA_REQUIRED:
            return visit.redirect(MFA_PAGE)
        case Reason.MFA_ENROLMENT_REQUIRED:
            return visit.redirect(FACTOR_PAGE)
        case Reason.DEVICE_UNCONFIRMED:
            return visit.redirect(DEVICE_PAGE)
        case Reason.TOO_MANY_SESSIONS:
            return visit.redirect(SESSIONS_PAGE)
        case _:
            return None


# Sign-in


async def show_sign_in(visit: Visit, problem: Problem | None = None, name: str = "", address: str = "") -> web.Response:
    """Show the form, or say who is signed in already; `name` and `address` are what was typed."""
    query = visit.request.query
    earlier = visit.flow
    if "return_to" in query:
        visit.head_for(safe_return(query["return_to"]))
    reason = query.get("reason", "")
    cause: circles.Cause | None = None
    if problem is None and reason != Reason.FRESH_SIGN_IN_REQUIRED:
        session = await visit.identify()
        if session is None:
            reason = reason or (why_signed_out(visit) or "")
        # The form is for whoever signs in next: it must not die with the session that is there.
        visit.session = None
        if session is not None and session.owes is Owed.NOTHING:
            if visit.flow.kept:
                return visit.redirect(KEPT_PAGE)
            # Not a redirect: whoever was sent here by a refusal would go in circles.
            return visit.page("signed_in.html", session=session, return_to=visit.flow.return_to)
        if session is None and ("return_to" in query or visit.flow.signed_in):
            cause, turns = circles.note_arrival(visit, earlier)
            if cause is not None and turns:
                return circles.explain(visit, cause)
    found = ways(visit, reason)
    onward = only_way(visit, found, reason) if problem is None and cause is None else None
    if onward is not None:
        return onward
    challenge, raw = visit.new_challenge(SIGN_IN)
    factors = visit.desk.factors
    return visit.page(
        "login.html",
        can_reset=visit.desk.resets is not None,
        scripted=factors is not None,
        passkey="" if factors is None else factors.sign_in_request(raw, client=visit.client),
        challenge=challenge,
        ways=found,
        problem=problem,
        name=name,
        address=address,
        return_to=visit.flow.return_to,
        notice=circles.notice_of(cause) if cause is not None else _notice(reason, problem),
        is_kept=bool(visit.flow.kept),
        again=problem is not None and not visit.flow_came,
    )


def _notice(reason: str, problem: Problem | None) -> tuple[str, str] | None:
    """Put the reason for which the browser was sent here into words; unknown ones say nothing."""
    if problem is not None:
        return None
    if reason == _PASSWORD_RESET:
        return (
            marked("Your new password is set"),
            marked("Every session of yours was signed out. Sign in with the new password."),
        )
    if reason == _SIGNED_OUT:
        return (marked("You are signed out"), marked("Your session on this device has ended."))
    if reason == Reason.SESSION_EXPIRED:  # whoever comes here with a dead cookie: nobody remembers how it died
        return (
            ANSWERS[Reason.SESSION_EXPIRED].title,
            marked("It timed out, or it was ended elsewhere. Please sign in again."),
        )
    if reason in _EXPLAINED:
        answer = ANSWERS[Reason(reason)]
        return (answer.title, answer.sentence)
    return None


async def sign_in(visit: Visit, form: dict[str, str]) -> web.Response:
    """Check name and password; a success makes a session that may still owe a factor."""
    if not visit.desk.passwords:
        raise web.HTTPNotFound
    if form["return_to"]:
        visit.head_for(safe_return(form["return_to"]))
    name, password = form["username"], form["password"]
    if not name or not password or len(name) > _MAX_NAME_CHARACTERS or len(password) > _MAX_SECRET_CHARACTERS:
        visit.desk.sign_ins.inc(("failure", Reason.CREDENTIALS_REFUSED))
        answer = ANSWERS[Reason.CREDENTIALS_REFUSED]
        problem = Problem(
            reason=Reason.CREDENTIALS_REFUSED,
            title=answer.title,
            sentence=marked("Please enter your user name and your password.")
            if not name or not password
            else answer.sentence,
            fields=("username", "password"),
        )
        return await show_sign_in(visit, problem, name[:_MAX_NAME_CHARACTERS])
    result = await visit.desk.accounts.sign_in(name, password, client=visit.client, now=visit.now, replaces=visit.token)
    visit.record(result)
    if isinstance(result, Refusal):
        visit.desk.sign_ins.inc(("failure", result.reason))
        circles.note_attempt(visit)
        return await show_sign_in(visit, problem_of(result, "username", "password"), name)
    visit.desk.sign_ins.inc(("success", result.session.owes or "complete"))
    return advance(visit, result)


# Second factor


async def show_mfa(visit: Visit, problem: Problem | None = None, method: str = "") -> web.Response:
    """Ask for a code; a session that owes an enrolment goes there instead."""
    query = visit.request.query
    if "return_to" in query:
        visit.head_for(safe_return(query["return_to"]))
    if visit.session is not None and visit.session.owes in {Owed.ENROLMENT, Owed.DEVICE}:
        return visit.redirect(owed_page(visit.session))
    found = await second_step.find_ways(visit)
    if isinstance(found, web.Response):
        return found
    recovery = found.recovery and (method or query.get("method", "")) == "recovery"
    return visit.page(
        "mfa.html",
        scripted=bool(found.options),
        problem=problem,
        recovery=recovery,
        ways=found,
        return_to=visit.flow.return_to,
        is_kept=bool(visit.flow.kept),
    )


async def prove_factor(visit: Visit, form: dict[str, str]) -> web.Response:
    """Take a code of the authenticator app or a recovery code; the session is rotated."""
    if form["return_to"]:
        visit.head_for(safe_return(form["return_to"]))
    code = form["code"]
    method = "recovery" if form["method"] == "recovery" else "code"
    if not code.strip() or len(code) > _MAX_SECRET_CHARACTERS:
        return await show_mfa(visit, empty_code(), method)
    result = await visit.desk.accounts.verify_code(
        visit.token, code, client=visit.client, now=visit.now, remember=bool(form["remember"])
    )
    visit.record(result)
    if isinstance(result, Refusal):
        visit.desk.factor_checks.inc(("failure", result.reason))
        return turn_away(visit, result) or await show_mfa(visit, problem_of(result, "code"), method)
    visit.desk.factor_checks.inc(("success", "verified"))
    return advance(visit, result)


def empty_code() -> Problem:
    """Say that a code is missing."""
    return Problem(
        reason=Reason.CODE_REFUSED,
        title=ANSWERS[Reason.CODE_REFUSED].title,
        sentence=marked("Please enter the code."),
        fields=("code",),
    )


# Sign-out


async def show_sign_out(visit: Visit, problem: Problem | None = None) -> web.Response:
    """Ask before signing out: a link must not end a session (ASVS 3.5.3)."""
    return visit.page("logout.html", problem=problem, session=visit.session)


async def sign_out(visit: Visit, form: dict[str, str]) -> web.Response:  # noqa: ARG001 - nothing but the proof is in it
    """End the session and take both cookies away."""
    farewell = None
    if visit.desk.providers is not None and visit.session is not None:  # before the cookie means nothing any more
        farewell = await visit.desk.providers.sign_out(visit.token, visit.session, now=visit.now)
    if visit.desk.portals is not None and visit.session is not None:
        await visit.desk.portals.sign_out(visit.token, visit.session, client_of(visit), now=visit.now)
    result = await visit.desk.accounts.sign_out(visit.token, client=visit.client, now=visit.now)
    visit.record(result)
    await forget_kept(visit)
    visit.drop_session()
    visit.end_flow()
    response = visit.redirect(f"{SIGN_IN_PAGE}?reason={_SIGNED_OUT}")
    if farewell is not None:
        await farewell.revoke()
        target = await farewell.address(origin=visit.origin)
        if target:
            # Not a redirect: browsers hold the way of a form to our own origin (CSP `form-action`), redirects included.
            response = visit.page("onward.html", target=target, signing_out=True)
    # Pages kept by `cache: portal` must not be read by the next person at this screen. Not "storage" nor
    # "cookies": those are the portal's.
    response.headers["Clear-Site-Data"] = '"cache"'
    return response
