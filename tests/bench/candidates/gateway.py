"""The gateway in full: session after password and TOTP, policy, two limits, hardened answers, audit.

It is used as an operator uses it: `gateway init`, an edited gateway.yaml, one policy file, `gateway user add`, `gateway run`; and
as a person does: the sign-in form, the code form, a cookie. Nothing here knows how it is built.
"""

from __future__ import annotations

import base64
import contextlib
import http
import http.client
import json
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import pyotp
import yaml

from tests.bench.browser import Browser, forms
from tests.bench.candidates.candidate import Candidate, EvidenceError, MissingError, executable, first_line
from tests.bench.process import Program, StartError, wait_until
from tests.bench.site import HOST, Site, free_port, write
from tests.bench.upstream import PAGE, PROJECT

VERB_S = 60
"""A verb may take an argon2id and the start of an interpreter on a busy machine."""
VERIFY_S = 600
"""Verifying reads every record again."""
STEP_S = 30
"""A TOTP code holds for one step (RFC 6238 section 5.2) and is taken once."""
COMPILED = PROJECT / "build" / "compiled" / "bin" / "gateway"
UNREACHED = "1000000/s"
KIND = re.compile(rb"gateway\.server\.child\0(\w+)")

POLICY = f"""\
version: 1
roles:
  client: {{}}
  billing: {{includes: [client]}}
routes:
  - name: invoice
    match: {{path: "/invoices/{{invoice_id}}", methods: [GET]}}
    upstream: portal
    action: view
    resource: {{type: invoice, id: "{{invoice_id}}"}}
    allow:
      - roles: [client]
    rate_limit: {{rate: {UNREACHED}, burst: 1000000, per: user}}
  - name: document
    match: {{path: "/download/{{name}}", methods: [GET]}}
    upstream: portal
    action: download
    resource: {{type: document, id: "{{name}}"}}
    allow:
      - roles: [client]
    rate_limit: {{rate: {UNREACHED}, burst: 1000000, per: user}}
  - name: chat
    match: {{path: "/chat/{{room}}", methods: [GET]}}
    upstream: chat
    action: view
    resource: {{type: chat, id: "{{room}}"}}
    allow:
      - roles: [client]
    rate_limit: {{rate: {UNREACHED}, burst: 1000000, per: user}}
"""
CASES = """\
cases:
  - name: a client reads an invoice
    as: {user: alice, tenant: acme, roles: [client], mfa_age: 60s}
    request: GET http://127.0.0.1/invoices/42
    expect: {decision: allow, route: invoice}
"""


