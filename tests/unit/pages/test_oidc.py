"""Signing in at an identity provider that behaves: from the button to the session, and out again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.federation import PERSON, with_providers
from tests.fakes.identity_provider import IdentityProvider, identity_provider
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
    async with make_site(make_providers=make, mfa_always=False) as site:
        site.add_user("alice")
        yield site


async def go(browser: Browser, provider: IdentityProvider, start: str = START, **claims: object) -> Answer:
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
    assert answer.names() == ["login.succeeded", "session.created", "claims.ignored"]
    assert {event.provider for event in answer.events} == {"okta"}
    session = site.store.sessions(now=site.now)[0].session
    assert (session.user, session.tenant, session.roles) == ("carol", "acme", ("client",))
    assert (session.provider, session.amr, session.email) == ("okta", ("fed",), "carol@acme.example")
    assert site.counted("gateway_provider_sign_ins_total") == {("okta", "success", "complete"): 1}
