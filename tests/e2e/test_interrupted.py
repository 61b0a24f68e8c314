"""A session that ends under a form, in a real browser: nothing is lost, nothing leaks, nothing goes in circles."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.e2e.installed_gateway import InstalledGateway, installed
from tests.e2e.wiki_story import CHROMIUM, FLAGS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PASSWORD = "eleven green kettles in a row"
STEP_MS = 15_000

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
  portal: {{servers: ["http://127.0.0.1:{portal}"]}}
tenants:
  acme: {{hosts: [localhost]}}
branding: {{name: Heron Town, logo: logo.svg, accent: "#7a1f5c", help_url: "mailto:desk@heron.example"}}
policies: policies/
limits:
  login: {{rate: 600/m, burst: 100, per: ip}}
audit: {{durability: group}}
"""

POLICY = """\
version: 1
roles:
  client: {}
routes:
  - name: page
    match: {path: "/pages/**", methods: [GET]}
    upstream: portal
    public: true
  - name: ticket
    match: {path: /tickets, methods: [GET, POST]}
    upstream: portal
    action: create
    allow:
      - roles: [client]
"""

CASES = """\
cases:
  - name: a client sends a ticket
    as: {user: ann, tenant: acme, roles: [client]}
    request: POST https://localhost/tickets
    expect: {decision: allow, route: ticket}
  - name: nobody else does
    as: {user: ann, tenant: acme, roles: []}
    request: POST https://localhost/tickets
    expect: {decision: deny}
"""

FORM = """<!doctype html><meta charset="{charset}"><title>Ticket</title>
<form method="post" action="/tickets?from=form" enctype="{coding}">
<label>Subject <input name="subject"></label>
<label>Text <textarea name="text"></textarea></label>
<label>Password <input type="password" name="portal_password"></label>
<input type="checkbox" name="topic[]" value="a &amp; b" checked><input type="checkbox" name="topic[]" value="ü" checked>
<input type="hidden" name="empty" value="">{more}
<button name="go" value="now &quot;then&quot;">Send</button></form>"""
PAGES = {
    "/pages/form": ("utf-8", FORM.format(charset="utf-8", coding="", more="")),
    "/pages/legacy": ("windows-1252", FORM.format(charset="windows-1252", coding="", more="")),
    "/pages/parts": (
        "utf-8",
        FORM.format(charset="utf-8", coding="multipart/form-data", more='<input type="file" name="picture">'),
    ),
    "/pages/frame": ("utf-8", '<!doctype html><title>Frame</title><iframe src="/tickets"></iframe>'),
}


LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="40" height="20" fill="#7a1f5c"/></svg>'
)


