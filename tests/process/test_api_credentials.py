"""The whole gateway with programs: keys of its own, tokens of an issuer on a socket, and while that issuer is away."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.fakes.jose import ec_key, jwk, jwks, token
from tests.process.conftest import Answer, Gateway

ROUTE = """
  - name: machines
    match: {path: "/machines/**", methods: [GET]}
    upstream: portal
    credentials: [%s]
    allow: [{roles: [client]}]
"""
ISSUER = """\
  issuers:
    - id: tokens
      issuer: %s
      audiences: [portal]
      algorithms: [ES256]
      roles: {claim: scope, grant: {use: client}}
      tenant: main
"""


class Issuer(ThreadingHTTPServer):
    """An authorization server that publishes its metadata and its keys, and may be away."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _IssuerHandler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.which = 0
        self.is_away = False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def document(self, path: str) -> bytes:
        if path == "/jwks":
            return jwks(jwk(ec_key(which=self.which), kid=f"k{self.which}"))
        return json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}).encode()

    def token(self, which: int = 0, **changes: Any) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": "portal", "sub": "robot", "iat": now, "exp": now + 600, "scope": "use"}
        return token(ec_key(which=which), "ES256", claims | changes, kid=f"k{which}", typ="at+jwt")


class _IssuerHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        issuer = self.server
        assert isinstance(issuer, Issuer)
        body = b"" if issuer.is_away else issuer.document(self.path)
        self.send_response(503 if issuer.is_away else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        pass


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    server = Issuer()
    yield server
    server.shutdown()
    server.server_close()


def ask(gateway: Gateway, credential: str, path: str = "/machines/x") -> Answer:
    connection = gateway.connect()
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {credential}"} if credential else {})
        response: http.client.HTTPResponse = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def with_route(gateway: Gateway, credentials: str) -> None:
    gateway.edit(("\nroutes:\n", "\nroutes:\n" + ROUTE % credentials), file="policies/portal.yaml")


def make_key(gateway: Gateway, *arguments: str) -> dict[str, Any]:
    done = gateway.cli(
        "apikey", "create", "x", "--service", "export", "--tenant", "main", "--role", "client", "--json", *arguments
    )
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def test_the_life_of_a_key_on_every_worker(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway()
    with_route(gateway, "api_key")
    gateway.start()
    made = make_key(gateway)
    for _ in range(8):  # two workers: each learns it
        answer = ask(gateway, made["key"])
        assert answer.status == 200, answer.body
        assert answer.json["headers"]["x-gateway-user"] == "service:export"
        assert made["key"] not in answer.body.decode()
    gateway.wait_until(
        lambda: json.loads(gateway.cli("apikey", "list", "--json").stdout)["api_keys"][0]["last_used"] > 0
    )
    rotated = json.loads(gateway.cli("apikey", "rotate", made["handle"], "--json").stdout)
    assert {ask(gateway, key).status for key in (made["key"], rotated["key"])} == {200}
    assert gateway.cli("apikey", "revoke", made["handle"]).returncode == 0
    assert [ask(gateway, made["key"]).status for _ in range(8)] == [401] * 8
    assert ask(gateway, rotated["key"]).status == 200
    person = json.loads(gateway.cli("apikey", "create", "x", "--user", "alice", "--role", "client", "--json").stdout)
    assert ask(gateway, person["key"]).json["headers"]["x-gateway-user"] == "alice"
    assert gateway.cli("user", "disable", "alice").returncode == 0
    assert [ask(gateway, person["key"]).status for _ in range(8)] == [401] * 8
    assert gateway.stop() == 0
    everything = gateway.log.read_text() + gateway.cli("audit", "query", "--json", "--limit", "1000").stdout
    for key in (made["key"], rotated["key"], person["key"]):
        assert key not in everything
        for path in (gateway.directory / "state").rglob("*"):
            assert not path.is_file() or key.encode() not in path.read_bytes(), path


def test_tokens_of_an_issuer_that_was_away_at_the_start_and_changes_its_keys(
    make_gateway: Callable[..., Gateway], issuer: Issuer
) -> None:
    gateway = make_gateway()
    with_route(gateway, "bearer")
    gateway.edit(("identity:\n", "identity:\n" + ISSUER % issuer.url))
    issuer.is_away = True
    gateway.start()
    away = ask(gateway, issuer.token())
    assert (away.status, away.json["reason"], away.headers["retry-after"]) == (503, "issuer_unavailable", "5")
    assert gateway.metric('gateway_issuer_degraded{issuer="tokens"}') == 1
    issuer.is_away = False
    known = issuer.token()  # one, or the limit on tokens that were never seen answers in the end
    gateway.wait_until(lambda: [ask(gateway, known).status for _ in range(6)] == [200] * 6)
    assert ask(gateway, known).json["headers"]["x-gateway-user"] == "robot"
    unknown = ask(gateway, issuer.token(1))
    assert (unknown.status, unknown.json["rule"]) == (401, "issuer tokens: unknown_key")
    assert 'error="invalid_token"' in unknown.headers["www-authenticate"]
    # a restart while the issuer is away: what was known still is
    issuer.is_away = True
    text = issuer.token()
    assert gateway.stop() == 0
    gateway.start()
    assert [ask(gateway, text).status for _ in range(6)] == [200] * 6
    assert gateway.stop() == 0
    everything = gateway.log.read_text() + gateway.cli("audit", "query", "--json", "--limit", "1000").stdout
    assert text not in everything
    assert text.rpartition(".")[2] not in everything
