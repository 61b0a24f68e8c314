"""Keeping a form that sign-in interrupted, and offering it once to the person who sent it.

It sends nothing to the portal: the browser does, when the person says so, and the pipeline decides
about that request as about any other. The page is for documents alone, so that a script of the
portal, which shares our origin, cannot read what was kept.
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import quote

import msgspec
import structlog
from aiohttp import web

from gateway.exchange.envelope import Event, Interrupted, NotKept
from gateway.exchange.errors import GatewayError
from gateway.exchange.reason import Reason
from gateway.exchange.session import Session
from gateway.pages.interrupted import InterruptedForm, read_interrupted
from gateway.pages.return_to import START_PAGE, is_own_page, safe_return
from gateway.pages.visit import Problem, Visit

KEEP = "/.gateway/keep"
"""Where the edge hands a form over. No client gets there."""
KEPT_PAGE = "/.gateway/kept"

_SECRET_BYTES = 32
_MAX_PATH_CHARACTERS = 256
"""Of a path in the audit trail, and in the login state, which is a cookie."""
_OWED_PAGES = {Reason.MFA_REQUIRED: "/.gateway/mfa", Reason.DEVICE_UNCONFIRMED: "/.gateway/device"}
_log = structlog.get_logger("gateway.pages")


class Taken(Protocol):
    """What was kept; it is kept no longer."""

    @property
    def form(self) -> bytes:
        """Empty when there was nothing, or somebody else's."""
        ...

    @property
    def foreign(self) -> bool:
        """It was somebody else's."""
        ...


class KeptForms(Protocol):
    """Where forms wait. `secret` is 32 bytes that only the browser's sealed login state holds."""

    async def keep(self, secret: bytes, form: bytes, *, token: bytes, now: float) -> bool:
        """Keep a form for the person whose session the cookie value `token` was; False when there is no room."""
        ...

    async def take(self, secret: bytes, *, user_id: str, now: float) -> Taken:
        """Remove what is kept, and return it if it is this person's."""
        ...

    async def drop(self, secret: bytes) -> bool:
        """Remove what is kept; False when there was nothing."""
        ...


async def keep(visit: Visit, interrupted: Interrupted) -> web.Response:
    """Keep the form in the body of this request and send the browser to sign in; say so where it cannot be kept."""
    form = None
    target = interrupted.target
    if "Content-Encoding" not in visit.request.headers and safe_return(target) == target and not is_own_page(target):
        try:
            body = await visit.request.read()
        except web.HTTPRequestEntityTooLarge:
            return _not_kept(visit, interrupted, "too_large")
        form = read_interrupted(target, visit.request.headers.get("Content-Type", ""), body)
    if form is None:
        return _not_kept(visit, interrupted, "unreadable")
    # attack: never under a secret from before; the login state with it may have been planted by who knows it
    secret, before = visit.desk.random(_SECRET_BYTES), visit.flow.kept
    try:
        has_room = await visit.desk.kept.keep(secret, msgspec.msgpack.encode(form), token=visit.token, now=visit.now)
        if before and has_room:
            await visit.desk.kept.drop(before)
    except GatewayError as error:
        _log.warning("form.not_kept", request_id=visit.envelope.request_id, reason=error.reason, error=str(error))
        return _not_kept(visit, interrupted, "unavailable")
    if not has_room:
        return _not_kept(visit, interrupted, "full")
    visit.desk.kept_forms.inc(("kept",))
    visit.events.append(Event(name="form.kept", path=form.path[:_MAX_PATH_CHARACTERS], size=form.size))
    return_to = safe_return(interrupted.return_to)
    visit.change_flow(kept=secret, return_to=return_to)
    return visit.redirect(_page_of(interrupted, return_to))


def _page_of(interrupted: Interrupted, return_to: str) -> str:
    """Name the page where the person proves what was missing."""
    if interrupted.reason == Reason.PORTAL_SIGN_ON:
        return f"/.gateway/sign-on/{interrupted.upstream}?return_to={quote(return_to, safe='/')}"
    page = interrupted.step_up or _OWED_PAGES.get(Reason(interrupted.reason), "/.gateway/login")
    return f"{page}{'&' if '?' in page else '?'}return_to={quote(return_to, safe='/')}"


