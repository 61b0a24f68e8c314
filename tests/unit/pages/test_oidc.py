"""Signing in at an identity provider that behaves: from the button to the session, and out again."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pyotp
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.authn.assurance import FactorRule, Required
from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.step_up import Assurance, Lack, Requirement
from gateway.store.executor import store_executor
from gateway.store.federated import FederatedStore
from gateway.store.provider_tokens import ProviderTokens
from gateway.store.state import Store
from tests.fakes.federation import PERSON, with_providers
from tests.fakes.identity_provider import (
    CLIENT_ID,
    EC_KEY,
    LOGOUT_EVENT,
    OTHER_RSA_KEY,
    IdentityProvider,
    decoded,
    identity_provider,
    never,
)
from tests.fakes.pages_site import Answer, Browser, Site
from tests.unit.pages.conftest import SiteMaker

NOW = 1_800_000_000.0
START = "/.gateway/oidc/okta/start"


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    async with identity_provider(lambda: NOW) as provider:
        yield provider


@pytest.fixture
async def site(make_site: SiteMaker, provider: IdentityProvider) -> AsyncIterator[Site]:
    make = with_providers(("okta", provider, "name: Acme SSO\n"))
    async with make_site(make_providers=make, factor_rule=FactorRule()) as site:
        site.add_user("alice")
        yield site


async def go(browser: Browser, provider: IdentityProvider, start: str = START, **claims: Any) -> Answer:
    """There and back."""
    there = await browser.get(start)
    assert there.status == 303, there.text
    return await browser.get(provider.sign_in(there.location, **(PERSON | claims)))


async def test_person_signs_in_at_the_provider_and_comes_back_where_they_were_going(
    site: Site, provider: IdentityProvider
) -> None:
    browser = site.browser()
    page = await browser.get("/.gateway/login?return_to=/invoices/7")
    assert f'href="{START}"' in page.text
    assert "Sign in with Acme SSO" in page.text
    answer = await go(browser, provider)
    assert (answer.status, answer.location) == (303, "/invoices/7")
    assert {"login.succeeded", "session.created", "claims.ignored"} <= set(answer.names())
    assert {event.provider for event in answer.events} == {"okta"}
    session = site.store.sessions(now=site.now)[0].session
    assert (session.user, session.tenant, session.roles) == ("carol", "acme", ("client",))
    assert (session.provider, session.amr, session.email) == ("okta", ("fed",), "carol@acme.example")
    assert site.counted("gateway_provider_sign_ins_total") == {("okta", "success", "complete"): 1}


async def test_second_sign_in_finds_the_same_account_by_issuer_and_subject(
    site: Site, provider: IdentityProvider
) -> None:
    await go(site.browser(), provider)
    first = site.store.users()[1]
    await go(site.browser(), provider, email="carol.married@acme.example")
    (second,) = [user for user in site.store.users() if user.provider == "okta"]
    assert (second.id, second.email) == (first.id, "carol.married@acme.example")
    told = [stored.session.email for stored in site.store.sessions(now=site.now)]
    assert told == ["carol.married@acme.example"], "an address may be somebody else's by now"


async def test_cve_2021_41230_changed_groups_change_the_roles_and_end_the_sessions_with_the_old_ones(
    site: Site, provider: IdentityProvider
) -> None:
    """CVE-2021-41230: claims stayed as they were after the provider changed them."""
    await go(site.browser(), provider, groups=["portal-billing"])
    await go(site.browser(), provider, groups=["portal-users"])
    assert [stored.session.roles for stored in site.store.sessions(now=site.now)] == [("client",)]


async def test_one_subject_at_two_providers_is_two_people(make_site: SiteMaker, provider: IdentityProvider) -> None:
    """ASVS 6.8.1: another provider could give anybody's `sub`."""
    async with identity_provider(lambda: NOW) as other:
        make = with_providers(("okta", provider, ""), ("evil", other, ""))
        async with make_site(make_providers=make, factor_rule=FactorRule()) as site:
            await go(site.browser(), provider)
            there = "/.gateway/oidc/evil/start"
            assert (await go(site.browser(), other, there)).status == 403, "nor does the name open the account"
            assert (await go(site.browser(), other, there, preferred_username="mallory")).status == 303
            people = {user.name: user for user in site.store.users()}
            assert set(people) == {"carol", "mallory"}
            assert people["carol"].id != people["mallory"].id
            assert (people["carol"].provider, people["mallory"].provider) == ("okta", "evil")


