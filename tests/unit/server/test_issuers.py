"""Issuers of access tokens and API keys as gateway.yaml says, and how their keys come to the edge."""

from __future__ import annotations

import asyncio
import json
import math
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.document.source import DocumentError
from gateway.edge.bearer import Bearers
from gateway.exchange.metrics import Registry
from gateway.federation.conversation import Conversation
from gateway.federation.issuer_documents import IssuerDocuments, authorization_server_url
from gateway.federation.jwks import DocumentUnavailableError
from gateway.server.bundle import Bundle
from gateway.server.issuer_keeper import IssuerKeeper, IssuerMetrics
from gateway.server.issuers import credential_rules, fixed_keys, issuer_problems, trust_of
from gateway.server.settings import Settings, load_settings
from gateway.store.executor import store_executor
from gateway.store.issuer_keys import WANTED_GRAIN_S, IssuerKeyStore, KeptKeys
from gateway.store.keyring import Keyring
from gateway.store.sqlite_rows import SQLiteRows
from gateway.store.state import Store
from tests.fakes.jose import ec_key, jwk, jwks

NOW = 1_800_000_000.0
ISSUER = "{id: okta, issuer: https://x.example/o, audiences: [api], roles: {claim: scope, grant: {use: client}}, tenant: acme%s}"
BASE = """version: 1
public_url: https://portal.example.com
listen: [{address: "0.0.0.0:8443", tls: {certificate: c, key: k}}]
upstreams: {portal: {servers: ["http://127.0.0.1:3000"]}}
tenants: {acme: {hosts: [acme.example.com]}}
identity:
  %s
"""


def settings(identity: str) -> Settings:
    return load_settings(BASE % identity, "gateway.yaml")


def errors(identity: str) -> str:
    with pytest.raises(DocumentError) as error:
        settings(identity)
    return "\n".join(error.value.diagnostics)


def with_issuer(more: str = "") -> Settings:
    return settings(f"issuers: [{ISSUER % more}]")


def bundle(**parts: dict[str, bytes]) -> Bundle:
    return Bundle(path="/gateway.yaml", settings="", policies={}, digest="", **parts)  # type: ignore[arg-type]  # of this test


def test_an_issuer_whose_addresses_nobody_checked_warns() -> None:
    assert with_issuer().warnings() == []
    (warning,) = with_issuer(", email: {claim: email, require_verified: false}").warnings()
    assert warning.startswith("identity.issuers[0].email.require_verified: ")


# gateway.yaml


def test_an_issuer_becomes_the_rules_of_the_edge() -> None:
    rules = credential_rules(with_issuer(", types: [at+jwt, untyped], hosts: [acme.example.com], leeway: 5s"))
    (found,) = rules.issuers.values()
    assert (found.id, found.issuer) == ("okta", "https://x.example/o")
    assert found.audiences == {"api"}
    assert found.algorithms == {"RS256"}
    assert found.types == {"at+jwt", ""}
    assert found.hosts == {"acme.example.com"}
    assert (found.leeway_s, found.max_life_s) == (5.0, 86400.0)
    assert (found.table.user, found.table.roles, found.table.always_tenant) == (("sub",), ("scope",), "acme")
    assert rules.key_field == b"x-api-key"


def test_absent_sections_believe_nobody_and_name_the_field() -> None:
    rules = credential_rules(settings("api_keys: {header: X-Machine-Key}"))
    assert (rules.issuers, rules.key_field) == ({}, b"x-machine-key")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (", algorithms: [none]", "algorithms"),
        (", algorithms: [HS256]", "algorithms"),
        (", algorithms: []", "algorithms"),
        (", types: [id+jwt]", "types"),
        (", leeway: 10m", "clocks differ by 5m at most"),
        (", max_lifetime: 0s", "max_lifetime"),
        (", keys: {}", "write file or url"),
        (", keys: {file: a.json, url: 'https://x.example/k'}", "write file or url"),
        (", keys: {url: 'http://x.example/k'}", "keys are fetched over https"),
        (", keys: {file: a.json}, timeout: 5s", "nothing is fetched"),
        (", hosts: [other.example.com]", "does not answer for other.example.com"),
        (", secret: x", "secret"),
    ],
)
def test_what_an_issuer_cannot_mean_is_an_error_at_its_key(more: str, said: str) -> None:
    found = errors(f"issuers: [{ISSUER % more}]")
    assert said in found
    assert found.startswith("gateway.yaml:7:")


