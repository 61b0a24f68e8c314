"""From what gateway.yaml says about an upstream to what the edge serves it with."""

from __future__ import annotations

import asyncio
import os
import ssl
from dataclasses import replace as changed
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.edge.probe import check_server
from gateway.edge.snapshot import EjectionRules, HealthCheck, Upstream
from gateway.exchange.errors import ConfigurationError
from gateway.server.bundle import read_bundle
from gateway.server.snapshot import build_snapshot
from gateway.server.validate import read_and_validate, validate
from gateway.wire.rewriting import PathMapping

PLAIN = 'portal: {servers: ["http://127.0.0.1:3000"]}'


def configure(directory: Path, upstreams: str, route: str = "") -> None:
    path = directory / "gateway.yaml"
    path.write_text(path.read_text().replace(PLAIN, upstreams))
    policy = directory / "policies" / "portal.yaml"
    policy.write_text(policy.read_text().replace("    upstream: portal\n", f"    upstream: portal\n{route}"))


def built(directory: Path) -> Upstream:
    validated = read_and_validate(directory / "gateway.yaml")
    snapshot = build_snapshot(validated, "pages.sock")
    return snapshot.upstreams["portal"]


def errors(directory: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read_and_validate(directory / "gateway.yaml")
    return list(caught.value.diagnostics)


def test_an_upstream_of_one_server_without_rules_is_no_group(directory: Path) -> None:
    upstream = built(directory)
    assert not upstream.is_group
    assert (upstream.health, upstream.breaker) == (None, None)
    assert upstream.patience_s == 5.0


def test_every_key_reaches_the_edge(directory: Path) -> None:
    configure(
        directory,
        """portal:
    servers: ["http://10.0.0.1:3000", {url: "http://10.0.0.2:3000", weight: 3, max_connections: 7}, "unix:app.sock"]
    balance: {hash: user}
    host: Portal.Internal:8080
    timeout: {connect: 1s, queue: 4s, response: 5s, idle: 6s}
    health: {path: "/healthz?full", interval: 3s, timeout: 1s, healthy: 4, unhealthy: 5, status: [200, 204-206]}
    ejection: {failures: 6, time: 7s, max_time: 8s, max_share: 90%}
    breaker: {ratio: 30%, requests: 9, window: 11s, open: 12s}
    retry: {attempts: 1, budget: 10%}
    max_connections: 40
    max_waiting: 13
    max_uploads_per_client: 9""",
    )
    upstream = built(directory)
    assert [server.name for server in upstream.servers] == [
        "10.0.0.1:3000",
        "10.0.0.2:3000",
        f"unix:{directory}/app.sock",
    ]
    assert [(server.weight, server.max_connections) for server in upstream.servers] == [(1, 0), (3, 7), (1, 0)]
    assert {server.authority for server in upstream.servers} == {b"portal.internal:8080"}
    assert upstream.authorities == {b"portal.internal:8080", b"10.0.0.1:3000", b"10.0.0.2:3000"}
    assert not upstream.preserve_host
    assert (upstream.balance, upstream.retries, upstream.retry_share) == ("user", 1, 0.1)
    assert upstream.health == HealthCheck(
        path=b"/healthz?full", host=b"", interval_s=3.0, timeout_s=1.0, healthy=4, unhealthy=5, statuses=frozenset((200, 204, 205, 206)),
    )  # fmt: skip
    assert upstream.ejection == EjectionRules(failures=6, time_s=7.0, max_time_s=8.0, max_share=0.9)
    assert upstream.breaker is not None
    assert (upstream.breaker.ratio, upstream.breaker.requests, upstream.breaker.window_s, upstream.breaker.open_s) == (0.3, 9, 11.0, 12.0)  # fmt: skip
    assert (upstream.queue_timeout_s, upstream.patience_s) == (4.0, 1.0 * 2 + 4.0)
    assert (upstream.max_connections, upstream.max_waiting, upstream.max_uploads_per_client) == (40, 13, 9)


@pytest.mark.parametrize(
    ("servers", "most", "share"),
    [
        ('["http://127.0.0.1:3000"]', 512, 64),
        ('["http://127.0.0.1:3000"]', 16, 4),
        ('["http://127.0.0.1:3000"]', 4, 3),
        ('["http://127.0.0.1:3000"]', 2, 1),
        ('["http://127.0.0.1:3000"]', 1, 1),
        ('[{url: "http://127.0.0.1:3000", max_connections: 40}]', 512, 5),
        ('[{url: "http://127.0.0.1:3000", max_connections: 40}, {url: "http://127.0.0.1:3001", max_connections: 80}]', 512, 15),
        ('[{url: "http://127.0.0.1:3000", max_connections: 40}, "http://127.0.0.1:3001"]', 512, 64),
    ],
)  # fmt: skip
def test_a_client_may_upload_by_an_eighth_of_the_connections_a_few_at_least_and_never_all(
    directory: Path, servers: str, most: int, share: int
) -> None:
    configure(directory, f"portal: {{servers: {servers}, max_connections: {most}}}")
    assert built(directory).max_uploads_per_client == share


@pytest.mark.parametrize(
    ("host", "health", "named", "said"),
    [
        ("preserve", "", b"10.0.0.1:3000", b"localhost:8443"),
        ("rewrite", "", b"10.0.0.1:3000", b""),
        ("app.internal", "", b"app.internal", b""),
        ("preserve", ", host: check.internal", b"10.0.0.1:3000", b"check.internal"),
        ("preserve", ", host: rewrite", b"10.0.0.1:3000", b""),
        ("rewrite", ", host: preserve", b"10.0.0.1:3000", b"localhost:8443"),
    ],
)
def test_a_check_names_the_host_that_requests_name(
    directory: Path, host: str, health: str, named: bytes, said: bytes
) -> None:
    configure(directory, f'portal: {{servers: ["http://10.0.0.1:3000"], host: {host}, health: {{path: /{health}}}}}')
    upstream = built(directory)
    assert upstream.servers[0].authority == named
    assert upstream.health is not None
    assert upstream.health.host == said


def test_ejection_can_be_off(directory: Path) -> None:
    configure(directory, 'portal: {servers: ["http://10.0.0.1", "http://10.0.0.2"], ejection: off}')
    assert built(directory).ejection is None


def test_a_link_to_a_socket_of_our_own_is_refused_at_load(directory: Path) -> None:
    (directory / "portal.sock").symlink_to(directory / "state" / "run" / "pages.sock")
    configure(directory, 'portal: {servers: ["unix:portal.sock"]}')
    (error,) = errors(directory)
    assert error.endswith(f"upstreams.portal.servers[0]: unix:{directory}/portal.sock is a socket of the gateway's own")


def test_a_socket_knows_where_ours_are(directory: Path) -> None:
    configure(directory, 'portal: {servers: ["unix:app.sock"]}')
    assert built(directory).servers[0].own_sockets == os.path.realpath(directory / "state" / "run")


# paths


def test_a_route_says_another_path_than_its_upstream(directory: Path) -> None:
    (directory / "policies" / "tests" / "portal.yaml").unlink()
    configure(directory, PLAIN.replace("}", ", path: {strip_prefix: /a, add_prefix: /b}}"))
    table = read_and_validate(directory / "gateway.yaml").table
    assert table.rules["portal"].mapping == PathMapping("/a", "/b")
    configure(directory, "", "    path: {add_prefix: /c}\n")
    table = read_and_validate(directory / "gateway.yaml").table
    assert table.rules["portal"].mapping == PathMapping("", "/c")


@pytest.mark.parametrize(
    ("template", "sound"),
    [
        ("/**", True),
        ("/app/**", True),
        ("/app", True),
        ("/{any}/x", True),
        ("/*/x", True),
        ("/app/sub", True),
        ("/other/**", False),
        ("/", False),
        ("/apple", False),
    ],
)
def test_a_route_of_which_no_path_is_under_the_prefix_is_an_error(directory: Path, template: str, sound: bool) -> None:
    configure(directory, PLAIN, "    path: {strip_prefix: /app}\n")
    policy = directory / "policies" / "portal.yaml"
    policy.write_text(policy.read_text().replace('"/**"', f'"{template}"'))
    (directory / "policies" / "tests" / "portal.yaml").unlink()
    if sound:
        read_and_validate(directory / "gateway.yaml")
    else:
        (error,) = errors(directory)
        assert (
            error
            == "policies/portal.yaml:6:19: no path of this template is at or under the strip_prefix /app [prefix-outside-template]"
        )


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("{}", "write strip_prefix, add_prefix or both, or remove the key"),
        ("{strip_prefix: app}", "'app': a prefix is a path such as /app: letters, digits, - . _ ~ and no slash at the end"),
        ("{add_prefix: /a/..}", "'/a/..': a prefix is a path such as /app: letters, digits, - . _ ~ and no slash at the end"),
        ("{strip_prefix: /a, add_prefix: /a}", "what is stripped is added again; remove the key"),
        ("{strip: /a}", "unknown key 'strip'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_path_of_a_route_is_said(directory: Path, path: str, sentence: str) -> None:
    configure(directory, PLAIN, f"    path: {path}\n")
    found = errors(directory)
    assert any(sentence in error and error.startswith("policies/portal.yaml:8:") for error in found), found


def test_a_route_has_time_outs_of_its_own(directory: Path) -> None:
    configure(directory, PLAIN, "    timeout: {response: 2m, idle: 1h}\n")
    route = read_and_validate(directory / "gateway.yaml").table.routes["portal"]
    assert (route.response_timeout_s, route.idle_timeout_s) == (120.0, 3600.0)
    policy = directory / "policies" / "portal.yaml"
    policy.write_text(policy.read_text().replace("{response: 2m, idle: 1h}", "{idle: 0s}"))
    assert errors(directory) == ["policies/portal.yaml:8:21: must be more than 0 [malformed-quantity]"]
    policy.write_text(policy.read_text().replace("{idle: 0s}", "{}"))
    assert errors(directory) == [
        "policies/portal.yaml:8:14: write response, idle or both, or remove the key [empty-value]"
    ]


# certificates


class Servers:
    """A TLS server that demands a certificate, and everything to satisfy it."""

    def __init__(self, directory: Path) -> None:
        self.ca, self.other = trustme.CA(), trustme.CA()
        self.directory = directory
        self.names: list[str | None] = []
        (directory / "ca.pem").write_bytes(self.ca.cert_pem.bytes())
        (directory / "other.pem").write_bytes(self.other.cert_pem.bytes())
        self.show(self.ca)

    def show(self, ca: trustme.CA) -> None:
        """Have the gateway show a certificate of this authority."""
        mine = ca.issue_cert("gateway.example.com")
        (self.directory / "client.pem").write_bytes(b"".join(item.bytes() for item in mine.cert_chain_pems))
        (self.directory / "client.key").write_bytes(mine.private_key_pem.bytes())
        (self.directory / "client.key").chmod(0o600)

    async def ask(self) -> str:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=self.ca.cert_pem.bytes().decode())
        self.ca.issue_cert("app.internal").configure_cert(context)
        context.verify_mode = ssl.CERT_REQUIRED

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            subject = writer.get_extra_info("peercert")["subjectAltName"][0][1]
            self.names.append(subject)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # refused handshakes are the point
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        async with server:
            upstream = built(self.directory)
            port = server.sockets[0].getsockname()[1]
            check = HealthCheck(path=b"/", host=b"", interval_s=1.0, timeout_s=5.0, healthy=1, unhealthy=1, statuses=frozenset((200,)))  # fmt: skip
            return await check_server(changed(upstream.servers[0], host="127.0.0.1", port=port), check)


MUTUAL = 'portal: {servers: ["https://app.internal:8443"], tls: {ca: ca.pem, certificate: client.pem, key: client.key}}'


@pytest.fixture
def servers(directory: Path) -> Servers:
    configure(directory, MUTUAL)
    return Servers(directory)


async def test_the_gateway_shows_its_certificate_and_verifies_the_servers(servers: Servers) -> None:
    assert await servers.ask() == ""
    assert servers.names == ["gateway.example.com"]


async def test_a_reload_shows_the_new_certificate(servers: Servers) -> None:
    servers.show(servers.other)
    assert await servers.ask() != ""
    servers.show(servers.ca)
    assert await servers.ask() == ""


async def test_a_server_of_another_authority_is_not_trusted(servers: Servers) -> None:
    (servers.directory / "ca.pem").write_bytes(servers.other.cert_pem.bytes())
    assert "certificate" in await servers.ask()
    assert servers.names == []


async def test_a_server_of_another_name_is_not_trusted(servers: Servers, directory: Path) -> None:
    configure(directory, MUTUAL)
    path = directory / "gateway.yaml"
    path.write_text(path.read_text().replace("ca: ca.pem", "ca: ca.pem, server_name: else.internal"))
    assert "certificate" in await servers.ask()


def test_old_versions_of_tls_are_not_spoken(servers: Servers) -> None:
    context = built(servers.directory).servers[0].tls
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_whatever_makes_it_another_server_changes_its_identity(servers: Servers, directory: Path) -> None:
    before = built(directory).servers[0].identity
    assert built(directory).servers[0].identity == before
    servers.show(servers.ca)
    assert built(directory).servers[0].identity != before


def test_the_key_goes_to_the_edge_alone_and_into_the_digest(servers: Servers, directory: Path) -> None:
    bundle, problems = read_bundle(directory / "gateway.yaml")
    assert problems == []
    assert bundle.narrow("edge").upstream_certificates["portal"].key.startswith(b"-----BEGIN")
    assert bundle.narrow("pages").upstream_certificates == {}
    assert bundle.narrow("audit").upstream_certificates == {}
    servers.show(servers.ca)
    assert read_bundle(directory / "gateway.yaml")[0].digest != bundle.digest


def test_a_key_that_others_can_read_is_refused(servers: Servers, directory: Path) -> None:
    (directory / "client.key").chmod(0o644)
    assert errors(directory) == ["client.key: is readable by others (mode 0644); run: chmod 600 client.key"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("ca.pem", b"nothing", "upstreams.portal.tls.ca: holds no certificate that can be read (PEM)"),
        ("client.pem", b"nothing", "upstreams.portal.tls.certificate: is not a chain of PEM certificates, the leaf first"),
        ("client.key", b"nothing", "upstreams.portal.tls.key: is not a PEM private key"),
    ],
)  # fmt: skip
def test_files_that_are_something_else_are_refused(
    servers: Servers, directory: Path, name: str, content: bytes, sentence: str
) -> None:
    (directory / name).write_bytes(content)
    assert errors(directory) == [sentence]


