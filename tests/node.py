"""Packages of npm that tests run: installed once from a lock file beside their package.json, then used as they are."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

from tests.machine import cannot_run

_INSTALL_S = 300


def node_modules(directory: Path) -> Path:
    """Return `directory/node_modules`, as its package-lock.json says; install it where it is missing or another one."""
    modules = directory / "node_modules"
    stamp = modules / ".lock-digest"
    wanted = sha256((directory / "package-lock.json").read_bytes()).hexdigest()
    with (directory / "package.json").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # several test processes may come at once
        if stamp.exists() and stamp.read_text() == wanted:
            return modules
        npm = shutil.which("npm")
        if npm is None or shutil.which("node") is None:
            cannot_run("not installed: node or npm; tests/install-packages installs them")
        done = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=_INSTALL_S,
            check=False,
        )
        if done.returncode:
            cannot_run(f"npm could not install {directory.name}: {done.stderr.strip()[-300:]}")
        stamp.write_text(wanted)
    return modules
