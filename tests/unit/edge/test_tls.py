"""The edge behind TLS: names, rules that change while connections are open, certificates of clients."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import hashlib
import json
import math
import re
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from gateway.authn.access_token import IssuerRules
from gateway.authn.claims import ClaimTable
from gateway.authn.jose import parse_jwks
from gateway.edge.bearer import IssuerKeySet
from gateway.edge.credential_rules import CredentialRules
from gateway.edge.resolve import Resolver
from gateway.edge.tls import quiet_about_server_names
from gateway.edge.worker import Listener
from gateway.policy import compile_policy
from gateway.server.bundle import CertificateBytes, ClientAuthorityBytes
from gateway.server.settings import load_settings
from gateway.server.tls import Built, build_tls
from gateway.wire.forwarded import TrustedProxies
from tests.fakes.http2_client import Http2Client
from tests.fakes.jose import base64url, ec_key, jwk, jwks, token
from tests.unit.edge.conftest import Entry, session, until

ADDRESS = "127.0.0.1:8443"
SETTINGS = """\
version: 1
public_url: https://portal.test:8443
listen:
  - address: 127.0.0.1:8443
    tls: {{certificate: a.pem, key: a.key{tls}}}
    {more}
upstreams: {{portal: {{servers: ["http://127.0.0.1:3000"]}}}}
"""


class TLSEdge:
    """An edge worker with a TLS listener whose rules a test sets."""

    def __init__(self, edge: Any, port: int) -> None:
        self.edge = edge
        self.port = port
        self.ca = trustme.CA()
        self.client_ca = trustme.CA()

    def rules(
        self,
        *certificates: trustme.LeafCert,
        tls: str = "",
        more: str = "",
        crl: bytes | None = None,
        ca: bytes | None = None,
        now: float = 0.0,
    ) -> Built:
        settings = load_settings(SETTINGS.format(tls=tls, more=more), Path("gateway.yaml"))
        files = [
            CertificateBytes(
                name=f"{index}.pem",
                chain=b"".join(item.bytes() for item in certificate.cert_chain_pems),
                key=certificate.private_key_pem.bytes(),
            )
            for index, certificate in enumerate(certificates)
        ]
        authority = ClientAuthorityBytes(
            ca_name="ca.pem", ca=ca or self.client_ca.cert_pem.bytes(), crl_name="crl.pem", crl=crl
        )
        return build_tls(settings.listen[0], files, authority if settings.listen[0].asks_clients else None, now=now)

    def use(self, built: Built, **changes: Any) -> None:
        self.edge.change(tls={ADDRESS: built.tls}, **changes)

    def client(self, identity: trustme.LeafCert | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        if identity is not None:
            identity.configure_cert(context)
        return context

    async def connect(self, context: ssl.SSLContext, name: str = "portal.test") -> Any:
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=name)

    async def ask(
        self,
        context: ssl.SSLContext,
        target: str = "/public/x",
        *,
        name: str = "portal.test",
        host: str = "",
        fields: str = "",
    ) -> tuple[int, bytes]:
        reader, writer = await self.connect(context, name)
        try:
            return await ask(reader, writer, target, host=host or name, fields=fields + "Connection: close\r\n")
        finally:
            writer.close()

    def count(self, metric: str) -> dict[tuple[str, ...], float]:
        (sample,) = [sample for sample in self.edge.worker.metrics.dump() if sample.name == metric]
        return dict(sample.values)


async def ask(reader: Any, writer: Any, target: str = "/public/x", *, host: str, fields: str = "") -> tuple[int, bytes]:
    """Send one request on an open connection; returns status and body of an answer with a length."""
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
    return await answer_of(reader)


async def answer_of(reader: Any) -> tuple[int, bytes]:
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        body = await reader.readexactly(length)
    return int(head.split(b" ", 2)[1]), body


@pytest.fixture
async def tls(edge: Any) -> AsyncIterator[TLSEdge]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(64)
    listening.setblocking(False)
    made = TLSEdge(edge, listening.getsockname()[1])
    edge.change(hosts={"portal.test": "", "other.test": "", "x.wild.test": "", "acme.test": "acme"})
    made.use(made.rules(made.ca.issue_cert("portal.test")))
    await edge.worker.listen(Listener(listening.fileno(), redirects=False, tls=True, address=ADDRESS), 1.0)
    yield made
    listening.close()


POLICY = """
version: 1
roles: {client: {}, admin: {}}
routes:
  - {name: public, match: {path: "/public/**", methods: [GET]}, upstream: portal, public: true}
  - {name: device, match: {path: /device, methods: [GET]}, upstream: portal, public: true, client_certificate: required}
  - name: certified
    match: {path: /certified, methods: [GET, POST]}
    upstream: portal
    client_certificate: required
    unsafe_without_mfa: true
    allow: [{roles: [client]}]
  - name: either
    match: {path: /either, methods: [GET]}
    upstream: portal
    client_certificate: optional
    unsafe_without_mfa: true
    allow: [{roles: [client]}]
  - {name: strong, match: {path: /strong, methods: [GET]}, upstream: portal, client_certificate: required, allow: [{roles: [client]}]}
  - {name: admin, match: {path: /admin, methods: [GET]}, upstream: portal, client_certificate: required, unsafe_without_mfa: true, allow: [{roles: [admin]}]}
  - {name: people, match: {path: /people, methods: [GET]}, upstream: portal, unsafe_without_mfa: true, allow: [{roles: [client]}]}
  - {name: ws, match: {path: /ws, methods: [GET]}, upstream: portal, client_certificate: required, unsafe_without_mfa: true, allow: [{roles: [client]}]}
