from __future__ import annotations

import re
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.exchange.session import Owed
from gateway.store.openings import Client
from tests.fakes.pages_site import PASSWORD, Browser, Site


async def owed(site: Site, browser: Browser) -> Owed | None:
    """What the browser's session owes; None without a session."""
    client = Client(ip=browser.ip, host=browser.host, secure=browser.scheme == "https", tenant=browser.tenant)
    token = browser.jar.get(browser.cookie_name, "").encode()
    session = await site.accounts.identify(token, client=client, now=site.now)
    return None if session is None else session.owes


# The way in


async def test_password_then_code_leads_where_the_person_wanted_to_go(site: Site, browser: Browser) -> None:
    page = await browser.get("/.gateway/login?return_to=/invoices/42%3Fx%3D1")
    assert page.status == 200
    assert page.hidden()["return_to"] == "/invoices/42?x=1"
    answer = await browser.submit(page, "/.gateway/login", username="alice", password=PASSWORD)
    assert (answer.status, answer.location) == (303, "/.gateway/mfa")
    assert answer.names() == ["login.succeeded", "session.created"]
    page = await browser.get("/.gateway/mfa")
    assert page.status == 200
    answer = await browser.submit(page, "/.gateway/mfa", code=site.code())
    assert (answer.status, answer.location) == (303, "/invoices/42?x=1")
    assert answer.names() == ["factor.verified", "session.rotated", "device.added"]
    assert site.counted("gateway_sign_ins_total") == {("success", "mfa"): 1}


async def test_a_plain_client_without_fetch_metadata_signs_in_with_two_forms(site: Site) -> None:
    browser = site.browser(user_agent="acceptance/1.0")
    assert (await browser.give_password()).location == "/.gateway/mfa"
    assert (await browser.give_code()).location == "/"


async def test_a_browser_that_sends_fetch_metadata_signs_in_too(site: Site, browser: Browser) -> None:
    words = {"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    page = await browser.get("/.gateway/login", **words | {"Sec_Fetch_Site": "none"})
    fields = page.hidden() | {"username": "alice", "password": PASSWORD}
    answer = await browser.post("/.gateway/login", fields, Origin="https://portal.example.com", **words)
    assert answer.location == "/.gateway/mfa"


async def test_over_plain_http_the_cookie_has_its_other_name_and_no_secure(site: Site) -> None:
    browser = site.browser(scheme="http")
    answer = await browser.give_password()
    assert set(answer.cookies) == {"gw", "gw-flow"}
    assert "Secure" not in answer.headers["Set-Cookie"]
    assert (await browser.give_code()).status == 303


async def test_the_session_cookie_has_every_attribute_and_no_expiry(browser: Browser) -> None:
    answer = await browser.give_password()
    value, *attributes = answer.cookies["__Host-gw"].split("; ")
    assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]
    assert 20 < len(value.partition("=")[2]) <= 100
    flow = answer.cookies["__Host-gw-flow"].split("; ")[1:]
    assert sorted(flow) == ["HttpOnly", "Max-Age=3600", "Path=/", "SameSite=Lax", "Secure"]


async def test_session_fixation_each_step_gives_a_new_token_and_kills_the_old(site: Site, browser: Browser) -> None:
    browser.jar["__Host-gw"] = "attackers-choice"
    await browser.give_password()
    first = browser.jar["__Host-gw"]
    await browser.give_code()
    second = browser.jar["__Host-gw"]
    assert len({"attackers-choice", first, second}) == 3
    thief = site.browser(jar={"__Host-gw": first})
    assert (await thief.get("/.gateway/account")).location.startswith("/.gateway/login")


async def test_signing_in_again_ends_the_session_that_came_along(site: Site, browser: Browser) -> None:
    await browser.give_password()
    old = browser.jar["__Host-gw"]
    await browser.give_password()
    assert (
        await site.browser(jar={"__Host-gw": old}).get("/.gateway/mfa")
    ).location == "/.gateway/login?reason=session_expired"


# The password step


@pytest.mark.parametrize(
    ("name", "password"),
    [("alice", "wrong wrong wrong"), ("nobody", PASSWORD), ("alice", PASSWORD + " "), ("\u202ealice", PASSWORD)],
)
async def test_a_wrong_name_and_a_wrong_password_look_the_same(browser: Browser, name: str, password: str) -> None:
    answer = await browser.give_password(name, password)
    assert answer.status == 401
    assert "The name or the password is not right." in answer.text
    assert 'role="alert"' in answer.text
    assert "<title>Error: Sign in" in answer.text
    assert "__Host-gw" not in answer.cookies
    assert password not in answer.text
    assert answer.names() == ["login.failed"]
    assert (answer.events[0].user == "alice") is (name == "alice")


