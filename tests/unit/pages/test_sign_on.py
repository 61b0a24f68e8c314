"""Signing on to a portal, with real sockets on both sides: what the portal is asked, and what a hostile one gets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web

from gateway.pages.portal_form import Client, FormRules, Outcome, PortalServer, sign_on_by_form, sign_out_there
from gateway.session.vault import Vault
from gateway.wire.set_cookie import Cookie

CLIENT = Client("https", "portal.example:8443", "portal.example", "192.0.2.7", "Firefox", "de")
FORM = """<form action="/login" method="post"><input type="hidden" name="csrf" value="t&amp;1"><input name="u">
<input type="password" name="p"></form>"""
Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class Portal:
    rules: FormRules
    asked: list[tuple[str, str, dict[str, str], str]] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(
            (
                request.method,
                request.path_qs,
                {name.lower(): value for name, value in request.headers.items()},
                await request.text(),
            )
        )
        answer = self.answers.get(f"{request.method} {request.path}")
        return web.Response(status=404) if answer is None else await answer(request)

    def page(self, text: str, path: str = "/login", *cookies: str) -> None:
        async def answer(_request: web.BaseRequest) -> web.StreamResponse:
            response = web.Response(text=text, content_type="text/html")
            for cookie in cookies:
                response.headers.add("Set-Cookie", cookie)
            return response

        self.answers[f"GET {path}"] = answer

    def takes(self, status: int, location: str, *cookies: str, path: str = "/login") -> None:
        async def answer(_request: web.BaseRequest) -> web.StreamResponse:
            response = web.Response(status=status, headers={"Location": location} if location else {})
            for cookie in cookies:
                response.headers.add("Set-Cookie", cookie)
            return response

        self.answers[f"POST {path}"] = answer

    async def sign_on(self, **changes: Any) -> Any:
        rules = replace(self.rules, **changes)
        return await sign_on_by_form(rules, CLIENT, username="al", password="s&cret ü", now=time.time())

    @property
    def posts(self) -> list[str]:
        return [body for method, _, _, body in self.asked if method == "POST"]


@pytest.fixture
async def portal() -> AsyncIterator[Portal]:
    made = Portal(None)  # type: ignore[arg-type]  # known once it listens
    runner = web.ServerRunner(web.Server(made.serve))
    await runner.setup()
    place = web.TCPSite(runner, "127.0.0.1", 0)
    await place.start()
    port = runner.addresses[0][1]
    made.rules = FormRules(
        servers=(PortalServer("http", "127.0.0.1", port, "", f"127.0.0.1:{port}"),),
        preserve_host=True,
        page="/login",
        form="",
        fields={"username": "u", "password": "p"},
        values={},
        statuses=frozenset({302}),
        location="",
        not_location="/login",
        cookie="",
        sign_out="/bye?now",
        timeout_s=5.0,
    )
    made.page(FORM, "/login", "pre=1; Path=/")
    yield made
    await runner.cleanup()


async def test_the_form_is_filled_in_with_what_the_page_says(portal: Portal) -> None:
    portal.takes(302, "/home", "SID=1; HttpOnly; Path=/")
    answered = await portal.sign_on(values={"remember": "1"})
    assert answered.outcome is Outcome.ACCEPTED
    assert portal.posts == ["csrf=t%261&u=al&p=s%26cret+%C3%BC&remember=1"]
    assert answered.set_cookies == (("/login", "pre=1; Path=/"), ("/login", "SID=1; HttpOnly; Path=/"))
    _, _, fields, _ = portal.asked[-1]
    assert fields["cookie"] == "pre=1"
    assert fields["host"] == "portal.example:8443"
    assert fields["origin"] == "https://portal.example:8443"
    assert fields["referer"] == "https://portal.example:8443/login"
    assert fields["user-agent"] == "Firefox"
    assert fields["x-forwarded-for"] == "192.0.2.7"


@pytest.mark.parametrize(
    ("status", "location", "changes"),
    [
        (200, "", {}),
        (302, "/login?error", {}),
        (302, "https://portal.example:8443/login?error", {}),
        (302, "/home", {"cookie": "SID"}),
        (302, "/home", {"location": "/welcome"}),
    ],
)
async def test_an_answer_that_breaks_the_rule_is_a_refusal_and_nothing_is_kept(
    portal: Portal, status: int, location: str, changes: dict[str, Any]
) -> None:
    portal.takes(status, location, "other=1")
    answered = await portal.sign_on(**changes)
    assert answered == (Outcome.REFUSED, ())
    assert len(portal.posts) == 1


@pytest.mark.parametrize(
    "page",
    [
        "<p>maintenance</p>",
        FORM.replace('action="/login"', 'action="https://evil.example/login"'),
        FORM.replace('action="/login"', 'action="//evil.example/login"'),
        FORM.replace('action="/login"', 'action="javascript:alert(1)"'),
        FORM.replace('method="post"', 'method="get"'),
        FORM.replace('name="p"', 'name="q"'),
    ],
)
async def test_no_password_leaves_for_a_form_that_is_not_the_portals(portal: Portal, page: str) -> None:
    """attack: a page that sends the password elsewhere, or into an address that is logged."""
    portal.page(page)
    portal.takes(302, "/home")
    assert (await portal.sign_on()).outcome is Outcome.NO_FORM
    assert portal.posts == []


async def test_a_redirect_to_the_form_is_followed_and_one_elsewhere_is_not(portal: Portal) -> None:
    async def onward(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": request.query["to"]})

    portal.answers["GET /start"] = onward
    portal.takes(302, "/home")
    assert (await portal.sign_on(page="/start?to=/login")).outcome is Outcome.ACCEPTED
    for elsewhere in ("https://evil.example/login", "/start?to=/login%23"):
        before = len(portal.posts)
        await portal.sign_on(page=f"/start?to={elsewhere}")
        assert len(portal.posts) - before <= 1
    assert (await portal.sign_on(page="/start?to=https://evil.example/")).outcome is Outcome.NO_FORM


async def test_a_portal_that_is_down_is_no_refusal(portal: Portal) -> None:
    async def broken(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=503)

    gone = (PortalServer("http", "127.0.0.1", 1, "", "127.0.0.1:1"),)
    assert (await portal.sign_on(servers=gone)).outcome is Outcome.UNAVAILABLE
    portal.takes(302, "/home")
    assert (await portal.sign_on(servers=(*gone, *portal.rules.servers))).outcome is Outcome.ACCEPTED
    portal.answers["POST /login"] = broken
    assert (await portal.sign_on()).outcome is Outcome.UNKNOWN
    portal.answers["GET /login"] = broken
    assert (await portal.sign_on()).outcome is Outcome.UNAVAILABLE


async def test_a_portal_that_is_silent_after_the_password_leaves_it_open_what_it_thinks(portal: Portal) -> None:
    ended = asyncio.Event()

    async def silent(_request: web.BaseRequest) -> web.StreamResponse:
        await ended.wait()
        return web.Response()

    portal.answers["POST /login"] = silent
    assert (await portal.sign_on(timeout_s=0.5)).outcome is Outcome.UNKNOWN
    ended.set()
    assert len(portal.posts) == 1


async def test_signing_out_asks_the_portal_with_its_own_cookies(portal: Portal) -> None:
    vault = Vault(cookies=(Cookie(name=b"SID", value=b"1", created=0.0),), signed_on=1.0)
    assert await sign_out_there(portal.rules, CLIENT, vault, now=time.time())
    method, target, fields, _ = portal.asked[-1]
    assert (method, target, fields["cookie"]) == ("GET", "/bye?now", "SID=1")
    gone = replace(portal.rules, servers=(PortalServer("http", "127.0.0.1", 1, "", "x"),))
    assert not await sign_out_there(gone, CLIENT, vault, now=time.time())
