"""Passkeys in a real browser, with Chromium's own authenticators in place of fingers.

With `GATEWAY_SCREENSHOTS=DIR` it leaves pictures of the pages there, for a person to judge.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyotp
import pytest
from playwright.sync_api import Browser, CDPSession, Page, expect

from tests.e2e.installed_gateway import InstalledGateway, installed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PASSWORD = "eleven green kettles in a row"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
STEP_MS = 15_000
PICTURES = os.environ.get("GATEWAY_SCREENSHOTS", "")

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
  portal: {{servers: ["http://127.0.0.1:{portal}"]}}
policies: policies/
mfa: {{required: always, remember_device: 30d}}
limits:
  login: {{rate: 600/m, burst: 100, per: ip}}
"""
# Browsers use passkeys on localhost without TLS as well (Secure Contexts §3.1), and not under a certificate of ours.

POLICY = """\
version: 1
roles: {client: {}}
routes:
  - name: portal
    match: {path: "/**", methods: [GET]}
    upstream: portal
    allow: [{roles: [client]}]
  - name: vault
    match: {path: /vault, methods: [GET, POST]}
    upstream: portal
    acr: phr
    allow: [{roles: [client]}]
"""

CASES = """\
version: 1
cases:
  - name: the vault opens for a passkey
    as: {user: ann, tenant: acme, roles: [client], amr: [pwd, hwk, mfa]}
    request: GET http://localhost/vault
    expect: {decision: allow, route: vault}
  - name: and asks for one
    as: {user: ann, tenant: acme, roles: [client], amr: [pwd, otp, mfa]}
    request: GET http://localhost/vault
    expect: {decision: deny, reason: step_up_required}
"""

FORM = '<form method="post" action="/vault"><label>Amount <input name="amount"></label><button>Pay</button></form>'


