"""CPU and memory of a tree of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.bench import accounting

LINE = (
    "4242 (a (very) odd) name) S 17 4242 4242 0 -1 4194304 900 100 0 0 "
    "250 150 30 20 20 0 3 0 987654 1000000 500 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0"
)
BURN = "import time\nuntil = time.process_time() + 0.2\nwhile time.process_time() < until: pass\n"


def stat(pid: int, parent: int, session: int) -> accounting.Stat:
    return accounting.Stat(pid, "S", parent, session, 0.0, 0.0, 0.0, 1)


def test_a_stat_line_is_read_behind_the_last_bracket_of_the_command() -> None:
    found = accounting.parse_stat(LINE)
    assert (found.pid, found.state, found.parent, found.session, found.started) == (4242, "S", 17, 4242, 987654)
    assert found.user_s == pytest.approx(250 * accounting.TICK_S)
    assert found.system_s == pytest.approx(150 * accounting.TICK_S)
    assert found.children_s == pytest.approx(50 * accounting.TICK_S)


def test_a_tree_holds_descendants_and_members_of_its_sessions_and_nobody_else() -> None:
    everything = [stat(1, 0, 1), stat(10, 1, 10), stat(11, 10, 10), stat(12, 11, 12), stat(13, 1, 12), stat(20, 1, 20)]
    assert [each.pid for each in accounting.members(10, everything)] == [10, 11, 12, 13]


def test_a_process_that_started_between_two_readings_counts_from_its_start() -> None:
    before = accounting.Account(total_s=1.0, user_s=0.5, system_s=0.5, by_process={1: 1.0})
    after = accounting.Account(total_s=2.5, user_s=1.5, system_s=1.0, by_process={1: 1.5, 2: 1.0})
    used = accounting.spent(before, after)
    assert used.total_s == pytest.approx(1.5)
    assert used.by_process == {1: 0.5, 2: 1.0}
    assert used.system_share == pytest.approx(1 / 3)


def test_no_ticks_between_two_readings_is_no_share_of_the_kernel() -> None:
    same = accounting.Account(total_s=1.0, user_s=0.5, system_s=0.5, by_process={})
    assert accounting.spent(same, same).system_share == 0.0


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs children when told to, waits for them, and says so."""
    script = "import subprocess, sys\nfor line in sys.stdin: subprocess.run([sys.executable, '-S', '-c', sys.argv[1]]); print('ended', flush=True)"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", script, BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        try:
            yield program
        finally:
            program.kill()


def test_a_child_that_ended_between_two_readings_is_still_on_the_account(parent: subprocess.Popen[bytes]) -> None:
    assert parent.stdin is not None
    assert parent.stdout is not None
    before = accounting.account(parent.pid)
    parent.stdin.write(b"go\n")
    parent.stdin.flush()
    assert parent.stdout.readline() == b"ended\n"
    used = accounting.spent(before, accounting.account(parent.pid))
    assert used.total_s >= 0.2 - accounting.TICK_S


def test_our_own_clock_agrees_with_the_interpreters() -> None:
    import time

    own = accounting.stat(os.getpid())
    assert own is not None
    before = time.process_time()
    read = accounting.clock_s(own)
    assert before <= read <= time.process_time()


def test_a_process_that_is_gone_has_no_account() -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as ended:
        ended.wait()
    assert accounting.stat(ended.pid) is None


def test_memory_is_read_in_bytes() -> None:
    text = (
        "55d0-7ffc ---p 00000000 00:00 0 [rollup]\nRss:            2048 kB\nPss:             512 kB\nPss_Dirty:  1 kB\n"
    )
    assert accounting.parse_rollup(text) == (2048 * 1024, 512 * 1024)


def test_memory_of_a_running_tree_is_positive() -> None:
    used = accounting.memory(os.getpid())
    assert used.resident >= used.proportional > 0
    assert used.processes >= 1
