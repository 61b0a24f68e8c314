"""The page Evidence of a whole gateway: what it finds, and that it comes back whatever becomes of the custodian."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.process.conftest import Browser

EVIDENCE = "/.gateway/admin/evidence"


def test_evidence_is_found_and_outlives_the_custodian_a_reload_and_an_upgrade(make_gateway: Callable[..., Any]) -> None:
    gateway = make_gateway()
    gateway.edit((f"127.0.0.1:{gateway.admin_port}}}", f"127.0.0.1:{gateway.admin_port}, console: {{enabled: true}}}}"))
    made = gateway.cli("user", "role", "alice", "--add", "gateway.admin")
    assert made.returncode == 0, made.stderr
    gateway.start()
    browser = Browser(gateway)
    browser.sign_in()

    def shows(path: str = "?person=alice&stream=security") -> bool:
        answer = browser.get(EVIDENCE + path)
        assert answer.status in {200, 503}, answer.body[:500]
        return answer.status == 200 and b"/.gateway/admin/evidence/security/" in answer.body

    gateway.wait_until(shows)
    trail = gateway.cli("audit", "query", "--event", "evidence search", "--json")
    assert trail.returncode == 0, trail.stderr
    assert '"evidence search"' in trail.stdout
    socket = gateway.directory / "state" / "run" / "evidence.sock"
    assert socket.stat().st_mode & 0o077 == 0
    exported = browser.get(f"{EVIDENCE}/export?person=alice&format=jsonl")
    assert exported.status == 200
    assert b'"alice"' in exported.body
    assert b"security" in browser.get(f"{EVIDENCE}/proof").body
    # Nobody answers: the page says so, in the look of the console, and a reload mends it.
    socket.unlink()
    away = browser.get(f"{EVIDENCE}?person=alice")
    assert away.status == 503
    assert b"does not answer" in away.body
    assert browser.get("/").status != 503, "nobody else waits for it"
    done = gateway.cli("reload")
    assert done.returncode == 0, done.stderr
    gateway.wait_until(shows)
    [custodian] = gateway.children("custodian")
    os.kill(custodian, signal.SIGKILL)
    gateway.wait_until(lambda: gateway.children("custodian") not in ([], [custodian]))
    gateway.wait_until(shows)
    [before] = gateway.children("custodian")
    upgraded = gateway.cli("upgrade")
    assert upgraded.returncode == 0, upgraded.stderr
    gateway.wait_until(lambda: not Path(f"/proc/{before}").exists())
    gateway.wait_until(lambda: gateway.metric("gateway_custody_active") == 1)
    gateway.wait_until(shows)
