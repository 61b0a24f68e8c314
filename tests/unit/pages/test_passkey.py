"""Passkeys on the pages, with an authenticator in software at the other end."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path

import pytest

from gateway.authn.assurance import FactorRule, Method, Required
from gateway.authn.passkey import AuthenticatorRule
from gateway.exchange.notice import Notice
from gateway.exchange.session import Owed
from gateway.session.life import Lifetimes
from gateway.session.rules import RuleBook, Rules, TenantRules
from gateway.store.second_factors import PasskeyOptions
from tests.fakes.authenticator import PRESENT, TRUTH, Authenticator, Lies
from tests.fakes.pages_site import HOST, Answer, Browser, Site
from tests.unit.pages.conftest import SiteMaker

LIST = "/.gateway/account/passkeys"
ADD = "/.gateway/enrol/passkey"
USE = "/.gateway/login/passkey"
PROVE = "/.gateway/mfa/passkey"


def options_of(page: Answer) -> str:
    """What the page has the browser ask."""
    found = re.search(r'data-options="([^"]*)"', page.text)
    assert found is not None, page.text
    return unescape(found[1])


async def add_passkey(browser: Browser, device: Authenticator, lies: Lies = TRUTH, name: str = "Laptop") -> Answer:
    page = await browser.get(ADD)
    assert page.status == 200, (page.status, page.location)
    answer = device.create(options_of(page), lies)
    return await browser.submit(page, ADD, credential=answer, name=name)


async def use_passkey(
    browser: Browser, device: Authenticator, lies: Lies = TRUTH, page: Answer | None = None
) -> Answer:
    page = page or await browser.get("/.gateway/login")
    return await browser.submit(page, USE, credential=device.get(options_of(page), lies))


async def prove_passkey(browser: Browser, device: Authenticator, lies: Lies = TRUTH) -> Answer:
    page = await browser.get("/.gateway/mfa")
    return await browser.submit(page, PROVE, credential=device.get(options_of(page), lies))


async def signed_in(site: Site, name: str = "alice") -> Browser:
    browser = site.browser()
    await browser.sign_in(name)
    return browser


@pytest.fixture
async def site(make_site: SiteMaker) -> AsyncIterator[Site]:
    """The pages with alice, who has an app, and bob, who has none; sessions live through an hour of silence."""
    patient = RuleBook(general=TenantRules(rules=Rules(lifetimes=Lifetimes(idle_s=3600.0))))
    async with make_site(rules=patient) as site:
        site.add_user("alice")
        site.add_user("bob", totp=False)
        yield site


@pytest.fixture
async def alice(site: Site) -> Browser:
    return await signed_in(site)


@pytest.fixture
async def device(alice: Browser) -> Authenticator:
    """alice's: it verifies its user."""
    device = Authenticator(relying_party=HOST, origin=f"https://{HOST}")
    assert (await add_passkey(alice, device)).names() == ["factor.enrolled", "session.rotated"]
    return device


# Adding


async def test_a_passkey_is_added_named_audited_and_told(site: Site, alice: Browser) -> None:
    answer = await add_passkey(alice, Authenticator(), name="  My  \u200bblue  key ")
    assert answer.status == 200
    assert "Your passkey is added" in answer.text
    assert answer.names() == ["factor.enrolled", "session.rotated"]
    assert answer.events[0].factor == "webauthn"
    assert site.notices.told == [("u_616c696365" + "0" * 22, Notice.FACTOR_ADDED, "My blue key")]
    page = await alice.get(LIST)
    assert "The passkey is added" in page.text
    assert "My blue key" in page.text
    assert "Not used yet" in page.text


async def test_whoever_proved_nothing_lately_does_that_first(site: Site, alice: Browser) -> None:
    site.now += 901
    answer = await alice.get(ADD)
    assert (answer.status, answer.location) == (303, f"/.gateway/mfa?step_up=mfa_age&return_to={ADD}")
    page = await alice.get(answer.location)
    assert "Please confirm it is you" in page.text
    answer = await alice.submit(page, "/.gateway/mfa", code=site.code())
    assert (answer.status, answer.location) == (303, ADD)
    assert (await alice.get(ADD)).status == 200


async def test_a_registration_that_took_too_long_is_refused(site: Site, alice: Browser) -> None:
    page = await alice.get(ADD)
    answer = Authenticator().create(options_of(page))
    site.now += 300
    answered = await alice.submit(page, ADD, credential=answer, name="x")
    assert answered.status == 401
    assert "longer than five minutes" in answered.text


