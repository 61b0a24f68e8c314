"""Chromium signs in at the certified provider and out again: what cookies, redirects and our own policy let through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.e2e.wiki_story import CHROMIUM, FLAGS
from tests.fakes.certified_provider import CLIENT, SECRET, CertifiedProvider
from tests.machine import cannot_run
from tests.process.conftest import Gateway
from tests.process.test_identity_provider import CLAIMS, LOCAL, PROVIDER


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[CertifiedProvider]:
    provider = CertifiedProvider(tmp_path, claims=CLAIMS)
    yield provider
    provider.stop()


@pytest.fixture
def gateway(make_gateway: Callable[..., Gateway], provider: CertifiedProvider) -> Gateway:
    gateway = make_gateway(workers=1)
    domains = "      domains: [acme.example]\n"
    gateway.edit((LOCAL, LOCAL + PROVIDER % (provider.issuer, CLIENT) + domains))
    secret = gateway.directory / "config" / "node"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    provider.add_client(gateway.public_url, back_channel=False)
    provider.start()
    gateway.start()
    return gateway


def test_chromium_signs_in_by_address_and_out_everywhere(gateway: Gateway, provider: CertifiedProvider) -> None:
    if not CHROMIUM.exists():
        cannot_run(f"not installed: {CHROMIUM}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = chromium.new_page(ignore_https_errors=True)
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)

        # The address leads there; a form may not be redirected to another origin, so the page goes on by itself.
        page.goto(f"{gateway.public_url}/")
        page.get_by_label("E-mail address at work").fill("carol@acme.example")
        page.get_by_role("button", name="Continue").click()
        page.wait_for_url(f"{provider.issuer}/**")
        page.locator("[name=username]").fill("carol")
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{gateway.public_url}/")
        assert "carol" in page.content()

        # Out here, and there: the provider asks, and sends the browser back to a page that says so.
        page.goto(f"{gateway.public_url}/.gateway/logout")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{provider.issuer}/session/end**")
        page.get_by_role("button", name="Yes, sign me out").click()
        page.wait_for_url(f"{gateway.public_url}/.gateway/login?reason=signed_out")
        assert "You are signed out" in page.content()

        # The way that was used last comes first.
        assert "Last used" in page.get_by_role("link", name="Sign in with Acme SSO").inner_text()
        assert not [text for text in complaints if "Content Security Policy" in text], complaints
        chromium.close()
