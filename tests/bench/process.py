"""Programs the bench starts: pinned to a core, watched, and gone when the bench ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from tests.bench import accounting

PR_SET_CHILD_SUBREAPER = 36  # prctl(2): orphans of our children become ours, so none can be left behind
STOP_S = 12.0
"""How long a program may take to end after SIGTERM (the gateway drains for up to 10 s)."""
KILL_S = 5.0
OPEN_FILES = 65_536
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StartError(Exception):
    """A program did not start, or ended while it was needed."""


def stop_on_signals() -> None:
    """Make every signal that asks us to end a KeyboardInterrupt, also where a shell started us with SIGINT ignored."""
    for each in SIGNALS:
        signal.signal(each, _interrupt)


def ignore_signals() -> None:
    """Let nobody interrupt the cleaning up: it is bounded in time."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    ignore_signals()
    raise KeyboardInterrupt


def adopt_orphans() -> None:
    """Become the parent of every process our children leave behind."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def raise_open_files() -> None:
    """Let this process and its children open enough files for 1,000 tunnels."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def lives(each: accounting.Stat) -> bool:
    """Tell whether this very process still runs; its pid may have been given out again."""
    now = accounting.stat(each.pid)
    return now is not None and now.started == each.started and now.state != "Z"


def kill(those: Iterable[accounting.Stat]) -> None:
    """Kill each of `those` that still lives, and wait until it is gone."""
    left = [each for each in those if lives(each)]
    for each in left:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(each.pid, signal.SIGKILL)
    until = time.monotonic() + KILL_S
    while any(lives(each) for each in left) and time.monotonic() < until:
        time.sleep(0.002)


def stop_everything() -> None:
    """Kill whatever still descends from this process, and bury it."""
    own = os.getpid()
    kill(each for each in accounting.tree(own) if each.pid != own)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, 0)[0]:
            pass


class Program:
    """One running program with all its descendants, in a session of its own, on the given cores."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cores: str,
        output: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        """Start `command` pinned to `cores` (as taskset(1) writes them); what it prints is appended to `output`.

        Raises StartError when it cannot be executed.
        """
        self.name = Path(command[0]).name
        self.output = output
        # pdeathsig: a bench killed outright takes its programs along.
        pinned = ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", cores, *command]
        with output.open("ab") as out:
            try:
                self._process = subprocess.Popen(
                    pinned,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **(environment or {})},
                    cwd=directory,
                    start_new_session=True,
                )
            except OSError as exc:
                raise StartError(f"{self.name}: {exc}") from exc

    @property
    def pid(self) -> int:
        """Return the process id of the root of the tree."""
        return self._process.pid

    def require_alive(self) -> None:
        """Raise StartError with the end of the output when the program has ended."""
        code = self._process.poll()
        if code is not None:
            raise StartError(f"{self.name} ended with {code}: {self.tail()}")

    def tail(self) -> str:
        """Return the last lines of what the program printed, for messages."""
        text = self.output.read_text(encoding="utf-8", errors="replace").strip()
        return " / ".join(text.splitlines()[-4:])[-600:] or "it printed nothing"

    def stop(self) -> None:
        """End the program: SIGTERM to its root, then SIGKILL to whatever is left of its tree."""
        inside = accounting.tree(self.pid)
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S)
        kill(inside)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def wait_until(ready: Callable[[], bool], program: Program, *, seconds: float, step_s: float = 0.002) -> float:
    """Call `ready` until it is true; return the seconds that took. Raises StartError when the program ends or time is up."""
    started = time.perf_counter()
    while True:
        if ready():
            return time.perf_counter() - started
        program.require_alive()
        if time.perf_counter() - started > seconds:
            raise StartError(f"{program.name} gave no good answer within {seconds:.0f} s: {program.tail()}")
        time.sleep(step_s)