async def test_the_challenge_of_another_page_is_none_here(alice: Browser, device: Authenticator) -> None:
    """attack: a challenge made for signing in, answered as a registration."""
    login = await alice.site.browser().get("/.gateway/login")
    page = await alice.get(ADD)
    fields = page.hidden(ADD) | {"challenge": login.hidden(USE)["challenge"]}
    answer = await alice.post(ADD, fields | {"credential": device.create(options_of(page)), "name": "x"})
    assert answer.status == 401
    assert answer.events == []


@pytest.mark.parametrize(
    "lies",
    [
        Lies(origin="https://evil.example"),
        Lies(relying_party="evil.example"),
        Lies(cross_origin=True),
        Lies(challenge=b"x" * 32),
        Lies(flags=0),
        Lies(stuffing=bytes(30_000)),
    ],
)
async def test_a_registration_that_lies_adds_nothing(alice: Browser, lies: Lies) -> None:
    answer = await add_passkey(alice, Authenticator(), lies)
    assert answer.status == 401
    if not lies.stuffing:  # what is too large is not read at all
        assert answer.names() == ["factor.failed"]
        assert answer.events[0].fault
        assert "Passkey not accepted" in answer.text
    assert "You have none yet" in (await alice.get(LIST)).text


async def test_somebody_elses_passkey_id_cannot_be_taken_over(site: Site, device: Authenticator) -> None:
    site.add_user("mallory")
    mallory = await signed_in(site, "mallory")
    answer = await add_passkey(mallory, Authenticator(identifier=device.identifier))
    assert answer.status == 401
    assert answer.events[0].fault == "another_person"
    signed = await use_passkey(site.browser(), device)
    assert signed.events[0].user == "alice"


async def test_a_make_that_is_not_allowed_is_refused_with_its_own_words(make_site: SiteMaker) -> None:
    denied = AuthenticatorRule(denied=frozenset({Authenticator().aaguid}))
    options = PasskeyOptions(name="Portal", bound_to=HOST, rule=denied)
    async with make_site(passkey_options=options) as site:
        site.add_user("alice")
        answer = await add_passkey(await signed_in(site), Authenticator())
        assert answer.status == 403
        assert "Not this kind of passkey" in answer.text
        assert answer.events[0].reason == "passkey_not_allowed"


async def test_somebody_who_owes_a_factor_sets_up_a_passkey_and_gets_recovery_codes(site: Site) -> None:
    browser = site.browser()
    answer = await browser.give_password("bob", query="?return_to=/invoices")
    assert answer.location == "/.gateway/enrol"
    assert "Use a passkey instead" in (await browser.get("/.gateway/enrol")).text
    device = Authenticator()
    answer = await add_passkey(browser, device)
    assert answer.status == 200
    assert "Your passkey is added" in answer.text
    assert len(re.findall(r"<li><code>", answer.text)) == 10
    assert 'href="/invoices"' in answer.text
    browser = site.browser()
    answer = await browser.give_password("bob")
    assert answer.location == "/.gateway/mfa"
    assert (await prove_passkey(browser, device)).location == "/"


async def test_a_session_that_owes_its_factor_adds_none(site: Site, device: Authenticator) -> None:
    """attack: the thief of a password adds a passkey instead of showing one."""
    browser = site.browser()
    await browser.give_password("alice")
    assert (await browser.get(ADD)).location == "/.gateway/mfa"
    assert (await browser.get(LIST)).location == "/.gateway/mfa"


# Signing in without a password


async def test_a_passkey_signs_in_alone(site: Site, device: Authenticator) -> None:
    browser = site.browser()
    page = await browser.get("/.gateway/login?return_to=/invoices")
    assert 'autocomplete="username webauthn"' in page.text
    answer = await use_passkey(browser, device, page=page)
    assert (answer.status, answer.location) == (303, "/invoices")
    assert answer.names()[:2] == ["login.succeeded", "session.created"]
    assert answer.events[0].amr == ("hwk", "user", "mfa")
    session = await site.accounts.identify(browser.jar["__Host-gw"].encode(), client=client_of(browser), now=site.now)
    assert session is not None
    assert (session.owes, session.mfa_time) == (Owed.NOTHING, site.now)
    assert site.counted("gateway_sign_ins_total") == {("success", "mfa"): 1.0, ("success", "complete"): 1.0}


