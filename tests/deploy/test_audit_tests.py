"""docs/audit-tests.md: every guarantee and failure of the audit trail has a test that exists, or a reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "audit-tests.md").read_text(encoding="utf-8")
ROWS = {row[0]: row[-1] for row in (line.strip("| ").split(" | ") for line in TABLE.splitlines()) if len(row) > 2}
GUARANTEES = [f"G{number}" for number in range(1, 12)]
FAILURES = [
    f"T-{number:02}"
    for numbers in (
        range(1, 7), range(10, 17), range(20, 22), range(30, 35), range(40, 48), range(50, 52), range(60, 63), range(70, 73), range(80, 82),
    )
    for number in numbers
]  # fmt: skip


def defined() -> set[str]:
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        found.update(re.findall(r"(?m)^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8")))
    return found


@pytest.mark.parametrize("name", [*GUARANTEES, *FAILURES])
def test_every_guarantee_and_failure_has_a_test_or_a_reason_why_it_has_none(name: str) -> None:
    assert re.search(r"`test_\w+`", ROWS[name]) or re.match(r"none: [`\w]", ROWS[name])


def test_the_table_has_nothing_else_and_every_test_it_names_exists() -> None:
    assert ROWS.keys() - {"id", "---"} == {*GUARANTEES, *FAILURES}
    assert set(re.findall(r"`(test_\w+)`", TABLE)) - defined() == set()
