"""The audit process is gone, frozen or cannot write: nothing is answered without its record, and it ends by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.fault.evidence import UNRECORDED, Evidence
from tests.fault.load import Load
from tests.fault.memory import Watch
from tests.machine import cannot_run

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


@pytest.fixture
def frozen(gateway: Any, browser: Any) -> Iterator[None]:
    """The audit process stands still, and so does the supervisor that would replace it; its sockets stay open."""
    assert browser.get("/").status == 200
    pids = (gateway.process.pid, *gateway.children("audit"))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_no_byte_is_answered_while_the_audit_process_stands_still(
    gateway: Any, browser: Any, upstream: Any, frozen: None
) -> None:
    """Only its silence tells. A request that would change something does not even leave."""
    answer = browser.get("/invoices/1", PROGRAM)
    assert (answer.status, answer.json["reason"]) == (503, UNRECORDED)
    assert int(answer.headers["retry-after"]) >= 1
    assert "set-cookie" not in answer.headers
    answer = browser.post("/orders/17", {"a": "b"})
    assert answer.status == 503
    assert not any(effect.path == "/orders/17" for effect in upstream.effects), (
        "it left before its announcement was safe"
    )


def test_a_flood_while_the_audit_process_stands_still_is_refused_in_bounded_memory(
    gateway: Any, browser: Any, frozen: None
) -> None:
    with Watch(gateway.children("edge")) as watch, Load(gateway, browser.cookies, clients=24) as load:
        deadline = time.monotonic() + 60
        while load.count(503) < 100:
            assert time.monotonic() < deadline, load.statuses()
            time.sleep(0.05)
    assert load.count(200) == 0
    assert max(watch.growth.values()) < 48 << 20, watch.growth


def test_an_audit_process_that_stands_still_is_replaced(gateway: Any, browser: Any) -> None:
    (still,) = gateway.children("audit")
    os.kill(still, signal.SIGSTOP)
    gateway.wait_until(lambda: still not in gateway.children("audit") and len(gateway.children("audit")) == 1)
    gateway.wait_until(lambda: browser.get("/invoices/1").status == 200)
    assert gateway.stop() == 0
    assert gateway.cli("audit", "verify").returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that is easily filled."""
    if os.geteuid() != 0:
        cannot_run("needs root to mount a file system")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        cannot_run(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    """Take every byte that is left.

    Not beside the configuration: Landlock keeps the neighbours of a hidden file in use until the process ends.
    """
    hog = place / "others" / "hog"
    hog.parent.mkdir()
    with hog.open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        with suppress(OSError):
            while True:
                file.write(bytes(512))
    return hog


def test_a_full_disk_refuses_requests_with_503_until_there_is_room_again(
    make_gateway: Callable[..., Any], make_browser: Any, small_disk: Path
) -> None:
    """The log's file is allocated ahead: a new audit process needs the next one, which has no room beside the old."""
    gateway = make_gateway(directory=small_disk / "g")
    gateway.log = small_disk.parent / "gateway.log"
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    assert browser.get("/invoices/0").status == 200
    gateway.settle()  # a file that is sealed makes room
    (gateway.directory / "state" / "ballast").unlink()
    hog = fill(small_disk)
    assert browser.get("/invoices/1").status == 200, "there is room in the file"
    (victim,) = gateway.children("audit")
    os.kill(victim, signal.SIGKILL)
    gateway.wait_until(lambda: "no space left" in gateway.ready()[1].get("audit", ""))
    refused = browser.get("/invoices/2", PROGRAM)
    assert (refused.status, refused.json["reason"]) == (503, UNRECORDED)
    assert int(refused.headers["retry-after"]) >= 1
    assert "set-cookie" not in refused.headers, "nobody is signed out by a full disk"
    assert browser.post("/orders/1", {"a": "b"}).status == 503
    assert gateway.cli("audit", "verify").returncode == 0
    hog.unlink()
    gateway.wait_until(lambda: browser.get("/invoices/3").status == 200)
    gateway.wait_until(lambda: gateway.ready()[0] == 200)
    assert gateway.stop() == 0
    verified = gateway.cli("audit", "verify")
    assert verified.returncode == 0, verified.stdout