async def test_the_name_of_an_unknown_person_is_in_no_event(browser: Browser) -> None:
    answer = await browser.give_password("hunter2-typed-into-the-wrong-field", "x")
    assert "hunter2" not in str(answer.events)
    assert "hunter2" not in answer.headers["X-Gateway-Events"]


async def test_after_too_many_attempts_the_page_says_how_long_to_wait(site: Site, browser: Browser) -> None:
    answer = await browser.give_password("alice", "wrong wrong wrong")
    while answer.status == 401:
        answer = await browser.give_password("alice", "wrong wrong wrong")
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert "Try again in" in answer.text
    assert answer.names() == ["login.locked"]
    assert ("failure", "too_many_attempts") in site.counted("gateway_sign_ins_total")


@pytest.mark.parametrize(
    "fields", [{}, {"username": "alice"}, {"password": PASSWORD}, {"username": "a" * 255, "password": "x"}]
)
async def test_an_incomplete_form_asks_nobody(browser: Browser, fields: dict[str, str]) -> None:
    page = await browser.get("/.gateway/login")
    answer = await browser.submit(page, "/.gateway/login", **fields)
    assert answer.status == 401
    assert answer.events == []


async def test_a_person_without_a_factor_is_sent_to_set_one_up(browser: Browser) -> None:
    assert (await browser.give_password("bob")).location == "/.gateway/enrol"
    assert (await browser.get("/.gateway/mfa")).location == "/.gateway/enrol"


async def test_a_person_of_another_tenant_gets_the_same_answer_as_a_wrong_password(site: Site) -> None:
    answer = await site.browser(tenant="globex").give_password()
    assert answer.status == 401
    assert "The name or the password is not right." in answer.text


# What the sign-in page says


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?reason=session_expired", "Your session has ended"),
        ("?reason=session_revoked", "Your session was ended"),
        ("?reason=signed_out", "You are signed out"),
    ],
)
async def test_the_page_explains_why_it_is_shown(browser: Browser, query: str, words: str) -> None:
    assert words in (await browser.get("/.gateway/login" + query)).text


@pytest.mark.parametrize(
    "reason", ["", "nonsense", "<script>alert(1)</script>", "internal_error", "allowed", "SESSION_EXPIRED"]
)
async def test_a_reason_outside_the_list_says_nothing(browser: Browser, reason: str) -> None:
    text = (await browser.get(f"/.gateway/login?reason={reason}")).text
    assert 'class="notice" role="status"><strong>' not in text
    assert "<script>" not in text


async def test_a_dead_session_cookie_is_explained_even_when_nobody_says_why(browser: Browser) -> None:
    browser.jar["__Host-gw"] = "A" * 43
    assert "Your session has ended" in (await browser.get("/.gateway/login")).text


async def test_a_signed_in_person_is_told_so_and_never_sent_in_circles(browser: Browser) -> None:
    await browser.sign_in()
    page = await browser.get("/.gateway/login?return_to=/x")
    assert page.status == 200
    assert "You are signed in" in page.text
    assert 'href="/x"' in page.text
    assert "/.gateway/logout" in page.text


async def test_a_signed_in_person_can_sign_in_as_someone_else_at_once(browser: Browser) -> None:
    await browser.sign_in()
    old = browser.jar["__Host-gw"]
    assert (await browser.give_password("bob")).location == "/.gateway/enrol"
    assert browser.jar["__Host-gw"] != old
    browser.jar["__Host-gw"] = old
    assert (await browser.get("/.gateway/account")).location == "/.gateway/login?reason=session_expired"


async def test_a_half_made_session_does_not_stop_a_new_sign_in(browser: Browser) -> None:
    await browser.give_password()
    assert (await browser.give_password()).location == "/.gateway/mfa"


@pytest.mark.parametrize(
    "target",
    ["//evil.example", "https://evil.example", "/\\evil.example", "/.gateway/logout", "/%0d%0aX:1", "javascript:1"],
)
async def test_open_redirect_a_foreign_return_to_becomes_the_start_page(
    site: Site, browser: Browser, target: str
) -> None:
    page = await browser.get("/.gateway/login")
    await browser.post(
        "/.gateway/login", page.hidden() | {"username": "alice", "password": PASSWORD, "return_to": target}
    )
    page = await browser.get("/.gateway/mfa")
    assert page.hidden()["return_to"] == "/"
    answer = await browser.post("/.gateway/mfa", page.hidden() | {"code": site.code(), "return_to": target})
    assert (answer.status, answer.location) == (303, "/")
    assert (await site.browser().get(f"/.gateway/login?return_to={quote(target)}")).hidden()["return_to"] == "/"


