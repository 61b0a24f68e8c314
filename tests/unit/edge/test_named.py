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