def test_a_certificate_and_a_key_that_do_not_belong_together_are_refused(servers: Servers, directory: Path) -> None:
    chain = (directory / "client.pem").read_bytes()
    servers.show(servers.ca)
    (directory / "client.pem").write_bytes(chain)
    assert errors(directory) == ["upstreams.portal.tls.certificate: does not belong to its key"]


@pytest.mark.parametrize(("days", "said"), [(200, ""), (-10, "; renew it"), (1, "; servers refuse it")])
def test_a_certificate_that_ends_is_a_warning(servers: Servers, directory: Path, days: int, said: str) -> None:
    bundle, _ = read_bundle(directory / "gateway.yaml")
    (leaf, *_) = x509.load_pem_x509_certificates((directory / "client.pem").read_bytes())
    now = leaf.not_valid_after_utc.timestamp() + days * 86400 * (1 if said else -1)
    warnings = [text for text in validate(bundle, now=now).warnings if text.startswith("upstreams.")]
    assert [text.rpartition(";")[2] for text in warnings] == ([said.removeprefix(";")] if said else [])
    assert all(text.startswith("upstreams.portal.tls.certificate: client.pem end") for text in warnings)


def test_a_key_with_a_passphrase_is_refused_without_asking_for_it(servers: Servers, directory: Path) -> None:
    key = load_pem_private_key((directory / "client.key").read_bytes(), None)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"wren"))
    (directory / "client.key").write_bytes(secret)
    (error,) = errors(directory)
    assert error == "upstreams.portal.tls.key: has a passphrase; the gateway starts without a person: decrypt it"
