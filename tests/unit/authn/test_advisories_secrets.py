"""What went wrong with secrets in comparable software (docs/advisories.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import gateway

SOURCE = Path(gateway.__file__).parent
CHANCE = {"edge/group.py", "store/redis_link.py", "store/redis_rows.py", "server/sinks.py"}
"""Modules that spread load or tries by chance. None of them makes anything that has to be secret."""


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def test_cve_2024_21495_no_module_that_makes_secrets_knows_predictable_randomness() -> None:
    """caddy-security made its tokens with a generator that can be predicted: here `os.urandom` and `secrets` do."""
    modules = {str(path.relative_to(SOURCE)): imported(path) for path in SOURCE.rglob("*.py")}
    assert len(modules) > 200
    assert {name for name, names in modules.items() if "random" in names} == CHANCE
    assert [name for name, names in modules.items() if {"uuid.uuid1", "numpy", "uuid.uuid3"} & names] == []