def client_of(browser: Browser):  # type: ignore[no-untyped-def]
    from gateway.store.openings import Client

    return Client(ip=browser.ip, host=browser.host, secure=True, tenant=browser.tenant)


async def test_an_answer_signs_in_once(site: Site, device: Authenticator) -> None:
    """attack: replay, with the login state that came along."""
    browser = site.browser()
    page = await browser.get("/.gateway/login")
    fields = page.hidden(USE) | {"credential": device.get(options_of(page))}
    jar = dict(browser.jar)
    assert (await browser.post(USE, fields)).status == 303
    thief = site.browser(jar=jar)
    answer = await thief.post(USE, fields)
    assert answer.status == 401
    assert answer.events[0].fault == "wrong_challenge"


async def test_an_answer_is_worthless_in_another_browser(site: Site, device: Authenticator) -> None:
    page = await site.browser().get("/.gateway/login")
    thief = site.browser()
    own = await thief.get("/.gateway/login")
    fields = own.hidden(USE) | {
        "credential": device.get(options_of(page)),
        "challenge": page.hidden(USE)["challenge"],
    }
    answer = await thief.post(USE, fields)
    assert answer.status == 401
    assert answer.events == []


@pytest.mark.parametrize(
    ("lies", "fault"),
    [
        (Lies(origin="https://evil.example"), "wrong_origin"),
        (Lies(relying_party="evil.example"), "wrong_host"),
        (Lies(cross_origin=True), "cross_origin"),
        (Lies(challenge=b"x" * 32), "wrong_challenge"),
        (Lies(flags=PRESENT), "not_verified"),
        (Lies(flags=0), "not_present"),
        (Lies(key=Authenticator().key), "not_accepted"),
        (Lies(user_handle=b"x" * 64), "another_person"),
        (Lies(user_handle=b""), "another_person"),
        (Lies(identifier=b"unknown"), "unknown_passkey"),
    ],
)
async def test_a_sign_in_that_lies_is_refused(site: Site, device: Authenticator, lies: Lies, fault: str) -> None:
    answer = await use_passkey(site.browser(), device, lies)
    assert answer.status == 401
    assert answer.names() == ["login.failed"]
    assert (answer.events[0].reason, answer.events[0].fault) == ("passkey_refused", fault)
    assert "Passkey not accepted" in answer.text
    assert "__Host-gw" not in answer.cookies


async def test_a_copied_passkey_is_refused_and_recorded(site: Site, device: Authenticator) -> None:
    copy = device.copy()
    assert (await use_passkey(site.browser(), device)).status == 303
    answer = await use_passkey(site.browser(), copy)
    assert answer.status == 401
    assert answer.events[0].fault == "copied"


async def test_a_copied_passkey_is_only_recorded_where_the_operator_says_so(make_site: SiteMaker) -> None:
    options = PasskeyOptions(name="Portal", bound_to=HOST, refuse_copied=False)
    async with make_site(passkey_options=options) as site:
        site.add_user("alice")
        device = Authenticator()
        await add_passkey(await signed_in(site), device)
        copy = device.copy()
        await use_passkey(site.browser(), device)
        answer = await use_passkey(site.browser(), copy)
        assert answer.status == 303
        assert answer.names()[0] == "factor.copied"


async def test_a_disabled_person_does_not_sign_in_by_passkey(site: Site, device: Authenticator) -> None:
    import msgspec

    user = site.store.user_named("alice")
    assert user is not None
    site.store.change_user(user, msgspec.structs.replace(user, disabled=True), now=site.now)
    assert (await use_passkey(site.browser(), device)).status == 401


async def test_whoever_is_vouched_for_by_a_provider_does_not_pass_it_by(site: Site, device: Authenticator) -> None:
    """attack: the provider stopped vouching for somebody who kept a passkey here."""
    import msgspec

    user = site.store.user_named("alice")
    assert user is not None
    site.store.change_user(user, msgspec.structs.replace(user, provider="okta", issuer="i", subject="s"), now=site.now)
    assert (await use_passkey(site.browser(), device)).status == 401


async def test_a_passkey_of_another_tenant_does_not_sign_in(site: Site, device: Authenticator) -> None:
    answer = await use_passkey(site.browser(tenant="other"), device)
    assert answer.status == 401
    assert answer.events[-1].reason == "tenant_mismatch"


