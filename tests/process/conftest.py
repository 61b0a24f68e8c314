"""Whole gateways: made by `gateway init`, started by `gateway run`, used as a browser would, stopped by SIGTERM."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pyotp
import pytest

from tests.machine import free_port

PROGRAM = [str(Path(sys.executable).with_name("gateway"))]
READY_S = 60.0
PASSWORD = "wren-lantern-copper-44"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
_FORM = re.compile(r'<form[^>]* action="([^"]*)"[^>]*>(.*?)</form>', re.DOTALL)
_HIDDEN = re.compile(r"<input([^>]*)>")
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    """Names in lower case; of a repeated field the last."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Portal(ThreadingHTTPServer):
    """A portal that answers with what reached it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _PortalHandler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _PortalHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, "headers": {name.lower(): value for name, value in self.headers.items()}})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        pass


class Browser:
    """Keeps cookies and follows nothing by itself; one connection for each request."""

    def __init__(self, gateway: Gateway, *, address: str = "127.0.0.1") -> None:
        """Be at `address`, which the gateway limits apart from others."""
        self._gateway = gateway
        self._address = address
        self.cookies: dict[str, str] = {}

    def get(self, path: str, headers: Mapping[str, str] = {}) -> Answer:
        return self._ask("GET", path, None, headers)

    def post(self, path: str, fields: Mapping[str, str]) -> Answer:
        """Submit a form as a browser does: same-origin navigation."""
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": self._gateway.public_url,
            "Sec-Fetch-Site": "same-origin",
        }
        return self._ask("POST", path, urlencode(fields), headers)

    def submit(self, path: str, fields: Mapping[str, str]) -> Answer:
        """Open a page, take over the hidden fields of its form, fill in the others and submit."""
        page = self.get(path)
        assert page.status == 200, (page.status, page.headers, page.body[:300])
        hidden = {}
        forms = {found[1]: found[2] for found in _FORM.finditer(page.body.decode())}
        for found in _HIDDEN.finditer(forms.get(path.partition("?")[0]) or next(iter(forms.values()))):
            attributes = dict(_ATTRIBUTE.findall(found[1]))
            if attributes.get("type") == "hidden":
                hidden[attributes["name"]] = unescape(attributes["value"])
        return self.post(path, hidden | dict(fields))

    def sign_in(self, user: str = "alice", password: str = PASSWORD, secret: str = SECRET) -> None:
        """Sign in with password and code."""
        answer = self.submit("/.gateway/login", {"username": user, "password": password})
        assert answer.status == 303, (answer.status, answer.body[:2000])
        assert answer.headers["location"].startswith("/.gateway/mfa"), answer.headers
        answer = self.submit(answer.headers["location"], {"code": pyotp.TOTP(secret).now()})
        assert answer.status == 303, (answer.status, answer.body[:2000])

    def _ask(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Answer:
        sent = {
            "Accept": "text/html",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
            **headers,
        }
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection = self._gateway.connect(self._address)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        for line in response.headers.get_all("Set-Cookie") or ():
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
            if "max-age=0" in line.lower():
                del self.cookies[name]
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, data)


class Gateway:
    """A configuration directory and, once started, the gateway that runs on it."""

    def __init__(self, directory: Path, *, port: int | None = None, admin_port: int | None = None) -> None:
        self.directory = directory
        self.program = PROGRAM
        self.port, self.admin_port = port or free_port(), admin_port or free_port()
        self.public_url = f"https://localhost:{self.port}"
        self.config = directory / "gateway.yaml"
        self.log = directory.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None

    def init(self, portal: Portal) -> None:
        """Make the configuration as an operator does."""
        done = self.cli(
            "init", str(self.directory), "--public-url", self.public_url, "--listen", f"127.0.0.1:{self.port}",
            "--upstream", f"http://127.0.0.1:{portal.port}",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        self.edit(("127.0.0.1:9090", f"127.0.0.1:{self.admin_port}"))
        lines = self.config.read_text().splitlines(
            keepends=True
        )  # without inspection: a test that wants some says which
        self.config.write_text("".join(line for line in lines if not line.startswith("inspection:")))

    def copy(self, directory: Path) -> Gateway:
        """Make another one with the same keys and people, on ports of its own."""
        shutil.copytree(self.directory, directory, ignore=shutil.ignore_patterns("run"))
        other = Gateway(directory)
        ports = ((str(self.port), str(other.port)), (str(self.admin_port), str(other.admin_port)))
        other.edit(*ports)
        other.edit(ports[0], file="policies/tests/portal.yaml")
        return other

    def edit(self, *changes: tuple[str, str], file: str = "gateway.yaml") -> None:
        """Change texts in a file of the configuration."""
        path = self.directory / file
        text = path.read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        path.write_text(text)

    def cli(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a verb of the program on this configuration."""
        options = () if arguments[0] == "init" else ("-c", str(self.config))
        return subprocess.run(
            [*self.program, *arguments, *options], input=stdin, capture_output=True, text=True, timeout=60
        )

    def add_user(self, name: str = "alice", *roles: str, secret: str = SECRET) -> None:
        """Add a person with a password and an enrolled factor."""
        granted = [word for role in roles or ("client",) for word in ("--role", role)]
        done = self.cli(
            "user",
            "add",
            name,
            "--tenant",
            "main",
            *granted,
            "--password-stdin",
            "--totp-secret",
            secret,
            stdin=f"{PASSWORD}\n",
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.program, "run", "-c", str(self.config)], stdout=log, stderr=log, cwd="/"
            )
        self.wait_until(lambda: self.ready()[0] == 200)
        self.wait_until(lambda: bool(self.children("custodian")))  # it comes last, and nobody else waits for it

    def settle(self) -> None:
        """Wait until the custodian has loaded everything and sealed the file that the commands before the start left."""
        sealed = self.directory / "state" / "audit" / "security-000000000001.seg"
        self.wait_until(lambda: sealed.exists() and not sealed.with_suffix(".log").exists())

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait for something to become true of a gateway that lives."""
        deadline = time.monotonic() + READY_S
        while not holds():
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def ready(self) -> tuple[int, dict[str, str]]:
        """Ask /readyz: the status and what is wrong; 0 when nobody answers."""
        try:
            answer = self.admin("/readyz")
        except OSError:
            return 0, {}
        return answer.status, answer.json["problems"]

    def admin(self, path: str) -> Answer:
        """Ask the admin listener."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return Answer(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )
        finally:
            connection.close()

    def metric(self, line: str) -> float:
        """Read one number of /metrics by its name and labels; 0 when it is not there."""
        for found in self.admin("/metrics").body.decode().splitlines():
            name, _, value = found.rpartition(" ")
            if name == line:
                return float(value)
        return 0.0

    def connect(self, address: str = "127.0.0.1") -> http.client.HTTPSConnection:
        """Open a connection to the public listener, trusting its own certificate alone."""
        context = ssl.create_default_context(cafile=str(self.directory / "config" / "tls" / "cert.pem"))
        return http.client.HTTPSConnection(
            "localhost", self.port, timeout=20, context=context, source_address=(address, 0)
        )

    def children(self, kind: str = "", *, parent: int = 0) -> list[int]:
        """List the process ids of the children, or of those of one kind; of another parent than the first process."""
        assert self.process is not None
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                found_parent = int(status.read_text().rpartition(")")[2].split()[1])
                arguments = status.with_name("cmdline").read_bytes().split(b"\0")
                if found_parent == (parent or self.process.pid) and (not kind or kind.encode() in arguments):
                    found.append(int(status.parent.name))
        return sorted(found)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it; returns its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=20)


