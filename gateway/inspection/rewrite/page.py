"""Put nonces on approved scripts and hidden fields into forms while a page passes (CSP3 §7.2, WHATWG HTML §13.2.5).

What goes in is all that changes: every other byte passes as it came, and is held back only while a tag or an inline script is
not complete. The reader is the tokenizer of browsers without their tree; where the tree would decide, nothing goes in
(`zone`). Something goes in only where every browser reads the place alike: a script in doubt stays without its nonce, and the
policy stops it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from gateway.inspection.csp.scripts import hash_of, resolve
from gateway.inspection.rewrite.charset import SHIFTS, Charset, decode, of_meta
from gateway.inspection.rewrite.insertion import (
    Insertion,
    can_carry_nonce,
    is_approved,
    is_run,
    loads_script,
    place_of,
    shown,
    takes_field,
)
from gateway.inspection.rewrite.script_text import ScriptText
from gateway.inspection.rewrite.tag import MAX_NAME_BYTES, WHOLE, Tag, passing_over
from gateway.inspection.rewrite.zone import MARKERS, RAW, Zone

MAX_SCRIPT_BYTES: Final = 512 * 1024
"""A longer inline script is not held back, and so not approved by its hash."""
MAX_TAG_BYTES: Final = 64 * 1024
"""A longer tag is not held back; images with their data in the address are longer."""
MAX_SEEN: Final = 64
"""Scripts of one page that are told about."""
MAX_SHOWN_CHARS: Final = 512
DECLARED_WITHIN: Final = 1024
"""A page says its encoding in its first bytes (WHATWG HTML §4.2.5.4)."""

_READ: Final = frozenset((b"script", b"link", b"form", b"base", b"meta"))
"""Tags whose attributes matter."""
_UNREMARKABLE: Final = passing_over(_READ | RAW | MARKERS | {b"plaintext"})
"""Text, and tags that change nothing for what follows: most of a page."""
_RAW_ENDS: Final = {
    name: re.compile(rb"</" + name + rb"(?=[\t\n\f\r />])", re.IGNORECASE) for name in (*RAW, b"script")
}
_COMMENT_END: Final = re.compile(rb"--!?>").search
_NO_COMMENT: Final = re.compile(rb"-?>").match
"""What ends a comment that has just begun."""
_LETTERS: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_UTF_8_MARK: Final = b"\xef\xbb\xbf"
_UTF_16_MARKS: Final = frozenset((b"\xff\xfe", b"\xfe\xff"))
_PARTS_OF_MARKS: Final = frozenset((b"", b"\xff", b"\xfe", b"\xef", b"\xef\xbb"))
_CDATA: Final = b"<![CDATA["
_GT, _SLASH, _BANG, _QUESTION = b">/!?"

_START, _DATA, _TAG, _COMMENT_START, _COMMENT, _BOGUS, _SECTION, _RAW, _SCRIPT, _REST = range(10)


class Page:
    """One page on its way: `feed` until it ends, then `finish`. What comes out is the same however the page is cut."""

    __slots__ = (
        "_at", "_base", "_buffer", "_charset", "_has_base", "_held", "_in_form", "_into", "_name", "_out", "_passed", "_raw_end",
        "_script", "_started", "_state", "_steps", "_tag", "_zone", "seen", "stopped",
    )  # fmt: skip

    def __init__(self, into: Insertion) -> None:
        self._into = into
        self._charset = into.charset
        self._base = into.url
        """What relative addresses go by; empty once that is not certain."""
        self._has_base = False
        self._in_form = False
        """A form is open."""
        self._zone = Zone()
        self._buffer = bytearray()
        self._out: list[bytes] = []
        self._at = 0
        """Offset in the buffer of the first byte that was not looked at."""
        self._held = -1
        """Offset of the tag that is not to leave yet; -1 = what was looked at may leave."""
        self._started = 0
        """Where the content of the comment, section or script begins that is being read."""
        self._passed = 0
        """Bytes of the page that have left the buffer."""
        self._state = _START
        self._tag = Tag(is_end=False)
        self._name = b""
        """The raw text element that is open."""
        self._raw_end = False
        """The next tag ends raw text, which the zone does not know of."""
        self._script = ScriptText()
        self._steps: tuple[Callable[[], bool], ...] = (
            self._begin, self._markup, self._tag_on, self._comment, self._comment, self._bogus, self._section, self._raw,
            self._script_on, self._pass,
        )  # fmt: skip
        """What reads on in each state; False = as far as it goes for now."""
        self.seen: list[str] = []
        """Scripts that are not approved: `sha256-…`, or an address without its query."""
        self.stopped = ""
        """Why nothing more goes in: `encoding` or `markup`; empty = all of the page was read."""

    def feed(self, data: bytes) -> bytes:
        """Take a piece of the page; return what may leave, with what was put in."""
        if self._state == _REST:
            return data
        shift = SHIFTS(data) if self._into.charset is Charset.UNDECLARED else None
        if shift is None:
            return self._read(data)
        # attack: a browser guesses ISO-2022-JP, and reads markup as text (or text as markup) from here on
        before = self._read(data[: shift.start()])
        self._stop("encoding")
        return before + self._left() + data[shift.start() :]

    def finish(self) -> bytes:
        """Return what was held back; the page is over."""
        self._state = _REST
        self._steps = ()  # they refer back to the page
        return self._left()

    def _left(self) -> bytes:
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _stop(self, why: str) -> None:
        self._state = _REST
        self._held = -1
        self._at = len(self._buffer)
        self.stopped = self.stopped or why

    def _read(self, data: bytes) -> bytes:
        self._buffer += data
        steps = self._steps
        more = True
        while more:
            more = steps[self._state]()
        self._release(self._held if self._held >= 0 else self._at)
        out, self._out = b"".join(self._out), []
        return out

    def _release(self, upto: int) -> None:
        """Let everything before `upto` leave."""
        if upto <= 0:
            return
        self._out.append(bytes(self._buffer[:upto]))
        del self._buffer[:upto]
        self._passed += upto
        self._at -= upto
        self._started -= upto
        if self._held >= 0:
            self._held -= upto

    def _insert(self, offset: int, text: bytes) -> None:
        self._release(offset)
        self._out.append(text)

    def _pass_to(self, found: int, behind: int) -> bool:
        """Go on behind what was looked for, as data; everything here belongs to it when it was not found."""
        if found < 0:
            self._at = len(self._buffer)
            return False
        self._at = found + behind
        self._state = _DATA
        return True

    def _begin(self) -> bool:
        start = self._buffer
        if bytes(start[:2]) in _UTF_16_MARKS:
            self._stop("encoding")
            return False
        if len(start) < len(_UTF_8_MARK) and bytes(start) in _PARTS_OF_MARKS:
            return False  # one byte more, and it may be a mark
        if start.startswith(_UTF_8_MARK):  # it outweighs whatever was declared
            self._charset = Charset.UTF_8
        self._state = _DATA
        return True

    def _markup(self) -> bool:
        """Read text and markup up to something that takes a state of its own; False when that is not here yet."""
        buffer = self._buffer
        at = self._next()
        while at >= 0:
            self._at = at
            following = buffer[at + 1 : at + 3]
            first = following[0] if following else 0
            if first in _LETTERS or (first == _SLASH and len(following) > 1 and following[1] in _LETTERS):
                whole = WHOLE(buffer, at)
                if whole is None:
                    self._tag = Tag(is_end=first == _SLASH)
                    self._held = at
                    self._at = at + (2 if first == _SLASH else 1)
                    self._state = _TAG
                    return True
                self._take_whole(whole, at, is_end=first == _SLASH)
                if self._state != _DATA:
                    return True
                at = self._next()
                continue
            length = self._opening(first, len(following))
            if length < 0:
                return False
            self._at = at + length
            if self._state != _DATA:
                self._started = self._at
                return True
            at = self._next()
        self._at = len(buffer)
        return False

    def _next(self) -> int:
        """Find the next `<` that needs a look; -1 when there is none here."""
        if not self._zone.is_nested and not self._raw_end:
            passed = _UNREMARKABLE(self._buffer, self._at)
            if passed is not None:
                self._at = passed.end()
        return self._buffer.find(b"<", self._at)

    def _opening(self, first: int, following: int) -> int:
        """Tell how many bytes at a `<` that begins no tag are settled, and enter what they open; -1 when more must be here."""
        here = bytes(self._buffer[self._at : self._at + len(_CDATA)])
        if following == 0 or (first == _SLASH and following == 1):
            return -1
        if first == _SLASH:
            if here[2] == _GT:
                return 3
            self._state = _BOGUS
            return 2
        if first == _QUESTION:
            self._state = _BOGUS
            return 2
        if first != _BANG:
            return 1
        if here.startswith(b"<!--"):
            self._state = _COMMENT_START
            return 4
        is_disputed = self._zone.is_disputed
        if b"<!--".startswith(here) or (is_disputed and len(here) < len(_CDATA) and _CDATA.startswith(here)):
            return -1
        if is_disputed and here == _CDATA:
            self._state = _SECTION
            return len(_CDATA)
        self._state = _BOGUS
        return 2

    def _comment(self) -> bool:
        """Look for the end of a comment; `<!-->` and `<!--->` are whole ones."""
        buffer = self._buffer
        if self._state == _COMMENT_START:
            whole = _NO_COMMENT(buffer, self._at)
            if whole is not None:
                return self._pass_to(whole.end(), 0)
            if bytes(buffer[self._at : self._at + 2]) in {b"", b"-"}:
                return False
            self._state = _COMMENT
        found = _COMMENT_END(buffer, self._at)
        if found is not None:
            return self._pass_to(found.end(), 0)
        self._at = max(self._at, len(buffer) - 3)
        return False

    def _bogus(self) -> bool:
        return self._pass_to(self._buffer.find(b">", self._at), 1)

    def _pass(self) -> bool:
        return self._wait(len(self._buffer))

    def _section(self) -> bool:
        """A CDATA section to some, and to others a comment that ends with its first `>`: both must end at once."""
        buffer = self._buffer
        found = buffer.find(b">", self._at)
        if found < 0:
            self._at = max(self._at, len(buffer) - 2)
            return False
        if found - 2 < self._started or buffer[found - 2 : found] != b"]]":
            self._stop("markup")
            return False
        return self._pass_to(found, 1)

    def _raw(self) -> bool:
        """Look for the end of an element whose content is text."""
        buffer, end = self._buffer, _RAW_ENDS[self._name]
        longest = len(self._name) + 2
        if self._zone.is_disputed:  # to some readers its content is markup: there must be none in it
            at = buffer.find(b"<", self._at)
            found = end.match(buffer, at) if at >= 0 else None
            if at < 0:
                return self._wait(len(buffer))
            if found is None and len(buffer) - at <= longest:
                return self._wait(at)
            if found is None:
                self._stop("markup")
                return False
        else:
            found = end.search(buffer, self._at)
            if found is None:
                return self._wait(max(self._at, len(buffer) - longest))
        self._at = found.start()
        self._raw_end = True
        self._state = _DATA
        return True

    def _wait(self, at: int) -> bool:
        self._at = at
        return False

    def _script_on(self) -> bool:
        """Look for the end of a script; one without an address gets its nonce when its text is known."""
        self._at, is_over = self._script.end(self._buffer, self._at)
        if self._held >= 0 and self._at - self._started > MAX_SCRIPT_BYTES:
            self._held = -1
        if not is_over:
            return False
        if self._held >= 0:
            text = decode(self._charset, bytes(self._buffer[self._started : self._at]))
            if text is not None and text.strip(" \t\n\f"):
                self._judge_text(hash_of(text))
            self._held = -1
        self._raw_end = True
        self._state = _DATA
        return True

    def _judge_text(self, name: str) -> None:
        if name in self._into.approved.hashes:
            self._give_nonce(self._held, b"script")
        else:
            self._see(name)

    def _give_nonce(self, tag_at: int, name: bytes) -> None:
        self._held = -1
        self._insert(tag_at + 1 + len(name), b' nonce="%b"' % self._into.nonce.encode("ascii"))

    def _see(self, what: str) -> None:
        if len(self.seen) < MAX_SEEN and len(what) <= MAX_SHOWN_CHARS and what not in self.seen:
            self.seen.append(what)

    def _tag_on(self) -> bool:
        """Read on a tag that came in pieces."""
        tag = self._tag
        self._at = tag.read(self._buffer, self._at)
        if tag.is_whole:
            held, self._held = self._held, -1
            self._state = _DATA
            self._take(tag, held)
            return True
        if tag.name and tag.name not in _READ:
            tag.keeps = False
            self._held = -1
        elif self._held >= 0 and self._at - self._held > MAX_TAG_BYTES:
            tag.is_unfit = True
            self._held = -1
        return False

    def _take_whole(self, whole: re.Match[bytes], at: int, *, is_end: bool) -> None:
        """Take note of a tag that is here whole."""
        self._at = whole.end()
        name = whole[1][:MAX_NAME_BYTES].lower()
        if is_end:
            self._closed(name)
        elif name in _READ:
            tag = Tag(is_end=False)
            tag.read(whole[0], 1)
            self._read_tag(tag, at)
        else:
            self._opened(name, is_self_closing=whole[2].endswith(b"/"))

    def _take(self, tag: Tag, at: int) -> None:
        """Take note of a tag that came in pieces; `at` is where it begins, -1 when that has left."""
        if tag.is_end:
            self._closed(tag.name)
        elif tag.name in _READ:
            self._read_tag(tag, at)
        else:
            self._opened(tag.name, is_self_closing=tag.is_self_closing)

    def _closed(self, name: bytes) -> None:
        if self._raw_end:
            self._raw_end = False
            return
        if name == b"form" and self._zone.is_plain:
            self._in_form = False
        self._zone.closed(name)

    def _opened(self, name: bytes, *, is_self_closing: bool) -> None:
        if name in RAW or name == b"script":
            if is_self_closing and self._zone.is_disputed:  # an empty element to some, the begin of text to others
                self._stop("markup")
            else:
                self._name = name
                self._state = _RAW
        elif name == b"plaintext":
            self._stop("markup")
        else:
            self._zone.opened(name, is_self_closing=is_self_closing)

    def _read_tag(self, tag: Tag, at: int) -> None:
        """Put into a tag, or behind it, what belongs there; `at` is where it begins, -1 when that has left."""
        name, zone = tag.name, self._zone
        if at >= 0 and self._at - at > MAX_TAG_BYTES:
            tag.is_unfit = True
        if name == b"script":
            if zone.is_disputed:
                self._opened(name, is_self_closing=tag.is_self_closing)
            else:
                self._script_opened(tag, at)
            return
        if name == b"base" and (b"href" in tag.attributes or tag.is_unfit) and not self._has_base:
            self._rebase(tag)
        elif name == b"meta":
            self._declare(tag, at)
        elif name == b"form":
            self._form_opened(tag)
        elif name == b"link" and zone.is_plain:
            self._link(tag, at)
        zone.opened(name, is_self_closing=tag.is_self_closing)

    def _script_opened(self, tag: Tag, at: int) -> None:
        self._script = ScriptText()
        self._state = _SCRIPT
        self._started = self._at
        into = self._into
        if not into.nonce or not self._zone.is_plain or at < 0 or not is_run(tag) or not can_carry_nonce(tag):
            return
        if b"src" not in tag.attributes:
            self._held = at
            return
        place = place_of(tag, b"src", self._base)
        if is_approved(tag, place, into):
            self._give_nonce(at, b"script")
        elif place is not None:
            self._see(shown(place, into.own))

    def _link(self, tag: Tag, at: int) -> None:
        """Give a script that is loaded ahead the nonce of the one that runs it."""
        into = self._into
        if not into.nonce or at < 0 or not loads_script(tag) or not can_carry_nonce(tag):
            return
        if is_approved(tag, place_of(tag, b"href", self._base), into):
            self._give_nonce(at, b"link")

    def _form_opened(self, tag: Tag) -> None:
        """Put the field into a form; one that stands in another is none, and its fields would go where that one is sent."""
        if self._zone.is_inert or self._in_form:
            return
        self._in_form = True
        if self._zone.is_plain and self._into.input and takes_field(tag, self._base, self._into):
            self._insert(self._at, self._into.input)

    def _rebase(self, tag: Tag) -> None:
        """Let relative addresses go by `<base>`; where browsers may not agree on it, by nothing."""
        if self._zone.is_disputed:  # it may be the first one, and then no other counts
            self._has_base = True
            self._base = ""
        elif self._zone.is_plain:
            self._has_base = True
            found = resolve(tag.attributes.get(b"href", b"").decode("latin-1"), self._into.url)
            own = self._into.own
            self._base = found if found is not None and (found + "/").startswith(own + "/") and not tag.is_unfit else ""

    def _declare(self, tag: Tag, at: int) -> None:
        """Take the encoding from `<meta>`, where neither the field nor a mark said it."""
        if self._charset is not Charset.UNDECLARED or tag.is_unfit or self._passed + at > DECLARED_WITHIN:
            return
        is_type = tag.attributes.get(b"http-equiv", b"").strip(b"\t\n\f\r ").lower() == b"content-type"
        content = tag.attributes.get(b"content") if is_type else None
        declared = of_meta(tag.attributes.get(b"charset"), content)
        if declared is None:
            self._stop("encoding")
        else:
            self._charset = declared
