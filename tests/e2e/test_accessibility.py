"""Every page of ours in a real browser against axe-core: WCAG 2.2 AA, light and dark, wide and narrow, English and German.

With `GATEWAY_SCREENSHOTS=DIR` it leaves a picture of each page there, for a person to judge.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pyotp
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

from tests.e2e.installed_gateway import InstalledGateway
from tests.e2e.wiki_story import CHROMIUM, FLAGS
from tests.fakes import mail_server
from tests.fakes.mail_server import MailServer, mail_server_in_a_thread
from tests.machine import cannot_run
from tests.node import node_modules

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PASSWORD = "eleven green kettles in a row"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
STANDARD = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
STEP_MS = 15_000
PICTURES = os.environ.get("GATEWAY_SCREENSHOTS", "")

SETTINGS = """\
version: 1
public_url: https://localhost:{port}
listen:
  - address: 127.0.0.1:{port}
    tls: {{certificate: config/tls/cert.pem, key: config/tls/key.pem}}
admin: {{address: 127.0.0.1:{admin_port}}}
workers: 1
state_dir: state
keyring: config/keyring.json
upstreams:
  portal: {{servers: ["http://127.0.0.1:9"], retry: {{attempts: 0}}}}
policies: policies/
mfa: {{required: always}}
limits:
  login: {{rate: 600/m, burst: 100, per: ip}}
mail:
  smtp: {{host: localhost, port: {mail_port}, username: {mail_user}, password: {{file: config/smtp}}, ca: config/mail-ca.pem}}
  from: The portal <portal@example.com>
"""

POLICY = """\
version: 1
roles:
  client: {}
  admin: {}
routes:
  - name: portal
    match: {path: "/**", methods: [GET, POST]}
    upstream: portal
    action: view
    allow:
      - roles: [client]
  - name: administration
    match: {path: "/administration", methods: [GET]}
    upstream: portal
    action: admin
    allow:
      - roles: [admin]
"""

CASES = """\
cases:
  - name: a client sees the portal
    as: {user: ann, tenant: acme, roles: [client]}
    request: GET https://localhost/
    expect: {decision: allow, route: portal}
  - name: a client is no administrator
    as: {user: ann, tenant: acme, roles: [client]}
    request: GET https://localhost/administration
    expect: {decision: deny}
  - name: an administrator is one
    as: {user: ann, tenant: acme, roles: [admin]}
    request: GET https://localhost/administration
    expect: {decision: allow, route: administration}
  - name: nobody else sees it
    as: {user: ann, tenant: acme, roles: []}
    request: GET https://localhost/
    expect: {decision: deny}
