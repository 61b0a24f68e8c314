"""The shipped configurations of other proxies, run for real in front of a gateway that they ask and a portal."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from tests.machine import free_port

DEPLOY: Final = Path(__file__).parents[2] / "deploy" / "front-proxies"
PATIENCE_S: Final = 30.0
STYLES: Final = {"nginx": "nginx", "caddy": "forwarded", "traefik": "forwarded", "envoy": "envoy"}
KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT: Final = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
IDENTITY: Final = ("user", "tenant", "roles", "email", "session", "assertion")

SETTINGS: Final = """
version: 1
public_url: https://localhost:{front}
listen:
  - {{address: "127.0.0.1:{gateway}", unsafe_plaintext: true}}
admin: {{address: "127.0.0.1:{admin}"}}
workers: 1
state_dir: state
trusted_proxies: [127.0.0.1]
forward_auth: {{style: {style}}}
upstreams:
  portal: {{servers: ["http://127.0.0.1:{portal}"]}}
tenants:
  main: {{hosts: [localhost]}}
policies: policies/
audit: {{keys: config/audit-keys.json}}
logging: {{requests: false}}
"""
POLICY: Final = """
version: 1
roles:
  client: {}
  admin: {includes: [client]}
routes:
  - {name: public, match: {path: "/public/**", methods: [GET, POST]}, upstream: portal, public: true}
  - {name: portal, match: {path: "/**", methods: [GET, POST]}, upstream: portal, allow: [{roles: [client]}]}
  - {name: admin, match: {path: "/admin/**", methods: [GET]}, upstream: portal, allow: [{roles: [admin]}]}
  - name: limited
    match: {path: /limited, methods: [GET]}
    upstream: portal
    allow: [{roles: [client]}]
    rate_limit: {rate: 1/h, burst: 1, per: user}
"""


class Portal(ThreadingHTTPServer):
    """Answers with what reached it: method, path, every field, the body; over a WebSocket too."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _PortalHandler)
        self.requests: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _PortalHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Portal

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        taken = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        fields = [(name.lower(), value) for name, value in self.headers.items()]
        body = json.dumps({"method": self.command, "path": self.path, "fields": fields, "body": taken}).encode()
        if protocol := ", ".join(self.headers.get_all("Upgrade", ())):
            self.wfile.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + protocol.encode() + b"\r\n"
                b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n\x81\x7e" + len(body).to_bytes(2, "big") + body
            )
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name that the base class looks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        pass