async def test_renamed_person_keeps_the_account(site: Site, provider: IdentityProvider) -> None:
    await go(site.browser(), provider)
    await go(site.browser(), provider, preferred_username="caroline")
    assert [user.name for user in site.store.users()] == ["alice", "caroline"]


@pytest.mark.parametrize("spelling", ["alice", "ALICE", "\uff41\uff4c\uff49\uff43\uff45"])
async def test_name_of_somebody_else_is_refused_in_any_spelling(
    site: Site, provider: IdentityProvider, spelling: str
) -> None:
    answer = await go(site.browser(), provider, preferred_username=spelling)
    assert answer.status == 403
    assert [(event.name, event.reason) for event in answer.events] == [("login.failed", "name_taken")]
    assert "01REQUEST" in answer.text
    assert [user.provider for user in site.store.users()] == ["local"]


async def test_disabled_person_gets_no_session(site: Site, provider: IdentityProvider) -> None:
    await go(site.browser(), provider)
    (user,) = [user for user in site.store.users() if user.provider == "okta"]
    assert site.store.change_user(user, msgspec.structs.replace(user, disabled=True), now=site.now)
    answer = await go(site.browser(), provider)
    assert (answer.status, site.store.sessions(now=site.now)) == (403, [])
    assert "Your account has no access" in answer.text


async def test_account_of_a_provider_has_no_password(site: Site, provider: IdentityProvider) -> None:
    await go(site.browser(), provider)
    for password in ("", "x", "correct horse battery staple"):
        answer = await site.browser().give_password("carol", password)
        assert answer.status == 401


async def test_overage_is_refused_with_a_clear_reason(site: Site, provider: IdentityProvider) -> None:
    """oauth2-proxy #3385: Entra leaves groups out beyond 200, and people lost roles without a word."""
    answer = await go(
        site.browser(),
        provider,
        groups=None,
        _claim_names={"groups": "src1"},
        _claim_sources={"src1": {"endpoint": "https://graph.example"}},
    )
    assert answer.status == 403
    assert [(event.reason, event.fault) for event in answer.events] == [("groups_incomplete", "overage")]
    assert "which groups you are in" in answer.text


async def test_values_outside_the_table_give_nothing(site: Site, provider: IdentityProvider) -> None:
    answer = await go(site.browser(), provider, groups=["client", "billing", "admin", "PORTAL-USERS"])
    assert answer.status == 403
    assert [(event.reason, event.fault) for event in answer.events] == [("identity_refused", "no_role")]
    assert 'href="/.gateway/oidc/okta/start?other=1"' in answer.text


async def test_another_account_is_asked_for_where_this_one_has_no_access(
    site: Site, provider: IdentityProvider
) -> None:
    answer = await site.browser().get(f"{START}?other=1")
    assert "prompt=select_account" in answer.location
    assert provider.count("/authorize") == 0


async def test_tenant_of_the_host_decides_who_may_come(site: Site, provider: IdentityProvider) -> None:
    answer = await go(site.browser(), provider, org="globex-inc")
    assert answer.status == 403
    assert [event.reason for event in answer.events] == ["tenant_mismatch"]


async def test_second_factor_of_ours_is_asked_for_unless_the_table_counts_theirs(
    make_site: SiteMaker, provider: IdentityProvider
) -> None:
    make = with_providers(("okta", provider, "mfa: {acr: [urn:acme:mfa], amr: [mfa]}\n"))
    async with make_site(make_providers=make, factor_rule=FactorRule(required=Required.ALWAYS)) as site:
        answer = await go(site.browser(), provider, amr=["pwd", "otp"], acr="urn:acme:password")
        assert answer.location == "/.gateway/enrol"
        answer = await go(site.browser(), provider, amr=["pwd", "mfa", "hwk", "made up"], auth_time=int(NOW) - 30)
        assert answer.location == "/"
        (session,) = [stored.session for stored in site.store.sessions(now=site.now) if not stored.session.owes]
        assert session.amr == ("fed", "pwd", "mfa")
        assert (session.auth_time, session.mfa_time) == (site.now - 30, site.now - 30)
        answer = await go(site.browser(), provider, acr="urn:acme:mfa")
        assert answer.location == "/"


