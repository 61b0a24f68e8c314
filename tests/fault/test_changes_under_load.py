"""A reload drops nothing; a stop lets everything that was begun finish and leaves no process behind."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import pytest

from tests.fault.evidence import Evidence
from tests.fault.load import Load
from tests.fault.test_kill import lives

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

SLOW = 8


def test_reloads_under_load_drop_no_request(gateway: Any, browser: Any, upstream: Any) -> None:
    with Load(gateway, browser.cookies, seed=7) as load:
        for number in range(4):
            load.wait_for_progress()
            gateway.edit(("version: 1\n", f"version: 1\n# change {number}\n"), file="policies/portal.yaml")
            done = gateway.cli("reload")
            assert done.returncode == 0, done.stderr
            load.wait_for_progress()
    assert not load.errors, load.errors
    assert {status for status, _ in load.statuses()} == {200, 401}, load.statuses()
    assert all(answer.is_whole for answer in load.answers)
    assert gateway.stop() == 0
    assert gateway.cli("audit", "verify").returncode == 0
    evidence = Evidence(gateway.directory)
    evidence.assert_answers_are_recorded(load.answers)
    evidence.assert_effects_were_announced(upstream.effects)


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