"""


@pytest.fixture(scope="module")
def post() -> Iterator[MailServer]:
    with mail_server_in_a_thread() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(post: MailServer) -> Iterator[InstalledGateway]:
    if not CHROMIUM.exists():
        cannot_run("not installed: chromium; tests/install-packages installs it")
    base = Path(tempfile.mkdtemp(prefix="gw-"))  # short: Unix socket paths end at 107 bytes
    gateway = InstalledGateway.init(base / "g")
    try:
        settings = SETTINGS.format(
            port=gateway.port, admin_port=gateway.admin_port, mail_port=post.port, mail_user=mail_server.USER
        )
        config = base / "g" / "config"
        (config / "smtp").write_text(mail_server.PASSWORD)
        (config / "smtp").chmod(0o600)
        (config / "mail-ca.pem").write_bytes(post.authority)
        gateway.configure(settings, {"portal.yaml": POLICY, "tests/portal.yaml": "version: 1\n" + CASES})
        common = ("--tenant", "acme", "--role", "client", "--password-stdin")
        for name in LOOKS:
            gateway.verb("user", "add", f"ann-{name}", *common, "--totp-secret", SECRET, stdin=PASSWORD + "\n")
            gateway.verb("user", "add", f"bob-{name}", *common, "--self-enrol", stdin=PASSWORD + "\n")
            address = ("--email", f"eve-{name}@example.com")
            gateway.verb("user", "add", f"eve-{name}", *common, *address, "--self-enrol", stdin=PASSWORD + "\n")
        gateway.start()
        yield gateway
    finally:
        print(gateway.said()[-4000:])
        gateway.stop()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def axe() -> str:
    """The checker itself, to be run in the page."""
    return (node_modules(Path(__file__).parent / "axe") / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield browser
    browser.close()


class Reader:
    """Somebody who looks at every page, and for whom axe looks too."""

    def __init__(self, context: BrowserContext, axe: str, name: str) -> None:
        self.page: Page = context.new_page()
        self._axe = axe
        self.name = name
        self.findings: list[str] = []
        self.seen = 0

    def look(self, what: str) -> None:
        """Judge the page that is open."""
        self.seen += 1
        self.page.evaluate(self._axe)
        result: dict[str, Any] = self.page.evaluate(
            "standard => axe.run(document, {runOnly: {type: 'tag', values: standard}})", STANDARD
        )
        for violation in result["violations"]:
            for node in violation["nodes"]:
                self.findings.append(f"{self.name}, {what}: {violation['id']}: {node['target']}: {node['html'][:200]}")
        if PICTURES:
            self.page.screenshot(path=Path(PICTURES) / f"{what}-{self.name}.png", full_page=True)

    def open(self, path: str, what: str) -> None:
        """Go there and look."""
        self.page.goto(path)
        self.look(what)

    def submit(self, what: str) -> None:
        """Send the first form of the page and look at what comes."""
        with self.page.expect_navigation():
            self.page.locator("form button[type=submit]").first.click()
        self.look(what)

    def submit_wrong(self) -> None:
        """Give a password that is none."""
        self.sign_in("nobody", "not the password of anybody")
        self.look("login-wrong")

    def sign_in(self, name: str, password: str = PASSWORD) -> None:
        """Fill the sign-in form and send it."""
        self.page.goto("/.gateway/login")
        self.page.locator("#username").fill(name)
        self.page.locator("#password").fill(password)
        with self.page.expect_navigation():
            self.page.locator("form button[type=submit]").first.click()


LOOKS: dict[str, dict[str, Any]] = {
    "light": {"locale": "en-GB", "color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"locale": "en-GB", "color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "narrow": {"locale": "de-AT", "color_scheme": "light", "viewport": {"width": 320, "height": 640}},
}
"""320 CSS pixels are what WCAG 1.4.10 (reflow) asks for."""


@pytest.fixture(params=LOOKS)
def reader(request: pytest.FixtureRequest, chromium: Browser, gateway: InstalledGateway, axe: str) -> Iterator[Reader]:
    context = chromium.new_context(
        ignore_https_errors=True,
        bypass_csp=True,  # axe is a script, and our pages let none in
        base_url=f"https://localhost:{gateway.port}",
        **LOOKS[request.param],
    )
    context.set_default_timeout(STEP_MS)
    reader = Reader(context, axe, request.param)
    yield reader
    context.close()
    assert reader.seen
    assert reader.findings == []


def test_pages_before_sign_in_have_no_barriers(reader: Reader) -> None:
    reader.open("/.gateway/login", "login")
    reader.open("/.gateway/login?reason=signed_out", "login-signed-out")
    reader.submit_wrong()
    reader.open("/.gateway/logout", "logout-nobody")
    reader.open("/.gateway/nowhere", "error-404")
    reader.open("/.gateway/kept", "login-for-kept")


def test_a_forgotten_password_has_no_barriers(reader: Reader, post: MailServer) -> None:
    earlier = len(post.arrived)
    reader.open("/.gateway/reset", "reset")
    reader.page.locator("#username").fill(f"eve-{reader.name}")
    reader.submit("reset-code")
    reader.page.locator("#code").fill("00000000")
    reader.submit("reset-code-wrong")
    deadline = time.monotonic() + 30
    while len(post.arrived) == earlier and time.monotonic() < deadline:
        time.sleep(0.1)
    (mail,) = post.mails()[earlier:]
    if PICTURES:
        picture_of(mail, reader)
    code = re.search(r"\d{4} \d{4}", post.texts()[-1])
    assert code is not None
    reader.page.locator("#code").fill(code[0])
    reader.submit("reset-password")
    reader.page.locator("#new_password").fill("qwertyuiopasdfghjkl")
    reader.page.locator("#new_password_again").fill("qwertyuiopasdfghjkl")
    reader.submit("reset-password-weak")
    reader.page.locator("#new_password").fill("nine slow trams in the rain")
    reader.page.locator("#new_password_again").fill("nine slow trams in the rain")
    reader.submit("login-after-reset")


def picture_of(mail: EmailMessage, reader: Reader) -> None:
    """Leave a picture of a letter as a mail program shows it."""
    body = mail.get_body(("html",))
    assert body is not None
    page = reader.page.context.new_page()
    page.set_content(body.get_content())
    page.screenshot(path=Path(PICTURES) / f"letter-{reader.name}.png", full_page=True)
    page.close()


def test_the_pages_of_somebody_signed_in_have_no_barriers(reader: Reader) -> None:
    reader.sign_in(f"ann-{reader.name}")
    reader.look("mfa")
    reader.open("/.gateway/mfa?method=recovery", "mfa-recovery")
    reader.page.goto("/.gateway/mfa")
    reader.page.locator("#code").fill("000000")
    reader.submit("mfa-wrong")
    reader.page.locator("#code").fill(pyotp.TOTP(SECRET).now())
    reader.submit("error-502")
    for path in ("account", "account/password", "account/recovery", "enrol", "enrol/renew", "kept", "login", "logout"):
        reader.open(f"/.gateway/{path}", path.replace("/", "-") + "-signed-in")
    reader.open("/administration", "error-403")


def test_setting_up_a_second_factor_has_no_barriers(reader: Reader) -> None:
    reader.sign_in(f"bob-{reader.name}")
    reader.look("enrol")
    reader.page.locator("details summary").first.click()
    reader.look("enrol-by-hand")
    secret = reader.page.locator("code.secret").inner_text()
    reader.page.locator("#code").fill(pyotp.TOTP(re.sub(r"\s", "", secret)).now())
    reader.submit("codes")
