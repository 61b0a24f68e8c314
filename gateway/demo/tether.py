"""Become another program that is told to end (SIGTERM) when the process that started it ends, however that happens.

    python -m gateway.demo.tether PARENT_PID PROGRAM [ARGUMENT ...]

Without it `kill -9` of the demo would leave a gateway and a portal behind. prctl(2), PR_SET_PDEATHSIG: Linux only,
and it survives execve(2) of an ordinary program.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Tie this process to its parent, then execute the program named by `arguments`; returns only if the parent is gone."""
    parent, *program = arguments
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() == int(parent):  # else it ended before the tie held
        os.execv(program[0], program)  # noqa: S606 - this is what the module is for


if __name__ == "__main__":
    main(sys.argv[1:])
