"""The tokens of SQL, read one at a time from any place of a text, as MySQL, PostgreSQL, SQL Server, Oracle and SQLite read it.

Where servers differ, what reads more of an attack is taken: `#` and `--x` begin a comment, `/*!50000 ... */` is code (MySQL),
`//` cuts off (Cypher, script), `1.e` before a name is nothing (MySQL), control characters and no-break spaces are white (SQL Server, Oracle).
Never more than one pass over the text: a comment or a string that is not closed ends it.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final, NamedTuple


class Kind(IntEnum):
    """What a token is."""

    END = 0
    NUMBER = 1
    STRING = 2
    """A literal that is closed in the text."""
    OPEN_STRING = 3
    """A literal that runs to the end of the text: the quotation mark of the place closes it."""
    NAME = 4
    """A quoted identifier."""
    WORD = 5
    """An identifier or a keyword, in lower case."""
    VARIABLE = 6
    """`@x`, `@@version`, `:name`, `$1`."""
    OPERATOR = 7
    MARK = 8
    """One of `( ) , ; . { } [ ]`."""
    CUT = 9
    """A comment that runs to the end of the text."""
    FOREIGN = 10
    """Something that is in no SQL."""


class Token(NamedTuple):
    """One token: `word` is its text in lower case where it matters (words, operators, marks)."""

    kind: Kind
    word: str
    start: int
    end: int


_WHITE: Final = re.compile(r"[\s\x00-\x20\x7f-\xa0\u200b-\u200f\u2060\ufeff]*")
_NOTHING: Final = re.compile(r"\d+\.e(?=[.\s(),*]|$)", re.IGNORECASE)
"""`1.e(`: MySQL's lexer drops it."""
_EXECUTABLE: Final = re.compile(r"/\*m?!\d{0,6}", re.IGNORECASE)
_NUMBER: Final = re.compile(r"0x[0-9a-f]*+|(?:\d++(?:\.\d*+)?+|\.\d++)(?:e[+-]?\d++)?+", re.IGNORECASE)
_AFTER_NUMBER: Final = re.compile(
    r"(?:or|and|xor|union|like|is|in|between|div|mod|order|limit|having|group|into|waitfor|select|from|procedure|rlike|regexp)(?![\w$])",
    re.IGNORECASE,
)
"""What may follow the digits of a number at once (`1or 1=1`); other letters make an identifier of them (MySQL)."""
_WORD: Final = re.compile(r"[^\W\d][\w$]*|\d[\w$]*")
_INTRODUCER: Final = re.compile(r"(?:n|x|b|e|r|u&|q|_[a-z]\w{1,15})(?=')", re.IGNORECASE)
_VARIABLE: Final = re.compile(r"@@?[\w$]+|@@?(?=['\"`])|@@?|:[^\W\d]\w*|\$\d+", re.IGNORECASE)
_DOLLAR: Final = re.compile(r"\$(?:[^\W\d]\w{0,62})?\$")
_OPERATOR: Final = re.compile(
    r"<=>|===?|<=|>=|<>|!=|!<|!>|\^=|\|\||&&|<<|>>|::|:=|@>|<@|->>?|#>>?|\?[|&]?|!?~~?\*?|\*=|[=<>+\-*/%^|&!]"
)
_MARKS: Final = frozenset("(),;.{}[]")
_STRING: Final = {
    (quote, escaped): re.compile(
        f"{quote}(?:[^{quote}\\\\]|{quote}{quote}|\\\\.)*+{quote}"
        if escaped
        else f"{quote}(?:[^{quote}]|{quote}{quote})*+{quote}",
        re.DOTALL,
    )
    for quote in "'\"`"
    for escaped in (False, True)
}


