"""What is built to be installed holds everything that is served, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

TOP = Path(__file__).parents[2]


def test_the_wheel_holds_pages_letters_languages_and_lists(tmp_path: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "gateway", "config/inspection"], cwd=TOP, capture_output=True, text=True, check=True
    )
    files = [name for name in tracked.stdout.split() if (TOP / name).exists()]
    expected = {name if name.startswith("gateway/") else f"gateway/{name}" for name in files}
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, TOP],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert expected - names == set()
    assert {name for name in names if name.startswith("gateway/")} - expected == set()
