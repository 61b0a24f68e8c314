"""The whole gateway with the certified npm `oidc-provider`: there and back, out here and out there, and while it is away."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import cast

import pytest

from gateway.authn.assurance import FactorRule
from gateway.exchange.session import Session
from gateway.server.relayed_tokens import RelayedTokens
from gateway.store.provider_tokens import ProviderTokens
from tests.fakes.certified_provider import CLIENT, SECRET, CertifiedProvider, Person, private_jwk
from tests.fakes.federation import with_providers
from tests.fakes.identity_provider import IdentityProvider
from tests.fakes.pages_site import HOST, Site, make_state, open_site
from tests.fakes.pages_site import Browser as PagesBrowser
from tests.process.conftest import Browser, Gateway

START = "/.gateway/oidc/node/start"
CLAIMS = {"groups": ["portal-users"], "email": "carol@acme.example", "email_verified": True}
RULES = "roles: {claim: groups, grant: {portal-users: client}}\ntenant: acme\n"
LOCAL = "    - {id: local, type: password}\n"
PROVIDER = """\
    - id: node
      type: oidc
      name: Acme SSO
      issuer: %s
      client_id: %s
      client_secret: {file: config/node}
      roles: {claim: groups, grant: {portal-users: client}}
      tenant: main
      mfa: {amr: [mfa]}
      tokens: {keep: true}
"""


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[CertifiedProvider]:
    provider = CertifiedProvider(tmp_path, claims=CLAIMS, trusts=tmp_path / "g" / "config" / "tls" / "cert.pem")
    yield provider
    provider.stop()


@pytest.fixture
def gateway(make_gateway: Callable[..., Gateway], provider: CertifiedProvider) -> Gateway:
    """One that knows the provider; neither is started."""
    gateway = make_gateway()
    gateway.edit((LOCAL, LOCAL + PROVIDER % (provider.issuer, CLIENT)))
    secret = gateway.directory / "config" / "node"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    provider.add_client(gateway.public_url)
    return gateway


def sign_in(gateway: Gateway, person: Person, address: str = "127.0.0.1") -> Browser:
    browser = Browser(gateway, address=address)
    there = browser.get(START)
    assert there.status == 303, there.body
    back = browser.get(person.sign_in(there.headers["location"]), {"Sec-Fetch-Site": "cross-site"})
    assert (back.status, back.headers.get("location")) == (303, "/"), back.body.decode()[-1500:]
    return browser


def sessions(gateway: Gateway) -> list[str]:
    done = gateway.cli("session", "list", "--json")
    return [item["user"] for item in json.loads(done.stdout)["sessions"]]


def test_whole_life_of_a_sign_in(gateway: Gateway, provider: CertifiedProvider) -> None:
    provider.start()
    gateway.start()
    person = Person(provider)

    # In: the portal is told who it is, and the provider's second factor counts.
    browser = sign_in(gateway, person)
    assert b"carol" in browser.get("/").body
    assert sessions(gateway) == ["carol"]
    assert gateway.metric('gateway_provider_sign_ins_total{outcome="success",provider="node",reason="complete"}') == 1

    # An operator sees what came and what was made of it.
    shown = json.loads(gateway.cli("identity", "last", "--provider", "node", "--json").stdout)["sign_ins"][0]
    assert (shown["outcome"], shown["user"], shown["roles"]) == ("signed_in", "carol", ["client"])
    assert not re.search("eyJ[A-Za-z0-9_-]{20}", json.dumps(shown))
    assert "wrong: identity provider node" not in gateway.cli("doctor").stdout

    # Signed in there already: no form, another session here.
    other = sign_in(gateway, person, "127.0.0.2")
    assert sessions(gateway) == ["carol", "carol"]

    # Out here, then there: the provider ends its session, and tells the gateway of every other one.
    page = other.submit("/.gateway/logout", {})
    target = unescape(page.body.decode().partition('content="0; url=')[2].partition('"')[0])
    assert target.startswith(provider.issuer)
    assert person.sign_out(target) == f"{gateway.public_url}/.gateway/oidc/node/signed-out"
    assert other.get("/").headers["location"].startswith("/.gateway/login")
    assert "backchannel" not in provider.log()  # where its errors would be
    assert sessions(gateway) == []
    assert browser.get("/").headers["location"].startswith("/.gateway/login")
    assert gateway.metric('gateway_provider_logouts_total{outcome="success",provider="node",reason="done"}') >= 1

    # A person who says no there gets a sentence, not the provider's words.
    refused = Browser(gateway)
    back = Person(provider, "nobody").sign_in(refused.get(START).headers["location"])
    answer = refused.get(back)
    assert (answer.status, b"stopped the sign-in" in answer.body) == (401, True)

    # All of it is in the trail.
    trail = gateway.cli("audit", "query", "--json").stdout
    for event in ("login.succeeded", "provider.logout", "session.revoked", "login.failed"):
        assert event in trail
    assert "code=" not in trail


def test_gateway_starts_and_sessions_live_while_the_provider_is_away(
    gateway: Gateway, provider: CertifiedProvider
) -> None:
    """oauth2-proxy #3487: a gateway that does not start while its provider is down doubles the outage."""
    gateway.edit(
        ("      tenant: main\n", '      tenant: main\n      par: "off"\n')
    )  # else the way there begins with a question
    gateway.start()
    browser = Browser(gateway)
    answer = browser.get(START)
    assert (answer.status, answer.headers["retry-after"]) == (503, "10")
    assert b"Sign-in is not possible right now" in answer.body
    assert gateway.metric('gateway_provider_degraded{provider="node"}') == 1
    assert gateway.ready()[0] == 200

    provider.start()
    gateway.wait_until(lambda: browser.get(START).status == 303)
    browser = sign_in(gateway, Person(provider))
    provider.stop()
    assert browser.get("/").status == 200

    # Last good metadata survives a restart: only the code cannot be redeemed.
    gateway.stop()
    gateway.start()
    assert browser.get("/").status == 200
    assert Browser(gateway).get(START).status == 303


