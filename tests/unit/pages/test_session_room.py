"""Somebody who is signed in as often as they may be is never left without a way on."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from gateway.session.life import Lifetimes
from gateway.session.rules import RuleBook, Rules, TenantRules
from tests.fakes.pages_site import Site
from tests.unit.pages.conftest import SiteMaker

FULL = RuleBook(general=TenantRules(rules=Rules(lifetimes=Lifetimes(concurrent=1, when_full="refuse"))))


@pytest.fixture
async def full(make_site: SiteMaker) -> AsyncIterator[Site]:
    async with make_site(rules=FULL, idle_warning_s=120.0) as site:
        site.add_user("alice")
        yield site


async def test_at_one_more_the_person_ends_a_session_and_goes_on_where_they_wanted(full: Site) -> None:
    first, second = full.browser(), full.browser()
    await first.sign_in()
    await second.give_password(query="?return_to=/invoices/42")
    full.now += 31
    answer = await second.give_code()
    assert (answer.status, answer.location) == (303, "/.gateway/sessions")
    page = await second.get("/.gateway/sessions")
    assert page.status == 200
    assert "signed in too often" in page.text
    answer = await second.submit(page, "/.gateway/sessions")
    assert (answer.status, answer.location) == (303, "/invoices/42")
    assert answer.names() == ["session.revoked", "session.rotated"]
    assert (await second.get("/.gateway/account")).status == 200
    assert (await first.get("/.gateway/account")).status == 303, "that one was ended"


async def test_nothing_else_opens_to_a_session_that_waits(full: Site) -> None:
    await full.browser().sign_in()
    waiting = full.browser()
    await waiting.give_password()
    full.now += 31
    await waiting.give_code()
    for target in ("/.gateway/account", "/.gateway/account/password", "/.gateway/enrol/renew"):
        answer = await waiting.get(target)
        assert (answer.status, answer.location) == (303, "/.gateway/sessions"), target


async def test_a_session_that_had_ended_makes_room_all_the_same(full: Site) -> None:
    first, second = full.browser(), full.browser()
    await first.sign_in()
    await second.give_password()
    full.now += 31
    await second.give_code()
    page = await second.get("/.gateway/sessions")
    out = await first.get("/.gateway/logout")
    await first.submit(out, "/.gateway/logout")
    assert (await second.submit(page, "/.gateway/sessions")).location == "/"


async def test_a_choice_that_ends_nothing_shows_the_page_again(full: Site) -> None:
    first, second = full.browser(), full.browser()
    await first.sign_in()
    await second.give_password()
    full.now += 31
    await second.give_code()
    page = await second.get("/.gateway/sessions")
    answer = await second.submit(page, "/.gateway/sessions", handle="s_" + "0" * 32)
    assert answer.status == 401
    assert 'role="alert"' in answer.text
    assert (await first.get("/.gateway/account")).status == 200


async def test_whoever_need_not_end_a_session_is_led_on(full: Site) -> None:
    browser = full.browser()
    await browser.sign_in()
    assert (await browser.get("/.gateway/sessions")).location == "/"
    assert (await full.browser().get("/.gateway/sessions")).location == "/.gateway/login"


# The warning before the idle end


async def test_a_page_of_a_session_warns_before_it_ends_and_breaks_without_scripts_nowhere(full: Site) -> None:
    browser = full.browser()
    await browser.sign_in()
    page = await browser.get("/.gateway/account")
    script = re.search(
        r'<script src="(/\.gateway/static/session\.[0-9a-f]{16}\.js)" integrity="(sha256-[^"]+)"', page.text
    )
    assert script is not None
    assert re.search(r'data-idle="900" data-absolute="(?:287\d\d|28800)" data-warn="120"', page.text)
    assert "<dialog" in page.text
    assert "<dialog open" not in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "connect-src 'self'" in policy
    assert "script-src 'nonce-" in policy
    assert (await browser.get(script[1], Sec_Fetch_Dest="script")).status == 200


async def test_a_page_without_a_session_carries_no_script_and_asks_nobody(full: Site) -> None:
    page = await full.browser().get("/.gateway/login")
    assert not re.search(r"<script[^>]*session\.", page.text)
    assert "connect-src" not in page.headers["Content-Security-Policy"]


# A session from elsewhere


async def test_a_cookie_from_elsewhere_is_no_session_and_its_owner_stays_signed_in(full: Site) -> None:
    owner, thief = full.browser(), full.browser()
    await owner.sign_in()
    thief.jar[thief.cookie_name] = owner.jar[owner.cookie_name]
    thief.astray = True
    answer = await thief.get("/.gateway/account")
    assert (answer.status, answer.location) == (303, "/.gateway/login?reason=session_elsewhere")
    assert "belongs to another browser" in (await thief.get("/.gateway/login")).text
    assert not any(name == owner.cookie_name for name in answer.cookies), "the cookie is not taken away either"
    assert (await owner.get("/.gateway/account")).status == 200


async def test_the_loser_of_two_rotations_is_told_and_the_winners_cookie_stays(full: Site) -> None:
    """One form sent twice: two requests with the token that is being rotated."""
    browser = full.browser()
    await browser.give_password()
    page = await browser.get("/.gateway/mfa")
    code = full.code()
    old = dict(browser.jar)
    winner = await browser.submit(page, "/.gateway/mfa", code=code)
    assert winner.location == "/"
    new = dict(browser.jar)
    browser.jar = old
    loser = await browser.submit(page, "/.gateway/mfa", code=code)
    assert (loser.status, loser.location) == (303, "/.gateway/login?reason=session_expired")
    assert browser.cookie_name not in loser.cookies
    browser.jar = new
    assert "You are signed in" in (await browser.get("/.gateway/login?reason=session_expired")).text, "no loop"


async def test_signing_out_in_one_tab_leaves_the_other_a_form_that_leads_to_sign_in(full: Site) -> None:
    browser = full.browser()
    await browser.sign_in()
    other_tab = await browser.get("/.gateway/account/password")
    out = await browser.get("/.gateway/logout")
    answer = await browser.submit(out, "/.gateway/logout")
    assert answer.cookies[browser.cookie_name].endswith("Max-Age=0")
    late = await browser.submit(other_tab, "/.gateway/account/password", current_password="x", new_password="y")
    assert (late.status, late.location) == (303, "/.gateway/login")