async def test_sign_in_nobody_knows_the_time_of_is_fresh_enough_for_nothing(
    make_site: SiteMaker, provider: IdentityProvider
) -> None:
    """A provider that asked for nothing would else pass every limit on the age of a sign-in."""
    async with make_site(make_providers=with_providers(("okta", provider, "mfa: {amr: [mfa]}\n"))) as site:
        await go(site.browser(), provider, amr=["mfa"])
        session = site.store.sessions(now=site.now)[0].session
        assert not session.owes
        assert Requirement(auth_age_s=86_400.0).lack(session, site.now) is Lack.AUTH_AGE
        assert Requirement(mfa_age_s=86_400.0).lack(session, site.now) is Lack.MFA_AGE
        assert Requirement(acr=Assurance.AAL2).lack(session, site.now) is None


async def test_form_of_passwords_is_not_there_without_passwords(
    make_site: SiteMaker, provider: IdentityProvider
) -> None:
    make = with_providers(("okta", provider, ""), ("backup", provider, "client_id: other\n"), passwords=False)
    async with make_site(make_providers=make, passwords=False) as site:
        browser = site.browser()
        page = await browser.get("/.gateway/login")
        assert 'name="password"' not in page.text
        assert page.text.count("Sign in with") == 2
        answer = await browser.post("/.gateway/login", {"username": "alice", "password": "x" * 20})
        assert answer.status in {403, 404}


async def test_only_way_is_gone_at_once_but_not_after_signing_out(
    make_site: SiteMaker, provider: IdentityProvider
) -> None:
    make = with_providers(("okta", provider, ""), passwords=False)
    async with make_site(make_providers=make, passwords=False, factor_rule=FactorRule()) as site:
        browser = site.browser()
        answer = await browser.get("/.gateway/login?return_to=/invoices/7")
        assert (answer.status, answer.location) == (303, START)
        answer = await go(browser, provider)
        assert answer.location == "/invoices/7"
        for reason in ("signed_out", "sign_in_expired", "other"):
            assert (await site.browser().get(f"/.gateway/login?reason={reason}")).status == 200


async def test_circle_between_portal_and_provider_is_broken(make_site: SiteMaker, provider: IdentityProvider) -> None:
    make = with_providers(("okta", provider, ""), passwords=False)
    async with make_site(make_providers=make, passwords=False, factor_rule=FactorRule()) as site:
        browser = site.browser()
        statuses = []
        for _ in range(6):
            answer = await browser.get("/.gateway/login?return_to=/", Sec_Fetch_Mode="navigate")
            statuses.append(answer.status)
            if answer.status == 303:
                await go(browser, provider)
            browser.jar.pop("__Host-gw", None)
        assert 400 in statuses


async def test_browser_remembers_the_way_it_went(make_site: SiteMaker, provider: IdentityProvider) -> None:
    make = with_providers(("first", provider, "client_id: other\n"), ("okta", provider, "name: Acme SSO\n"))
    async with make_site(make_providers=make, factor_rule=FactorRule()) as site:
        browser = site.browser()
        before = (await browser.get("/.gateway/login?reason=other")).text
        await go(browser, provider)
        assert browser.jar["__Host-gw-provider"] == "okta"
        browser.jar.pop("__Host-gw")
        after = (await browser.get("/.gateway/login?reason=other")).text
        assert before.index("/oidc/first/") < before.index("/oidc/okta/")
        assert after.index("/oidc/okta/") < after.index("/oidc/first/")
        assert "Last used" in after
        assert "Last used" not in before


async def test_remembered_way_is_never_shown_as_it_came(site: Site) -> None:
    browser = site.browser()
    browser.jar["__Host-gw-provider"] = "<script>alert(1)</script>"
    page = await browser.get("/.gateway/login")
    assert "<script>alert" not in page.text


async def test_address_leads_to_the_provider_of_its_domain(make_site: SiteMaker, provider: IdentityProvider) -> None:
    make = with_providers(("first", provider, "client_id: other\n"), ("okta", provider, "domains: [acme.example]\n"))
    async with make_site(make_providers=make) as site:
        browser = site.browser()
        page = await browser.get("/.gateway/login?return_to=/invoices/7")
        answer = await browser.submit(page, "/.gateway/login/email", email="Carol@ACME.example")
        assert answer.status == 200
        target = unescape(answer.text.partition('content="0; url=')[2].partition('"')[0])
        assert target.startswith(f"{provider.issuer}/authorize?")
        assert "login_hint=Carol%40ACME.example" in target
        answer = await browser.get(provider.sign_in(target, **PERSON))
        assert answer.status == 303