@pytest.fixture(scope="session")
def portal() -> Iterator[Portal]:
    """A portal for all gateways."""
    server = Portal()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def configured(tmp_path_factory: pytest.TempPathFactory, portal: Portal) -> Gateway:
    """A configuration with the user alice, made by the program once; tests run copies of it."""
    gateway = Gateway(tmp_path_factory.mktemp("configured") / "g")
    gateway.init(portal)
    gateway.add_user()
    return gateway


@pytest.fixture
def make_gateway(tmp_path: Path, configured: Gateway) -> Iterator[Callable[..., Gateway]]:
    """Make configured gateways, not started; those that run are stopped at the end."""
    made: list[Gateway] = []

    def make(name: str = "g", *, workers: int = 2) -> Gateway:
        gateway = configured.copy(tmp_path / name)
        gateway.edit(("workers: auto", f"workers: {workers}"))
        made.append(gateway)
        return gateway

    yield make
    for gateway in made:
        if gateway.process:
            gateway.stop()


@pytest.fixture
def running_gateway(make_gateway: Callable[..., Gateway]) -> Gateway:
    """A gateway that is ready, with the user alice."""
    gateway = make_gateway()
    gateway.start()
    return gateway


@pytest.fixture
def browser(running_gateway: Gateway) -> Browser:
    """A browser in which alice has signed in."""
    browser = Browser(running_gateway)
    browser.sign_in()
    return browser


@pytest.fixture
def make_browser() -> type[Browser]:
    """A browser for a gateway of the test's own."""
    return Browser