@pytest.mark.parametrize(
    ("identity", "said"),
    [
        (f"issuers: [{ISSUER % ''}, {ISSUER % ''}]", "another issuer"),
        (f"issuers: [{(ISSUER % '').replace('okta', 'local')}]", "is the id of a provider"),
        (f"issuers: [{(ISSUER % '').replace('tenant: acme', 'tenant: acne')}]", "the tenant acne does not exist"),
        (f"issuers: [{(ISSUER % '').replace('https://x', 'http://x')}]", "an issuer is https"),
        (f"issuers: [{(ISSUER % '').replace('audiences: [api], ', '')}]", "audiences"),
        ("api_keys: {header: Authorization}", "has a meaning of its own"),
        ("api_keys: {header: X-Forwarded-For}", "has a meaning of its own"),
        ("api_keys: {lifetime: 2y}", "lifetime is more than longest"),
    ],
)
def test_what_cannot_be_meant_is_an_error(identity: str, said: str) -> None:
    assert said in errors(identity)


def test_keys_in_a_file_never_grow_old_and_broken_ones_are_told() -> None:
    configured = with_issuer(", keys: {file: k.json}")
    good = bundle(issuer_keys={"okta": jwks(jwk(ec_key(), kid="a"))})
    assert fixed_keys(configured, good)["okta"].fetched == math.inf
    assert list(issuer_problems(configured, good)) == []
    (problem,) = issuer_problems(configured, bundle(issuer_keys={"okta": b"{}"}))
    assert problem.startswith("identity.issuers[0].keys.file: not a JWK Set")
    (problem,) = issuer_problems(configured, bundle(issuer_authorities={"okta": b"x"}))
    assert problem == "identity.issuers[0].ca: holds no certificate in PEM"


# The state between pages and edges


@pytest.fixture
def store(tmp_path: Path) -> Iterator[IssuerKeyStore]:
    rows = SQLiteRows(tmp_path, create=True)
    made = Store(rows, Keyring.generate(os.urandom, NOW))
    yield IssuerKeyStore(rows, made.sealer)
    rows.close()


def test_later_keys_replace_earlier_ones_and_never_the_reverse(store: IssuerKeyStore) -> None:
    assert store.load("i") is None
    assert store.keep("i", KeptKeys(document=b"1", fetched=NOW), now=NOW)
    assert not store.keep("i", KeptKeys(document=b"0", fetched=NOW - 1), now=NOW)
    assert store.keep("i", KeptKeys(document=b"2", fetched=NOW + 1), now=NOW + 1)
    assert store.load("i") == KeptKeys(document=b"2", fetched=NOW + 1)
    assert store.load("j") is None


def test_a_flood_of_wishes_is_one(store: IssuerKeyStore) -> None:
    assert store.wished("i") == 0.0
    for number in range(50):
        store.wish("i", now=NOW + number / 10)
    assert store.wished("i") == NOW
    store.wish("i", now=NOW + WANTED_GRAIN_S)
    assert store.wished("i") == NOW + WANTED_GRAIN_S


# Over a socket


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.asked.append(self.path)
        status, body = server.answers.get(self.path, (404, b""))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", body.decode())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.shutdown()
    made.server_close()


async def located(server: Server, issuer: str = "") -> str:
    conversation = Conversation("okta", context=trust_of(None), timeout_s=5.0)
    documents = IssuerDocuments(issuer or server.url, conversation=conversation)
    try:
        return await documents.locate()
    finally:
        await documents.close()


OPENID, OAUTH = "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"


