"""Pages of a whole gateway: what another site makes a browser send, and what a real browser runs of a page."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml
from playwright.sync_api import sync_playwright

from gateway.inspection.csp.scripts import hash_of
from tests.e2e.wiki_story import CHROMIUM, FLAGS
from tests.machine import cannot_run
from tests.process.conftest import Browser, Gateway

pytestmark = pytest.mark.timeout(240)  # whole processes on a busy machine

START, EVIL = "window.started = true", "window.evil = true"
PAGE = f"""<!doctype html><html><head><title>Portal</title><script src="/app.js?v=1"></script>
<script>{START}</script></head><body>
<svg><title>Icon</title><path d="M0 0"/></svg>
<textarea><script>{START}</script></textarea>
<form method="post" action="/save"><input name="note" value="a b"><button>Save</button></form>
<script>{EVIL}</script><img src="x:" onerror="window.evil = true"><script src="/evil.js"></script>
</body></html>"""
SCRIPTS = {
    "/app.js": "window.loaded = true; const more = document.createElement('script'); more.src = '/more.js'; document.head.append(more)",
    "/more.js": "window.more = true",
    "/evil.js": EVIL,
}


class HtmlPortal(ThreadingHTTPServer):
    """A portal with one page, its scripts, and a form."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.saved: list[bytes] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HtmlPortal

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in SCRIPTS:
            self._answer("text/javascript", SCRIPTS[path])
        elif path == "/elsewhere":
            self._answer("text/html; charset=utf-8", f'<a id="link" href="{self.path.partition("?")[2]}">go</a>')
        else:
            self._answer("text/html; charset=utf-8", PAGE)

    def do_POST(self) -> None:
        self.server.saved.append(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer("text/plain", "saved")

    def _answer(self, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.send_header("Set-Cookie", "portal=1; SameSite=None; Secure")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        pass


@pytest.fixture
def html() -> Iterator[HtmlPortal]:
    server = HtmlPortal()
    yield server
    server.shutdown()
    server.server_close()


def protected(make_gateway: Callable[..., Gateway], html: HtmlPortal, inspection: str) -> Gateway:
    gateway = make_gateway(workers=1)
    text = gateway.config.read_text()
    text = re.sub(r"http://127\.0\.0\.1:\d+", f"http://127.0.0.1:{html.server_address[1]}", text)
    gateway.config.write_text(text.replace("policies: policies/", f"policies: policies/\ninspection: {inspection}"))
    gateway.start()
    return gateway


def test_forms_get_a_token_and_another_site_cannot_send_them(
    make_gateway: Callable[..., Gateway], make_browser: type[Browser], html: HtmlPortal
) -> None:
    gateway = protected(make_gateway, html, "{csrf: {token: true}}")
    browser = make_browser(gateway)
    browser.sign_in()
    answer = browser.get("/page")
    found = re.search(
        rb'<form method="post" action="/save"><input type="hidden" name="gw_csrf" value="([\w-]{86})">', answer.body
    )
    assert found is not None
    assert answer.headers["set-cookie"] == "portal=1; Secure; SameSite=Lax"

    token = found[1].decode()
    fields = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "", "Origin": ""}
    said = {name: value for name, value in fields.items() if value}
    assert browser._ask("POST", "/save", f"gw_csrf={token}&note=a+b", said).status == 200
    assert html.saved == [b"note=a+b"]
    assert browser._ask("POST", "/save", "note=a+b", said).status == 403
    refused = browser._ask(
        "POST",
        "/save",
        f"gw_csrf={token}&note=x",
        {**said, "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    )
    assert refused.status == 403
    assert refused.headers["x-request-id"] in refused.body.decode(), "the page gives the reference number"
    assert browser.post("/save", {"note": "c"}).status == 200
    assert html.saved == [b"note=a+b", b"note=c"]
    assert gateway.metric('gateway_requests_forged_total{outcome="blocked",route="portal",sender="foreign"}') == 1
    assert gateway.metric('gateway_findings_total{event="request.forged"}') == 2

    def recorded() -> bool:
        done = gateway.cli("audit", "query", "--event", "request.forged", "--json")
        return len(done.stdout.splitlines()) == 2

    gateway.wait_until(recorded)


def test_a_real_browser_runs_approved_scripts_and_reports_the_others_into_the_next_policy(
    make_gateway: Callable[..., Gateway], make_browser: type[Browser], html: HtmlPortal
) -> None:
    if not CHROMIUM.exists():
        cannot_run(f"not installed: {CHROMIUM}")
    gateway = protected(make_gateway, html, "{csp: {mode: report}}")
    signed = make_browser(gateway)
    signed.sign_in()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = chromium.new_context(ignore_https_errors=True)
        context.add_cookies([{"name": "__Host-gw", "value": signed.cookies["__Host-gw"], "url": gateway.public_url}])
        page = context.new_page()

        # On trial nothing is stopped; what would be is told by the browser and by the pages themselves.
        page.goto(f"{gateway.public_url}/page")
        assert page.evaluate("[window.started, window.loaded, window.evil]") == [True, True, True]

        def told() -> dict[str, Any]:
            listed = json.loads(gateway.cli("csp", "reports", "portal", "--json").stdout)["routes"]["portal"]
            return {count["what"]: count["kind"] for count in listed}

        gateway.wait_until(lambda: {hash_of(START), hash_of(EVIL), "/app.js", "/evil.js", "inline"} <= told().keys())
        proposed = yaml.safe_load(gateway.cli("csp", "suggest", "portal").stdout)["inspection"]["csp"]
        assert set(proposed["scripts"]) == {hash_of(START), hash_of(EVIL), "/app.js", "/evil.js"}

        # Whoever looks at the list takes the portal's own, and lets browsers hold pages to it.
        scripts = [script for script in proposed["scripts"] if script in {hash_of(START), "/app.js"}]
        enforced = json.dumps({"csp": {"mode": "enforce", "scripts": scripts}})
        gateway.edit(("{csp: {mode: report}}", enforced))
        assert gateway.cli("reload").returncode == 0
        page.goto(f"{gateway.public_url}/page")
        page.wait_for_function("window.more")  # what an approved script loads is trusted with it
        assert page.evaluate("[window.started, window.loaded, window.evil ?? false]") == [True, True, False]
        assert page.evaluate("document.querySelector('textarea').value") == f"<script>{START}</script>"
        first = page.evaluate("document.scripts[0].nonce")
        page.reload()
        assert first != page.evaluate("document.scripts[0].nonce")
        chromium.close()


def test_a_real_browser_is_refused_what_another_site_makes_it_send(
    make_gateway: Callable[..., Gateway], make_browser: type[Browser], html: HtmlPortal
) -> None:
    if not CHROMIUM.exists():
        cannot_run(f"not installed: {CHROMIUM}")
    gateway = protected(make_gateway, html, "{csrf: {methods: [GET]}, cors: {origins: [https://app.example.com]}}")
    signed = make_browser(gateway)
    signed.sign_in()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = chromium.new_context(ignore_https_errors=True)
        context.add_cookies([{"name": "__Host-gw", "value": signed.cookies["__Host-gw"], "url": gateway.public_url}])
        page = context.new_page()
        assert (answer := page.goto(f"{gateway.public_url}/page")) is not None
        assert answer.status == 200  # typed by hand
        page.goto(f"http://127.0.0.1:{html.server_address[1]}/elsewhere?{gateway.public_url}/page")
        with page.expect_response(f"{gateway.public_url}/page") as response:
            page.click("#link")
        assert response.value.status == 403

        # A script of a site that is not listed reads nothing, and its preflight ends at the gateway.
        page.goto(f"http://127.0.0.1:{html.server_address[1]}/elsewhere")
        asked = "url => fetch(url, {method: 'DELETE', headers: {'x-one': '1'}}).then(() => 'read', () => 'refused')"
        assert page.evaluate(asked, f"{gateway.public_url}/page") == "refused"
        chromium.close()
    assert gateway.metric('gateway_cors_preflights_total{outcome="refused",route="portal"}') == 1