async def test_without_passwordless_no_passkey_is_the_first_factor(make_site: SiteMaker) -> None:
    options = PasskeyOptions(name="Portal", bound_to=HOST, passwordless=False)
    async with make_site(passkey_options=options) as site:
        site.add_user("alice")
        device = Authenticator()
        alice = await signed_in(site)
        await add_passkey(alice, device)
        browser = site.browser()
        page = await browser.get("/.gateway/login")
        assert "passkey" not in page.text
        proof = await browser.give_password()
        assert proof.location == "/.gateway/mfa"
        assert (await prove_passkey(browser, device)).location == "/"


async def test_a_host_that_is_an_address_offers_no_passkeys(site: Site) -> None:
    page = await site.browser(host="192.0.2.1").get("/.gateway/login")
    assert "passkey" not in page.text


async def test_plain_http_offers_no_passkeys_but_on_localhost(site: Site) -> None:
    assert "data-passkey" not in (await site.browser(scheme="http").get("/.gateway/login")).text
    assert "data-passkey" in (await site.browser(scheme="http", host="localhost").get("/.gateway/login")).text


async def test_where_passkeys_are_not_allowed_there_are_no_pages_of_them(make_site: SiteMaker) -> None:
    async with make_site(passkeys=False) as site:
        site.add_user("alice")
        browser = await signed_in(site)
        for path in (LIST, ADD, USE, PROVE):
            assert (await browser.get(path)).status == 404
        page = await site.browser().get("/.gateway/login")
        assert "passkey" not in page.text
        assert "script-src" not in page.headers["Content-Security-Policy"]


# As second factor


async def test_a_passkey_is_a_second_factor_beside_the_app(site: Site, device: Authenticator) -> None:
    browser = site.browser()
    await browser.give_password("alice")
    page = await browser.get("/.gateway/mfa")
    assert "Use your passkey" in page.text
    assert 'name="code"' in page.text
    answer = await prove_passkey(browser, device)
    assert (answer.status, answer.location) == (303, "/")
    assert answer.names()[:2] == ["factor.verified", "session.rotated"]
    assert answer.events[0].factor == "webauthn"
    assert answer.events[1].amr == ("pwd", "hwk", "mfa")


async def test_somebody_elses_passkey_is_no_second_factor(site: Site, device: Authenticator) -> None:
    """attack: a thief of a password with a passkey of their own."""
    site.add_user("mallory")
    evil = Authenticator(identifier=b"evil")
    await add_passkey(await signed_in(site, "mallory"), evil)
    browser = site.browser()
    await browser.give_password("alice")
    answer = await prove_passkey(browser, evil)
    assert answer.status == 401
    assert (answer.names(), answer.events[0].fault) == (["factor.failed"], "another_person")


async def test_the_challenge_of_a_second_factor_is_of_one_session(site: Site, device: Authenticator) -> None:
    """attack: an answer that was made in one session, sent in another of the same browser."""
    browser = site.browser()
    await browser.give_password("alice")
    first = await browser.get("/.gateway/mfa")
    await browser.get("/.gateway/login?reason=fresh_sign_in_required")
    page = await browser.get("/.gateway/login?reason=fresh_sign_in_required")
    await browser.submit(page, "/.gateway/login", username="alice", password="correct horse battery staple")
    own = await browser.get("/.gateway/mfa")
    fields = own.hidden(PROVE) | {
        "credential": device.get(options_of(first)),
        "challenge": first.hidden(PROVE)["challenge"],
    }
    assert (await browser.post(PROVE, fields)).status == 401


async def test_the_second_factor_is_asked_for_what_the_rule_says(make_site: SiteMaker) -> None:
    strict = AuthenticatorRule(user_verification="required")
    async with make_site(passkey_options=PasskeyOptions(name="Portal", bound_to=HOST, rule=strict)) as site:
        site.add_user("alice")
        device = Authenticator()
        await add_passkey(await signed_in(site), device)
        browser = site.browser()
        await browser.give_password("alice")
        answer = await prove_passkey(browser, device, Lies(flags=PRESENT))
        assert answer.events[0].fault == "not_verified"


# The list


