"""Runs the real daemon again and again, and has each one killed at a named step: a program, told what to do line by line.

It wraps what the daemon calls of the system, in this process alone; the product has no place for it. Each line on standard
input is `step number boot name`: the life that begins ends with `kill -9` the moment that step comes for the n-th time. The
answers are `begun <pid>` and, when it is dead, `ended`; after an empty line more, `of <signal or exit code>`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.ledger import daemon
from gateway.ledger.daemon_process import serve
from gateway.ledger.keys import AuditKeys

STEPS = (
    "after records are taken in",
    "before a frame is written",
    "in the middle of a frame",
    "after a frame is written",
    "after a frame is synced",
    "before an answer",
    "after an answer",
    "before a checkpoint is written",
    "in the middle of a checkpoint",
    "after a checkpoint is written",
    "after a checkpoint is synced",
    "before a checkpoint is renamed",
    "after a checkpoint is renamed",
    "after a file is allocated",
    "in the middle of a head",
    "after a head is written",
    "after a head is synced",
    "before a file is renamed",
    "after a file is renamed",
    "after the directory is synced",
    "before a file is cut",
    "after a file is cut",
)
CAPACITY = 24 * 1024
"""Of a file: a life sees several end."""
PUBLISH_S = 0.004


class Fate:
    """Dies at the n-th time of one step."""

    def __init__(self, step: str, number: int) -> None:
        self._step = step
        self._left = number

    def comes(self, step: str) -> bool:
        """Tell whether this is the moment."""
        if step != self._step:
            return False
        self._left -= 1
        return self._left == 0

    def meet(self, step: str) -> None:
        """Die if this is the moment."""
        if self.comes(step):
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self, real: Callable[..., Any], step_of: Callable[..., str]) -> Callable[..., Any]:
        """Return a call that may be the last one, before or after it does what it does."""

        def call(*arguments: Any) -> Any:
            what = step_of(*arguments)
            self.meet(f"before {what}")
            result = real(*arguments)
            self.meet(f"after {what}")
            return result

        return call

    def write(self, fd: int, data: Any, offset: int) -> int:
        """Write, or write half of it and die."""
        what = {"log": "a frame", "log.new": "a head", "note": "a checkpoint"}.get(kind(fd), "something")
        self.meet(f"before {what} is written")
        if self.comes(f"in the middle of {what}"):
            _PWRITE(fd, bytes(data)[: len(data) // 2], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        written = _PWRITE(fd, data, offset)
        self.meet(f"after {what} is written")
        return written


_PWRITE = os.pwrite


def kind(place: Any) -> str:
    """Say what a path or descriptor is of."""
    path = Path(f"/proc/self/fd/{place}").readlink() if isinstance(place, int) else Path(place)
    if path.parent.name == "checkpoints":
        return "note"
    if path.name == "audit":
        return "directory"
    if path.name.endswith(".log.new"):
        return "log.new"
    return "log" if path.suffix == ".log" else path.name


def _named(words: dict[str, str]) -> Callable[..., str]:
    return lambda place, *_: words.get(kind(place), "something else")


def doom(fate: Fate) -> None:
    """Wrap the calls of this process."""
    os.pwrite = fate.write
    synced = _named(
        {
            "log": "a frame is synced",
            "note": "a checkpoint is synced",
            "log.new": "a head is synced",
            "directory": "the directory is synced",
        }
    )
    os.fdatasync = fate.wrap(os.fdatasync, synced)
    os.fsync = fate.wrap(os.fsync, synced)
    os.rename = fate.wrap(os.rename, _named({"log.new": "a file is renamed", "note": "a checkpoint is renamed"}))
    os.posix_fallocate = fate.wrap(os.posix_fallocate, _named({"log.new": "a file is allocated"}))
    os.ftruncate = fate.wrap(os.ftruncate, _named({"log": "a file is cut"}))
    os.truncate = fate.wrap(os.truncate, _named({"log": "a file is cut"}))
    receive = socket.socket.recv

    def recv(sock: socket.socket, size: int) -> bytes:
        data = receive(sock, size)
        if data:
            fate.meet("after records are taken in")
        return data

    socket.socket.recv = recv  # type: ignore[method-assign, assignment]
    socket.socket.send = fate.wrap(socket.socket.send, lambda *_: "an answer")  # type: ignore[method-assign]


def live(state_dir: Path, keys: AuditKeys, boot: str) -> None:
    """Be the daemon until the end."""
    daemon.PUBLISH_S = PUBLISH_S
    serve(
        state_dir=state_dir,
        keys=keys,
        node="node",
        version="0",
        boot_id=boot,
        capacity=CAPACITY,
        ballast_bytes=1 << 20,
    )


def main() -> None:
    """Begin a life for each line, and say how it ended."""
    state_dir, keys = Path(sys.argv[1]), AuditKeys.load(Path(sys.argv[2]))
    for line in sys.stdin:
        step, number, boot, name = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid == 0:
            doom(Fate(step, int(number)))
            live(state_dir / name, keys, boot)
            os._exit(0)
        print(f"begun {pid}", flush=True)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # whoever kills it by its number must meet nobody else
        print("ended", flush=True)
        sys.stdin.readline()
        _, status = os.waitpid(pid, 0)
        print(f"of {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main()
