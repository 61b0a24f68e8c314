from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path


def test_the_program_takes_the_place_of_the_tether() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.demo.tether", str(os.getpid()), "/bin/sh", "-c", "echo here"],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "here\n"


def test_a_tether_whose_parent_has_gone_starts_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.demo.tether", "1", "/bin/sh", "-c", "echo here"], capture_output=True, text=True
    )
    assert done.stdout == ""


def test_killing_the_parent_ends_the_program(tmp_path: Path) -> None:
    parent = textwrap.dedent(
        """
        import os, subprocess, sys, time
        subprocess.Popen([sys.executable, "-m", "gateway.demo.tether", str(os.getpid()), "/bin/sh", "-c", "echo $$; exec sleep 60"])
        time.sleep(60)
        """
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout.read() == ""  # the pipe closes only when the program has ended too
