r"""Read one simple command as a shell would: quotes removed, noise undone, words split.

Noise is what a shell drops and a filter trips over: `w'h'o'am'i`, `\w\h\o`, `wh$@oami`, `cat${IFS}x`, `$'\x77'`, `{cat,x}`,
`c^m^d`. Nothing is evaluated but constants. POSIX.1-2017, Shell Command Language, 2.2, 2.3 and 2.6; Bash manual 3.1.2.4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LONGEST_COMMAND: Final = 4096
MOST_WORDS: Final = 24
_MOST_ALTERNATIVES: Final = 16

_CLOSING_TAG: Final = re.compile(r"</[A-Za-z][\w-]{0,32}>(?=\s|$)")
_PLAIN_RUN: Final = re.compile(r"""[^\s\\'"`$^{}()<>;|&#]+""")
_INTERNAL_FIELD_SEPARATOR: Final = re.compile(r"\$(?:IFS|\{IFS[^}]{0,32}\})(?:\$[0-9@*])?")
_VARIABLE: Final = re.compile(r"\$(?:[@*#?!$0-9_-]|[A-Za-z_]\w{0,64}|\{[^}\s]{0,128}\})")
_BRACES: Final = re.compile(r"\{([^{}\s;|&]{0,512})\}")
_ANSI_ESCAPE: Final = re.compile(r"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|u([0-9A-Fa-f]{1,4})|(.))", re.DOTALL)
_CONTROL: Final = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b", "f": "\f", "v": "\v"}
_WINDOWS_PATH: Final = re.compile(r"[A-Za-z]:|%\w+%|\\\\")
_ENDS: Final = frozenset(";|&\n\r)")


@dataclass(frozen=True, slots=True)
class Word:
    """One word after expansion, and how it was written."""

    text: str
    is_noisy: bool
    """Written with quotes, escapes or empty expansions inside, for no purpose but to look different."""
    is_quoted: bool
    has_expansion: bool
    is_target: bool
    """Of a redirection."""


@dataclass(frozen=True, slots=True)
class Command:
    """The words of one simple command and where it ends in the text."""

    words: tuple[Word, ...]
    end: int
    has_field_separator: bool
    """`$IFS` separated its words."""
    has_here_string: bool
    """`<<<` gives it its input."""


class _Reader:
    """Reads the words from one offset on."""

    def __init__(self, text: str, start: int, longest: int) -> None:
        self.text = text
        self.at = start
        self.stop = min(len(text), start + longest)
        self.words: list[Word] = []
        self.has_field_separator = False
        self.has_here_string = False
        self._follows_redirection = False
        self._begin()

    def _begin(self) -> None:
        self._pieces: list[str] = []
        self._is_open = False
        self._is_noisy = False
        self._is_quoted = False
        self._has_expansion = False

    def _finish(self) -> None:
        if self._is_open:
            text = "".join(self._pieces)
            is_target = self._follows_redirection
            self.words.append(Word(text, self._is_noisy, self._is_quoted, self._has_expansion, is_target))
            self._follows_redirection = False
        self._begin()

    def read(self) -> Command:
        """Read to the end of the command."""
        text = self.text
        while self.at < self.stop and len(self.words) < MOST_WORDS:
            char = text[self.at]
            plain = _PLAIN_RUN.match(text, self.at, self.stop)
            if plain:
                self._pieces.append(plain[0])
                self._is_open = True
                self.at = plain.end()
            elif char in " \t\x0b\x0c\xa0":
                self._finish()
                self.at += 1
            elif char in _ENDS:
                if char == "&" and self.words and text.startswith("&>", self.at):
                    self._redirect()
                    continue
                break
            elif not self._take(char):
                break
        self._finish()
        return Command(tuple(self.words), self.at, self.has_field_separator, self.has_here_string)

    def _take(self, char: str) -> bool:
        """Take what is not plain; False ends the command."""
        text, at = self.text, self.at
        if char in "\\^":
            self._escape(char)
        elif char in "'\"":
            self._quote(char)
        elif char == "$":
            return self._dollar()
        elif char == "`":
            if text.startswith("``", at):
                self._is_noisy = self._is_open or self._is_noisy
                self.at += 2
            else:
                return False
        elif char == "{":
            self._brace()
        elif char in "<>":
            if char == ">" and at and text[at - 1] in "-=":  # an arrow
                return False
            if char == "<" and _CLOSING_TAG.match(text, at):  # a shell would miss where the output goes
                return False
            self._redirect()
        elif char == "#":
            if not self._is_open:
                return False
            self._pieces.append(char)
            self.at += 1
        elif char == "(":
            if self._is_open or self.words:
                return self._call()
            self.at += 1
        elif char.isspace():
            self._finish()
            self.at += 1
        else:
            self._pieces.append(char)
            self._is_open = True
            self.at += 1
        return True

    def _call(self) -> bool:
        """A `(` after a word is no command line, unless it is PowerShell's argument."""
        if self._is_open:
            return False
        self._has_expansion = True
        self._is_open = True
        self.at += 1
        return True

    def _escape(self, char: str) -> None:
        following = self.text[self.at + 1 : self.at + 2]
        if char == "\\" and self._is_open and self._pieces and _WINDOWS_PATH.match(self._pieces[0]):
            self._pieces.append(char)
            self.at += 1
            return
        if char == "^" and not following.isalnum():
            self._pieces.append(char)
            self._is_open = True
            self.at += 1
            return
        if following not in ("\n", ""):
            # Before the first letter it may be one of TeX: `\\sum`.
            self._is_noisy = self._is_noisy or (self._is_open and following.isalnum())
            self._pieces.append(following)
            self._is_open = True
        self.at += 2

    def _quote(self, char: str) -> None:
        close = self.text.find(char, self.at + 1, self.stop)
        if close < 0:  # the quote that the injection leaves behind for the program's own
            self.at += 1
            return
        inside = self.text[self.at + 1 : close]
        following = self.text[close + 1 : close + 2]
        if (self._is_open and (inside or following.isalnum())) or (following.isalnum() and inside.isalnum()):
            self._is_noisy = True
        self._pieces.append(inside.replace("\\", "") if char == '"' else inside)
        self._is_open = self._is_quoted = True
        self.at = close + 1

    def _dollar(self) -> bool:
        text, at = self.text, self.at
        separator = _INTERNAL_FIELD_SEPARATOR.match(text, at, self.stop)
        if separator:
            self.has_field_separator = True
            self._finish()
            self.at = separator.end()
        elif text.startswith("$'", at):
            close = text.find("'", at + 2, self.stop)
            inside = text[at + 2 : close] if close > 0 else text[at + 2 : self.stop]
            self._pieces.append(_ANSI_ESCAPE.sub(_unescape, inside))
            self._is_open = self._is_noisy = self._is_quoted = True
            self.at = close + 1 if close > 0 else self.stop
        elif text.startswith('$"', at):
            self.at += 1
        elif text.startswith("$()", at):
            self._is_noisy = True
            self.at += 3
        elif text.startswith(("$(", "$["), at):
            self._has_expansion = True
            self._is_open = True
            close = text.find(")" if text[at + 1] == "(" else "]", at, self.stop)
            self.at = close + 1 if close > 0 else self.stop
        elif variable := _VARIABLE.match(text, at, self.stop):
            self._has_expansion = True
            if self._is_open and self._pieces and self._pieces[-1][-1:].isalpha():
                self._is_noisy = True
            if variable[0] in ("$SHELL", "${SHELL}", "$BASH", "${BASH}", "$0"):
                self._pieces.append("/bin/sh")
            elif variable[0] in ("$HOME", "${HOME}", "$PATH", "${PATH}", "$PWD", "${PWD}"):
                self._pieces.append(variable[0])
            self._is_open = True
            self.at = variable.end()
        else:
            self._pieces.append("$")
            self._is_open = True
            self.at += 1
        return True

    def _brace(self) -> None:
        braces = _BRACES.match(self.text, self.at, self.stop)
        if braces is None or "," not in braces[1]:
            if self._is_open or self.text[self.at + 1 : self.at + 2] not in (" ", "\t", "\n"):
                self._pieces.append("{")
                self._is_open = True
            self.at += 1
            return
        before = "".join(self._pieces)
        after = _PLAIN_RUN.match(self.text, braces.end(), self.stop)
        behind = after[0] if after else ""
        alternatives = braces[1].split(",", _MOST_ALTERNATIVES)[:_MOST_ALTERNATIVES]
        is_noisy = self._is_noisy or bool(before or behind) or "" in alternatives
        for piece in alternatives:
            bare = piece.strip("'\"$")
            if before or behind or bare:
                self.words.append(Word(f"{before}{bare}{behind}", is_noisy, piece != bare, False, False))  # noqa: FBT003 - the fields in order
        self.at = braces.end() + len(behind)
        self._begin()

    def _redirect(self) -> None:
        if self._is_open and "".join(self._pieces).isdigit():
            self._begin()
        self._finish()
        self.has_here_string = self.has_here_string or self.text.startswith("<<<", self.at)
        self._follows_redirection = True
        while self.at < self.stop and self.text[self.at] in "<>&-":
            self.at += 1
        if self.at < self.stop and self.text[self.at] == "(":
            self.at += 1


def _unescape(match: re.Match[str]) -> str:
    hexadecimal, octal, unicode, other = match.groups()
    if hexadecimal:
        return chr(int(hexadecimal, 16))
    if octal:
        return chr(int(octal, 8) & 0xFF)
    if unicode:
        return chr(int(unicode, 16))
    return _CONTROL.get(other, other)


def read_command(text: str, start: int, longest: int = LONGEST_COMMAND) -> Command:
    """Read the simple command at an offset, up to what ends it or to `longest` characters."""
    return _Reader(text, start, longest).read()