async def test_rotated_keys_and_refreshed_tokens(tmp_path: Path) -> None:
    """The pages alone, under a clock that moves: keys are not fetched twice within a minute, tokens last one."""
    provider = CertifiedProvider(tmp_path, claims=CLAIMS)
    provider.settings["access_token_s"] = 60
    provider.add_client(f"https://{HOST}", back_channel=False)
    state, house = tmp_path / "state", tmp_path / "site"
    house.mkdir()
    keyring = make_state(state)
    rules = f"name: Acme SSO\nclient_id: {CLIENT}\ntokens: {{keep: true}}\n{RULES}"
    make = with_providers(
        ("node", cast("IdentityProvider", provider), rules),
        secrets={"identity.providers[1].client_secret": SECRET.encode()},
    )
    try:
        provider.start()
        async with open_site(house, state, keyring, make_providers=make, factor_rule=FactorRule()) as site:
            site.now = time.time()
            person = Person(provider)
            browser, session = await _sign_in(site, person)
            tokens = ProviderTokens(site.store.rows, site.store.sealer, keyring)
            relayed = RelayedTokens(tokens, lambda: str(site.path), patience_s=60.0)
            cookie = browser.jar["__Host-gw"].encode()
            first = await asyncio.to_thread(relayed.token, "access", cookie, session, site.now)
            site.now += 61
            for _ in range(2):
                second = await asyncio.to_thread(relayed.token, "access", cookie, session, site.now)
                assert second not in {"", first}
            provider.stop()
            provider.settings["keys"] = [private_jwk("k2")]
            provider.start()
            await _sign_in(site, Person(provider))
    finally:
        provider.stop()


async def _sign_in(site: Site, person: Person) -> tuple[PagesBrowser, Session]:
    browser = site.browser()
    there = await browser.get(START)
    back = await browser.get(await asyncio.to_thread(person.sign_in, there.location))
    assert back.status == 303, back.text
    return browser, site.store.sessions(now=site.now)[0].session
