"""Decode the chunked transfer coding (RFC 9112 §7.1), one `feed` at a time.

Extensions and trailers are read by grammar, bounded, and dropped. Anything that is not the grammar is an error:
bare LF, signs, spaces around the size, sizes over 16 digits, a missing CRLF after the data.
"""

from __future__ import annotations

import re
from typing import Final

_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[\t ]*;[\t -~\x80-\xff]*)?\r\n").fullmatch
_TRAILER_LINE: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n").fullmatch
MAX_LINE_BYTES: Final = 1024
MAX_EXTENSION_BYTES: Final = 16 * 1024
MAX_TRAILER_BYTES: Final = 16 * 1024


class ChunkedError(ValueError):
    """The bytes are not a chunked body."""


class ChunkedDecoder:
    """Feeds on raw bytes, yields body bytes; `done` once the last chunk and its trailers are read, the rest in `rest`."""

    __slots__ = ("_buffer", "_extensions", "_left", "_state", "_trailers", "done", "rest")

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self._state = 0  # 0 size line, 1 data, 2 CRLF after data, 3 trailers
        self._trailers = 0
        self._extensions = 0
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the body bytes found in `data`. Raises `ChunkedError`."""
        out: list[bytes] = []
        buffer = self._buffer + data if self._buffer else data
        at = 0
        size = len(buffer)
        while at < size:
            if self._state == 1:
                piece = buffer[at : at + self._left]
                out.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left == 0:
                    self._state = 2
            elif self._state == 2:
                if size - at < 2:
                    if buffer[at] != 13:
                        raise ChunkedError("no CRLF after a chunk")
                    break
                if buffer[at : at + 2] != b"\r\n":
                    raise ChunkedError("no CRLF after a chunk")
                at += 2
                self._state = 0
            else:
                end = buffer.find(b"\n", at, at + MAX_LINE_BYTES)
                if end < 0:
                    if size - at >= MAX_LINE_BYTES:
                        raise ChunkedError("line too long")
                    break
                line = buffer[at : end + 1]
                at = end + 1
                if self._state == 0:
                    self._size_line(line)
                elif line == b"\r\n":
                    self.done = True
                    self.rest = buffer[at:]
                    self._buffer = b""
                    return out
                else:
                    self._trailer(line)
        self._buffer = buffer[at:]
        return out

    def _size_line(self, line: bytes) -> None:
        found = _SIZE_LINE(line)
        if found is None:
            raise ChunkedError("not a chunk size")
        self._extensions += len(line) - found.end(1) - 2
        if self._extensions > MAX_EXTENSION_BYTES:
            raise ChunkedError("chunk extensions too long")
        self._left = int(found[1], 16)
        self._state = 1 if self._left else 3

    def _trailer(self, line: bytes) -> None:
        self._trailers += len(line)
        if self._trailers > MAX_TRAILER_BYTES or _TRAILER_LINE(line) is None:
            raise ChunkedError("not a trailer field")
