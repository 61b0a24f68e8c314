"""A real clamd with signatures of its own, and daemons that misbehave."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SIGNATURE = "Gateway.Test.Sample"
INFECTED = b"this is what the signature of the tests looks for"
STREAM_MAX_BYTES = 2 << 20
_START_S = 60.0


def clamd_program() -> str | None:
    """Return where clamd is installed; None = it is not."""
    return shutil.which("clamd", path="/usr/sbin:/usr/bin:/usr/local/sbin:/opt/homebrew/sbin")


def _answers(path: Path) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(b"zPING\0")
        return connection.recv(16) == b"PONG\0"
    return False


@contextmanager
def clamd(directory: Path) -> Iterator[str]:
    """Run clamd with one signature, and yield its address as gateway.yaml writes it."""
    program = clamd_program()
    assert program is not None
    database = directory / "signatures"
    database.mkdir(parents=True)
    (database / "test.ndb").write_text(f"{SIGNATURE}:0:*:{INFECTED.hex()}\n")
    path = directory / "clamd.sock"
    configuration = directory / "clamd.conf"
    lines = {
        "DatabaseDirectory": database,
        "LocalSocket": path,
        "TemporaryDirectory": directory,
        "Foreground": "yes",
        "LogFile": directory / "clamd.log",
        "StreamMaxLength": STREAM_MAX_BYTES,
        "MaxThreads": 4,
        "AlertExceedsMax": "yes",
        "MaxScanSize": STREAM_MAX_BYTES,
        "MaxFileSize": STREAM_MAX_BYTES,
        "ConcurrentDatabaseReload": "no",
    }
    configuration.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
    with subprocess.Popen(
        [program, "--config-file", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as daemon:
        try:
            deadline = time.monotonic() + _START_S
            while not _answers(path):
                assert daemon.poll() is None, (directory / "clamd.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield f"unix:{path}"
        finally:
            daemon.terminate()
            daemon.wait()


@contextmanager
def saying(answer: bytes | None, *, after: int = 1 << 30) -> Iterator[str]:
    """Listen on TCP, and give each connection one answer when its stream ends or `after` bytes; None = say nothing, ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        is_over = threading.Event()
        kept = []

        def serve() -> None:
            while not is_over.is_set():
                with suppress(OSError):
                    connection, _ = listener.accept()
                    kept.append(connection)
                    connection.settimeout(2)
                    taken = b""
                    while not taken.endswith(b"\0\0\0\0") and len(taken) < after:
                        taken += connection.recv(1 << 16)
                    if answer is not None:
                        connection.sendall(answer)
                        connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            is_over.set()
            thread.join()
            for connection in kept:
                connection.close()
