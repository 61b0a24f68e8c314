from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from html import unescape

import pyotp
import pytest

from gateway.exchange.notice import Notice
from tests.fakes.pages_site import Answer, Browser, Site


def secret_in(page: Answer) -> str:
    found = re.search(r'<code class="secret">([A-Z2-7 ]+)</code>', page.text)
    assert found is not None, page.text
    return found[1].replace(" ", "")


def codes_in(page: Answer) -> list[str]:
    return re.findall(r"<li><code>([a-z2-7-]+)</code></li>", page.text)


async def enrol(site: Site, browser: Browser, name: str = "bob") -> Answer:
    """Set up the factor that bob owes."""
    await browser.give_password(name)
    page = await browser.get("/.gateway/enrol")
    site.secrets[name] = secret_in(page)
    return await browser.submit(page, "/.gateway/enrol", code=site.code(name))


async def test_a_first_factor_is_set_up_between_password_and_portal(site: Site, browser: Browser) -> None:
    assert (await browser.give_password("bob", query="?return_to=/x")).location == "/.gateway/enrol"
    before = browser.jar["__Host-gw"]
    page = await browser.get("/.gateway/enrol")
    assert page.status == 200
    assert '<svg role="img"' in page.text
    secret = secret_in(page)
    assert f"otpauth://totp/portal.example.com:bob?secret={secret}" in unescape(page.text)
    site.secrets["bob"] = secret
    answer = await browser.submit(page, "/.gateway/enrol", code=site.code("bob"))
    assert answer.status == 200
    assert answer.names() == ["factor.enrolled", "session.rotated", "device.added"]
    assert browser.jar["__Host-gw"] != before
    assert len(set(codes_in(answer))) == 10
    assert 'href="/x"' in answer.text
    assert (await browser.get("/.gateway/account")).status == 200


async def test_the_picture_says_what_the_text_says(browser: Browser) -> None:
    import segno

    await browser.give_password("bob")
    page = await browser.get("/.gateway/enrol")
    uri = unescape(re.findall(r'href="(otpauth:[^"]+)"', page.text)[0])
    drawn = re.findall(r' d="([^"]+)"', page.text)
    expected = segno.make(uri, error="m", micro=False).svg_inline(omitsize=True, border=4)
    assert drawn[-1] in expected


async def test_opening_the_page_again_shows_the_same_secret(browser: Browser) -> None:
    await browser.give_password("bob")
    assert secret_in(await browser.get("/.gateway/enrol")) == secret_in(await browser.get("/.gateway/enrol"))


async def test_a_wrong_first_code_enrols_nothing_and_keeps_the_secret(browser: Browser) -> None:
    await browser.give_password("bob")
    page = await browser.get("/.gateway/enrol")
    answer = await browser.submit(page, "/.gateway/enrol", code="000000")
    assert answer.status == 401
    assert answer.names() == ["factor.failed"]
    assert secret_in(answer) == secret_in(page)
    assert (await browser.get("/.gateway/account")).location == "/.gateway/enrol"


async def test_the_recovery_codes_are_shown_once_and_each_works_once(site: Site, browser: Browser) -> None:
    page = await enrol(site, browser)
    codes = codes_in(page)
    assert "This page is shown only now" in page.text
    assert all(code in unescape(page.text) for code in codes)
    assert codes[0] not in (await browser.get("/.gateway/enrol")).text
    other = site.browser()
    await other.give_password("bob")
    answer = await other.give_code(code=codes[0].upper().replace("-", " "))
    assert answer.status == 303
    assert [notice for _, notice, _ in site.notices.told] == [Notice.FACTOR_ADDED, Notice.RECOVERY_USED]
    assert answer.names() == ["factor.verified", "recovery.used", "session.rotated", "device.added"]
    third = site.browser()
    await third.give_password("bob")
    assert (await third.give_code(code=codes[0])).status == 401


async def test_a_confirmation_sent_twice_enrols_once(site: Site, browser: Browser) -> None:
    await browser.give_password("bob")
    page = await browser.get("/.gateway/enrol")
    site.secrets["bob"] = secret_in(page)
    jar, fields = dict(browser.jar), page.hidden() | {"code": site.code("bob")}
    assert (await browser.post("/.gateway/enrol", fields)).status == 200
    replay = await site.browser(jar=jar).post("/.gateway/enrol", fields)
    assert replay.location == "/.gateway/login?reason=session_expired"
    assert codes_in(replay) == []


async def test_one_session_cannot_confirm_the_secret_of_another(site: Site) -> None:
    first, second = site.browser(), site.browser()
    await first.give_password("bob")
    await second.give_password("bob")
    secret = secret_in(await first.get("/.gateway/enrol"))
    page = await second.get("/.gateway/enrol")
    site.secrets["bob"] = secret
    assert (await second.submit(page, "/.gateway/enrol", code=site.code("bob"))).status == 401


async def test_a_session_that_owes_a_code_cannot_enrol_another_factor(browser: Browser) -> None:
    await browser.give_password("alice")
    assert (await browser.get("/.gateway/enrol")).location == "/.gateway/mfa"
    assert (await browser.get("/.gateway/enrol/renew")).location == "/.gateway/mfa"


