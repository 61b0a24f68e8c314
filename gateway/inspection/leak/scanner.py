"""Looks through one body as it streams by, and masks or stops what must not pass.

Only what may still become a sighting is held back: a few bytes of most texts, some thousand at the most. What comes out, and
what is sighted, depends on the text alone and not on how it was cut into pieces.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from gateway.inspection.leak.card import COLUMNS, HEADING_BYTES
from gateway.inspection.leak.detectors import detectors_for, kinds_of
from gateway.inspection.leak.pattern import Lines, Pattern
from gateway.inspection.leak.reading import LOOK_BACK, MASK, MASK_NUMBER, Found, Hold, Skip, Tail, Text
from gateway.inspection.leak.sighting import Action, Report, digest_of
from gateway.inspection.leak.text_form import (
    MARK_BYTES,
    UTF_16_UNIT,
    Markup,
    TextForm,
    of_form,
    of_utf_16,
    open_escape,
    with_mark,
)

_TAIL_WINDOW: Final = 1_024
"""How far from its end a text is looked at for what may begin there."""
_BLANKS: Final = frozenset(b" \t\r\n\x01")
"""What a mask leaves as it is."""
_BLANK: Final = re.compile(rb"[ \t\r\n\x01]").search


class _Cover(NamedTuple):
    """What is masked: from, to, with what."""

    start: int
    end: int
    mask: int


class _Value:
    """A value that is still arriving: its digest, and how much more of it may follow."""

    def __init__(self, found: Found, tail: Tail, key: bytes) -> None:
        self.kind = found.kind.value
        self.tail = tail
        self.left = tail.most_bytes
        self._digest = hmac.new(key, self.kind.encode() + b"\0" + found.value, "sha256")

    def take(self, more: bytes) -> None:
        """Add to the value."""
        self.left -= len(more)
        self._digest.update(more)

    def digest(self) -> str:
        """Name the whole value, as `digest_of` does."""
        return self._digest.digest()[:8].hex()


class Scanner:
    """Looks through one body. Not to be used for a second one."""

    def __init__(
        self, form: TextForm, actions: Mapping[str, Action], *, key: bytes, patterns: tuple[Pattern, ...] = ()
    ) -> None:
        """Look for what `actions` names, kinds and patterns; `key` makes the digests, and is nobody else's."""
        self._form = form
        self._actions = {kind: action for kind, action in actions.items() if action is not Action.ALLOW}
        self._key = key
        self._detectors = detectors_for(kinds_of(self._actions))
        self._lines = Lines(tuple(pattern for pattern in patterns if pattern.name in self._actions))
        self._has_patterns = any(pattern.name in self._actions for pattern in patterns)
        self.report = Report()
        self.asked = 0
        """How often something seemed to begin: what a look costs, beside the length of the text."""
        self._head = b""
        self._has_started = False
        self._raw = b""
        self._data = b""
        """What the text says, a byte for each unit: `LOOK_BACK` bytes that have left, and what is held."""
        self._from = 0
        """Offset in `_data` of the first byte that has not left."""
        self._at = 0
        """Offset up to which everything has been sighted."""
        self._line = 0
        """Offset of the next piece for the patterns."""
        self._covers: list[_Cover] = []
        self._value: _Value | None = None
        self._heading: int | None = None
        """Offset of the first heading that speaks of card numbers; below 0 once it has left."""
        self._quoted_to = 0
        """Offset up to which the quotation marks of a JSON text were followed."""
        self._is_in_string = False
        self._is_escaped = False
        self._stop: int | None = None
        self._is_stopped = False

    @property
    def is_stopped(self) -> bool:
        """Whether something was sighted that must not pass: what comes out ends before it."""
        return self._is_stopped

    @property
    def held(self) -> int:
        """Bytes that went in and have not come out."""
        return len(self._head) + len(self._raw)

    def feed(self, data: bytes) -> bytes:
        """Take a piece of the body; return what of the body may leave."""
        if self._is_stopped:
            return b""
        if not self._has_started:
            self._head += data
            if len(self._head) < MARK_BYTES:
                return b""
            data = self._start()
        return self._push(data, is_whole=False)

    def settle(self) -> bytes:
        """Return what is held: nothing of what follows goes on with it, as behind an event of a stream."""
        return self._push(b"", is_whole=True) if self._has_started and not self._is_stopped else b""

    def finish(self) -> bytes:
        """End the body; return the rest of it."""
        if self._is_stopped:
            return b""
        return self._push(b"" if self._has_started else self._start(), is_whole=True)

    def _start(self) -> bytes:
        self._form = with_mark(self._form, self._head[:MARK_BYTES])
        self._has_started = True
        data, self._head = self._head, b""
        return data

    def _push(self, data: bytes, *, is_whole: bool) -> bytes:
        read = self._take(data, is_whole=is_whole)
        self._data += read
        if self._detectors:
            self._sight(is_whole=is_whole)
        else:
            self._at = len(self._data)
        if self._has_patterns:
            self._match(is_whole=is_whole)
        else:
            self._line = len(self._data)
        upto = len(self._data) if is_whole else min(self._at, self._line)
        if self._stop is not None and self._stop <= upto:
            self._is_stopped = True
            upto = max(self._stop, self._from)
        return self._release(upto, is_whole=is_whole and not self._is_stopped)

    def _take(self, data: bytes, *, is_whole: bool) -> bytes:
        """Add to what is held, and return what it says."""
        form = self._form
        fresh = len(self._raw) - form.unit * (len(self._data) - self._from)
        self._raw += data
        arrived = self._raw[len(self._raw) - len(data) - fresh :]
        if form.unit == UTF_16_UNIT:
            return of_utf_16(arrived[: len(arrived) // 2 * 2], is_big_endian=form.is_big_endian)
        if form.markup is Markup.FORM:
            cut = 0 if is_whole else open_escape(arrived)
            return of_form(arrived[: len(arrived) - cut])
        return arrived

    def _sight(self, *, is_whole: bool) -> None:
        """Go on with what begins in the text, up to what may begin at its end."""
        data = self._data
        self._look_for_heading()
        end = len(data) if is_whole else -1
        while True:
            if self._value is not None and not self._follow(self._value, is_whole=is_whole):
                return
            if end < self._at and not is_whole:
                end = self._opening()
            begun = self._detectors.trigger.search(data, self._at)
            if begun is None or begun.start() >= end:
                self._at = max(self._at, end)
                return
            at = begun.start()
            text = Text(data, is_whole, self._form.markup, self._heading is not None and self._heading < at)
            self.asked += 1
            match self._detectors.read(text, at, begun[0]):
                case Hold():
                    self._at = at
                    return
                case Skip(resume):
                    self._at = max(resume, at + 1)
                case Found() as found:
                    self._note(found)
                    self._at = found.end

    def _opening(self) -> int:
        """Find where something may begin that the end of the text cuts off."""
        found = self._detectors.opening.search(self._data, max(self._at, len(self._data) - _TAIL_WINDOW))
        return len(self._data) if found is None else found.start()

    def _look_for_heading(self) -> None:
        if self._heading is None and self._detectors.heading is not None and self._form.markup in COLUMNS:
            found = self._detectors.heading.search(self._data, max(0, self._at - HEADING_BYTES))
            self._heading = None if found is None else found.start()

    def _note(self, found: Found) -> None:
        kind = found.kind.value
        action = self._actions[kind]
        if found.tail is not None and action is not Action.BLOCK:
            self._value = _Value(found, found.tail, self._key)
        else:
            self.report.note(kind, action, digest_of(self._key, kind, found.value))
        if action is Action.BLOCK:
            self._stop_at(found.start)
        elif action is Action.MASK:
            mask = MASK_NUMBER if found.is_number and self._is_bare(found) else MASK
            self._covers.extend(_Cover(start, end, mask) for start, end in found.masks)

    def _stop_at(self, start: int) -> None:
        self._stop = start if self._stop is None else min(self._stop, start)

    def _follow(self, value: _Value, *, is_whole: bool) -> bool:
        """Go on with a value that has not ended. Returns whether it has now."""
        data, at = self._data, self._at
        limit = at + value.left
        stop = value.tail.stop
        stopped = data.find(stop, at, limit) if stop else -1
        # attack: keys without end, each of which would be read through all that follow it
        run = value.tail.run.match(data, at, limit if stopped < 0 else stopped)
        end = at if run is None else run.end()
        has_ended = is_whole or end in (limit, stopped) or data[end : end + 2] not in _MAY_GO_ON
        if stop and not has_ended:
            end -= _common(data[max(at, end - len(stop)) : end], stop)
        value.take(data[at:end])
        if self._actions[value.kind] is Action.MASK:
            self._covers.append(_Cover(at, end, MASK))
        self._at = end
        if has_ended:
            self.report.note(value.kind, self._actions[value.kind], value.digest())
            self._value = None
        return has_ended

    def _is_bare(self, found: Found) -> bool:
        """Tell whether a number stands where a program reads it as one."""
        match self._form.markup:
            case Markup.JSON:
                self._follow_quotes(found.start)
                return not self._is_in_string
            case Markup.SCRIPT:
                before = self._data[max(0, found.start - LOOK_BACK) : found.start].rstrip(b" \t\r\n")
                after = self._data[found.end : found.end + LOOK_BACK].lstrip(b" \t")
                return before[-1:] in _BEFORE_NUMBER and after[:1] in _AFTER_NUMBER
            case _:
                return False

    def _follow_quotes(self, upto: int) -> None:
        """Go on with the quotation marks of a JSON text; each is looked at once, however many numbers stand in it."""
        if upto > self._quoted_to:
            quoted = _quoted(self._data[self._quoted_to : upto], self._is_in_string, self._is_escaped)
            self._is_in_string, self._is_escaped = quoted
            self._quoted_to = upto

    def _match(self, *, is_whole: bool) -> None:
        """Look through the lines that are complete for the operator's patterns."""
        self._line, hits = self._lines.read(self._data, self._line, is_whole=is_whole)
        for hit in hits:
            action = self._actions[hit.name]
            self.report.note(hit.name, action, digest_of(self._key, hit.name, self._data[hit.start : hit.end]))
            if action is Action.BLOCK:
                self._stop_at(hit.start)
            elif action is Action.MASK:
                self._covers.append(_Cover(hit.start, hit.end, MASK))

    def _release(self, upto: int, *, is_whole: bool) -> bytes:
        """Let the text leave up to this offset, with what is covered of it."""
        unit = self._form.unit
        if upto == self._from and not is_whole:
            return b""
        leaving = self._data[self._from : upto]
        count = len(self._raw) if is_whole else unit * len(leaving)
        out, self._raw = self._raw[:count], self._raw[count:]
        if self._covers:
            out = self._covered(out, upto)
        if self._form.markup is Markup.JSON:
            self._follow_quotes(upto)
        cut = max(0, upto - LOOK_BACK)
        self._data = self._data[cut:]
        self._from = upto - cut
        self._at -= cut
        self._line -= cut
        self._quoted_to -= cut
        self._lines.move(cut)
        self._covers = [_Cover(max(0, start - cut), end - cut, mask) for start, end, mask in self._covers if end > upto]
        if self._stop is not None:
            self._stop -= cut
        if self._heading is not None:
            self._heading -= cut
        return out

    def _covered(self, out: bytes, upto: int) -> bytes:
        unit = self._form.unit
        masked = bytearray(out)
        for start, end, mask in self._covers:
            first, last = max(start, self._from), min(end, upto)
            if unit == 1 and first < last and not _BLANK(self._data, first, last):
                masked[first - self._from : last - self._from] = bytes((mask,)) * (last - first)
                continue
            for offset in range(first, last):
                if self._data[offset] in _BLANKS:
                    continue
                place = unit * (offset - self._from)
                masked[place : place + unit] = mask.to_bytes(unit, "big" if self._form.is_big_endian else "little")
        return bytes(masked)


_MAY_GO_ON: Final = (b"", b"\\")
"""What the end of a text may be while a value goes on: nothing, or half of an escape."""
_BEFORE_NUMBER: Final = frozenset((b"=", b":", b"(", b"[", b",", b"{", b"+", b"?", b"return"))
_AFTER_NUMBER: Final = frozenset((b"", b";", b",", b")", b"]", b"}", b"\n", b"\r", b":"))


def _common(text: bytes, stop: bytes) -> int:
    """Count the bytes at the end of a text that may be the beginning of `stop`."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)


def _quoted(text: bytes, is_in_string: bool, is_escaped: bool) -> tuple[bool, bool]:  # noqa: FBT001 - the two bits of a state, in and out
    """Follow the quotation marks of a JSON text: whether a string is open behind it, and a reverse solidus."""
    if not text:
        return is_in_string, is_escaped
    if is_escaped:
        text = text[1:]
    text = text.replace(b"\\\\", b"")
    is_escaped = text.endswith(b"\\")
    marks = text.count(b'"') - text.count(b'\\"')
    return is_in_string ^ bool(marks & 1), is_escaped
