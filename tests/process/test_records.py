"""T-50, T-51: what a whole gateway writes down of hostile and careless requests, in every artefact it has."""

from __future__ import annotations

import re
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
