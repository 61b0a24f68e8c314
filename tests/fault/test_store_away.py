"""The state file is locked, read-only, without room or gone: 503 with Retry-After, nobody is signed out, and it ends by itself."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.fault.test_audit_away import fill
from tests.machine import cannot_run
from tests.process.conftest import PASSWORD

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]


def state_of(gateway: Any) -> Path:
    return Path(gateway.directory, "state", "state.sqlite3")


def assert_refused_for_now(answer: Any) -> None:
    """503 with a time to come back, and the cookie stays."""
    assert answer.status == 503, (answer.status, answer.headers)
    assert int(answer.headers["retry-after"]) >= 1
    assert "set-cookie" not in answer.headers


def wait_until_no_worker_serves(gateway: Any, browser: Any) -> None:
    """Each worker serves a session that it knows for a second more."""
    gateway.wait_until(lambda: {browser.get("/invoices/2").status for _ in range(12)} == {503})


def submit_wrong_password(visitor: Any) -> Any:
    return visitor.submit("/.gateway/login", {"username": "alice", "password": "not-the-right-one"})


def test_a_lock_held_by_another_program_refuses_sign_in_and_signs_nobody_out(
    gateway: Any, browser: Any, make_browser: Any
) -> None:
    visitor = make_browser(gateway)
    page = visitor.get("/.gateway/login")
    assert page.status == 200
    with closing(sqlite3.connect(state_of(gateway), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert browser.get("/invoices/1").status == 200, "in WAL mode a writer does not stop readers"
        assert_refused_for_now(submit_wrong_password(visitor))
        other.execute("ROLLBACK")
    assert submit_wrong_password(visitor).status in {200, 400, 401, 403}
    answer = visitor.submit("/.gateway/login", {"username": "alice", "password": PASSWORD})
    assert answer.status == 303
    assert browser.get("/invoices/2").status == 200
    assert gateway.ready()[0] == 200


def test_a_file_that_is_moved_away_refuses_without_signing_out_until_it_is_back(gateway: Any, browser: Any) -> None:
    path, away = state_of(gateway), state_of(gateway).with_suffix(".away")
    assert browser.get("/invoices/1").status == 200
    path.rename(away)
    wait_until_no_worker_serves(gateway, browser)
    assert_refused_for_now(browser.get("/invoices/3"))
    away.rename(path)
    gateway.wait_until(lambda: browser.get("/invoices/4").status == 200)


def test_a_damaged_file_refuses_without_signing_out(gateway: Any, browser: Any) -> None:
    path, copy = state_of(gateway), state_of(gateway).with_suffix(".copy")
    path.rename(copy)
    path.write_bytes(b"this is not a database" * 400)
    wait_until_no_worker_serves(gateway, browser)
    assert_refused_for_now(browser.get("/invoices/3"))
    copy.rename(path)
    gateway.wait_until(lambda: browser.get("/invoices/4").status == 200)


@pytest.fixture
def disk_of_its_own(tmp_path: Path) -> Iterator[Path]:
    """A file system that can be made read-only or filled."""
    if os.geteuid() != 0:
        cannot_run("needs root to mount a file system")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=320m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        cannot_run(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def on_its_own_disk(make_gateway: Callable[..., Any], disk_of_its_own: Path) -> Any:
    gateway = make_gateway(directory=disk_of_its_own / "g")
    gateway.log = disk_of_its_own.parent / "gateway.log"
    gateway.start()
    return gateway


def use_up(state: Path) -> None:
    """Take the room that the state keeps for a full disk, as a flood of changes would."""
    with closing(sqlite3.connect(state, isolation_level=None)) as other:
        other.execute("CREATE TABLE IF NOT EXISTS flood (value BLOB)")
        for size in (1 << 16, 1 << 12, 1):
            with suppress(sqlite3.OperationalError):
                while True:
                    other.execute("INSERT INTO flood VALUES (zeroblob(?))", (size,))


def state_is_short(gateway: Any) -> bool:
    return "on a full disk" in gateway.admin("/readyz").json["degraded"].get("state", "")


def test_no_room_for_the_state_refuses_sign_in_and_serves_who_is_signed_in(
    on_its_own_disk: Any, make_browser: Any, disk_of_its_own: Path
) -> None:
    """Not before what the state keeps for that is used up."""
    browser, visitor = make_browser(on_its_own_disk), make_browser(on_its_own_disk)
    browser.sign_in()
    assert browser.get("/invoices/0").status == 200
    assert state_is_short(on_its_own_disk) is False
    hog = fill(disk_of_its_own)
    assert browser.get("/invoices/1").status == 200, "the log has its room allocated ahead"
    for _ in range(3):
        assert submit_wrong_password(visitor).status != 503
    use_up(state_of(on_its_own_disk))
    assert_refused_for_now(submit_wrong_password(visitor))
    assert browser.get("/invoices/2").status == 200
    on_its_own_disk.wait_until(lambda: state_is_short(on_its_own_disk))
    hog.unlink()
    on_its_own_disk.wait_until(lambda: submit_wrong_password(visitor).status != 503)
    assert browser.get("/invoices/3").status == 200
    on_its_own_disk.wait_until(lambda: not state_is_short(on_its_own_disk))
    assert on_its_own_disk.stop() == 0
    assert on_its_own_disk.cli("audit", "verify").returncode == 0


def test_a_read_only_state_refuses_sign_in_and_signs_nobody_out(gateway: Any, browser: Any, make_browser: Any) -> None:
    """chattr would need a real disk and mode bits do not hold for root: a read-only bind mount holds for everybody."""
    path = state_of(gateway)
    if os.geteuid() != 0 or subprocess.run(["mount", "--bind", str(path), str(path)], capture_output=True).returncode:
        cannot_run("needs root to mount a file")
    visitor = make_browser(gateway)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(path)], check=True)
        for victim in gateway.children("pages") + gateway.children("edge"):
            os.kill(victim, signal.SIGKILL)  # what was opened before stays writable
        gateway.wait_until(lambda: gateway.ready()[0] == 503)
        gateway.wait_until(lambda: gateway.ready() != (503, {}) and len(gateway.children()) == 5)
        gateway.wait_until(lambda: visitor.get("/.gateway/login").status == 200)
        assert_refused_for_now(submit_wrong_password(visitor))
        assert browser.get("/invoices/1").status in {200, 503}
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
    gateway.wait_until(lambda: submit_wrong_password(visitor).status != 503)
    gateway.wait_until(lambda: browser.get("/invoices/2").status == 200)
