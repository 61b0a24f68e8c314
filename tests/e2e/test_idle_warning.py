"""The warning before a session ends, and the page that asks which session shall end, in a real browser under our own CSP.

With `GATEWAY_SCREENSHOTS=DIR` it leaves pictures of both there, for a person to judge.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.installed_gateway import InstalledGateway, installed
from tests.node import node_modules

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PASSWORD = "eleven green kettles in a row"
PATIENCE_MS = 60_000
PICTURES = os.environ.get("GATEWAY_SCREENSHOTS", "")
STANDARD = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

# Twelve seconds to look at each thing, and to sign in a second time: what a busy machine takes for that.
SETTINGS = """\
version: 1
public_url: http://localhost:{port}
listen:
  - {{address: "127.0.0.1:{port}", unsafe_plaintext: true}}
admin: {{address: 127.0.0.1:{admin_port}}}
workers: 1
state_dir: state
keyring: config/keyring.json
upstreams:
  portal: {{servers: ["http://127.0.0.1:9"], retry: {{attempts: 0}}}}
policies: policies/
mfa: {{required: enrolled}}
sessions: {{idle: 24s, warn: 12s, concurrent: 1, when_full: refuse}}
limits:
  login: {{rate: 600/m, burst: 100, per: ip}}
"""

POLICY = """\
version: 1
roles: {client: {}}
routes:
  - name: portal
    match: {path: "/**", methods: [GET]}
    upstream: portal
    allow: [{roles: [client]}]
"""

CASES = """\
version: 1
cases:
  - name: a client sees the portal
    as: {user: ann, tenant: acme, roles: [client]}
    request: GET http://localhost/
    expect: {decision: allow, route: portal}
  - name: nobody else does
    as: {user: ann, tenant: acme, roles: []}
    request: GET http://localhost/
    expect: {decision: deny}
"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[InstalledGateway]:
    with installed() as gateway:
        settings = SETTINGS.format(port=gateway.port, admin_port=gateway.admin_port)
        gateway.configure(settings, {"portal.yaml": POLICY, "tests/portal.yaml": CASES})
        common = ("--tenant", "acme", "--role", "client", "--password-stdin", "--self-enrol")
        for name in ("ann", "bob", "cyd"):  # one for each test: a second session is refused
            gateway.verb("user", "add", name, *common, stdin=PASSWORD + "\n")
        gateway.start()
        yield gateway


@pytest.fixture
def open_page(chromium: Browser, gateway: InstalledGateway) -> Iterator[Any]:
    opened: list[BrowserContext] = []

    def make(**options: Any) -> Page:
        context = chromium.new_context(base_url=f"http://localhost:{gateway.port}", **options)
        context.set_default_timeout(PATIENCE_MS)
        opened.append(context)
        return context.new_page()

    yield make
    for context in opened:
        context.close()


def sign_in(page: Page, name: str) -> None:
    page.goto("/.gateway/login?return_to=/.gateway/account")
    page.locator("#username").fill(name)
    page.locator("#password").fill(PASSWORD)
    with page.expect_navigation():
        page.locator("form:has(#username) button[type=submit]").click()


def judge(page: Page, what: str) -> None:
    """Have axe-core look at the page, which lets scripts in for it."""
    page.evaluate((node_modules(Path(__file__).parent / "axe") / "axe-core" / "axe.min.js").read_text("utf-8"))
    found = page.evaluate("tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", STANDARD)
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{what}.png")
    assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found["violations"]] == []


def test_a_person_is_warned_stays_and_is_told_when_it_is_over(open_page: Any) -> None:
    page = open_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text) if message.type == "error" else None)
    sign_in(page, "ann")
    page.goto("/.gateway/account")
    dialog = page.locator("dialog#idle")
    expect(dialog).to_be_hidden()
    expect(dialog).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_role("button", name="Stay signed in")).to_be_focused()
    expect(dialog.get_by_role("timer")).to_contain_text("0:")
    page.get_by_role("button", name="Stay signed in").click()
    expect(dialog).to_be_hidden()
    told = page.evaluate("fetch('/.gateway/session').then(answer => answer.json())")
    assert told["signed_in"]
    assert told["idle_s"] > 12, "the click was a use of the session"
    expect(dialog).to_be_visible(timeout=PATIENCE_MS)
    expect(dialog.get_by_text("You have been signed out.")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_role("button", name="Stay signed in")).to_be_hidden()
    dialog.get_by_role("link", name="Sign in again").click()
    expect(page.locator("#username")).to_be_visible()
    assert refused == [], "our own policy let everything pass that the script does"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_warning_and_the_choice_of_a_session_have_no_barriers(open_page: Any, scheme: str) -> None:
    page = open_page(bypass_csp=True, color_scheme=scheme)
    sign_in(page, "bob")
    page.goto("/.gateway/account")
    expect(page.locator("dialog#idle")).to_be_visible(timeout=PATIENCE_MS)
    judge(page, f"idle-{scheme}")
    page.get_by_role("button", name="Stay signed in").click()
    other = open_page(bypass_csp=True, color_scheme=scheme)
    sign_in(other, "bob")
    assert other.url.endswith("/.gateway/sessions")
    judge(other, f"sessions-{scheme}")
    other.get_by_role("button", name="Sign out there").click()
    expect(other).to_have_url(re.compile(r"/\.gateway/account$"))
    page.goto("/.gateway/account")
    assert "/.gateway/login" in page.url, "that one was signed out"
    other.goto("/.gateway/logout")
    other.get_by_role("button", name="Sign out").click()


def test_without_scripts_nothing_is_shown_and_nothing_breaks(open_page: Any) -> None:
    page = open_page(java_script_enabled=False)
    sign_in(page, "cyd")
    page.goto("/.gateway/account")
    expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    expect(page.locator("dialog#idle")).to_be_hidden()
