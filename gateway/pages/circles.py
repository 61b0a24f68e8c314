"""Whether a browser goes in circles between the portal and sign-in, and what the person is told then.

Counted in the login state itself, so that no store is needed and nobody else can count. It never
keeps anybody from signing in: the page that ends a circle leads back to the form.
"""

from __future__ import annotations

from enum import StrEnum

import structlog
from aiohttp import web

from gateway.exchange.envelope import Event
from gateway.exchange.reason import ANSWERS, Reason
from gateway.pages.flow import Flow
from gateway.pages.texts import marked
from gateway.pages.visit import Problem, Visit

CIRCLE_S = 30.0
"""A sign-in after which the browser is back within this time did not last."""
TURNS = 5
"""Arrivals for one address within `CIRCLE_S`, or sign-ins in a row that did not last: nobody goes on by hand."""

_log = structlog.get_logger("gateway.pages")


class Cause(StrEnum):
    """What the gateway sees of a sign-in that does not last."""

    NO_COOKIES = "no_cookies"
    """The browser sends back none of our cookies."""
    COOKIE_MISSING = "cookie_missing"
    """It keeps the login state, but came without a session cookie."""
    SESSION_MISSING = "session_missing"
    """It came with a session cookie that means nothing any more."""


def note_arrival(visit: Visit, earlier: Flow) -> tuple[Cause | None, bool]:
    """Count the arrival of a browser that was sent to sign in; `earlier` is the login state that it brought.

    Tabs that a browser opens again all at once come for different addresses, and are no circle. A program always
    gets the form: only what calls itself a navigation (Fetch Metadata) can go in circles by itself.

    Returns: why its last sign-in did not last, None if nothing is strange; and whether it has come too
    often to be shown a form as if nothing had happened.

    """
    flow, now = visit.flow, visit.now
    before = earlier.sent if earlier.return_to == flow.return_to else ()
    sent = (*(at for at in before if 0 <= now - at < CIRCLE_S), now)[-TURNS:]
    lost = 0 <= now - flow.signed_in < CIRCLE_S
    returns = flow.returns + lost if lost or not flow.signed_in else 0
    visit.change_flow(sent=sent, returns=returns, signed_in=0.0)
    navigates = visit.request.headers.get("Sec-Fetch-Mode") == "navigate"
    circles = navigates and (len(sent) == TURNS or (lost and returns >= TURNS))
    if not lost and not circles:
        return None, False
    return (Cause.SESSION_MISSING if visit.token else Cause.COOKIE_MISSING), circles


def note_attempt(visit: Visit) -> None:
    """Somebody fills in forms: no circle turns by itself."""
    visit.change_flow(sent=())


def note_sign_in(visit: Visit) -> None:
    """The browser gets a new session with this answer: it should come with it from now on."""
    visit.change_flow(signed_in=visit.now)


def explain(visit: Visit, cause: Cause) -> web.Response:
    """Break the circle: say what is likely wrong, and offer the form."""
    visit.desk.sign_in_loops.inc((cause,))
    visit.events.append(Event(name="login.looped", outcome="failure", reason=Reason.SIGN_IN_LOOP))
    _log.warning("login.looped", request_id=visit.envelope.request_id, cause=str(cause), host=visit.envelope.host)
    visit.change_flow(sent=(), returns=0)
    return visit.page(
        "circles.html",
        status=ANSWERS[Reason.SIGN_IN_LOOP].status,
        cause=str(cause),
        request_id=visit.envelope.request_id,
    )


def notice_of(cause: Cause) -> tuple[str, str]:
    """Say above the form that the sign-in before this one did not last."""
    if cause is Cause.COOKIE_MISSING:
        return (
            marked("Your sign-in did not last"),
            marked(
                "Your browser did not send back the cookie that says who you are. Please allow cookies for this site."
            ),
        )
    return (
        marked("Your sign-in did not last"),
        marked("The session ended at once, or it was ended elsewhere. Please try once more."),
    )


def no_cookies() -> Problem:
    """Say that a form came without the login state it was shown with."""
    answer = ANSWERS[Reason.FORM_EXPIRED]
    return Problem(
        reason=Reason.FORM_EXPIRED,
        title=answer.title,
        sentence=marked(
            "It was open for more than an hour, or your browser does not keep our cookies. Please send it again."
        ),
    )
