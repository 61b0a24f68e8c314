"""Whether a text is a program: what a JavaScript engine would run of it before it meets what no program holds.

No full grammar: two operands side by side on one line, or a character that no program holds, end the reading.
Sentences end it at their second word; that is what tells them from programs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gateway.inspection.script.lexer import Kind, Token, tokens
from gateway.inspection.script.names import (
    DIALOGUES,
    FILLED,
    HEADS,
    KEYWORDS,
    MEMBERS,
    MOVED,
    OF_DOCUMENT,
    ROOTS,
    RUNNERS,
    TIMERS,
)

_OPERANDS: Final = frozenset({Kind.WORD, Kind.NUMBER, Kind.STRING, Kind.TEMPLATE, Kind.REGEX})
_INFIX: Final = frozenset({"in", "of", "instanceof", "else", "while", "catch", "finally", "from", "as", "extends"})
_LINKS: Final = frozenset({")", "]", "(", ".", "?.", "["})
_PEOPLES: Final = frozenset({"self", "top", "parent", "this", "frames", "opener"})
_OWN: Final = frozenset({"fromCharCode", "getScript", "globalEval", "atob"})
_INDIRECT: Final = frozenset({"call", "apply", "bind"})
_WALKERS: Final = frozenset(
    {"some", "map", "find", "filter", "every", "forEach", "sort", "reduce", "findIndex", "call", "apply", "then"}
)
_CLOSERS: Final = frozenset({")", "]"})
_TOKENS: Final = 1_024
"""Who has read so many tokens has read a program: sentences are none for so long."""
_TRAIL: Final = 5
"""How many tokens a call looks back for its function's name."""
_PIECES: Final = 16
"""How many tokens a computed member's name is put together from."""


@dataclass(slots=True)
class Program:
    """What was read of a text as a program."""

    tokens: int = 0
    """How many, comments and line ends not among them."""
    calls: int = 0
    """Calls of any function: `name(`, `)(` or a tagged template."""
    assigns: int = 0
    runs: bool = False
    """It calls what runs, shows or sends, or reaches into the browser's objects."""
    shows: bool = False
    """It does so with one of the few that attacks begin with, or reads the cookies."""
    fills: bool = False
    """It writes into the page, or moves it."""
    hides: bool = False
    """It writes names with escapes, or computes members from pieces."""
    lines: int = 1
    is_broken: bool = False
    """No program any more from `end` on."""
    ends_in_comment: bool = False
    is_long: bool = False
    """It goes on, unbroken, beyond what is read."""
    is_open: bool = False
    """Its last string is not closed: the page's own quotation mark closes it."""
    end: int = 0

    @property
    def acts(self) -> bool:
        """It would do something, whatever that is."""
        return self.calls > 0 or self.assigns > 0


def program(text: str, start: int = 0, stop: int | None = None) -> Program:
    """Read `text` from `start` up to `stop` as statements of a program."""
    return _Reader(Program(end=start)).read(text if stop is None else text[:stop], start)


