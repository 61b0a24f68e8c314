"""The pages between a person and a portal with a sign-in of its own; what the portal thinks is a fake's to say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.session import Session
from gateway.pages.portal_form import Client
from gateway.pages.portal_seams import Attempted, Portal, Standing
from tests.fakes.pages_site import Answer, Browser, Site
from tests.unit.pages.conftest import SiteMaker

SIGN_ON = "/.gateway/sign-on/wiki"
ACCOUNT = "/.gateway/portal-account/wiki"
WIKI = Portal("wiki", asks_username=True, asks_password=True)
SHARED = Portal("shared", asks_username=False, asks_password=False)


@dataclass
class FakePortals:
    standing: Standing = Standing.KNOWN
    was_tried: bool = True
    told: list[tuple[str, str, str]] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    signed_out: list[str] = field(default_factory=list)
    carried: list[tuple[bytes, bytes]] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    is_away: bool = False

    def portal(self, name: str) -> Portal | None:
        return {"wiki": WIKI, "shared": SHARED}.get(name)

    async def sign_on(self, name: str, token: bytes, session: Session, client: Client, *, now: float) -> Attempted:
        if self.is_away:
            raise StoreUnavailableError("away")
        self.clients.append(client)
        return Attempted(self.standing, self.was_tried)

    async def tell(self, name: str, session: Session, *, username: str, password: str, now: float) -> None:
        self.told.append((name, username, password))

    async def forget(self, name: str, session: Session) -> bool:
        self.forgotten.append(name)
        return True

    async def sign_out(self, token: bytes, session: Session, client: Client, *, now: float) -> None:
        self.signed_out.append(session.user)

    async def carry(self, old: bytes, new: bytes, *, now: float) -> None:
        self.carried.append((old, new))
        if self.is_away:
            raise StoreUnavailableError("away")


@dataclass
class Visitor:
    site: Site
    browser: Browser
    portals: FakePortals

    async def sign_on(self, query: str = "") -> Answer:
        return await self.browser.get(SIGN_ON + query)


@pytest.fixture
async def visitor(make_site: SiteMaker) -> Any:
    portals = FakePortals()
    async with make_site(portals=portals) as site:
        site.add_user("alice")
        browser = site.browser()
        await browser.sign_in()
        yield Visitor(site, browser, portals)


async def test_whom_the_portal_knows_goes_where_they_wanted(visitor: Visitor) -> None:
    answer = await visitor.sign_on("?return_to=/start")
    assert (answer.status, answer.location) == (303, "/start")
    (event,) = answer.events
    assert (event.name, event.outcome, event.upstream, event.user) == ("portal.signed_on", "success", "wiki", "alice")
    assert visitor.portals.clients[0].ip == visitor.browser.ip
    assert visitor.site.counted("gateway_portal_sign_ons_total") == {("wiki", "known"): 1}


async def test_nobody_is_led_to_another_place_than_ours(visitor: Visitor) -> None:
    for evil in ("https://evil.example/", "//evil.example", "/\\evil.example", SIGN_ON):
        assert (await visitor.sign_on(f"?return_to={evil}")).location == "/"


async def test_an_untold_account_is_asked_for_and_then_tried(visitor: Visitor) -> None:
    visitor.portals.standing = Standing.UNTOLD
    visitor.portals.was_tried = False
    page = await visitor.sign_on("?return_to=/start")
    assert page.status == 200
    assert page.events == []
    told = await visitor.browser.submit(page, ACCOUNT, username="al", password="s3cret <&>")
    assert (told.status, told.location) == (303, SIGN_ON)
    assert visitor.portals.told == [("wiki", "al", "s3cret <&>")]
    assert told.names() == ["portal.account_told"]
    assert "s3cret" not in repr(told.events)
    visitor.portals.standing = Standing.KNOWN
    assert (await visitor.sign_on()).location == "/start"


async def test_a_refusal_is_shown_with_the_form_and_recorded(visitor: Visitor) -> None:
    visitor.portals.standing = Standing.REFUSED
    page = await visitor.sign_on()
    assert page.status == 403
    assert "did not accept" in page.text
    (event,) = page.events
    assert (event.name, event.outcome, event.reason) == ("portal.signed_on", "failure", "portal_refused")


@pytest.mark.parametrize(
    "fields",
    [{}, {"username": "al"}, {"username": "a\u200b", "password": "x"}, {"username": "a" * 300, "password": "x"}],
)
async def test_what_is_no_account_is_not_kept(visitor: Visitor, fields: dict[str, str]) -> None:
    page = await visitor.browser.get(ACCOUNT)
    answer = await visitor.browser.submit(page, ACCOUNT, **fields)
    assert answer.status == 401
    assert visitor.portals.told == []


async def test_what_was_told_is_forgotten_when_asked(visitor: Visitor) -> None:
    page = await visitor.browser.get(ACCOUNT)
    answer = await visitor.browser.submit(page, ACCOUNT, forget="1")
    assert answer.status == 303
    assert visitor.portals.forgotten == ["wiki"]
    assert answer.names() == ["portal.account_forgotten"]


@pytest.mark.parametrize(
    ("standing", "status"), [(Standing.UNTOLD, 403), (Standing.REFUSED, 403), (Standing.BUSY, 503), (Standing.UNAVAILABLE, 502)]
)  # fmt: skip
async def test_what_the_person_cannot_mend_is_said(visitor: Visitor, standing: Standing, status: int) -> None:
    visitor.portals.standing = standing
    answer = await visitor.browser.get("/.gateway/sign-on/shared")
    assert answer.status == status
    assert "password" not in answer.text or standing is not Standing.BUSY
    assert (await visitor.browser.get("/.gateway/portal-account/shared")).status == 404


async def test_there_is_no_page_for_an_unknown_portal_nor_for_strangers(visitor: Visitor) -> None:
    assert (await visitor.browser.get("/.gateway/sign-on/nowhere")).status == 404
    stranger = visitor.site.browser()
    assert (await stranger.get(SIGN_ON)).location.startswith("/.gateway/login")
    assert visitor.portals.clients == []


async def test_a_form_of_another_site_tells_nothing(visitor: Visitor) -> None:
    """attack: an account of the attacker's at the portal, so that the person works in it."""
    page = await visitor.browser.get(ACCOUNT)
    fields = page.hidden(ACCOUNT) | {"username": "evil", "password": "evil"}
    assert (await visitor.browser.post(ACCOUNT, fields, Origin="https://evil.example")).status == 403
    assert (await visitor.browser.post(ACCOUNT, {"username": "evil", "password": "evil"})).status == 403
    assert visitor.portals.told == []


async def test_a_script_of_the_portal_cannot_read_the_page(visitor: Visitor) -> None:
    assert (await visitor.browser.get(SIGN_ON, Sec_Fetch_Dest="empty")).status == 403
    assert visitor.portals.clients == []


async def test_signing_out_here_signs_out_there(visitor: Visitor) -> None:
    page = await visitor.browser.get("/.gateway/logout")
    await visitor.browser.submit(page, "/.gateway/logout")
    assert visitor.portals.signed_out == ["alice"]


async def test_a_store_that_is_away_says_so_and_keeps_the_session(visitor: Visitor) -> None:
    visitor.portals.is_away = True
    answer = await visitor.sign_on()
    assert answer.status == 503
    assert answer.cookies == {}


async def test_a_new_cookie_reaches_the_browser_whatever_becomes_of_the_vault(visitor: Visitor) -> None:
    visitor.portals.is_away = True
    browser = visitor.site.browser()
    answer = await browser.sign_in()
    assert browser.cookie_name in answer.cookies
    assert visitor.portals.carried[-1][1].decode() == browser.jar[browser.cookie_name]
