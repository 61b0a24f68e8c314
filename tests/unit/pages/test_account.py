from __future__ import annotations

import re

import pytest

from gateway.exchange.notice import Notice
from gateway.store.accounts import AccountView
from gateway.store.openings import Client
from tests.fakes.pages_site import PASSWORD, Browser, Site

NEW = "another quite long passphrase"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.0 Mobile/15E148 Safari/604.1"
)


async def two_browsers(site: Site) -> tuple[Browser, Browser]:
    """Alice at her desk, and on her phone an hour before."""
    phone = site.browser(user_agent=IPHONE, ip="2001:db8::7")
    await phone.sign_in()
    site.now += 300
    desk = site.browser()
    await desk.sign_in()
    return desk, phone


async def test_the_page_lists_where_the_person_is_signed_in(site: Site) -> None:
    site.places["203.0.113.7"] = "Lausanne, Switzerland"
    desk, _ = await two_browsers(site)
    page = await desk.get("/.gateway/account")
    assert page.status == 200
    assert page.text.index("Firefox on Linux") < page.text.index("Safari on iPhone")
    assert "203.0.113.7, Lausanne, Switzerland" in page.text
    assert "2001:db8::7 ·" in page.text
    assert "This device" in page.text
    assert re.search(r"<time datetime=\"2027-[^\"]+Z\">5 minutes ago</time>", page.text)


async def test_nobody_without_a_whole_session_sees_it(site: Site, browser: Browser) -> None:
    assert (await browser.get("/.gateway/account")).location == "/.gateway/login"
    await browser.give_password()
    assert (await browser.get("/.gateway/account")).location == "/.gateway/mfa"
    other = site.browser()
    await other.give_password("bob")
    assert (await other.get("/.gateway/account")).location == "/.gateway/enrol"


@pytest.mark.parametrize("target", ["", "/password", "/recovery", "/revoke"])
async def test_a_session_that_owes_something_sees_no_page_of_the_account(
    site: Site, browser: Browser, target: str
) -> None:
    await browser.give_password()
    assert (await browser.get("/.gateway/account" + target)).location == "/.gateway/mfa"
    other = site.browser()
    await other.give_password("bob")
    assert (await other.get("/.gateway/account" + target)).location == "/.gateway/enrol"


async def test_after_signing_in_the_person_comes_back_to_the_account(site: Site, browser: Browser) -> None:
    await browser.get("/.gateway/account")
    await browser.give_password()
    assert (await browser.give_code()).location == "/.gateway/account"


async def test_one_session_can_be_ended_from_another(site: Site) -> None:
    desk, phone = await two_browsers(site)
    page = await desk.get("/.gateway/account")
    answer = await desk.submit(page, "/.gateway/account/revoke")
    assert (answer.status, answer.location) == (303, "/.gateway/account")
    assert answer.names() == ["session.revoked"]
    assert (await phone.get("/.gateway/account")).location == "/.gateway/login?reason=session_expired"
    page = await desk.get("/.gateway/account")
    assert "That session can no longer be used." in page.text
    assert "That session can no longer be used." not in (await desk.get("/.gateway/account")).text, "said once"


async def test_a_session_of_somebody_else_cannot_be_ended(site: Site, browser: Browser) -> None:
    site.add_user("carol")
    carol = site.browser()
    await carol.sign_in("carol")
    await browser.sign_in()
    await site.browser().sign_in()
    page = await browser.get("/.gateway/account")
    theirs = [device.handle for device in (await _view(site, carol)).devices]
    fields = page.hidden("/.gateway/account/revoke") | {"handle": theirs[0]}
    answer = await browser.post("/.gateway/account/revoke", fields)
    assert answer.location == "/.gateway/account"
    assert answer.events == []
    assert "already ended" in (await browser.get("/.gateway/account")).text
    assert (await carol.get("/.gateway/account")).status == 200


async def _view(site: Site, browser: Browser) -> AccountView:
    client = Client(ip=browser.ip, host=browser.host, secure=True, tenant=browser.tenant)
    view = await site.accounts.account(browser.jar["__Host-gw"].encode(), client=client, now=site.now)
    assert isinstance(view, AccountView)
    return view


async def test_ending_the_own_session_signs_out(site: Site) -> None:
    desk, _ = await two_browsers(site)
    page = await desk.get("/.gateway/account")
    own = (await _view(site, desk)).devices[0].handle
    answer = await desk.post("/.gateway/account/revoke", page.hidden("/.gateway/account/revoke") | {"handle": own})
    assert answer.location == "/.gateway/login?reason=signed_out"
    assert "__Host-gw" not in desk.jar


async def test_all_other_sessions_can_be_ended_at_once(site: Site) -> None:
    desk, phone = await two_browsers(site)
    page = await desk.get("/.gateway/account")
    answer = await desk.submit(page, "/.gateway/account/revoke-others")
    assert answer.location == "/.gateway/account"
    assert answer.events[0].count == 1
    assert (await phone.get("/.gateway/account")).location == "/.gateway/login?reason=session_expired"
    assert [notice for _, notice, _ in site.notices.told] == [Notice.SESSIONS_REVOKED]
    text = (await desk.get("/.gateway/account")).text
    assert "Only this session is left." in text
    assert "/.gateway/account/revoke" not in text, "nothing is left to end"


