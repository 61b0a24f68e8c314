"""Small file systems that are easily filled, for programs that run in a mount namespace of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.machine import cannot_run

LOOP = Path("/dev/loop-control")


def mount(place: Path, kind: str, options: str) -> None:
    """Mount a tmpfs with its options, or an ext4 of a size, such as `size=32m`."""
    if kind == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
        return
    image = place.with_name(place.name + ".img")
    subprocess.run(["truncate", "-s", options.removeprefix("size=").upper(), str(image)], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)


def run_apart(module: str, place: Path, *arguments: str, is_root: bool = False) -> str:
    """Run a module in a namespace of its own and return what it prints; `is_root`: it needs a loop device, so root."""
    if is_root and (os.geteuid() != 0 or not LOOP.exists()):
        cannot_run("needs root and loop devices")
    place.mkdir()
    command: Sequence[str] = [
        "unshare",
        "-m" if is_root else "-rm",
        sys.executable,
        "-m",
        module,
        str(place),
        *arguments,
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout
