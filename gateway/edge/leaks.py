"""Card numbers, secrets and patterns of an operator in what passes: recorded, masked, or kept from passing.

An answer is looked through as it streams by. Where something of it would be masked or blocked, the portal is asked for all of it
and uncompressed; what comes compressed all the same is undone here and goes on as it is. Where sightings are only recorded, an
answer passes untouched beside the look at it. What was sighted stands in the record as kinds, counts and digests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from gateway.edge.body_shape import lines_of
from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.snapshot import RouteInspection
from gateway.edge.withheld import WithheldError
from gateway.exchange.reason import Reason
from gateway.inspection.body import BodyTooComplexError, BodyUnreadableError
from gateway.inspection.decompress import Budget, Coding, DecompressError, Decompressor, Fault, coding_of
from gateway.inspection.leak.rules import LeakRules, is_strict
from gateway.inspection.leak.scanner import Scanner
from gateway.inspection.leak.sighting import Action
from gateway.inspection.leak.text_form import Markup, TextForm, UnknownCharsetError, of_content_type
from gateway.inspection.multipart_body import read_parts
from gateway.wire.response import ResponseHead

EXPOSED_EVENT: Final = "data.exposed"
SENT_EVENT: Final = "data.sent"
WHOLE_BYTES: Final = 64 * 1024
"""An answer that may have to be withheld waits until so much of it was looked through: a page can then say why there is none."""
MOST_ASKED: Final = 16_384
"""How often a detector may be asked about what comes in one read of an answer that passes anyway: a fifth of a second, as long
as everybody else waits. Only what was unpacked, or is made for it, comes to more."""
_MULTIPART: Final = b"multipart/form-data"
_EVENTS: Final = b"text/event-stream"
_OF_THE_BYTES: Final = frozenset((b"content-md5", b"digest", b"content-digest", b"repr-digest", b"accept-ranges"))
_ASKED_IN_PARTS: Final = (b"range: ", b"if-range: ", b"request-range: ", b"accept-encoding: ")
"""The third is an old name of the first, which Apache still reads."""
_CONDITION: Final = b"if-match: "
_MULTIPLE_PARTS: Final = (b"multipart/byteranges", b"multipart/x-byteranges")
_EVENT_ENDS: Final = (b"\n\n", b"\n\r\n", b"\r\r")
_LONGEST_END: Final = 3
_SHORT_TARGET: Final = 12
_BODILESS: Final = frozenset((204, 304))
_PARTIAL: Final = 206
_REFUSED: Final = Refusal("inspection", Reason.DATA_REFUSED)
_WITHHELD: Final = Refusal("inspection", Reason.DATA_WITHHELD)


def _actions(x: Exchange, *, of_answer: bool) -> dict[str, Action]:
    """Return what is looked for in one direction, for whoever asks."""
    rules = x.inspection.leaks if x.inspection is not None else None
    if rules is None:
        return {}
    choice = rules.answers if of_answer else rules.requests
    return choice.actions_for(x.entry.session.roles if x.entry is not None else ())


# requests


def looks_into_requests(x: Exchange, rules: RouteInspection) -> bool:
    """Tell whether the body of `x` is looked through."""
    return rules.leaks is not None and bool(_actions(x, of_answer=False))


def judge_target(x: Exchange) -> Refusal | None:
    """Look through path and query. They go upstream as they are or not at all: what would be masked is only recorded."""
    rules = x.inspection.leaks if x.inspection is not None else None
    resolution = x.resolution
    if rules is None or resolution is None or len(resolution.text) < _SHORT_TARGET:
        return None
    actions = _actions(x, of_answer=False)
    if not actions:
        return None
    told = {kind: Action.ALERT if action is Action.MASK else action for kind, action in actions.items()}
    looking = rules.scanner(TextForm(Markup.FORM), told)
    looking.feed(resolution.text)
    looking.finish()
    _note(x, looking, {}, "target")
    return _REFUSED if looking.is_stopped else None


def judge_leaks(x: Exchange, body: bytes) -> Refusal | bytes | None:
    """Look through the whole body of a request; bytes are what goes upstream instead.

    A body of several parts goes upstream as it is or not at all: what would be masked in one is refused.
    """
    rules = x.inspection.leaks if x.inspection is not None else None
    actions = _actions(x, of_answer=False)
    if rules is None or not actions or not body:
        return None
    content_type = b", ".join(lines_of(x, b"content-type"))
    try:
        if content_type.lower().startswith(_MULTIPART):
            return _judge_parts(x, rules, content_type, body, actions)
        form = of_content_type(content_type)
    except (UnknownCharsetError, BodyUnreadableError, BodyTooComplexError):
        return _cannot_look(x, rules, actions, "request", Refusal("inspection", Reason.BODY_UNREADABLE))
    if form is None:
        return None
    looking = rules.scanner(form, actions)
    changed = looking.feed(body) + looking.finish()
    _note(x, looking, {}, "request")
    if looking.is_stopped:
        return _REFUSED
    return changed if changed != body else None


def _judge_parts(
    x: Exchange, rules: LeakRules, content_type: bytes, body: bytes, actions: Mapping[str, Action]
) -> Refusal | None:
    inspection = x.inspection
    assert inspection is not None  # noqa: S101 - its rules are asked
    parts, _ = read_parts(content_type, body, inspection.limits)
    told = {kind: Action.BLOCK if action is Action.MASK else action for kind, action in actions.items()}
    is_refused = False
    for part in parts:
        looking = rules.scanner(TextForm(Markup.PLAIN), told)
        looking.feed(part.name.encode("utf-8", "replace") + b": " + bytes(part.raw))
        looking.finish()
        _note(x, looking, {}, "request")
        is_refused = is_refused or looking.is_stopped
    return _REFUSED if is_refused else None


def _cannot_look(
    x: Exchange, rules: LeakRules, actions: Mapping[str, Action], where: str, refusal: Refusal
) -> Refusal | None:
    """Say that a text was not looked through, and refuse it where that matters."""
    refuses = rules.refuses_unreadable and is_strict(actions)
    x.client.metrics.leaks_unread.inc((x.route.name, where))
    _tell(x, {"in": where, "outcome": "refused" if refuses else "unread"})
    return refusal if refuses else None


# answers


def asked_readable(x: Exchange, forward: bytes) -> bytes:
    """Return the client's fields as they go upstream: where an answer may be masked or withheld, it is asked for whole and uncompressed."""
    if x.inspection is None or x.inspection.leaks is None or not is_strict(_actions(x, of_answer=True)):
        return forward
    kept = [line for line in forward.splitlines(keepends=True) if not line.startswith(_ASKED_IN_PARTS)]
    # a weak tag, which never matches there (RFC 9110 section 13.1.1), is one that was weakened here
    kept = [line.replace(b'W/"', b'"') if line.startswith(_CONDITION) else line for line in kept]
    return b"".join((*kept, b"accept-encoding: identity\r\n"))