@dataclass(slots=True)
class _Reader:
    found: Program
    trail: list[Token] = field(default_factory=list)
    """The last tokens, without comments and line ends."""
    heads: list[bool] = field(default_factory=list)
    """For each open parenthesis: does the head of a statement stand in it?"""
    after_head: bool = False
    on_new_line: bool = True
    awaits_value: bool = False
    """`location=` stands here: an address or an object of the browser makes it the page's."""
    awaits_argument: bool = False
    """`alert(` stands here: one plain word after it may be people's, `alert (red)`."""
    awaits_code: bool = False
    """`setTimeout(` stands here: text after it is run, a function is what programs write."""
    pieces: list[Token] | None = None
    """What stands in the square brackets after one of the browser's objects, while they are open."""

    def read(self, text: str, start: int) -> Program:
        found = self.found
        for token in tokens(text, start):
            if token.kind is Kind.COMMENT:
                found.ends_in_comment = True
            elif token.kind is Kind.NEWLINE:
                found.lines += 1
                found.ends_in_comment = False
                self.on_new_line = True
            elif token.kind is Kind.STRAY or self._collides(token):
                found.is_broken = True
                break
            else:
                found.ends_in_comment = False
                self._take(token)
                if found.tokens >= _TOKENS:
                    found.is_long = True
                    break
        return found

    def _collides(self, token: Token) -> bool:
        """Tell whether no program holds `token` right after the one before it on the same line."""
        if not self.trail or self.on_new_line or token.kind not in _OPERANDS:
            return False
        before = self.trail[-1]
        if token.kind is Kind.TEMPLATE and (before.kind is Kind.WORD or before.text in _CLOSERS):
            return False  # a tagged template
        if token.kind is Kind.WORD and token.text in KEYWORDS:
            return before.kind is Kind.WORD and before.text not in KEYWORDS and token.text not in _INFIX
        if before.kind in _OPERANDS:
            return not (before.kind is Kind.WORD and before.text in KEYWORDS)
        return before.text in _CLOSERS and not self.after_head

    def _take(self, token: Token) -> None:
        found = self.found
        self._note(token)
        if token.kind is Kind.MARK and token.text == "(":
            self.heads.append(any(each.kind is Kind.WORD and each.text in HEADS for each in self.trail[-2:]))
            self.after_head = False
        elif token.kind is Kind.MARK and token.text == ")":
            self.after_head = self.heads.pop() if self.heads else False
        else:
            self.after_head = False
        self.on_new_line = False
        found.tokens += 1
        found.end = token.end
        found.is_open = not token.is_closed
        self.trail.append(token)
        if len(self.trail) > _TRAIL:
            del self.trail[0]

    def _note(self, token: Token) -> None:
        """Add what `token` tells after the tokens before it."""
        if token.is_escaped:
            self.found.hides = True
        if self.awaits_value or self.awaits_argument or self.awaits_code:
            self._note_awaited(token)
        self._note_piece(token)
        if token.kind is Kind.TEMPLATE:
            self._note_template(token)
        elif self.trail and token.kind is Kind.MARK:
            if token.text == "(":
                self._note_call()
            elif token.text == "=":
                self._note_assignment()
            elif token.text in {")", ";", "]", ","}:
                self._note_handed_on()
        elif self.trail and token.kind is Kind.WORD:
            self._note_member(token)

    def _note_call(self) -> None:
        found, before = self.found, self.trail[-1]
        if before.kind is Kind.MARK:
            if before.text not in {")", "]", "?."}:
                return
        elif before.kind is not Kind.WORD or (before.text in KEYWORDS and before.text != "import"):
            return
        found.calls += 1
        for index in range(len(self.trail) - 1, -1, -1):
            each = self.trail[index]
            if each.kind is Kind.WORD and each.text in TIMERS:
                self.awaits_code = True
            elif each.kind is Kind.WORD and each.text in RUNNERS:
                found.runs = True
                if each.text == "constructor" or (each.text in DIALOGUES and not self._is_anothers(index)):
                    # `alert.call(null, 1)`: nobody writes a name so.
                    found.shows = found.shows or before.text in _INDIRECT
                    self.awaits_argument = True
            elif each.kind is Kind.WORD:
                if each.text not in _INDIRECT:
                    return
            elif each.kind is not Kind.MARK or each.text not in _LINKS:
                return

    def _is_anothers(self, index: int) -> bool:
        """Tell a method of an object that is not the browser's: `dialogue.confirm('Sure?')`."""
        if index < 2 or self.trail[index - 1].text not in {".", "?."} or self.trail[index].text in _OWN:
            return False
        owner = self.trail[index - 2]
        return owner.kind is Kind.WORD and (owner.text not in ROOTS or owner.text in {"self", "this"})

    def _note_assignment(self) -> None:
        """`name =`: into the page (`innerHTML`), or to where it moves (`location`)."""
        before = self.trail[-1]
        self.found.assigns += before.kind is Kind.WORD or before.text == "]"
        if before.kind is not Kind.WORD:
            return
        owner = self.trail[-3] if len(self.trail) > 2 and self.trail[-2].text in {".", "?."} else None
        if owner is not None and before.text in FILLED:
            self.found.runs = self.found.fills = True
        elif before.text in MOVED or (
            owner is not None and (before.text, owner.text) in {("href", "location"), ("src", ")")}
        ):
            self.awaits_value = True

    def _note_awaited(self, token: Token) -> None:
        """Take the value or argument that was waited for: one of the browser's, or a plain word of people."""
        is_browsers = token.kind is Kind.WORD and (token.text in ROOTS or token.text in RUNNERS or token.text == "name")
        if self.awaits_argument:
            is_plain = token.kind is Kind.WORD and (not is_browsers or token.text in _PEOPLES)
            self.found.shows = self.found.shows or not (is_plain or token.text == ")")
        elif self.awaits_code:
            if is_browsers or token.kind in {Kind.STRING, Kind.TEMPLATE}:
                self.found.runs = self.found.shows = True
        elif (
            (is_browsers and token.text != "location")
            or token.text == "/"
            or (token.kind in {Kind.STRING, Kind.TEMPLATE, Kind.REGEX} and ("/" in token.text or ":" in token.text))
        ):
            self.found.runs = self.found.fills = True
        self.awaits_argument = self.awaits_code = self.awaits_value = False

    def _note_handed_on(self) -> None:
        """`some(confirm)`, `=alert;`: a function of the browser handed on as a value."""
        if len(self.trail) < 2 or self.found.tokens <= 2:
            return
        before, function = self.trail[-2:]
        if function.kind is not Kind.WORD or before.text not in {"(", "=", ",", "["}:
            return
        # Programs of people ask with a `prompt` as well: `input(prompt)`.
        is_walked = function.text in DIALOGUES and len(self.trail) > 2 and self.trail[-3].text in _WALKERS
        if is_walked or function.text in {"alert", "eval"}:
            self.found.runs = self.found.shows = True

    def _note_member(self, token: Token) -> None:
        if self.trail[-1].text not in {".", "?."} or len(self.trail) < 2:
            return
        root = self.trail[-2].text
        if token.text in (OF_DOCUMENT if root == "document" else MEMBERS.get(root, ())):
            self.found.runs = True
            if root == "document" and token.text in {"cookie", "domain", "write", "writeln"}:
                self.found.shows = True

    def _note_template(self, token: Token) -> None:
        before = self.trail[-1] if self.trail else None
        if before is not None and (before.kind is Kind.WORD or before.text in _CLOSERS):
            self.found.calls += 1
            if before.kind is Kind.WORD and (
                before.text in DIALOGUES or before.text in {"call", "apply", "constructor"}
            ):
                self.found.runs = self.found.shows = True
        if "${" in token.text and any(
            name in token.text for name in ("alert", "eval", "confirm", "prompt", "document")
        ):
            self.found.runs = self.found.shows = True

    def _note_piece(self, token: Token) -> None:
        """Follow what stands in `window[...]`: a name put together from pieces, or one worth reaching."""
        if self.pieces is not None:
            if token.kind is Kind.MARK and token.text == "]":
                self._note_computed(self.pieces)
                self.pieces = None
            elif len(self.pieces) < _PIECES:
                self.pieces.append(token)
        elif token.kind is Kind.MARK and token.text == "[" and self._follows_root():
            self.pieces = []

    def _follows_root(self) -> bool:
        for each in reversed(self.trail):
            if each.kind is Kind.WORD:
                return each.text in ROOTS
            if each.text not in {")", "?."}:
                return False
        return False

    def _note_computed(self, pieces: list[Token]) -> None:
        found = self.found
        parts = [each for each in pieces if each.kind in {Kind.STRING, Kind.REGEX, Kind.TEMPLATE}]
        name = "".join(each.text.strip("\"'`/") for each in parts)
        if len(parts) > 1 or "\\" in name:
            found.runs = found.shows = found.hides = True
        elif name in RUNNERS or name in OF_DOCUMENT or name == "$":
            found.runs = found.shows = True
