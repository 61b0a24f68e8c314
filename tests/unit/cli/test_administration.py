from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from gateway.cli.administration import moment, refuse, table


def test_a_table_is_aligned_and_has_no_trailing_space() -> None:
    assert table(("NAME", "ROLES"), [("alice", ""), ("bo", "client")]) == "NAME   ROLES\nalice\nbo     client"
    assert table(("NAME",), []) == "NAME"


def test_times_are_told_in_utc_and_zero_is_never() -> None:
    assert moment(1_700_000_000.9) == "2023-11-14 22:13:20Z"
    assert moment(0) == "never"


def test_a_no_goes_to_standard_error_with_exit_1() -> None:
    @click.command()
    def verb() -> None:
        refuse("there is no such thing")

    result = CliRunner().invoke(verb)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "there is no such thing\n")


def test_a_verb_makes_the_state_directory_and_leaves_it_private(house: Any) -> None:
    assert not house.state_dir.exists()
    assert house.run("user", "list").exit_code == 0
    assert house.state_dir.stat().st_mode & 0o777 == 0o700
    assert {entry.stat().st_mode & 0o077 for entry in house.state_dir.rglob("*") if entry.is_file()} == {0}


def test_lists_are_recorded_too(house: Any) -> None:
    house.run("user", "list")
    house.run("session", "list")
    assert [name for name, _ in house.records()] == ["user list", "session list"]


@pytest.mark.parametrize("name", ["alice", "ALICE", " alice "])
def test_a_person_is_found_by_any_spelling(house: Any, name: str) -> None:
    house.add("alice")
    assert house.run("user", "disable", name).exit_code == 0
