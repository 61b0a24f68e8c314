"""Tokens of JavaScript (ECMA-262 chapter 12), as far as telling a program from prose needs them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import Final, NamedTuple


class Kind(Enum):
    """What a token is."""

    WORD = auto()
    NUMBER = auto()
    STRING = auto()
    TEMPLATE = auto()
    REGEX = auto()
    MARK = auto()
    COMMENT = auto()
    NEWLINE = auto()
    STRAY = auto()
    """A character that no program holds outside of strings and comments."""


class Token(NamedTuple):
    """One token; `text` as written, escapes in names resolved."""

    kind: Kind
    text: str
    start: int
    end: int
    is_closed: bool = True
    """False for a string, template or block comment that the text does not end."""
    is_escaped: bool = False
    """A name written with `\\u` escapes: nobody does so who does not hide it."""


# Each alternative begins with characters of its own and none backtracks over another's: linear.
_TOKEN: Final = re.compile(
    r"(?P<space>[ \t\x0b\f\0\xa0\u200b-\u200d\ufeff]+)"
    r"|(?P<newline>[\r\n\u2028\u2029]+)"
    r"|(?P<line>//[^\r\n\u2028\u2029]*|<!--[^\r\n]*)"
    r"|(?P<block>/\*[^*]*(?:\*(?!/)[^*]*)*(?:\*/)?)"
    r"|(?P<string>\"[^\"\\\n]*(?:\\.[^\"\\\n]*)*(?:\"|\\?(?=\n)|\\?\Z)|'[^'\\\n]*(?:\\.[^'\\\n]*)*(?:'|\\?(?=\n)|\\?\Z))"
    r"|(?P<template>`[^`\\]*(?:\\.[^`\\]*)*(?:`|\\?\Z))"
    r"|(?P<word>(?:[A-Za-z_$]|[^\W\d]|\\u\{?[0-9a-fA-F]{2,6}\}?)(?:[\w$]|\\u\{?[0-9a-fA-F]{2,6}\}?)*)"
    r"|(?P<number>\d[\w.]*)"
    r"|(?P<mark>=>|\?\.(?!\d)|\.\.\.|&&|\|\||\?\?|\+\+|--|[=!]==?|[-+*%&|^<>]=|<<|>>|[-+*/%&|^<>=!~?:;,.()\[\]{}])",
    re.DOTALL,
)
_REGEX: Final = re.compile(r"/(?![/*\s])(?:[^/\\\r\n]|\\[^\r\n]){1,128}/[a-z]{0,8}(?![\w$])")
_ESCAPED: Final = re.compile(r"\\u\{?([0-9a-fA-F]{2,6})\}?")
# After these words a slash begins a regular expression.
_BEFORE_REGEX: Final[frozenset[str]] = frozenset(
    {"return", "typeof", "instanceof", "in", "of", "new", "delete", "void", "throw", "case", "do", "else", "yield"}
)


def tokens(text: str, start: int = 0) -> Iterator[Token]:
    """Yield the tokens of `text` from `start` on, comments and line ends among them, spaces not."""
    at, length = start, len(text)
    before: Token | None = None
    while at < length:
        if text[at] == "/" and _may_begin_regex(before) and (regex := _REGEX.match(text, at)) is not None:
            token = Token(Kind.REGEX, regex[0], at, regex.end())
        else:
            match = _TOKEN.match(text, at)
            if match is None:
                token = Token(Kind.STRAY, text[at], at, at + 1)
            elif match.lastgroup == "space":
                at = match.end()
                continue
            else:
                token = _token(match)
        yield token
        if token.kind is not Kind.COMMENT:
            before = token
        at = token.end


def _may_begin_regex(before: Token | None) -> bool:
    if before is None or before.kind is Kind.NEWLINE:
        return True
    if before.kind is Kind.MARK:
        return before.text not in {")", "]", "}"}
    return before.kind is Kind.WORD and before.text in _BEFORE_REGEX


def _token(match: re.Match[str]) -> Token:
    text, start, end = match[0], match.start(), match.end()
    match match.lastgroup:
        case "newline":
            return Token(Kind.NEWLINE, text, start, end)
        case "line":
            return Token(Kind.COMMENT, text, start, end)
        case "block":
            return Token(Kind.COMMENT, text, start, end, is_closed=text.endswith("*/"))
        case "string":
            return Token(Kind.STRING, text, start, end, is_closed=_is_closed(text))
        case "template":
            return Token(Kind.TEMPLATE, text, start, end, is_closed=_is_closed(text))
        case "word":
            if "\\" in text:
                return Token(Kind.WORD, _ESCAPED.sub(_character, text), start, end, is_escaped=True)
            return Token(Kind.WORD, text, start, end)
        case "number":
            return Token(Kind.NUMBER, text, start, end)
        case _:
            return Token(Kind.MARK, text, start, end)


def _is_closed(text: str) -> bool:
    """Tell whether a literal ends with its own mark, and not with that mark escaped."""
    within = text[1:-1]
    escapes = len(within) - len(within.rstrip("\\"))
    return len(text) > 1 and text[-1] == text[0] and escapes % 2 == 0


def _character(match: re.Match[str]) -> str:
    point = int(match[1], 16)
    return chr(point) if point <= 0x10FFFF else "\ufffd"