def _not_kept(visit: Visit, interrupted: Interrupted, why: NotKept) -> web.Response:
    """Answer as if nothing could be kept at all: 401, and what that means for the person."""
    visit.desk.kept_forms.inc((why,))
    reason = Reason(interrupted.reason)
    refusals = visit.desk.look_of(visit.envelope.tenant).refusals
    response = web.Response(
        status=401,
        body=refusals(
            reason,
            accepted=visit.request.headers.get("Accept-Language", ""),
            request_id=visit.envelope.request_id,
            sign_in=_page_of(interrupted, safe_return(interrupted.return_to)),
            not_kept=why,
        ),
    )
    response.headers["Content-Type"] = "text/html; charset=utf-8"
    response.headers["Content-Security-Policy"] = refusals.csp.decode("ascii")
    response.headers["WWW-Authenticate"] = 'Session realm="gateway"'
    return response


async def show_kept(visit: Visit, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """Offer the form that waits; from now on only this page has it."""
    session, fields = visit.session, visit.request.headers
    if session is None or visit.request.method != "GET" or "Sec-Purpose" in fields:
        return visit.page("kept.html", form=None, session=session, return_to=visit.flow.return_to)
    form = await _take(visit, session)
    if form is None:
        return visit.page("kept.html", form=None, session=session, return_to=visit.flow.return_to)
    visit.desk.kept_forms.inc(("offered",))
    visit.events.append(_event("form.offered", session, form))
    visit.change_flow(offered=form.path[:_MAX_PATH_CHARACTERS])
    return visit.page("kept.html", form=form, session=session, return_to=visit.flow.return_to)


async def _take(visit: Visit, session: Session) -> InterruptedForm | None:
    """Take what is kept for this browser; None where there is nothing for this person."""
    # Over TLS every browser of today says what it wants the page for; whoever does not say may be a script.
    # attack: portal XSS
    if visit.envelope.scheme == "https" and visit.request.headers.get("Sec-Fetch-Dest") != "document":
        return None
    if not visit.flow.kept:
        return None
    taken = await visit.desk.kept.take(visit.flow.kept, user_id=session.user_id, now=visit.now)
    visit.change_flow(kept=b"")
    if taken.foreign:
        visit.desk.kept_forms.inc(("foreign",))
        visit.events.append(
            Event(
                name="form.discarded",
                outcome="failure",
                user_id=session.user_id,
                user=session.user,
                tenant=session.tenant,
                session=session.handle,
            )
        )
        visit.head_for(START_PAGE)  # where somebody else was going is nobody's business
        return None
    if not taken.form:
        visit.desk.kept_forms.inc(("gone",))
        return None
    return msgspec.msgpack.decode(taken.form, type=InterruptedForm)


async def discard_kept(visit: Visit, form: dict[str, str]) -> web.Response:  # noqa: ARG001 - nothing but the proof is in it
    """Leave the form that was offered unsent; nobody but the page had it any more."""
    session = visit.session
    if visit.flow.offered and session is not None:
        visit.desk.kept_forms.inc(("discarded",))
        visit.events.append(
            Event(
                name="form.discarded",
                user_id=session.user_id,
                user=session.user,
                tenant=session.tenant,
                session=session.handle,
                path=visit.flow.offered,
            )
        )
    target = visit.flow.return_to
    visit.end_flow()
    return visit.redirect(target)


async def forget_kept(visit: Visit) -> None:
    """Drop what waits in this browser: its person signs out."""
    if visit.flow.kept and await visit.desk.kept.drop(visit.flow.kept):
        visit.desk.kept_forms.inc(("discarded",))
        visit.events.append(Event(name="form.discarded"))


def _event(name: str, session: Session, form: InterruptedForm) -> Event:
    return Event(
        name=name,
        user_id=session.user_id,
        user=session.user,
        tenant=session.tenant,
        session=session.handle,
        path=form.path[:_MAX_PATH_CHARACTERS],
        size=form.size,
    )
