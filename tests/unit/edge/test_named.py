"""Documents that name tests name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENTS = ("advisories.md", "conformance.md")


def defined() -> set[str]:
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        found.update(re.findall(r"(?m)^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8")))
    return found


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_a_document_names_exists(document: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / document).read_text(encoding="utf-8")))
    assert len(named) > 40
    assert named - defined() == set()


def test_every_test_that_is_named_after_a_section_stands_in_the_table() -> None:
    table = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    assert [name for name in sorted(defined()) if re.match(r"test_911[02]_", name) and f"`{name}`" not in table] == []


def test_every_test_that_is_named_after_an_advisory_stands_in_a_document() -> None:
    told = (ROOT / "docs" / "advisories.md").read_text(encoding="utf-8")
    assert [name for name in sorted(defined()) if re.search(r"(?:cve|ghsa)_", name) and f"`{name}`" not in told] == []


def test_every_advisory_has_a_test_or_the_reason_why_it_needs_none() -> None:
    lines = (ROOT / "docs" / "advisories.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ") and not line.startswith("| id ")]
    assert len(rows) > 90
    for row in rows:
        ids, _, cause, proof = row
        assert cause, ids
        assert re.search(r"`test_\w+`", proof) or re.match(r"the same|none: \w", proof), ids
    assert rows[0][3] != "the same"
