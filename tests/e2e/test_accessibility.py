"""Every page of ours in a real browser against axe-core: WCAG 2.2 AA, light and dark, wide and narrow, English and German.

With `GATEWAY_SCREENSHOTS=DIR` it leaves a picture of each page there, for a person to judge.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pyotp
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from gateway.pages.look import Look
from tests.e2e.installed_gateway import InstalledGateway, installed
from tests.fakes import certified_provider, mail_server
from tests.fakes.certified_provider import CertifiedProvider
from tests.fakes.mail_server import MailServer, mail_server_in_a_thread
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
admin: {{address: 127.0.0.1:{admin_port}, console: {{enabled: true}}}}
workers: 1
state_dir: state
keyring: config/keyring.json
upstreams:
  portal: {{servers: ["http://127.0.0.1:9"], retry: {{attempts: 0}}}}
policies: policies/
candidate: candidate/
mfa: {{required: always}}
limits:
  login: {{rate: 600/m, burst: 100, per: ip}}
mail:
  smtp: {{host: localhost, port: {mail_port}, username: {mail_user}, password: {{file: config/smtp}}, ca: config/mail-ca.pem}}
  from: The portal <portal@example.com>
"""

CROWDED = """\
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
  wiki:
    servers: ["http://127.0.0.1:9"]
    retry: {{attempts: 0}}
    cookies: {{vault: http_only}}
    sign_on:
      type: form
      page: /login
      fields: {{u: username, p: password}}
policies: policies/
identity:
  providers:
    - {{id: local, type: password}}
    - id: node
      type: oidc
      name: Acme single sign-on
      issuer: {issuer}
      client_id: {client}
      client_secret: {{file: config/node}}
      roles: {{claim: groups, grant: {{nobody-has-this: client}}}}
      tenant: acme
      domains: [acme.example]
    - id: away
      type: oidc
      name: A service that is away
      issuer: http://127.0.0.1:9
      client_id: portal
      client_secret: {{file: config/node}}
      roles: {{claim: groups, grant: {{nobody-has-this: client}}}}
      tenant: acme
mfa: {{required: always, remember_device: 30d}}
sessions:
  warn: 2m
  when_full: refuse
  roles: {{hasty: {{idle: 12s}}, crowded: {{concurrent: 1}}}}
limits:
  login: {{rate: 600/m, burst: 100, per: ip}}
"""
# Everything that only some have. Browsers use passkeys on localhost without TLS, and not under a certificate of ours.

CROWDED_POLICY = """\
version: 1
roles: {client: {}, hasty: {includes: [client]}, crowded: {includes: [client]}}
routes:
  - name: portal
    match: {path: "/**", methods: [GET, POST]}
    upstream: portal
    action: view
    allow: [{roles: [client]}]
  - name: wiki
    match: {path: "/wiki/**", methods: [GET]}
    upstream: wiki
    allow: [{roles: [client]}]
  - name: treasury
    match: {path: /treasury, methods: [GET]}
    upstream: portal
    acr: phr
    allow: [{roles: [client]}]
"""

CROWDED_CASES = """\
version: 1
cases:
  - name: a client sees the portal
    as: {user: ann, tenant: acme, roles: [client]}
    request: GET http://localhost/
    expect: {decision: allow, route: portal}
  - name: and the wiki
    as: {user: ann, tenant: acme, roles: [client]}
    request: GET http://localhost/wiki/start
    expect: {decision: allow, route: wiki}
  - name: but the treasury with a passkey alone
    as: {user: ann, tenant: acme, roles: [client], amr: [pwd, otp, mfa]}
    request: GET http://localhost/treasury
    expect: {decision: deny, reason: step_up_required}
  - name: nobody else sees it
    as: {user: ann, tenant: acme, roles: []}
    request: GET http://localhost/
    expect: {decision: deny}
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

CANDIDATE = (
    POLICY.replace("roles: [admin]", "roles: [client, admin]")
    + """\
  - name: reports
    match: {path: "/reports/**", methods: [GET]}
    upstream: portal
    allow: [{roles: [client]}]