async def test_passkeys_are_renamed_and_removed(site: Site, alice: Browser, device: Authenticator) -> None:
    page = await alice.get(LIST)
    answer = await alice.submit(page, f"{LIST}/rename", name="Work laptop")
    assert answer.names() == ["factor.renamed"]
    page = await alice.get(LIST)
    assert "Work laptop" in page.text
    other = await signed_in(site)
    answer = await alice.submit(page, f"{LIST}/remove")
    assert (answer.status, answer.location) == (303, LIST)
    assert answer.names() == ["factor.removed", "session.rotated", "session.revoked"]
    assert site.notices.told[-1][1:] == (Notice.FACTOR_REMOVED, "Work laptop")
    assert "The passkey is removed" in (await alice.get(LIST)).text
    assert (await other.get("/.gateway/account")).status == 303
    assert (await use_passkey(site.browser(), device)).events[0].fault == "unknown_passkey"


async def test_removing_needs_a_fresh_proof(site: Site, alice: Browser, device: Authenticator) -> None:
    page = await alice.get(LIST)
    site.now += 901
    await alice.get(LIST)
    answer = await alice.submit(page, f"{LIST}/remove")
    assert answer.location == f"/.gateway/mfa?step_up=mfa_age&return_to={LIST}"
    assert len(site.store.passkeys.of("u_616c696365" + "0" * 22)) == 1


async def test_the_last_factor_stays_where_one_is_needed(site: Site, alice: Browser, device: Authenticator) -> None:
    page = await alice.get(LIST)
    fields = page.hidden(f"{LIST}/remove")
    answer = await alice.post(f"{LIST}/remove", fields | {"handle": "app"})
    assert answer.names()[0] == "factor.removed"
    page = await alice.get(LIST)
    assert "stays until you add another" in page.text
    assert f'action="{LIST}/remove"' not in page.text
    handle = site.store.passkeys.of("u_616c696365" + "0" * 22)[0].handle
    fields = page.hidden(f"{LIST}/rename") | {"form": "passkey-remove", "handle": handle}
    token = (await alice.get("/.gateway/account")).text
    assert token
    answer = await alice.post(f"{LIST}/remove", fields)
    assert answer.status in {403, 409}


async def test_nobody_touches_somebody_elses_passkey(site: Site, device: Authenticator) -> None:
    site.add_user("mallory")
    mallory = await signed_in(site, "mallory")
    await add_passkey(mallory, Authenticator(identifier=b"evil"))
    handle = site.store.passkeys.of("u_616c696365" + "0" * 22)[0].handle
    page = await mallory.get(LIST)
    for act in ("rename", "remove"):
        fields = page.hidden(f"{LIST}/{act}") | {"handle": handle, "name": "mine"}
        assert (await mallory.post(f"{LIST}/{act}", fields)).events == []
        page = await mallory.get(LIST)
    assert site.store.passkeys.of("u_616c696365" + "0" * 22)[0].name == "Laptop"


async def test_the_password_is_not_changed_without_a_factor_by_whoever_has_passkeys_alone(
    site: Site, alice: Browser, device: Authenticator
) -> None:
    """attack: a session that was left open, and the password over the shoulder."""
    page = await alice.get(LIST)
    await alice.post(f"{LIST}/remove", page.hidden(f"{LIST}/remove") | {"handle": "app"})
    site.now += 901
    await alice.get("/.gateway/account")
    page = await alice.get("/.gateway/account/password")
    new = "a quite different passphrase"
    answer = await alice.submit(
        page,
        "/.gateway/account/password",
        current_password="correct horse battery staple",
        new_password=new,
        new_password_again=new,
        username="alice",
    )
    assert "password.changed" not in answer.names()


# The page itself


async def test_the_page_carries_one_script_by_nonce_and_digest(site: Site) -> None:
    page = await site.browser().get("/.gateway/login")
    csp = page.headers["Content-Security-Policy"]
    nonce = re.search(r"script-src 'nonce-([^']+)'", csp)
    assert nonce is not None
    assert "unsafe" not in csp
    tags = re.findall(r"<script[^>]*>", page.text)
    assert len(tags) == 1
    assert f'nonce="{nonce[1]}"' in tags[0]
    assert 'integrity="sha256-' in tags[0]
    source = re.search(r'src="([^"]+)"', tags[0])
    assert source is not None
    script = await site.browser().get(source[1], Sec_Fetch_Dest="script")
    assert script.status == 200
    assert script.headers["Content-Type"] == "text/javascript; charset=utf-8"


async def test_the_page_explains_itself_without_scripts(site: Site) -> None:
    page = await site.browser().get("/.gateway/login")
    assert "<noscript>" in page.text
    assert "switched off in this browser" in page.text


def test_the_script_makes_no_markup_and_asks_nobody() -> None:
    text = Path(__file__).parents[3].joinpath("gateway/pages/static/passkey.js").read_text("utf-8")
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "fetch(", "XMLHttp", "http"):
        assert word not in text


