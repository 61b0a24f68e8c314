"""Where somebody who is signed in as often as they may be ends one of their sessions, and goes on here.

Everything was proven before this page: password, second factor. It shows the sessions that are there and
ends the one that is chosen; whether that makes room is the accounts' to say.
"""

from __future__ import annotations

from aiohttp import web

from gateway.exchange.reason import Reason
from gateway.exchange.session import Owed
from gateway.pages.account import network_of
from gateway.pages.accounts import Refusal
from gateway.pages.device import describe_device
from gateway.pages.sign_in import advance, leave, owed_page, to_sign_in, turn_away
from gateway.pages.visit import Problem, Visit, problem_of


async def show_room(visit: Visit, problem: Problem | None = None) -> web.Response:
    """Show the sessions of which one has to end; whoever need not end any goes on."""
    session = visit.session
    if session is not None and session.owes is not Owed.ROOM:
        return visit.redirect(owed_page(session) or leave(visit))
    found = await visit.desk.accounts.waiting_for(visit.token, client=visit.client, now=visit.now)
    if isinstance(found, Refusal):
        return turn_away(visit, found) or to_sign_in(visit)
    return visit.page(
        "sessions.html",
        problem=problem,
        now=visit.now,
        devices=[(device, describe_device(device.user_agent), network_of(visit, device)) for device in found],
    )


async def make_room(visit: Visit, form: dict[str, str]) -> web.Response:
    """End the chosen session and go on in its place."""
    handle = form["handle"]
    result = await visit.desk.accounts.make_room(visit.token, handle, client=visit.client, now=visit.now)
    visit.record(result)
    if not isinstance(result, Refusal):
        return advance(visit, result)
    if result.reason is Reason.TOO_MANY_SESSIONS:  # somebody else was faster, or the chosen one had ended already
        return await show_room(visit, problem_of(result))
    return turn_away(visit, result) or to_sign_in(visit)