ATTACKS = [
    '"><script>alert(1)</script>',
    "'onfocus=alert(1) autofocus='",
    "{{7*7}}",
    "</title><img src=x>",
    "&lt;b&gt;",
    "\u202e<b>",
]


@pytest.mark.parametrize("attack", ATTACKS)
async def test_cross_site_scripting_reflected_fields_stay_text(browser: Browser, attack: str) -> None:
    clean = re.findall(r"<[a-z/]+", (await browser.give_password("someone", "x")).text)
    page = await browser.get("/.gateway/login")
    answer = await browser.post(
        "/.gateway/login", page.hidden() | {"username": attack, "password": "x", "return_to": "/" + attack}
    )
    assert re.findall(r"<[a-z/]+", answer.text) == clean
    assert "49" not in re.sub(
        r'value="[^"]*"|nonce="[^"]*"|data-[a-z]+="[^"]*"|integrity="[^"]*"|\.[0-9a-f]{16}\.', "", answer.text
    )


# The second factor


async def test_a_wrong_code_is_refused_and_the_form_comes_again(site: Site, browser: Browser) -> None:
    await browser.give_password()
    answer = await browser.give_code(code="000000")
    assert answer.status == 401
    assert "The code is not right" in answer.text
    assert "__Host-gw" not in answer.cookies
    assert answer.names() == ["factor.failed"]
    assert (await browser.give_code()).status == 303


@pytest.mark.parametrize("code", ["", "   ", "1" * 2000])
async def test_an_empty_or_absurd_code_asks_nobody(browser: Browser, code: str) -> None:
    await browser.give_password()
    page = await browser.get("/.gateway/mfa")
    answer = await browser.submit(page, "/.gateway/mfa", code=code)
    assert answer.status == 401
    assert answer.events == []


async def test_a_code_is_taken_once(site: Site, browser: Browser) -> None:
    await browser.give_password()
    code = site.code()
    assert (await browser.give_code(code=code)).status == 303
    other = site.browser()
    await other.give_password()
    assert (await other.give_code(code=code)).status == 401


async def test_guessing_codes_ends_in_a_wait(browser: Browser) -> None:
    await browser.give_password()
    answer = await browser.give_code(code="000000")
    while answer.status == 401:
        answer = await browser.give_code(code="000000")
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) > 0


async def test_the_recovery_form_is_one_link_away_and_stays_after_a_mistake(browser: Browser) -> None:
    await browser.give_password()
    assert "/.gateway/mfa?method=recovery" in (await browser.get("/.gateway/mfa")).text
    page = await browser.get("/.gateway/mfa?method=recovery")
    assert "Use a recovery code" in page.text
    answer = await browser.submit(page, "/.gateway/mfa", code="aaaa-bbbb-cccc-dddd")
    assert answer.status == 401
    assert "Use a recovery code" in answer.text
    assert (await browser.get("/.gateway/recovery")).location == "/.gateway/mfa?method=recovery"


# Out of order, replayed, forged (CVE-2026-49443 in another identity provider: an empty POST went on)


async def test_a_code_without_a_password_leads_nowhere(site: Site, browser: Browser) -> None:
    assert (await browser.get("/.gateway/mfa")).location == "/.gateway/login"
    answer = await browser.post("/.gateway/mfa", {"code": site.code()})
    assert answer.location == "/.gateway/login"
    assert "__Host-gw" not in answer.cookies


@pytest.mark.parametrize(
    "target",
    ["/.gateway/login", "/.gateway/mfa", "/.gateway/enrol", "/.gateway/enrol/renew", "/.gateway/account/password"],
)
@pytest.mark.parametrize("body", [b"", b"form=mfa", b"form_token=", b"code=", b"x"])
async def test_an_empty_post_never_advances(site: Site, browser: Browser, target: str, body: bytes) -> None:
    await browser.give_password()
    before = browser.jar["__Host-gw"]
    answer = await browser.send("POST", target, body)
    assert answer.status in {303, 403}
    assert answer.location in {"", "/.gateway/mfa"}
    assert answer.events == []
    assert browser.jar["__Host-gw"] == before
    assert await owed(site, browser) is Owed.MFA


async def test_a_form_of_the_password_step_is_no_form_of_the_code_step(site: Site, browser: Browser) -> None:
    page = await browser.get("/.gateway/login")
    await browser.submit(page, "/.gateway/login", username="alice", password=PASSWORD)
    answer = await browser.post("/.gateway/mfa", page.hidden() | {"code": site.code()})
    assert answer.status == 403
    assert "The form has expired" in answer.text


