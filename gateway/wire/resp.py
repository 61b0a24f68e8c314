"""RESP2, the protocol of Redis: commands out, replies in, as far as the gateway speaks it.

A reader takes what came and returns the replies that are complete. What is no RESP ends it: nothing after
it can be understood. What a reply means is not decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MAX_REPLY_BYTES: Final = 64 * 1024 * 1024
"""No answer to a question of ours is longer."""
MAX_DEPTH: Final = 8
_STRING, _ERROR, _INTEGER, _BULK, _ARRAY = b"+-:$*"


class RespError(Exception):
    """What came is not RESP2."""


class ErrorReply:
    """A reply that says why not: `code` is its first word (`NOSCRIPT`, `MOVED`, `READONLY`)."""

    __slots__ = ("code", "text")

    def __init__(self, text: str) -> None:
        self.code = text.partition(" ")[0]
        self.text = text


Reply = bytes | int | ErrorReply | list["Reply"] | None


def command(*words: bytes) -> bytes:
    """Return a command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(words)]
    parts.extend([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])
    return b"".join(parts)


def commands(several: Sequence[Sequence[bytes]]) -> bytes:
    """Return several commands, one after the other."""
    return b"".join([command(*words) for words in several])


class RespReader:
    """Replies of one connection."""

    __slots__ = ("_buffer", "_open")

    def __init__(self) -> None:
        self._buffer = b""
        self._open: list[tuple[list[Reply], int]] = []
        """Arrays whose items are still to come, and how many they have in the end."""

    def feed(self, data: bytes) -> list[Reply]:
        """Take what came, and return the replies that are complete now.

        Raises:
            RespError: it is not RESP2, or longer than anything we ask for.

        """
        buffer = self._buffer + data if self._buffer else data
        at = 0
        replies: list[Reply] = []
        while True:
            end = buffer.find(b"\r\n", at)
            if end < 0:
                break
            kind, text = buffer[at], buffer[at + 1 : end]
            after = end + 2
            value: Reply
            if kind == _BULK:
                size = _count(text)
                if size < 0:
                    value = None
                else:
                    after += size + 2
                    if after > len(buffer):
                        break
                    value = buffer[end + 2 : after - 2]
                    if buffer[after - 2 : after] != b"\r\n":
                        raise RespError("a string is longer than it says")
            elif kind == _ARRAY:
                size = _count(text)
                if size > 0:
                    if len(self._open) >= MAX_DEPTH:
                        raise RespError("arrays within arrays")
                    self._open.append(([], size))
                    at = after
                    continue
                value = [] if size == 0 else None
            elif kind == _INTEGER:
                value = _integer(text)
            elif kind == _STRING:
                value = text
            elif kind == _ERROR:
                value = ErrorReply(text.decode("utf-8", "replace"))
            else:
                raise RespError("an unknown kind of reply")
            at = after
            self._place(value, replies)
        self._buffer = buffer[at:]
        if len(self._buffer) > MAX_REPLY_BYTES:
            raise RespError("a reply is too long")
        return replies

    def _place(self, value: Reply, replies: list[Reply]) -> None:
        """Put a value into the array that waits for it; a complete array is a value itself."""
        while self._open:
            items, size = self._open[-1]
            items.append(value)
            if len(items) < size:
                return
            self._open.pop()
            value = items
        replies.append(value)


def _count(text: bytes) -> int:
    size = _integer(text)
    if size < -1 or size > MAX_REPLY_BYTES:
        raise RespError("a length that cannot be")
    return size


def _integer(text: bytes) -> int:
    # int() takes spaces, underscores and signs that RESP does not have
    digits = text[1:] if text[:1] in (b"-", b"+") else text
    if not digits or len(digits) > 20 or not digits.isdigit():
        raise RespError("a number that is none")
    return int(text)
