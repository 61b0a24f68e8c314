"""An edge worker in this process: real sockets on both sides, an audit daemon that does as it is told."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from gateway.audit.access import Node
from gateway.audit.protocol import BADGE_BYTES
from gateway.edge.hardening import HeaderRules
from gateway.edge.limits import LimitTable
from gateway.edge.recorder import Recorder
from gateway.edge.resolve import Resolver
from gateway.edge.snapshot import Server, Snapshot, Upstream, WireLimits
from gateway.edge.tls import ListenerTLS
from gateway.edge.worker import Listener, Worker
from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.route import Durability, LimitSpec
from gateway.exchange.session import Session
from gateway.pages.errors import error_page
from gateway.policy import compile_policy
from gateway.ratelimit.gcra import Bucket
from gateway.server.bundle import CertificateBytes
from gateway.server.settings import load_settings
from gateway.server.tls import build_tls
from gateway.session.binding import Bond
from gateway.wire.forwarded import TrustedProxies
from tests.fakes.audit_daemon import FakeAuditDaemon
from tests.fakes.http2_client import Http2Client
from tests.fakes.portal import Portal

POLICY = """
version: 1
roles:
  client: {}
  admin: {includes: [client]}
routes:
  - {name: public, match: {path: "/public/**", methods: [GET, POST, PUT, OPTIONS]}, upstream: portal, public: true}
  - {name: ws, match: {path: /ws, methods: [GET]}, upstream: portal, public: true}
  - name: home
    match: {path: /, methods: [GET, POST]}
    upstream: portal
    allow: [{roles: [client]}]
  - name: invoice
    match: {path: "/invoices/{id}", methods: [GET]}
    upstream: portal
    resource: {type: invoice, id: "{id}"}
    allow: [{roles: [client]}]
  - name: admin
    match: {path: "/admin/**", methods: [GET]}
    upstream: portal
    allow: [{roles: [admin]}]
  - name: slashes
    match: {path: "/files/**", methods: [GET]}
    upstream: portal
    public: true
    allow_encoded_slash: true
  - name: strict
    match: {path: /strict, methods: [GET]}
    upstream: portal
    public: true
    audit: {durability: strict}
  - name: limited
    match: {path: /limited, methods: [GET]}
    upstream: portal
    allow: [{roles: [client]}]
    rate_limit: {rate: 1/m, burst: 2, per: user}
  - name: unproven
    match: {path: /unproven, methods: [GET]}
    upstream: portal
    unsafe_without_mfa: true
    allow: [{roles: [client]}]
  - name: polled
    match: {path: "/polled/**", methods: [GET]}
    upstream: portal
    activity: false
    allow: [{roles: [client]}]
  - name: ours
    match: {path: /ours, methods: [GET]}
    upstream: portal
    authorization: gateway
    allow: [{roles: [client]}]
"""


class Entry:
    def __init__(self, session: Session) -> None:
        self.session = session
        self.seen = session.created


class KeyEntry(Entry):
    def __init__(self, session: Session, *, networks: tuple[str, ...] = (), bucket: Bucket | None = None) -> None:
        super().__init__(session)
        self.networks = [ip_network(block) for block in networks]
        self.bucket = bucket

    def is_from(self, address: str) -> bool:
        return not self.networks or any(ip_address(address) in network for network in self.networks)


class MemorySessions:
    """Sessions by token, for the edge's own tests; the store has its own."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.keys: dict[bytes, KeyEntry] = {}
        self.disabled: set[tuple[str, str]] = set()
        self.unavailable = False
        self.lookups = 0
        self.strays: list[tuple[str, Bond, str]] = []

    def lookup(self, token: bytes, now: float) -> Entry | None:
        self.lookups += 1
        if self.unavailable:
            raise StoreUnavailableError("locked")
        return self.entries.get(token)

    def api_key(self, key: bytes, now: float) -> KeyEntry | None:
        if self.unavailable:
            raise StoreUnavailableError("locked")
        return self.keys.get(key)

    def touch_key(self, entry: Any, now: float) -> None:
        entry.seen = now

    def is_disabled(self, user: str, tenant: str) -> bool:
        if self.unavailable:
            raise StoreUnavailableError("locked")
        return (user, tenant) in self.disabled

    def astray(self, entry: Any, bond: Bond, address: str, now: float) -> None:
        self.strays.append((entry.session.handle, bond, address))

    def touch(self, entry: Any, now: float) -> None:
        entry.seen = now


