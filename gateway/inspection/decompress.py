"""Undoes a Content-Encoding piece by piece, within a budget, so that a small body cannot become a large one (RFC 9110 section 8.4).

Decides what a body says once it is decoded, and when it is not worth finding out. Which bodies are decoded, and what becomes
of those that cannot be, is for others.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import brotli
from backports import zstd

PIECE_BYTES: Final = 65_536
"""No piece is longer than this, whatever goes in."""
SLACK_BYTES: Final = 65_536
"""Before this much has come out, no ratio is held against a body: a page of blanks is no bomb."""
_INPUT_BYTES: Final = 16_384
"""What is not yet decoded is copied with every piece and with every member that ends."""
_ZSTD_WINDOW_LOG: Final = 23
"""8 MiB of memory: what RFC 8878 section 3.1.1.1.2 asks a decoder to have, and RFC 9659 allows over HTTP at most."""
_BROTLI_BYTES: Final = 32_000
"""Its decoder grows its output in blocks and returns up to three times what it is asked for."""
_BROTLI_QUALITY: Final = 4
_DEFLATE: Final = 8
_GZIP_BITS: Final = 31
_ZLIB_BITS: Final = 15
_RAW_BITS: Final = -15


class Coding(StrEnum):
    """Content codings that are undone; the names of RFC 9110 section 8.4.1, RFC 7932 and RFC 8878."""

    GZIP = "gzip"
    DEFLATE = "deflate"
    BROTLI = "br"
    ZSTD = "zstd"


_ALIASES: Final = {**{coding.value: coding for coding in Coding}, "x-gzip": Coding.GZIP}


class Fault(StrEnum):
    """Why a body is not decoded."""

    UNKNOWN_CODING = "unknown_coding"
    DOUBLED_CODING = "doubled_coding"
    CORRUPT = "corrupt"
    TRUNCATED = "truncated"
    TRAILING = "trailing"
    """Bytes follow the end, which one reader ignores and another does not."""
    TOO_LARGE = "too_large"
    TOO_DENSE = "too_dense"
    """More comes out, for what went in, than the ratio allows."""


class DecompressError(ValueError):
    """A body that was not decoded to its end. `offset` counts encoded bytes, so far as they were read."""

    def __init__(self, fault: Fault, offset: int = 0) -> None:
        super().__init__(f"{fault.value} at byte {offset}")
        self.fault = fault
        self.offset = offset

    @property
    def is_bomb(self) -> bool:
        """Whether the body was given up for what it grows to, and not for what it is."""
        return self.fault in (Fault.TOO_LARGE, Fault.TOO_DENSE)


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may come out."""

    most_bytes: int = 10 << 20
    """Of decoded bytes, 0 = no end."""
    ratio: int = 100
    """Decoded bytes for each encoded one, beyond the first 64 KiB."""


def coding_of(field: bytes) -> Coding | None:
    """Read a Content-Encoding, its lines joined by commas; None where nothing is encoded.

    Raises:
        DecompressError: an unknown coding, or more than one: each reader would undo as many as it likes.

    """
    names = [
        name for name in (item.strip(b" \t").lower() for item in field.split(b",")) if name not in {b"", b"identity"}
    ]
    if not names:
        return None
    if len(names) > 1:
        raise DecompressError(Fault.DOUBLED_CODING)
    coding = _ALIASES.get(names[0].decode("latin-1"))
    if coding is None:
        raise DecompressError(Fault.UNKNOWN_CODING)
    return coding


class _Stream(Protocol):
    """One member of a body, decoded within bounds."""

    def push(self, data: bytes) -> bytes:
        """Decode at most one piece; `data` is empty while more is waiting inside."""

    @property
    def is_waiting(self) -> bool:
        """Whether more may come out before more goes in."""

    @property
    def is_ended(self) -> bool:
        """Whether the member is complete."""

    @property
    def rest(self) -> bytes:
        """What follows a complete member."""


class _Zlib:
    def __init__(self, bits: int) -> None:
        self._decoder = zlib.decompressobj(bits)
        self._filled = False

    def push(self, data: bytes) -> bytes:
        piece = self._decoder.decompress(self._decoder.unconsumed_tail + data, PIECE_BYTES)
        self._filled = len(piece) == PIECE_BYTES
        return piece

    @property
    def is_waiting(self) -> bool:
        return not self._decoder.eof and (self._filled or bool(self._decoder.unconsumed_tail))

    @property
    def is_ended(self) -> bool:
        return self._decoder.eof

    @property
    def rest(self) -> bytes:
        return self._decoder.unused_data


