"""An operator, an administrator of one organisation and a stranger at the console of a whole gateway, in a real browser without scripts."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from urllib.request import urlopen

import pyotp
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.installed_gateway import InstalledGateway, installed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PASSWORD = "eleven green kettles in a row"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
STEP_MS = 15_000
RELOAD_S = 30

SETTINGS = """\
version: 1
public_url: https://localhost:{port}
listen:
  - address: 127.0.0.1:{port}
    tls: {{certificate: config/tls/cert.pem, key: config/tls/key.pem}}
admin: {{address: 127.0.0.1:{admin_port}, console: {{enabled: true}}}}
workers: 1
state_dir: state
keyring: config/keyring.json
upstreams:
  portal: {{servers: ["http://127.0.0.1:9"], retry: {{attempts: 0}}}}
policies: policies/
mfa: {{required: always}}
limits:
  login: {{rate: 600/m, burst: 100, per: ip}}
"""

POLICY = """\
version: 1
roles: {client: {}, lead: {includes: [client]}}
routes:
  - name: portal
    match: {path: "/**", methods: [GET]}
    upstream: portal
    action: view
    allow: [{roles: [client]}]
  - name: ledger
    match: {path: /ledger, methods: [GET]}
    upstream: portal
    action: view
    allow:
      - roles: [lead]
        when: request.secure
"""

CASES = """\
version: 1
cases:
  - name: a client sees the portal
    as: {user: ann, tenant: acme, roles: [client]}
    request: GET https://localhost/
    expect: {decision: allow, route: portal}
"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[InstalledGateway]:
    with installed() as gateway:
        settings = SETTINGS.format(port=gateway.port, admin_port=gateway.admin_port)
        gateway.configure(settings, {"portal.yaml": POLICY, "tests/portal.yaml": CASES})
        for name, tenant, role in (
            ("root", "acme", "gateway.admin"),
            ("olga", "globex", "gateway.admin"),
            ("tina", "acme", "gateway.tenant-admin"),
            ("alice", "acme", "lead"),
            ("gwen", "globex", "client"),
        ):
            words = ("--tenant", tenant, "--role", role, "--password-stdin", "--totp-secret", SECRET)
            gateway.verb("user", "add", name, *words, stdin=PASSWORD + "\n")
        gateway.start()
        yield gateway


@pytest.fixture
def browse(chromium: Browser, gateway: InstalledGateway) -> Iterator[Browse]:
    browse = Browse(chromium, gateway)
    yield browse
    browse.close()


class Browse:
    """Opens browsers at the gateway that run no script."""

    def __init__(self, chromium: Browser, gateway: InstalledGateway) -> None:
        self._chromium = chromium
        self._address = f"https://localhost:{gateway.port}"
        self._pages: list[Page] = []

    def __call__(self, name: str) -> Page:
        """Sign somebody in with password and code. A code is good once: nobody signs in twice."""
        context = self._chromium.new_context(
            ignore_https_errors=True, java_script_enabled=False, base_url=self._address
        )
        context.set_default_timeout(STEP_MS)
        page = context.new_page()
        self._pages.append(page)
        page.goto("/.gateway/login")
        page.locator("#username").fill(name)
        page.locator("#password").fill(PASSWORD)
        page.locator("form:has(#password) button[type=submit]").click()
        page.locator("#code").fill(pyotp.TOTP(SECRET).now())
        page.locator("form:has(#code) button[type=submit]").click()
        expect(page.locator("#code")).to_have_count(0)
        return page

    def close(self) -> None:
        for page in self._pages:
            page.context.close()