def session(**changes: Any) -> Session:
    now = time.time()
    values: dict[str, Any] = {
        "handle": "handle1", "user_id": "u1", "user": "alice", "tenant": "acme", "roles": ("client",), "email": "alice@acme.example", "amr": ("pwd", "otp"),
        "auth_time": now, "mfa_time": now, "created": now, "expires": now + 3600, "idle_s": 900.0, "host": "127.0.0.1", "secure": False,
    }  # fmt: skip
    return Session(**{**values, **changes})


PATIENCE_S = 30.0
"""How long a test waits for what must come: longer than a busy machine needs, shorter than pytest's time-out."""
WIRE = WireLimits(
    max_head=16384, max_fields=50, max_target=8192, max_body=1 << 20, max_connections=64, max_connections_per_client=64,
    head_timeout_s=5.0, body_timeout_s=5.0, idle_timeout_s=30.0, write_timeout_s=5.0, kept_form=64 * 1024,
)  # fmt: skip


@dataclass
class Edge:
    worker: Worker
    portal: Portal
    audit: FakeAuditDaemon
    sessions: MemorySessions
    port: int
    reports: list[tuple[str, str]] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)

    def change(self, **changes: Any) -> None:
        self.worker.swap(replace(self.worker.snapshot, **changes))

    def change_wire(self, **changes: Any) -> None:
        self.change(wire=replace(self.worker.snapshot.wire, **changes))

    def change_upstream(self, **changes: Any) -> None:
        portal = replace(self.worker.snapshot.upstreams["portal"], **changes)
        self.change(upstreams={"portal": portal})

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def raw(self, data: bytes) -> bytes:
        """Send bytes, read until the gateway closes."""
        reader, writer = await self.connect()
        writer.write(data)
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.read()
        writer.close()
        return answer

    async def get(
        self, target: str = "/", *, method: str = "GET", fields: str = "", body: bytes = b"", token: str = ""
    ) -> Reply:
        cookie = f"Cookie: gw={token}\r\n" if token else ""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{cookie}{length}{fields}\r\n"
        return Reply(await self.raw(head.encode("latin-1") + body))


async def until(holds: Callable[[], object]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.01)


class Reply:
    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.head, _, self.body = raw.partition(b"\r\n\r\n")
        self.status = int(self.head.split(b" ", 2)[1]) if raw else 0

    def field(self, name: str) -> list[bytes]:
        return re.findall(rb"(?mi)^" + name.encode() + rb": ([^\r\n]*)\r?$", self.head)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


def make_snapshot(portal_port: int, **changes: Any) -> Snapshot:
    table, _ = compile_policy(
        {"policies/test.yaml": POLICY},
        upstreams=["portal"],
        tenants=["acme", "globex"],
        hosts=["127.0.0.1", "globex.example"],
        mfa_required=True,
    )
    names = {
        key: f"x-gateway-{key}".encode() for key in ("user", "tenant", "roles", "email", "session", "assertion")
    } | {"request_id": b"x-request-id"}
    upstream = Upstream(
        name="portal",
        servers=(Server(host="127.0.0.1", port=portal_port, path="", tls=None, server_name="", authority=b"10.0.0.9:3000"),),
        preserve_host=True, connect_timeout_s=10.0, response_timeout_s=20.0, idle_timeout_s=20.0, field_names=names,
        authorities=frozenset((b"10.0.0.9:3000",)), max_connections=32,
    )  # fmt: skip
    values: dict[str, Any] = {
        "version": "v1", "policy": table, "resolver": Resolver(table), "hosts": {"127.0.0.1": "", "globex.example": "globex"}, "issuer": "http://127.0.0.1",
        "public_port": 8443, "upstreams": {"portal": upstream}, "pages": replace(upstream, name="gateway", internal=True), "limits": (),
        "login_limit": Bucket(LimitSpec(name="login", rate_per_s=1 / 60, burst=3, per="ip")),
        "form_limit": Bucket(LimitSpec(name="forms", rate_per_s=1, burst=12, per="ip")), "ports": frozenset((80, 443, 8443)),
        "limits_of": {name: (Bucket(route.limit),) if route.limit else () for name, route in table.routes.items()}, "trusted_proxies": TrustedProxies(),
        "mapped_names": frozenset(), "headers": HeaderRules(b"max-age=63072000", b"object-src 'none'; base-uri 'self'; frame-ancestors 'self'", b"", b"same-origin", b"camera=()", b"same-origin", b"same-origin"),
        "durability": Durability.GROUP, "wire": WIRE, "error_page": error_page,
        "sign": lambda claims, algorithm: b"signed", "jwks": b'{"keys":[]}', "log_requests": True,
    }  # fmt: skip
    return Snapshot(**{**values, **changes})


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    loop = asyncio.get_running_loop()
    portal, audit, sessions = Portal(), FakeAuditDaemon(), MemorySessions()
    await portal.start()
    await audit.start(tmp_path / "audit.sock")
    sessions.entries = {
        b"tok": Entry(session()),
        b"admin": Entry(session(handle="handle2", user="root", user_id="u2", roles=("admin",))),
    }
    connect: Callable[..., Any] = lambda factory: loop.create_unix_connection(factory, str(tmp_path / "audit.sock"))  # noqa: E731
    recorder = Recorder(0, bytes(BADGE_BYTES), connect, time.time)
    await recorder.start()
    limits_fd = os.memfd_create("limits")
    os.ftruncate(limits_fd, 1 << 16)
    made = Edge(None, portal, audit, sessions, 0)  # type: ignore[arg-type]
    made.worker = Worker(
        snapshot=make_snapshot(portal.port), sessions=sessions, limits=LimitTable(limits_fd, 1 << 16, shared=False, secret=b"k" * 32), recorder=recorder,
        node=Node("node-a", "boot-1", "0.1.0"), log=made.lines.append, report=lambda event, detail: made.reports.append((event, detail)),
    )  # fmt: skip
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(64)
    listening.setblocking(False)
    made.port = listening.getsockname()[1]
    await made.worker.serve([Listener(listening.fileno(), redirects=False, tls=False)], 5.0)
    yield made
    await made.worker.drain(0.0)
    await audit.stop()
    await portal.stop()
    listening.close()
    os.close(limits_fd)
    assert [
        report for report in made.reports if report[0] != "request.failed" and not report[0].startswith("upstream.")
    ] == []


