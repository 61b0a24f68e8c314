"""Judge a value that stands bare: as a number, a column, a direction, or behind what the application has written.

Words join words in prose as in SQL, so it matters what the value begins with: a number goes on as SQL only in an attack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gateway.inspection.sign import Sign
from gateway.inspection.sql.continuation import Reader
from gateway.inspection.sql.facts import Continuation, Ending, Fact, First
from gateway.inspection.sql.lexis import Kind
from gateway.inspection.sql.weight import ALWAYS, JOINED, WHOLE_BUDGET, Judged, cuts, is_endless

_BARE: Final = (
    "=", " like ", "(", "or", "and", "union", "select", "||", "&&", ";", "having", "group", "limit", "into", "waitfor", "case", "@@", "::", "--",
    "exec", "drop", "insert", "delete", "update", "create", "alter", "truncate", "declare",
)  # fmt: skip
"""One of these stands in every text that is judged where it begins."""
_ALONE: Final = 2
"""Operands: a call and its argument, as in code that somebody quotes."""
_SELECTED: Final = frozenset({Fact.TABLE, Fact.CALL, Fact.CASE})
"""What tells a SELECT in parentheses from a hint in a form: `(select 2)`."""
_TELLING_STATEMENT: Final = (
    Fact.DELAY,
    Fact.PROBE,
    Fact.PROBE_NAME,
    Fact.SERVER_VARIABLE,
    Fact.CATALOGUE,
    Fact.TELLING,
    Fact.TAUTOLOGY,
    Fact.INTO_FILE,
)
_SAID: Final = re.compile(
    r"(?:or|and)\s+(?:(?P<name>[a-z]\w*)\s+=\s+(?P<other>[a-z]\w*)|(?P<mark>['\"])(?P<text>[^'\"]*)(?P=mark)\s+=\s+"
    r"(?P=mark)(?P<value>[^'\"]*)(?P=mark))\s*",
    re.IGNORECASE,
)
"""Two different names, or two different quotations, with spaces around the sign."""
_SUM: Final = re.compile(r"\s*(\d{1,9}) and (\d{1,9}) = (\d{1,9})[.!]?\s*")
"""An addition in words."""
_DECIDED: Final = re.compile(
    r"[\s(]{0,8}i?if\s{0,4}\(\s{0,4}(?:\d{1,9}|'[^']{0,32}')\s{0,4}(?:=|<>|!=|<|>|like)\s{0,4}(?:\d{1,9}|'[^']{0,32}')\s{0,4},",
    re.IGNORECASE,
)
"""A choice whose condition compares constants, as nobody needs one."""
_COLUMNS_AND_TABLE: Final = re.compile(
    r"\w{1,64}(?:,\w{1,64}){1,32} from \w{1,64}\s{0,4}(?:--|#|/\*)\s*", re.IGNORECASE
)
"""The rest of a SELECT, and the cut: `id,name from users--`."""
_ALL_COLUMNS: Final = re.compile(r"\s*(?:\w{1,64}\.)?\*\s*,")
"""What a list of columns may begin with, and nothing else."""
_TAIL: Final = 4_096
"""Characters at the end of a list that is too long to be read, and is read there."""


def can_go_on(lowered: str) -> bool:
    """Say whether anything in the text joins it to a statement."""
    return any(word in lowered for word in _BARE)


def bare(text: str, begin: int) -> Iterator[Judged]:
    """Judge a value that stands where a number, a column or a direction stands."""
    escapes = "\\" in text
    if (choice := _DECIDED.match(text, begin)) is not None:
        yield Sign("sql.choice", *choice.span()), True
    if (rest := _COLUMNS_AND_TABLE.fullmatch(text, begin)) is not None:
        yield Sign("sql.cut", *rest.span()), True
    if (star := _ALL_COLUMNS.match(text, begin)) is not None:
        begin = star.end()
    seen = Reader(text, begin, escapes=escapes, operand=True).read(WHOLE_BUDGET)
    if is_endless(seen):
        yield Sign("sql.endless", begin, seen.stop), True
    elif seen.ending is Ending.ENDLESS:
        tail = text.find(",", max(seen.stop, len(text) - _TAIL)) + 1
        seen = Reader(text, tail, escapes=escapes, operand=True).read(WHOLE_BUDGET)
    yield from _operand(text, seen)
    if seen.ending is Ending.ERROR and seen.operands == 0:
        seen = Reader(text, begin, escapes=escapes, operand=False).read(WHOLE_BUDGET)
        if seen.first is not First.STRING:
            yield from _continued(text, seen)


def _operand(text: str, seen: Continuation) -> Iterator[Judged]:
    """Judge a text that begins with an operand, or is a statement."""
    facts = seen.facts
    if not facts.keys().isdisjoint((Fact.SELECT, Fact.SELECT_WORDS, Fact.STATEMENT)) or _selects_probe(text, seen):
        yield from _whole_statement(text, seen)
        return
    whole = seen.is_whole
    number = seen.left is Kind.NUMBER
    ended = cuts(text, seen)
    for fact, name in ALWAYS:
        if fact not in facts:
            continue
        strong = whole
        if fact is Fact.UNION_WORDS:
            limited = seen.first is First.CLAUSE and seen.numbers > 0 and Fact.TABLE in facts
            strong = number or (whole and (ended or limited))
        elif fact in (Fact.UNION, Fact.STACKED, Fact.INTO_FILE):
            strong = whole or number
        elif fact is Fact.DELAY:
            strong = whole and (ended or seen.operands > _ALONE or not text.lstrip().startswith("sleep"))
        elif fact is Fact.TAUTOLOGY:
            chosen = Fact.CASE in facts
            strong = (
                whole and (seen.first is not First.COMPARISON or ended or chosen) and not _says_so(text, facts[fact])
            )
        elif fact is Fact.SUBQUERY:
            strong = whole and (number or seen.first is not First.NOTHING or not facts.keys().isdisjoint(_SELECTED))
        yield Sign(name if strong else "sql.words", *facts[fact]), strong
    if not whole:
        return
    for fact, name in ((Fact.SUBQUERY_WORDS, "sql.subquery"), (Fact.STACKED_WORDS, "sql.stacked")):
        if fact in facts:
            yield Sign(name, *facts[fact]), True
    if Fact.CONDITION in facts:
        strong = (
            number and seen.first in (First.LOGICAL, First.CONCATENATION) and not _says_so(text, facts[Fact.CONDITION])
        )
        yield Sign("sql.condition" if strong else "sql.words", *facts[Fact.CONDITION]), strong
    if Fact.ORDINAL in facts:
        yield Sign("sql.ordering" if number else "sql.words", *facts[Fact.ORDINAL]), number
    if number and ended and Fact.TERMINATED in facts:
        yield Sign("sql.cut", *facts[Fact.TERMINATED]), True
    if Fact.CASE in facts:
        strong = number or text.lstrip().startswith("(")
        yield Sign("sql.choice" if strong else "sql.words", *facts[Fact.CASE]), strong
    if Fact.CALL in facts and (Fact.CAST in facts or Fact.TOLD in facts):
        yield Sign("sql.probe", *facts[Fact.CALL]), True
    for fact in JOINED:
        if fact in facts:
            strong = number and (ended or seen.comments > 0)
            yield Sign("sql.tautology" if strong else "sql.joined", *facts[fact]), strong
    if number and Fact.JOINED_TRUTH in facts:
        yield Sign("sql.tautology", *facts[Fact.JOINED_TRUTH]), True
    if seen.first is First.COMPARISON and not seen.names and seen.operands > 1:
        yield Sign("sql.tautology" if ended else "sql.comparison", 0, seen.stop), ended


def _says_so(text: str, span: tuple[int, int]) -> bool:
    """Tell what people write with `=` from a condition: `more = discount`, `"b" = "c"`, `5 and 5 = 10`."""
    said = _SAID.fullmatch(text, *span)
    if said is not None:
        return said["name"] != said["other"] or said["text"] != said["value"]
    sum_of = _SUM.fullmatch(text)
    return sum_of is not None and int(sum_of[1]) + int(sum_of[2]) == int(sum_of[3])


def _selects_probe(text: str, seen: Continuation) -> bool:
    """Tell whether a text selects a function of the server by its mere name."""
    return Fact.PROBE_NAME in seen.facts and text.lstrip()[:6].lower() == "select"


def _whole_statement(text: str, seen: Continuation) -> Iterator[Judged]:
    """Judge a text that begins as a statement of its own."""
    whole = seen.is_whole
    facts = seen.facts
    ended = Fact.TERMINATED in facts and cuts(text, seen)
    if whole and (ended or any(fact in facts for fact in _TELLING_STATEMENT)):
        yield Sign("sql.statement_probe", 0, seen.stop), True
    yield Sign("sql.statement", 0, seen.stop), False


def _continued(text: str, seen: Continuation) -> Iterator[Judged]:
    """Judge a text that begins where an operator stands: what an application appends to a statement of its own."""
    facts = seen.facts
    if not seen.is_whole:
        return
    ended = cuts(text, seen)
    for fact, name in ALWAYS:
        if fact in facts:
            strong = fact is not Fact.UNION_WORDS or Fact.TABLE in facts or ended
            if fact is Fact.STACKED and seen.first is not First.SEMICOLON:
                continue
            yield Sign(name if strong else "sql.words", *facts[fact]), strong
    for fact in (Fact.SUBQUERY_WORDS, Fact.STACKED_WORDS):
        if fact in facts:
            yield Sign("sql.stacked" if fact is Fact.STACKED_WORDS else "sql.subquery", *facts[fact]), True
    if Fact.JOINED_TRUTH in facts and ended:
        yield Sign("sql.tautology", *facts[Fact.JOINED_TRUTH]), True
    for fact in (Fact.CONDITION, Fact.ORDINAL, Fact.CASE):
        if fact in facts:
            yield Sign("sql.condition" if ended else "sql.words", *facts[fact]), ended
    for fact in JOINED:
        if fact in facts:
            yield Sign("sql.joined", *facts[fact]), False
