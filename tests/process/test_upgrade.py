"""A running gateway hands over to a new program; whoever started it notices nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.machine import free_port, lives

pytestmark = pytest.mark.timeout(180)  # whole processes on a busy machine


def upgrade(gateway: Any) -> None:
    done = gateway.cli("upgrade")
    assert done.returncode == 0, done.stderr
    gateway.wait_until(lambda: gateway.metric("gateway_upgrade_draining") == 0)


def supervisor(gateway: Any) -> int:
    return int((gateway.directory / "state" / "run" / "gateway.pid").read_text())


def children(pid: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(status.parent.name))
    return found


def test_the_process_that_was_started_stays_and_sessions_limits_and_trail_go_on(
    running_gateway: Any, browser: Any, make_browser: Any
) -> None:
    gateway = running_gateway
    stranger, began = make_browser(gateway), time.monotonic()
    assert attempts(stranger) >= 5
    was = supervisor(gateway)
    assert was == gateway.process.pid
    upgrade(gateway)
    now = supervisor(gateway)
    assert now != was
    assert children(gateway.process.pid) == [now], "the first process keeps the new supervisor, and nothing else"
    assert b"gateway.server.keeper" in Path(f"/proc/{was}/cmdline").read_bytes()
    assert len(children(now)) == 5
    assert browser.get("/").status == 200, "sessions survive"
    again = attempts(stranger)
    assert again <= 1 + (time.monotonic() - began) / 6, "limits go on counting"

    gateway.process.send_signal(signal.SIGUSR2)
    gateway.wait_until(lambda: supervisor(gateway) not in {was, now})
    gateway.wait_until(lambda: gateway.metric("gateway_upgrade_draining") == 0)
    assert gateway.metric('gateway_upgrades_total{result="success"}') == 2
    assert children(gateway.process.pid) == [supervisor(gateway)]
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_until(lambda: gateway.metric('gateway_policy_reloads_total{result="success"}') == 1)
    assert browser.get("/").status == 200

    asked = time.monotonic()
    assert gateway.stop() == 0
    assert time.monotonic() - asked < 10
    assert not list((gateway.directory / "state" / "run").glob("*.sock"))
    assert gateway.cli("audit", "verify").returncode == 0
    query = gateway.cli("audit", "query", "--json").stdout
    assert query.count('"gateway.upgraded"') == 2
    assert query.count('"gateway.started"') == 1
    assert query.count('"gateway.stopped"') == 1


def test_an_upgrade_applies_what_a_reload_cannot(make_gateway: Callable[..., Any], make_browser: Any) -> None:
    """Listeners, the admin listener, workers and the log, in one step."""
    gateway = make_gateway()
    gateway.start()
    added, admin, gone = free_port(), free_port(), gateway.admin_port
    gateway.edit(
        ("workers: 2", "workers: 1"),
        (f"127.0.0.1:{gateway.admin_port}", f"127.0.0.1:{admin}"),
        ("listen:\n", f"listen:\n  - {{address: 127.0.0.1:{added}, redirect_to_https: true}}\n"),
    )
    done = gateway.cli("reload")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"{name}: changed; nothing was reloaded: gateway upgrade applies it without dropping a request"
        for name in ("listen", "admin", "workers")
    ]
    done = gateway.cli("upgrade")
    assert done.returncode == 0, done.stderr
    gateway.admin_port = admin
    gateway.wait_until(lambda: gateway.ready()[0] == 200)
    gateway.wait_until(lambda: gateway.metric("gateway_upgrade_draining") == 0)
    gateway.wait_until(lambda: len(children(supervisor(gateway))) == 4)  # audit, custodian, pages, one edge
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", gone))
    with socket.create_connection(("127.0.0.1", added)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 30")
    for _ in range(10):  # both queues that there were are served by the one worker
        assert make_browser(gateway).get("/").status == 302
    gateway.edit((f"listen:\n  - {{address: 127.0.0.1:{added}, redirect_to_https: true}}\n", "listen:\n"))
    upgrade(gateway)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", added))
    assert make_browser(gateway).get("/").status == 302


def test_an_upgrade_that_would_change_the_state_is_refused(running_gateway: Any, browser: Any) -> None:
    running_gateway.edit(("state_dir: state", "state_dir: other"))
    done = running_gateway.cli("upgrade")
    assert done.returncode == 2
    assert "no gateway runs on" in done.stderr, "who asks looks where the configuration says"
    running_gateway.process.send_signal(signal.SIGUSR2)
    running_gateway.wait_until(lambda: running_gateway.metric('gateway_upgrades_total{result="failure"}') == 1)
    assert "state_dir: changed; an upgrade goes on with" in running_gateway.log.read_text()
    assert browser.get("/").status == 200


_IN_A_WORKER = """
import ctypes, os, socket, sys
from pathlib import Path
from gateway.server.confine import confine, harden
from gateway.server.control import Upgrade, pack, receive_reply

