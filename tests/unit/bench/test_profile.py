"""Folded stacks become functions with weights."""

from __future__ import annotations

import pytest

from tests.bench.profile import table, weigh

STACKS = [
    "process 12:python -m x;thread (12): MainThread;main (a.py:1);handle (a.py:10);parse (b.py:3) 60",
    "thread (12): MainThread;main (a.py:1);handle (a.py:12);parse (b.py:9) 20",
    "thread (12): MainThread;main (a.py:1);handle (a.py:12);handle (a.py:11) 20",
    "thread (13): waiting;_worker (thread.py:81) 900",
    "",
    "not a stack",
]


def test_functions_are_told_apart_by_name_and_file_not_by_line() -> None:
    found = weigh(STACKS, {12: 20.0})
    assert found.own["parse (b.py)"] == pytest.approx(16.0)
    assert found.own["handle (a.py)"] == pytest.approx(4.0)


def test_a_function_on_the_stack_twice_counts_once() -> None:
    assert weigh(STACKS, {12: 20.0}).below["handle (a.py)"] == pytest.approx(20.0)


def test_a_thread_that_only_sampling_woke_weighs_what_the_kernel_says() -> None:
    found = weigh(STACKS, {12: 20.0, 13: 0.01})
    assert found.own["_worker (thread.py)"] == pytest.approx(0.01)
    assert sum(found.own.values()) == pytest.approx(20.01)


def test_costs_are_written_in_microseconds_with_their_share() -> None:
    text = table(weigh(STACKS, {12: 20.0}), 5)
    assert "16.00  80.0%            16.00  parse (b.py)" in text
    assert "_worker" not in text


def test_an_idle_process_is_said_to_be_idle() -> None:
    assert "idle" in table(weigh([], {}), 5)
