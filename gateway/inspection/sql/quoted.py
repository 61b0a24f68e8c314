"""Judge a value that stands between quotation marks and leaves them.

A mark in prose or in quoted code does not leave anything: it has a letter behind it, or opens a literal of some program.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gateway.inspection.prose import is_plain_word
from gateway.inspection.sign import Sign
from gateway.inspection.sql.continuation import Reader
from gateway.inspection.sql.facts import Continuation, Ending, Fact, First
from gateway.inspection.sql.places import exits
from gateway.inspection.sql.weight import ALWAYS, JOINED, WHOLE_BUDGET, Judged, cuts, is_endless
from gateway.inspection.sql.words import CLAUSES, RESERVED, UNSEPARATED

QUOTES: Final = "'\"`"
_MARKS: Final = frozenset(QUOTES)
_SIMPLE: Final = re.compile(r"[\w.@+\-]{0,64}").fullmatch
_NAME_WITH_MARKS: Final = re.compile(r"[\w.@+\-'\u2019]{1,64}").fullmatch
"""`O'Brien`, before the mark that ends it."""
_COMPUTED: Final = re.compile(
    r"\s*(?:[-+*/%^|&<>=!~]{1,3}|like)\s*|\s*[+^|-]{1,2}\s*\(?[\w.]+\)?\s*[+^|-]{1,2}\s*", re.IGNORECASE
).fullmatch
_OPENING: Final = re.compile(r"[=+(,:\[{]\s{0,4}[a-zA-Z]{0,2}[\"'`]{0,2}\Z")
"""What stands before a mark that opens a literal of some program: `sql += " and ..."`."""
_LOOKED_BACK: Final = 8
"""Characters before a mark."""
_GOING_ON: Final = RESERVED | CLAUSES | UNSEPARATED
"""Words that a server may take where the reader did not."""
_SHORT: Final = 3
"""Characters: of `'a`, of `or` and `and`."""
_GOES_ON: Final = re.compile(
    r"[\s\x00-\x20\x7f-\xa0)]*+(?:[^\w\s)]|(?:or|and|xor|union|except|intersect|minus|like|rlike|ilike|regexp|glob|similar|sounds|is|isnull|notnull|"
    r"in|not|between|div|mod|collate|escape|order|group|having|limit|offset|where|into|procedure|waitfor|exec|execute|declare|drop|shutdown|"
    r"insert|update|delete|select|create|alter|truncate|backup|if|as|asc|desc|sleep|benchmark|pg_sleep|randomblob|n'|x'|b'|e'|for|fetch)(?![\w$])|\d+\.e(?!\w))",
    re.IGNORECASE,
)
"""What can follow the mark that ends a value in any statement; most apostrophes have a letter behind them."""
_WHEN_WHOLE: Final = (
    (Fact.CONDITION, "sql.condition"),
    (Fact.SUBQUERY_WORDS, "sql.subquery"),
    (Fact.STACKED_WORDS, "sql.stacked"),
    (Fact.STACKED_SELECT, "sql.stacked"),
    (Fact.ORDINAL, "sql.ordering"),
    (Fact.CASE, "sql.choice"),
    (Fact.TELLING, "sql.probe"),
)
"""What counts behind a mark when a server would take all of it."""
_UNQUOTED: Final = frozenset({Fact.DELAY, Fact.UNION, Fact.SUBQUERY, Fact.TAUTOLOGY})
"""What counts behind a mark that may as well open a literal of some program."""
_LATER: Final = ((Fact.DELAY, "sql.delay"), (Fact.UNION, "sql.union"), (Fact.TAUTOLOGY, "sql.tautology"))
"""What counts behind a later mark, when a server would take all of it."""
_LATER_BUDGET: Final = 256
"""Tokens that are read behind a mark that is not the first."""


def quoted(text: str) -> Iterator[Judged]:
    """Judge the text behind each mark that may end the value."""
    for quote in QUOTES:
        if quote not in text:
            continue
        for start, escapes, first in exits(text, quote):
            if _GOES_ON.match(text, start) is None:
                continue
            reader = Reader(text, start, escapes=escapes, operand=False)
            opens = _is_opening(text, start)
            if first:
                yield from _behind_mark(text, start, reader.read(WHOLE_BUDGET), opens=opens)
            elif not opens:
                yield from _behind_later_mark(text, start, reader.read(_LATER_BUDGET))


def _is_opening(text: str, start: int) -> bool:
    """Tell a mark that opens a quotation, or a literal of some program, from one that ends a value."""
    if _OPENING.search(text, max(0, start - _LOOKED_BACK), start - 1) is not None:
        return True
    return text[start - 2 : start - 1].isspace() and not text[start].isspace()


def _behind_mark(text: str, start: int, seen: Continuation, *, opens: bool) -> Iterator[Judged]:
    """Judge what follows the mark that ends a value between quotation marks."""
    for fact, name in ALWAYS:
        if fact not in seen.facts or (
            fact is Fact.TAUTOLOGY and (not _is_joined(seen) or _is_spoken_of(text, start, seen))
        ):
            continue
        if not opens or fact in _UNQUOTED or seen.first is First.SEMICOLON:
            yield Sign(name, *seen.facts[fact]), True
    if is_endless(seen):
        yield Sign("sql.endless", start, seen.stop), True
    if opens or not seen.is_whole:
        return
    for fact, name in _WHEN_WHOLE:
        if fact in seen.facts and (fact is not Fact.CONDITION or _is_joined(seen)):
            yield Sign(name, *seen.facts[fact]), True
    ended = cuts(text, seen) and _is_cut(text, start, seen)
    yield from _left(text, start, seen, ended=ended)
    plain = _SIMPLE(text, 0, start - 1) is not None
    for fact in JOINED:
        if fact in seen.facts:
            returns = (
                seen.ending is Ending.OPEN
                and "," not in text
                and (seen.operands > 1 or start > 1 or len(text) > seen.string + 1 or " " in text)
                and seen.first in (First.LOGICAL, First.CONCATENATION, First.COMPARISON)
                and (fact is Fact.JOINED_NUMBER or (plain and _is_short(text, start, seen)))
            )
            yield Sign("sql.tautology" if ended or returns else "sql.joined", *seen.facts[fact]), ended or returns
    if Fact.TERMINATED in seen.facts:
        ends = seen.comments > 0 or (
            text[start:].strip() == ";"
            and text[start - 2 : start - 1].isalnum()
            and _SIMPLE(text, 0, start - 1) is not None
        )
        yield Sign("sql.cut" if ends else "sql.terminated", *seen.facts[Fact.TERMINATED]), ends


def _is_spoken_of(text: str, start: int, seen: Continuation) -> bool:
    """Tell a condition that somebody quotes, or goes on behind in plain words, from one that a server would take."""
    if seen.ending is not Ending.ERROR:
        return False
    end = seen.facts[Fact.TAUTOLOGY][1]
    mark = text[start - 2 : start - 1]
    if mark in QUOTES and mark and text.startswith(mark, len(text[:end].rstrip())):
        return True
    words = text[seen.stop :].split()
    return bool(words) and words[0].lower() not in _GOING_ON and all(map(is_plain_word, words))


def _is_short(text: str, start: int, seen: Continuation) -> bool:
    """Tell whether what is joined is a letter or two, or one word between marks without a space: `a'or'a`."""
    tight = seen.string - start <= _SHORT and " " not in text[start : seen.string]
    return (
        (tight and _SIMPLE(text, seen.string + 1) is not None)
        or text[seen.string + 1 : seen.string + 2].isdigit()
        or (len(text) - seen.string <= _SHORT and _SIMPLE(text, seen.string + 1) is not None)
    )


def _is_joined(seen: Continuation) -> bool:
    """Tell a condition that is joined to the application's from one of mathematics: `y' = y and y(0) = 1`."""
    return seen.first in (First.LOGICAL, First.CONCATENATION, First.CLAUSE, First.NOTHING) or seen.ending in (
        Ending.OPEN,
        Ending.CUT,
    )


def _left(text: str, start: int, seen: Continuation, *, ended: bool) -> Iterator[Judged]:
    """Judge a value that leaves its place and does little more: a comment, a computation."""
    if seen.first in (First.NOTHING, First.COMMA, First.SEMICOLON) and seen.ending is Ending.CUT:
        yield Sign("sql.cut", start - 1, seen.stop) if ended else Sign("sql.terminated", start - 1, seen.stop), ended
    elif seen.first is First.CLAUSE and ended:
        yield Sign("sql.ordering", start - 1, seen.stop), True
    elif seen.first in (First.ARITHMETIC, First.CONCATENATION, First.COMPARISON):
        returns = seen.ending is Ending.OPEN and _SIMPLE(text, 0, start - 1) is not None and _returns(text, start, seen)
        if ended or returns:
            yield Sign("sql.arithmetic", start - 1, seen.stop), True


def _returns(text: str, start: int, seen: Continuation) -> bool:
    """Tell whether what is computed with ends in a string again, and is nothing that programs write between two strings."""
    if seen.numbers or Fact.CALL in seen.facts or Fact.TELLING in seen.facts:
        return True
    return _COMPUTED(text, start, seen.string) is not None and _SIMPLE(text.rstrip(), seen.string + 1) is not None


def _is_cut(text: str, start: int, seen: Continuation) -> bool:
    """Tell a comment that cuts off the rest from one that is quoted: `use "--" here`."""
    if seen.first is First.NOTHING and (seen.lines or text.startswith("//", seen.cut)):
        return False
    quoted = not _MARKS.isdisjoint(text[seen.cut :])
    return not quoted or (start > _SHORT and _SIMPLE(text, 0, start - 1) is not None)


def _behind_later_mark(text: str, start: int, seen: Continuation) -> Iterator[Judged]:
    """Judge what follows a mark that is not the first: as strictly as the text before it is unlike one value."""
    name_with_marks = _NAME_WITH_MARKS(text, 0, start - 1) is not None
    cut = cuts(text, seen) or (name_with_marks and seen.ending is Ending.CUT)
    if cut or seen.ending is Ending.OPEN or (seen.is_whole and name_with_marks):
        for fact, name in _LATER:
            if fact in seen.facts:
                yield Sign(name, *seen.facts[fact]), True
    if name_with_marks and Fact.CONDITION in seen.facts and seen.ending in (Ending.CUT, Ending.OPEN):
        yield Sign("sql.condition", *seen.facts[Fact.CONDITION]), True
    if cuts(text, seen) and _MARKS.isdisjoint(text[seen.cut :]):
        if Fact.STACKED in seen.facts:
            yield Sign("sql.stacked", *seen.facts[Fact.STACKED]), True
        elif Fact.SUBQUERY in seen.facts:
            yield Sign("sql.subquery", *seen.facts[Fact.SUBQUERY]), True
        elif name_with_marks and seen.first is First.NOTHING:
            yield Sign("sql.cut", start - 1, seen.stop), True
