"""Reloads one after the other under traffic, and what goes wrong in the middle of one."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.server.commands import ask_reload
from gateway.server.control import ControlError
from tests.fault.load import Load
from tests.fault.test_audit_away import fill, small_disk  # noqa: F401 - a fixture
from tests.fault.test_revocation import CLOSED_BY_POLICY, open_websocket, read_to_the_end
from tests.machine import lives

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

RELOADS = 50
ASKERS = 8
OPEN = "version: 1\nroutes:\n  - {name: flag, match: {path: /flag, methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}\n"
CLOSED = "version: 1\nroutes:\n  - {name: flag, match: {path: /flag, methods: [GET]}, upstream: portal, deny: true}\n"
SUCCESS = 'gateway_policy_reloads_total{result="success"}'


def test_fifty_reloads_under_traffic_refuse_nobody_and_decide_nothing_wrongly(gateway: Any, browser: Any) -> None:
    with Load(gateway, browser.cookies, strangers=1, seed=23) as load:
        load.wait_for_progress()
        for number in range(RELOADS):
            is_open = bool(number % 2)
            write(gateway, OPEN if is_open else CLOSED)
            assert ask_reload(state(gateway)) == ()
            assert browser.get("/flag").status == (200 if is_open else 403), number
        # asked for by many at once, and by signals meanwhile: each gets an answer, and the last state holds
        write(gateway, CLOSED)
        answers: list[tuple[str, ...]] = []
        askers = [threading.Thread(target=lambda: answers.append(ask_reload(state(gateway)))) for _ in range(ASKERS)]
        for asker in askers:
            asker.start()
            gateway.process.send_signal(signal.SIGHUP)
        for asker in askers:
            asker.join(timeout=60)
        assert answers == [()] * ASKERS
        assert browser.get("/flag").status == 403
        load.wait_for_progress()
    assert not load.errors, load.errors
    assert {status for status, _ in load.statuses()} == {200, 401}, load.statuses()
    assert all(answer.is_whole for answer in load.answers)
    assert gateway.metric(SUCCESS) >= RELOADS + 1
    assert gateway.metric('gateway_policy_reloads_total{result="failure"}') == 0
    assert gateway.ready() == (200, {})


def test_a_worker_that_is_killed_in_the_middle_of_a_reload_comes_back_on_the_new_policy(
    gateway: Any, browser: Any
) -> None:
    for number in range(3):
        is_open = bool(number % 2)
        write(gateway, OPEN if is_open else CLOSED)
        answers: list[tuple[str, ...]] = []
        asker = threading.Thread(target=lambda: answers.append(ask_reload(state(gateway))))  # noqa: B023 - joined below
        asker.start()
        victim = gateway.children("edge")[number % 2]
        os.kill(victim, signal.SIGKILL)
        asker.join(timeout=60)
        assert answers == [()], "the rest went over to it, and the one that died starts on it"
        gateway.wait_until(lambda: victim not in gateway.children("edge") and gateway.ready()[0] == 200)  # noqa: B023
        for _ in range(12):  # each on a connection of its own, so that both workers are asked
            assert browser.get("/flag").status == (200 if is_open else 403)


def test_a_worker_that_comes_back_in_the_middle_of_a_reload_is_not_left_on_the_old_policy(
    gateway: Any, browser: Any
) -> None:
    """Attack: one worker that goes on to allow what was denied, while the gateway says that all is well."""
    answers: list[tuple[str, ...]] = []
    for _ in range(5):
        write(gateway, OPEN)
        assert ask_reload(state(gateway)) == ()
        gateway.wait_until(lambda: len(gateway.children("edge")) == 2 and gateway.ready()[0] == 200)
        slow, victim = sorted(gateway.children("edge"))
        restarts = gateway.log.read_text().count('"process.restarted"')
        write(gateway, CLOSED)
        answers.clear()
        asker = threading.Thread(target=lambda: answers.append(ask_reload(state(gateway))))
        asker.start()
        os.kill(slow, signal.SIGSTOP)  # it takes as long to prepare as the other takes to die and to come back
        try:
            os.kill(victim, signal.SIGKILL)
            gateway.wait_until(lambda: gateway.log.read_text().count('"process.restarted"') > restarts)  # noqa: B023
        finally:
            with suppress(ProcessLookupError):
                os.kill(slow, signal.SIGCONT)
        asker.join(timeout=60)
        gateway.wait_until(lambda: gateway.ready()[0] == 200)
        if answers == [()]:  # else it was asked how it is just when it was stopped, and ended for want of an answer
            break
    assert answers == [()]
    assert {browser.get("/flag").status for _ in range(20)} == {403}


def test_a_supervisor_that_is_killed_in_the_middle_of_a_reload_leaves_nothing_that_serves(
    gateway: Any, browser: Any
) -> None:
    write(gateway, CLOSED)

    def ask() -> None:
        with suppress(ControlError):
            ask_reload(state(gateway))

    children = gateway.children()
    asker = threading.Thread(target=ask)
    asker.start()
    os.kill(gateway.process.pid, signal.SIGKILL)
    asker.join(timeout=60)
    gateway.process.wait(timeout=20)
    deadline = time.monotonic() + 30
    while any(lives(pid) for pid in children):
        assert time.monotonic() < deadline, "a process outlives its supervisor"
        time.sleep(0.05)
    gateway.start()
    assert browser.get("/flag").status == 403
    assert browser.get("/invoices/1").status == 200
    assert gateway.stop() == 0
    assert gateway.cli("audit", "verify").returncode == 0


def test_files_that_cannot_be_read_change_nothing(gateway: Any, browser: Any) -> None:
    policy = gateway.directory / "policies" / "portal.yaml"
    text = policy.read_bytes()
    for spoil, sentence in (
        (lambda: policy.write_bytes(b"\xff" + text), "policies/portal.yaml:1:1: the file is not UTF-8"),
        (lambda: (policy.unlink(), policy.symlink_to("portal.yaml")), "policies/portal.yaml: cannot be read"),
        (lambda: replace_by_fifo(policy), "policies/portal.yaml: is not a file"),
        (lambda: (policy.unlink(), policy.symlink_to("nowhere")), "policies/portal.yaml: does not exist"),
    ):
        spoil()
        assert any(sentence in line for line in ask_reload(state(gateway)))
        assert browser.get("/invoices/1").status == 200
    policy.unlink()
    policy.write_bytes(text)
    assert ask_reload(state(gateway)) == ()


def test_a_reload_needs_no_room_on_the_disk(
    make_gateway: Callable[..., Any],
    make_browser: Any,
    small_disk: Path,  # noqa: F811 - the fixture
) -> None:
    gateway = make_gateway(directory=small_disk / "g")
    gateway.log = small_disk.parent / "gateway.log"
    write(gateway, CLOSED)
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    assert browser.get("/invoices/0").status == 200, "the stream of what is allowed has its file now"
    policy = gateway.directory / "policies" / "flag.yaml"
    (gateway.directory / "state" / "ballast").unlink()
    hog = fill(small_disk)
    policy.unlink()  # `/flag` falls to the broad route
    assert ask_reload(state(gateway)) == ()
    assert browser.get("/flag").status == 200
    # a file that an editor could write in part only is a file with a mistake
    gateway.config.write_text(gateway.config.read_text()[:200])
    assert ask_reload(state(gateway))
    assert browser.get("/flag").status == 200
    hog.unlink()


def test_what_is_open_ends_when_a_reload_denies_it(gateway: Any, browser: Any, upstream: Any) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    gateway.edit(("  main: {hosts: [localhost]}", "  main: {hosts: [localhost]}\n  other: {hosts: [other.example]}"))
    for entry, reason in (
        ("allow: [{roles: [client]}], deny: [{roles: [client], when: 'request.client_ip != \"\"'}]", "denied"),
        ("allow: [{roles: [client]}], require: {network: [10.11.12.0/24]}", "network_refused"),
        ("allow: [{roles: [client]}], tenant: other", "tenant_mismatch"),
    ):
        with closing(gateway.connect()) as events, closing(gateway.connect()) as tunnel:
            events.request("GET", "/events", headers={"Cookie": cookie})
            stream = events.getresponse()
            assert stream.readline() == b"data: tick\n"
            open_websocket(gateway, tunnel, cookie)
            write(
                gateway,
                "version: 1\nroutes:\n"
                f"  - {{name: events, match: {{path: /events, methods: [GET]}}, upstream: portal, {entry}}}\n"
                f"  - {{name: socket, match: {{path: /socket, methods: [GET]}}, upstream: portal, {entry}}}\n",
            )
            assert ask_reload(state(gateway)) == ()
            read_to_the_end(stream, time.monotonic())
            assert tunnel.sock.recv(4) == CLOSED_BY_POLICY
        gateway.wait_until(lambda: not upstream.open_streams)
        for kind in ("event_stream", "websocket"):
            line = f'gateway_streams_closed_total{{kind="{kind}",reason="{reason}"}}'
            gateway.wait_until(lambda line=line: gateway.metric(line) == 1)
        Path(gateway.directory, "policies", "flag.yaml").unlink()
        assert ask_reload(state(gateway)) == ()
    told = gateway.cli("audit", "query", "--json", "--limit", "50").stdout.splitlines()
    closed = [json.loads(line)["record"]["status_detail"] for line in told if '"closing"' in line]
    assert closed == ["denied"] * 2 + ["network_refused"] * 2 + ["tenant_mismatch"] * 2


def state(gateway: Any) -> Path:
    """Where its socket for commands is."""
    return Path(gateway.directory, "state")


def write(gateway: Any, text: str) -> None:
    """Put the second policy file in place, in one step."""
    fresh = Path(gateway.directory, "policies", ".flag")
    fresh.write_text(text)
    fresh.replace(fresh.with_name("flag.yaml"))


def replace_by_fifo(path: Path) -> None:
    """Put something in place that would hang whoever reads it."""
    path.unlink()
    os.mkfifo(path)