@pytest.mark.parametrize(
    "address",
    ["carol@other.example", "carol@evil.example@acme.example", "acme.example", "@acme.example", "a@b@acme.example", ""],
)
async def test_cve_2026_40574_an_address_of_no_domain_leads_nowhere(
    make_site: SiteMaker, provider: IdentityProvider, address: str
) -> None:
    """CVE-2026-40574: `attacker@evil.com@company.com` passed for an address of company.com."""
    make = with_providers(("okta", provider, "domains: [acme.example]\n"))
    async with make_site(make_providers=make) as site:
        browser = site.browser()
        page = await browser.get("/.gateway/login")
        answer = await browser.submit(page, "/.gateway/login/email", email=address)
        assert answer.status == 401
        assert "No way to sign in was found" in answer.text
        (field,) = re.findall(r'<input[^>]*name="email"[^>]*>', answer.text)
        assert f' value="{address}"' in field or not address
        assert " autofocus" in field
        assert answer.text.count(" autofocus") == 1


@pytest.mark.parametrize(
    "claims",
    [
        {"email": "carol@evil.example"},
        {"email": "carol@evil.example@acme.example"},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": None},
        {"email": None},
    ],
)
async def test_cve_2026_40574_a_provider_with_domains_lets_nobody_else_in(
    make_site: SiteMaker, provider: IdentityProvider, claims: dict[str, Any]
) -> None:
    """CVE-2026-40574, CVE-2021-21411: what restricts has to refuse somebody."""
    make = with_providers(("okta", provider, "domains: [acme.example]\n"))
    async with make_site(make_providers=make) as site:
        answer = await go(site.browser(), provider, **claims)
        assert answer.status == 403
        assert [event.fault for event in answer.events] == ["foreign_domain"]


async def test_provider_is_offered_on_its_hosts_and_tenants_alone(
    make_site: SiteMaker, provider: IdentityProvider
) -> None:
    rules = "roles: {claim: groups, grant: {a: client}}\ntenant: globex\n"
    make = with_providers(("okta", provider, rules), ("here", provider, "client_id: x\nhosts: [portal.example.com]\n"))
    async with make_site(make_providers=make) as site:
        page = await site.browser().get("/.gateway/login")
        assert "/oidc/okta/" not in page.text
        assert "/oidc/here/" in page.text
        assert (await site.browser().get(START)).status == 404
        page = await site.browser(host="globex.example.com", tenant="globex").get("/.gateway/login")
        assert "/oidc/okta/" in page.text
        assert "/oidc/here/" not in page.text


async def test_passwords_are_asked_for_on_the_hosts_of_their_tenants_alone(
    make_site: SiteMaker, provider: IdentityProvider
) -> None:
    theirs = "roles: {claim: groups, grant: {a: client}}\ntenant: globex\n"
    make = with_providers(("okta", provider, ""), ("theirs", provider, "client_id: x\n" + theirs))
    async with make_site(make_providers=make, password_tenants=frozenset({"acme"})) as site:
        page = await site.browser().get("/.gateway/login")
        assert 'name="password"' in page.text
        answer = await site.browser(host="globex.example.com", tenant="globex").get("/.gateway/login")
        assert 'name="password"' not in answer.text
        assert "/oidc/theirs/start" in answer.text


