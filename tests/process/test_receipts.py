"""A whole gateway before a portal that serves nothing without an audit receipt, while the key is changed."""

from __future__ import annotations

import json
import os
import signal
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.receipts import ReceiptError, Receipts

SERVERS = "  portal: {servers:"


def shown(gateway: Any, *more: str) -> bytes:
    """Take over a key as the operator of a portal does."""
    done = gateway.cli("audit", "receipt-key", "portal", *more)
    assert done.returncode == 0, done.stderr
    return b64decode(done.stdout)


def test_a_portal_can_demand_that_every_request_is_in_the_log_first(
    make_gateway: Callable[..., Any], make_browser: type[Any]
) -> None:
    gateway = make_gateway()
    gateway.edit((SERVERS, "  portal: {receipt_key: 1, servers:"))
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    old, new = shown(gateway), shown(gateway, "--number", "2")

    def checked(*keys: bytes) -> str:
        """Ask for a page and return which record the portal may believe."""
        answer = browser.get("/?a=%20b", {"X-Audit-Receipt": "mine#1 x"})
        assert answer.status == 200, answer.body
        seen = answer.json
        line, fields = f"GET {seen['path']} HTTP/1.1".encode(), seen["headers"]
        place: str = Receipts(keys).verify(line, fields["x-request-id"], fields["x-audit-receipt"])
        return place

    place = checked(old)
    with pytest.raises(ReceiptError):
        checked(new)
    gateway.edit(("receipt_key: 1", "receipt_key: 2"))  # the portal takes both meanwhile
    assert gateway.cli("reload").returncode == 0
    gateway.wait_until(lambda: _takes(checked, new))
    with pytest.raises(ReceiptError):
        checked(old)
    for child in gateway.children("audit"):
        os.kill(child, signal.SIGKILL)
    gateway.wait_until(lambda: gateway.ready()[0] == 200 and browser.get("/").status == 200)
    assert checked(new)
    assert gateway.metric('gateway_audit_receipts_total{result="given"}') > 0
    assert gateway.stop() == 0
    verified = gateway.cli("audit", "verify")
    assert verified.returncode == 0, verified.stdout
    lines = gateway.cli("audit", "query", "--json", "--limit", "1000").stdout.splitlines()
    records = [json.loads(line) for line in lines]
    origin, _, index = place.partition("#")
    (record,) = [
        r for r in records if (r["log"]["stream"], r["log"]["index"]) == (origin.rpartition("/")[2], int(index))
    ]
    assert record["record"]["unmapped"]["gw"]["phase"] == "intent"


def _takes(checked: Callable[..., str], key: bytes) -> bool:
    try:
        return bool(checked(key))
    except ReceiptError:
        return False
