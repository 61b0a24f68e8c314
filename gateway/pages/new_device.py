"""Where somebody who signs in on a new device types the code that was mailed to them.

The first look at the page sends the code, every other one waits for it; another is sent by a form of its own. What
the session owes says that the page is the next one, and nothing that the browser sends does.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from aiohttp import web

from gateway.exchange.reason import ANSWERS, Reason
from gateway.exchange.session import Owed
from gateway.pages.accounts import ClientT_contra, Happened, Refusal, SignedIn
from gateway.pages.return_to import safe_return
from gateway.pages.sign_in import DEVICE_PAGE, advance, empty_code, leave, owed_page, to_sign_in, turn_away
from gateway.pages.visit import Problem, Visit, problem_of

AGAIN_PAGE = "/.gateway/device/again"

_MAX_CODE_CHARACTERS = 64
_RETRY_S = 15


class Sent(Happened, Protocol):
    """A code was written for the session."""

    @property
    def address(self) -> str:
        """Where it goes, in part."""
        ...

    @property
    def is_waiting(self) -> bool:
        """The mail server did not take it yet."""
        ...


class Confirmations(Protocol[ClientT_contra]):
    """What confirms new devices."""

    def begin(self, token: bytes, *, client: ClientT_contra, now: float) -> Awaitable[Sent | Refusal]:
        """Send the code that the session owes, unless one is under way."""
        ...

    def send_again(self, token: bytes, *, client: ClientT_contra, now: float) -> Awaitable[Sent | Refusal]:
        """Send another code; the one before is void."""
        ...

    def confirm(
        self, token: bytes, code: str, *, client: ClientT_contra, now: float, remember: bool = False
    ) -> Awaitable[SignedIn | Refusal]:
        """Take the code; the session goes on under a new token."""
        ...


async def show_device(visit: Visit, problem: Problem | None = None) -> web.Response:
    """Ask for the code; whoever owes none goes on."""
    query = visit.request.query
    if "return_to" in query:
        visit.head_for(safe_return(query["return_to"]))
    session, confirmations = visit.session, visit.desk.confirmations
    if session is not None and session.owes is not Owed.DEVICE:
        return visit.redirect(owed_page(session) or leave(visit))
    if confirmations is None:  # mail was taken out of the configuration meanwhile: a new sign-in goes by the new rules
        return to_sign_in(visit)
    sent = await confirmations.begin(visit.token, client=visit.client, now=visit.now)
    visit.record(sent)
    if isinstance(sent, Refusal):
        visit.desk.confirmations_counted.inc(("sent", sent.reason))
        away = turn_away(visit, sent) if sent.reason is not Reason.DEVICE_UNCONFIRMED else None
        return away or _page(visit, problem or problem_of(sent))
    if sent.events:
        visit.desk.confirmations_counted.inc(("sent", "success"))
    if problem is None and sent.is_waiting:
        answer = ANSWERS[Reason.MAIL_UNAVAILABLE]
        problem = Problem(
            reason=Reason.MAIL_UNAVAILABLE, title=answer.title, sentence=answer.sentence, retry_after_s=_RETRY_S
        )
    return _page(visit, problem, sent.address)


def _page(visit: Visit, problem: Problem | None, address: str = "") -> web.Response:
    desk, session = visit.desk, visit.session
    roles = frozenset(session.roles) if session is not None else frozenset()
    has_factor = session is not None and "mfa" in session.amr and session.owes_next is Owed.NOTHING
    remembers = has_factor and desk.never_remembered.isdisjoint(roles)
    return visit.page(
        "device.html",
        problem=problem,
        address=address,
        remember_s=desk.remember_device_s if remembers else 0.0,
        return_to=visit.flow.return_to,
        is_kept=bool(visit.flow.kept),
    )


async def to_device(visit: Visit, problem: Problem | None = None) -> web.Response:
    """Send whoever opens the address of the other form to the page it stands on."""
    return await show_device(visit, problem) if problem is not None else visit.redirect(DEVICE_PAGE)


async def send_again(visit: Visit, form: dict[str, str]) -> web.Response:  # noqa: ARG001 - nothing but the proof is in it
    """Send another code."""
    confirmations: Confirmations[Any] | None = visit.desk.confirmations
    if confirmations is None:
        return to_sign_in(visit)
    sent = await confirmations.send_again(visit.token, client=visit.client, now=visit.now)
    visit.record(sent)
    if isinstance(sent, Refusal):
        visit.desk.confirmations_counted.inc(("sent", sent.reason))
        return turn_away(visit, sent) or await show_device(visit, problem_of(sent))
    visit.desk.confirmations_counted.inc(("sent", "success"))
    return visit.redirect(DEVICE_PAGE)


async def confirm(visit: Visit, form: dict[str, str]) -> web.Response:
    """Take the code; the session is rotated and goes on."""
    if form["return_to"]:
        visit.head_for(safe_return(form["return_to"]))
    confirmations: Confirmations[Any] | None = visit.desk.confirmations
    if confirmations is None:
        return to_sign_in(visit)
    code = form["code"]
    if not code.strip() or len(code) > _MAX_CODE_CHARACTERS:
        return await show_device(visit, empty_code())
    result = await confirmations.confirm(
        visit.token, code, client=visit.client, now=visit.now, remember=bool(form["remember"])
    )
    visit.record(result)
    if isinstance(result, Refusal):
        visit.desk.confirmations_counted.inc(("given", result.reason))
        return turn_away(visit, result) or await show_device(visit, problem_of(result, "code"))
    visit.desk.confirmations_counted.inc(("given", "success"))
    return advance(visit, result)
