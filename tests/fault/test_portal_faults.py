"""A portal that is down, silent, lies or breaks off; a client that does: each ends as it must, and stands in the log."""

from __future__ import annotations

import http.client
import time
from typing import Any

import pytest

from tests.fault.evidence import Evidence

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

PROGRAM = {"Accept": "application/json", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}


def test_each_fault_of_the_portal_ends_as_it_must_and_the_next_request_is_served(
    gateway: Any, browser: Any, upstream: Any
) -> None:
    for path, status, reason in (
        ("/silent", 504, "upstream_timeout"),
        ("/closes", 502, "upstream_closed"),
        ("/garbage", 502, "upstream_malformed"),
    ):
        answer = browser.get(path, PROGRAM)
        assert (answer.status, answer.json["reason"]) == (status, reason)
        assert browser.get("/invoices/1").body == b"GET /invoices/1 0\n"
    for path in ("/short", "/midchunk"):  # what began must not look complete
        with pytest.raises((http.client.IncompleteRead, OSError)):
            browser.get(path)
        assert browser.get("/invoices/1").body == b"GET /invoices/1 0\n"
    assert browser.get("/long").body == b"four"
    for number in range(8):
        assert browser.get(f"/invoices/{number}").body == f"GET /invoices/{number} 0\n".encode(), "queue poisoning"
    upstream.stop()
    try:
        answer = browser.get("/invoices/1", PROGRAM)
        assert (answer.status, answer.json["reason"]) == (502, "upstream_unreachable")
        assert browser.get("/.gateway/account").status == 200, "our own pages need no portal"
        assert gateway.admin("/livez").status == 200
    finally:
        upstream.start()
    assert browser.get("/invoices/1").status == 200
    assert gateway.stop() == 0
    assert gateway.cli("audit", "verify").returncode == 0
    evidence = Evidence(gateway.directory)
    outcomes = {
        said.record["http_request"]["url"]["path"]: said.record["unmapped"]["gw"]["outcome"]
        for records in evidence.of_request.values()
        for said in records
    }
    for path in ("/silent", "/closes", "/garbage", "/short", "/midchunk"):
        assert outcomes[path] == "upstream_error", path
    assert outcomes["/long"] == "completed"


def test_a_client_that_vanishes_in_its_upload_is_forgotten_by_both_sides_and_stands_in_the_log(
    gateway: Any, browser: Any, upstream: Any
) -> None:
    before = upstream.broken_off
    connection = gateway.connect()
    connection.putrequest("POST", "/orders/7")
    connection.putheader("Content-Length", "5000000")
    connection.putheader("Cookie", "; ".join(f"{name}={value}" for name, value in browser.cookies.items()))
    connection.endheaders()
    connection.send(bytes(100_000))
    gateway.wait_until(lambda: any(effect.path == "/orders/7" for effect in upstream.effects))
    connection.close()
    gateway.wait_until(lambda: upstream.broken_off > before)
    assert browser.get("/invoices/1").status == 200
    assert gateway.stop() == 0
    assert gateway.cli("audit", "verify").returncode == 0
    (effect,) = (effect for effect in upstream.effects if effect.path == "/orders/7")
    said = Evidence(gateway.directory).of_request[effect.request_id]
    assert [record.phase for record in said] == ["intent", "single"]
    assert said[-1].record["unmapped"]["gw"]["outcome"] == "aborted_client"


def test_a_client_that_vanishes_before_its_answer_ends_the_portals_work(
    gateway: Any, browser: Any, upstream: Any
) -> None:
    connection = gateway.connect()
    connection.request(
        "GET", "/events", headers={"Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items())}
    )
    response = connection.getresponse()
    assert response.readline() == b"data: tick\n"
    assert upstream.open_streams == 1
    connection.close()
    response.close()
    deadline = time.monotonic() + 20
    while upstream.open_streams:
        assert time.monotonic() < deadline
        time.sleep(0.02)
