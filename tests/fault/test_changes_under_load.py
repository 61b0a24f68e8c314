"""A reload, another certificate and another program drop nothing; a stop finishes what was begun and leaves no process."""

from __future__ import annotations

import http.client
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.fault.evidence import Evidence
from tests.fault.load import Load
from tests.machine import lives

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

SLOW = 8
CLIENTS = 5
STRANGERS = 2


def test_reloads_and_certificates_under_load_drop_no_request(gateway: Any, browser: Any, upstream: Any) -> None:
    authority = trustme.CA()
    served = set_certificate(gateway, authority)
    assert gateway.cli("reload").returncode == 0
    connect = connector(gateway, authority)
    with Load(gateway, browser.cookies, clients=CLIENTS, strangers=STRANGERS, seed=7, connect=connect) as load:
        for number in range(5):
            load.wait_for_progress()
            gateway.edit(("version: 1\n", f"version: 1\n# change {number}\n"), file="policies/portal.yaml")
            if number < 3:
                served = set_certificate(gateway, authority)
            done = gateway.cli("reload")
            assert done.returncode == 0, done.stderr
            load.wait_for_progress()
    assert ssl.get_server_certificate(("localhost", gateway.port), timeout=20) == served
    assert_nothing_was_lost(gateway, load, upstream)