HTTP2_ADDRESS = "127.0.0.1:8443"


class Http2Edge:
    """The edge with a listener that speaks TLS, and clients that speak HTTP/2 to it."""

    def __init__(self, edge: Edge, port: int, ca: trustme.CA) -> None:
        self.edge = edge
        self.port = port
        self._ca = ca
        self._clients: list[Http2Client] = []

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._ca.configure_trust(context)
        return context

    async def client(self, *, windows: bool = True, **options: Any) -> Http2Client:
        client = Http2Client("portal.test", windows=windows)
        self._clients.append(client)
        return await client.open(self.port, self.context(), "portal.test", **options)

    async def stop(self) -> None:
        for client in self._clients:
            await client.close()

    def count(self, metric: str) -> dict[tuple[str, ...], float]:
        (sample,) = [sample for sample in self.edge.worker.metrics.dump() if sample.name == metric]
        return dict(sample.values)

    def warnings(self) -> list[str]:
        """Take what was said about connections that were ended."""
        told = [detail for event, detail in self.edge.reports if event == "http2.ended"]
        self.edge.reports[:] = [report for report in self.edge.reports if report[0] != "http2.ended"]
        return told


def http2_rules(ca: trustme.CA, tls: str = "") -> ListenerTLS:
    certificate = ca.issue_cert("portal.test")
    settings = load_settings(
        'version: 1\npublic_url: https://portal.test:8443\nupstreams: {portal: {servers: ["http://127.0.0.1:3000"]}}\n'
        f"listen: [{{address: {HTTP2_ADDRESS}, tls: {{certificate: a.pem, key: a.key{tls}}}}}]\n",
        Path("gateway.yaml"),
    )
    files = CertificateBytes(
        name="a.pem",
        chain=b"".join(item.bytes() for item in certificate.cert_chain_pems),
        key=certificate.private_key_pem.bytes(),
    )
    return build_tls(settings.listen[0], [files], None, now=0.0).tls


@pytest.fixture
async def http2(edge: Edge) -> AsyncIterator[Http2Edge]:
    ca = trustme.CA()
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(64)
    listening.setblocking(False)
    edge.change(hosts={"portal.test": "", "127.0.0.1": ""}, tls={HTTP2_ADDRESS: http2_rules(ca)})
    edge.sessions.entries[b"secure"] = Entry(session(host="portal.test", secure=True))
    made = Http2Edge(edge, listening.getsockname()[1], ca)
    await edge.worker.listen(Listener(listening.fileno(), redirects=False, tls=True, address=HTTP2_ADDRESS), 5.0)
    yield made
    await made.stop()
    listening.close()
    made.warnings()
