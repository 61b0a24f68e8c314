"""The frame of a child process, before it serves anything."""

from __future__ import annotations

import socket
import subprocess
import sys

from gateway import __version__
from gateway.server.bundle import Bundle
from gateway.server.control import Boot, Done, pack, receive_reply


def test_a_program_that_was_replaced_on_disk_does_not_serve_under_the_old_supervisor() -> None:
    """Two versions need not understand each other: a crash after an installation in place must say so."""
    boot = Boot(
        kind="edge",
        slot=0,
        worker=1,
        workers=2,
        shares_limits=True,
        bundle=Bundle(path="/g/gateway.yaml", settings="version: 1\n", policies={}, digest="d"),
        state_dir="/s",
        run_dir="/s/run",
        pages_socket="/s/run/pages.sock",
        node="n",
        boot_id="b",
        version="0.0.0",
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "gateway.server.child", "edge", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
        )
        ours.sendall(pack(boot))
        reply = receive_reply(ours)
        assert process.wait(timeout=20) == 1
    assert isinstance(reply, Done)
    (sentence,) = reply.diagnostics
    assert f"edge-1: the program on disk is version {__version__}, the gateway that runs is 0.0.0;" in sentence
