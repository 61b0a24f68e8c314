"""Folded stacks become functions with weights."""

from __future__ import annotations

from tests.bench.profile import table, weigh

STACKS = [
    "process 12:python -m x;main (a.py:1);handle (a.py:10);parse (b.py:3) 60",
    "main (a.py:1);handle (a.py:12);parse (b.py:9) 20",
    "main (a.py:1);handle (a.py:12);handle (a.py:11) 20",
    "",
    "not a stack",
]


def test_functions_are_told_apart_by_name_and_file_not_by_line() -> None:
    found = weigh(STACKS)
    assert found.total == 100
    assert found.own == {"parse (b.py)": 80, "handle (a.py)": 20}


def test_a_function_on_the_stack_twice_counts_once() -> None:
    assert weigh(STACKS).below == {"main (a.py)": 100, "handle (a.py)": 100, "parse (b.py)": 80}


def test_shares_are_written_as_microseconds_of_a_request() -> None:
    text = table(weigh(STACKS), 20.0, 5)
    assert "16.00  80.0%            16.00  parse (b.py)" in text


def test_an_idle_process_is_said_to_be_idle() -> None:
    assert "idle" in table(weigh([]), 20.0, 5)
