"""What a person sent when they first had to sign in: kept for them alone, shown once."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

import pytest

from gateway.exchange.envelope import Interrupted
from gateway.pages.kept import KEEP, KEPT_PAGE
from gateway.store.tables import FORMS
from tests.fakes.pages_site import Answer, Browser, Site

BODY = b"subject=Hello&item=1&item=2&password=hunter2&note=a%0D%0Ab+%3C%2Fform%3E"
DOCUMENT = {"Sec_Fetch_Dest": "document", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Site": "same-origin"}


async def interrupt(
    browser: Browser,
    body: bytes = BODY,
    *,
    target: str = "/tickets?new=1",
    return_to: str = "/tickets/new",
    reason: str = "sign_in_required",
    headers: list[tuple[str, str]] | None = None,
) -> Answer:
    """What the edge does with a form that came too late."""
    interrupted = Interrupted(target=target, return_to=return_to, reason=reason)
    return await browser.send("POST", KEEP, body, headers, interrupted=interrupted)


async def end_session(site: Site, browser: Browser) -> None:
    """Let time end it, long enough that its row is gone too."""
    site.now += 3600
    site.store.maintain(now=site.now)


async def sign_in_again(browser: Browser, name: str = "alice") -> Answer:
    answer = await browser.give_password(name)
    assert answer.location == "/.gateway/mfa"
    return await browser.give_code(name)


def fields_of(page: Answer, form: str = "send") -> list[tuple[str, str]]:
    from html import unescape

    found = re.search(rf'<form id="{form}".*?</form>', page.text, re.DOTALL)
    assert found is not None
    return [
        (unescape(name), unescape(value))
        for name, value in re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', found[0])
    ]


async def test_an_interrupted_form_is_offered_once_to_its_person_and_can_be_sent(site: Site, browser: Browser) -> None:
    await browser.sign_in()
    await end_session(site, browser)
    answer = await interrupt(browser)
    assert (answer.status, answer.location) == (303, "/.gateway/login?return_to=/tickets/new")
    assert [(e.name, e.path, e.size) for e in answer.events] == [("form.kept", "/tickets", len(BODY))]
    login = await browser.get(answer.location)
    assert "What you sent is safe" in login.text
    assert "hunter2" not in login.text
    assert (await sign_in_again(browser)).location == KEPT_PAGE
    page = await browser.get(KEPT_PAGE, **DOCUMENT)
    assert page.status == 200
    assert [(e.name, e.path, e.size, e.user) for e in page.events] == [("form.offered", "/tickets", len(BODY), "alice")]
    assert fields_of(page) == [
        ("subject", "Hello"),
        ("item", "1"),
        ("item", "2"),
        ("password", "hunter2"),
        ("note", "a\r\nb </form>"),
    ]
    assert 'action="/tickets?new=1" enctype="application/x-www-form-urlencoded" accept-charset="utf-8"' in page.text
    assert page.text.count("hunter2") == 1, "in the hidden input that sends it, shown nowhere"
    again = await browser.get(KEPT_PAGE, **DOCUMENT)
    assert "There is no form to send" in again.text
    assert "hunter2" not in again.text
    assert site.counted("gateway_kept_forms_total") == {("kept",): 1, ("offered",): 1}


async def test_the_page_that_offers_a_form_has_no_script_and_may_send_to_this_origin_alone(
    site: Site, browser: Browser
) -> None:
    await interrupt(browser, b"a=%3Cscript%3Ealert(1)%3C%2Fscript%3E&%22%3E%3Cb=x".replace(b"(1)", b"%281%29"))
    await browser.sign_in()
    page = await browser.get(KEPT_PAGE, **DOCUMENT)
    assert fields_of(page)[0] == ("a", "<script>alert(1)</script>")
    assert re.search(r"<script|<b\b|\son[a-z]+=|javascript:", page.text) is None
    policy = page.headers["Content-Security-Policy"]
    assert "form-action 'self'" in policy
    assert "default-src 'none'" in policy
    assert page.headers["Cache-Control"] == "no-store"


async def test_the_question_comes_first_and_no_key_too_many_answers_it(browser: Browser) -> None:
    await interrupt(browser)
    await browser.sign_in()
    text = (await browser.get(KEPT_PAGE, **DOCUMENT)).text
    assert text.count("<h1") == 1
    assert text.index("Send your form now?") < text.index('form="send"') < text.index("<table")
    assert "autofocus" not in text
    assert 'aria-labelledby="sent"' in text
    assert text.count('<th scope="row">') == 5
    assert '<td><span class="soft">not shown</span></td>' in text


async def test_another_person_in_the_same_browser_never_sees_it(site: Site, browser: Browser) -> None:
    site.add_user("mallory")
    await browser.sign_in()
    await end_session(site, browser)
    await interrupt(browser)
    assert (await sign_in_again(browser, "mallory")).location == KEPT_PAGE
    page = await browser.get(KEPT_PAGE, **DOCUMENT)
    assert "Hello" not in page.text
    assert "/tickets" not in page.text
    assert [(e.name, e.outcome, e.user) for e in page.events] == [("form.discarded", "failure", "mallory")]
    assert site.counted("gateway_kept_forms_total")[("foreign",)] == 1
    await browser.sign_in()
    assert "There is no form to send" in (await browser.get(KEPT_PAGE, **DOCUMENT)).text, "gone for its owner too"


async def test_a_revoked_session_still_tells_whose_form_it_is(site: Site, browser: Browser) -> None:
    site.add_user("mallory")
    await browser.sign_in()
    site.store.end_all()
    await interrupt(browser)
    await sign_in_again(browser, "mallory")
    assert "Hello" not in (await browser.get(KEPT_PAGE, **DOCUMENT)).text


async def test_another_browser_of_the_same_person_does_not_get_it(site: Site, browser: Browser) -> None:
    await browser.sign_in()
    await end_session(site, browser)
    await interrupt(browser)
    other = site.browser()
    assert (await other.sign_in()).location == "/"
    assert "There is no form to send" in (await other.get(KEPT_PAGE, **DOCUMENT)).text


@pytest.mark.parametrize(
    "fetch",
    [{}, {"Sec_Fetch_Dest": "empty"}, {"Sec_Fetch_Dest": "iframe"}, {"Sec_Fetch_Dest": "object"}],
    ids=["says nothing", "fetch", "iframe", "object"],
)
async def test_portal_xss_cannot_read_a_kept_form(site: Site, browser: Browser, fetch: dict[str, str]) -> None:
    await interrupt(browser)
    await browser.sign_in()
    answer = await browser.get(KEPT_PAGE, **fetch)
    assert "Hello" not in answer.text
    assert "Hello" in (await browser.get(KEPT_PAGE, **DOCUMENT)).text, "and does not use it up"


async def test_over_plain_http_where_browsers_say_nothing_it_is_offered_all_the_same(site: Site) -> None:
    browser = site.browser(scheme="http")
    await interrupt(browser)
    await browser.sign_in()
    assert "Hello" in (await browser.get(KEPT_PAGE)).text


async def test_a_look_ahead_does_not_use_it_up(site: Site, browser: Browser) -> None:
    await interrupt(browser)
    await browser.sign_in()
    await browser.send("HEAD", KEPT_PAGE, headers=[("Sec-Fetch-Dest", "document")])
    await browser.get(KEPT_PAGE, **DOCUMENT, Sec_Purpose="prefetch;prerender")
    assert "Hello" in (await browser.get(KEPT_PAGE, **DOCUMENT)).text


async def test_without_the_second_factor_it_is_not_shown(site: Site, browser: Browser) -> None:
    await interrupt(browser)
    await browser.give_password()
    answer = await browser.get(KEPT_PAGE, **DOCUMENT)
    assert (answer.status, answer.location) == (303, "/.gateway/mfa")
    assert (await browser.give_code()).location == KEPT_PAGE


async def test_an_enrolment_leads_to_it_too(site: Site, browser: Browser) -> None:
    await interrupt(browser)
    await browser.give_password("bob")
    page = await browser.get("/.gateway/enrol")
    site.secrets["bob"] = re.sub(r"\s", "", re.findall(r'class="secret"[^>]*>([A-Z2-7\s]+)<', page.text)[0])
    answer = await browser.submit(page, "/.gateway/enrol", code=site.code("bob"))
    assert f'href="{KEPT_PAGE}"' in answer.text
    assert "Hello" in (await browser.get(KEPT_PAGE, **DOCUMENT)).text


async def test_a_session_that_owes_its_factor_comes_back_after_the_code(site: Site, browser: Browser) -> None:
    await browser.give_password()
    answer = await interrupt(browser, reason="mfa_required")
    assert answer.location == "/.gateway/mfa?return_to=/tickets/new"
    assert "What you sent is safe" in (await browser.get(answer.location)).text
    assert (await browser.give_code()).location == KEPT_PAGE


async def test_a_form_waits_for_a_quarter_of_an_hour(site: Site, browser: Browser) -> None:
    await interrupt(browser)
    site.now += 901
    await browser.sign_in()
    assert "There is no form to send" in (await browser.get(KEPT_PAGE, **DOCUMENT)).text
    assert site.counted("gateway_kept_forms_total")[("gone",)] == 1


async def test_signing_out_drops_it(site: Site, browser: Browser) -> None:
    await browser.sign_in()
    await interrupt(browser)
    page = await browser.get("/.gateway/logout")
    answer = await browser.submit(page, "/.gateway/logout")
    assert "form.discarded" in answer.names()
    assert site.store.rows.all(FORMS) == []


async def test_a_person_can_decide_not_to_send_it(site: Site, browser: Browser) -> None:
    await interrupt(browser)
    await browser.sign_in()
    page = await browser.get(KEPT_PAGE, **DOCUMENT)
    answer = await browser.post(KEPT_PAGE, dict(fields_of(page, "discard")), **DOCUMENT)
    assert (answer.status, answer.location) == (303, "/tickets/new")
    assert [(e.name, e.path) for e in answer.events] == [("form.discarded", "/tickets")]
    assert site.counted("gateway_kept_forms_total")[("discarded",)] == 1


async def test_the_newest_form_of_a_browser_is_the_one_that_waits(site: Site, browser: Browser) -> None:
    await interrupt(browser, b"subject=first")
    await interrupt(browser, b"subject=second")
    await browser.sign_in()
    assert fields_of(await browser.get(KEPT_PAGE, **DOCUMENT)) == [("subject", "second")]


async def test_who_knows_the_login_state_of_before_does_not_get_the_form(site: Site, browser: Browser) -> None:
    """Attack: portal XSS plants the login state of another browser, and waits there for what is kept in this one."""
    site.add_user("mallory")
    mallory = site.browser()
    await interrupt(mallory)
    browser.jar |= mallory.jar
    await interrupt(browser, b"subject=Secret")
    await mallory.sign_in("mallory")
    assert "Secret" not in (await mallory.get(KEPT_PAGE, **DOCUMENT)).text
    await browser.sign_in()
    assert "Secret" in (await browser.get(KEPT_PAGE, **DOCUMENT)).text


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD"])
async def test_no_client_can_ask_for_a_form_to_be_kept(site: Site, browser: Browser, method: str) -> None:
    answer = await browser.send(method, KEEP, BODY if method in {"POST", "PUT"} else None)
    assert answer.status == 404
    assert answer.events == []
    assert answer.cookies == {}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"body": b'{"a":1}', "headers": [("Content-Type", "application/json")]}, "unreadable"),
        ({"headers": [("Content-Encoding", "gzip")]}, "unreadable"),
        ({"target": "//evil.example/x"}, "unreadable"),
        ({"target": "/.gateway/account"}, "unreadable"),
        ({"target": "/.gateway/logout"}, "unreadable"),
        ({"body": b"a=" + b"x" * 70_000}, "too_large"),
    ],
)  # fmt: skip
async def test_what_cannot_be_kept_is_said_to_be_lost(
    site: Site, browser: Browser, changes: dict[str, Any], why: str
) -> None:
    answer = await interrupt(browser, **changes)
    assert site.counted("gateway_kept_forms_total") == {(why,): 1}
    assert answer.status == 401
    assert "What you sent was not kept" in answer.text
    assert 'href="/.gateway/login?return_to=/tickets/new"' in answer.text
    assert answer.headers["WWW-Authenticate"]
    assert answer.events == []


@pytest.mark.sqlite
async def test_a_store_that_is_away_loses_the_form_and_says_so(site: Site, browser: Browser) -> None:
    await browser.sign_in()
    site.now += 3600
    holder = sqlite3.connect(site.path.parent / "state.sqlite3", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    answer = await interrupt(browser)
    holder.close()
    assert answer.status == 401
    assert "not possible right now" in answer.text
    assert "__Host-gw" in browser.jar, "nobody is signed out by that"
    assert site.counted("gateway_kept_forms_total") == {("unavailable",): 1}


@pytest.mark.sqlite
async def test_a_form_that_waits_for_a_store_that_is_away_is_offered_when_it_is_back(
    site: Site, browser: Browser
) -> None:
    await interrupt(browser)
    await browser.sign_in()
    holder = sqlite3.connect(site.path.parent / "state.sqlite3", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert (await browser.get(KEPT_PAGE, **DOCUMENT)).status == 503
    holder.close()
    assert "Hello" in (await browser.get(KEPT_PAGE, **DOCUMENT)).text


async def test_a_full_store_loses_the_form_and_says_so(
    site: Site, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.forms.MAX_KEPT_UNKNOWN", 1)
    await interrupt(site.browser())
    answer = await interrupt(browser)
    assert answer.status == 401
    assert "too much of it is waiting" in answer.text


async def test_where_it_goes_next_is_a_page_of_this_origin(site: Site, browser: Browser) -> None:
    answer = await interrupt(browser, return_to="//evil.example/")
    assert answer.location == "/.gateway/login?return_to=/"


async def test_the_state_file_and_the_cookie_do_not_hold_it_in_the_clear(site: Site, browser: Browser) -> None:
    await interrupt(browser, b"subject=" + b"Readable" * 8)
    for file in site.path.parent.glob("state.sqlite3*"):
        assert b"Readable" not in file.read_bytes()
    assert len(browser.jar["__Host-gw-flow"]) < 600


async def test_the_longest_addresses_still_fit_into_the_cookie(site: Site, browser: Browser) -> None:
    target, page = "/t/" + "x" * 1990, "/p/" + "y" * 1990
    answer = await interrupt(browser, target=target, return_to=page)
    assert answer.status == 303
    await browser.sign_in()
    offered = await browser.get(KEPT_PAGE, **DOCUMENT)
    assert f'action="{target}"' in offered.text
    assert len(browser.jar["__Host-gw-flow"]) < 3900
    answer = await browser.post(KEPT_PAGE, dict(fields_of(offered, "discard")), **DOCUMENT)
    assert answer.location == page


async def test_a_form_that_is_kept_survives_a_refused_password(site: Site, browser: Browser) -> None:
    await interrupt(browser)
    assert "What you sent is safe" in (await browser.give_password(password="wrong horse battery staple")).text
    assert (await browser.sign_in()).location == KEPT_PAGE


async def test_who_is_signed_in_again_elsewhere_is_shown_it_at_once(site: Site, browser: Browser) -> None:
    await browser.sign_in()
    await interrupt(browser)
    answer = await browser.get("/.gateway/login?return_to=/tickets/new")
    assert (answer.status, answer.location) == (303, KEPT_PAGE)
