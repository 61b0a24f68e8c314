from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway.exchange.errors import ConfigurationError
from gateway.server.successor import Program

CONFIG = Path("/etc/gateway/gateway.yaml")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation behind a link, and this process as if it had been started from it."""
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        for name in ("gateway", "python"):
            (tmp_path / version / name).touch(mode=0o755)
    link = tmp_path / "current"
    link.symlink_to("1")
    monkeypatch.setattr(sys, "argv", [str(link / "gateway"), "run"])
    monkeypatch.setattr(sys, "executable", str(link / "python"))
    return link


def test_the_program_is_started_from_where_this_one_was(installed: Path) -> None:
    expected = [str(installed / "gateway"), "run", "-c", str(CONFIG), "--take-over", "7"]
    assert Program(CONFIG).command("", 7) == expected


def test_our_own_children_stay_with_the_version_that_runs(installed: Path) -> None:
    program = Program(CONFIG)
    installed.unlink()
    installed.symlink_to("2")
    assert program.interpreter == str(installed.parent / "1" / "python")
    assert Path(program.command("", 7)[0]).resolve() == installed.parent / "2" / "gateway"


def test_another_program_can_be_named(installed: Path) -> None:
    other = str(installed.parent / "2" / "gateway")
    assert Program(CONFIG).command(other, 7)[0] == other


@pytest.mark.parametrize("path", ["/does/not/exist", "/etc/passwd", "/etc"])
def test_what_cannot_be_run_is_said(installed: Path, path: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a program that can be run"):
        Program(CONFIG).command(path, 7)