async def test_a_replayed_sign_in_form_makes_a_session_that_still_owes_its_factor(site: Site, browser: Browser) -> None:
    page = await browser.get("/.gateway/login")
    flow = browser.jar["__Host-gw-flow"]
    fields = page.hidden() | {"username": "alice", "password": PASSWORD}
    await browser.post("/.gateway/login", fields)
    await browser.give_code()
    replayer = site.browser(jar={"__Host-gw-flow": flow})
    assert (await replayer.post("/.gateway/login", fields)).location == "/.gateway/mfa"
    assert await owed(site, replayer) is Owed.MFA


async def test_a_replayed_code_form_is_void(site: Site, browser: Browser) -> None:
    await browser.give_password()
    page = await browser.get("/.gateway/mfa")
    jar = dict(browser.jar)
    fields = page.hidden() | {"code": site.code()}
    assert (await browser.post("/.gateway/mfa", fields)).status == 303
    replayer = site.browser(jar=jar)
    answer = await replayer.post("/.gateway/mfa", fields)
    assert answer.location == "/.gateway/login?reason=session_expired"
    assert "__Host-gw" not in answer.cookies


async def test_login_forgery_a_form_without_its_cookie_is_refused(site: Site, browser: Browser) -> None:
    page = await site.browser().get("/.gateway/login")
    answer = await browser.post("/.gateway/login", page.hidden() | {"username": "alice", "password": PASSWORD})
    assert answer.status == 403
    assert answer.events == []
    assert site.counted("gateway_forms_refused_total") == {("form_expired",): 1}


async def test_an_old_form_is_shown_again_and_then_works(site: Site, browser: Browser) -> None:
    page = await browser.get("/.gateway/login?return_to=/x")
    site.now += 3601
    answer = await browser.submit(page, "/.gateway/login", username="alice", password=PASSWORD)
    assert answer.status == 403
    assert "The form has expired" in answer.text
    answer = await browser.submit(answer, "/.gateway/login", username="alice", password=PASSWORD)
    assert answer.location == "/.gateway/mfa"


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"},
    {"Sec_Fetch_Mode": "cors"},
    {"Sec_Fetch_Dest": "iframe"},
]


@pytest.mark.parametrize("words", FOREIGN, ids=str)
async def test_cross_site_forgery_even_a_valid_token_does_not_help(
    site: Site, browser: Browser, words: dict[str, str]
) -> None:
    page = await browser.get("/.gateway/login")
    answer = await browser.post("/.gateway/login", page.hidden() | {"username": "alice", "password": PASSWORD}, **words)
    assert answer.status == 403
    assert answer.cookies == {}
    assert site.counted("gateway_forms_refused_total") == {("cross_origin",): 1}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(token=st.text(max_size=60))
async def test_no_guessed_token_passes(browser: Browser, token: str) -> None:
    await browser.get("/.gateway/login")
    fields = {"form": "sign-in", "form_token": token.replace("\0", ""), "username": "alice", "password": PASSWORD}
    answer = await browser.send("POST", "/.gateway/login", _encode(fields))
    assert answer.status in {400, 403}


def _encode(fields: dict[str, str]) -> bytes:
    return urlencode({name: value.encode("utf-8", "replace") for name, value in fields.items()}).encode()


# Sign-out


async def test_signing_out_ends_the_session_and_takes_the_cookies_with_the_same_attributes(
    site: Site, browser: Browser
) -> None:
    await browser.sign_in()
    token = browser.jar["__Host-gw"]
    page = await browser.get("/.gateway/logout")
    assert "Sign out?" in page.text
    answer = await browser.submit(page, "/.gateway/logout")
    assert (answer.status, answer.location) == (303, "/.gateway/login?reason=signed_out")
    assert answer.names() == ["logout"]
    assert answer.cookies["__Host-gw"] == "__Host-gw=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0"
    assert answer.cookies["__Host-gw-flow"] == "__Host-gw-flow=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0"
    assert answer.headers["Clear-Site-Data"] == '"cache"'
    thief = site.browser(jar={"__Host-gw": token})
    assert (await thief.get("/.gateway/account")).location == "/.gateway/login?reason=session_expired"


async def test_a_link_does_not_sign_anybody_out(browser: Browser) -> None:
    await browser.sign_in()
    await browser.get("/.gateway/logout")
    assert (await browser.get("/.gateway/account")).status == 200


async def test_a_forged_sign_out_asks_instead(browser: Browser) -> None:
    await browser.sign_in()
    answer = await browser.post("/.gateway/logout", {})
    assert answer.status == 403
    assert "Sign out?" in answer.text
    assert (await browser.get("/.gateway/account")).status == 200


async def test_signing_out_without_a_session_says_so(browser: Browser) -> None:
    assert "You are not signed in" in (await browser.get("/.gateway/logout")).text