async def test_providers_of_another_tenant_are_not_told_from_none(
    make_site: SiteMaker, provider: IdentityProvider
) -> None:
    """attack: by their addresses, and by those of their people, the hosts of acme tell who else is here."""
    theirs = "roles: {claim: groups, grant: {a: client}}\ntenant: globex\ndomains: [globex.example]\n"
    ours = "client_id: x\ndomains: [acme.example]\n"
    make = with_providers(("okta", provider, theirs), ("here", provider, ours))
    async with make_site(make_providers=make) as site:
        for page in ("start", "callback?code=x&state=y", "callback?error=access_denied&state=y"):
            known = await site.browser().get(f"/.gateway/oidc/okta/{page}")
            unknown = await site.browser().get(f"/.gateway/oidc/nobody/{page}")
            assert (known.status, unknown.status) == (404, 404), page
        answers = []
        for address in ("gina@globex.example", "gina@nowhere.example"):
            browser = site.browser()
            page_shown = await browser.get("/.gateway/login")
            answer = await browser.submit(page_shown, "/.gateway/login/email", email=address)
            answers.append((answer.status, answer.text.count("Nobody signs in here with an address of that kind")))
        assert answers[0] == answers[1]
        assert answers[0][1] == 1


async def test_ten_tabs_come_back_in_any_order(site: Site, provider: IdentityProvider) -> None:
    """Envoy #41902: two tabs, and the first was refused."""
    browser = site.browser()
    await browser.get("/.gateway/login")
    there = [await browser.get(f"{START}?return_to=/tab/{number}") for number in range(10)]
    back = [await browser.get(provider.sign_in(answer.location, **PERSON)) for answer in reversed(there)]
    assert [answer.location for answer in back] == [f"/tab/{number}" for number in reversed(range(10))]


async def test_sign_out_ends_here_first_and_then_there(site: Site, provider: IdentityProvider) -> None:
    """oauth2-proxy #3172: the session was cleared before its tokens were read, so the provider was never told."""
    browser = site.browser()
    await go(browser, provider)
    page = await browser.get("/.gateway/logout")
    answer = await browser.submit(page, "/.gateway/logout")
    assert answer.status == 200
    target = unescape(answer.text.partition('content="0; url=')[2].partition('"')[0])
    parts = urlsplit(target)
    asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{provider.issuer}/end"
    assert asked["post_logout_redirect_uri"] == "https://portal.example.com/.gateway/oidc/okta/signed-out"
    assert decoded(asked["id_token_hint"], 1)["sub"] == "248289761001"
    assert "__Host-gw" not in browser.jar
    assert site.store.sessions(now=site.now) == []
    assert answer.names() == ["logout"]
    answer = await browser.get("/.gateway/oidc/okta/signed-out")
    assert answer.location == "/.gateway/login?reason=signed_out"


async def test_sign_out_works_while_the_provider_is_away(site: Site, provider: IdentityProvider) -> None:
    provider.metadata["end_session_endpoint"] = None
    browser = site.browser()
    await go(browser, provider)
    page = await browser.get("/.gateway/logout")
    answer = await browser.submit(page, "/.gateway/logout")
    assert answer.location == "/.gateway/login?reason=signed_out"
    assert site.store.sessions(now=site.now) == []


async def test_sign_out_waits_for_no_provider(make_site: SiteMaker, provider: IdentityProvider) -> None:
    make = with_providers(("okta", provider, "tokens: {keep: true}\ntimeout: 200ms\n"))
    async with make_site(make_providers=make, factor_rule=FactorRule()) as site:
        browser = site.browser()
        await go(browser, provider)
        provider.instead["/revoke"] = never
        page = await browser.get("/.gateway/logout")
        answer = await browser.submit(page, "/.gateway/logout")
        assert (answer.status, site.store.sessions(now=site.now)) == (200, [])


async def test_sign_out_here_asks_the_provider_nothing(make_site: SiteMaker, provider: IdentityProvider) -> None:
    make = with_providers(("okta", provider, "sign_out: here\n"))
    async with make_site(make_providers=make, factor_rule=FactorRule()) as site:
        browser = site.browser()
        await go(browser, provider)
        page = await browser.get("/.gateway/logout")
        answer = await browser.submit(page, "/.gateway/logout")
        assert answer.location == "/.gateway/login?reason=signed_out"


async def test_tokens_follow_the_session_through_a_second_factor_and_are_revoked_at_the_end(
    make_site: SiteMaker, provider: IdentityProvider
) -> None:
    make = with_providers(("okta", provider, "tokens: {keep: true}\n"))
    async with make_site(make_providers=make, factor_rule=FactorRule(required=Required.ALWAYS)) as site:
        browser = site.browser()
        assert (await go(browser, provider)).location == "/.gateway/enrol"
        page = await browser.get("/.gateway/enrol")
        secret = re.search(r"[A-Z2-7]{32}", page.text.replace(" ", ""))
        assert secret
        site.secrets["carol"] = secret[0]
        answer = await browser.submit(page, "/.gateway/enrol", code=site.code("carol"))
        assert answer.status == 200, answer.text
        page = await browser.get("/.gateway/logout")
        answer = await browser.submit(page, "/.gateway/logout")
        assert "id_token_hint=" in answer.text
        revoked = [form["token_type_hint"] for path, form in provider.asked if path == "/revoke"]
        assert revoked == ["refresh_token", "access_token"]


