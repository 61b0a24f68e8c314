"""A whole gateway that delivers its log to two receivers: one is away, the custodian is killed, and nothing is missing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.log_receivers import Authority, Copy, WebReceiver, copy_of
from tests.machine import free_port


class ThreadedReceiver:
    """The web receiver on a port of its own, in a thread, that can be away."""

    def __init__(self, authority: Authority) -> None:
        self.port = free_port()
        self._authority = authority
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.receiver = WebReceiver(authority.server_context(), port=self.port)
        self._is_up = False

    def _do(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def start(self) -> None:
        self._do(self.receiver.__aenter__())
        self._is_up = True

    def stop(self) -> None:
        if self._is_up:
            self._do(self.receiver.__aexit__())
            self._is_up = False

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def away(tmp_path: Path) -> Iterator[ThreadedReceiver]:
    receiver = ThreadedReceiver(Authority(tmp_path / "authority"))
    yield receiver
    receiver.close()


def in_file(path: Path) -> list[Copy]:
    return [copy_of(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def by_log(copies: list[Copy]) -> dict[str, dict[int, set[bytes]]]:
    found: dict[str, dict[int, set[bytes]]] = defaultdict(lambda: defaultdict(set))
    for origin, index, line in copies:
        found[origin][index].add(line)
    return found


def configure(gateway: Any, away: ThreadedReceiver, tmp_path: Path) -> Path:
    received = tmp_path / "received" / "audit.jsonl"
    received.parent.mkdir()
    secret = tmp_path / "webhook.secret"
    secret.write_text("a secret of thirty-two bytes ....\n")
    secret.chmod(0o600)
    sinks = f"""
audit:
  durability: group
  keys: config/audit-keys.json
  sinks:
    - {{name: siem, type: webhook, url: "https://127.0.0.1:{away.port}/audit", secret: {{file: {secret}}},
       ca: {tmp_path / "authority" / "ca.pem"}, required: true, timeout: 2s, retry: {{first: 50ms, longest: 200ms}}}}
    - {{name: local, type: file, path: {received}}}
"""
    gateway.edit(("audit: {durability: group, keys: config/audit-keys.json}\n", sinks.lstrip()))
    return received


def test_a_killed_custodian_and_a_receiver_that_was_away_lose_nothing(
    make_gateway: Callable[..., Any], make_browser: type[Any], away: ThreadedReceiver, tmp_path: Path
) -> None:
    gateway = make_gateway()
    received = configure(gateway, away, tmp_path)
    checked = gateway.cli("check")
    assert checked.returncode == 0, checked.stderr
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    gateway.wait_until(lambda: len(in_file(received)) >= 5)
    gateway.wait_until(lambda: b"audit.sink_failed" in received.read_bytes())
    gateway.wait_until(lambda: gateway.metric('gateway_audit_sink_lag_records{sink="siem",stream="security"}') > 0)
    assert gateway.ready()[0] == 200, "a receiver that is away keeps nobody from being served"
    listed = {line["sink"]: line for line in json.loads(gateway.cli("audit", "cursors", "--json").stdout)["cursors"]}
    assert listed["siem"]["next_index"] == 0
    assert listed["siem"]["lag_records"] > 0
    [custodian] = gateway.children("custodian")
    os.kill(custodian, signal.SIGKILL)
    away.start()
    for _ in range(5):
        assert browser.get("/").status == 200
    gateway.wait_until(lambda: gateway.children("custodian") not in ([], [custodian]))
    gateway.wait_until(lambda: any(b"audit.sink_configured" in body for _, body in away.receiver.requests))
    [custodian] = gateway.children("custodian")
    os.kill(custodian, signal.SIGKILL)
    for _ in range(5):
        assert browser.get("/").status == 200
    gateway.wait_until(lambda: gateway.children("custodian") not in ([], [custodian]))

    def is_complete() -> bool:
        there, here = by_log(away.receiver.copies()), by_log(in_file(received))
        return len(there) >= 2 and {o: set(v) for o, v in there.items()} == {o: set(v) for o, v in here.items()}

    gateway.wait_until(lambda: gateway.metric('gateway_audit_sink_lag_records{sink="siem",stream="security"}') == 0)
    gateway.wait_until(is_complete)
    before = sum(1 for _, index, _ in in_file(received) if index == 0)
    replayed = gateway.cli(
        "audit", "replay", "--sink", "local", "--stream", "security", "--from", "0", "--reason", "a test"
    )
    assert replayed.returncode == 0, replayed.stderr
    gateway.wait_until(lambda: sum(1 for _, index, _ in in_file(received) if index == 0) > before)
    gateway.wait_until(lambda: b'"audit replay"' in received.read_bytes())
    assert gateway.stop() == 0
    for log in (by_log(away.receiver.copies()), by_log(in_file(received))):
        for copies in log.values():
            assert set(copies) == set(range(max(copies) + 1)), "a gap"
            assert all(len(lines) == 1 for lines in copies.values()), "two copies that differ"
    assert gateway.cli("audit", "verify").returncode == 0


def test_a_file_sink_in_a_new_directory_works_after_a_reload(make_gateway: Callable[..., Any], tmp_path: Path) -> None:
    """The kernel lets the custodian write where gateway.yaml said when it began: another begins."""
    gateway = make_gateway()
    gateway.start()
    received = tmp_path / "elsewhere" / "audit.jsonl"
    received.parent.mkdir()
    sink = f"{{name: local, type: file, path: {received}}}"
    before, after = "keys: config/audit-keys.json}\n", f"keys: config/audit-keys.json, sinks: [{sink}]}}\n"
    gateway.edit((before, after))
    [first] = gateway.children("custodian")
    reloaded = gateway.cli("reload")
    assert reloaded.returncode == 0, reloaded.stderr
    gateway.wait_until(lambda: received.exists() and b"audit.sink_configured" in received.read_bytes())
    assert gateway.children("custodian") != [first]
    assert gateway.ready()[0] == 200
    assert gateway.stop() == 0
    assert gateway.cli("audit", "verify").returncode == 0
