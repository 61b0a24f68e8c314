"""Names, certificates of clients and their reload, over a whole gateway."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from typing import Any

import pytest
import trustme

pytestmark = pytest.mark.timeout(180)  # whole processes on a busy machine


def ask(gateway: Any, authority: trustme.CA, path: str, *, name: str, identity: trustme.LeafCert | None = None) -> Any:
    """Ask for a page under a name of the gateway; returns status, body and the first name of its certificate."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if identity is not None:
        identity.configure_cert(context)
    plain = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
    with context.wrap_socket(plain, server_hostname=name) as secured:
        shown = secured.getpeercert()
        assert shown is not None
        secured.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}:{gateway.port}\r\nConnection: close\r\n\r\n".encode())
        answer = http.client.HTTPResponse(secured)
        answer.begin()
        return answer.status, answer.read(), shown["subjectAltName"][0][1]


def tickets_of_any_worker(gateway: Any, authority: trustme.CA) -> None:
    """Come back often with the ticket of the time before: the worker that made it resumes, the other shakes hands."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    session, resumed = None, []
    for _ in range(24):
        plain = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as secured:
            secured.sendall(f"GET / HTTP/1.1\r\nHost: localhost:{gateway.port}\r\nConnection: close\r\n\r\n".encode())
            assert secured.recv(12) == b"HTTP/1.1 403"
            resumed.append(secured.session_reused)
            session = secured.session
    assert True in resumed
    assert False in resumed[1:]


def test_a_gateway_of_two_names_that_asks_for_certificates(make_gateway: Any) -> None:
    gateway = make_gateway()
    authority, clients = trustme.CA(), trustme.CA()
    tls = gateway.directory / "config" / "tls"
    for file, name in (("cert", "localhost"), ("other", "other.example.com")):
        leaf = authority.issue_cert(name)
        (tls / f"{file}.pem").write_bytes(b"".join(item.bytes() for item in leaf.cert_chain_pems))
        key = tls / ("key.pem" if file == "cert" else f"{file}.key")
        key.write_bytes(leaf.private_key_pem.bytes())
        key.chmod(0o600)
    (tls / "clients.pem").write_bytes(clients.cert_pem.bytes())
    more = (
        "key: config/tls/key.pem, certificates: [{certificate: config/tls/other.pem, key: config/tls/other.key}]}\n"
        "    client_certificates:\n"
        "      mode: optional\n"
        "      ca: config/tls/clients.pem\n"
        "      map: [{san_email: alice@example.com, user: alice, tenant: main, roles: [client], mfa: true}]"
    )
    gateway.edit(
        ("key: config/tls/key.pem}", more),
        ("identity:\n", "tenants: {main: {hosts: [localhost, other.example.com]}}\nidentity:\n"),
    )
    gateway.edit(
        ("upstream: portal\n", "upstream: portal\n    client_certificate: required\n"), file="policies/portal.yaml"
    )
    checked = gateway.cli("check", "--json")
    assert checked.returncode == 0, checked.stderr
    told = json.loads(checked.stdout)["certificates"]
    assert [(item["names"], item["default"]) for item in told] == [
        (["localhost"], True),
        (["other.example.com"], False),
    ]
    assert "other.pem: other.example.com; EC secp256r1; ends " in gateway.cli("check").stdout
    gateway.start()
    alice = clients.issue_cert("alice@example.com")
    status, body, shown = ask(gateway, authority, "/", name="other.example.com", identity=alice)
    assert (status, shown) == (200, "other.example.com")
    assert json.loads(body)["headers"]["x-gateway-user"] == "alice"
    status, body, shown = ask(gateway, authority, "/", name="localhost")
    assert (status, shown) == (403, "localhost")
    assert json.loads(body)["reason"] == "certificate_required"
    tickets_of_any_worker(gateway, authority)
    expiry = f'gateway_certificate_expiry_timestamp_seconds{{certificate="config/tls/other.pem",listener="127.0.0.1:{gateway.port}"}}'
    assert gateway.metric(expiry) > 0

    gateway.edit(("mode: optional", "mode: required"))
    done = gateway.cli("reload")
    assert done.returncode == 0, done.stderr
    with pytest.raises(OSError):
        ask(gateway, authority, "/", name="localhost")
    assert ask(gateway, authority, "/", name="localhost", identity=alice)[0] == 200

    gateway.edit(("user: alice, ", "user: alice, user_id: 7, "))
    done = gateway.cli("reload")
    assert done.returncode == 2
    assert "listen[0].client_certificates.map[0].user_id: unknown key" in done.stderr
    assert ask(gateway, authority, "/", name="localhost", identity=alice)[0] == 200
