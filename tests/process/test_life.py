"""A gateway from its start to its end."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.machine import lives

pytestmark = pytest.mark.timeout(180)  # whole processes on a busy machine


def test_a_person_signs_in_and_reaches_the_portal_with_an_identity(running_gateway: Any, browser: Any) -> None:
    answer = browser.get("/invoices/7?x=1")
    assert answer.status == 200
    assert answer.json["path"] == "/invoices/7?x=1"
    seen = answer.json["headers"]
    assert (seen["x-gateway-user"], seen["x-gateway-tenant"], seen["x-gateway-roles"]) == ("alice", "main", "client")
    assert "x-gateway-assertion" in seen
    assert "__Host-gw" not in seen.get("cookie", "")
    assert running_gateway.cli("audit", "verify").returncode == 0


def test_nobody_reaches_the_portal_without_signing_in(running_gateway: Any, make_browser: Any) -> None:
    answer = make_browser(running_gateway).get("/invoices/7")
    assert answer.status == 302
    assert answer.headers["location"].startswith("/.gateway/login")


def test_every_process_descends_from_the_first_and_keeps_its_cpu_affinity(make_gateway: Callable[..., Any]) -> None:
    gateway = make_gateway(workers=1)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        gateway.start()
    finally:
        os.sched_setaffinity(0, before)
    children = gateway.children()
    assert len(children) == 4
    assert all(os.sched_getaffinity(pid) == {min(before)} for pid in (gateway.process.pid, *children))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_whole_tree_within_ten_seconds(make_gateway: Callable[..., Any], number: int) -> None:
    gateway = make_gateway()
    gateway.start()
    children = gateway.children()
    asked = time.monotonic()
    assert gateway.stop(number) == 0
    assert time.monotonic() - asked < 10
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert not list((gateway.directory / "state" / "run").glob("*.sock"))


def test_a_request_that_hangs_does_not_hold_up_the_end(make_gateway: Callable[..., Any]) -> None:
    """Slow loris at shutdown: an open request gets its time to drain and no more."""
    gateway = make_gateway()
    gateway.edit(("audit: {", "http: {drain_timeout: 1s}\naudit: {"))
    gateway.start()
    connection = gateway.connect()
    connection.connect()
    connection.sock.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\n")
    asked = time.monotonic()
    assert gateway.stop() == 0
    assert time.monotonic() - asked < 10
    connection.close()


def test_a_second_signal_does_not_wait(make_gateway: Callable[..., Any]) -> None:
    """An open request would get the whole 7 s of the drain."""
    gateway = make_gateway()
    gateway.start()
    connection = gateway.connect()
    connection.connect()
    connection.sock.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\n")
    gateway.wait_until(lambda: gateway.metric("gateway_client_connections") == 1)
    asked = time.monotonic()
    gateway.process.send_signal(signal.SIGTERM)
    gateway.wait_until(lambda: gateway.ready()[0] == 503)
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(timeout=10) == 0
    assert time.monotonic() - asked < 6
    connection.close()


def test_readiness_goes_first_and_everybody_is_served_until_the_delay_is_over(
    make_gateway: Callable[..., Any], make_browser: Any
) -> None:
    gateway = make_gateway(workers=1)
    gateway.edit(("audit: {", "shutdown: {delay: 5m}\naudit: {"))
    gateway.start()
    browser = make_browser(gateway)
    gateway.process.send_signal(signal.SIGTERM)
    gateway.wait_until(lambda: gateway.ready() == (503, {"gateway": "is stopping"}))
    answer = browser.get("/")
    assert (answer.status, answer.headers["connection"]) == (302, "close")
    gateway.process.send_signal(signal.SIGTERM)  # not so long after all
    assert gateway.process.wait(timeout=10) == 0


def test_nothing_survives_the_supervisor(make_gateway: Callable[..., Any]) -> None:
    gateway = make_gateway()
    gateway.start()
    children = gateway.children()
    assert gateway.stop(signal.SIGKILL) == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while any(lives(pid) for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    gateway.start()  # and nothing is left that would stop the next one


@pytest.mark.parametrize("kind", ["edge", "pages", "audit", "custodian"])
def test_a_process_that_is_killed_is_restarted(running_gateway: Any, browser: Any, kind: str) -> None:
    victim = running_gateway.children(kind)[0]
    os.kill(victim, signal.SIGKILL)
    running_gateway.wait_until(lambda: victim not in running_gateway.children(kind))
    running_gateway.wait_until(lambda: running_gateway.ready()[0] == 200)
    assert browser.get("/").status == 200, "sessions survive"
    name = "edge-0" if kind == "edge" else kind

    def restarts() -> float:
        return sum(
            float(running_gateway.metric(f'gateway_process_restarts_total{{process="{each}"}}'))
            for each in {name, "edge-1"}
        )

    running_gateway.wait_until(lambda: restarts() == 1)
    assert running_gateway.cli("audit", "verify").returncode == 0


def test_counters_of_a_crashed_worker_are_kept(running_gateway: Any, browser: Any) -> None:
    def total() -> float:
        lines = running_gateway.admin("/metrics").body.decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("gateway_requests_total{"))

    assert browser.get("/").status == 200
    before = total()
    assert before >= 5
    for victim in running_gateway.children("edge"):
        os.kill(victim, signal.SIGKILL)
    running_gateway.wait_until(lambda: running_gateway.ready()[0] == 503)
    running_gateway.wait_until(lambda: running_gateway.ready()[0] == 200)
    assert total() >= before


def test_readyz_names_the_process_that_is_down(running_gateway: Any) -> None:
    def is_told() -> bool:
        for pages in running_gateway.children("pages"):  # again and again: it may be back before anybody asks
            os.kill(pages, signal.SIGKILL)
        answer: tuple[int, dict[str, str]] = running_gateway.ready()
        return answer == (503, {"pages": "is not running; it is being restarted"})

    running_gateway.wait_until(is_told)


def test_a_taken_port_is_told_with_its_listener_and_exit_2(make_gateway: Callable[..., Any]) -> None:
    gateway = make_gateway()
    with socket.create_server(("127.0.0.1", gateway.port)):
        done = gateway.cli("run")
    assert done.returncode == 2
    assert f"listen[0]: 127.0.0.1:{gateway.port} is taken by another program" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_admin_port_is_told_too(make_gateway: Callable[..., Any]) -> None:
    gateway = make_gateway()
    with socket.create_server(("127.0.0.1", gateway.admin_port)):
        done = gateway.cli("run")
    assert done.returncode == 2
    assert f"admin.address: 127.0.0.1:{gateway.admin_port} is taken" in done.stderr


def test_two_gateways_on_one_state_directory_are_refused(running_gateway: Any) -> None:
    done = running_gateway.cli("run")
    assert done.returncode == 2
    assert (
        f"already runs on {running_gateway.directory / 'state'} (process {running_gateway.process.pid})" in done.stderr
    )
    assert running_gateway.ready()[0] == 200


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.unlink(), "keyring.json: does not exist"),
        (lambda path: path.chmod(0o644), "chmod 600"),
        (lambda path: path.write_text(path.read_text().replace('"version": 1', '"version": 2')), "has version 2"),
    ],
    ids=["missing", "readable by others", "wrong version"],
)
def test_a_keyring_that_cannot_be_used_stops_the_start(
    make_gateway: Callable[..., Any], damage: Callable[[Path], object], sentence: str
) -> None:
    gateway = make_gateway()
    damage(gateway.directory / "config" / "keyring.json")
    for verb in ("check", "run"):
        done = gateway.cli(verb)
        assert done.returncode == 2
        assert sentence in done.stderr


def test_the_gateways_own_life_stands_in_the_audit_trail(make_gateway: Callable[..., Any]) -> None:
    gateway = make_gateway()
    gateway.start()
    assert gateway.cli("reload").returncode == 0
    gateway.edit(("version: 1", "version: 9"))
    assert gateway.cli("reload").returncode == 2
    gateway.edit(("version: 9", "version: 1"))
    gateway.stop()
    done = gateway.cli("audit", "query", "--json")
    assert done.returncode == 0, done.stderr
    for event in ("gateway.started", "gateway.reloaded", "gateway.reload_rejected", "gateway.stopped"):
        assert f'"{event}"' in done.stdout
    assert gateway.cli("audit", "verify").returncode == 0


def test_cve_2026_55106_cve_2022_24797_it_listens_where_the_file_says_and_nowhere_else(running_gateway: Any) -> None:
    """authentik and Pomerium left a listener for debugging open: every process of the tree is looked at."""
    tree = [running_gateway.process.pid]
    for parent in tree:
        tree += running_gateway.children(parent=parent)
    assert len(tree) >= 5, "the supervisor, the audit log, the pages and two edges"
    own, listening = set(), set()
    for pid in tree:
        for opened in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                own.add(os.readlink(opened))
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            waits = words[3] == ("0A" if table.startswith("tcp") else "07")
            if waits and f"socket:[{words[9]}]" in own:
                address, _, port = words[1].partition(":")
                listening.add((table, address, int(port, 16)))
    loopback = "0100007F"
    assert listening == {
        ("tcp", loopback, running_gateway.port),
        ("tcp", loopback, running_gateway.admin_port),
    }