def test_upgrades_under_load_drop_no_request(gateway: Any, browser: Any, upstream: Any) -> None:
    """Twice: from the first program, and from one that took over itself; the second one with other workers."""
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    outcomes: list[Any] = []
    counted = 0.0
    slow = [threading.Thread(target=begin, args=(gateway, cookie, outcomes), daemon=True) for _ in range(SLOW)]
    with Load(gateway, browser.cookies, clients=CLIENTS, strangers=STRANGERS, seed=13) as load:
        for number, workers in enumerate(("workers: 2", "workers: 3")):
            load.wait_for_progress()
            before = load.count()
            for thread in slow[number * SLOW // 2 : (number + 1) * SLOW // 2]:
                thread.start()
            gateway.edit(("workers: 2", workers))
            counted = total(gateway)
            done = gateway.cli("upgrade")
            assert done.returncode == 0, done.stderr
            assert total(gateway) >= counted > 0, "no counter falls"
            load.wait_for_progress()
            assert load.count() > before
            gateway.wait_until(lambda: gateway.metric("gateway_upgrade_draining") == 0)
        assert gateway.metric('gateway_upgrades_total{result="success"}') == 2
        assert total(gateway) >= counted
        load.wait_for_progress()
    for thread in slow:
        thread.join(timeout=20)
    assert outcomes == [(200, b"slow\n")] * SLOW
    assert Evidence(gateway.directory).events.count("gateway.upgraded") == 2
    assert_nothing_was_lost(gateway, load, upstream)


def test_an_upgrade_that_fails_under_load_drops_no_request(
    gateway: Any, browser: Any, upstream: Any, tmp_path: Path
) -> None:
    ends = program(tmp_path / "ends", "echo it is broken >&2; exit 1")
    hangs = program(tmp_path / "hangs", "exec sleep 60")
    with Load(gateway, browser.cookies, clients=CLIENTS, strangers=STRANGERS, seed=17) as load:
        load.wait_for_progress()
        gateway.edit(("workers: 2", "wokers: 2"))
        done = gateway.cli("upgrade")
        assert done.returncode == 2
        assert "gateway.yaml:" in done.stderr
        assert "wokers: unknown key" in done.stderr
        gateway.edit(("wokers: 2", "workers: 2"), ("audit: {", "upgrade: {ready_timeout: 2s}\naudit: {"))
        assert gateway.cli("reload").returncode == 0
        for path, sentence in (
            (ends, "the new program ended with status 1 before it served"),
            (hangs, "the new program was not ready within 2 s"),
        ):
            load.wait_for_progress()
            done = gateway.cli("upgrade", "--program", str(path))
            assert done.returncode == 2
            assert sentence in done.stderr
        load.wait_for_progress()
    assert gateway.ready() == (200, {})
    assert gateway.metric('gateway_upgrades_total{result="failure"}') == 3
    assert not gateway.children("--take-over")
    assert_nothing_was_lost(gateway, load, upstream)
    assert Evidence(gateway.directory).events.count("gateway.upgrade_failed") == 3


def test_a_new_program_killed_while_it_has_the_log_gives_it_back(gateway: Any, browser: Any, upstream: Any) -> None:
    """The worst moment: the old audit process has ended, and the new one does not write yet."""
    with Load(gateway, browser.cookies, clients=CLIENTS, strangers=STRANGERS, seed=19) as load:
        load.wait_for_progress()
        killer = threading.Thread(target=kill_in_the_gap, args=(gateway,), daemon=True)
        killer.start()
        done = gateway.cli("upgrade")
        killer.join(timeout=10)
        assert done.returncode == 2
        assert "the new program was ended by signal 9 before it served" in done.stderr
        load.wait_for_progress()
    assert gateway.ready() == (200, {})
    assert_nothing_was_lost(gateway, load, upstream)


def test_a_stop_under_load_finishes_what_was_begun_and_leaves_no_process(
    gateway: Any, browser: Any, upstream: Any
) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    outcomes: list[Any] = []
    slow = [threading.Thread(target=begin, args=(gateway, cookie, outcomes), daemon=True) for _ in range(SLOW)]
    with Load(gateway, browser.cookies, seed=11) as load:
        load.wait_for_progress()
        for thread in slow:
            thread.start()
        gateway.wait_until(lambda: sum(effect.path == "/slow/2500" for effect in upstream.effects) >= SLOW)
        children = gateway.children()
        asked = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(timeout=30) == 0
        took = time.monotonic() - asked
    for thread in slow:
        thread.join(timeout=20)
    print(f"stopped under load in {took:.2f} s")
    assert took < 10
    assert outcomes == [(200, b"slow\n")] * SLOW
    assert not any(lives(pid) for pid in children)
    assert all(answer.is_whole for answer in load.answers)
    assert gateway.cli("audit", "verify").returncode == 0
    evidence = Evidence(gateway.directory)
    evidence.assert_answers_are_recorded(load.answers)
    evidence.assert_effects_were_announced(upstream.effects)


def begin(gateway: Any, cookie: str, outcomes: list[Any]) -> None:
    """Ask for something that takes its time."""
    connection = gateway.connect()
    try:
        connection.request("GET", "/slow/2500", headers={"Cookie": cookie})
        response = connection.getresponse()
        outcomes.append((response.status, response.read()))
    except OSError as error:
        outcomes.append(error)
    finally:
        connection.close()


def kill_in_the_gap(gateway: Any) -> None:
    """Stop the new audit process when the old one begins its last files, and end the new program when the old one is gone."""
    (old,) = gateway.children("audit")
    gateway.wait_until(lambda: bool(writers(gateway)))
    (new,), (writer,) = gateway.children("--take-over"), writers(gateway)
    security = newest_file(gateway)
    while newest_file(gateway) == security:
        time.sleep(0.001)
    os.kill(writer, signal.SIGSTOP)
    while lives(old):
        time.sleep(0.001)
    os.kill(new, signal.SIGKILL)


def writers(gateway: Any) -> list[int]:
    """List the audit processes of programs that are to take over."""
    return [pid for new in gateway.children("--take-over") for pid in gateway.children("audit", parent=new)]


def newest_file(gateway: Any) -> str:
    """Name the file that the first of the streams is written to: a hand-over begins with another one."""
    log: Path = gateway.directory / "state" / "audit"
    return max(path.name for path in log.glob("security-*.log"))


def assert_nothing_was_lost(gateway: Any, load: Load, upstream: Any) -> None:
    """Every request had its answer, and every answer and effect its record."""
    assert not load.errors, load.errors
    assert {status for status, _ in load.statuses()} == {200, 401}, load.statuses()
    assert all(answer.is_whole for answer in load.answers)
    assert gateway.stop() == 0
    assert gateway.cli("audit", "verify").returncode == 0
    evidence = Evidence(gateway.directory)
    evidence.assert_numbers_are_unique()
    evidence.assert_answers_are_recorded(load.answers)
    evidence.assert_effects_were_announced(upstream.effects)


def total(gateway: Any) -> float:
    """Add up the requests that were counted."""
    lines = gateway.admin("/metrics").body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("gateway_requests_total{"))


def set_certificate(gateway: Any, authority: trustme.CA) -> str:
    """Put a new certificate in place; returns it."""
    issued = authority.issue_cert("localhost")
    tls = gateway.directory / "config" / "tls"
    (tls / "cert.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    (tls / "key.pem").write_bytes(issued.private_key_pem.bytes())
    return issued.cert_chain_pems[0].bytes().decode()


def connector(gateway: Any, authority: trustme.CA) -> Callable[[], http.client.HTTPSConnection]:
    """Connect with trust in whatever the authority issued."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return lambda: http.client.HTTPSConnection("localhost", gateway.port, timeout=20, context=context)


def program(path: Path, script: str) -> Path:
    """Write a program for the shell."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return path