def test_administrators_read_the_policy_and_manage_people(browse: Browse, gateway: InstalledGateway) -> None:
    alice, root = browse("alice"), browse("root")

    root.goto("/.gateway/admin/")
    expect(root.locator("h1")).to_have_text("Console")
    root.get_by_role("link", name="Routes").first.click()
    root.get_by_label("Role").select_option("lead")
    root.get_by_role("button", name="Search").click()
    expect(root.locator(".rows a")).to_have_text(["ledger", "portal"])
    root.get_by_role("link", name="ledger").click()
    expect(root.locator("pre.policy")).to_have_text("request.secure")
    expect(root.locator("body")).to_contain_text(re.compile(r"policies/portal\.yaml:\d+:\d+"))

    root.get_by_role("link", name="Try a request").last.click()
    expect(root.locator("#url")).to_have_value("https://localhost/ledger")
    root.locator("#who").fill("alice")
    root.get_by_role("button", name="Try it").click()
    expect(root.locator(".verdict")).to_contain_text("Allowed")
    root.locator("#url").fill("http://localhost/ledger")
    root.get_by_role("button", name="Try it").click()
    expect(root.locator(".verdict")).to_contain_text("condition_false")

    root.get_by_role("link", name="People").click()
    root.get_by_label("Name, address, role or organisation").fill("alice")
    root.get_by_role("button", name="Search").click()
    root.get_by_role("link", name="alice").click()
    root.get_by_text("Disable the account").first.click()
    root.get_by_role("button", name="Disable the account").click()
    expect(root.get_by_role("status")).to_contain_text("The account is disabled")
    alice.goto("/.gateway/account")
    expect(alice).to_have_url(re.compile("/.gateway/login"))

    records = gateway.records()
    said = [
        (record["actor"]["user"]["name"], event["name"], event.get("operation", ""), event.get("user", ""))
        for record in records
        for event in record["unmapped"]["gw"].get("events", [])
        if record["unmapped"]["gw"].get("route") == "gateway.admin"
    ]
    assert ("root", "admin", "view routes", "") in said
    assert ("root", "admin", "view person", "alice") in said
    assert ("root", "admin", "try", "alice") in said
    assert ("root", "user.disabled", "", "alice") in said
    intents = [record for record in records if record["unmapped"]["gw"]["phase"] == "intent"]
    assert any(record["http_request"]["url"]["path"].endswith("/disable") for record in intents)
    assert gateway.verb("audit", "verify")


def test_a_tenant_administrator_and_a_stranger_see_what_is_theirs(browse: Browse, gateway: InstalledGateway) -> None:
    tina, gwen = browse("tina"), browse("gwen")
    tina.goto("/.gateway/admin/people")
    expect(tina.locator(".rows a")).to_have_text(["alice", "root", "tina"])
    tina.get_by_role("link", name="root").click()
    expect(tina.locator("main")).to_contain_text("only others who do can change the account")
    expect(tina.locator("form")).to_have_count(0)
    answer = gwen.goto("/.gateway/admin/people")
    nowhere = gwen.goto("/.gateway/nowhere")
    assert answer is not None
    assert nowhere is not None
    assert (answer.status, nowhere.status) == (404, 404)
    refused = [
        record["actor"]["user"]["name"]
        for record in gateway.records()
        if (record["unmapped"]["gw"].get("route"), record["unmapped"]["gw"].get("reason"))
        == ("gateway.admin", "role_missing")
    ]
    assert refused == ["gwen"]

    # Taken on the command line, gone at the next request.
    gateway.verb("user", "role", "tina", "--remove", "gateway.tenant-admin", "--add", "client")
    tina.goto("/.gateway/admin/people")
    expect(tina).to_have_url(re.compile("/.gateway/login"))


def test_no_portal_and_no_listing_is_told_of_the_gateways_roles(gateway: InstalledGateway) -> None:
    explained = json.loads(
        gateway.attempt("policy", "explain", "--as", "root", "GET", "https://localhost/", "--json").stdout
    )
    assert explained["decision"] == "deny"
    sessions = json.loads(gateway.verb("session", "list", "--json"))["sessions"]
    assert all("gateway." not in role for session in sessions for role in session["roles"])
    with urlopen(f"http://127.0.0.1:{gateway.admin_port}/admin/") as answer:
        assert answer.read().decode() == (
            f"the console is on the public listener: https://localhost:{gateway.port}/.gateway/admin/\n"
        )


def test_a_refused_reload_is_told_with_its_place_and_the_console_can_be_closed(
    browse: Browse, gateway: InstalledGateway
) -> None:
    page = browse("olga")
    policy = gateway.home / "policies" / "portal.yaml"
    before = policy.read_text()
    policy.write_text(before.replace("roles: [lead]", "roles: [laed]"))
    assert gateway.attempt("reload").returncode != 0
    page.goto("/.gateway/admin/")
    expect(page.locator("#problems + ul")).to_contain_text(re.compile(r"policies/portal\.yaml:\d+:\d+.*laed"))
    policy.write_text(before)
    settings = gateway.config.read_text()
    gateway.config.write_text(settings.replace("enabled: true", "enabled: false"))
    gateway.verb("reload")
    deadline = time.monotonic() + RELOAD_S
    while (answer := page.goto("/.gateway/admin/")) is not None and answer.status != 404:
        assert time.monotonic() < deadline
    gateway.config.write_text(settings)
    gateway.verb("reload")
