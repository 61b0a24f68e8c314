"""SQL injection: a value that leaves its place in a statement and goes on as SQL (CWE-89, ASVS 5.0 1.2.4).

Judged is what a server would do with the value in each place it may stand in. An apostrophe proves nothing, nor does a keyword: what
follows the mark must be the rest of a statement. Statements that stand in prose, or that are the whole of a value, are weaker signs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.sign import Sign
from gateway.inspection.sql.continuation import Continuation, Ending, Fact, First, Reader
from gateway.inspection.sql.lexis import Kind
from gateway.inspection.sql.mentions import mentions
from gateway.inspection.sql.places import TYPOGRAPHIC, begins, exits, respelled

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

_QUOTES: Final = "'\"`"
_QUOTES_SET: Final = frozenset(_QUOTES)
_INTEREST: Final = frozenset("'\"`;=<>(/#*|&-!@{") | TYPOGRAPHIC
_WORDS: Final = (
    "union", "select", " or ", " and ", "order by", "group by", "having", "waitfor", "table", "insert", "delete", "update",
    "exec", "limit", " like ", "xor", "information_schema", "case",
)  # fmt: skip
_SIMPLE: Final = re.compile(r"[\w.@+\-]{0,64}").fullmatch
_COMPUTED: Final = re.compile(
    r"\s*(?:[-+*/%^|&<>=!~]{1,3}|like)\s*|\s*[+^|-]{1,2}\s*\(?[\w.]+\)?\s*[+^|-]{1,2}\s*", re.IGNORECASE
).fullmatch
_OPENING: Final = re.compile(r"[=+(,:\[{]\s{0,4}[a-zA-Z]{0,2}\Z")
"""What stands before a mark that opens a literal of some program: `sql += " and ..."`."""
_SHORT: Final = 3
"""Characters: of `'a`, of `or` and `and`."""
_WORD: Final = re.compile(r"\w+")
_EXECUTABLE: Final = re.compile(
    r"/\*m?!\d{0,6}\s{0,8}(?:select|union|and|or|xor|from|where|order|group|having|limit|insert|update|delete|drop|if|case|sleep|"
    r"benchmark|into|all|distinct|like|procedure|concat)\b",
    re.IGNORECASE,
)
_GOES_ON: Final = re.compile(
    r"[\s\x00-\x20\x7f-\xa0)]*+(?:[^\w\s)]|(?:or|and|xor|union|except|intersect|minus|like|rlike|ilike|regexp|glob|similar|sounds|is|isnull|notnull|"
    r"in|not|between|div|mod|collate|escape|order|group|having|limit|offset|where|into|procedure|waitfor|exec|execute|declare|drop|shutdown|"
    r"insert|update|delete|if|as|asc|desc|sleep|benchmark|pg_sleep|randomblob|n'|x'|b'|e'|for|fetch)(?![\w$])|\d+\.e(?!\w))",
    re.IGNORECASE,
)
"""What can follow the mark that ends a value in any statement; most apostrophes have a letter behind them."""
_BARE: Final = (
    "(", "or", "and", "union", "select", "||", "&&", ";", "having", "group", "limit", "into", "waitfor", "case", "@@", "::", "--",
    "exec", "drop", "insert", "delete", "update", "create", "alter", "truncate", "declare",
)  # fmt: skip
"""One of these stands in every text that is judged where it begins."""
_WHOLE_BUDGET: Final = 8_192
_LATER_BUDGET: Final = 256
"""Tokens that are read behind the first mark, and behind a later one."""
_MANY: Final = 2_048
"""Operators but commas, in what is too long to be read."""
_ALWAYS: Final = (
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
_ALONE: Final = 2
"""Operands: a call and its argument, as in code that somebody quotes."""
_SELECTED: Final = frozenset({Fact.TABLE, Fact.CALL, Fact.CASE})
"""What tells a SELECT in parentheses from a hint in a form: `(select 2)`."""
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
_JOINED: Final = (Fact.JOINED_NUMBER, Fact.JOINED_TEXT, Fact.JOINED_NAME)
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
    for name, start, end in mentions(text, text.lower()):
        weak.setdefault(name, Sign(name, start, end))
    for quote in _QUOTES:
        if text.count(quote) % 2:
            at = text.index(quote)
            weak.setdefault("sql.quote", Sign("sql.quote", at, at + 1))
    if "sql.words" in weak:
        weak.pop("sql.statement", None)
    return list(weak.values())


def _judged(text: str, position: Position) -> Iterator[tuple[Sign, bool]]:
    """Read the text in each place; each sign with whether it is strong."""
    executable = _EXECUTABLE.search(text) if "/*" in text else None
    if executable:
        yield Sign("sql.executable_comment", *executable.span()), True
    for quote in _QUOTES:
        if quote in text:
            for start, escapes, first in exits(text, quote):
                if _GOES_ON.match(text, start) is None:
                    continue
                reader = Reader(text, start, escapes=escapes, operand=False)
                seen = reader.read(_WHOLE_BUDGET if first else _LATER_BUDGET)
                yield from _quoted(text, start, seen) if first else _behind_later_mark(seen)
    lowered = text.lower()
    if any(word in lowered for word in _BARE):
        for begin in begins(text, position):
            yield from _bare(text, begin)


# --- between quotation marks


def _quoted(text: str, start: int, seen: Continuation) -> Iterator[tuple[Sign, bool]]:
    """Judge what follows the mark that ends a value between quotation marks."""
    opens = _OPENING.search(text, max(0, start - 8), start - 1) is not None
    for fact, name in _ALWAYS:
        if fact not in seen.facts or (fact is Fact.TAUTOLOGY and not _is_joined(seen)):
            continue
        if not opens or fact in _UNQUOTED or seen.first is First.SEMICOLON:
            yield Sign(name, *seen.facts[fact]), True
    if seen.ending is Ending.ENDLESS and seen.operators > _MANY:
        yield Sign("sql.endless", start, seen.stop), True
    if not seen.is_whole:
        return
    if opens:
        return
    for fact, name in _WHEN_WHOLE:
        if fact in seen.facts and (fact is not Fact.CONDITION or _is_joined(seen)):
            yield Sign(name, *seen.facts[fact]), True
    cuts = seen.ending is Ending.CUT and _says_nothing(text, seen.cut) and _is_cut(text, start, seen)
    yield from _left(text, start, seen, cuts=cuts)
    plain = _SIMPLE(text, 0, start - 1) is not None
    for fact in _JOINED:
        if fact in seen.facts:
            returns = (
                seen.ending is Ending.OPEN
                and "," not in text
                and (seen.operands > 1 or start > 1 or len(text) > seen.string + 1 or " " in text)
                and seen.first in (First.LOGICAL, First.CONCATENATION, First.COMPARISON)
                and (fact is Fact.JOINED_NUMBER or (plain and _is_short(text, start, seen)))
            )
            yield Sign("sql.tautology" if cuts or returns else "sql.joined", *seen.facts[fact]), cuts or returns
    if Fact.TERMINATED in seen.facts:
        ends = seen.comments > 0 or (
            text[start:].strip() == ";"
            and text[start - 2 : start - 1].isalnum()
            and _SIMPLE(text, 0, start - 1) is not None
        )
        yield Sign("sql.cut" if ends else "sql.terminated", *seen.facts[Fact.TERMINATED]), ends


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


def _left(text: str, start: int, seen: Continuation, *, cuts: bool) -> Iterator[tuple[Sign, bool]]:
    """Judge a value that leaves its place and does little more: a comment, a computation."""
    if seen.first in (First.NOTHING, First.COMMA, First.SEMICOLON) and seen.ending is Ending.CUT:
        yield Sign("sql.cut", start - 1, seen.stop) if cuts else Sign("sql.terminated", start - 1, seen.stop), cuts
    elif seen.first is First.CLAUSE and cuts:
        yield Sign("sql.ordering", start - 1, seen.stop), True
    elif seen.first in (First.ARITHMETIC, First.CONCATENATION, First.COMPARISON):
        returns = seen.ending is Ending.OPEN and _SIMPLE(text, 0, start - 1) is not None and _returns(text, start, seen)
        if cuts or returns:
            yield Sign("sql.arithmetic", start - 1, seen.stop), True


def _returns(text: str, start: int, seen: Continuation) -> bool:
    """Tell whether what is computed with ends in a string again, and is nothing that programs write between two strings."""
    if seen.numbers or Fact.CALL in seen.facts or Fact.TELLING in seen.facts:
        return True
    return _COMPUTED(text, start, seen.string) is not None and _SIMPLE(text, seen.string + 1) is not None


def _is_cut(text: str, start: int, seen: Continuation) -> bool:
    """Tell a comment that cuts off the rest from one that is quoted: `use "--" here`."""
    if seen.first is First.NOTHING and (seen.lines or text.startswith("//", seen.cut)):
        return False
    quoted = not _QUOTES_SET.isdisjoint(text[seen.cut :])
    return not quoted or (start > _SHORT and _SIMPLE(text, 0, start - 1) is not None)


def _says_nothing(text: str, comment: int) -> bool:
    """Tell whether a comment that cuts off the rest holds no words, as a dash or a number sign in prose would."""
    return _WORD.search(text, comment) is None


def _behind_later_mark(seen: Continuation) -> Iterator[tuple[Sign, bool]]:
    """Judge what follows a mark that is not the first."""
    if seen.ending in (Ending.CUT, Ending.OPEN):
        for fact, name in _LATER:
            if fact in seen.facts:
                yield Sign(name, *seen.facts[fact]), True


# --- bare


def _bare(text: str, begin: int) -> Iterator[tuple[Sign, bool]]:
    """Judge a value that stands where a number, a column or a direction stands."""
    escapes = "\\" in text
    seen = Reader(text, begin, escapes=escapes, operand=True).read(_WHOLE_BUDGET)
    if seen.ending is Ending.ENDLESS and seen.operators > _MANY:
        yield Sign("sql.endless", begin, seen.stop), True
    yield from _operand(text, seen)
    if seen.ending is Ending.ERROR and seen.operands == 0:
        seen = Reader(text, begin, escapes=escapes, operand=False).read(_WHOLE_BUDGET)
        if seen.first is not First.STRING:
            yield from _continued(text, seen)


def _operand(text: str, seen: Continuation) -> Iterator[tuple[Sign, bool]]:
    """Judge a text that begins with an operand, or is a statement."""
    facts = seen.facts
    if not facts.keys().isdisjoint((Fact.SELECT, Fact.SELECT_WORDS, Fact.STATEMENT)) or _selects_probe(text, seen):
        yield from _whole_statement(text, seen)
        return
    whole = seen.is_whole
    number = seen.left is Kind.NUMBER
    cuts = seen.ending is Ending.CUT and _says_nothing(text, seen.cut)
    for fact, name in _ALWAYS:
        if fact not in facts:
            continue
        strong = whole
        if fact is Fact.UNION_WORDS:
            strong = number or (whole and cuts)
        elif fact in (Fact.UNION, Fact.STACKED):
            strong = whole or number
        elif fact is Fact.DELAY:
            strong = whole and (cuts or seen.operands > _ALONE or not text.lstrip().startswith("sleep"))
        elif fact is Fact.TAUTOLOGY:
            strong = whole and (seen.first is not First.COMPARISON or cuts)
        elif fact is Fact.SUBQUERY:
            strong = whole and (number or seen.first is not First.NOTHING or not facts.keys().isdisjoint(_SELECTED))
        yield Sign(name if strong else "sql.words", *facts[fact]), strong
    if not whole:
        return
    for fact, name in ((Fact.SUBQUERY_WORDS, "sql.subquery"), (Fact.STACKED_WORDS, "sql.stacked")):
        if fact in facts:
            yield Sign(name, *facts[fact]), True
    if Fact.CONDITION in facts:
        strong = number and seen.first in (First.LOGICAL, First.CONCATENATION)
        yield Sign("sql.condition" if strong else "sql.words", *facts[Fact.CONDITION]), strong
    if Fact.ORDINAL in facts:
        yield Sign("sql.ordering" if number else "sql.words", *facts[Fact.ORDINAL]), number
    if Fact.CASE in facts:
        strong = number or text.lstrip().startswith("(")
        yield Sign("sql.choice" if strong else "sql.words", *facts[Fact.CASE]), strong
    if Fact.CALL in facts and (Fact.CAST in facts or Fact.TOLD in facts):
        yield Sign("sql.probe", *facts[Fact.CALL]), True
    for fact in _JOINED:
        if fact in facts:
            strong = number and (cuts or seen.comments > 0)
            yield Sign("sql.tautology" if strong else "sql.joined", *facts[fact]), strong
    if number and Fact.JOINED_TRUTH in facts:
        yield Sign("sql.tautology", *facts[Fact.JOINED_TRUTH]), True
    if seen.first is First.COMPARISON and not seen.names and seen.operands > 1:
        yield Sign("sql.tautology" if cuts else "sql.comparison", 0, seen.stop), cuts


def _selects_probe(text: str, seen: Continuation) -> bool:
    """Tell whether a text selects a function of the server by its mere name."""
    return Fact.PROBE_NAME in seen.facts and text.lstrip()[:6].lower() == "select"


def _whole_statement(text: str, seen: Continuation) -> Iterator[tuple[Sign, bool]]:
    """Judge a text that begins as a statement of its own."""
    whole = seen.is_whole
    facts = seen.facts
    cuts = seen.ending is Ending.CUT and Fact.TERMINATED in facts and _says_nothing(text, seen.cut)
    if whole and (cuts or any(fact in facts for fact in _TELLING_STATEMENT)):
        yield Sign("sql.statement_probe", 0, seen.stop), True
    yield Sign("sql.statement", 0, seen.stop), False


def _continued(text: str, seen: Continuation) -> Iterator[tuple[Sign, bool]]:
    """Judge a text that begins where an operator stands: what an application appends to a statement of its own."""
    facts = seen.facts
    if not seen.is_whole:
        return
    cuts = seen.ending is Ending.CUT and _says_nothing(text, seen.cut)
    for fact, name in _ALWAYS:
        if fact in facts:
            strong = fact is not Fact.UNION_WORDS or Fact.TABLE in facts or cuts
            if fact is Fact.STACKED and seen.first is not First.SEMICOLON:
                continue
            yield Sign(name if strong else "sql.words", *facts[fact]), strong
    for fact in (Fact.SUBQUERY_WORDS, Fact.STACKED_WORDS):
        if fact in facts:
            yield Sign("sql.stacked" if fact is Fact.STACKED_WORDS else "sql.subquery", *facts[fact]), True
    if Fact.JOINED_TRUTH in facts and cuts:
        yield Sign("sql.tautology", *facts[Fact.JOINED_TRUTH]), True
    for fact in (Fact.CONDITION, Fact.ORDINAL, Fact.CASE):
        if fact in facts:
            yield Sign("sql.condition" if cuts else "sql.words", *facts[fact]), cuts
    for fact in _JOINED:
        if fact in facts:
            yield Sign("sql.joined", *facts[fact]), False
