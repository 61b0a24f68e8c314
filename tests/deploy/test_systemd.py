from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Tool = Callable[..., subprocess.CompletedProcess[str]]

INSTALLED = "/opt/gateway/.venv/bin/gateway"
EXPOSURE = 2.0
"""Of 10; systemd itself calls anything below 4 OK. The network, which the gateway is for, is most of the rest."""


@pytest.fixture(params=["gateway", "gateway-witness"])
def unit(request: pytest.FixtureRequest, deploy: Path, tmp_path: Path) -> Path:
    """A unit with the program of this environment in the place where it will be installed."""
    name = f"{request.param}.service"
    text = (deploy / "systemd" / name).read_text(encoding="utf-8")
    assert INSTALLED in text
    copy = tmp_path / name
    copy.write_text(text.replace(INSTALLED, str(Path(sys.executable).with_name("gateway"))))
    return copy


def test_systemd_accepts_the_unit_without_a_word(unit: Path, tool: Tool) -> None:
    done = tool("systemd-analyze", "verify", unit)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_is_hardly_exposed(unit: Path, tool: Tool) -> None:
    done = tool("systemd-analyze", "security", "--offline=yes", "--no-pager", unit)
    level = re.search(r"Overall exposure level for gateway(?:-witness)?\.service: ([0-9.]+)", done.stdout)
    assert level, done.stderr
    assert float(level.group(1)) <= EXPOSURE, done.stdout


def test_the_user_of_the_unit_is_made_by_sysusers(deploy: Path, tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    target = "--replace=/etc/sysusers.d/gateway.conf"
    done = tool("systemd-sysusers", f"--root={tmp_path}", target, deploy / "systemd" / "gateway.sysusers.conf")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "etc" / "passwd").read_text().startswith("gateway:x:")
    assert "\ngateway-witness:x:" in (tmp_path / "etc" / "passwd").read_text()
    assert "\nUser=gateway-witness\n" in (deploy / "systemd" / "gateway-witness.service").read_text(encoding="utf-8")
    assert "\nUser=gateway\n" in (deploy / "systemd" / "gateway.service").read_text(encoding="utf-8")