async def test_a_forged_revocation_changes_nothing_and_says_so(site: Site) -> None:
    desk, phone = await two_browsers(site)
    answer = await desk.post("/.gateway/account/revoke-others", {"form": "revoke-others", "form_token": "x"})
    assert (answer.status, answer.location) == (303, "/.gateway/account")
    assert answer.events == []
    assert "Nothing was changed" in (await desk.get("/.gateway/account")).text
    assert (await phone.get("/.gateway/account")).status == 200


async def test_a_token_of_one_session_is_no_token_of_the_next(site: Site, browser: Browser) -> None:
    await browser.sign_in()
    await site.browser().sign_in()
    fields = (await browser.get("/.gateway/account")).hidden("/.gateway/account/revoke-others")
    flow = browser.jar["__Host-gw-flow"]
    browser.jar.clear()
    await browser.sign_in()
    browser.jar["__Host-gw-flow"] = flow
    assert (await browser.post("/.gateway/account/revoke-others", fields)).events == []


@pytest.mark.parametrize(
    "target",
    ["/.gateway/account/revoke", "/.gateway/account/revoke-others", "/.gateway", "/.gateway/", "/.gateway/account/"],
)
async def test_an_address_without_a_page_leads_to_the_account(browser: Browser, target: str) -> None:
    await browser.sign_in()
    assert (await browser.get(target)).location == "/.gateway/account"


@pytest.mark.parametrize("attack", ["<script>alert(1)</script>", '"><b>', "{{7*7}}"])
async def test_cross_site_scripting_a_user_agent_and_a_place_stay_text(site: Site, attack: str) -> None:
    site.places["203.0.113.7"] = attack
    browser = site.browser(user_agent=attack)
    await browser.sign_in()
    text = (await browser.get("/.gateway/account")).text
    assert "<script" not in text
    assert '"><b>' not in text
    assert "Unknown device" in text


# Changing the password


async def test_a_changed_password_ends_the_other_sessions_and_renews_this_one(site: Site) -> None:
    desk, phone = await two_browsers(site)
    before = desk.jar["__Host-gw"]
    page = await desk.get("/.gateway/account/password")
    answer = await desk.submit(
        page,
        "/.gateway/account/password",
        current_password=PASSWORD,
        new_password=NEW,
        new_password_again=NEW,
        code=site.code(),
    )
    assert (answer.status, answer.location) == (303, "/.gateway/account")
    assert {"factor.verified", "password.changed", "session.rotated", "session.revoked"} <= set(answer.names())
    assert desk.jar["__Host-gw"] != before
    assert "Your password is changed" in (await desk.get("/.gateway/account")).text
    assert (await phone.get("/.gateway/account")).location == "/.gateway/login?reason=session_expired"
    assert (await site.browser().give_password("alice", PASSWORD)).status == 401
    assert [notice for _, notice, _ in site.notices.told] == [Notice.PASSWORD_CHANGED]
    assert (await site.browser().give_password("alice", NEW)).status == 303


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"current_password": "wrong wrong wrong"}, 401, "The name or the password is not right."),
        ({"current_password": ""}, 400, "Please fill in every field."),
        ({"new_password": "", "new_password_again": ""}, 400, "Please fill in every field."),
        ({"new_password_again": NEW + "x"}, 400, "The two new passwords are not the same."),
        ({"new_password": "short", "new_password_again": "short"}, 400, "12"),
        ({"new_password": "x" * 1025, "new_password_again": "x" * 1025}, 400, "too long"),
        ({"code": "000000"}, 401, "The code is not right"),
        ({"code": ""}, 401, "fresh code"),
    ],
    ids=str,
)
async def test_a_change_that_is_not_in_order_changes_nothing(
    site: Site, browser: Browser, changes: dict[str, str], status: int, words: str
) -> None:
    await browser.sign_in()
    page = await browser.get("/.gateway/account/password")
    fields = {
        "current_password": PASSWORD,
        "new_password": NEW,
        "new_password_again": NEW,
        "code": site.code(),
    } | changes
    answer = await browser.submit(page, "/.gateway/account/password", **fields)
    assert answer.status == status
    assert words in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert "password.changed" not in answer.names()
    assert NEW not in answer.text
    assert PASSWORD not in answer.text
    assert (await site.browser().give_password("alice", PASSWORD)).status == 303


async def test_a_password_form_without_its_token_changes_nothing(site: Site, browser: Browser) -> None:
    await browser.sign_in()
    fields = {"current_password": PASSWORD, "new_password": NEW, "new_password_again": NEW, "code": site.code()}
    answer = await browser.post("/.gateway/account/password", fields)
    assert answer.status == 403
    assert answer.events == []
    assert (await site.browser().give_password("alice", PASSWORD)).status == 303
