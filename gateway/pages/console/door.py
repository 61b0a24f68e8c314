"""Who comes into the console: every gate of its pages, in order.

To whoever is not let in a page here is an address like any unknown one: no role, another network or a console that is
off are the same 404. Only somebody who is not signed in is asked to, as everywhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web

from gateway.exchange.administration import Administrator
from gateway.exchange.envelope import Event
from gateway.exchange.metrics import Counter
from gateway.exchange.reason import Reason
from gateway.exchange.session import Owed, Session
from gateway.pages.console.desk import VIEW_FACTOR_AGE_S, Console
from gateway.pages.form import PROOF_FIELDS, read_form
from gateway.pages.provenance import refuse_embedding, refuse_foreign_submission
from gateway.pages.return_to import CONSOLE, safe_return
from gateway.pages.sign_in import MFA_PAGE, owed_page, to_sign_in, why_signed_out
from gateway.pages.visit import Problem, Visit, form_expired, refuse

_PAGE_DESTINATIONS: Final = frozenset({"document"})
_LOCAL: Final = "local"
_JUST_SIGNED_IN_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Inside:
    """A request of an administrator."""

    visit: Visit
    console: Console
    who: Administrator

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self.visit.now

    def note(self, operation: str, *, path: str = "", user_id: str = "", user: str = "", tenant: str = "") -> None:
        """Have the audit record say what was looked at or tried, and about whom."""
        event = Event(name="admin", operation=operation, path=path, user_id=user_id, user=user, tenant=tenant)
        self.visit.events.append(event)

    def page(self, template: str, *, problem: Problem | None = None, status: int = 200, **values: Any) -> web.Response:
        """Answer with a page of the console."""
        return self.visit.page(template, problem=problem, status=status, who=self.who, now=self.now, **values)


_Show = Callable[[Inside, Problem | None], Awaitable[web.Response]]
_Submit = Callable[[Inside, dict[str, str]], Awaitable[web.Response]]
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Address:
    """One address of the console."""

    path: str
    show: _Show
    """For an address that only takes a form: the page that has it."""
    readable: bool = True
    form: str = ""
    """Name of the form it takes, which its token is bound to; empty = none."""
    fields: frozenset[str] = frozenset()
    submit: _Submit | None = None
    changes: bool = True
    """The form changes something, and wants a fresh second factor."""


@dataclass(frozen=True, slots=True)
class Door:
    """Makes handlers of addresses."""

    console: Console
    visit_of: Callable[[web.Request], Visit]
    requests: Counter
    forms_refused: Counter

    def reader(self, address: Address) -> _Handler:
        """Serve GET and HEAD, which change nothing."""

        async def read(request: web.Request) -> web.StreamResponse:
            visit = self.visit_of(request)
            inside = await self._enter(visit, VIEW_FACTOR_AGE_S)
            if isinstance(inside, web.Response):
                return inside
            refusal = refuse_embedding(request.headers, _PAGE_DESTINATIONS)
            if refusal is not None:
                return _refuse(visit, refusal)
            response = await address.show(inside, None)
            self.requests.inc(("view",))
            return response

        return read

    def submitter(self, address: Address) -> _Handler:
        """Serve POST: every gate, then the act."""
        submit = address.submit
        if submit is None:
            raise ValueError(f"{address.path} takes no form")

        async def take(request: web.Request) -> web.StreamResponse:
            visit = self.visit_of(request)
            # (1) Who: before anything that would tell that there is a page.
            inside = await self._enter(visit, self.console.mfa_age_s if address.changes else VIEW_FACTOR_AGE_S)
            if isinstance(inside, web.Response):
                return inside
            # (2) What the browser says about where the form was.
            refusal = refuse_foreign_submission(request.headers, visit.origin)
            if refusal is not None:
                self.forms_refused.inc((refusal,))
                return _refuse(visit, refusal)
            # (3) One reading of the body.
            values = await read_form(request, address.fields)
            if isinstance(values, Reason):
                self.forms_refused.inc((values,))
                return _refuse(visit, values)
            # (4) The anti-forgery token: of this form, this browser, this session.
            if values["form"] != address.form or not visit.flow.owns(values["form_token"], address.form, visit.handle):
                self.forms_refused.inc((Reason.FORM_EXPIRED,))
                return await address.show(inside, form_expired())
            response = await submit(inside, {name: values[name] for name in values.keys() - PROOF_FIELDS})
            self.requests.inc(("act" if address.changes else "try",))
            return response

        return take

    async def _enter(self, visit: Visit, longest_s: float) -> Inside | web.Response:
        """Let an administrator in; answer, or raise `HTTPNotFound`, where there is none."""
        if not self.console.opens_from(visit.envelope.client_ip):
            self.requests.inc(("refused",))
            _note_refusal(visit, Reason.NETWORK_REFUSED)
            raise web.HTTPNotFound
        session = await visit.identify()
        if session is None:
            visit.head_for(_way_back(visit))
            return to_sign_in(visit, why_signed_out(visit))
        if session.owes is not Owed.NOTHING:
            return visit.redirect(owed_page(session))
        who = await self.console.people.administrator(session)
        if who is None:
            self.requests.inc(("refused",))
            _note_refusal(visit, Reason.ROLE_MISSING)
            raise web.HTTPNotFound
        if not _is_proven(session, visit.now, longest_s):
            return self._step_up(visit, session)
        return Inside(visit, self.console, who)

    def _step_up(self, visit: Visit, session: Session) -> web.Response:
        """Ask for the second factor; say so where the person's provider could prove one and did not."""
        _note_refusal(visit, Reason.STEP_UP_REQUIRED)  # else the record of an act reads as if it was done
        fresh = 0 <= visit.now - session.auth_time < _JUST_SIGNED_IN_S
        if session.provider != _LOCAL and fresh and not session.mfa_time:  # asking there again would go in circles
            self.requests.inc(("unproven",))
            return visit.page("console_unproven.html", status=403, provider=session.provider)
        self.requests.inc(("step_up",))
        target = quote(_way_back(visit), safe="/")
        return visit.redirect(f"{MFA_PAGE}?step_up=mfa_age&return_to={target}")


def _refuse(visit: Visit, reason: Reason) -> web.Response:
    """Turn an administrator away whose browser was sent here by something else than our own page."""
    _note_refusal(visit, reason)
    return refuse(visit.request, reason, visit.envelope.request_id)


def _note_refusal(visit: Visit, reason: Reason) -> None:
    """Have the audit record say that the console was not entered, and why: the answer need not."""
    visit.events.append(Event(name="admin", outcome="failure", reason=reason, operation="enter"))


def _is_proven(session: Session, now: float, longest_s: float) -> bool:
    """Tell whether the second factor was proven in this session, lately enough.

    attack: a device that is remembered brings the time of its proof along, and a provider that saw the person before
    that says so; only `amr` tells what was proven now.
    """
    return bool(session.mfa_time) and "mfa" in session.amr and now - session.mfa_time <= longest_s


def _way_back(visit: Visit) -> str:
    """Name the page of the console to come back to: the one that was asked for, or the one that has the form."""
    path = visit.request.path
    if visit.request.method not in {"GET", "HEAD"}:
        parent, _, act = path.rpartition("/")
        path = path if act == "try" else parent
    return path if safe_return(path) == path else CONSOLE
