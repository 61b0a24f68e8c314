"""What went wrong with sessions and sign-out in comparable software, tried on the pages (docs/advisories.md)."""

from __future__ import annotations

from tests.fakes.pages_site import PASSWORD, Browser, Site


async def test_session_fixation_the_token_changes_at_sign_in_factor_and_password(site: Site, browser: Browser) -> None:
    """mod_auth_openidc 2.4.20: the session id of before a sign-in lived on after it."""
    name, tokens = browser.cookie_name, []
    browser.jar[name] = "gws_" + "A" * 43  # a token that somebody chose for the person
    await browser.give_password()
    tokens.append(browser.jar[name])
    await browser.give_code()
    tokens.append(browser.jar[name])
    site.now += 31
    page = await browser.get("/.gateway/account/password")
    changed = await browser.submit(
        page,
        "/.gateway/account/password",
        current_password=PASSWORD,
        new_password="heron lantern copper 91",
        new_password_again="heron lantern copper 91",
        code=site.code(),
    )
    assert changed.status == 303, changed.text[:500]
    tokens.append(browser.jar[name])
    assert len({"gws_" + "A" * 43, *tokens}) == 4
    for token in tokens[:-1]:
        other = site.browser()
        other.jar[name] = token
        assert (await other.get("/.gateway/account")).status == 303


async def test_cve_2026_34454_cve_2025_55162_sign_out_takes_the_cookie_away_on_the_wire(
    site: Site, browser: Browser
) -> None:
    """oauth2-proxy cleared it after the head had left, Envoy without `Secure`, so that the browser kept it."""
    await browser.sign_in()
    page = await browser.get("/.gateway/logout")
    answer = await browser.submit(page, "/.gateway/logout")
    line = next(line for name, line in answer.cookies.items() if name == browser.cookie_name)
    assert line.partition("=")[2].partition(";")[0] == ""
    for attribute in ("Path=/", "HttpOnly", "SameSite=Lax", "Secure", "Max-Age=0"):
        assert attribute in line


async def test_cve_2025_29928_cve_2024_21492_an_old_cookie_is_worth_nothing_after_sign_out_revocation_and_silence(
    site: Site, browser: Browser
) -> None:
    name = browser.cookie_name
    await browser.sign_in()
    kept = browser.jar[name]
    await browser.submit(await browser.get("/.gateway/logout"), "/.gateway/logout")
    site.now += 31
    second = site.browser()
    await second.sign_in()
    revoked = second.jar[name]
    assert site.store.end_user(next(iter(site.store.users())).id) >= 1
    site.now += 31
    third = site.browser()
    await third.sign_in()
    silent = third.jar[name]
    site.now += 901
    for token in (kept, revoked, silent):
        replaying = site.browser()
        replaying.jar[name] = token
        answer = await replaying.get("/.gateway/account")
        assert (answer.status, answer.location) == (303, "/.gateway/login?reason=session_expired")
