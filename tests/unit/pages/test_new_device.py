"""A new device is confirmed by a code from the mail, page by page, over a real store."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator

import msgspec
import pytest

from gateway.authn.assurance import FactorRule, Method, Required
from gateway.exchange.envelope import Interrupted
from gateway.exchange.letter import Matter
from gateway.exchange.session import Owed
from gateway.pages.kept import KEEP, KEPT_PAGE
from gateway.session.life import Lifetimes
from gateway.session.rules import NewDevice, RuleBook, Rules, TenantRules
from tests.fakes.pages_site import Answer, Browser, Site
from tests.unit.pages.conftest import SiteMaker
from tests.unit.pages.test_kept import DOCUMENT

PAGE, AGAIN = "/.gateway/device", "/.gateway/device/again"
CONFIRM = RuleBook(general=TenantRules(rules=Rules(new_device=NewDevice.CONFIRM)))


@pytest.fixture
async def strict(make_site: SiteMaker) -> AsyncIterator[Site]:
    """Bob has no second factor and needs none; alice has one."""
    async with make_site(rules=CONFIRM, mfa_always=False) as site:
        site.add_user("alice")
        site.add_user("bob", totp=False)
        yield site


async def sign_in(browser: Browser, name: str = "bob") -> str:
    """Sign in as far as the code by mail; return it."""
    answer = await browser.give_password(name)
    if answer.location == "/.gateway/mfa":
        answer = await browser.give_code(name)
    assert answer.location == PAGE
    assert (await browser.get(PAGE)).status == 200
    (letter,) = browser.site.letters()
    assert letter.matter is Matter.DEVICE_CODE
    return letter.code


async def confirm(browser: Browser, code: str, **more: str) -> Answer:
    return await browser.submit(await browser.get(PAGE), PAGE, code=code, **more)


async def owed(browser: Browser) -> Owed | None:
    found = [stored.session.owes for stored in browser.site.store.sessions(now=browser.site.now)]
    return found[0] if found else None


async def test_a_code_from_the_mail_lets_a_new_device_in_and_the_next_sign_in_needs_none(strict: Site) -> None:
    browser = strict.browser()
    first = await browser.give_password("bob", query="?return_to=/invoices/42")
    assert (first.location, first.names()) == (PAGE, ["login.succeeded", "session.created"])
    page = await browser.get(PAGE)
    assert page.names() == ["device.confirmation_requested"]
    assert "b…@acme.example" in page.text
    assert "bob@acme.example" not in page.text
    assert (await browser.get("/.gateway/account")).location == PAGE
    before = browser.jar[browser.cookie_name]
    (letter,) = strict.letters()
    assert (letter.to, letter.user, letter.matter) == ("bob@acme.example", "bob", Matter.DEVICE_CODE)
    answer = await confirm(browser, f"{letter.code[:4]} {letter.code[4:]}")
    assert (answer.status, answer.location) == (303, "/invoices/42")
    assert answer.names() == ["device.confirmed", "session.rotated", "device.added"]
    assert browser.jar[browser.cookie_name] != before
    assert (await browser.get("/.gateway/account")).status == 200
    assert strict.notices.told == []
    again = strict.browser(jar={name: value for name, value in browser.jar.items() if name.endswith("-device")})
    assert (await again.give_password("bob")).location == "/"
    assert strict.letters() == []
    assert strict.counted("gateway_device_confirmations_total") == {("sent", "success"): 1, ("given", "success"): 1}


async def test_the_page_sends_one_letter_however_often_it_is_looked_at(strict: Site) -> None:
    browser = strict.browser()
    await sign_in(browser)
    assert (await browser.get(PAGE)).names() == []
    assert strict.letters() == []


async def test_the_second_factor_is_asked_for_first_and_no_factor_stands_in_for_the_mail(strict: Site) -> None:
    browser = strict.browser()
    code = await sign_in(browser, "alice")
    assert (await browser.get("/.gateway/mfa")).location == PAGE
    page = await browser.get(PAGE)
    forged = page.hidden(PAGE) | {"form": "mfa", "code": strict.code(), "method": "code"}
    assert (await browser.post("/.gateway/mfa", forged)).status == 303
    assert await owed(browser) is Owed.DEVICE
    assert (await confirm(browser, code)).location == "/"


async def test_a_wrong_code_is_refused_and_five_void_the_right_one(strict: Site) -> None:
    browser = strict.browser()
    code = await sign_in(browser)
    for _ in range(4):
        answer = await confirm(browser, "00000000")
        assert (answer.status, answer.names()) == (401, ["device.confirmation_failed"])
    page = await browser.get(PAGE)
    fifth = await browser.submit(page, PAGE, code="00000000")
    assert fifth.status == 401
    assert (await browser.submit(page, PAGE, code=code)).status == 401
    assert await owed(browser) is Owed.DEVICE


async def test_an_empty_code_costs_no_guess(strict: Site) -> None:
    browser = strict.browser()
    code = await sign_in(browser)
    for typed in (" ", "", "1" * 65):
        assert (await confirm(browser, typed)).status == 401
    assert (await confirm(browser, code)).location == "/"


async def test_the_code_and_the_session_that_owes_it_end_after_ten_minutes(strict: Site) -> None:
    browser = strict.browser()
    code = await sign_in(browser)
    page = await browser.get(PAGE)
    strict.now += 600
    answer = await browser.submit(page, PAGE, code=code)
    assert answer.location.startswith("/.gateway/login")


async def test_a_code_is_nothing_in_another_browser_or_session(strict: Site) -> None:
    """Whoever is told the code, or reads the mail, and knows the password still has no session."""
    browser, thief = strict.browser(), strict.browser()
    code = await sign_in(browser)
    other = await sign_in(thief)
    assert (await confirm(thief, code)).status == 401
    assert (await confirm(browser, other)).status == 401
    assert (await confirm(browser, code)).location == "/"
    again = strict.browser()
    await sign_in(again)
    assert (await confirm(again, code)).status == 401


async def test_another_persons_code_opens_nothing(strict: Site) -> None:
    bob, alice = strict.browser(), strict.browser()
    await sign_in(bob)
    code = await sign_in(alice, "alice")
    assert (await confirm(bob, code)).status == 401


async def test_another_code_voids_the_one_before_and_takes_its_letter_back(strict: Site) -> None:
    browser = strict.browser()
    first = await sign_in(browser)
    answer = await browser.submit(await browser.get(PAGE), AGAIN)
    assert (answer.location, answer.names()) == (PAGE, ["device.confirmation_requested"])
    await browser.submit(await browser.get(PAGE), AGAIN)
    (letter,) = strict.letters()
    assert (await confirm(browser, first)).status == 401
    assert (await confirm(browser, letter.code)).location == "/"


async def test_who_asks_too_often_waits(strict: Site) -> None:
    browser = strict.browser()
    await sign_in(browser)
    page = await browser.get(PAGE)
    statuses = [(await browser.submit(page, AGAIN)).status for _ in range(5)]
    assert statuses[:2] == [303, 303]
    answer = await browser.submit(page, AGAIN)
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert len(strict.letters()) == 1, "those before were taken back"


async def test_letters_that_strangers_have_sent_keep_nobody_from_a_new_device(strict: Site) -> None:
    for number in range(20):
        stranger = strict.browser(ip=f"198.51.100.{number}")
        await stranger.submit(await stranger.get("/.gateway/reset"), "/.gateway/reset", username="bob")
    strict.letters()
    browser = strict.browser()
    assert (await confirm(browser, await sign_in(browser))).location == "/"


async def test_while_mail_is_down_the_person_is_told_and_may_ask_again(strict: Site) -> None:
    browser = strict.browser()
    await browser.give_password("bob")
    assert (await browser.get(PAGE)).status == 200
    strict.now += 11
    slow = await browser.get(PAGE)
    assert slow.status == 503
    assert "Mail cannot be sent right now" in slow.text
    assert slow.headers["Retry-After"]
    assert (await browser.submit(slow, AGAIN)).location == PAGE
    (letter,) = strict.letters()
    assert (await confirm(browser, letter.code)).location == "/", "the session waited"


async def test_a_full_queue_of_mail_is_said_and_nothing_is_let_through(make_site: SiteMaker) -> None:
    async with make_site(rules=CONFIRM, mfa_always=False, mail_capacity=0) as site:
        site.add_user("bob", totp=False)
        browser = site.browser()
        assert (await browser.give_password("bob")).location == PAGE
        answer = await browser.get(PAGE)
        assert answer.status == 503
        assert [event.reason for event in answer.events] == ["mail_unavailable"]
        assert (await browser.submit(answer, PAGE, code="00000000")).status == 401
        assert await owed(browser) is Owed.DEVICE


async def test_without_mail_any_more_the_person_signs_in_again(make_site: SiteMaker) -> None:
    async with make_site(rules=CONFIRM, mfa_always=False, mail=False) as site:
        site.add_user("bob", totp=False)
        browser = site.browser()
        assert (await browser.give_password("bob")).location == PAGE
        assert (await browser.get(PAGE)).location == "/.gateway/login"


def without_address(site: Site, name: str) -> None:
    user = site.store.user_named(name)
    assert user is not None
    assert site.store.change_user(user, msgspec.structs.replace(user, email=""), now=site.now)


async def test_who_has_no_address_needs_a_second_factor_or_is_refused_with_a_reason(strict: Site) -> None:
    without_address(strict, "alice")
    without_address(strict, "bob")
    refused = await strict.browser().give_password("bob")
    assert refused.status == 401
    assert "your account has no e-mail address" in refused.text
    assert [event.reason for event in refused.events] == ["device_unconfirmed"]
    browser = strict.browser()
    await browser.give_password("alice")
    assert (await browser.give_code()).location == "/"


async def test_an_address_that_changes_voids_the_code_that_went_to_the_one_before(strict: Site) -> None:
    browser = strict.browser()
    code = await sign_in(browser)
    page = await browser.get(PAGE)
    user = strict.store.user_named("bob")
    assert user is not None
    strict.store.change_user(user, msgspec.structs.replace(user, email="other@acme.example"), now=strict.now)
    answer = await browser.submit(page, PAGE, code=code)
    assert answer.location.startswith("/.gateway/login") or answer.status == 401


async def test_nobody_sets_up_a_factor_before_the_device_is_confirmed(make_site: SiteMaker) -> None:
    """Who knows a password and adds a factor of their own first would have two."""
    async with make_site(rules=CONFIRM) as site:
        site.add_user("bob", totp=False)
        browser = site.browser()
        code = await sign_in(browser)
        for target in ("/.gateway/enrol", "/.gateway/enrol/passkey"):
            assert (await browser.get(target)).location == PAGE, target
        answer = await confirm(browser, code)
        assert (answer.location, answer.names()) == ("/.gateway/enrol", ["device.confirmed", "session.rotated"])
        assert await owed(browser) is Owed.ENROLMENT
        assert (await browser.get(PAGE)).location == "/.gateway/enrol"
        assert (await browser.get("/.gateway/enrol")).status == 200


async def test_a_full_account_waits_for_room_after_the_code(make_site: SiteMaker) -> None:
    lives = Lifetimes(concurrent=1, when_full="refuse")
    rules = RuleBook(general=TenantRules(rules=Rules(new_device=NewDevice.CONFIRM, lifetimes=lives)))
    async with make_site(rules=rules, mfa_always=False) as site:
        site.add_user("bob", totp=False)
        first, second = site.browser(), site.browser()
        await confirm(first, await sign_in(first))
        assert (await confirm(second, await sign_in(second))).location == "/.gateway/sessions"


async def test_whoever_owes_no_code_is_led_on(strict: Site) -> None:
    browser = strict.browser()
    assert (await browser.get(PAGE)).location == "/.gateway/login"
    await confirm(browser, await sign_in(browser))
    assert (await browser.get(PAGE)).location == "/"
    assert (await browser.get(AGAIN)).location == PAGE


async def test_a_form_without_its_proof_sends_and_confirms_nothing(strict: Site) -> None:
    browser = strict.browser()
    code = await sign_in(browser)
    for target, name in ((PAGE, "device"), (AGAIN, "device-again")):
        answer = await browser.post(target, {"form": name, "form_token": "x", "code": code})
        assert answer.status == 403, target
    assert strict.letters() == []
    assert await owed(browser) is Owed.DEVICE


async def test_a_form_that_the_edge_kept_is_offered_after_the_code(strict: Site) -> None:
    browser = strict.browser()
    code = await sign_in(browser)
    interrupted = Interrupted(target="/tickets", return_to="/tickets/new", reason="device_unconfirmed")
    answer = await browser.send("POST", KEEP, b"subject=Hello", interrupted=interrupted)
    assert (answer.status, answer.location) == (303, f"{PAGE}?return_to=/tickets/new")
    assert "What you sent is safe" in (await browser.get(answer.location)).text
    assert (await confirm(browser, code)).location == KEPT_PAGE
    assert "Hello" in (await browser.get(KEPT_PAGE, **DOCUMENT)).text


async def test_a_device_is_remembered_from_the_code_on_where_a_factor_was_proven(make_site: SiteMaker) -> None:
    rule = FactorRule(required=Required.ENROLLED, methods=frozenset(Method), remember_s=86_400.0)
    async with make_site(rules=CONFIRM, factor_rule=rule) as site:
        site.add_user("alice")
        site.add_user("bob", totp=False)
        browser, other = site.browser(), site.browser()
        code = await sign_in(browser, "alice")
        assert 'name="remember"' in (await browser.get(PAGE)).text
        answer = await confirm(browser, code, remember="1")
        assert answer.names()[-1] == "device.remembered"
        again = site.browser(jar={name: value for name, value in browser.jar.items() if name.endswith("-device")})
        assert (await again.give_password()).location == "/"
        code = await sign_in(other)
        assert 'name="remember"' not in (await other.get(PAGE)).text
        assert "device.remembered" not in (await confirm(other, code, remember="1")).names()


@pytest.mark.sqlite
async def test_a_store_that_is_away_is_no_wrong_code(strict: Site) -> None:
    browser = strict.browser()
    code = await sign_in(browser)
    page = await browser.get(PAGE)
    holder = sqlite3.connect(strict.path.parent / "state.sqlite3", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    answer = await browser.submit(page, PAGE, code=code)
    assert (answer.status, answer.events) == (503, [])
    holder.close()
    assert (await browser.submit(page, PAGE, code=code)).location == "/", "nobody is signed out by that"