async def test_replacing_a_factor_needs_a_code_of_the_present_one(site: Site, browser: Browser) -> None:
    await browser.sign_in()
    elsewhere = site.browser()
    await elsewhere.sign_in()
    page = await browser.get("/.gateway/enrol")
    assert "Replace your authenticator app" in page.text
    refused = await browser.submit(page, "/.gateway/enrol/renew", code="000000")
    assert refused.status == 401
    answer = await browser.submit(refused, "/.gateway/enrol/renew", code=site.code())
    assert (answer.status, answer.location) == (303, "/.gateway/enrol")
    page = await browser.get("/.gateway/enrol")
    site.secrets["alice"] = secret_in(page)
    answer = await browser.submit(page, "/.gateway/enrol", code=site.code())
    assert answer.status == 200
    assert "session.revoked" in answer.names()
    assert (await elsewhere.get("/.gateway/account")).location == "/.gateway/login?reason=session_expired"


async def test_an_empty_code_does_not_start_a_replacement(browser: Browser) -> None:
    await browser.sign_in()
    page = await browser.get("/.gateway/enrol")
    answer = await browser.submit(page, "/.gateway/enrol/renew", code="  ")
    assert answer.status == 401
    assert "Replace your authenticator app" in (await browser.get("/.gateway/enrol")).text


async def test_where_factors_are_voluntary_a_found_session_cannot_set_one_up_much_later(
    make_site: Callable[..., AbstractAsyncContextManager[Site]],
) -> None:
    async with make_site(mfa_always=False) as site:
        site.add_user("bob", totp=False)
        browser = site.browser()
        assert (await browser.give_password("bob")).location == "/"
        assert "Set up your authenticator app" in (await browser.get("/.gateway/enrol")).text
        late = site.browser()
        await late.give_password("bob")
        site.now += 899
        await late.get("/.gateway/account")
        site.now += 1
        # the session is alive only while it is used; the password is older than a quarter of an hour
        answer = await late.get("/.gateway/enrol")
        assert answer.location in {
            "/.gateway/login?reason=fresh_sign_in_required",
            "/.gateway/login?reason=session_expired",
        }


async def test_without_recovery_codes_enrolment_goes_straight_on_and_no_page_speaks_of_them(
    make_site: Callable[..., AbstractAsyncContextManager[Site]],
) -> None:
    async with make_site(recovery_codes=False) as site:
        site.add_user("bob", totp=False)
        browser = site.browser()
        await browser.give_password("bob", query="?return_to=/x")
        page = await browser.get("/.gateway/enrol")
        site.secrets["bob"] = secret_in(page)
        answer = await browser.submit(page, "/.gateway/enrol", code=site.code("bob"))
        assert (answer.status, answer.location) == (303, "/x")
        assert "recovery" not in (await browser.get("/.gateway/account")).text.lower()
        other = site.browser()
        await other.give_password("bob")
        for target in ("/.gateway/mfa", "/.gateway/mfa?method=recovery"):
            assert "recovery" not in (await other.get(target)).text.lower()
        assert (await browser.get("/.gateway/account/recovery")).status == 404


async def test_new_recovery_codes_void_the_old_ones(site: Site, browser: Browser) -> None:
    old = codes_in(await enrol(site, browser))
    page = await browser.get("/.gateway/account/recovery")
    answer = await browser.submit(page, "/.gateway/account/recovery", code=site.code("bob"))
    new = codes_in(answer)
    assert answer.status == 200
    assert answer.names() == ["factor.verified", "recovery.replaced"]
    assert len(new) == 10
    assert not set(new) & set(old)
    other = site.browser()
    await other.give_password("bob")
    assert (await other.give_code(code=old[1])).status == 401
    assert (await other.give_code(code=new[1])).status == 303
    told = [notice for _, notice, _ in site.notices.told]
    assert told == [Notice.FACTOR_ADDED, Notice.RECOVERY_REPLACED, Notice.RECOVERY_USED]


@pytest.mark.parametrize("code", ["", "000000", "x" * 100])
async def test_new_recovery_codes_need_a_fresh_code(site: Site, browser: Browser, code: str) -> None:
    await browser.sign_in()
    page = await browser.get("/.gateway/account/recovery")
    answer = await browser.submit(page, "/.gateway/account/recovery", code=code)
    assert answer.status == 401
    assert codes_in(answer) == []


async def test_the_text_file_holds_exactly_the_codes(site: Site, browser: Browser) -> None:
    from urllib.parse import unquote

    page = await enrol(site, browser)
    target = re.findall(r'href="(data:text/plain[^"]+)"', page.text)[0]
    assert unquote(target).splitlines()[2:] == codes_in(page)


async def test_the_code_in_use_is_not_taken_again(site: Site, browser: Browser) -> None:
    await browser.give_password()
    code = site.code()
    await browser.give_code(code=code)
    page = await browser.get("/.gateway/account/recovery")
    assert (await browser.submit(page, "/.gateway/account/recovery", code=code)).status == 401
    assert pyotp.TOTP(site.secrets["alice"]).at(int(site.now)) == code
