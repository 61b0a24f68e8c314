"""An operator, an administrator of one organisation and a stranger at the console of a whole gateway, in a real browser without scripts."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from urllib.error import HTTPError
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


@pytest.fixture
def gateway() -> Iterator[InstalledGateway]:
    with installed() as gateway:
        settings = SETTINGS.format(port=gateway.port, admin_port=gateway.admin_port)
        gateway.write(settings, {"portal.yaml": POLICY, "tests/portal.yaml": CASES})
        for name, tenant, role in (
            ("root", "acme", "gateway.admin"),
            ("tina", "acme", "gateway.tenant-admin"),
            ("gwen", "globex", "lead"),
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


def test_what_administrators_read_and_do_and_nobody_else_finds(browse: Browse, gateway: InstalledGateway) -> None:
    root, tina, gwen = browse("root"), browse("tina"), browse("gwen")
    read_the_policy(root)
    try_requests(root)
    see_their_own_alone(tina)
    find_nothing(gwen)

    # Taken on the command line, gone at the next request.
    gateway.verb("user", "role", "tina", "--remove", "gateway.tenant-admin", "--add", "client")
    tina.goto("/.gateway/admin/people")
    expect(tina).to_have_url(re.compile("/.gateway/login"))

    disable(root, "gwen")
    gwen.goto("/.gateway/account")
    expect(gwen).to_have_url(re.compile("/.gateway/login"))

    be_told_of_a_refused_reload(root, gateway)
    be_closed(root, gateway)
    require_records(gateway)


def read_the_policy(page: Page) -> None:
    page.goto("/.gateway/admin/")
    expect(page.locator("h1")).to_have_text("Console")
    page.get_by_role("link", name="Routes").first.click()
    page.get_by_label("Role").select_option("lead")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".rows a")).to_have_text(["ledger", "portal"])
    page.get_by_role("link", name="ledger").click()
    expect(page.locator("pre.policy")).to_have_text("request.secure")
    expect(page.locator("body")).to_contain_text(re.compile(r"policies/portal\.yaml:\d+:\d+"))


def try_requests(page: Page) -> None:
    """Try the route that is shown."""
    page.get_by_role("link", name="Try a request").last.click()
    expect(page.locator("#url")).to_have_value("https://localhost/ledger")
    page.locator("#who").fill("gwen")
    page.get_by_role("button", name="Try it").click()
    expect(page.locator(".verdict")).to_contain_text("Allowed")
    page.locator("#url").fill("http://localhost/ledger")
    page.get_by_role("button", name="Try it").click()
    expect(page.locator(".verdict")).to_contain_text("condition_false")


def see_their_own_alone(page: Page) -> None:
    """Look for people as the administrator of one organisation."""
    page.goto("/.gateway/admin/people")
    expect(page.locator(".rows a")).to_have_text(["root", "tina"])
    page.get_by_role("link", name="root").click()
    expect(page.locator("main")).to_contain_text("only others who do can change the account")
    expect(page.locator("form")).to_have_count(0)


def find_nothing(page: Page) -> None:
    """Try the addresses as somebody without a role of the gateway's own."""
    answer, nowhere = page.goto("/.gateway/admin/people"), page.goto("/.gateway/nowhere")
    assert answer is not None
    assert nowhere is not None
    assert (answer.status, nowhere.status) == (404, 404)


def disable(page: Page, name: str) -> None:
    page.goto("/.gateway/admin/")
    page.get_by_role("link", name="People").click()
    page.get_by_label("Name, address, role or organisation").fill(name)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=name).click()
    page.get_by_text("Disable the account").first.click()
    page.get_by_role("button", name="Disable the account").click()
    expect(page.get_by_role("status")).to_contain_text("The account is disabled")


def be_told_of_a_refused_reload(page: Page, gateway: InstalledGateway) -> None:
    policy = gateway.home / "policies" / "portal.yaml"
    before = policy.read_text()
    policy.write_text(before.replace("roles: [lead]", "roles: [laed]"))
    assert gateway.attempt("reload").returncode != 0
    page.goto("/.gateway/admin/")
    expect(page.locator("#problems + ul")).to_contain_text(re.compile(r"policies/portal\.yaml:\d+:\d+.*laed"))
    policy.write_text(before)


def be_closed(page: Page, gateway: InstalledGateway) -> None:
    """Have a reload close the console; the other listener says so."""
    console = f"http://127.0.0.1:{gateway.admin_port}/admin/"
    with urlopen(console) as answer:
        assert answer.read().decode() == (
            f"the console is on the public listener: https://localhost:{gateway.port}/.gateway/admin/\n"
        )
    gateway.config.write_text(gateway.config.read_text().replace("enabled: true", "enabled: false"))
    gateway.verb("reload")
    deadline = time.monotonic() + RELOAD_S
    while (shown := page.goto("/.gateway/admin/")) is not None and shown.status != 404:
        assert time.monotonic() < deadline
    with pytest.raises(HTTPError, match="404"):
        urlopen(console)


def require_records(gateway: InstalledGateway) -> None:
    records = gateway.records()
    said = [
        (
            record["actor"]["user"]["name"],
            event["name"],
            event.get("operation", ""),
            event.get("user", ""),
            event.get("reason", ""),
        )
        for record in records
        for event in record["unmapped"]["gw"].get("events", [])
        if record["unmapped"]["gw"].get("route") == "gateway.admin"
    ]
    assert ("root", "admin", "view routes", "", "") in said
    assert ("root", "admin", "view person", "gwen", "") in said
    assert ("root", "admin", "try", "gwen", "") in said
    assert ("root", "user.disabled", "", "gwen", "") in said
    assert [event for event in said if event[-1]] == [("gwen", "admin", "enter", "", "role_missing")]
    intents = [record for record in records if record["unmapped"]["gw"]["phase"] == "intent"]
    assert any(record["http_request"]["url"]["path"].endswith("/disable") for record in intents)
    assert gateway.verb("audit", "verify")
