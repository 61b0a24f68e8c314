"""Programs of the bench start, are seen to fail, and end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.bench import accounting
from tests.bench.process import Program, StartError, lives, wait_until

CORES = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
open('ready', 'a').write('x')
while True: time.sleep(60)
"""


def test_a_program_ends_with_children_that_ignore_it_in_sessions_of_their_own(tmp_path: Path) -> None:
    with Program(
        [sys.executable, "-S", "-c", STUBBORN], cores=CORES, output=tmp_path / "out", directory=tmp_path
    ) as program:
        ready = tmp_path / "ready"
        wait_until(lambda: ready.exists() and len(ready.read_text()) == 2, program, seconds=20)
        inside = accounting.tree(program.pid)
        assert len(inside) == 2
    left = [each for each in inside if lives(each)]
    assert left == []


def test_a_program_that_ends_early_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with (
        Program(
            [sys.executable, "-S", "-c", "print('port taken'); raise SystemExit(3)"],
            cores=CORES,
            output=tmp_path / "out",
        ) as program,
        pytest.raises(StartError, match="ended with 3: port taken"),
    ):
        wait_until(lambda: False, program, seconds=20)


def test_a_program_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with (
        Program(["sleep", "60"], cores=CORES, output=tmp_path / "out") as program,
        pytest.raises(StartError, match="no good answer within 0 s"),
    ):
        wait_until(lambda: False, program, seconds=0.01)