class Beside:
    """An answer that passes as it is, beside the look at it."""

    def __init__(
        self, x: Exchange, head: ResponseHead, looking: Scanner, coding: Coding | None, budget: Budget
    ) -> None:
        self.head = head
        self._look = _Look(x, looking, coding, budget)
        self._is_over = False

    def feed(self, data: bytes) -> bytes:
        """Look at data, and pass it on."""
        if not self._is_over:
            try:
                self._is_over = self._is_too_dense(data)
            except DecompressError:
                self._is_over = True
            if self._is_over:
                self._look.give_up()
        return data

    def _is_too_dense(self, data: bytes) -> bool:
        """Look at data, as long as that takes. Raises DecompressError."""
        most = self._look.asked + MOST_ASKED
        return any(self._look.asked > most for _ in self._look.feed(data))

    def finish(self) -> bytes:
        """Nothing was held back."""
        if not self._is_over:
            try:
                for _ in self._look.finish():
                    pass
            except DecompressError:
                self._look.give_up()
        return b""


class Through:
    """An answer of which only that passes which was looked through."""

    def __init__(
        self, x: Exchange, head: ResponseHead, looking: Scanner, coding: Coding | None, budget: Budget
    ) -> None:
        self.head = _readable(head, is_decoded=coding is not None)
        self._looking = looking
        self._look = _Look(x, looking, coding, budget)

    def feed(self, data: bytes) -> bytes:
        """Return what may leave now. Raises WithheldError."""
        return self._pass(self._look.feed(data))

    def finish(self) -> bytes:
        """Return the rest. Raises WithheldError."""
        return self._pass(self._look.finish())

    def _pass(self, pieces: Iterator[bytes]) -> bytes:
        try:
            out = b"".join(pieces)
        except DecompressError:
            self._look.give_up()
            raise WithheldError(_WITHHELD) from None
        if self._looking.is_stopped:
            raise WithheldError(_WITHHELD)
        return out


