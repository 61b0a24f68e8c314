"""The pages about people and their sessions, and what an administrator does to them. Nobody is given a role here."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.exchange.administration import Acted, Portrait
from gateway.exchange.reason import Reason
from gateway.pages.console.door import Inside
from gateway.pages.console.paging import SIZE, page_number, paging, words_of
from gateway.pages.device import describe_device
from gateway.pages.texts import marked
from gateway.pages.visit import Problem

PEOPLE: Final = "/.gateway/admin/people"
_NOTICES: Final = {
    "console_disabled": marked("The account is disabled, and its sessions have ended."),
    "console_enabled": marked("The person can sign in again."),
    "console_ended": marked("Signed out: the next request asks to sign in."),
    "console_reset": marked("Every second factor is removed. The person sets up a new one at the next sign-in."),
    "console_gone": marked("Nothing to do: it was gone already."),
    "console_changed": marked(
        "Somebody else changed this account at the same moment. Nothing was done; please try again."
    ),
    "console_not_allowed": marked("That is not yours to do."),
    "console_form": marked("The form has expired. Nothing was changed. Please try again."),
}


def masked(email: str) -> str:
    """Write an address so that its owner knows it and nobody else can use it: `a…@acme.example`."""
    name, at, domain = email.rpartition("@")
    return f"{name[:1]}…{at}{domain}" if name else ""


async def show_people(inside: Inside, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """List people."""
    inside.note("view people")
    query = inside.visit.request.query
    words, number = words_of(query, "q"), page_number(query)
    found = await inside.console.people.people(inside.who, words, start=(number - 1) * SIZE, size=SIZE)
    return inside.page(
        "console_people.html",
        here="people",
        words=words,
        people=[(person, masked(person.email)) for person in found.people],
        paging=paging(found.total, number, {"q": words}),
    )


async def show_sessions(inside: Inside, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """List the sessions that live."""
    inside.note("view sessions")
    query = inside.visit.request.query
    words, number = words_of(query, "q"), page_number(query)
    found = await inside.console.people.sessions(
        inside.who, words, start=(number - 1) * SIZE, size=SIZE, now=inside.now
    )
    return inside.page(
        "console_sessions.html",
        here="sessions",
        words=words,
        sessions=[(session, describe_device(session.user_agent)) for session in found.sessions],
        paging=paging(found.total, number, {"q": words}),
    )


async def show_person(inside: Inside, problem: Problem | None = None) -> web.Response:
    """Show one person: account, factors, sessions, and what can be done."""
    portrait = await _portrait(inside)
    individual = portrait.individual
    inside.note("view person", user_id=individual.id, user=individual.name, tenant=individual.tenant)
    visit = inside.visit
    if problem is not None and problem.reason is Reason.FORM_EXPIRED and visit.request.method == "POST":
        return _back(inside, individual.id, "console_form")
    notice = _NOTICES.get(visit.flow.notice, "")
    visit.change_flow(notice="")
    return inside.page(
        "console_person.html",
        here="people",
        portrait=portrait,
        person=individual,
        notice=notice,
        sessions=[(session, describe_device(session.user_agent)) for session in portrait.sessions],
        own_handle=inside.who.handle,
    )


async def _portrait(inside: Inside) -> Portrait:
    """Find the person of the address, or answer as to an unknown one."""
    found = await inside.console.people.person(inside.who, inside.visit.request.match_info["person"], now=inside.now)
    if found is None:
        raise web.HTTPNotFound
    return found


async def disable(inside: Inside, form: dict[str, str]) -> web.Response:  # noqa: ARG001 - nothing but the proof is in it
    """Keep the person from signing in, and end their sessions."""
    person = _person_of(inside)
    acted = await inside.console.people.set_disabled(inside.who, person, disabled=True, now=inside.now)
    return _answer(inside, person, acted, "console_disabled")


async def enable(inside: Inside, form: dict[str, str]) -> web.Response:  # noqa: ARG001 - nothing but the proof is in it
    """Let the person sign in again."""
    person = _person_of(inside)
    acted = await inside.console.people.set_disabled(inside.who, person, disabled=False, now=inside.now)
    return _answer(inside, person, acted, "console_enabled")


async def end_session(inside: Inside, form: dict[str, str]) -> web.Response:
    """End one session of the person."""
    person = _person_of(inside)
    acted = await inside.console.people.end_session(inside.who, person, form["handle"])
    return _answer(inside, person, acted, "console_ended")


async def end_sessions(inside: Inside, form: dict[str, str]) -> web.Response:  # noqa: ARG001 - nothing but the proof is in it
    """End every session of the person."""
    person = _person_of(inside)
    acted = await inside.console.people.end_sessions(inside.who, person)
    return _answer(inside, person, acted, "console_ended" if acted.count else "console_gone")


async def reset_factors(inside: Inside, form: dict[str, str]) -> web.Response:  # noqa: ARG001 - nothing but the proof is in it
    """Forget every second factor of the person."""
    person = _person_of(inside)
    acted = await inside.console.people.reset_factors(inside.who, person, now=inside.now)
    return _answer(inside, person, acted, "console_reset")


def _person_of(inside: Inside) -> str:
    return inside.visit.request.match_info["person"]


def _answer(inside: Inside, person: str, acted: Acted, done: str) -> web.Response:
    """Go back to the person's page, which says what came of it; the record says it too."""
    inside.visit.events.extend(acted.events)
    return _back(inside, person, done if acted.outcome == "done" else f"console_{acted.outcome}")


def _back(inside: Inside, person: str, notice: str) -> web.Response:
    inside.visit.change_flow(notice=notice)
    return inside.visit.redirect(f"{PEOPLE}/{person}")
