"""The compiled build (`make compiled`) is the same program: it is built, signs people in, and keeps its log."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy of what is in the tree, so that nothing is left in it."""
    copy = tmp_path_factory.mktemp("compiled")
    for name in ("gateway", "config", "requirements"):
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "Makefile", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, copy / name)
    environment = Path(sys.executable).parent.parent
    done = subprocess.run(
        # -o: what is installed is as it should be, and must not be made again from the copy
        ["make", "-o", f"{environment}/.made/dev", "compiled", f"BIN={environment}/bin", f"STAMPS={environment}/.made"],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=840,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return copy / "build" / "compiled" / "bin"


def test_the_compiled_gateway_is_the_same_gateway(
    compiled: Path, make_gateway: Callable[..., Any], make_browser: Callable[..., Any]
) -> None:
    shown = subprocess.run(
        [compiled / "python", "-I", "-c", "import gateway.edge.http1 as module; print(module.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip().endswith(".so"), shown.stdout
    gateway = make_gateway()
    gateway.program = [str(compiled / "gateway")]
    gateway.start()
    browser = make_browser(gateway)
    refused = browser.get("/invoices/1")
    assert refused.status == 302
    browser.sign_in()
    answer = browser.get("/invoices/1?x=%20")
    assert (answer.status, answer.json["path"]) == (200, "/invoices/1?x=%20")
    assert answer.json["headers"]["x-gateway-user"] == "alice"
    assert browser.get("/a%2fb").status == 400
    assert gateway.cli("reload").returncode == 0
    assert browser.get("/invoices/2").status == 200
    assert gateway.stop() == 0
    verified = gateway.cli("audit", "verify")
    assert verified.returncode == 0, verified.stdout


def test_the_edge_passes_its_tests_when_it_is_compiled(compiled: Path) -> None:
    tree = compiled.parents[2]
    shutil.rmtree(tree / "gateway")  # what is imported below is what was built
    shutil.copytree(PROJECT / "tests", tree / "tests", ignore=shutil.ignore_patterns("__pycache__", "results"))
    for name in ("docs", "deploy"):
        shutil.copytree(PROJECT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    (packages,) = compiled.parent.glob("lib/python*/site-packages")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "-m", "not pure", "tests/unit/edge", "tests/unit/wire"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        timeout=840,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
