"""The first process of a gateway that was upgraded: `python -m gateway.server.keeper PIPE PID`.

Whoever started the gateway (systemd, a container, a shell) knows this process. It passes signals on
to the supervisor that serves now, and ends when that ends, with the same status. Supervisors that
take over say so on PIPE, a process id a line. It decides nothing, reads no file and loads nothing of
the gateway: its code must be good for every later version.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from contextlib import suppress

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
_SIGNALLED = 128


def main() -> int:
    """Keep a place until the last supervisor ended."""
    return keep(int(sys.argv[1]), int(sys.argv[2]))


def become_keeper(interpreter: str, pipe: int, supervisor: int) -> None:
    """Become the keeper in the place of the program that calls; signals wait until it is there. Raises OSError."""
    adopt_orphans()
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    os.set_inheritable(pipe, True)  # noqa: FBT003 - a positional-only parameter
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(interpreter, [interpreter, "-I", "-m", "gateway.server.keeper", str(pipe), str(supervisor)])  # noqa: S606 - ours


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def keep(pipe: int, supervisor: int) -> int:
    """Pass signals on to `supervisor` and its successors, and return the status of the last one."""
    adopt_orphans()
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    for each in (*FORWARDED, signal.SIGCHLD):
        signal.signal(each, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*FORWARDED, signal.SIGCHLD})  # blocked while this program was loaded
    os.set_blocking(pipe, False)
    ended: dict[int, int] = {}
    while True:
        is_alone = not _bury(ended)
        supervisor = _announced(pipe) or supervisor  # said before its predecessor ended
        if supervisor in ended or is_alone:
            return ended.get(supervisor, 1)
        ended.clear()
        select.select([wake], [], [])
        supervisor = _announced(pipe) or supervisor
        with suppress(BlockingIOError):
            for number in os.read(wake, 256):
                if number in FORWARDED:
                    with suppress(ProcessLookupError):
                        os.kill(supervisor, number)


def _announced(pipe: int) -> int:
    """Return the process id that was written last and not read yet; 0 when there is none."""
    with suppress(BlockingIOError):
        lines = os.read(pipe, 4096).split()  # a write of a few bytes is never torn (pipe(7))
        if lines:
            return int(lines[-1])
    return 0


def _bury(ended: dict[int, int]) -> bool:
    """Note the exit status of every child that ended; False when none is left."""
    while True:
        try:
            pid, result = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        code = os.waitstatus_to_exitcode(result)
        ended[pid] = code if code >= 0 else _SIGNALLED - code


if __name__ == "__main__":
    sys.exit(main())
