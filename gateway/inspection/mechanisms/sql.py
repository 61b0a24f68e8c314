"""SQL injection: a value that leaves its place in a statement and goes on as SQL (CWE-89, ASVS 5.0 1.2.4).

Judged is what a server would do with the value in each place it may stand in. An apostrophe proves nothing, nor does a keyword: what
follows the mark must be the rest of a statement. Statements that stand in prose, or that are the whole of a value, are weaker signs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.lower_case import lower_case
from gateway.inspection.sign import Sign
from gateway.inspection.sql.bare import bare, can_go_on
from gateway.inspection.sql.mentions import mentions
from gateway.inspection.sql.places import begins, respelled
from gateway.inspection.sql.quoted import QUOTES, quoted
from gateway.inspection.sql.weight import Judged

CLASS: Final = "sqli"
SIGNS: Final[Mapping[str, str]] = {
    "sql.tautology": "A condition is joined whose truth the data do not decide.",
    "sql.condition": "The value leaves its place and joins a condition on the data.",
    "sql.union": "The rows of a second SELECT are added.",
    "sql.subquery": "A SELECT stands where a value should.",
    "sql.stacked": "A second statement begins.",
    "sql.delay": "The server is told to wait, which tells the truth of a condition by the clock.",
    "sql.probe": "A function, procedure or variable is used that tells about the server or reaches beyond it.",
    "sql.cut": "The value leaves its place, and a comment or a semicolon cuts off what follows.",
    "sql.arithmetic": "The value leaves its place, is computed with, and returns.",
    "sql.ordering": "The value leaves its place and orders, groups or limits the rows.",
    "sql.into_file": "Rows are written to a file or a variable.",
    "sql.choice": "A value is chosen by a condition inside the statement.",
    "sql.executable_comment": "Keywords stand in a comment that MySQL executes.",
    "sql.statement_probe": "The value is a whole statement that tells about the server, waits or cuts off what follows.",
    "sql.endless": "The value goes on as an expression of thousands of operators, which hides what comes behind it.",
    "sql.statement": "The value is, or quotes, a whole statement.",
    "sql.words": "Plain words continue as SQL that adds rows or conditions.",
    "sql.joined": "The value leaves its place and joins a word or a number.",
    "sql.terminated": "The value leaves its place and ends the statement.",
    "sql.comparison": "The value is a comparison of constants.",
    "sql.keywords": "Keywords stand in an order that statements have.",
    "sql.function_name": "A function of database servers is called in a text.",
    "sql.catalogue_name": "A table is named where a server keeps the names of what it keeps.",
    "sql.quote": "A quotation mark stands alone, which makes an error where values are not bound.",
}

_INTEREST: Final = frozenset("'\"`;=<>(/#*|&-!@{")
_WORDS: Final = (
    "union", "select", " or ", " and ", "order by", "group by", "having", "waitfor", "table", "insert", "delete", "update",
    "exec", "limit", " like ", "xor", "information_schema", "case",
)  # fmt: skip
_EXECUTABLE: Final = re.compile(
    r"/\*m?!\d{0,6}\s{0,8}(?:select|union|and|or|xor|from|where|order|group|having|limit|insert|update|delete|drop|if|case|sleep|"
    r"benchmark|into|all|distinct|like|procedure|concat)\b",
    re.IGNORECASE,
)


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether a mark, an operator or a keyword of SQL stands in the text."""
    return not _INTEREST.isdisjoint(specials) or any(word in lowered for word in _WORDS)


def signs(text: str, position: Position) -> Iterable[Sign]:
    """Judge the text in every place of a statement; the first strong sign is enough, else the weak ones."""
    weak: dict[str, Sign] = {}
    for spelling in respelled(text):
        for sign, strong in _judged(spelling, position):
            if strong:
                return [sign]
            weak.setdefault(sign.name, sign)
    for name, start, end in mentions(text, lower_case(text)):
        weak.setdefault(name, Sign(name, start, end))
    for quote in QUOTES:
        if text.count(quote) % 2:
            at = text.index(quote)
            weak.setdefault("sql.quote", Sign("sql.quote", at, at + 1))
    if "sql.words" in weak:
        weak.pop("sql.statement", None)
    return list(weak.values())


def _judged(text: str, position: Position) -> Iterator[Judged]:
    """Read the text in each place where it may stand."""
    executable = _EXECUTABLE.search(text) if "/*" in text else None
    if executable:
        yield Sign("sql.executable_comment", *executable.span()), True
    yield from quoted(text)
    if can_go_on(lower_case(text)):
        for begin in begins(text, position):
            yield from bare(text, begin)