"""
ALICE = "{san_email: alice@acme.example, user: alice, tenant: acme, roles: [client], email: alice@acme.example}"
STRONG = "{san_email: strong@acme.example, user: strong, tenant: acme, roles: [client], mfa: true}"
BOTH = "{san_dns: both.acme.example, user: alice, tenant: acme, roles: [client], email: alice@acme.example}"
BOB = "{san_email: bob@acme.example, user: bob, tenant: acme, roles: [client]}"
OPTIONAL = f"client_certificates: {{mode: optional, ca: ca.pem, map: [{ALICE}, {STRONG}, {BOTH}, {BOB}]}}"
REQUIRED = OPTIONAL.replace("optional", "required")


def serial_of(leaf: trustme.LeafCert) -> int:
    return x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).serial_number


def revocations(ca: trustme.CA, *serials: int, ends: float = 3600.0) -> bytes:
    """Make a revocation list that ends in so many seconds."""
    now = time.time()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.load_pem_x509_certificate(ca.cert_pem.bytes()).subject)
        .last_update(dt.datetime.fromtimestamp(now - 3600, dt.UTC))
        .next_update(dt.datetime.fromtimestamp(now + ends, dt.UTC))
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial)
        builder = builder.add_revoked_certificate(
            entry.revocation_date(dt.datetime.fromtimestamp(now - 60, dt.UTC)).build()
        )
    key: Any = load_pem_private_key(ca.private_key_pem.bytes(), None)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


@contextmanager
def quiet_about_names() -> Iterator[None]:
    """Python reports a name it cannot decode to this hook; the edge process installs its own."""
    before, sys.unraisablehook = sys.unraisablehook, quiet_about_server_names(sys.unraisablehook)
    try:
        yield
    finally:
        sys.unraisablehook = before


def reason(answer: tuple[int, bytes]) -> tuple[int, str]:
    return answer[0], json.loads(answer[1])["reason"]


def policy() -> dict[str, Any]:
    table, _ = compile_policy(
        {"policies/test.yaml": POLICY},
        upstreams=["portal"],
        tenants=["acme"],
        hosts=["portal.test", "other.test", "x.wild.test", "acme.test"],
        mfa_required=True,
    )
    return {"policy": table, "resolver": Resolver(table), "limits_of": dict.fromkeys(table.routes, ())}


async def told(tls: TLSEdge, context: ssl.SSLContext, name: str = "portal.test") -> str:
    """The common name of the certificate that a client is shown, by its first name."""
    _, writer = await tls.connect(context, name)
    shown = writer.get_extra_info("ssl_object").getpeercert()["subjectAltName"][0][1]
    writer.close()
    return str(shown)


async def test_a_request_over_tls_passes(tls: TLSEdge) -> None:
    status, _ = await tls.ask(tls.client())
    assert status == 200
    assert tls.count("gateway_tls_handshakes_total") == {("TLSv1.3", "no"): 1}


# names


async def test_the_name_asked_for_picks_the_certificate(tls: TLSEdge) -> None:
    tls.use(
        tls.rules(tls.ca.issue_cert("portal.test"), tls.ca.issue_cert("other.test"), tls.ca.issue_cert("*.wild.test"))
    )
    client = tls.client()
    assert await told(tls, client, "other.test") == "other.test"
    assert await told(tls, client, "x.wild.test") == "*.wild.test"
    assert (await tls.ask(client, name="other.test"))[0] == 200


async def test_of_two_kinds_of_key_a_client_gets_the_one_it_knows(tls: TLSEdge) -> None:
    tls.use(tls.rules(tls.ca.issue_cert("portal.test"), tls.ca.issue_cert("portal.test", key_type=trustme.KeyType.RSA)))
    client = tls.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    for kind in ("ECDSA", "RSA"):
        client.set_ciphers(f"ECDHE-{kind}-AES128-GCM-SHA256")
        assert (await tls.ask(client))[0] == 200


async def test_an_unknown_name_gets_the_first_certificate(tls: TLSEdge) -> None:
    client = tls.client()
    client.check_hostname = False
    assert await told(tls, client, "unknown.test") == "portal.test"


async def test_an_unknown_name_is_refused_in_the_handshake_where_that_is_wanted(tls: TLSEdge) -> None:
    tls.use(tls.rules(tls.ca.issue_cert("portal.test"), tls=", unknown_sni: refuse"))
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        await tls.connect(tls.client(), "unknown.test")
    await until(lambda: tls.count("gateway_tls_handshake_failures_total") == {("unknown_name",): 1})
    assert (await tls.ask(tls.client()))[0] == 200


async def test_a_host_that_the_connection_was_not_opened_for_is_misdirected(tls: TLSEdge) -> None:
    """Domain fronting: the handshake says one host, the request another."""
    tls.use(tls.rules(tls.ca.issue_cert("portal.test"), tls.ca.issue_cert("other.test")))
    answer = await tls.ask(tls.client(), name="portal.test", host="other.test")
    assert reason(answer) == (421, "sni_mismatch")
    assert tls.edge.portal.heads == []


async def test_hosts_of_one_certificate_share_connections_as_browsers_do(tls: TLSEdge) -> None:
    tls.use(tls.rules(tls.ca.issue_cert("portal.test", "other.test")))
    assert (await tls.ask(tls.client(), name="portal.test", host="other.test"))[0] == 200


async def test_an_unknown_name_opens_no_connection_for_a_known_host(tls: TLSEdge) -> None:
    client = tls.client()
    client.check_hostname = False
    assert reason(await tls.ask(client, name="front.test", host="portal.test")) == (421, "sni_mismatch")


async def test_a_client_that_asks_for_no_name_may_ask_for_every_host(tls: TLSEdge) -> None:
    client = tls.client()
    client.check_hostname = False
    assert (await tls.ask(client, name="", host="portal.test"))[0] == 200


async def test_a_trusted_proxy_may_say_its_own_name_in_the_handshake(tls: TLSEdge) -> None:
    tls.edge.change(trusted_proxies=TrustedProxies((ip_network("127.0.0.1"),)))
    client = tls.client()
    client.check_hostname = False
    assert (await tls.ask(client, name="gateway.internal", host="portal.test"))[0] == 200


async def test_a_name_outside_ascii_costs_a_handshake_and_nothing_else(tls: TLSEdge) -> None:
    """Python decodes the name before we see it: what is no ASCII ends the handshake."""
    hello = ssl.MemoryBIO()
    session = tls.client().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="aaaaaa.test")
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    reader, writer = await asyncio.open_connection("127.0.0.1", tls.port)
    with quiet_about_names():
        writer.write(hello.read().replace(b"aaaaaa.test", b"\xff\xfe\xfd\xfc\xfb\xfa.test"))
        async with asyncio.timeout(10):
            assert b"HTTP" not in await reader.read()
    writer.close()
    assert (await tls.ask(tls.client()))[0] == 200


# protocols


async def test_old_versions_and_plain_http_fail_and_are_counted(tls: TLSEdge) -> None:
    old = tls.client()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert (await tls.ask(old))[0] == 200
    tls.use(tls.rules(tls.ca.issue_cert("portal.test"), tls=', min_version: "1.3"'))
    with pytest.raises(ssl.SSLError):
        await tls.connect(old)
    reader, writer = await asyncio.open_connection("127.0.0.1", tls.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: portal.test\r\n\r\n")
    async with asyncio.timeout(10):
        assert b"HTTP/1" not in await reader.read()
    writer.close()
    await until(lambda: tls.count("gateway_tls_handshake_failures_total") == {("version",): 1, ("not_tls",): 1})
    assert tls.edge.portal.connections == 1


async def test_a_stalled_handshake_ends_and_is_counted(tls: TLSEdge) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", tls.port)
    writer.write(b"\x16\x03\x01")
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()
    await until(lambda: tls.count("gateway_tls_handshake_failures_total") == {("timeout",): 1})


async def test_a_client_of_tls_1_2_cannot_renegotiate(tls: TLSEdge, tmp_path: Path) -> None:
    """Each renegotiation would cost us a signature and the client nothing (CVE-2011-1473)."""
    (tmp_path / "ca.pem").write_bytes(tls.ca.cert_pem.bytes())
    process = await asyncio.create_subprocess_exec(
        "openssl", "s_client", "-connect", f"127.0.0.1:{tls.port}", "-servername", "portal.test", "-tls1_2",
        "-CAfile", str(tmp_path / "ca.pem"),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    await until(lambda: bool(tls.count("gateway_tls_handshakes_total")))
    async with asyncio.timeout(20):
        await process.stdout.readuntil(b"---\n")
        process.stdin.write(b"R\n")
        said = await process.stdout.read()
    await process.wait()
    assert b"RENEGOTIATING" in said
    assert b"no renegotiation" in said.lower()


# reload


async def test_new_certificates_are_served_and_open_connections_live_on(tls: TLSEdge) -> None:
    reader, writer = await tls.connect(tls.client())
    assert (await ask(reader, writer, host="portal.test"))[0] == 200
    tls.use(tls.rules(tls.ca.issue_cert("new.test", "portal.test")))
    assert await told(tls, tls.client()) == "new.test"
    assert (await ask(reader, writer, host="portal.test"))[0] == 200
    writer.close()


async def test_certificates_change_under_requests_without_one_lost(tls: TLSEdge) -> None:
    client, answers, stop = tls.client(), [], False
    certificates = [tls.rules(tls.ca.issue_cert("portal.test")) for _ in range(4)]

    async def visit() -> None:
        while not stop:
            answers.append((await tls.ask(client))[0])

    async def stay() -> None:
        reader, writer = await tls.connect(client)
        while not stop:
            answers.append((await ask(reader, writer, host="portal.test"))[0])
        writer.close()

    visitors = [asyncio.ensure_future(work()) for work in (visit, visit, stay, stay)]
    for built in certificates:
        seen = len(answers)
        tls.use(built)
        await until(lambda seen=seen: len(answers) > seen + 20)  # type: ignore[misc]  # bound now
    stop = True
    await asyncio.gather(*visitors)
    assert set(answers) == {200}


async def test_a_higher_minimum_holds_for_connections_that_are_open(tls: TLSEdge) -> None:
    old = tls.client()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    reader, writer = await tls.connect(old)
    assert (await ask(reader, writer, host="portal.test"))[0] == 200
    tls.use(tls.rules(tls.ca.issue_cert("portal.test"), tls=', min_version: "1.3"'))
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


async def test_a_connection_that_is_never_idle_does_not_outlive_its_demands(tls: TLSEdge) -> None:
    """Attack: with the begin of a next request behind each one, a connection of before is never seen idle."""
    reader, writer = await tls.connect(tls.client())
    begin, end = b"GET /public/x HT", b"TP/1.1\r\nHost: portal.test\r\n\r\n"
    writer.write(begin + end + begin)
    assert (await answer_of(reader))[0] == 200
    tls.use(tls.rules(tls.ca.issue_cert("portal.test"), more="client_certificates: {ca: ca.pem}"))
    writer.write(end + begin)
    assert (await answer_of(reader))[0] == 200, "what had begun is finished"
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


async def test_a_request_under_way_finishes_when_the_demands_rise(tls: TLSEdge) -> None:
    gate = asyncio.Event()

    async def slow(_portal: Any, _head: bytes, _reader: Any, writer: Any) -> None:
        await gate.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    tls.edge.portal.answers[b"/public/slow"] = slow
    reader, writer = await tls.connect(tls.client())
    asked = asyncio.ensure_future(ask(reader, writer, "/public/slow", host="portal.test"))
    await until(lambda: bool(tls.edge.portal.heads))
    tls.use(tls.rules(tls.ca.issue_cert("portal.test"), tls=', min_version: "1.3"'))
    gate.set()
    assert (await asked)[0] == 200
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


async def resumes(tls: TLSEdge, client: ssl.SSLContext, session: Any) -> tuple[bool, Any]:
    """Connect in a thread with an offered session, as only blocking sockets can; returns whether it was taken and a new one."""

    def visit() -> tuple[bool, Any]:
        with (
            socket.create_connection(("127.0.0.1", tls.port)) as plain,
            client.wrap_socket(plain, server_hostname="portal.test", session=session) as secured,
        ):
            secured.sendall(b"GET /public/x HTTP/1.1\r\nHost: portal.test\r\nConnection: close\r\n\r\n")
            while secured.recv(4096):
                pass
            return bool(secured.session_reused), secured.session

    return await asyncio.get_running_loop().run_in_executor(None, visit)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_clients_resume_until_the_rules_change(tls: TLSEdge, version: ssl.TLSVersion) -> None:
    client = tls.client()
    client.maximum_version = version
    _, session = await resumes(tls, client, None)
    reused, session = await resumes(tls, client, session)
    assert reused
    tls.edge.change(version="v2")  # a reload that leaves the listener as it is
    reused, session = await resumes(tls, client, session)
    assert reused
    tls.use(tls.rules(tls.ca.issue_cert("portal.test")))
    reused, _ = await resumes(tls, client, session)
    assert not reused


async def test_a_ticket_of_yesterday_opens_nothing_when_certificates_are_required(tls: TLSEdge) -> None:
    client = tls.client()
    _, session = await resumes(tls, client, None)
    tls.use(tls.rules(tls.ca.issue_cert("portal.test"), more=REQUIRED))
    with pytest.raises(OSError):
        await resumes(tls, client, session)


# certificates of clients


@pytest.fixture
def certified(tls: TLSEdge) -> TLSEdge:
    tls.use(tls.rules(tls.ca.issue_cert("portal.test"), more=OPTIONAL), **policy())
    tls.edge.sessions.entries[b"alice"] = Entry(session(host="portal.test", secure=True))
    tls.edge.sessions.entries[b"carol"] = Entry(session(host="portal.test", secure=True, user="carol", user_id="u9"))
    return tls


async def refused(tls: TLSEdge, client: ssl.SSLContext) -> None:
    """A client that is not let in gets an alert and not a byte of HTTP, however late it notices (TLS 1.3)."""
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        await tls.ask(client)
    assert tls.edge.portal.heads == []
    assert tls.edge.audit.records == []


async def test_a_required_certificate_that_is_missing_ends_the_handshake(certified: TLSEdge) -> None:
    certified.use(certified.rules(certified.ca.issue_cert("portal.test"), more=REQUIRED))
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        client = certified.client()
        client.maximum_version = version
        await refused(certified, client)
    await until(lambda: certified.count("gateway_tls_handshake_failures_total") == {("certificate_missing",): 2})


async def test_a_certificate_of_another_authority_ends_the_handshake(certified: TLSEdge) -> None:
    await refused(certified, certified.client(trustme.CA().issue_cert("alice@acme.example")))
    await until(lambda: certified.count("gateway_tls_handshake_failures_total") == {("certificate_refused",): 1})


async def test_a_certificate_that_ended_ends_the_handshake(certified: TLSEdge) -> None:
    ended = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    await refused(certified, certified.client(certified.client_ca.issue_cert("alice@acme.example", not_after=ended)))


async def test_a_resumed_session_does_not_outlive_its_certificate(
    certified: TLSEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf = certified.client_ca.issue_cert(
        "alice@acme.example", not_after=dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    )
    assert (await certified.ask(certified.client(leaf), "/certified"))[0] == 200
    monkeypatch.setattr("gateway.edge.peer.time", lambda: time.time() + 2 * 86400)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await certified.ask(certified.client(leaf), "/public/x")
    assert (await certified.ask(certified.client(), "/public/x"))[0] == 200


async def test_a_revoked_certificate_ends_the_handshake(certified: TLSEdge) -> None:
    revoked, good = (certified.client_ca.issue_cert(f"{who}@acme.example") for who in ("alice", "bob"))
    certified.use(
        certified.rules(
            certified.ca.issue_cert("portal.test"),
            more=OPTIONAL.replace("ca: ca.pem", "ca: ca.pem, crl: crl.pem"),
            crl=revocations(certified.client_ca, serial_of(revoked)),
        )
    )
    await refused(certified, certified.client(revoked))
    assert (await certified.ask(certified.client(good), "/certified"))[0] == 200


async def test_a_revocation_list_that_ended_lets_nobody_in(certified: TLSEdge) -> None:
    certified.use(
        certified.rules(
            certified.ca.issue_cert("portal.test"),
            more=OPTIONAL.replace("ca: ca.pem", "ca: ca.pem, crl: crl.pem"),
            crl=revocations(certified.client_ca, ends=-1.0),
        )
    )
    await refused(certified, certified.client(certified.client_ca.issue_cert("alice@acme.example")))


async def test_a_certificate_opens_its_route_as_the_person_of_the_table(certified: TLSEdge) -> None:
    alice = certified.client(certified.client_ca.issue_cert("alice@acme.example", common_name="root"))
    status, _ = await certified.ask(alice, "/certified")
    assert status == 200
    portal = certified.edge.portal
    assert portal.field(b"x-gateway-user") == [b"alice"]
    assert portal.field(b"x-gateway-tenant") == [b"acme"]
    assert portal.field(b"x-gateway-roles") == [b"client"]
    assert portal.field(b"x-gateway-session")[0].startswith(b"cert-")
    record = certified.edge.audit.records[-1]
    assert record["actor"]["user"]["name"] == "alice"
    inputs = record["unmapped"]["gw"]["decision_inputs"]
    assert inputs["amr"] == ["swk"]
    assert len(inputs["certificate"]) == 64


async def test_a_route_that_asks_for_a_certificate_refuses_without_one(certified: TLSEdge) -> None:
    for target in ("/certified", "/device"):
        assert reason(await certified.ask(certified.client(), target)) == (403, "certificate_required")
        cookie = "Cookie: __Host-gw=alice\r\n"
        assert reason(await certified.ask(certified.client(), target, fields=cookie)) == (403, "certificate_required")
    assert certified.edge.portal.heads == []


async def test_the_certificate_of_a_trusted_proxy_is_not_that_of_its_clients(certified: TLSEdge) -> None:
    certified.edge.change(trusted_proxies=TrustedProxies((ip_network("127.0.0.1"),)))
    proxy = certified.client(certified.client_ca.issue_cert("alice@acme.example"))
    for fields in ("X-Forwarded-For: 192.0.2.7\r\n", ""):
        for target in ("/certified", "/device"):
            assert reason(await certified.ask(proxy, target, fields=fields)) == (403, "certificate_required")


async def test_a_certificate_means_nothing_on_a_route_that_does_not_ask(certified: TLSEdge) -> None:
    alice = certified.client(certified.client_ca.issue_cert("alice@acme.example"))
    assert reason(await certified.ask(alice, "/people")) == (401, "sign_in_required")
    assert (await certified.ask(alice, "/public/x"))[0] == 200
    assert certified.edge.portal.field(b"x-gateway-user") == []


async def test_a_certificate_of_nobody_opens_only_what_asks_for_no_person(certified: TLSEdge) -> None:
    device = certified.client(certified.client_ca.issue_cert("printer.acme.example"))
    assert (await certified.ask(device, "/device"))[0] == 200
    assert reason(await certified.ask(device, "/certified")) == (401, "sign_in_required")
    cookie = "Cookie: __Host-gw=alice\r\n"
    assert (await certified.ask(device, "/certified", fields=cookie))[0] == 200


async def test_where_a_certificate_is_optional_a_session_does_too(certified: TLSEdge) -> None:
    alice = certified.client(certified.client_ca.issue_cert("alice@acme.example"))
    assert (await certified.ask(alice, "/either"))[0] == 200
    assert (await certified.ask(certified.client(), "/either", fields="Cookie: __Host-gw=alice\r\n"))[0] == 200
    assert reason(await certified.ask(certified.client(), "/either")) == (401, "sign_in_required")


async def test_a_certificate_gives_no_role_but_those_of_the_table(certified: TLSEdge) -> None:
    alice = certified.client(certified.client_ca.issue_cert("alice@acme.example", organization_unit_name="admin"))
    assert reason(await certified.ask(alice, "/admin")) == (403, "role_missing")


async def test_a_session_and_a_certificate_of_two_people_are_refused(certified: TLSEdge) -> None:
    alice = certified.client(certified.client_ca.issue_cert("alice@acme.example"))
    for target in ("/certified", "/either"):
        answer = await certified.ask(alice, target, fields="Cookie: __Host-gw=carol\r\n")
        assert reason(answer) == (400, "credentials_conflict")
    assert (await certified.ask(alice, "/certified", fields="Cookie: __Host-gw=alice\r\n"))[0] == 200
    assert certified.edge.portal.field(b"x-gateway-session") == [b"handle1"]


async def test_a_certificate_of_two_people_is_refused(certified: TLSEdge) -> None:
    twofold = certified.client(certified.client_ca.issue_cert("both.acme.example", "bob@acme.example"))
    assert reason(await certified.ask(twofold, "/certified")) == (400, "credentials_conflict")


async def test_a_certificate_is_one_factor_and_two_only_by_the_table(certified: TLSEdge) -> None:
    alice, strong = (
        certified.client(certified.client_ca.issue_cert(f"{who}@acme.example")) for who in ("alice", "strong")
    )
    assert reason(await certified.ask(alice, "/strong")) == (401, "mfa_required")
    assert (await certified.ask(strong, "/strong"))[0] == 200


async def test_another_tenants_host_refuses_the_certificate(certified: TLSEdge) -> None:
    certified.use(
        certified.rules(certified.ca.issue_cert("portal.test"), more=OPTIONAL), hosts={"portal.test": "globex"}
    )
    alice = certified.client(certified.client_ca.issue_cert("alice@acme.example"))
    assert reason(await certified.ask(alice, "/certified")) == (403, "tenant_mismatch")


async def test_over_http2_names_and_certificates_count_as_over_http1(certified: TLSEdge) -> None:
    certified.use(
        certified.rules(
            certified.ca.issue_cert("portal.test", "other.test"), certified.ca.issue_cert("acme.test"), more=OPTIONAL
        )
    )
    client = Http2Client("portal.test")
    identity = certified.client_ca.issue_cert("alice@acme.example")
    await client.open(certified.port, certified.client(identity), "portal.test")
    assert (await client.ask("/certified")).status == 200
    assert certified.edge.portal.field(b"x-gateway-user") == [b"alice"]
    client.authority = b"other.test"
    assert (await client.ask("/certified")).status == 200
    client.authority = b"acme.test"
    fronted = await client.ask("/certified")
    assert (fronted.status, json.loads(fronted.body)["reason"]) == (421, "sni_mismatch")
    renewed = certified.rules(certified.ca.issue_cert("portal.test"), more=REQUIRED)
    certified.use(renewed)  # a higher demand: the connection ends, and says so
    await client.goaway()
    await client.close()


async def test_another_site_cannot_spend_a_certificate(certified: TLSEdge) -> None:
    """Cross-site request forgery: a browser shows its certificate to whatever asks."""
    alice = certified.client(certified.client_ca.issue_cert("alice@acme.example"))

    async def post(origin: str) -> tuple[int, bytes]:
        reader, writer = await certified.connect(alice)
        writer.write(f"POST /certified HTTP/1.1\r\nHost: portal.test\r\nContent-Length: 0\r\n{origin}\r\n".encode())
        try:
            return await answer_of(reader)
        finally:
            writer.close()

    assert reason(await post("Origin: https://evil.test\r\n")) == (403, "cross_origin")
    assert reason(await post("Origin: null\r\n")) == (403, "cross_origin")
    assert (await post("Origin: https://portal.test\r\n"))[0] == 200
    assert (await post(""))[0] == 200


async def test_a_person_who_leaves_the_table_is_refused_on_the_next_request(certified: TLSEdge) -> None:
    alice = certified.client(certified.client_ca.issue_cert("alice@acme.example"))
    certificate = certified.ca.issue_cert("portal.test")
    reader, writer = await certified.connect(alice)
    assert (await ask(reader, writer, "/certified", host="portal.test"))[0] == 200
    certified.use(
        certified.rules(certificate, more=f"client_certificates: {{mode: optional, ca: ca.pem, map: [{BOB}]}}")
    )
    assert reason(await ask(reader, writer, "/certified", host="portal.test")) == (401, "sign_in_required")
    writer.close()


async def test_a_disabled_account_of_the_same_name_bars_the_certificate(certified: TLSEdge) -> None:
    alice = certified.client(certified.client_ca.issue_cert("alice@acme.example"))
    reader, writer = await certified.connect(alice)
    assert (await ask(reader, writer, "/certified", host="portal.test"))[0] == 200
    certified.edge.sessions.disabled.add(("alice", "acme"))
    assert reason(await ask(reader, writer, "/certified", host="portal.test")) == (401, "session_revoked")
    certified.edge.sessions.disabled = {("alice", "globex")}
    assert (await ask(reader, writer, "/certified", host="portal.test"))[0] == 200
    writer.close()


async def test_a_certificate_opens_nothing_while_the_store_cannot_say_whether_it_may(certified: TLSEdge) -> None:
    alice = certified.client(certified.client_ca.issue_cert("alice@acme.example"))
    certified.edge.sessions.unavailable = True
    assert reason(await certified.ask(alice, "/certified")) == (503, "store_unavailable")


async def test_a_connection_ends_when_its_certificate_is_revoked(certified: TLSEdge) -> None:
    leaf = certified.client_ca.issue_cert("alice@acme.example")
    certificate, more = (
        certified.ca.issue_cert("portal.test"),
        OPTIONAL.replace("ca: ca.pem", "ca: ca.pem, crl: crl.pem"),
    )
    certified.use(certified.rules(certificate, more=more, crl=revocations(certified.client_ca)))
    connections = [await certified.connect(certified.client(leaf)), await certified.connect(certified.client())]
    for reader, writer in connections:
        assert (await ask(reader, writer, host="portal.test"))[0] == 200
    certified.use(certified.rules(certificate, more=more, crl=revocations(certified.client_ca, serial_of(leaf))))
    async with asyncio.timeout(10):
        with suppress(ConnectionError, ssl.SSLError):
            assert await connections[0][0].read() == b""
    assert (await ask(*connections[1], host="portal.test"))[0] == 200
    for _, writer in connections:
        writer.close()


async def test_a_connection_ends_when_the_authority_of_its_certificate_is_revoked(certified: TLSEdge) -> None:
    """Attack: an issuing authority was stolen, and its certificates are in use when the root revokes it."""
    root, issuing = certified.client_ca, certified.client_ca.create_child_ca()
    bundle = root.cert_pem.bytes() + issuing.cert_pem.bytes()
    more = OPTIONAL.replace("ca: ca.pem", "ca: ca.pem, crl: crl.pem")
    certificate, none = certified.ca.issue_cert("portal.test"), revocations(issuing)
    certified.use(certified.rules(certificate, more=more, ca=bundle, crl=revocations(root) + none))
    reader, writer = await certified.connect(certified.client(issuing.issue_cert("alice@acme.example")))
    assert (await ask(reader, writer, "/certified", host="portal.test"))[0] == 200
    stolen = x509.load_pem_x509_certificate(issuing.cert_pem.bytes()).serial_number
    certified.use(certified.rules(certificate, more=more, ca=bundle, crl=revocations(root, stolen) + none))
    async with asyncio.timeout(10):
        with suppress(ConnectionError, ssl.SSLError):
            assert await reader.read() == b""
    writer.close()


async def test_a_new_authority_ends_the_connections_of_the_old_one(certified: TLSEdge) -> None:
    reader, writer = await certified.connect(certified.client(certified.client_ca.issue_cert("alice@acme.example")))
    assert (await ask(reader, writer, "/certified", host="portal.test"))[0] == 200
    certified.use(
        certified.rules(certified.ca.issue_cert("portal.test"), more=OPTIONAL, ca=trustme.CA().cert_pem.bytes())
    )
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


async def test_a_tunnel_ends_with_the_entry_of_its_certificate(certified: TLSEdge) -> None:
    async def shake(_portal: Any, head: bytes, reader: Any, writer: Any) -> None:
        key = re.search(rb"(?i)sec-websocket-key: (\S+)", head)
        assert key is not None
        accept = base64.b64encode(hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        await reader.read()

    certified.edge.portal.answers[b"/ws"] = shake
    reader, writer = await certified.connect(certified.client(certified.client_ca.issue_cert("alice@acme.example")))
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: portal.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with asyncio.timeout(10):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    certified.use(
        certified.rules(
            certified.ca.issue_cert("portal.test"),
            more=f"client_certificates: {{mode: optional, ca: ca.pem, map: [{BOB}]}}",
        )
    )
    async with asyncio.timeout(10):
        await reader.read()
    writer.close()


@pytest.mark.parametrize(
    "field",
    ["Client-Cert", "Client-Cert-Chain", "X-Client-Cert", "X-SSL-Client-Cert", "X-SSL-Client-Verify", "SSL_CLIENT_S_DN",
     "SSL-Client-Cert", "X-Forwarded-Client-Cert", "X-Forwarded-Tls-Client-Cert", "Ssl-Client-Subject-Dn",
     "X-Client-Cert-Dn", "X-Client-Dn", "X-ARR-ClientCert", "X-Client-Verify", "X-Tls-Client-Cert"],
)  # fmt: skip
async def test_no_client_claims_a_certificate_in_a_field(certified: TLSEdge, field: str) -> None:
    status, _ = await certified.ask(certified.client(), fields=f"{field}: CN=root\r\n")
    assert status in (200, 400)
    for head in certified.edge.portal.heads:
        assert b"CN=root" not in head


BOUND = """
version: 1
roles: {client: {}}
routes:
  - name: api
    match: {path: /api, methods: [GET]}
    upstream: portal
    credentials: [bearer]
    client_certificate: optional
    allow: [{roles: [client]}]