def program(name: str) -> str:
    """Find a proxy."""
    found: str | None
    if name == "envoy":
        package = importlib.util.find_spec("envoy")
        binary = Path(package.origin).parent / "_bin" / "envoy" if package is not None and package.origin else Path()
        found = str(binary) if binary.is_file() else None
    else:
        beside = Path(sys.executable).parent
        found = shutil.which(name, path=f"{beside}{os.pathsep}{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if found is None:
        pytest.fail(f"{name} is missing; tests/install-packages and requirements/bench.txt bring it")
    return found


class Front:
    """One of the proxies, with the shipped configuration on ports of its own."""

    def __init__(self, kind: str, room: Path, *, gateway: int, portal: int, tls: Path) -> None:
        self.kind, self._room, self._tls = kind, room, tls
        self.port = free_port()
        self._gateway, self._portal = gateway, portal
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        room = self._room
        room.mkdir()
        command = getattr(self, f"_{self.kind}")()
        environment = os.environ | {"HOME": str(room), "XDG_DATA_HOME": str(room), "XDG_CONFIG_HOME": str(room)}
        with (room / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=room, env=environment)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert self.process.poll() is None, (room / "log").read_text()
            assert time.monotonic() < deadline, (room / "log").read_text()
            connection = self.connect()
            try:
                connection.connect()
            except OSError:
                time.sleep(0.05)
            else:
                break
            finally:
                connection.close()

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def connect(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self._tls / "cert.pem"))
        return http.client.HTTPSConnection("localhost", self.port, timeout=20, context=context)

    def _shipped(self, name: str, *more: tuple[str, str]) -> str:
        """Read the shipped file and put the ports and files of this test into it."""
        text = (DEPLOY / name).read_text()
        for old, new in (
            ("/etc/ssl/portal/cert.pem", str(self._tls / "cert.pem")),
            ("/etc/ssl/portal/key.pem", str(self._tls / "key.pem")),
            ("127.0.0.1:8000", f"127.0.0.1:{self._gateway}"),
            ("127.0.0.1:3000", f"127.0.0.1:{self._portal}"),
            *more,
        ):
            assert old in text or old.startswith("127.0.0.1:"), old
            text = text.replace(old, new)
        return text

    def _nginx(self) -> list[str]:
        room = self._room
        server = self._shipped(
            "nginx.conf", ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"), ("portal.example.com", "localhost")
        )
        places = "".join(
            f"{kind}_temp_path {room}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (room / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {room}/pid; error_log stderr info;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{places}{server}\n}}\n"
        )
        return [program("nginx"), "-e", "stderr", "-c", str(room / "nginx.conf")]

    def _caddy(self) -> list[str]:
        text = self._shipped(
            "Caddyfile", ("portal.example.com {", f"https://localhost:{self.port} {{\n\tbind 127.0.0.1")
        )
        (self._room / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text)
        return [program("caddy"), "run", "--config", str(self._room / "Caddyfile"), "--adapter", "caddyfile"]

    def _traefik(self) -> list[str]:
        (self._room / "portal.yml").write_text(self._shipped("traefik.yml", ("portal.example.com", "localhost")))
        return [
            program("traefik"), "--global.checkNewVersion=false", "--global.sendAnonymousUsage=false", "--log.level=INFO",
            f"--entryPoints.websecure.address=127.0.0.1:{self.port}", "--entryPoints.websecure.http.aliasHeadersStrategy=delete", f"--providers.file.filename={self._room / 'portal.yml'}",
        ]  # fmt: skip

    def _envoy(self) -> list[str]:
        text = self._shipped(
            "envoy.yaml", ("address: 0.0.0.0, port_value: 443", f"address: 127.0.0.1, port_value: {self.port}"),
            ("port_value: 8000", f"port_value: {self._gateway}"), ("port_value: 3000", f"port_value: {self._portal}"),
        )  # fmt: skip
        (self._room / "envoy.yaml").write_text(text)
        return [
            program("envoy"),
            "-c",
            str(self._room / "envoy.yaml"),
            "--concurrency",
            "1",
            "-l",
            "error",
            "--disable-hot-restart",
        ]


class Site:
    """A portal, a gateway that is asked, and the proxy in front of both; and somebody who signed in through it."""

    def __init__(self, gateway: Any, front: Front, portal: Portal) -> None:
        self.gateway, self.front, self.portal = gateway, front, portal
        self.public_url = f"https://localhost:{front.port}"
        self.kind = front.kind

    def connect(self, *_address: object) -> http.client.HTTPSConnection:
        return self.front.connect()


@pytest.fixture(scope="module", params=STYLES)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, configured: Any) -> Iterator[Site]:
    room = tmp_path_factory.mktemp(request.param)
    gateway, portal = configured.copy(room / "g"), Portal()
    front = Front(
        request.param,
        room / "front",
        gateway=gateway.port,
        portal=portal.port,
        tls=gateway.directory / "config" / "tls",
    )
    gateway.config.write_text(
        SETTINGS.format(
            front=front.port,
            gateway=gateway.port,
            admin=gateway.admin_port,
            portal=portal.port,
            style=STYLES[request.param],
        )
    )
    (gateway.directory / "policies" / "portal.yaml").write_text(POLICY)
    (gateway.directory / "policies" / "tests" / "portal.yaml").unlink()
    try:
        gateway.start()
        front.start()
        yield Site(gateway, front, portal)
    finally:
        front.stop()
        if gateway.process is not None:
            gateway.stop()
        portal.shutdown()
        portal.server_close()


