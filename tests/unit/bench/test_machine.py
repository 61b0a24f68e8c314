"""How busy a core was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import machine
from tests.bench.site import choose_cores

TEXT = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 100 10 50 800 20 5 5 10 40 0\ncpu1 1 1 1 1 1 1 1 1 0 0\nintr 5\n"


def test_busy_and_stolen_time_of_one_core_are_told_apart() -> None:
    found = machine.parse_ticks(TEXT, "0")
    assert (found.busy, found.stolen, found.total) == (170, 10, 1000)
    assert machine.busy_share(machine.Ticks(0, 0, 0), found) == (0.17, 0.01)


def test_no_time_passed_is_not_busy() -> None:
    found = machine.parse_ticks(TEXT, "0")
    assert machine.busy_share(found, found) == (0.0, 0.0)


def test_a_core_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="no core 7"):
        machine.parse_ticks(TEXT, "7")


def test_the_proxy_has_the_lowest_core_for_itself() -> None:
    cores = choose_cores({3, 1, 2})
    assert (cores.proxy, cores.load) == ("1", "2,3")


def test_one_core_is_not_enough() -> None:
    with pytest.raises(ValueError, match="two cores"):
        choose_cores({0})


def test_the_file_system_of_the_kernels_own_files_is_named() -> None:
    assert machine.filesystem(Path("/proc/self")) == "proc"