class _Deflate:
    """`deflate` is zlib's format (RFC 9110 section 8.4.1.2), but some send, and all browsers read, the bare one."""

    def __init__(self) -> None:
        self._head = b""
        self._stream: _Zlib | None = None

    def push(self, data: bytes) -> bytes:
        if self._stream is None:
            self._head += data
            if len(self._head) < 2:  # CMF and FLG, RFC 1950 section 2.2
                return b""
            is_zlib = self._head[0] & 15 == _DEFLATE and int.from_bytes(self._head[:2], "big") % 31 == 0
            self._stream = _Zlib(_ZLIB_BITS if is_zlib else _RAW_BITS)
            data, self._head = self._head, b""
        return self._stream.push(data)

    @property
    def is_waiting(self) -> bool:
        return self._stream is not None and self._stream.is_waiting

    @property
    def is_ended(self) -> bool:
        return self._stream is not None and self._stream.is_ended

    @property
    def rest(self) -> bytes:
        return b"" if self._stream is None else self._stream.rest


class _Brotli:
    def __init__(self) -> None:
        self._decoder = brotli.Decompressor()
        self._filled = False

    def push(self, data: bytes) -> bytes:
        piece: bytes = self._decoder.process(data, output_buffer_limit=_BROTLI_BYTES)
        self._filled = len(piece) >= _BROTLI_BYTES
        return piece

    @property
    def is_waiting(self) -> bool:
        return not self._decoder.can_accept_more_data() or self._filled

    @property
    def is_ended(self) -> bool:
        return bool(self._decoder.is_finished())

    @property
    def rest(self) -> bytes:
        return b""


class _Zstd:
    def __init__(self) -> None:
        self._decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})

    def push(self, data: bytes) -> bytes:
        return self._decoder.decompress(data, PIECE_BYTES)

    @property
    def is_waiting(self) -> bool:
        return not self._decoder.eof and not self._decoder.needs_input

    @property
    def is_ended(self) -> bool:
        return self._decoder.eof

    @property
    def rest(self) -> bytes:
        return self._decoder.unused_data


_MEMBERS: Final = frozenset({Coding.GZIP, Coding.ZSTD})
"""Their bodies may be several members in a row (RFC 1952 section 2.2, RFC 8878 section 3.1), which all readers join."""


def _stream_of(coding: Coding) -> _Stream:
    match coding:
        case Coding.GZIP:
            return _Zlib(_GZIP_BITS)
        case Coding.DEFLATE:
            return _Deflate()
        case Coding.BROTLI:
            return _Brotli()
        case Coding.ZSTD:
            return _Zstd()


class Decompressor:
    """Decodes one body. Memory is a window and a piece; work is linear in what the budget lets come out."""

    def __init__(self, coding: Coding, budget: Budget) -> None:
        self._coding = coding
        self._budget = budget
        self._stream = _stream_of(coding)
        self._is_ended = False
        self._read = 0
        self._written = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what these bytes decode to, in pieces of 64 KiB at most; the budget is checked before each is given out.

        Raises:
            DecompressError: the body is damaged, or grows beyond the budget. Nothing more may be fed.

        """
        for start in range(0, len(data), _INPUT_BYTES):
            yield from self._decode(data[start : start + _INPUT_BYTES])

    def finish(self) -> None:
        """End the body. An empty one is complete: an answer to HEAD has a coding and no bytes.

        Raises:
            DecompressError: it ended in the middle.

        """
        if self._read and not (self._is_ended or self._stream.is_ended):
            raise DecompressError(Fault.TRUNCATED, self._read)

    def _decode(self, data: bytes) -> Iterator[bytes]:
        self._read += len(data)
        while True:
            if self._is_ended:
                if self._coding not in _MEMBERS:
                    raise DecompressError(Fault.TRAILING, self._read - len(data))
                self._stream = _stream_of(self._coding)
                self._is_ended = False
            try:
                piece = self._stream.push(data)
            except (zlib.error, brotli.error, zstd.ZstdError):
                raise DecompressError(Fault.CORRUPT, self._read) from None
            data = b""
            if piece:
                self._spend(len(piece))
                yield piece
            if self._stream.is_ended:
                self._is_ended = True
                data = self._stream.rest
                if not data:
                    return
            elif not self._stream.is_waiting:
                return

    def _spend(self, length: int) -> None:
        self._written += length
        if self._budget.most_bytes and self._written > self._budget.most_bytes:
            raise DecompressError(Fault.TOO_LARGE, self._read)
        if self._written > SLACK_BYTES + self._budget.ratio * self._read:
            raise DecompressError(Fault.TOO_DENSE, self._read)


def decompress(body: bytes, coding: Coding, budget: Budget) -> bytes:
    """Decode a body that is held whole.

    Raises:
        DecompressError: it is damaged, incomplete, or grows beyond the budget.

    """
    decompressor = Decompressor(coding, budget)
    decoded = b"".join(decompressor.feed(body))
    decompressor.finish()
    return decoded


def compress(body: bytes, coding: Coding) -> bytes:
    """Encode a body again that was changed while it was decoded."""
    match coding:
        case Coding.GZIP | Coding.DEFLATE:
            packer = zlib.compressobj(wbits=_GZIP_BITS if coding is Coding.GZIP else _ZLIB_BITS)
            return packer.compress(body) + packer.flush()
        case Coding.BROTLI:
            packed: bytes = brotli.compress(body, quality=_BROTLI_QUALITY)
            return packed
        case Coding.ZSTD:
            return zstd.compress(body)
