"""Look at what comes next, and step back: what tells SQL from prose that begins like it."""

from __future__ import annotations

from typing import Final

from gateway.inspection.sql.lexis import Kind, Lexer
from gateway.inspection.sql.words import LITERALS

_PLURALS: Final = frozenset({"s", "es", "en", "ies", "er", "e", "n", "r", "in", "nen", "x"})
_LONGEST_PLURAL: Final = 4
"""Characters, with the parenthesis behind it."""


def is_called(lexer: Lexer) -> bool:
    """Tell whether an opening parenthesis comes next."""
    behind = lexer.position
    called = lexer.next().word == "("
    lexer.position = behind
    return called


def is_plural(lexer: Lexer) -> bool:
    """Tell whether the only argument is a plural's ending, as in `guest(s)`."""
    ahead = lexer.text[lexer.position : lexer.position + _LONGEST_PLURAL]
    return ahead.lower().partition(")")[0] in _PLURALS


def is_nested(lexer: Lexer) -> bool:
    """Tell whether the first argument is itself a call: `sleep(mod(10, 5))`."""
    behind = lexer.position
    word = lexer.next()
    nested = word.kind is Kind.WORD and (word.word in ("select", "case") or lexer.next().word == "(")
    lexer.position = behind
    return nested


def is_text(lexer: Lexer) -> bool:
    """Tell whether a literal comes next: PostgreSQL's `?` asks for one, a sentence's does not."""
    behind = lexer.position
    token = lexer.next()
    lexer.position = behind
    return token.kind in (Kind.STRING, Kind.OPEN_STRING) or token.word == "array"


def is_procedure(lexer: Lexer) -> bool:
    """Tell whether EXEC is followed by what no sentence and no shell has there: `xp_...`, `a.b`, a parenthesis, a variable."""
    behind = lexer.position
    name = lexer.next()
    fits = name.kind is Kind.VARIABLE or name.word == "(" or name.word.startswith(("xp_", "sp_"))
    fits = fits or (name.kind is Kind.WORD and lexer.next().word == ".")
    lexer.position = behind
    return fits


def is_compared(lexer: Lexer, operator: str) -> bool:
    """Tell whether what follows is compared with, not talked of: `like these`, `in stock (new)`, `is fine` are prose.

    Leaves the lexer behind the NOT of IS NOT.
    """
    behind = lexer.position
    following = lexer.next()
    if operator == "is" and following.word == "not":
        behind = lexer.position
        following = lexer.next()
    if following.kind is Kind.WORD and following.word in ("binary", "all", "any", "some", "array"):
        following = lexer.next()
    fits = following.kind is not Kind.WORD and (
        operator != "in" or following.kind not in (Kind.STRING, Kind.OPEN_STRING)
    )
    if following.kind is Kind.WORD:
        fits = following.word in LITERALS or following.word in ("distinct", "json") or lexer.next().word in ("(", ".")
    elif operator == "in" and following.word == "(":
        inner = lexer.next()
        fits = inner.kind is not Kind.WORD or inner.word in ("select", "null") or lexer.next().word == "("
    lexer.position = behind
    return fits
