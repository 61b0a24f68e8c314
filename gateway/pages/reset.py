"""A forgotten password: who are you, the code from the mail, the new password. Then the person signs in as always.

Each page answers the same whether the account exists or not. The steps are held by the store under a secret of this
browser's sealed cookie: nothing in an address or a form advances one, and no link in a mail does.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from aiohttp import web

from gateway.exchange.reason import ANSWERS, Reason
from gateway.pages.account import not_accepted
from gateway.pages.accounts import ClientT_contra, Happened, Refusal
from gateway.pages.sign_in import SIGN_IN_PAGE
from gateway.pages.texts import marked
from gateway.pages.visit import Problem, Visit, problem_of

RESET_PAGE = "/.gateway/reset"
CODE_PAGE = "/.gateway/reset/code"
PASSWORD_PAGE = "/.gateway/reset/password"  # noqa: S105 - an address

_SECRET_BYTES = 32
_MAX_NAME_CHARACTERS = 254
_MAX_CODE_CHARACTERS = 64
_MAX_SECRET_CHARACTERS = 1024


class Resets(Protocol[ClientT_contra]):
    """What replaces forgotten passwords. `browser` is a secret that this browser alone holds."""

    def ask(self, typed: str, browser: bytes, *, client: ClientT_contra, now: float) -> Awaitable[Happened | Refusal]:
        """Send a code to whoever is meant, if there is somebody."""
        ...

    def prove(self, browser: bytes, code: str, *, client: ClientT_contra, now: float) -> Awaitable[Happened | Refusal]:
        """Take the code."""
        ...

    def is_proven(self, browser: bytes, *, now: float) -> Awaitable[bool]:
        """Tell whether this browser may set a password."""
        ...

    def set_password(
        self, browser: bytes, new: str, *, client: ClientT_contra, now: float
    ) -> Awaitable[Happened | Refusal]:
        """Replace the password; every session of the account ends."""
        ...


async def show_reset(visit: Visit, problem: Problem | None = None, name: str = "") -> web.Response:
    """Ask who the person is."""
    return visit.page("reset.html", problem=problem, name=name)


async def ask(visit: Visit, form: dict[str, str]) -> web.Response:
    """Send a code to whoever is meant; the answer says nothing about whether there is somebody."""
    name = form["username"].strip()
    if not name or len(name) > _MAX_NAME_CHARACTERS:
        sentence = marked("Please enter your user name or your e-mail address.")
        answer = ANSWERS[Reason.CREDENTIALS_REFUSED]
        problem = Problem(
            reason=Reason.CREDENTIALS_REFUSED, title=answer.title, sentence=sentence, fields=("username",)
        )
        return await show_reset(visit, problem, name[:_MAX_NAME_CHARACTERS])
    if not visit.flow.asked:
        visit.change_flow(asked=visit.desk.random(_SECRET_BYTES))
    result = await _resets(visit).ask(name, visit.flow.asked, client=visit.client, now=visit.now)
    visit.record(result)
    if isinstance(result, Refusal):
        visit.desk.resets_counted.inc(("asked", result.reason))
        return await show_reset(visit, problem_of(result, "username"), name)
    visit.desk.resets_counted.inc(("asked", "answered"))
    return visit.redirect(CODE_PAGE)


async def show_code(visit: Visit, problem: Problem | None = None) -> web.Response:
    """Ask for the code; a browser that asked for none begins at the beginning."""
    if not visit.flow.asked:
        return visit.redirect(RESET_PAGE)
    return visit.page("reset_code.html", problem=problem)


async def prove(visit: Visit, form: dict[str, str]) -> web.Response:
    """Take the code."""
    if not visit.flow.asked:
        return visit.redirect(RESET_PAGE)
    code = form["code"]
    if not code.strip() or len(code) > _MAX_CODE_CHARACTERS:
        sentence = marked("Please enter the code.")
        answer = ANSWERS[Reason.CODE_REFUSED]
        return await show_code(
            visit, Problem(reason=Reason.CODE_REFUSED, title=answer.title, sentence=sentence, fields=("code",))
        )
    result = await _resets(visit).prove(visit.flow.asked, code, client=visit.client, now=visit.now)
    visit.record(result)
    if isinstance(result, Refusal):
        visit.desk.resets_counted.inc(("proven", result.reason))
        return await show_code(visit, problem_of(result, "code"))
    visit.desk.resets_counted.inc(("proven", "success"))
    return visit.redirect(PASSWORD_PAGE)


async def show_new_password(visit: Visit, problem: Problem | None = None, score: int | None = None) -> web.Response:
    """Ask for the new password, once the code was right."""
    if not visit.flow.asked or not await _resets(visit).is_proven(visit.flow.asked, now=visit.now):
        return visit.redirect(RESET_PAGE)
    return visit.page(
        "reset_password.html", problem=problem, score=score, least=visit.desk.min_password_characters_alone
    )


async def set_password(visit: Visit, form: dict[str, str]) -> web.Response:
    """Set it. Nobody is signed in by that: the second factor is still to be asked for."""
    new, again = form["new_password"], form["new_password_again"]
    if not new or len(new) > _MAX_SECRET_CHARACTERS:
        sentence = marked("That is too long.") if new else marked("Please fill in every field.")
        return await show_new_password(visit, not_accepted(sentence, "new_password"))
    if new != again:
        return await show_new_password(
            visit, not_accepted(marked("The two new passwords are not the same."), "new_password_again")
        )
    if not visit.flow.asked:
        return visit.redirect(RESET_PAGE)
    result = await _resets(visit).set_password(visit.flow.asked, new, client=visit.client, now=visit.now)
    visit.record(result)
    if isinstance(result, Refusal):
        visit.desk.resets_counted.inc(("set", result.reason))
        if result.reason is Reason.FORM_EXPIRED:
            return await show_reset(visit, problem_of(result))
        return await show_new_password(visit, problem_of(result, "new_password"), getattr(result, "score", None))
    visit.desk.resets_counted.inc(("set", "success"))
    visit.change_flow(asked=b"")
    visit.renew_flow()
    return visit.redirect(f"{SIGN_IN_PAGE}?reason=password_reset")


def _resets(visit: Visit) -> Resets[Any]:
    """Return what the pages are there for; they are served only where it is."""
    if visit.desk.resets is None:
        raise web.HTTPNotFound
    return visit.desk.resets