state, keys, loot = map(Path, sys.argv[1:])
harden()
confine(writable=[*state.glob("state.sqlite3*"), state / "generations"], unreadable=[keys])
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: the supervisor may look into our /proc
program = os.memfd_create("program", 0)
os.write(program, f"#!/bin/sh\\ncat {keys} > {loot}\\n".encode())
os.fchmod(program, 0o700)
connection = socket.socket(socket.AF_UNIX)
connection.connect(str(state / "run" / "commands.sock"))
connection.sendall(pack(Upgrade(program=f"/proc/{os.getpid()}/fd/{program}")))
print(*receive_reply(connection).diagnostics)
"""


def test_code_in_a_worker_cannot_have_its_own_program_started(running_gateway: Any, tmp_path: Path) -> None:
    """A worker has our user, and may connect wherever that user may: Landlock does not hold it back from sockets."""
    gateway, loot = running_gateway, tmp_path / "loot"
    keys = gateway.directory / "config" / "audit-keys.json"
    done = subprocess.run(
        [sys.executable, "-c", _IN_A_WORKER, str(gateway.directory / "state"), str(keys), str(loot)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "did not prove" in done.stdout, done.stderr
    assert not loot.exists()
    assert supervisor(gateway) == gateway.process.pid
    assert gateway.metric('gateway_upgrades_total{result="failure"}') == 1
    assert '"gateway.upgrade_failed"' in gateway.cli("audit", "query", "--json").stdout


def test_nothing_survives_the_first_process(make_gateway: Callable[..., Any]) -> None:
    gateway = make_gateway(workers=1)
    gateway.start()
    upgrade(gateway)
    tree = [supervisor(gateway), *children(supervisor(gateway))]
    assert gateway.stop(signal.SIGKILL) == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while any(lives(pid) for pid in tree):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    gateway.start()


def test_a_supervisor_that_is_killed_ends_the_first_process_too(make_gateway: Callable[..., Any]) -> None:
    """Whoever started the gateway must see that it is gone."""
    gateway = make_gateway(workers=1)
    gateway.start()
    upgrade(gateway)
    os.kill(supervisor(gateway), signal.SIGKILL)
    assert gateway.process.wait(timeout=20) == 128 + signal.SIGKILL


@pytest.mark.parametrize("drain_s", [1, 6], ids=["the old one ends first", "the new one ends first"])
def test_a_stop_while_the_old_program_still_finishes_ends_both(make_gateway: Callable[..., Any], drain_s: int) -> None:
    gateway = make_gateway(workers=1)
    gateway.edit(("audit: {", f"http: {{drain_timeout: {drain_s}s, body_timeout: 60s}}\naudit: {{"))
    gateway.start()
    connection = gateway.connect()
    connection.connect()
    connection.sock.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n")
    gateway.wait_until(lambda: gateway.metric("gateway_client_connections") == 1)
    assert gateway.cli("upgrade").returncode == 0
    assert gateway.metric("gateway_upgrade_draining") == 1
    done = gateway.cli("upgrade")
    assert done.returncode == 2
    assert "still finishes its requests" in done.stderr
    asked = time.monotonic()
    assert gateway.stop() == 0
    assert time.monotonic() - asked < drain_s + 9
    connection.close()


def test_a_stop_while_the_first_process_becomes_the_keeper_is_not_lost(make_gateway: Callable[..., Any]) -> None:
    gateway = make_gateway(workers=1)
    gateway.start()
    gateway.process.send_signal(signal.SIGUSR2)
    deadline = time.monotonic() + 60
    while '"upgrade.left"' not in gateway.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    assert gateway.stop() == 0


def test_a_reload_ends_what_the_old_program_still_has(make_gateway: Callable[..., Any]) -> None:
    """It runs on rules that hold no more."""
    gateway = make_gateway(workers=1)
    gateway.edit(("audit: {", "http: {drain_timeout: 1s, body_timeout: 60s}\nupgrade: {drain_timeout: 1h}\naudit: {"))
    gateway.start()
    connection = gateway.connect()
    connection.connect()
    connection.sock.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n")
    gateway.wait_until(lambda: gateway.metric("gateway_client_connections") == 1)
    assert gateway.cli("upgrade").returncode == 0
    assert gateway.metric("gateway_upgrade_draining") == 1
    assert gateway.metric('gateway_audit_records_total{stream="security"}') > 0
    assert gateway.cli("reload").returncode == 0
    gateway.wait_until(lambda: gateway.metric("gateway_upgrade_draining") == 0)
    connection.close()


def test_a_reload_that_is_asked_for_during_an_upgrade_is_not_lost(make_gateway: Callable[..., Any]) -> None:
    """Attack: somebody's grant is taken away while a new program starts that has read the files already."""
    gateway = make_gateway(workers=1)
    gateway.start()
    gateway.process.send_signal(signal.SIGUSR2)
    gateway.wait_until(lambda: any(children(child) for child in children(gateway.process.pid)))
    with (gateway.directory / "policies" / "portal.yaml").open("a", encoding="utf-8") as policy:
        policy.write("# changed\n")
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_until(lambda: '"upgrade.left"' in gateway.log.read_text())
    gateway.wait_until(lambda: '"policy.reloaded"' in gateway.log.read_text())
    assert gateway.stop() == 0


def test_upgrade_without_a_gateway_says_so(make_gateway: Callable[..., Any]) -> None:
    done = make_gateway().cli("upgrade")
    assert done.returncode == 2
    assert "no gateway runs on" in done.stderr


def test_taking_over_from_nobody_is_refused(make_gateway: Callable[..., Any]) -> None:
    done = make_gateway().cli("run", "--take-over", "77")
    assert done.returncode == 2
    assert "there is no gateway to take over from" in done.stderr


def attempts(browser: Any) -> int:
    """Try to sign in until the limit (10 at once, one each 6 s) says no; returns how often it did not."""
    made = 0
    while browser.post("/.gateway/login", {}).status != 429:
        made += 1
        assert made < 30
    return made
