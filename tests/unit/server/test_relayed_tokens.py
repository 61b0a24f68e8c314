"""Tokens for portals: fresh ones, refreshed once however many ask, and none where none can be had."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from gateway.authn.assurance import FactorRule
from gateway.exchange.session import Session
from gateway.federation.refresh import Freshness
from gateway.server.relayed_tokens import RelayedTokens
from gateway.store.keyring import Keyring
from gateway.store.provider_tokens import ProviderTokens
from tests.fakes.federation import PERSON, with_providers
from tests.fakes.identity_provider import IdentityProvider, decoded, identity_provider
from tests.fakes.pages_site import Browser, Site, make_state, open_site

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def empty_state(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Keyring]:
    directory = tmp_path_factory.mktemp("state")
    return directory, make_state(directory)


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    async with identity_provider(lambda: NOW) as provider:
        yield provider


@pytest.fixture
async def site(tmp_path: Path, empty_state: tuple[Path, Keyring], provider: IdentityProvider) -> AsyncIterator[Site]:
    make = with_providers(("okta", provider, "tokens: {keep: true}\n"))
    async with open_site(tmp_path, *empty_state, make_providers=make, factor_rule=FactorRule()) as site:
        provider.now = lambda: site.now
        yield site


@pytest.fixture
def relayed(site: Site) -> RelayedTokens:
    tokens = ProviderTokens(site.store.rows, site.store.sealer, site.keyring)
    return RelayedTokens(tokens, lambda: str(site.path), patience_s=60.0)


async def sign_in(site: Site, provider: IdentityProvider) -> tuple[Browser, Session]:
    browser = site.browser()
    there = await browser.get("/.gateway/oidc/okta/start")
    answer = await browser.get(provider.sign_in(there.location, **PERSON))
    assert answer.status == 303
    return browser, site.store.sessions(now=site.now)[0].session


async def ask(site: Site, relayed: RelayedTokens, browser: Browser, session: Session, kind: str = "access") -> str:
    """As the edge asks: in a thread."""
    token = browser.jar["__Host-gw"].encode()
    return await asyncio.to_thread(partial(relayed.token, kind, token, session, site.now))


async def test_tokens_are_told_as_long_as_they_are_good(
    site: Site, provider: IdentityProvider, relayed: RelayedTokens
) -> None:
    browser, session = await sign_in(site, provider)
    assert (await ask(site, relayed, browser, session)).startswith("access-")
    assert decoded(await ask(site, relayed, browser, session, "id"), 1)["sub"] == "248289761001"
    assert provider.count("/token") == 1


async def test_another_cookie_opens_no_token(site: Site, provider: IdentityProvider, relayed: RelayedTokens) -> None:
    one, session = await sign_in(site, provider)
    other, _ = await sign_in(site, provider)
    one.jar = other.jar
    assert await ask(site, relayed, one, session) == ""


async def test_fifty_requests_at_once_use_a_refresh_token_once(
    site: Site, provider: IdentityProvider, relayed: RelayedTokens
) -> None:
    """oauth2-proxy #1992: rotating refresh tokens make parallel refreshes destructive, and browsers fire in parallel."""
    browser, session = await sign_in(site, provider)
    site.now += 290
    found = await asyncio.gather(*(ask(site, relayed, browser, session) for _ in range(50)))
    assert len(set(found)) == 1
    assert found[0].startswith("access-")
    assert provider.count("/token") == 2
    assert site.counted("gateway_provider_refreshes_total") == {("okta", "fresh"): 1}


async def test_two_nodes_use_a_refresh_token_once(
    site: Site, provider: IdentityProvider, tmp_path: Path, empty_state: tuple[Path, Keyring]
) -> None:
    browser, session = await sign_in(site, provider)
    token = browser.jar["__Host-gw"].encode()
    site.now += 290
    here, there = (
        with_providers(("okta", provider, "tokens: {keep: true}\n"))(
            store=site.store,
            keyring=site.keyring,
            executor=_Inline(),
            openings=site.accounts.openings,
            registry=site.registry,
            clock=lambda: site.now,
        )
        for _ in range(2)
    )
    try:
        done = await asyncio.gather(*(node.freshen(token, session.handle) for node in (here, there) for _ in range(5)))
        assert done == [True] * 10
        assert provider.count("/token") == 2
    finally:
        await here.close()
        await there.close()


class _Inline:
    """Runs at once what the store's thread would run."""

    async def run(self, work: object) -> object:
        await asyncio.sleep(0)
        assert callable(work)
        return work()


async def test_refresh_token_that_was_refused_is_not_tried_again(
    site: Site, provider: IdentityProvider, relayed: RelayedTokens
) -> None:
    browser, session = await sign_in(site, provider)
    provider.refresh_tokens.clear()
    site.now += 301
    for _ in range(3):
        assert await ask(site, relayed, browser, session) == ""
    assert provider.count("/token") == 2
    assert site.counted("gateway_provider_refreshes_total") == {("okta", Freshness.REFUSED): 1}


async def test_provider_that_is_away_leaves_the_refresh_token_for_later(
    site: Site, provider: IdentityProvider, relayed: RelayedTokens
) -> None:
    browser, session = await sign_in(site, provider)
    site.now += 301

    async def away(_request: web.Request) -> web.Response:
        return web.Response(status=503)

    provider.instead["/token"] = away
    assert await ask(site, relayed, browser, session) == ""
    provider.instead.clear()
    assert (await ask(site, relayed, browser, session)).startswith("access-")


async def test_provider_that_keeps_silent_holds_up_one_request_and_no_other(
    site: Site, provider: IdentityProvider
) -> None:
    """attack: each request of everybody waits a minute for fresher tokens, although those that there are still hold."""
    asked = 0

    def pages() -> str:
        nonlocal asked
        asked += 1
        return str(site.path)

    tokens = ProviderTokens(site.store.rows, site.store.sealer, site.keyring)
    relayed = RelayedTokens(tokens, pages, patience_s=0.2)
    browser, session = await sign_in(site, provider)
    first = await ask(site, relayed, browser, session)
    site.now += 290
    speaks = asyncio.Event()

    async def silent(_request: web.Request) -> web.Response:
        await speaks.wait()
        return web.Response(status=503)

    provider.instead["/token"] = silent
    try:
        assert [await ask(site, relayed, browser, session) for _ in range(5)] == [first] * 5
        assert asked == 1
    finally:
        speaks.set()


async def test_refreshed_tokens_of_somebody_else_are_refused(
    site: Site, provider: IdentityProvider, relayed: RelayedTokens
) -> None:
    browser, session = await sign_in(site, provider)
    provider.claims = {"sub": "somebody-else"}
    site.now += 301
    assert await ask(site, relayed, browser, session) == ""


async def test_client_cannot_have_tokens_refreshed(site: Site, provider: IdentityProvider) -> None:
    browser, _ = await sign_in(site, provider)
    for method in ("POST", "GET"):
        answer = await browser.send(method, "/.gateway/oidc/freshen", b"" if method == "POST" else None)
        assert answer.status == 404
    assert provider.count("/token") == 1
