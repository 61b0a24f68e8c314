"""What was compressed as one stream: gzip (RFC 1952), bzip2, xz. Out comes a source in memory, within the budget."""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import Final, Protocol

from gateway.inspection.upload.examination import DEEP_BYTES, Examination, broken
from gateway.inspection.upload.objection import Objection, UploadRefusedError
from gateway.inspection.upload.source import PIECE_BYTES, Held, Source

_OUT_BYTES: Final = 256 * 1024
_LZMA_MEMORY: Final = 64 << 20
_MAX_STREAMS: Final = 1000


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def expand(kind: str, source: Source, examination: Examination) -> Held:
    """Return what is inside, all streams of it. Raises `UploadRefusedError`."""
    out: list[bytes] = []
    length = streams = 0
    decompressor: _Decompressor | None = None
    rest = b""
    for at in range(0, source.size, PIECE_BYTES):
        rest += source.read(at, PIECE_BYTES)
        while True:
            if decompressor is None:
                rest = rest.lstrip(b"\0")  # padding between streams and behind the last
                if not rest:
                    break
                decompressor = _decompressor(kind)
                streams += 1
                if streams > _MAX_STREAMS:
                    raise UploadRefusedError(Objection.TOO_COMPLEX)
            piece, rest, is_hungry = _step(decompressor, rest)
            length += len(piece)
            examination.unpack(len(piece))
            examination.check_ratio(at + PIECE_BYTES, length)
            if length > DEEP_BYTES:
                raise UploadRefusedError(Objection.TOO_COMPLEX)
            out.append(piece)
            if decompressor.eof:
                rest, decompressor = decompressor.unused_data, None
            elif is_hungry:
                break
    if decompressor is not None or not streams:
        raise broken()
    return Held(b"".join(out))


def _decompressor(kind: str) -> _Decompressor:
    if kind == "gz":
        return zlib.decompressobj(zlib.MAX_WBITS | 16)
    return bz2.BZ2Decompressor() if kind == "bz2" else lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY)


def _step(decompressor: _Decompressor, data: bytes) -> tuple[bytes, bytes, bool]:
    """Return what came out, what was not taken in, and whether more must come in before more comes out."""
    try:
        piece = decompressor.decompress(data, _OUT_BYTES)
    except (zlib.error, OSError, EOFError, lzma.LZMAError, ValueError):
        raise broken() from None
    rest: bytes = getattr(decompressor, "unconsumed_tail", b"")
    return piece, rest, not rest and len(piece) < _OUT_BYTES