@pytest.mark.parametrize("place", [OPENID, OAUTH])
async def test_keys_are_found_by_either_kind_of_metadata(server: Server, place: str) -> None:
    metadata = {"issuer": server.url, "jwks_uri": f"{server.url}/keys"}
    server.answers[place] = (200, json.dumps(metadata).encode())
    assert await located(server) == f"{server.url}/keys"


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"issuer": "https://other.example", "jwks_uri": "https://x.example/k"}, "another issuer"),
        ({"jwks_uri": "https://x.example/k"}, "another issuer"),
        ({"issuer": "", "jwks_uri": "http://10.0.0.1/k"}, "no jwks_uri"),
        ({"issuer": "", "jwks_uri": "file:///etc/passwd"}, "no jwks_uri"),
        ({"issuer": "", "jwks_uri": 5}, "no jwks_uri"),
        ({"issuer": ""}, "no jwks_uri"),
        ([], "no JSON object"),
    ],
)
async def test_metadata_that_cannot_be_believed_lead_nowhere(server: Server, metadata: object, said: str) -> None:
    if isinstance(metadata, dict) and metadata.get("issuer") == "":
        metadata = {**metadata, "issuer": server.url}
    server.answers[OPENID] = (200, json.dumps(metadata).encode())
    with pytest.raises(DocumentUnavailableError, match=said):
        await located(server)


async def test_no_redirect_is_followed(server: Server) -> None:
    """attack: an issuer, or somebody on its host, that sends the gateway inside."""
    server.answers[OPENID] = server.answers[OAUTH] = (302, f"{server.url}/inside".encode())
    with pytest.raises(DocumentUnavailableError, match="answers 302"):
        await located(server)
    assert "/inside" not in server.asked


def test_the_metadata_of_an_issuer_with_a_path_stand_before_it() -> None:
    assert authorization_server_url("https://x.example/o/2/") == f"https://x.example{OAUTH}/o/2"


async def test_the_keeper_hands_on_what_it_fetched_and_what_an_outage_leaves(
    server: Server, store: IssuerKeyStore
) -> None:
    configured = settings(f"issuers: [{(ISSUER % '').replace('https://x.example/o', server.url)}]")
    executor, registry, clock = store_executor(), Registry(), [time.time()]
    metrics = IssuerMetrics(registry)
    keeper = IssuerKeeper(configured, bundle(), store=store, executor=executor, metrics=metrics, clock=lambda: clock[0])
    assert keeper.is_needed
    await keeper.look()
    assert store.load(server.url) is None
    assert metrics.degraded.values == {("okta",): 1.0}
    server.answers[OPENID] = (200, json.dumps({"issuer": server.url, "jwks_uri": f"{server.url}/keys"}).encode())
    server.answers["/keys"] = (200, jwks(jwk(ec_key(), kid="a")))
    clock[0] += 5
    await keeper.look()
    kept = store.load(server.url)
    assert kept is not None
    assert (kept.document, kept.fetched) == (server.answers["/keys"][1], clock[0])
    assert metrics.degraded.values == {("okta",): 0.0}
    server.answers["/keys"] = (200, jwks(jwk(ec_key(which=1), kid="b")))
    clock[0] += 61
    store.wish(server.url, now=clock[0])
    await keeper.look()
    kept = store.load(server.url)
    assert kept is not None
    assert kept.document == server.answers["/keys"][1]
    server.answers.clear()
    clock[0] += 3600
    await keeper.look()
    assert store.load(server.url) == kept
    task = asyncio.create_task(keeper.keep())
    await asyncio.sleep(0)
    assert metrics.degraded.values == {("okta",): 1.0}
    task.cancel()
    await asyncio.wait({task})  # lets go of its connections
    assert metrics.degraded.values == {}, "after a reload somebody else says how it is, or nobody asks it any more"
    assert metrics.ages.values == {}
    executor.close()


def test_an_edge_without_issuers_learns_nothing() -> None:
    bearers = Bearers()
    bearers.learn({})
    assert len(bearers) == 0