@pytest.mark.sqlite  # its files are looked at
async def test_stolen_state_holds_no_token_in_the_clear(
    make_site: SiteMaker, provider: IdentityProvider, tmp_path: Path
) -> None:
    make = with_providers(("okta", provider, "tokens: {keep: true}\n"))
    async with make_site(make_providers=make, factor_rule=FactorRule()) as site:
        await go(site.browser(), provider)
        refresh = next(iter(provider.refresh_tokens))
        found = b"".join(file.read_bytes() for file in tmp_path.glob("state*"))
        assert len(found) > 4096
        for secret in (refresh, "access-", "carol", "248289761001"):
            assert secret.encode() not in found


async def test_back_channel_logout_ends_the_session_of_the_provider_and_no_other(
    site: Site, provider: IdentityProvider
) -> None:
    one, other = site.browser(), site.browser()
    await go(one, provider, sid="s-1")
    await go(other, provider, sid="s-2")
    answer = await from_provider(site, provider.logout_token(sid="s-1", sub="248289761001"))
    assert (answer.status, answer.text) == (200, "")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.names() == ["provider.logout", "session.revoked"]
    assert [stored.session.provider_session for stored in site.store.sessions(now=site.now)] == ["s-2"]


async def test_back_channel_logout_of_a_person_ends_every_session(site: Site, provider: IdentityProvider) -> None:
    for _ in range(3):
        await go(site.browser(), provider)
    answer = await from_provider(site, provider.logout_token(sub="248289761001"))
    assert answer.status == 200
    assert site.store.sessions(now=site.now) == []
    assert [event.count for event in answer.events] == [3, 3]


@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        ({"sid": "s-1", "nonce": "n"}, "claim_malformed"),
        ({"sid": "s-1", "events": None}, "claim_missing"),
        ({"sid": "s-1", "events": {}}, "claim_malformed"),
        ({"sid": "s-1", "events": {LOGOUT_EVENT: "yes"}}, "claim_malformed"),
        ({"sid": None}, "claim_missing"),
        ({"sid": "s-1", "jti": None}, "claim_missing"),
        ({"sid": "s-1", "iat": None}, "claim_missing"),
        ({"sid": "s-1", "iat": int(NOW) - 600, "exp": int(NOW) + 600}, "expired"),
        ({"sid": "s-1", "exp": int(NOW) - 61}, "expired"),
        ({"sid": "s-1", "iat": int(NOW) + 600}, "not_yet_valid"),
        ({"sid": "s-1", "iss": "https://evil.example"}, "issuer"),
        ({"sid": "s-1", "aud": "somebody-else"}, "audience"),
    ],
)
async def test_logout_token_that_breaks_a_rule_is_refused(
    site: Site, provider: IdentityProvider, claims: dict[str, Any], fault: str
) -> None:
    await go(site.browser(), provider, sid="s-1")
    answer = await from_provider(site, provider.logout_token(**claims))
    assert (answer.status, answer.text) == (400, '{"error":"invalid_request"}')
    assert [(event.name, event.reason, event.fault) for event in answer.events] == [
        ("provider.logout", "logout_refused", fault)
    ]
    assert len(site.store.sessions(now=site.now)) == 1
    assert site.counted("gateway_provider_logouts_total") == {("okta", "failure", fault): 1}


async def test_replayed_logout_token_is_refused(site: Site, provider: IdentityProvider) -> None:
    await go(site.browser(), provider, sid="s-1")
    token = provider.logout_token(sid="s-1")
    assert (await from_provider(site, token)).status == 200
    await go(site.browser(), provider, sid="s-1")
    answer = await from_provider(site, token)
    assert (answer.status, [event.fault for event in answer.events]) == (400, ["replayed"])
    assert len(site.store.sessions(now=site.now)) == 1