async def test_the_sign_in_page_has_one_form_for_whoever_reads_its_inputs(site: Site) -> None:
    page = await site.browser().get("/.gateway/login")
    inputs = re.findall(r'<input[^>]* name="([^"]*)"', page.text)
    assert sorted(inputs) == ["form", "form_token", "password", "return_to", "username"]


# Devices and the offer


async def test_devices_are_forgotten_on_the_account_page(make_site: SiteMaker) -> None:
    rule = FactorRule(required=Required.ALWAYS, methods=frozenset(Method), remember_s=86_400.0)
    async with make_site(factor_rule=rule) as site:
        site.add_user("alice")
        browser = site.browser()
        await browser.give_password()
        page = await browser.get("/.gateway/mfa")
        assert "Do not ask again on this device" in page.text
        answer = await browser.submit(page, "/.gateway/mfa", code=site.code(), remember="1")
        assert "device.remembered" in answer.names()
        assert (await browser.give_password(query="?reason=fresh_sign_in_required")).location == "/"
        page = await browser.get("/.gateway/account")
        answer = await browser.submit(page, "/.gateway/account/forget-devices")
        assert (answer.names(), answer.events[0].count) == (["device.forgotten"], 1)
        assert "No device is remembered any more" in (await browser.get("/.gateway/account")).text
        answer = await browser.give_password(query="?reason=fresh_sign_in_required")
        assert answer.location == "/.gateway/mfa"


async def test_whoever_has_no_factor_is_offered_one_once_a_browser(make_site: SiteMaker) -> None:
    rule = FactorRule(required=Required.OFFERED, methods=frozenset(Method))
    async with make_site(factor_rule=rule, offers_factor=True) as site:
        site.add_user("bob", totp=False)
        site.add_user("alice")
        browser = site.browser()
        answer = await browser.give_password("bob", query="?return_to=/invoices")
        assert answer.location == "/.gateway/enrol/offer?return_to=/invoices"
        page = await browser.get(answer.location)
        assert 'href="/.gateway/enrol/passkey"' in page.text
        assert 'href="/invoices">Not now' in page.text
        page = await browser.get("/.gateway/enrol/offer?return_to=https://evil.example/")
        assert 'href="/">Not now' in page.text
        answer = await browser.give_password("bob", query="?reason=fresh_sign_in_required")
        assert answer.location == "/"
        other = site.browser()
        assert (await other.give_password("alice")).location == "/.gateway/mfa"
        assert "offer" not in (await other.give_code()).location


# A kind of factor that a route requires

CODE_PAGE = "/.gateway/mfa?step_up=factor&factor=totp&return_to=/pay"
KEY_PAGE = "/.gateway/mfa?step_up=factor&factor=webauthn&return_to=/pay"


async def test_a_route_that_wants_a_code_is_offered_no_passkey(
    site: Site, alice: Browser, device: Authenticator
) -> None:
    page = await alice.get(CODE_PAGE)
    assert "needs a code from your authenticator app" in page.text
    assert "data-passkey" not in page.text
    target = "/.gateway/mfa?step_up=factor&amp;factor=totp"
    assert f'action="{target}"' in page.text
    wrong = await alice.post(target.replace("&amp;", "&"), page.hidden(target) | {"code": "000000"})
    assert "needs a code from your authenticator app" in wrong.text, "a second try still knows what is wanted"
    answer = await alice.post(target.replace("&amp;", "&"), wrong.hidden(target) | {"code": site.code()})
    assert (answer.status, answer.location) == (303, "/pay")


async def test_a_route_that_wants_a_passkey_is_offered_no_code(
    site: Site, alice: Browser, device: Authenticator
) -> None:
    page = await alice.get(KEY_PAGE)
    assert "What you want to do needs a passkey." in page.text
    assert "data-passkey" in page.text
    assert 'name="code"' not in page.text


async def test_whoever_has_passkeys_alone_is_told_where_to_get_codes(
    site: Site, alice: Browser, device: Authenticator
) -> None:
    page = await alice.get(LIST)
    await alice.post(f"{LIST}/remove", page.hidden(f"{LIST}/remove") | {"handle": "app"})
    page = await alice.get(CODE_PAGE)
    assert "needs a code from your authenticator app" in page.text
    assert 'href="/.gateway/enrol"' in page.text
    assert "data-passkey" not in page.text