class Portal(ThreadingHTTPServer):
    """Forms, and where they go."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sent: list[tuple[str, bytes]] = []
        """Target and body of every form that arrived, boundaries made equal."""
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Portal

    def do_GET(self) -> None:
        charset, page = PAGES.get(self.path, ("utf-8", "<!doctype html><title>Portal</title><h1>Tickets</h1>"))
        self._answer(page.encode(charset), charset)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        _, _, boundary = self.headers["Content-Type"].partition("boundary=")
        self.server.sent.append((self.path, body.replace(boundary.encode(), b"fence") if boundary else body))
        self._answer(b"<!doctype html><title>Portal</title><h1>Thank you</h1>", "utf-8")

    def _answer(self, body: bytes, charset: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", f"text/html; charset={charset}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        pass


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    portal = Portal()
    yield portal
    portal.shutdown()
    portal.server_close()


@pytest.fixture(scope="module")
def gateway(portal: Portal) -> Iterator[InstalledGateway]:
    with installed() as gateway:
        settings = SETTINGS.format(port=gateway.port, admin_port=gateway.admin_port, portal=portal.server_address[1])
        (gateway.home / "logo.svg").write_text(LOGO)
        gateway.configure(settings, {"portal.yaml": POLICY, "tests/portal.yaml": "version: 1\n" + CASES})
        for name in ("ann", "bob"):
            user = ("user", "add", name, "--tenant", "acme", "--role", "client", "--self-enrol", "--password-stdin")
            gateway.verb(*user, stdin=PASSWORD + "\n")
        gateway.start()
        yield gateway


@pytest.fixture
def page(chromium: Browser, gateway: InstalledGateway) -> Iterator[Page]:
    context = chromium.new_context(
        ignore_https_errors=True, locale="en-GB", base_url=f"https://localhost:{gateway.port}"
    )
    context.set_default_timeout(STEP_MS)
    yield context.new_page()
    context.close()


def sign_in(page: Page, name: str = "ann") -> None:
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def fill_in(page: Page, form: str) -> None:
    page.goto(f"/pages/{form}")
    page.get_by_label("Subject").fill("Grüße & <b>bold</b> + 100%")
    page.get_by_label("Text").fill("  one\ntwo \n\nüber")
    page.get_by_label("Password").fill("of the portal")


def send(page: Page) -> None:
    page.get_by_role("button", name="Send", exact=True).click()


@pytest.mark.parametrize("form", ["form", "legacy", "parts"])
def test_a_form_whose_session_ended_arrives_byte_for_byte_after_sign_in(
    page: Page, portal: Portal, gateway: InstalledGateway, form: str
) -> None:
    page.goto("/tickets")
    sign_in(page)
    page.wait_for_url("**/tickets")
    fill_in(page, form)
    send(page)
    expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    fill_in(page, form)
    gateway.verb("session", "revoke", "--user", "ann")
    before = len(portal.sent)
    send(page)
    expect(page.get_by_text("What you sent is safe")).to_be_visible()
    sign_in(page)
    expect(page.get_by_role("heading", name="Send your form now?")).to_be_visible()
    expect(page.get_by_role("rowheader", name="portal_password")).to_be_visible()
    assert "of the portal" not in page.inner_text("body")
    assert len(portal.sent) == before, "nothing goes by itself"
    for key in ("Tab", "Tab", "Enter"):  # past the link to the content
        page.keyboard.press(key)
    expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    assert portal.sent[-1] == portal.sent[-2]
    assert len(portal.sent) == before + 1
    page.go_back()
    assert "of the portal" not in page.content(), "going back does not bring it again"
    names = [e["name"] for r in gateway.records() for e in r["unmapped"]["gw"].get("events", ())]
    assert names[-4:] == ["form.kept", "login.succeeded", "session.created", "form.offered"]


def test_somebody_else_at_the_same_browser_sees_nothing_of_it(
    page: Page, portal: Portal, gateway: InstalledGateway
) -> None:
    page.goto("/tickets")
    sign_in(page)
    page.wait_for_url("**/tickets")
    fill_in(page, "form")
    gateway.verb("session", "revoke", "--user", "ann")
    before = len(portal.sent)
    send(page)
    sign_in(page, "bob")
    expect(page.get_by_role("heading", name="There is no form to send")).to_be_visible()
    assert "of the portal" not in page.content()
    assert len(portal.sent) == before


def test_a_script_of_the_portal_cannot_read_what_is_kept(page: Page, gateway: InstalledGateway) -> None:
    page.goto("/tickets")
    sign_in(page)
    page.wait_for_url("**/tickets")
    fill_in(page, "form")
    gateway.verb("session", "revoke", "--user", "ann")
    send(page)
    expect(page.get_by_text("What you sent is safe")).to_be_visible()
    fields = {
        field.get_attribute("name") or "": field.input_value()
        for field in page.locator("form:has(#password) input[type=hidden]").all()
    }
    signed_in = page.request.post(
        "/.gateway/login", form={**fields, "username": "ann", "password": PASSWORD}, max_redirects=0
    )
    assert signed_in.headers["location"] == "/.gateway/kept", (
        "where the person would see it now, but a script is quicker"
    )
    page.goto("/pages/form")
    answers = page.evaluate("""async () => {
      const fetched = await fetch('/.gateway/kept');
      const framed = await new Promise(done => {
        const frame = document.body.appendChild(document.createElement('iframe'));
        frame.onload = () => done(frame.contentDocument && frame.contentDocument.body.innerText);
        frame.src = '/.gateway/kept';
      });
      return [fetched.status, await fetched.text(), framed || ''];
    }""")
    assert answers[0] == 403
    assert "of the portal" not in answers[1] + answers[2]
    with page.expect_popup() as opened:
        page.evaluate("window.opened = window.open('/.gateway/kept')")
    expect(opened.value.get_by_role("heading", name="Send your form now?")).to_be_visible()
    assert page.evaluate("window.opened.closed"), "the window that shows it is not the script's any more"


def test_a_script_gets_401_with_the_way_to_sign_in_and_a_frame_a_page_of_its_own(page: Page) -> None:
    page.goto("/pages/form?tab=2")
    status, location, body = page.evaluate(
        "async () => { const r = await fetch('/tickets'); return [r.status, r.url, await r.text()]; }"
    )
    assert (status, location.endswith("/tickets")) == (401, True)
    assert json.loads(body)["login_url"] == "/.gateway/login?return_to=/pages/form%3Ftab%3D2"
    page.goto("/pages/frame")
    frame = page.frame_locator("iframe")
    with page.expect_popup() as opened:
        frame.get_by_role("link", name="Sign in in a new window").click()
    sign_in(opened.value)
    opened.value.wait_for_url("**/pages/frame")
    frame.get_by_role("link", name="Try again").click()
    expect(frame.get_by_role("heading", name="Tickets")).to_be_visible()


def test_the_operators_name_logo_and_colour_stand_on_our_pages(page: Page) -> None:
    page.goto("/.gateway/login")
    expect(page).to_have_title("Sign in · Heron Town")
    logo = page.get_by_role("img", name="Heron Town")
    expect(logo).to_be_visible()
    assert logo.evaluate("image => image.naturalWidth") == 40
    expect(page.get_by_role("link", name="Help")).to_have_attribute("href", "mailto:desk@heron.example")
    button = page.get_by_role("button", name="Sign in", exact=True)
    assert button.evaluate("button => getComputedStyle(button).backgroundColor") == "rgb(122, 31, 92)"


def test_a_browser_that_refuses_cookies_is_told_so_instead_of_going_in_circles(
    playwright: Playwright, gateway: InstalledGateway, tmp_path: Path
) -> None:
    preferences = tmp_path / "Default" / "Preferences"
    preferences.parent.mkdir()
    preferences.write_text(json.dumps({"profile": {"default_content_setting_values": {"cookies": 2}}}))
    context = playwright.chromium.launch_persistent_context(
        tmp_path, executable_path=CHROMIUM, args=FLAGS, ignore_https_errors=True, locale="en-GB"
    )
    try:
        context.set_default_timeout(STEP_MS)
        page = context.new_page()
        page.goto(f"https://localhost:{gateway.port}/tickets")
        sign_in(page)
        expect(page.get_by_role("alert")).to_contain_text("does not keep our cookies")
        sign_in(page)
        expect(page.get_by_role("heading", name="Signing in does not last")).to_be_visible()
        expect(page.get_by_text("Allow cookies for")).to_be_visible()
        assert re.search(r"Reference\s+[0-9a-f-]{36}", page.inner_text("main"))
    finally:
        context.close()
