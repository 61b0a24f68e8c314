from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.machine import cannot_run

DEPLOY = Path(__file__).parents[2] / "deploy"

Tool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tool() -> Tool:
    """Run a program by name. Where it is missing the test fails in CI and skips on a laptop."""

    def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        program = shutil.which(name, path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))
        if program is None:
            cannot_run(f"{name} is missing; tests/install-packages installs it")
        return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def deploy() -> Path:
    return DEPLOY


@pytest.fixture
def declared() -> dict[str, frozenset[str]]:
    """Every metric that the code declares, with its labels."""
    import ast
    import re

    name_of = re.compile(r"gateway_[a-z0-9_]+")
    found: dict[str, frozenset[str]] = {}
    for path in (DEPLOY.parent / "gateway").rglob("*.py"):
        for call in (
            node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
        ):
            values = [*call.args, *(keyword.value for keyword in call.keywords)]
            names = [
                value.value
                for value in values
                if isinstance(value, ast.Constant) and isinstance(value.value, str) and name_of.fullmatch(value.value)
            ]
            tuples = [value for value in values if isinstance(value, ast.Tuple)]
            labels = next(
                ({item.value for item in value.elts if isinstance(item, ast.Constant)} for value in tuples), set()
            )
            for name in names:
                found[name] = frozenset(map(str, labels))
    return found


@pytest.fixture
def undeclared(declared: dict[str, frozenset[str]]) -> Callable[[str], list[str]]:
    """Name the metrics and selector labels of a PromQL expression that the code does not declare."""
    import re

    selector = re.compile(r"\b(gateway_[a-z0-9_]+)(?:\{([^}]*)\})?")
    given = {"instance", "job", "le"}

    def find(expression: str) -> list[str]:
        problems = []
        for name, matchers in selector.findall(expression):
            base = name if name in declared else re.sub(r"_(bucket|sum|count)$", "", name)
            if base not in declared:
                problems.append(name)
                continue
            used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
            problems += [f"{name}{{{label}}}" for label in sorted(used - declared[base] - given)]
        return problems

    return find