"""


async def test_a_token_bound_to_a_certificate_counts_with_that_certificate_alone(certified: TLSEdge) -> None:
    """RFC 8705 section 3: whoever stole the token has not the key."""
    table, _ = compile_policy(
        {"policies/test.yaml": BOUND}, upstreams=["portal"], tenants=["acme"], hosts=["portal.test"]
    )
    claim_table = ClaimTable(roles=("scope",), role_grants={"use": ("client",)}, always_tenant="acme", user=("sub",))
    issuer = IssuerRules(
        id="okta", issuer="https://x.example", audiences=frozenset({"api"}), algorithms=frozenset({"ES256"}), types=frozenset({"at+jwt"}),
        table=claim_table, leeway_s=0.0, max_life_s=3600.0,
    )  # fmt: skip
    certified.edge.change(
        policy=table, resolver=Resolver(table), limits_of=dict.fromkeys(table.routes, ()),
        credentials=CredentialRules(issuers={issuer.issuer: issuer}, key_field=b"x-api-key"),
    )  # fmt: skip
    certified.edge.worker.bearers.learn({"okta": IssuerKeySet(parse_jwks(jwks(jwk(ec_key(), kid="k"))), math.inf)})
    leaf, other = (certified.client_ca.issue_cert(f"{name}.acme.example") for name in ("robot", "thief"))
    digest = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).fingerprint(SHA256())
    now = int(time.time())
    claims = {"iss": issuer.issuer, "aud": "api", "sub": "robot", "iat": now, "exp": now + 300, "scope": "use"}
    bound = token(ec_key(), "ES256", claims | {"cnf": {"x5t#S256": base64url(digest)}}, kid="k", typ="at+jwt")
    fields = f"Authorization: Bearer {bound}\r\n"
    assert (await certified.ask(certified.client(leaf), "/api", fields=fields))[0] == 200
    assert certified.edge.portal.field(b"x-gateway-user") == [b"robot"]
    for context in (
        certified.client(other),
        certified.client(),
        certified.client(certified.client_ca.issue_cert("alice@acme.example")),
    ):
        status, body = await certified.ask(context, "/api", fields=fields)
        assert (status, json.loads(body)["rule"]) == (401, "issuer okta: confirmation (cnf)")
    # a certificate that stands for somebody else than the token: two credentials
    free = token(ec_key(), "ES256", claims, kid="k", typ="at+jwt")
    alice = certified.client(certified.client_ca.issue_cert("alice@acme.example"))
    assert reason(await certified.ask(alice, "/api", fields=f"Authorization: Bearer {free}\r\n")) == (
        400,
        "credentials_conflict",
    )