class Gateway(Candidate):
    """One worker, pages and audit on the pinned core; durability `group`: a shared fdatasync before each release."""

    name = "gateway"
    work = "proxy, revocable session + MFA, RBAC, 2 limits, headers, signed audit on disk before release (group)"
    speaks_http2 = True
    scales: ClassVar[bool] = True
    durability: ClassVar[str] = "group"

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.admin_port = free_port()
        self._people: dict[str, tuple[str, str, str]] = {}
        """Origin -> name, password, TOTP secret: one person for each origin, since a code is taken only once."""

    def binary(self) -> str:
        binary = Path(sys.executable).with_name("gateway")
        if not binary.is_file():
            raise MissingError(f"no `gateway` beside {Path(sys.executable).name} (make install)")
        return str(binary)

    def version(self) -> str:
        return first_line([self.binary(), "--version"]).replace(", version", "")

    def configure(self, room: Path) -> None:
        house = room / "house"
        shutil.rmtree(house, ignore_errors=True)
        self._verb("init", str(house))
        settings = house / "gateway.yaml"
        document = yaml.safe_load(settings.read_text(encoding="utf-8"))
        write(settings, yaml.safe_dump({**document, **self._settings(house)}, sort_keys=False))
        policies = house / "policies"
        shutil.rmtree(policies, ignore_errors=True)
        (policies / "tests").mkdir(parents=True)
        write(policies / "portal.yaml", POLICY)
        write(policies / "tests" / "portal.yaml", CASES)
        self._verb("check", "-c", str(settings))
        for origin, name in ((self.url, "alice"), (self.tls_url, "bob")):
            password, secret = secrets.token_urlsafe(18), base64.b32encode(secrets.token_bytes(20)).decode("ascii")
            words = [
                "user",
                "add",
                name,
                "--tenant",
                "acme",
                "--role",
                "client",
                "--password-stdin",
                "--totp-secret",
                secret,
            ]
            self._verb(*words, "-c", str(settings), given=password + "\n")
            self._people[origin] = (name, password, secret)

    def command(self, room: Path) -> list[str]:
        return [self.binary(), "run", "-c", str(room / "house" / "gateway.yaml")]

    def answers(self) -> bool:
        """Tell whether the page comes; before the first sign-in, whether the sign-in form does."""
        if self.cookie:
            return self.serves()
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer = Browser().request("GET", f"{self.url}/.gateway/login")
            return answer.status == http.HTTPStatus.OK and any("password" in form.fields for form in forms(answer.body))
        return False

    def sign_in(self) -> None:
        self.cookie = self._sign_in(self.url)
        self.tls_cookie = self._sign_in(self.tls_url)

    def label(self, command_line: bytes) -> str:
        """Return the kind of one of the gateway's processes: edge, pages, audit, or the supervisor."""
        found = KIND.search(command_line)
        return found[1].decode("ascii") if found else "supervisor"

    def evidence(self) -> str:
        """Have the audit log verified, and compare it with what the load generators counted: no answer without its record."""
        settings = self.site.room(self.name) / "house" / "gateway.yaml"
        told = self._verb("audit", "verify", "--json", "-c", str(settings), seconds=VERIFY_S)
        size = json.loads(told)["size"]
        if size < self.answered:
            raise EvidenceError(f"{self.answered:,} answers came, but only {size:,} records are in the audit log")
        return f"{self.answered:,} answers were counted; `gateway audit verify` finds the log intact, with {size:,} records"

    def _sign_in(self, origin: str) -> str:
        name, password, secret = self._people[origin]
        browser = Browser()
        page = browser.follow(browser.request("GET", f"{origin}/.gateway/login?return_to={PAGE}"))
        page = self._submit(browser, page, {"username": name, "password": password})
        left = STEP_S - time.time() % STEP_S
        if left < 1:  # the code would be of yesterday's step when it arrives
            time.sleep(left)
        page = self._submit(browser, page, {"code": pyotp.TOTP(secret).now()})
        if page.status != http.HTTPStatus.OK or not page.url.startswith(origin + PAGE):
            raise StartError(
                f"{self.name}: the sign-in at {origin} ended at {page.url} with {page.status}: {said(page.body)}"
            )
        return browser.cookies(origin)

    def _submit(self, browser: Browser, page: Any, values: dict[str, str]) -> Any:
        try:
            return browser.submit(page, values)
        except LookupError as exc:
            raise StartError(f"{self.name}: {exc}: {said(page.body)}; {self.program.tail()}") from exc

    def _settings(self, house: Path) -> dict[str, Any]:
        return {
            "public_url": self.url,
            "listen": [
                {"address": f"{HOST}:{self.port}", "unsafe_plaintext": True},
                {
                    "address": f"{HOST}:{self.tls_port}",
                    "tls": {"certificate": str(self.site.certificate), "key": str(self.site.key)},
                },
            ],
            "admin": {"address": f"{HOST}:{self.admin_port}"},
            "workers": self.workers,
            "state_dir": str(house / "state"),
            "upstreams": {
                "portal": {"servers": [f"http://{HOST}:{self.site.upstream_port}"]},
                "chat": {"servers": [f"http://{HOST}:{self.site.echo_port}"], "max_connections": 4096},
            },
            "tenants": {"acme": {"hosts": [HOST]}},
            "mfa": {"required": "always", "methods": ["totp", "recovery"]},
            "sessions": {"idle": "2h", "absolute": "8h"},
            "limits": {"client": {"rate": UNREACHED, "burst": 1_000_000, "per": "ip"}},
            "audit": {"durability": self.durability},
            "inspection": {"waf": "off"},
        }

    def _verb(self, *words: str, given: str | None = None, seconds: float = VERB_S) -> str:
        """Run one verb to its end and return what it printed. Raises StartError with what it said."""
        try:
            done = subprocess.run(
                [self.binary(), *words],
                input=given,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise StartError(f"gateway {words[0]} took longer than {seconds:.0f} s") from exc
        if done.returncode != 0:
            lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
            told = " / ".join(lines[-1:] if "Traceback" in done.stderr else lines[-6:])
            raise StartError(f"gateway {words[0]} ended with {done.returncode}: {told[-600:]}")
        return done.stdout


class GatewayRedis(Gateway):
    """The same with its state in a Redis of its own, which runs on the cores of load and upstream and is not counted."""

    name = "gateway-redis"
    work = "the same as gateway, the session read from Redis for each request"
    scales = False

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._redis_port = free_port()
        self._redis: Program | None = None

    def configure(self, room: Path) -> None:
        server = executable("redis-server", hint="apt-get install redis-server")
        kept = room / "redis"
        kept.mkdir(exist_ok=True)
        options = {"port": str(self._redis_port), "bind": HOST, "dir": str(kept), "appendonly": "yes", "save": ""}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._redis = Program(
            [server, *words],
            cores=self.site.cores.load,
            output=kept / "output",
            environment={},
            directory=kept,
        )
        wait_until(self._redis_listens, self._redis, seconds=VERB_S)
        super().configure(room)

    def close(self) -> None:
        """End Redis."""
        if self._redis is not None:
            self._redis.stop()
            self._redis = None

    def _redis_listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self._redis_port), 1):
            return True
        return False

    def _settings(self, house: Path) -> dict[str, Any]:
        return {**super()._settings(house), "state": f"redis://{HOST}:{self._redis_port}/0"}


