"""A browser that comes back from sign-in without being signed in is told why, instead of going in circles."""

from __future__ import annotations

import pytest

from tests.fakes.pages_site import PASSWORD, Browser, Site

SENT = "/.gateway/login?return_to=/invoices"
NAVIGATES = {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}


async def test_the_fifth_arrival_within_half_a_minute_breaks_the_circle(site: Site, browser: Browser) -> None:
    for _ in range(4):
        assert (await browser.get(SENT, **NAVIGATES)).status == 200
        site.now += 1
    answer = await browser.get(SENT, **NAVIGATES)
    assert answer.status == 400
    assert "Signing in does not last" in answer.text
    assert "<code>01REQUEST</code>" in answer.text
    assert [(e.name, e.outcome, e.reason) for e in answer.events] == [("login.looped", "failure", "sign_in_loop")]
    assert site.counted("gateway_sign_in_loops_total") == {("cookie_missing",): 1}
    after = await browser.get("/.gateway/login")
    assert after.status == 200
    assert 'name="password"' in after.text, "the way out leads to the form"
    assert 'name="return_to" value="/invoices"' in after.text


async def test_a_program_always_gets_the_form(site: Site, browser: Browser) -> None:
    for _ in range(12):
        page = await browser.get(SENT)
        assert page.status == 200
        assert 'name="password"' in page.text


async def test_slow_arrivals_are_no_circle(site: Site, browser: Browser) -> None:
    for _ in range(12):
        assert (await browser.get(SENT, **NAVIGATES)).status == 200
        site.now += 8


async def test_tabs_that_a_browser_opens_again_are_no_circle(site: Site, browser: Browser) -> None:
    for tab in range(12):
        assert (await browser.get(f"/.gateway/login?return_to=/invoices/{tab}", **NAVIGATES)).status == 200


async def test_the_fifth_sign_in_in_a_row_that_did_not_last_is_not_followed_by_a_form(
    site: Site, browser: Browser
) -> None:
    pages = []
    for _ in range(5):
        await browser.sign_in()
        del browser.jar["__Host-gw"]
        pages.append(await browser.get(SENT, **NAVIGATES))
        site.now += 60
    assert [page.status for page in pages] == [200] * 4 + [400]
    assert "Signing in does not last" in pages[-1].text
    assert site.counted("gateway_sign_in_loops_total") == {("cookie_missing",): 1}


async def test_a_sign_in_that_lasted_ends_the_count(site: Site, browser: Browser) -> None:
    for _ in range(5):
        await browser.sign_in()
        flow = browser.jar["__Host-gw-flow"]
        site.now += 31
        browser.jar = {"__Host-gw-flow": flow}  # longer than its Max-Age, for the sake of the test
        assert (await browser.get(SENT, **NAVIGATES)).status == 200


async def test_who_types_passwords_is_not_going_in_circles(site: Site, browser: Browser) -> None:
    for _ in range(4):
        page = await browser.get(SENT, **NAVIGATES)
        assert page.status == 200
        answer = await browser.submit(page, "/.gateway/login", username="nobody", password=PASSWORD)
        assert answer.status == 401
    assert (await browser.get(SENT, **NAVIGATES)).status == 200


async def test_a_sign_in_that_did_not_last_is_mentioned_above_the_form(site: Site, browser: Browser) -> None:
    await browser.sign_in()
    del browser.jar["__Host-gw"]  # the browser refuses it
    page = await browser.get(SENT, **NAVIGATES)
    assert page.status == 200
    assert "Your sign-in did not last" in page.text
    assert "Please allow cookies" in page.text
    assert 'name="password"' in page.text


async def test_a_session_that_the_store_lost_is_told_apart_from_a_missing_cookie(site: Site, browser: Browser) -> None:
    await browser.sign_in()
    site.store.end_all()
    page = await browser.get(SENT, **NAVIGATES)
    assert "Your sign-in did not last" in page.text
    assert "cookies" not in page.text.replace("cookies only", "")
    for _ in range(4):
        page = await browser.get(SENT, **NAVIGATES)
    assert page.status == 400
    assert "clock is wrong" in page.text
    assert site.counted("gateway_sign_in_loops_total") == {("session_missing",): 1}


async def test_a_session_lost_before_the_second_factor_is_mentioned_too(site: Site, browser: Browser) -> None:
    answer = await browser.give_password()
    del browser.jar["__Host-gw"]
    answer = await browser.get(answer.location)
    assert answer.location == "/.gateway/login"
    page = await browser.get(answer.location)
    assert page.status == 200
    assert "Please allow cookies" in page.text


async def test_an_ordinary_end_is_no_circle(site: Site, browser: Browser) -> None:
    await browser.sign_in()
    site.now += 3600
    page = await browser.get(SENT, **NAVIGATES)
    assert "did not last" not in page.text
    assert "Your session has ended" in page.text


async def test_signing_out_and_in_again_at_once_is_no_circle(site: Site, browser: Browser) -> None:
    await browser.sign_in()
    await browser.submit(await browser.get("/.gateway/logout"), "/.gateway/logout")
    assert "did not last" not in (await browser.get(SENT, **NAVIGATES)).text


async def test_a_browser_without_cookies_is_told_so_the_second_time(site: Site, browser: Browser) -> None:
    page = await browser.get(SENT, **NAVIGATES)
    browser.jar.clear()
    first = await browser.submit(page, "/.gateway/login", username="alice", password=PASSWORD)
    assert first.status == 403
    assert "does not keep our cookies" in first.text
    browser.jar.clear()
    second = await browser.submit(first, "/.gateway/login", username="alice", password=PASSWORD)
    assert second.status == 400
    assert "Allow cookies for" in second.text
    assert site.counted("gateway_sign_in_loops_total") == {("no_cookies",): 1}


async def test_a_form_left_open_for_an_hour_works_at_the_second_try(site: Site, browser: Browser) -> None:
    page = await browser.get(SENT, **NAVIGATES)
    site.now += 3700
    browser.jar.clear()  # its Max-Age is over
    first = await browser.submit(page, "/.gateway/login", username="alice", password=PASSWORD)
    assert "open for more than an hour" in first.text
    second = await browser.submit(first, "/.gateway/login", username="alice", password=PASSWORD)
    assert (second.status, second.location) == (303, "/.gateway/mfa")


@pytest.mark.parametrize("again", ["1", "x"])
async def test_nobody_can_be_told_so_who_has_cookies(site: Site, browser: Browser, again: str) -> None:
    page = await browser.get(SENT, **NAVIGATES)
    answer = await browser.submit(page, "/.gateway/login", username="alice", password=PASSWORD, again=again)
    assert answer.location == "/.gateway/mfa"


async def test_the_memory_of_a_sign_in_lasts_half_a_minute(site: Site, browser: Browser) -> None:
    answer = await browser.sign_in()
    assert "Max-Age=30" in answer.cookies["__Host-gw-flow"]
