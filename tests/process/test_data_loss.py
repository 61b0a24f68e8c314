"""Card numbers, secrets and bulk downloads in a whole gateway: masked, withheld, counted, and in no artefact."""

from __future__ import annotations

import gzip
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import brotli
import pytest
from backports import zstd

from tests.process.conftest import Browser

pytestmark = pytest.mark.timeout(240)  # whole processes on a busy machine

PAN = "4111111111111111"
PAGE = b"<html><p>Card number: 4111 1111 1111 1111</p><p>" + b"Lorem ipsum dolor. " * 200 + b"</p></html>"
CLEAN = PAGE.replace(b"4111 1111 1111 1111", b"**** **** **** 1111")
KEY = (
    b"-----BEGIN PRIVATE KEY-----\n"
    + b"MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj\n" * 4
    + b"-----END PRIVATE KEY-----\n"
)
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
}


class Shop(ThreadingHTTPServer):
    """A portal that shows what it should not, compressed however it likes and in pieces."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[bytes] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Shop

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        body, kind = (KEY, "text/plain") if path == "/key" else (PAGE, "text/html; charset=utf-8")
        coding = path.removeprefix("/as/") if path.startswith("/as/") else ""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("ETag", '"v1"')
        if coding:
            body = ENCODERS[coding](body)
            self.send_header("Content-Encoding", coding)
        if path.startswith("/invoices/"):
            self.send_header("X-Audit-Resource", f"invoice/{path.rpartition('/')[2]}")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(body), 23):
            piece = body[start : start + 23]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def do_POST(self) -> None:
        self.server.received.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        pass


@pytest.fixture
def shop() -> Iterator[Shop]:
    server = Shop()
    yield server
    server.shutdown()
    server.server_close()


def guarded(make_gateway: Callable[..., Any], portal: Any, shop: Shop, inspection: str) -> Any:
    gateway = make_gateway(workers=2)
    gateway.edit(
        ("policies: policies/", f"policies: policies/\ninspection: {inspection}"),
        (f"127.0.0.1:{portal.port}", f"127.0.0.1:{shop.server_address[1]}"),
    )
    return gateway


def post(gateway: Any, browser: Browser, body: bytes, fields: dict[str, str]) -> int:
    connection: http.client.HTTPSConnection = gateway.connect()
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    connection.request("POST", "/", body, {"Cookie": cookie, "Origin": gateway.public_url, **fields})
    status = connection.getresponse().status
    connection.close()
    return status


def test_what_a_portal_shows_is_masked_or_withheld_and_stands_nowhere(
    make_gateway: Callable[..., Any], make_browser: type[Browser], portal: Any, shop: Shop
) -> None:
    gateway = guarded(
        make_gateway, portal, shop, "{leaks: {answers: {cards: mask, secrets: block}, requests: {cards: mask}}}"
    )
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()

    for path in ("/page", *(f"/as/{coding}" for coding in ENCODERS)):
        answer = browser.get(path)
        assert (answer.status, answer.body) == (200, CLEAN), path
        assert "content-encoding" not in answer.headers
        assert answer.headers["etag"] == 'W/"v1"'

    withheld = browser.get("/key")
    assert withheld.status == 403
    assert b"MIIE" not in withheld.body
    assert withheld.headers["x-request-id"] in withheld.body.decode(), "the page gives the reference number"
    assert gateway.metric('gateway_decisions_total{reason="data_withheld",stage="inspection"}') == 1

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert post(gateway, browser, b"card=4111+1111+1111+1111", form) == 200
    packed = gzip.compress(f'{{"card":"{PAN}"}}'.encode())
    assert post(gateway, browser, packed, {"Content-Type": "application/json", "Content-Encoding": "gzip"}) == 200
    assert shop.received[0] == b"card=****+****+****+1111"
    assert gzip.decompress(shop.received[1]) == b'{"card":"************1111"}'

    sighted = 'gateway_inspection_leaks_total{action="%s",in="%s",kind="%s",route="portal"}'
    assert gateway.metric(sighted % ("mask", "answer", "cards")) == 4
    assert gateway.metric(sighted % ("block", "answer", "secrets")) == 1
    assert gateway.metric(sighted % ("mask", "request", "cards")) == 2

    def told() -> bool:
        done = gateway.cli("audit", "query", "--event", "data.exposed", "--json")
        return len(done.stdout.splitlines()) == 5

    gateway.wait_until(told)
    exported = gateway.cli("audit", "query", "--json", "--limit", "500").stdout
    words = [
        word
        for line in exported.splitlines()
        for word in json.loads(line)["record"]["unmapped"]["gw"].get("inspection", {}).get("leaks", [])
    ]
    assert {one["kind"] for word in words for one in word["sightings"]} == {"cards", "secrets"}
    digests = {
        digest for word in words for one in word["sightings"] for digest in one["digests"] if one["kind"] == "cards"
    }
    assert len(digests) == 1, "the same number has the same digest everywhere"
    metrics = gateway.admin("/metrics").body
    assert gateway.stop() == 0

    artefacts = {"query": exported.encode(), "metrics": metrics, "log": gateway.log.read_bytes()}
    for path in (gateway.directory / "state").rglob("*"):
        if path.is_file() and path.stat().st_size < 64 << 20:
            artefacts[str(path)] = path.read_bytes()
    for name, content in artefacts.items():
        for secret in (PAN.encode(), b"4111 1111 1111 1111", b"MIIEvQIBADANBgkq"):
            assert secret not in content, name


def test_bounds_of_bodies_hold_and_a_wrong_word_is_told_with_its_place(
    make_gateway: Callable[..., Any], make_browser: type[Browser], portal: Any, shop: Shop
) -> None:
    gateway = guarded(
        make_gateway, portal, shop, "{body: {json: {depth: 3}, xml: {entitys: allow}}, leaks: {answers: {card: mask}}}"
    )
    refused = gateway.cli("check")
    assert refused.returncode == 2
    assert "entitys" in refused.stderr
    assert "did you mean 'cards'" in refused.stderr
    assert "gateway.yaml:" in refused.stderr
    gateway.edit((", xml: {entitys: allow}", ""), ("{card: mask}", "alert"))
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    json_type = {"Content-Type": "application/json"}
    assert post(gateway, browser, b'{"a":[1]}', json_type) == 200
    assert post(gateway, browser, b'{"a":[[[1]]]}', json_type) == 413
    assert post(gateway, browser, gzip.compress(b"\0" * (32 << 20)), json_type | {"Content-Encoding": "gzip"}) == 413
    assert post(gateway, browser, b"{}", json_type | {"Content-Encoding": "gzip, gzip"}) == 415
    laughs = b'<!DOCTYPE l [<!ENTITY a "b"><!ENTITY c "&a;&a;&a;">]><l>&c;</l>'
    assert post(gateway, browser, laughs, {"Content-Type": "application/xml"}) == 413
    assert shop.received == [b'{"a":[1]}']
    assert gateway.metric('gateway_inspection_unread_total{reason="body_too_complex",route="portal"}') == 2
    assert browser.get("/page").body == PAGE, "an alert changes nothing"


def test_records_are_counted_over_all_workers_and_a_fresh_proof_opens_a_new_count(
    make_gateway: Callable[..., Any], make_browser: type[Browser], portal: Any, shop: Shop
) -> None:
    gateway = guarded(make_gateway, portal, shop, "{downloads: {records: 5/h, action: block}}")
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    seen = [browser.get(f"/invoices/{number}").status for number in range(7)]  # each over a connection of its own
    assert seen == [200] * 5 + [429] * 2
    assert browser.get("/invoices/3").status == 200, "what was seen may be seen again"
    stopped = browser.get("/invoices/6")
    assert int(stopped.headers["retry-after"]) > 0
    assert b"Card number" not in stopped.body
    assert gateway.metric('gateway_inspection_downloads_total{outcome="block",route="portal"}') == 3

    gateway.edit(("action: block", "action: step_up"))
    assert gateway.cli("reload").returncode == 0
    assert [browser.get(f"/invoices/{number}").status for number in range(10, 15)] == [200] * 5
    proof = browser.get("/invoices/15")
    assert proof.status == 302
    assert "step_up" in proof.headers["location"]