class Lexer:
    """Reads tokens forward from a place of a text."""

    __slots__ = ("comments", "escapes", "lines", "position", "text")

    def __init__(self, text: str, position: int, *, escapes: bool) -> None:
        """Begin at `position`; `escapes`: a backslash in a string escapes what follows (MySQL, PostgreSQL's E'')."""
        self.text = text
        self.position = position
        self.escapes = escapes
        self.comments = 0
        """How many comments were closed between tokens."""
        self.lines = 0
        """How many comments ended with their line."""

    def next(self) -> Token:
        """Read the next token; END for ever at the end of the text."""
        text = self.text
        size = len(text)
        position = self.position
        while True:
            white = _WHITE.match(text, position)
            position = white.end() if white else position
            if position >= size:
                return self._token(Kind.END, "", position, position)
            letter = text[position]
            if letter == "/" and text.startswith("/*", position):
                code = _EXECUTABLE.match(text, position)
                self.comments += 1
                if code:
                    position = code.end()
                    continue
                close = text.find("*/", position + 2)
                if close < 0:
                    return self._token(Kind.CUT, "/*", position, size)
                position = close + 2
                continue
            if letter == "/" and text.startswith("//", position):
                return self._token(Kind.CUT, letter, position, size)
            if letter == "*" and text.startswith("*/", position):
                position += 2
                continue
            if (letter == "-" and text.startswith("--", position)) or (
                letter == "#" and not text.startswith(("#>", "#-"), position)
            ):
                line = text.find("\n", position)
                rest = _WHITE.match(text, line) if line >= 0 else None
                if rest is None or rest.end() == size:
                    return self._token(Kind.CUT, letter, position, size)
                position = line
                self.lines += 1
                continue
            nothing = _NOTHING.match(text, position) if letter.isdigit() else None
            if nothing is None:
                return self._read(text, position, letter)
            position = nothing.end()

    def _read(self, text: str, position: int, letter: str) -> Token:
        """Read the token that begins at `position`, which is no space and no comment."""
        if letter in "'\"`":
            return self._string(position, position, letter)
        if letter.isdigit() or (letter == "." and text[position + 1 : position + 2].isdigit()):
            return self._number(text, position)
        if letter == "\\" and text[position + 1 : position + 2] in ("n", "N"):
            return self._token(Kind.NUMBER, "", position, position + 2)
        if letter in _MARKS:
            return self._token(Kind.MARK, letter, position, position + 1)
        if letter.isalpha() or letter == "_":
            introducer = _INTRODUCER.match(text, position)
            if introducer:
                return self._string(position, introducer.end(), "'")
            word = _WORD.match(text, position)
            end = word.end() if word else position + 1
            return self._token(Kind.WORD, text[position:end].lower(), position, end)
        if letter == "$":
            dollar = _DOLLAR.match(text, position)
            if dollar:
                close = text.find(dollar.group(), dollar.end())
                if close < 0:
                    return self._token(Kind.OPEN_STRING, "$", position, len(text))
                return self._token(Kind.STRING, "$", position, close + len(dollar.group()))
        operator = _OPERATOR.match(text, position)
        if operator:
            return self._token(Kind.OPERATOR, operator.group(), position, operator.end())
        variable = _VARIABLE.match(text, position)
        if variable:
            return self._token(Kind.VARIABLE, variable.group().lower(), position, variable.end())
        return self._token(Kind.FOREIGN, letter, position, position + 1)

    def _string(self, start: int, position: int, quote: str) -> Token:
        """Read the literal whose opening mark stands at `position`; an introducer (`N'...'`) begins at `start`."""
        closed = _STRING[quote, self.escapes].match(self.text, position)
        if closed is None:
            return self._token(Kind.OPEN_STRING, quote, start, len(self.text))
        return self._token(Kind.NAME if quote == "`" else Kind.STRING, quote, start, closed.end())

    def _number(self, text: str, position: int) -> Token:
        """Read a number, or the identifier that begins with digits."""
        number = _NUMBER.match(text, position)
        end = number.end() if number else position + 1
        if end < len(text) and (text[end].isalpha() or text[end] == "_") and not _AFTER_NUMBER.match(text, end):
            word = _WORD.match(text, position)
            if word and word.end() > end:
                return self._token(Kind.WORD, word.group().lower(), position, word.end())
        return self._token(Kind.NUMBER, "", position, end)

    def _token(self, kind: Kind, word: str, start: int, end: int) -> Token:
        """Give the token out and stand behind it."""
        self.position = end
        return Token(kind, word, start, end)
