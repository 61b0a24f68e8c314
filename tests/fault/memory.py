"""Resident memory of processes, watched while something goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Self

SAMPLE_S = 0.05


def resident(pid: int) -> int:
    """Return the bytes of memory that a process has now; 0 for one that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)


class Watch:
    """The most that each process had between `with`'s two ends, beside what it had at the beginning."""

    def __init__(self, pids: Iterable[int]) -> None:
        self.before = {pid: resident(pid) for pid in pids}
        self.most = dict(self.before)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def growth(self) -> dict[int, int]:
        """Bytes by process id."""
        return {pid: most - self.before[pid] for pid, most in self.most.items()}

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            for pid in self.most:
                self.most[pid] = max(self.most[pid], resident(pid))
