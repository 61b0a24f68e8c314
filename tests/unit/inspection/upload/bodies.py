"""Forms as browsers and programs write them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

BOUNDARY = b"----WebKitFormBoundaryAbC123"
CONTENT_TYPE = b"multipart/form-data; boundary=" + BOUNDARY


def part(headers: bytes, body: bytes) -> bytes:
    return b"--" + BOUNDARY + b"\r\n" + headers + b"\r\n\r\n" + body + b"\r\n"


def field(name: bytes, value: bytes) -> bytes:
    return part(b'Content-Disposition: form-data; name="%b"' % name, value)


def file(name: bytes, file_name: bytes, body: bytes, declared: bytes = b"application/octet-stream") -> bytes:
    headers = b'Content-Disposition: form-data; name="%b"; filename="%b"\r\nContent-Type: %b' % (
        name,
        file_name,
        declared,
    )
    return part(headers, body)


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]