"""
)
"""One route is new, and one answers other people."""

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
    with installed() as gateway:
        settings = SETTINGS.format(
            port=gateway.port, admin_port=gateway.admin_port, mail_port=post.port, mail_user=mail_server.USER
        )
        config = gateway.home / "config"
        (config / "smtp").write_text(mail_server.PASSWORD)
        (config / "smtp").chmod(0o600)
        (config / "mail-ca.pem").write_bytes(post.authority)
        candidate = gateway.home / "candidate"
        candidate.mkdir()
        (candidate / "portal.yaml").write_text(CANDIDATE)
        gateway.configure(settings, {"portal.yaml": POLICY, "tests/portal.yaml": "version: 1\n" + CASES})
        common = ("--tenant", "acme", "--role", "client", "--password-stdin")
        for name in LOOKS:
            gateway.verb("user", "add", f"ann-{name}", *common, "--totp-secret", SECRET, stdin=PASSWORD + "\n")
            for person in ("bob", "hal"):
                gateway.verb("user", "add", f"{person}-{name}", *common, "--self-enrol", stdin=PASSWORD + "\n")
            operator = (*common, "--role", "gateway.admin", "--totp-secret", SECRET)
            gateway.verb("user", "add", f"ada-{name}", *operator, stdin=PASSWORD + "\n")
            address = ("--email", f"eve-{name}@example.com")
            gateway.verb("user", "add", f"eve-{name}", *common, *address, "--self-enrol", stdin=PASSWORD + "\n")
        gateway.start()
        policy = gateway.home / "policies" / "portal.yaml"
        policy.write_text(POLICY.replace("roles: [admin]", "roles: [admni]"))
        gateway.verb("reload", expect=2)  # what the console says of it stays to be looked at
        policy.write_text(POLICY)
        yield gateway


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CertifiedProvider]:
    claims = {"groups": ["portal-users"], "email": "carol@acme.example", "email_verified": True}
    provider = CertifiedProvider(tmp_path_factory.mktemp("provider"), claims=claims)
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def crowded(provider: CertifiedProvider) -> Iterator[InstalledGateway]:
    """Two identity providers, passkeys, a portal with a sign-in of its own, and people who may sign in once."""
    with installed() as gateway:
        provider.add_client(f"http://localhost:{gateway.port}", back_channel=False)
        provider.start()
        secret = gateway.home / "config" / "node"
        secret.write_text(certified_provider.SECRET)
        secret.chmod(0o600)
        settings = CROWDED.format(
            port=gateway.port, admin_port=gateway.admin_port, issuer=provider.issuer, client=certified_provider.CLIENT
        )
        gateway.configure(settings, {"portal.yaml": CROWDED_POLICY, "tests/portal.yaml": CROWDED_CASES})
        for name in LOOKS:
            add = ("user", "add", "--tenant", "acme", "--password-stdin")
            for person, role in (("cid", "client"), ("dot", "hasty"), ("fay", "crowded")):
                words = (f"{person}-{name}", "--role", role, "--totp-secret", SECRET)
                gateway.verb(*add, *words, stdin=PASSWORD + "\n")
            gateway.verb(*add, f"gus-{name}", "--role", "client", "--self-enrol", stdin=PASSWORD + "\n")
        gateway.start()
        yield gateway


@pytest.fixture(scope="module")
def axe() -> str:
    """The checker itself, to be run in the page."""
    return (node_modules(Path(__file__).parent / "axe") / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


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
            self.page.locator("form:has(#password) button[type=submit]").click()

    def sign_in_with_code(self, name: str) -> None:
        """With password and code, to the account page. A code is good once: each person does so once."""
        self.sign_in(name)
        self.page.locator("#code").fill(pyotp.TOTP(SECRET).now())
        with self.page.expect_navigation():
            self.page.locator("form:has(#code) button[type=submit]").click()
        self.page.goto("/.gateway/account")


LOOKS: dict[str, dict[str, Any]] = {
    "light": {"locale": "en-GB", "color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"locale": "en-GB", "color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "narrow": {"locale": "de-AT", "color_scheme": "light", "viewport": {"width": 320, "height": 640}},
}
"""320 CSS pixels are what WCAG 1.4.10 (reflow) asks for."""


@contextmanager
def reading(chromium: Browser, address: str, axe: str, look: str) -> Iterator[Reader]:
    """Open a browser of this look at a gateway; in the end all that was found must be nothing."""
    context = chromium.new_context(
        ignore_https_errors=True,
        bypass_csp=True,  # axe is a script, and our pages let none in
        base_url=address,
        **LOOKS[look],
    )
    context.set_default_timeout(STEP_MS)
    reader = Reader(context, axe, look)
    yield reader
    context.close()
    assert reader.seen
    assert reader.findings == []


@pytest.fixture(params=LOOKS)
def reader(request: pytest.FixtureRequest, chromium: Browser, gateway: InstalledGateway, axe: str) -> Iterator[Reader]:
    with reading(chromium, f"https://localhost:{gateway.port}", axe, request.param) as reader:
        yield reader


@pytest.fixture(params=LOOKS)
def guest(request: pytest.FixtureRequest, chromium: Browser, crowded: InstalledGateway, axe: str) -> Iterator[Reader]:
    with reading(chromium, f"http://localhost:{crowded.port}", axe, request.param) as reader:
        yield reader


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
    letters: list[tuple[EmailMessage, str]] = []
    deadline = time.monotonic() + 30
    while not letters and time.monotonic() < deadline:
        time.sleep(0.1)
        for mail, text in zip(post.mails()[earlier:], post.texts()[earlier:], strict=False):
            code = re.search(r"\d{4} \d{4}", text)  # another letter, to the reader before, may come as late as this
            letters += [(mail, code[0])] if code else []
    ((mail, digits),) = letters
    if PICTURES:
        picture_of(mail, reader)
    reader.page.locator("#code").fill(digits)
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


def test_the_console_has_no_barriers(reader: Reader) -> None:
    page = reader.page
    reader.sign_in_with_code(f"ada-{reader.name}")
    reader.open("/.gateway/admin/", "console")
    for section in ("problems", "candidate"):
        expect(page.locator(f"section[aria-labelledby={section}] li").first).to_be_visible()
    reader.open("/.gateway/admin/routes", "console-routes")
    reader.open("/.gateway/admin/routes/portal", "console-route")
    reader.open("/.gateway/admin/roles", "console-roles")
    reader.open("/.gateway/admin/roles/admin", "console-role")
    reader.open("/.gateway/admin/people", "console-people")
    reader.open("/.gateway/admin/sessions", "console-sessions")
    reader.open("/.gateway/admin/evidence", "console-evidence")
    reader.open(f"/.gateway/admin/evidence?person=ada-{reader.name}", "console-evidence-found")
    expect(page.locator(".rows li").first).to_be_visible()
    reader.open("/.gateway/admin/evidence?since=some+day", "console-evidence-wrong")
    page.goto("/.gateway/admin/evidence?stream=security&decision=allow")
    page.locator(".rows a").first.click()
    reader.look("console-record")
    reader.open("/.gateway/admin/evidence/proof", "console-proof")
    expect(page.locator("section.panel")).to_have_count(3)
    reader.open("/.gateway/admin/try", "console-try")
    for who, what in ((f"ada-{reader.name}", "allowed"), ("", "refused"), ("nobody at all", "wrong")):
        page.locator("#url").fill("https://localhost/invoices/42?of=last+year")
        page.locator("#who").fill(who)
        with page.expect_navigation():
            page.locator("form:has(#url) button[type=submit]").click()
        reader.look(f"console-try-{what}")
    page.goto(f"/.gateway/admin/people?q=ada-{reader.name}")
    page.locator(".rows a").first.click()
    reader.look("console-person-self")
    page.goto(f"/.gateway/admin/people?q=hal-{reader.name}")  # who is disabled here is needed nowhere else
    page.locator(".rows a").first.click()
    page.locator("details.act summary").last.click()
    reader.look("console-person")
    page.locator("details.act[open] button").click()
    reader.look("console-person-disabled")
    # A provider that proves no second factor would take a gateway of its own; the page is the same.
    look = Look()
    language = look.language_for(LOOKS[reader.name]["locale"])
    unproven = look.render(
        "console_unproven.html",
        language,
        host="localhost",
        nonce="",
        errors=None,
        idle=None,
        provider="Acme single sign-on",
    )
    page.route("**/.gateway/admin/unproven", lambda route: route.fulfill(content_type="text/html", body=unproven))
    reader.open("/.gateway/admin/unproven", "console-unproven")
    expect(page.locator("h1")).to_be_visible()


def test_setting_up_a_second_factor_has_no_barriers(reader: Reader) -> None:
    reader.sign_in(f"bob-{reader.name}")
    reader.look("enrol")
    reader.page.locator("details summary").first.click()
    reader.look("enrol-by-hand")
    secret = reader.page.locator("code.secret").inner_text()
    reader.page.locator("#code").fill(pyotp.TOTP(re.sub(r"\s", "", secret)).now())
    reader.submit("codes")


def test_the_ways_to_sign_in_have_no_barriers(guest: Reader, provider: CertifiedProvider) -> None:
    page = guest.page
    guest.open("/.gateway/login", "chooser")
    page.locator("#email").fill("somebody@elsewhere.example")
    with page.expect_navigation():
        page.locator("form:has(#email) button[type=submit]").click()
    guest.look("chooser-unknown-address")
    guest.open("/.gateway/oidc/away/start", "provider-away")
    # The page that leads there goes on by itself; nothing comes back, so it stays.
    page.route(f"{provider.issuer}/**", lambda route: route.fulfill(status=204))
    page.goto("/.gateway/login")
    page.locator("#email").fill("carol@acme.example")
    page.locator("form:has(#email) button[type=submit]").click()
    expect(page.locator("meta[http-equiv=refresh]")).to_have_count(1)
    guest.look("onward")
    page.unroute(f"{provider.issuer}/**")
    for name, what in (("nobody", "provider-said-no"), ("carol", "provider-no-rights")):
        page.goto("/.gateway/oidc/node/start")
        page.locator("[name=username]").fill(name)
        page.locator("button").click()
        page.wait_for_url("**/callback**")
        guest.look(what)
    guest.open("/.gateway/oidc/none/start", "provider-unknown")


def test_passkeys_have_no_barriers(guest: Reader) -> None:
    page = guest.page
    cdp = page.context.new_cdp_session(page)
    cdp.send("WebAuthn.enable", {"enableUI": False})
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    guest.sign_in(f"gus-{guest.name}")
    page.locator("a[href='/.gateway/enrol/passkey']").click()
    expect(page.locator("#name")).to_be_visible()
    guest.look("passkey-owed")
    device = cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]
    page.locator("#name").fill("Laptop")
    with page.expect_navigation():
        page.locator("form.passkey button[type=submit]").click()
    guest.look("passkey-codes")
    guest.open("/.gateway/account", "account-with-passkey")
    guest.open("/.gateway/account/recovery", "recovery-with-passkey")
    page.goto("/.gateway/enrol/passkey")
    expect(page.locator("#name")).to_be_visible()
    guest.look("passkey-add")
    page.locator("form.passkey button[type=submit]").click()
    expect(page.locator("[data-when=known]")).to_be_visible()
    guest.look("passkey-known")
    cdp.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": device})
    device = cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options | {"transport": "usb"}})[
        "authenticatorId"
    ]
    page.goto("/.gateway/enrol/passkey")
    page.locator("#name").fill("A security key with a rather long name, blue, on the key ring")
    with page.expect_navigation():
        page.locator("form.passkey button[type=submit]").click()
    guest.look("passkeys")
    page.locator("details summary").first.click()
    guest.look("passkeys-rename")
    cdp.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": device})
    page.goto("/.gateway/logout")
    with page.expect_navigation():
        page.locator("form button[type=submit]").first.click()
    guest.look("login-with-passkey")
    guest.sign_in(f"gus-{guest.name}")
    expect(page.locator("form.passkey button[type=submit]")).to_be_visible()
    guest.look("mfa-with-passkey")
    guest.open("/.gateway/mfa?method=recovery", "mfa-recovery-with-passkey")


def test_one_more_step_and_the_account_at_a_portal_have_no_barriers(guest: Reader) -> None:
    page = guest.page
    guest.sign_in_with_code(f"cid-{guest.name}")
    guest.open("/treasury", "step-up-needs-passkey")
    guest.open("/.gateway/account/passkeys", "passkeys-none")
    guest.open("/wiki/start", "portal-account")
    page.locator("#username").fill("al")
    page.locator("#password").fill("what the wiki knows")
    with page.expect_navigation():
        page.locator("form:has(#password) button[type=submit]").click()
    guest.look("portal-away")


def test_the_idle_warning_and_the_choice_of_a_session_have_no_barriers(guest: Reader) -> None:
    page = guest.page
    guest.sign_in_with_code(f"dot-{guest.name}")
    expect(page.locator("dialog#idle")).to_be_visible(timeout=STEP_MS)
    guest.look("idle")
    page.locator("dialog#idle a[href='/.gateway/logout']").click()
    with page.expect_navigation():
        page.locator("form button[type=submit]").first.click()
    guest.sign_in_with_code(f"fay-{guest.name}")
    page.context.clear_cookies()
    guest.sign_in(f"fay-{guest.name}")
    page.locator("#code").fill(pyotp.TOTP(SECRET).at(time.time() + 30))  # the one before was used
    with page.expect_navigation():
        page.locator("form:has(#code) button[type=submit]").click()
    expect(page).to_have_url(re.compile("/.gateway/sessions$"))
    guest.look("sessions-room")
