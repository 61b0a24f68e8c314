"""Signing a person on to a portal that has a sign-in of its own, and the page on which they say with what.

The edge sends people here whom a portal does not know. Whether an attempt may be made at all, and with what, is the
store's to say; nobody is sent in circles: after one attempt the portal, or a page of ours, has the last word.
"""

from __future__ import annotations

from aiohttp import web

from gateway.exchange.envelope import Event
from gateway.exchange.reason import ANSWERS, Reason
from gateway.exchange.session import Session
from gateway.pages.kept import KEPT_PAGE
from gateway.pages.portal_client import client_of
from gateway.pages.portal_seams import Attempted, Portal, Portals, Standing
from gateway.pages.return_to import safe_return
from gateway.pages.texts import marked
from gateway.pages.visit import Problem, Visit, refuse

SIGN_ON_PAGE = "/.gateway/sign-on"
ACCOUNT_PAGE = "/.gateway/portal-account"

MAX_NAME_CHARACTERS = 254
MAX_PASSWORD_CHARACTERS = 1024


async def show_sign_on(visit: Visit, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """Sign the person on and lead on; ask them, or say what is wrong, where that cannot be."""
    portals, portal, session = _asked(visit)
    if portals is None or portal is None or session is None:
        return refuse(visit.request, Reason.NO_ROUTE, visit.envelope.request_id)
    if "return_to" in visit.request.query:
        visit.head_for(safe_return(visit.request.query["return_to"]))
    attempted = await portals.sign_on(portal.name, visit.token, session, client_of(visit), now=visit.now)
    _note(visit, portal, session, attempted)
    match attempted.standing:
        case Standing.KNOWN:
            return visit.redirect(KEPT_PAGE if visit.flow.kept else visit.flow.return_to)
        case Standing.UNTOLD if _asks(portal):
            return _account_form(visit, portal, None)
        case Standing.REFUSED if _asks(portal):
            return _account_form(visit, portal, _refused())
        case Standing.UNTOLD | Standing.REFUSED:
            return refuse(visit.request, Reason.PORTAL_REFUSED, visit.envelope.request_id)
        case Standing.BUSY:
            return refuse(visit.request, Reason.OVERLOADED, visit.envelope.request_id)
        case Standing.UNAVAILABLE:
            return refuse(visit.request, Reason.UPSTREAM_UNREACHABLE, visit.envelope.request_id)


async def show_account(visit: Visit, problem: Problem | None = None) -> web.Response:
    """Ask with what the person is known at a portal."""
    _, portal, session = _asked(visit)
    if portal is None or session is None or not _asks(portal):
        return refuse(visit.request, Reason.NO_ROUTE, visit.envelope.request_id)
    return _account_form(visit, portal, problem)


async def tell_account(visit: Visit, form: dict[str, str]) -> web.Response:
    """Keep what was told, and try it; told nothing, forget what was kept."""
    portals, portal, session = _asked(visit)
    if portals is None or portal is None or session is None or not _asks(portal):
        return refuse(visit.request, Reason.NO_ROUTE, visit.envelope.request_id)
    if form.get("forget"):
        if await portals.forget(portal.name, session):
            visit.events.append(_event("portal.account_forgotten", portal, session))
        return visit.redirect(visit.flow.return_to)
    username, password = form.get("username", ""), form.get("password", "")
    problem = _unfit(portal, username, password)
    if problem is not None:
        return _account_form(visit, portal, problem)
    await portals.tell(
        portal.name,
        session,
        username=username if portal.asks_username else "",
        password=password if portal.asks_password else "",
        now=visit.now,
    )
    visit.events.append(_event("portal.account_told", portal, session))
    return visit.redirect(f"{SIGN_ON_PAGE}/{portal.name}")


def _asked(visit: Visit) -> tuple[Portals | None, Portal | None, Session | None]:
    portals = visit.desk.portals
    name = visit.request.match_info.get("upstream", "")
    return portals, portals.portal(name) if portals is not None else None, visit.session


def _asks(portal: Portal) -> bool:
    return portal.asks_username or portal.asks_password


def _account_form(visit: Visit, portal: Portal, problem: Problem | None) -> web.Response:
    return visit.page("portal_account.html", problem=problem, portal=portal, page=f"{ACCOUNT_PAGE}/{portal.name}")


def _refused() -> Problem:
    return Problem(
        reason=Reason.PORTAL_REFUSED,
        title=ANSWERS[Reason.PORTAL_REFUSED].title,
        sentence=marked(
            "The portal did not accept these. Please check them; they were tried once and are not tried again."
        ),
        fields=("username", "password"),
    )


def _unfit(portal: Portal, username: str, password: str) -> Problem | None:
    """Say what cannot be the name or password of anybody."""
    for is_asked, name, value, most in (
        (portal.asks_username, "username", username, MAX_NAME_CHARACTERS),
        (portal.asks_password, "password", password, MAX_PASSWORD_CHARACTERS),
    ):
        if is_asked and (not value or len(value) > most or not value.isprintable()):
            return Problem(
                reason=Reason.CREDENTIALS_REFUSED,
                title=marked("Something is missing"),
                sentence=marked("Please fill in every field."),
                fields=(name,),
            )
    return None


def _note(visit: Visit, portal: Portal, session: Session, attempted: Attempted) -> None:
    visit.desk.portal_sign_ons.inc((portal.name, attempted.standing))
    if not attempted.was_tried:
        return
    if attempted.standing is Standing.KNOWN:
        visit.events.append(_event("portal.signed_on", portal, session))
    else:
        reason = Reason.PORTAL_REFUSED if attempted.standing is Standing.REFUSED else Reason.UPSTREAM_UNREACHABLE
        visit.events.append(_event("portal.signed_on", portal, session, reason=reason))


def _event(name: str, portal: Portal, session: Session, *, reason: str = "") -> Event:
    return Event(
        name=name,
        outcome="failure" if reason else "success",
        reason=reason,
        user_id=session.user_id,
        user=session.user,
        tenant=session.tenant,
        session=session.handle,
        upstream=portal.name,
    )
