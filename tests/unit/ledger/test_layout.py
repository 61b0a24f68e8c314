from __future__ import annotations

from pathlib import Path

import pytest

from gateway.ledger.layout import Layout, file_name, file_number


def test_names_carry_their_numbers() -> None:
    assert file_name(7) == "main-000000000007.log"
    assert file_number(file_name(7)) == 7


@pytest.mark.parametrize(
    "name", ["", "main-7.log", "main-000000000007.log.new", "main-00000000000\u0667.log", "x-main-000000000007.log"]
)
def test_other_names_are_not_log_files(name: str) -> None:
    assert file_number(name) == 0


def test_only_bytes_that_verify_covers_are_in_the_audit_directory(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "state")
    layout.create()
    layout.create()
    for path in (layout.checkpoint, layout.ballast, layout.lock, layout.socket):
        assert layout.directory not in path.parents
    assert layout.directory.stat().st_mode & 0o777 == 0o700
    assert layout.lock.parent.stat().st_mode & 0o777 == 0o700
