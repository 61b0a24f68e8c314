"""The audit process is gone, frozen or cannot write: nothing is answered without its record, and it ends by itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fault.evidence import UNRECORDED, Evidence
from tests.fault.load import Load

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

PROGRAM = {"Accept": "application/json", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
DISK_BYTES = 320 << 20


def test_requests_resume_after_the_audit_process_was_killed_and_nothing_is_lost(
    gateway: Any, browser: Any, upstream: Any
) -> None:
    with Load(gateway, browser.cookies) as load:
        for _ in range(3):
            load.wait_for_progress()
            victim = gateway.children("audit")[0]
            os.kill(victim, signal.SIGKILL)
            gateway.wait_until(lambda gone=victim: [pid for pid in gateway.children("audit") if pid != gone] != [])
            load.wait_for_progress()
    assert gateway.stop() == 0
    assert gateway.cli("audit", "verify").returncode == 0
    evidence = Evidence(gateway.directory)
    evidence.assert_numbers_are_unique()
    evidence.assert_answers_are_recorded(load.answers)
    evidence.assert_effects_were_announced(upstream.effects)


def test_no_byte_is_answered_while_the_audit_process_stands_still(gateway: Any, browser: Any, upstream: Any) -> None:
    """A frozen process keeps its sockets: only its silence tells. A request that changes something does not even leave."""
    (frozen,) = gateway.children("audit")
    os.kill(frozen, signal.SIGSTOP)
    try:
        answer = browser.get("/invoices/1", PROGRAM)
        assert (answer.status, answer.json["reason"]) == (503, UNRECORDED)
        assert int(answer.headers["retry-after"]) >= 1
        assert "set-cookie" not in answer.headers
        before = len(upstream.effects)
        answer = browser.post("/orders/1", {"a": "b"})
        assert answer.status == 503
        assert len(upstream.effects) == before, "it went upstream before its announcement was safe"
    finally:
        os.kill(frozen, signal.SIGCONT)
    gateway.wait_until(lambda: browser.get("/invoices/2").status == 200)


def test_a_flood_while_the_audit_process_stands_still_is_refused_in_bounded_memory(gateway: Any, browser: Any) -> None:
    (frozen,) = gateway.children("audit")
    os.kill(frozen, signal.SIGSTOP)
    before = {pid: resident(pid) for pid in gateway.children("edge")}
    try:
        with Load(gateway, browser.cookies, clients=16) as load:
            deadline = time.monotonic() + 30
            while load.count(503) < 40:
                assert time.monotonic() < deadline, load.statuses()
                time.sleep(0.05)
        assert load.count(200) == 0
        for pid, size in before.items():
            assert resident(pid) - size < 48 << 20
    finally:
        os.kill(frozen, signal.SIGCONT)
    gateway.wait_until(lambda: browser.get("/").status == 200)
    evidence = Evidence(gateway.directory)
    evidence.assert_numbers_are_unique()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that is easily filled."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a file system")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    """Take every byte that is left."""
    hog = place / "hog"
    with hog.open("wb", buffering=0) as file:
        size = shutil.disk_usage(place).free
        while size >= 4096:
            try:
                os.posix_fallocate(file.fileno(), hog.stat().st_size, size)
            except OSError:
                size //= 2
            else:
                size = shutil.disk_usage(place).free
    return hog


def resident(pid: int) -> int:
    """Bytes of memory a process has."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def test_a_full_disk_refuses_requests_with_503_until_there_is_room_again(
    make_gateway: Callable[..., Any], make_browser: Any, small_disk: Path
) -> None:
    """The log's file is allocated ahead, so it is full for the log once that file ends: here with a new audit process."""
    gateway = make_gateway(directory=small_disk / "g")
    gateway.log = small_disk.parent / "gateway.log"
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    hog = fill(small_disk)
    (victim,) = gateway.children("audit")
    os.kill(victim, signal.SIGKILL)
    gateway.wait_until(lambda: "audit" in gateway.ready()[1] and gateway.children("audit") not in ([], [victim]))
    gateway.wait_until(lambda: browser.get("/", PROGRAM).status == 503)
    refused = browser.get("/invoices/1", PROGRAM)
    assert (refused.status, refused.json["reason"]) == (503, UNRECORDED)
    assert int(refused.headers["retry-after"]) >= 1
    assert "set-cookie" not in refused.headers, "nobody is signed out by a full disk"
    assert gateway.cli("audit", "verify").returncode == 0
    hog.unlink()
    gateway.wait_until(lambda: browser.get("/invoices/2").status == 200)
    gateway.wait_until(lambda: gateway.ready()[0] == 200)
    assert gateway.stop() == 0
    verified = gateway.cli("audit", "verify")
    assert verified.returncode == 0, verified.stdout