@pytest.fixture(scope="module")
def browser(site: Site) -> Any:
    """A browser in which alice has signed in, through the proxy."""
    from tests.process.conftest import Browser

    made = Browser(site)  # type: ignore[arg-type]  # has what a browser needs of a gateway
    made.sign_in()
    return made


@pytest.fixture
def stranger(site: Site) -> Any:
    from tests.process.conftest import Browser

    return Browser(site)  # type: ignore[arg-type]


def field(answer: Any, name: str) -> list[str]:
    """Every value of a field as it reached the portal."""
    return [value for key, value in answer.json["fields"] if key == name]


def test_a_page_leads_to_the_sign_in_and_a_program_gets_401(site: Site, stranger: Any) -> None:
    seen = len(site.portal.requests)
    answer = stranger.get("/invoices/7?a=1")
    assert answer.status == 302
    assert answer.headers["location"] == f"{site.public_url}/.gateway/login?return_to=/invoices/7%3Fa%3D1"
    answer = stranger.get(
        "/invoices/7", {"Accept": "application/json", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
    )
    assert answer.status == 401
    assert len(site.portal.requests) == seen


def test_who_signed_in_through_the_proxy_is_known_to_the_portal(site: Site, browser: Any) -> None:
    answer = browser.get("/invoices/7?a=1%20b")
    assert answer.status == 200
    assert answer.json["path"] == "/invoices/7?a=1%20b"
    assert field(answer, "x-gateway-user") == ["alice"]
    assert field(answer, "x-gateway-tenant") == ["main"]
    assert field(answer, "x-gateway-roles") == ["client"]
    assert field(answer, "x-gateway-assertion")[0].count(".") == 2
    assert len(field(answer, "x-request-id")) == 1


def test_a_form_reaches_the_portal_whole(site: Site, browser: Any) -> None:
    answer = browser.post("/orders", {"article": "lamp"})
    assert answer.status == 200
    assert (answer.json["method"], answer.json["body"]) == ("POST", "article=lamp")


def test_a_role_that_is_missing_is_refused(site: Site, browser: Any) -> None:
    assert browser.get("/admin/users").status == 403


def test_a_public_page_needs_nobody_and_names_nobody(site: Site, stranger: Any) -> None:
    claimed = {f"X-Gateway-{name.title()}": "root" for name in IDENTITY}
    answer = stranger.get("/public/a", claimed)
    assert answer.status == 200
    for name in IDENTITY:
        assert field(answer, f"x-gateway-{name}") in ([], [""])


@pytest.mark.parametrize(
    "claimed",
    [
        {
            "X-Gateway-User": "root",
            "X-Gateway-Roles": "admin",
            "X-Gateway-Tenant": "other",
            "X-Gateway-Assertion": "a.b.c",
        },
        {"x-gateway-user": "root", "X-GATEWAY-ROLES": "admin"},
        {"X_Gateway_User": "root", "X-Gateway_Roles": "root"},
        {"Connection": "close, X-Gateway-User, X-Gateway-Roles, X-Original-URI, X-Forwarded-Uri"},
    ],
)
def test_an_identity_that_the_client_claims_does_not_pass(site: Site, browser: Any, claimed: dict[str, str]) -> None:
    answer = browser.get("/invoices/7", claimed)
    assert answer.status in {200, 400}
    if answer.status == 200:
        assert field(answer, "x-gateway-user") == ["alice"]
        assert field(answer, "x-gateway-roles") == ["client"]
        assert "root" not in answer.body.decode()


@pytest.mark.parametrize(
    "claimed",
    [
        {"X-Original-URI": "/public/a", "X-Original-Method": "GET"},
        {"X-Original-URL": "https://localhost/public/a"},
        {"X-Forwarded-Uri": "/public/a"},
        {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/public/a"},
        {"X-Forwarded-Host": "localhost", "X-Forwarded-Uri": "/public/a", "X-Forwarded-Proto": "https"},
        {"X-Rewrite-URL": "/public/a"},
        {"X-Envoy-Original-Path": "/public/a"},
        {"X-HTTP-Method-Override": "OPTIONS"},
        {"X_Original_URI": "/public/a"},
        {"X_Forwarded_Uri": "/public/a"},
        {"Forwarded": "for=127.0.0.1;host=localhost"},
    ],
)
def test_a_field_that_says_another_address_changes_no_decision(
    site: Site, browser: Any, stranger: Any, claimed: dict[str, str]
) -> None:
    """The way of CVE-2026-40575, and of every front proxy that passes such a field on."""
    seen = len(site.portal.requests)
    assert stranger.get("/invoices/7", claimed).status in {302, 400, 401, 403}
    assert browser.get("/admin/users", claimed).status in {400, 403}
    assert len(site.portal.requests) == seen


@pytest.mark.parametrize(
    "path",
    [
        "/public/../admin/users", "/public/%2e%2e/admin/users", "/public/..%2fadmin/users", "//admin/users", "/admin%2Fusers",
        "/./admin/users", "/public/..;/admin/users", "/public/%252e%252e/admin/users", "/%61dmin/users", "/ADMIN/users",
        "/public/../../admin/users", "/public/%5c..%5cadmin/users", "/.gateway/../admin/users", "/.gateway/%2e%2e/admin/users",
        "/.gateway/..%2fadmin/users", "/public/a%23/../../admin/users", "/admin/users?x=/public/", "/admin/users%3f/public/a",
    ],
)  # fmt: skip
def test_no_spelling_of_a_path_leads_past_the_gateway(site: Site, browser: Any, stranger: Any, path: str) -> None:
    before = len(site.portal.requests)
    for person in (stranger, browser):
        answer = person.get(path)
        assert answer.status in {301, 302, 307, 308, 400, 401, 403, 404}, (answer.status, answer.body)
    assert site.portal.requests[before:] == []


@pytest.mark.parametrize("path", ["/.gateway/check", "/.gateway/check/", "/.gateway/check/public/a", "/.gateway/check?x=1", "/.gateway//check", "/.gateway/x/../check", "/.gateway/%63heck"])  # fmt: skip
def test_a_client_cannot_ask_for_itself(site: Site, browser: Any, path: str) -> None:
    """Whoever could ask would be told an assertion that a portal accepts."""
    said = {"X-Original-Method": "GET", "X-Original-URI": "/public/a", "X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/public/a", "X-Forwarded-Host": "localhost"}  # fmt: skip
    for more in ({}, said):
        answer = browser.get(path, more)
        assert answer.status in {301, 307, 308, 400, 403, 404}
        assert not [name for name in answer.headers if name.startswith("x-gateway-")]


def test_the_portal_does_not_see_the_session_cookie_where_the_proxy_can_take_it_out(site: Site, browser: Any) -> None:
    browser.cookies["theme"] = "dark"
    try:
        (seen,) = field(browser.get("/invoices/7"), "cookie")
    finally:
        del browser.cookies["theme"]
    assert "theme=dark" in seen
    if site.kind in {"nginx", "caddy"}:
        assert "__Host-gw=" not in seen


def test_a_websocket_is_asked_about_with_its_origin(site: Site, browser: Any) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    seen = len(site.portal.requests)
    assert shake(site, cookie, "https://evil.example").startswith(b"HTTP/1.1 403 ")
    assert len(site.portal.requests) == seen
    answer = shake(site, cookie, site.public_url)
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    fields = json.loads(answer[answer.index(b"{") :])["fields"]
    assert [value for name, value in fields if name == "x-gateway-user"] == ["alice"]


def shake(site: Site, cookie: str, origin: str) -> bytes:
    """Send a WebSocket handshake; returns all that comes back."""
    connection = site.connect()
    try:
        connection.connect()
        connection.sock.sendall(
            f"GET /chat HTTP/1.1\r\nHost: localhost:{site.front.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nSec-Fetch-Mode: websocket\r\nOrigin: {origin}\r\n"
            f"Cookie: {cookie}\r\n\r\n".encode()
        )
        answer = b""
        while b"HTTP/1.1 101 " not in answer or not answer.endswith(b"}"):
            more = connection.sock.recv(65536)
            if not more:
                break
            answer += more
            if b"\r\n\r\n" in answer and b" 101 " not in answer[:20]:
                break
        return answer
    finally:
        connection.close()


@pytest.mark.parametrize("protocols", [["h2c"], ["h2c, websocket"], ["x, h2c"], ["x", "h2c"], ["websocket", "h2c"]])
def test_a_public_page_does_not_become_a_tunnel_past_the_gateway(site: Site, protocols: list[str]) -> None:
    """Over HTTP/2 in clear, a portal that speaks it would answer whatever is asked, and believe who asks."""
    upgrade = "".join(f"Upgrade: {name}\r\n" for name in protocols)
    connection = site.connect()
    try:
        connection.connect()
        connection.sock.sendall(
            f"GET /public/x HTTP/1.1\r\nHost: localhost:{site.front.port}\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            f"{upgrade}HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n".encode()
        )
        answer = connection.sock.recv(65536)
    finally:
        connection.close()
    assert answer.startswith(b"HTTP/1.1 "), answer
    assert b"h2c" not in answer.partition(b"\r\n\r\n")[0], answer


def test_a_limit_is_answered_as_one(site: Site, browser: Any) -> None:
    assert browser.get("/limited").status == 200
    answer = browser.get("/limited")
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) > 0


def test_every_check_is_in_the_trail_as_one(site: Site, browser: Any) -> None:
    browser.get("/invoices/4711")
    done = site.gateway.cli("audit", "query", "--json", "--limit", "50")
    (line,) = [line for line in done.stdout.splitlines() if "/invoices/4711" in line]
    assert '"via":"forward_auth"' in line.replace(" ", "")
    assert '"alice"' in line


@pytest.mark.parametrize("site", ["nginx"], indirect=True)
def test_a_gateway_that_cannot_record_refuses_for_the_proxy_too(site: Site, browser: Any) -> None:
    (audit,) = site.gateway.children("audit")
    seen = len(site.portal.requests)
    os.kill(audit, signal.SIGSTOP)
    try:
        answer = browser.get("/invoices/7")
    finally:
        with suppress(ProcessLookupError):  # the supervisor does not wait for ever for one that does not answer
            os.kill(audit, signal.SIGCONT)
    assert answer.status == 503
    assert len(site.portal.requests) == seen
    site.gateway.wait_until(lambda: browser.get("/invoices/7").status == 200)


@pytest.mark.parametrize("kind", STYLES)
def test_without_the_gateway_nothing_passes(kind: str, tmp_path: Path, configured: Any) -> None:
    portal = Portal()
    nobody = socket.socket()
    nobody.bind(("127.0.0.1", 0))  # held, and not listened on: the front would else be given the same port
    front = Front(
        kind,
        tmp_path / "front",
        gateway=nobody.getsockname()[1],
        portal=portal.port,
        tls=configured.directory / "config" / "tls",
    )
    try:
        front.start()
        for path in ("/", "/public/a", "/.gateway/login"):
            connection = front.connect()
            try:
                connection.request("GET", path)
                assert connection.getresponse().status >= 500
            finally:
                connection.close()
        assert portal.requests == []
    finally:
        front.stop()
        nobody.close()
        portal.shutdown()
        portal.server_close()
