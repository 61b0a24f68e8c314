"""What a tree of processes has cost: CPU time and memory, read from the kernel.

CPU time of a live process comes from its POSIX CPU clock (nanoseconds, all threads, exited ones included), that of children
which ended and were waited for from `cutime` and `cstime` of their parent (ticks of 10 ms). The sum over a tree therefore only
grows, whatever starts or ends in it between two readings, as long as children are waited for.
Not seen: work the kernel does in threads of its own (write-back, the journal), which no process is charged for.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
CPUCLOCK_SCHED = 2
"""Which clock of a process: the scheduler's run time (include/linux/posix-timers.h)."""


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of `/proc/PID/stat` (proc_pid_stat(5)) that the accounts are made of."""

    pid: int
    state: str
    parent: int
    session: int
    user_s: float
    system_s: float
    children_s: float
    """User and system time of children that ended and were waited for, with all their own."""
    started: int
    """Ticks since boot: with the pid, the name of a process for good."""


def parse_stat(text: str) -> Stat:
    """Read one line of `/proc/PID/stat`. The command may hold spaces and brackets: the last `)` ends it."""
    pid, _, rest = text.partition(" (")
    fields = rest[rest.rindex(")") + 2 :].split()
    user, system, children_user, children_system = (int(field) * TICK_S for field in fields[11:15])
    return Stat(
        pid=int(pid),
        state=fields[0],
        parent=int(fields[1]),
        session=int(fields[3]),
        user_s=user,
        system_s=system,
        children_s=children_user + children_system,
        started=int(fields[19]),
    )


def stat(pid: int) -> Stat | None:
    """Return the accounts of `pid`, None when it is gone."""
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text(encoding="latin-1"))
    except (FileNotFoundError, ProcessLookupError):
        return None


def processes() -> list[Stat]:
    """Return every process of this machine."""
    found = (stat(int(entry)) for entry in os.listdir("/proc") if entry.isdecimal())
    return [each for each in found if each is not None]


def members(root: int, everything: Iterable[Stat]) -> list[Stat]:
    """Return `root`, its descendants, and whoever lives in a session one of them leads."""
    everything = list(everything)
    inside = {root}
    while True:
        more = {each.pid for each in everything if each.parent in inside or each.session in inside} - inside
        if not more:
            return [each for each in everything if each.pid in inside]
        inside |= more


def tree(root: int) -> list[Stat]:
    """Return the processes that belong to `root` now."""
    return members(root, processes())


def clock_s(each: Stat) -> float:
    """Return the CPU seconds of one process by its own clock; by its ticks where that clock is gone (zombies)."""
    try:
        return time.clock_gettime_ns((~each.pid << 3) | CPUCLOCK_SCHED) / 1e9
    except OSError:
        return each.user_s + each.system_s


def threads(pid: int) -> dict[int, float]:
    """Return the CPU seconds of each live thread of `pid` (`/proc/PID/task/TID/schedstat`: nanoseconds on a core first)."""
    found = {}
    for each in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found[int(each.name)] = int((each / "schedstat").read_text(encoding="ascii").split()[0]) / 1e9
    return found


@dataclass(frozen=True, slots=True)
class Account:
    """What a tree had used up at one moment."""

    total_s: float
    """CPU seconds of every process of the tree, ended children included."""
    user_s: float
    system_s: float
    by_process: dict[int, float]
    """CPU seconds of each live process."""


def account(root: int) -> Account:
    """Read the accounts of the tree of `root`."""
    inside = tree(root)
    clocks = {each.pid: clock_s(each) for each in inside}
    return Account(
        total_s=sum(clocks.values()) + sum(each.children_s for each in inside),
        user_s=sum(each.user_s for each in inside),
        system_s=sum(each.system_s for each in inside),
        by_process=clocks,
    )


@dataclass(frozen=True, slots=True)
class Spent:
    """What a tree used up between two readings."""

    total_s: float
    system_share: float
    """Part of the time that was spent in the kernel, 0 to 1 (from ticks: coarse)."""
    by_process: dict[int, float]


def spent(before: Account, after: Account) -> Spent:
    """Subtract two readings of one tree. A process that is only in `after` counts from its start."""
    user, system = after.user_s - before.user_s, after.system_s - before.system_s
    ticks = user + system
    return Spent(
        total_s=after.total_s - before.total_s,
        system_share=min(1.0, max(0.0, system / ticks)) if ticks > 0 else 0.0,
        by_process={pid: used - before.by_process.get(pid, 0.0) for pid, used in after.by_process.items()},
    )


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a tree, bytes."""

    resident: int
    """RSS, summed: pages that processes share are counted once for each."""
    proportional: int
    """PSS, summed: shared pages are divided among those who share them."""
    processes: int


def parse_rollup(text: str) -> tuple[int, int]:
    """Return (RSS, PSS) in bytes of one `/proc/PID/smaps_rollup`."""
    values = {"Rss:": 0, "Pss:": 0}
    for line in text.splitlines():
        name, _, rest = line.partition(" ")
        if name in values:
            values[name] = int(rest.split()[0]) * 1024
    return values["Rss:"], values["Pss:"]


def memory(root: int) -> Memory:
    """Read the memory of the tree of `root`."""
    resident = proportional = count = 0
    for each in tree(root):
        if each.state == "Z":
            continue
        try:
            text = Path(f"/proc/{each.pid}/smaps_rollup").read_text(encoding="ascii")
        except (FileNotFoundError, ProcessLookupError):
            continue
        rss, pss = parse_rollup(text)
        resident, proportional, count = resident + rss, proportional + pss, count + 1
    return Memory(resident=resident, proportional=proportional, processes=count)
