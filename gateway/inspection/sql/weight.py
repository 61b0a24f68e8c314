"""What facts of a reading are worth by themselves, wherever a value stands."""

from __future__ import annotations

import re
from typing import Final

from gateway.inspection.sign import Sign
from gateway.inspection.sql.facts import Continuation, Ending, Fact

Judged = tuple[Sign, bool]
"""A sign, and whether it is strong: enough to stop looking."""
ALWAYS: Final = (
    (Fact.DELAY, "sql.delay"),
    (Fact.UNION, "sql.union"),
    (Fact.UNION_WORDS, "sql.union"),
    (Fact.SUBQUERY, "sql.subquery"),
    (Fact.STACKED, "sql.stacked"),
    (Fact.INTO_FILE, "sql.into_file"),
    (Fact.PROBE, "sql.probe"),
    (Fact.SERVER_VARIABLE, "sql.probe"),
    (Fact.TAUTOLOGY, "sql.tautology"),
)
"""What counts behind a mark whatever follows: a server of another dialect may go on where the reader could not."""
JOINED: Final = (Fact.JOINED_NUMBER, Fact.JOINED_TEXT, Fact.JOINED_NAME)
WHOLE_BUDGET: Final = 4_096
"""Tokens that are read of a value."""
_MANY: Final = 1_024
"""Operators but commas, in what is too long to be read."""
_WORD: Final = re.compile(r"\w+")


def is_endless(seen: Continuation) -> bool:
    """Tell whether an expression goes on for longer than anybody would write one, and so hides what comes behind it."""
    return seen.ending is Ending.ENDLESS and seen.operators > _MANY


def cuts(text: str, seen: Continuation) -> bool:
    """Tell whether a comment cuts off the rest and holds no words, as a dash or a number sign in prose would."""
    return seen.ending is Ending.CUT and _WORD.search(text, seen.cut) is None
