"""The keeper with real processes: a program that hands over is written in the shell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

PATIENCE_S = 60.0
START = """
import os, signal, subprocess, sys
from gateway.server.keeper import become_keeper
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)  # under nohup, or behind an &, the shell could not trap it
reading, writing = os.pipe()
os.set_inheritable(writing, True)
child = subprocess.Popen(["/bin/sh", "-c", sys.argv[1]], pass_fds=(writing,), env={**os.environ, "PIPE": str(writing)})
os.close(writing)
become_keeper(sys.executable, reading, child.pid)
"""


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start a keeper for a shell script, which runs in a directory of its own and does not outlive the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(script: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", START, script], cwd=tmp_path, start_new_session=True))
        return started[-1]

    yield start
    for keeper in started:
        with suppress(ProcessLookupError):
            os.killpg(keeper.pid, signal.SIGKILL)
        keeper.wait(timeout=PATIENCE_S)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for(path: Path) -> str:
    until(lambda: path.exists() and path.read_text().endswith("\n"))
    return path.read_text().strip()


def wait_until_kept(keeper: subprocess.Popen[bytes]) -> None:
    """Wait until the program that starts the script has become the keeper: before that a signal just ends it."""
    until(lambda: b"gateway.server.keeper" in Path(f"/proc/{keeper.pid}/cmdline").read_bytes().split(b"\0"))


def test_it_ends_with_the_status_of_the_supervisor(keep: Callable[[str], subprocess.Popen[bytes]]) -> None:
    assert keep("exit 7").wait(timeout=PATIENCE_S) == 7


def test_a_supervisor_that_is_killed_ends_it_as_a_shell_would_say(
    keep: Callable[[str], subprocess.Popen[bytes]],
) -> None:
    assert keep("kill -9 $$").wait(timeout=PATIENCE_S) == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2])
def test_signals_reach_the_supervisor(
    keep: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path, number: signal.Signals
) -> None:
    keeper = keep(f"trap 'exit 3' {number.value}; echo ready > ready; while :; do sleep 0.02; done")
    wait_for(tmp_path / "ready")
    wait_until_kept(keeper)
    keeper.send_signal(number)
    assert keeper.wait(timeout=PATIENCE_S) == 3


def test_a_successor_that_was_announced_takes_the_place(
    keep: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """It is the child of the supervisor, whose end makes it an orphan: the keeper adopts it."""
    successor = "trap 'exit 5' TERM; echo $$ > ready; while :; do sleep 0.02; done"
    keeper = keep(
        f'/bin/sh -c "{successor.replace("$$", chr(92) + "$$")}" & '
        'while [ ! -s ready ]; do sleep 0.02; done; eval "cat ready >&$PIPE"; exit 0'
    )
    pid = int(wait_for(tmp_path / "ready"))
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] == str(keeper.pid))
    assert keeper.poll() is None, "the supervisor that handed over has ended, the gateway has not"
    keeper.send_signal(signal.SIGTERM)
    assert keeper.wait(timeout=PATIENCE_S) == 5


def test_an_orphan_that_nobody_announced_keeps_nothing_alive(keep: Callable[[str], subprocess.Popen[bytes]]) -> None:
    assert keep("sleep 600 & exit 4").wait(timeout=PATIENCE_S) == 4