class GatewayCompiled(Gateway):
    """The same program with its hot modules compiled: what `make compiled` left in build/compiled."""

    name = "gateway-compiled"
    work = "the same as gateway, hot path compiled by mypyc"
    scales = False

    def binary(self) -> str:
        if not COMPILED.is_file():
            raise MissingError("it was not built (make compiled)")
        return str(COMPILED)


class GatewayCompiledAsync(GatewayCompiled):
    """Compiled, and with durability `async`."""

    name = "gateway-compiled-async"
    work = "the same as gateway-async, hot path compiled by mypyc"
    durability = "async"


class GatewayAsync(Gateway):
    """The same with durability `async`: the record is handed over, its fdatasync not awaited."""

    name = "gateway-async"
    work = "the same, audit handed over and synced within 100 ms (async)"
    durability = "async"
    scales = False


class GatewayInspecting(Gateway):
    """The same with attacks looked for in every request, by our own rules."""

    name = "gateway-waf"
    work = "the same as gateway, and `inspection: {waf: block}`"
    scales = False

    def _settings(self, house: Path) -> dict[str, Any]:
        return {**super()._settings(house), "inspection": {"waf": "block"}}


class GatewayCompiledInspecting(GatewayInspecting, GatewayCompiled):
    """The same, compiled."""

    name = "gateway-compiled-waf"
    work = "the same as gateway-waf, hot path compiled by mypyc"


class GatewayStrict(Gateway):
    """The same with durability `strict`: the last byte waits for the closing record."""

    name = "gateway-strict"
    work = "the same, last byte after the closing record (strict)"
    durability = "strict"
    scales = False


def said(page: bytes) -> str:
    """Return the words of a page, for messages."""
    return (
        re.sub(rb"<(script|style).*?</\1>|<[^>]*>|\s+", b" ", page, flags=re.DOTALL)
        .decode("utf-8", "replace")
        .strip()[:300]
    )
