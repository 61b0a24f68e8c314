"""What the run ran on, and whether it had the machine to itself."""

from __future__ import annotations

import os
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

SYNCS = 100
SYNC_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Ticks:
    """Time of one core since boot, in ticks (`/proc/stat`, proc(5))."""

    busy: int
    stolen: int
    """Time the hypervisor gave to somebody else."""
    total: int


def parse_ticks(text: str, core: str) -> Ticks:
    """Read the line of `core` ("0") from the text of `/proc/stat`; guest time is part of user time already."""
    for line in text.splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, idle, waiting, hard, soft, stolen = (int(field) for field in fields[:8])
            busy = user + nice + system + hard + soft
            return Ticks(busy=busy, stolen=stolen, total=busy + idle + waiting + stolen)
    raise ValueError(f"no core {core}")


def ticks(core: str) -> Ticks:
    """Read the clock of a core."""
    return parse_ticks(Path("/proc/stat").read_text(encoding="ascii"), core)


def busy_share(before: Ticks, after: Ticks) -> tuple[float, float]:
    """Return which part of a core's time was used, and which part was stolen, between two readings."""
    total = after.total - before.total
    if total <= 0:
        return 0.0, 0.0
    return (after.busy - before.busy) / total, (after.stolen - before.stolen) / total


def idle_load(core: str, seconds: float = 1.0) -> float:
    """Return how busy a core is with nothing of ours running, 0 to 1."""
    before = ticks(core)
    time.sleep(seconds)
    used, stolen = busy_share(before, ticks(core))
    return used + stolen


def sync_ms(directory: Path) -> float:
    """Return the median time of an fdatasync after 4 KiB appended in `directory`, milliseconds."""
    path = directory / "sync.probe"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        times = []
        for _ in range(SYNCS):
            os.write(file, b"\0" * SYNC_BYTES)
            started = time.perf_counter()
            os.fdatasync(file)
            times.append((time.perf_counter() - started) * 1e3)
    finally:
        os.close(file)
        path.unlink()
    return statistics.median(times)


def filesystem(directory: Path) -> str:
    """Return the type of the file system `directory` is on (`/proc/self/mounts`, the longest mount point wins)."""
    where, kind = "", "unknown"
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, point, this, *_ = line.split()
        if directory.resolve().is_relative_to(point) and len(point) >= len(where):
            where, kind = point, this
    return kind


def describe(directory: Path) -> dict[str, str | float | int]:
    """Return processor, cores, memory, system and disk for the report."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if line.startswith("model name")
    ]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(memory_gib),
        "system": "Linux " + ".".join(platform.release().split(".")[:2]),
        "python": platform.python_version(),
        "filesystem": filesystem(directory),
        "fdatasync_ms": round(sync_ms(directory), 3),
    }