class _Look:
    """The look at one answer: what it decodes to, and what was sighted in that."""

    def __init__(self, x: Exchange, looking: Scanner, coding: Coding | None, budget: Budget) -> None:
        self._x = x
        self._looking = looking
        self._decompressor = Decompressor(coding, budget) if coding is not None else None
        self._told: dict[str, int] = {}
        self._is_events = x.content_type.lower().startswith(_EVENTS)
        self._last = b""

    @property
    def asked(self) -> int:
        """How often a detector was asked."""
        return self._looking.asked

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what was looked through. Raises DecompressError."""
        for piece in (data,) if self._decompressor is None else self._decompressor.feed(data):
            yield self._looking.feed(piece)
            if self._looking.is_stopped:
                break
            self._last = (self._last + piece[-_LONGEST_END:])[-_LONGEST_END:]
        if self._is_events and self._looking.held and self._last.endswith(_EVENT_ENDS):
            yield self._looking.settle()  # the next event may come tomorrow
        self._note()

    def finish(self) -> Iterator[bytes]:
        """Yield the rest. Raises DecompressError."""
        if self._decompressor is not None:
            self._decompressor.finish()
        yield self._looking.finish()
        self._note()

    def give_up(self) -> None:
        """Say that the rest was not looked through."""
        self._note()
        self._x.client.metrics.leaks_unread.inc((self._x.route.name, "answer"))
        _tell(self._x, {"in": "answer", "outcome": "unread"})

    def _note(self) -> None:
        _note(self._x, self._looking, self._told, "answer")


def open_leaks(x: Exchange, head: ResponseHead) -> Beside | Through | None:
    """Say how an answer of the portal is looked through; None = not at all.

    Raises:
        WithheldError: it cannot be looked through, and would have to be.

    """
    inspection = x.inspection
    rules = inspection.leaks if inspection is not None else None
    if inspection is None or rules is None or head.status in _BODILESS or (head.length == 0 and x.method != b"HEAD"):
        return None
    actions = _actions(x, of_answer=True)
    if not actions:
        return None
    strict = is_strict(actions)
    try:
        form = of_content_type(head.content_type)
        coding = _coding(head, form, strict=strict)
        if form is None:
            return None
    except (UnknownCharsetError, DecompressError):
        if _cannot_look(x, rules, actions, "answer", _WITHHELD) is not None:
            raise WithheldError(_WITHHELD) from None
        return None
    looking = rules.scanner(form, actions)
    budget = Budget(0, inspection.body.decompress_ratio)
    if not strict:
        return Beside(x, head, looking, coding, budget)
    if Action.BLOCK in actions.values() and not head.content_type.lower().startswith(_EVENTS):
        x.whole_bytes = WHOLE_BYTES
    return Through(x, head, looking, coding, budget)


def _coding(head: ResponseHead, form: TextForm | None, *, strict: bool) -> Coding | None:
    """Return how an answer is encoded.

    Raises:
        DecompressError: that cannot be undone, as in a part of something encoded. Or the answer is a part of a text: nobody was
            asked for one, and its ends may cut in two what is looked for.

    """
    is_text = form is not None or head.content_type.lower().startswith(_MULTIPLE_PARTS)
    if head.status == _PARTIAL and is_text and strict:
        raise DecompressError(Fault.TRUNCATED)
    if form is None:
        return None
    coding = coding_of(b",".join(value for name, value in _lines(head) if name == b"content-encoding"))
    if coding is not None and head.status == _PARTIAL:
        raise DecompressError(Fault.TRUNCATED)
    return coding


def _readable(head: ResponseHead, *, is_decoded: bool) -> ResponseHead:
    """Return the head of an answer whose bytes may become others: nothing names the ones that the portal sent."""
    kept = []
    for name, value in _lines(head):
        if name in _OF_THE_BYTES or (is_decoded and name == b"content-encoding"):
            continue
        weak = name == b"etag" and not value.startswith(b"W/")
        kept.append(b"%b: %b%b\r\n" % (name, b"W/" if weak else b"", value))
    return replace(head, forward=b"".join(kept), length=None if is_decoded else head.length, hardened={})


def _lines(head: ResponseHead) -> list[tuple[bytes, bytes]]:
    found = []
    for line in head.forward.split(b"\r\n"):
        if line:
            name, _, value = line.partition(b": ")
            found.append((name, value))
    return found


# what is told


def _note(x: Exchange, looking: Scanner, told: dict[str, int], where: str) -> None:
    """Count and record what was sighted since the last time; `told` remembers how much that was."""
    fresh = [(kind, tally) for kind, tally in looking.report.tallies.items() if tally.count > told.get(kind, 0)]
    if not fresh:
        return
    is_first = not told
    for kind, tally in fresh:
        x.client.metrics.leaks.inc((x.route.name, where, kind, tally.action.value), tally.count - told.get(kind, 0))
        told[kind] = tally.count
    _tell(x, {"in": where, "outcome": "sighted", "sightings": looking.report.as_record()})
    event = EXPOSED_EVENT if where == "answer" else SENT_EVENT
    if is_first and event not in x.detections:
        x.detections.append(event)


def _tell(x: Exchange, what: dict[str, object]) -> None:
    """Say something for the record; of the same place and outcome, the last word counts, but for parts of a request."""
    before = x.noticed.get("leaks")
    if not isinstance(before, list):
        x.noticed["leaks"] = [what]
        return
    if what["in"] == "answer":
        before[:] = [word for word in before if (word["in"], word["outcome"]) != (what["in"], what["outcome"])]
    if len(before) < _MOST_TOLD:
        before.append(what)


_MOST_TOLD: Final = 16