async def test_logout_that_could_not_be_done_is_done_when_the_provider_comes_again_with_the_same_token(
    site: Site, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """attack: whoever is logged out keeps the session, because the store was away for a moment."""
    await go(site.browser(), provider, sid="s-1")
    token = provider.logout_token(sid="s-1")
    with monkeypatch.context() as away:
        away.setattr(Store, "end_provider_session", _away)
        answer = await from_provider(site, token)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
    assert len(site.store.sessions(now=site.now)) == 1
    assert (await from_provider(site, token)).status == 200
    assert site.store.sessions(now=site.now) == []
    assert (await from_provider(site, token)).status == 400


async def test_logout_of_a_session_of_which_the_provider_had_not_told_ends_all_that_it_may_be(
    site: Site, provider: IdentityProvider
) -> None:
    """attack: a provider whose ID tokens lack `sid` logs somebody out by `sid`, is thanked, and the session stays."""
    await go(site.browser(), provider)
    await go(site.browser(), provider, sid="s-2")
    other = site.browser()
    await go(other, provider, sub="somebody else", preferred_username="dora")
    answer = await from_provider(site, provider.logout_token(sid="s-1", sub="248289761001"))
    assert answer.status == 200
    assert [(event.name, event.count) for event in answer.events] == [("provider.logout", 1), ("session.revoked", 1)]
    left = {(stored.session.user, stored.session.provider_session) for stored in site.store.sessions(now=site.now)}
    assert left == {("carol", "s-2"), ("dora", "")}


async def test_logout_token_without_end_is_refused_unread(site: Site) -> None:
    answer = await from_provider(site, "x" * 70_000)
    assert (answer.status, answer.text) == (413, '{"error":"invalid_request"}')


async def test_new_session_cookie_reaches_the_browser_whatever_becomes_of_the_tokens(
    make_site: SiteMaker, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old cookie is dead by then: without the new one the person is signed out."""
    make = with_providers(("okta", provider, ""))
    async with make_site(make_providers=make, factor_rule=FactorRule(required=Required.ALWAYS)) as site:
        browser = site.browser()
        assert (await go(browser, provider)).location == "/.gateway/enrol"
        page = await browser.get("/.gateway/enrol")
        found = re.search(r"secret=([A-Z2-7]+)", page.text)
        assert found is not None
        code = pyotp.TOTP(found[1]).at(int(site.now))
        with monkeypatch.context() as away:
            away.setattr(ProviderTokens, "carry", _away)
            answer = await browser.submit(page, "/.gateway/enrol", code=code)
        assert answer.status == 200
        assert (await browser.get("/.gateway/account")).status == 200


def _away(*_: Any, **__: Any) -> Any:
    raise StoreUnavailableError("away")


async def test_id_token_is_no_logout_token(site: Site, provider: IdentityProvider) -> None:
    await go(site.browser(), provider, sid="s-1")
    answer = await from_provider(site, provider.id_token({"sub": "248289761001", "sid": "s-1", "jti": "x"}))
    assert answer.status == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Cookie": "a=b"},
        {"Content-Type": "text/plain"},
    ],
)
async def test_browser_cannot_send_a_logout_token(
    site: Site, provider: IdentityProvider, headers: dict[str, str]
) -> None:
    await go(site.browser(), provider, sid="s-1")
    answer = await from_provider(site, provider.logout_token(sid="s-1"), **headers)
    assert answer.status == 400
    assert len(site.store.sessions(now=site.now)) == 1


async def test_back_channel_logout_can_be_switched_off(make_site: SiteMaker, provider: IdentityProvider) -> None:
    make = with_providers(("okta", provider, "back_channel_logout: false\n"))
    async with make_site(make_providers=make) as site:
        assert (await from_provider(site, provider.logout_token(sid="s-1"))).status == 404


async def test_request_goes_ahead_where_the_provider_takes_it(site: Site, provider: IdentityProvider) -> None:
    """RFC 9126."""
    provider.metadata["pushed_authorization_request_endpoint"] = f"{provider.issuer}/par"
    browser = site.browser()
    there = await browser.get(START)
    assert set(parse_qs(urlsplit(there.location).query)) == {"client_id", "request_uri"}
    assert (await browser.get(provider.sign_in(there.location, **PERSON))).status == 303


async def test_sign_in_is_refused_where_the_request_must_go_ahead_and_cannot(
    make_site: SiteMaker, provider: IdentityProvider
) -> None:
    async with make_site(make_providers=with_providers(("okta", provider, "par: required\n"))) as site:
        answer = await site.browser().get(START)
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "10"
        assert "Sign-in is not possible right now" in answer.text


async def test_userinfo_fills_in_what_the_token_leaves_out(make_site: SiteMaker, provider: IdentityProvider) -> None:
    async with make_site(make_providers=with_providers(("okta", provider, "userinfo: true\n"))) as site:
        provider.userinfo = {"sub": "248289761001", **PERSON}
        answer = await go(site.browser(), provider, groups=None, org=None)
        assert answer.status == 303
        provider.userinfo["sub"] = "somebody-else"
        answer = await go(site.browser(), provider, groups=None, org=None)
        assert [event.fault for event in answer.events] == ["subject"]


async def test_key_signs_for_the_gateway_instead_of_a_secret(make_site: SiteMaker, provider: IdentityProvider) -> None:
    provider.metadata["token_endpoint_auth_methods_supported"] = ["private_key_jwt"]
    pem = EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    make = with_providers(
        ("okta", provider, "private_key_jwt: {file: key.pem, kid: mine}\n"),
        secrets={"identity.providers[1].private_key_jwt": pem},
    )
    async with make_site(make_providers=make, factor_rule=FactorRule()) as site:
        assert (await go(site.browser(), provider)).status == 303
        assertion = next(form["client_assertion"] for path, form in provider.asked if path == "/token")
        assert decoded(assertion, 0) == {"alg": "ES256", "kid": "mine", "typ": "JWT"}
        claims = decoded(assertion, 1)
        assert (claims["iss"], claims["sub"], claims["aud"]) == (CLIENT_ID, CLIENT_ID, provider.issuer)


async def test_rotated_keys_are_fetched_when_a_token_names_a_new_one(site: Site, provider: IdentityProvider) -> None:
    assert (await go(site.browser(), provider)).status == 303
    provider.key, provider.kid = OTHER_RSA_KEY, "k2"
    site.now += 61  # the keys are not fetched more often than that
    moved_on = provider.now
    provider.now = lambda: moved_on() + 61
    assert (await go(site.browser(), provider)).status == 303
    assert provider.count("/keys") == 2


async def test_last_sign_ins_are_remembered_for_operators_without_any_token(
    site: Site, provider: IdentityProvider
) -> None:
    await go(site.browser(), provider, groups=["nobody"])
    site.now += 1
    await go(site.browser(), provider, sid="s-1")
    storing = store_executor()
    federated = FederatedStore(site.store, keyring=site.keyring, executor=storing, longest_s=3600)
    latest, before = federated.sign_ins("okta", now=site.now)
    storing.close()
    assert (latest.outcome, latest.user, latest.roles, latest.fault) == ("signed_in", "carol", ("client",), "")
    assert (before.outcome, before.fault) == ("identity_refused", "no_role")
    assert latest.claims["groups"] == ["portal-users", "everybody"]
    assert not {"nonce", "sid", "at_hash"} & set(latest.claims)
    assert [(step.value, step.result) for step in latest.steps if step.what == "role"] == [
        ("portal-users", "client"),
        ("everybody", ""),
    ]


async def from_provider(site: Site, logout_token: str, **headers: str) -> Answer:
    """Send a logout token as a provider does."""
    body = f"logout_token={logout_token}".encode()
    return await site.browser().send("POST", "/.gateway/oidc/okta/logout", body, list(headers.items()))


async def test_account_page_offers_no_password_to_people_of_a_provider(site: Site, provider: IdentityProvider) -> None:
    browser = site.browser()
    await go(browser, provider)
    page = await browser.get("/.gateway/account")
    assert page.status == 200
    assert "/.gateway/account/password" not in page.text
    assert "your password is changed there" in page.text
    form = await browser.get("/.gateway/account/password")
    answer = await browser.submit(
        form,
        "/.gateway/account/password",
        current_password="x",
        new_password="wren-lantern-copper-44",
        new_password_again="wren-lantern-copper-44",
    )
    assert answer.status in {400, 401}
    (user,) = [user for user in site.store.users() if user.provider == "okta"]
    assert user.password == ""
