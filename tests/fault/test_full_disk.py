"""T-41: the volume of `state_dir` is full to the last byte: requests wait, people can still be let in, put out and held to account."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fault.evidence import UNRECORDED, Evidence
from tests.fault.load import Load
from tests.fault.test_audit_away import PROGRAM, fill
from tests.machine import cannot_run

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

DISK = "size=64m"
ENOUGH_S = 60.0


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB for everything that a gateway writes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        cannot_run(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def wait_for_refusals(load: Load) -> None:
    """Until the log's file is full, which was allocated while there was room."""
    before, deadline = load.count(503), time.monotonic() + ENOUGH_S
    while load.count(503) < before + 20:
        assert time.monotonic() < deadline, load.statuses()
        time.sleep(0.05)


def assert_refused_for_now(browser: Any) -> None:
    refused = browser.get("/invoices/1", PROGRAM)
    assert (refused.status, refused.json["reason"]) == (503, UNRECORDED)
    assert int(refused.headers["retry-after"]) >= 1
    assert "set-cookie" not in refused.headers, "nobody is signed out by a full disk"


def assert_done(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, (done.args, done.stdout, done.stderr)


def test_on_a_full_disk_people_are_let_in_and_put_out_records_are_held_and_the_gateway_stops(
    make_gateway: Callable[..., Any], make_browser: Any, tiny_disk: Path, upstream: Any
) -> None:
    """T-41, on a real file system: from the ballast and from the room that the state has of its own."""
    upstream.effects.clear()
    gateway = make_gateway(directory=tiny_disk / "g")
    gateway.log = tiny_disk.parent / "gateway.log"
    gateway.edit(("keys: config/audit-keys.json", "keys: config/audit-keys.json, disk: {ballast: 8MiB}"))
    for name in ("bob", "carol", "envelope"):
        gateway.add_user(name)
    assert_done(gateway.cli("user", "disable", "envelope"))
    gateway.start()
    browser, carol, administrator = make_browser(gateway), make_browser(gateway), make_browser(gateway)
    browser.sign_in()
    carol.sign_in("carol")
    assert gateway.metric("gateway_state_reserve_bytes") >= 10 << 20
    with Load(gateway, browser.cookies) as load:
        load.wait_for_progress()
        hog = fill(tiny_disk)
        wait_for_refusals(load)
        assert_refused_for_now(browser)
        administrator.sign_in("bob")
        assert_done(gateway.cli("break-glass", "open", "envelope", "--reason", "nobody else is there"))
        make_browser(gateway).sign_in("envelope")
        assert_done(gateway.cli("audit", "hold", "create", "--case", "2026/17", "--reason", "letter of counsel"))
        assert_done(gateway.cli("session", "revoke", "--user", "carol"))
        assert_done(gateway.cli("user", "disable", "carol"))
        assert_refused_for_now(browser)
        hog.unlink()
        load.wait_for_progress()
        gateway.wait_until(lambda: gateway.ready()[0] == 200)
        assert administrator.get("/invoices/2").status == 200
        assert carol.get("/invoices/3").headers["location"].startswith("/.gateway/login"), "her session was ended"
        hog.parent.rmdir()
        fill(tiny_disk)
        wait_for_refusals(load)
    assert gateway.stop() == 0
    verified = gateway.cli("audit", "verify")
    assert verified.returncode == 0, verified.stdout
    evidence = Evidence(gateway.directory)
    evidence.assert_numbers_are_unique()
    evidence.assert_answers_are_recorded(load.answers)
    evidence.assert_effects_were_announced(upstream.effects)
    told = set(evidence.events)
    assert {
        "break_glass.opened",
        "hold.created",
        "audit.gap",
        "audit.disk_level",
        "audit.stopped",
        "gateway.stopped",
    } <= told, sorted(told)