class Portal(ThreadingHTTPServer):
    """A page, a form, and what was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sent: list[bytes] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Portal

    def do_GET(self) -> None:
        name = "The vault" if self.path == "/vault" else "The portal"
        self._answer(f"<!doctype html><title>Portal</title><h1>{name}</h1>{FORM}")

    def do_POST(self) -> None:
        self.server.sent.append(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer("<!doctype html><title>Portal</title><h1>Thank you</h1>")

    def _answer(self, page: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        pass


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    portal = Portal()
    yield portal
    portal.shutdown()
    portal.server_close()


PEOPLE = ("ann", "bea", "cid", "dan", "eve", "fay", "gus")


@pytest.fixture(scope="module")
def gateway(portal: Portal) -> Iterator[InstalledGateway]:
    with installed() as gateway:
        settings = SETTINGS.format(port=gateway.port, admin_port=gateway.admin_port, portal=portal.server_address[1])
        gateway.configure(settings, {"portal.yaml": POLICY, "tests/portal.yaml": CASES})
        for name in PEOPLE:
            user = ("user", "add", name, "--tenant", "acme", "--role", "client", "--password-stdin")
            gateway.verb(*user, "--totp-secret", SECRET, stdin=PASSWORD + "\n")
        gateway.verb(
            "user", "add", "new", "--tenant", "acme", "--role", "client", "--password-stdin", "--self-enrol",
            stdin=PASSWORD + "\n",
        )  # fmt: skip
        gateway.start()
        yield gateway


class Seat:
    """Somebody at a browser with authenticators."""

    def __init__(self, page: Page, gateway: InstalledGateway) -> None:
        self.page = page
        self.gateway = gateway
        self.cdp: CDPSession = page.context.new_cdp_session(page)
        self.cdp.send("WebAuthn.enable", {"enableUI": False})

    def plug_in(self, *, transport: str = "internal", verifies: bool = True) -> str:
        """Give the browser one more authenticator."""
        options = {
            "protocol": "ctap2",
            "transport": transport,
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": verifies,
            "automaticPresenceSimulation": True,
        }
        return str(self.cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"])

    def unplug(self, authenticator: str) -> None:
        self.cdp.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": authenticator})

    def keys_of(self, authenticator: str) -> list[dict[str, Any]]:
        found = self.cdp.send("WebAuthn.getCredentials", {"authenticatorId": authenticator})
        return list(found["credentials"])

    def give_password(self, name: str) -> None:
        self.page.goto("/.gateway/login")
        self.page.get_by_label("User name").fill(name)
        self.page.get_by_label("Password", exact=True).fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in", exact=True).click()

    def sign_in(self, name: str) -> None:
        """With password and code. A code is good once: each person signs in so only once a test."""
        self.give_password(name)
        self.page.get_by_label(re.compile("code", re.IGNORECASE)).fill(pyotp.TOTP(SECRET).now())
        self.page.get_by_role("button", name="Continue").click()
        expect(self.page.get_by_role("heading", name="The portal")).to_be_visible()

    def add_passkey(self, name: str) -> None:
        self.page.goto("/.gateway/enrol/passkey")
        self.page.get_by_label("A name, so that you know it again").fill(name)
        self.page.get_by_role("button", name="Continue").click()

    def added(self) -> None:
        """Leave the page of recovery codes, which whoever has none yet is shown, for the list."""
        codes = self.page.get_by_role("link", name="I have saved them")
        heading = self.page.get_by_role("heading", name="Your passkeys")
        expect(codes.or_(heading)).to_be_visible()
        if codes.is_visible():
            codes.click()
        expect(heading).to_be_visible()

    def sign_out(self) -> None:
        self.page.goto("/.gateway/logout")
        self.page.get_by_role("button", name="Sign out").click()
        expect(self.page.get_by_text("You are signed out")).to_be_visible()

    def picture(self, name: str) -> None:
        if PICTURES:
            for scheme in ("light", "dark"):
                self.page.emulate_media(color_scheme=scheme)
                for width in (1100, 360):
                    self.page.set_viewport_size({"width": width, "height": 800})
                    self.page.screenshot(path=f"{PICTURES}/passkey-{name}-{scheme}-{width}.png", full_page=True)
            self.page.emulate_media(color_scheme="light")
            self.page.set_viewport_size({"width": 1280, "height": 800})


@pytest.fixture
def seat(chromium: Browser, gateway: InstalledGateway) -> Iterator[Seat]:
    context = chromium.new_context(locale="en-GB", base_url=f"http://localhost:{gateway.port}")
    context.set_default_timeout(STEP_MS)
    problems: list[str] = []
    page = context.new_page()
    page.on("console", lambda said: problems.append(said.text) if "Content Security" in said.text else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield Seat(page, gateway)
    context.close()
    assert problems == []


def test_a_new_person_sets_up_a_passkey_and_signs_in_with_it_alone(seat: Seat) -> None:
    seat.plug_in()
    page = seat.page
    seat.give_password("new")
    page.get_by_role("link", name="Use a passkey instead").click()
    seat.picture("owed")
    page.get_by_label("A name, so that you know it again").fill("Laptop")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("Your passkey is added")).to_be_visible()
    page.get_by_role("link", name="I have saved them").click()
    expect(page.get_by_role("heading", name="The portal")).to_be_visible()
    page.goto("/.gateway/logout")
    page.get_by_role("button", name="Sign out").click()
    # The browser offers the passkey by itself, in the field of the user name; here nobody has to choose it.
    page.goto("/.gateway/login?return_to=/back")
    expect(page).to_have_url(re.compile("/back$"))
    expect(page.get_by_role("heading", name="The portal")).to_be_visible()
    page.goto("/.gateway/account")
    expect(page.get_by_text("Sign in with your finger, your face or a security key.")).to_be_visible()
    seat.picture("account")


def test_a_passkey_is_the_second_factor_and_a_second_one_takes_its_place(seat: Seat) -> None:
    page = seat.page
    first = seat.plug_in()
    seat.sign_in("ann")
    seat.add_passkey("Old laptop")
    seat.added()
    expect(page.get_by_text("Old laptop").first).to_be_visible()
    seat.add_passkey("Old laptop again")
    expect(page.get_by_text("This device has a passkey for your account already.")).to_be_visible()
    seat.picture("known")
    seat.unplug(first)
    second = seat.plug_in(transport="usb")
    seat.add_passkey("Blue key")
    seat.added()
    seat.picture("list")
    row = page.get_by_role("listitem").filter(has_text="Old laptop")
    row.get_by_role("button", name="Remove Old laptop").click()
    expect(page.get_by_text("The passkey is removed")).to_be_visible()
    expect(page.get_by_text("Old laptop")).to_have_count(0)
    row = page.get_by_role("listitem").filter(has_text="Blue key")
    row.get_by_text("Rename").click()
    row.get_by_label("New name").fill("Green key")
    row.get_by_role("button", name="Save the name").click()
    expect(page.get_by_text("Green key").first).to_be_visible()
    # Out of reach while the name is typed: else the browser takes it before anybody gives a password.
    keys = seat.keys_of(second)
    seat.unplug(second)
    seat.sign_out()
    seat.give_password("ann")
    seat.picture("second-step")
    again = seat.plug_in(transport="usb")
    for key in keys:
        seat.cdp.send("WebAuthn.addCredential", {"authenticatorId": again, "credential": key})
    page.get_by_role("button", name="Use your passkey").click()
    expect(page.get_by_role("heading", name="The portal")).to_be_visible()
    names = [
        event["name"]
        for record in seat.gateway.records()
        for event in record.get("unmapped", {}).get("gw", {}).get("events", [])
    ]
    assert {"factor.enrolled", "factor.renamed", "factor.removed", "factor.verified"} <= set(names)


def test_a_passkey_that_does_not_verify_its_user_is_no_sign_in_of_its_own(seat: Seat) -> None:
    device = seat.plug_in()
    seat.sign_in("bea")
    seat.add_passkey("Phone")
    seat.added()
    seat.cdp.send("WebAuthn.setUserVerified", {"authenticatorId": device, "isUserVerified": False})
    seat.sign_out()
    seat.page.get_by_role("button", name="Sign in with a passkey").click()
    expect(seat.page.get_by_text("Nothing was sent: the passkey was not used")).to_be_visible()
    seat.picture("cancelled")


def test_a_copied_authenticator_is_refused(seat: Seat) -> None:
    device = seat.plug_in(transport="usb")
    seat.sign_in("cid")
    seat.add_passkey("Key")
    seat.added()
    copy = seat.keys_of(device)[0] | {"signCount": 0}
    seat.page.goto("/.gateway/mfa?step_up=mfa_age")
    seat.page.get_by_role("button", name="Use your passkey").click()
    expect(seat.page.get_by_role("heading", name="The portal")).to_be_visible()
    seat.unplug(device)
    clone = seat.plug_in(transport="usb")
    seat.cdp.send("WebAuthn.addCredential", {"authenticatorId": clone, "credential": copy})
    seat.page.goto("/.gateway/mfa?step_up=mfa_age")
    seat.picture("again")
    seat.page.get_by_role("button", name="Use your passkey").click()
    expect(seat.page.get_by_text("Passkey not accepted")).to_be_visible()
    seat.picture("refused")


def test_a_browser_without_passkeys_is_told_so_and_signs_in_the_other_way(seat: Seat) -> None:
    seat.page.add_init_script("delete window.PublicKeyCredential")
    seat.page.goto("/.gateway/login")
    expect(seat.page.get_by_text("This browser cannot use passkeys.")).to_be_visible()
    expect(seat.page.get_by_role("button", name="Sign in with a passkey")).to_be_hidden()
    seat.picture("unsupported")
    seat.sign_in("dan")
    seat.page.goto("/.gateway/enrol/passkey")
    expect(seat.page.get_by_text("This browser cannot make passkeys.")).to_be_visible()


def test_a_browser_without_scripts_shows_no_button_that_does_nothing(
    chromium: Browser, gateway: InstalledGateway
) -> None:
    context = chromium.new_context(java_script_enabled=False, base_url=f"http://localhost:{gateway.port}")
    page = context.new_page()
    page.goto("/.gateway/login")
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Sign in with a passkey")).to_be_hidden()
    context.close()


def test_a_step_up_brings_people_back_and_keeps_what_they_sent(seat: Seat, portal: Portal) -> None:
    page = seat.page
    seat.plug_in()
    seat.sign_in("eve")
    seat.add_passkey("Laptop")
    seat.added()
    page.goto("/")
    page.get_by_label("Amount").fill("12 & 3")
    answer = page.evaluate(
        "async () => { const r = await fetch('/vault', {headers: {accept: 'application/json'}});"
        " return [r.status, r.headers.get('www-authenticate'), (await r.json()).reason] }"
    )
    assert answer[0] == 401
    assert 'error="insufficient_user_authentication"' in answer[1]
    assert 'acr_values="phr"' in answer[1]
    assert answer[2] == "step_up_required"
    page.get_by_role("button", name="Pay").click()
    expect(page.get_by_role("heading", name="Please confirm it is you")).to_be_visible()
    expect(page.get_by_text("What you sent is safe")).to_be_visible()
    expect(page.get_by_label("Six-digit code")).to_have_count(0)
    seat.picture("step-up")
    page.get_by_role("button", name="Use your passkey").click()
    expect(page.get_by_text("12 & 3")).to_be_visible()
    page.get_by_role("button", name=re.compile("Send")).click()
    expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    assert portal.sent == [b"amount=12+%26+3"]
    page.goto("/vault")
    expect(page.get_by_role("heading", name="The vault")).to_be_visible()


def test_whoever_needs_a_passkey_and_has_none_is_told_where_to_get_one(seat: Seat) -> None:
    seat.plug_in()
    seat.sign_in("fay")
    seat.page.goto("/vault")
    expect(seat.page.get_by_text("What you want to do needs a passkey.")).to_be_visible()
    seat.picture("needs-passkey")
    seat.page.get_by_role("link", name="Add a passkey").click()
    expect(seat.page.get_by_role("heading", name="Add a passkey")).to_be_visible()


def test_a_remembered_device_is_not_asked_again_but_a_step_up_asks_it(seat: Seat) -> None:
    page = seat.page
    seat.give_password("gus")
    page.get_by_label(re.compile("Six-digit code")).fill(pyotp.TOTP(SECRET).now())
    page.get_by_label(re.compile("Do not ask again on this device for 30 days")).check()
    seat.picture("remember")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="The portal")).to_be_visible()
    seat.sign_out()
    seat.give_password("gus")
    expect(page.get_by_role("heading", name="The portal")).to_be_visible()
    page.goto("/vault")
    expect(page.get_by_role("heading", name="Please confirm it is you")).to_be_visible()
