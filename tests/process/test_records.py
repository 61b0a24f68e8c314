"""T-50, T-51: what a whole gateway writes down of hostile and careless requests, in every artefact it has."""

from __future__ import annotations

import re
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from gateway.audit.canonical import encode
from gateway.audit.schema import record_schema
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.reader import entries
from tests.corpora.secrets import SECRETS

pytestmark = pytest.mark.timeout(180)  # whole processes on a busy machine
_OUTSIDE = re.compile(r"[^!-~]|[\"<>\\^`{|}?#%]")


def escaped(text: str) -> str:
    return _OUTSIDE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text)


def test_no_secret_of_the_corpus_stands_in_any_artefact_and_every_record_is_as_the_schema_says(
    running_gateway: Any, browser: Any, tmp_path: Path
) -> None:
    shown = []
    for text, _ in SECRETS:
        quoted = escaped(text)
        browser.cookies["c" + re.sub("[^A-Za-z0-9]", "", text)] = quoted
        shown += [
            browser.get(f"/{quoted}"),
            browser.get(f"/search?{quoted}"),
            browser.get("/", {"User-Agent": text, "X-Token": text, "Referer": f"https://x.example/?{quoted}"}),
            browser.get(f"/.gateway/{quoted}"),
        ]
    browser.post("/.gateway/login", {"username": "alice", "password": "4111111111111111"})
    metrics = running_gateway.admin("/metrics").body
    exported = running_gateway.cli("audit", "query", "--json", "--limit", "5000").stdout
    assert running_gateway.stop() == 0

    directory = running_gateway.directory
    keys = next(directory.glob("config/audit-keys.json"))
    state = next(path.parent for path in directory.rglob("checkpoints"))
    damages: list[str] = []
    stored = list(entries(Layout(state).directory, AuditKeys.load(keys), on_damage=damages.append))
    assert damages == []
    valid = Draft202012Validator(record_schema())
    requests = 0
    for each in stored:
        record = orjson.loads(each.entry.payload)
        valid.validate(record)
        assert encode(record) == each.entry.payload
        assert b"\n" not in each.entry.payload
        requests += "http_request" in record
    assert requests >= 4 * len(SECRETS), "each request left a record"

    artefacts = {
        "records": b"\n".join(each.entry.payload for each in stored),
        "query": exported.encode(),
        "metrics": metrics,
        "log": running_gateway.log.read_bytes(),
        "pages": b"".join(answer.body for answer in shown if answer.status >= 400),
    }
    for path in state.rglob("*"):
        if path.is_file() and path.stat().st_size < 64 << 20:
            artefacts[str(path.relative_to(state))] = path.read_bytes()
    found = {
        (name, text): content[max(0, at - 60) : at + 60]
        for name, content in artefacts.items()
        for text, secret in SECRETS
        if (at := content.find(secret.encode())) >= 0
    }
    assert found == {}
    assert b"[redacted]" in artefacts["records"]


EXOTIC = (
    b"\x00", b"\x01", b"\x1b[31m", b"\x7f", b"\x80\xff", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\r", b"\n", b"\r\n\tfolded",
    b"\r\nX-Smuggled: 1", b"%00", b"%ED%A0%80", b"%0d%0a", b'"}\\', b"\xf0\x9f\x92\xa3",
)  # fmt: skip
"""NUL, controls, ANSI, what is no UTF-8, lone surrogates, ends of lines, what ends a string of JSON."""
PLACES = (
    b"GET /a%b HTTP/1.1\r\nHost: localhost\r\n",
    b"GET /?a=%b HTTP/1.1\r\nHost: localhost\r\n",
    b"GET%b / HTTP/1.1\r\nHost: localhost\r\n",
    b"GET / HTTP/1.1%b\r\nHost: localhost\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost%b\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a%b\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX%b: a\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: a%b=1; gw=%b\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\ntraceparent: 00-%b\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: %b\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n",
)


def sent(gateway: Any, data: bytes) -> bytes:
    """Send bytes on a connection of their own, and return what comes back."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", gateway.port), timeout=15) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        with suppress(OSError):  # it may be refused before it was read
            connection.sendall(data)
        got = b""
        with suppress(OSError):
            while piece := connection.recv(65_536):
                got += piece
        return got


def test_no_exotic_byte_anywhere_in_a_request_suppresses_or_breaks_its_record(running_gateway: Any) -> None:
    """T-50 (ASVS 16.4.1), through a whole gateway: what is on the disk and what its readers print."""
    requests = [place.replace(b"%b", exotic) + b"Connection: close\r\n\r\n" for place in PLACES for exotic in EXOTIC]
    requests.append(b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: " + b"x" * (1 << 20) + b"\r\n\r\n")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(partial(sent, running_gateway), requests))
    lost = [request[:80] for request, got in zip(requests[:-1], answers, strict=False) if got[:9] != b"HTTP/1.1 "]
    assert lost == [], "but the answer to the last may be lost in a reset"
    lines = running_gateway.cli("audit", "query", "--json", "--limit", "5000").stdout.split("\n")
    table = running_gateway.cli("audit", "query", "--limit", "5000").stdout
    assert running_gateway.stop() == 0

    keys = next(running_gateway.directory.glob("config/audit-keys.json"))
    state = next(path.parent for path in running_gateway.directory.rglob("checkpoints"))
    valid, count = Draft202012Validator(record_schema()), 0
    for each in entries(Layout(state).directory, AuditKeys.load(keys), on_damage=pytest.fail):
        record = orjson.loads(each.entry.payload)
        valid.validate(record)
        assert encode(record) == each.entry.payload, "canonical, and so one line"
        count += "http_request" in record and record["unmapped"]["gw"]["phase"] in {"single", "opening"}
    assert count >= len(requests), "each request left a record"
    assert all(isinstance(orjson.loads(line), dict) for line in lines if line)
    assert all(character.isprintable() or character == "\n" for character in table)
