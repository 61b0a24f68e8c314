from __future__ import annotations

import pytest

from gateway.pages.moment import ago, iso, stamp, wait
from gateway.pages.texts import Texts

THEN = 1_795_360_740.0  # 2026-11-22T15:19:00Z


@pytest.mark.parametrize(
    ("elapsed", "words"),
    [
        (-5, "just now"),
        (0, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (3599, "59 minutes ago"),
        (3600, "1 hour ago"),
        (7200, "2 hours ago"),
        (86_400, "1 day ago"),
        (86_400 * 40, "40 days ago"),
    ],
)
def test_elapsed_time_is_said_in_its_largest_unit(elapsed: float, words: str) -> None:
    assert ago(Texts(), THEN, THEN + elapsed) == words


def test_a_moment_is_written_for_people_and_for_machines() -> None:
    assert stamp(Texts(), THEN) == "22 Nov 2026, 15:19 UTC"
    assert iso(THEN + 0.9) == "2026-11-22T15:19:00Z"


@pytest.mark.parametrize(
    ("seconds", "words"), [(1, "a second"), (2, "2 seconds"), (89, "89 seconds"), (90, "2 minutes"), (5400, "2 hours")]
)
def test_a_waiting_time_is_never_said_too_short(seconds: int, words: str) -> None:
    assert wait(Texts(), seconds) == words
