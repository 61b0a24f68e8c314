"""The form of a list of breached passwords: sorted digests, searched by bisection.

    list = "GWBREACH" | version 0x01 | width, u8 | 6 zero bytes | count, u64 BE | count digests

A digest is the first `width` bytes of the SHA-1 of the password, the form in which such lists are
published (Have I Been Pwned); SHA-1 protects nothing here. Ten bytes keep a billion entries apart.
Where the bytes come from is `store`'s business.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from hashlib import sha1
from typing import Final

MAGIC: Final = b"GWBREACH"
FORMAT: Final = 1
WIDTH: Final = 10
SHA1_BYTES: Final = 20
HEADER: Final = struct.Struct(">8sBB6xQ")


class BreachedListError(ValueError):
    """Not a list we can search. The text says what is wrong with it."""


class BreachedList:
    """A list in memory or mapped; each look costs `log2(count)` comparisons."""

    __slots__ = ("_count", "_data", "_width")

    def __init__(self, data: bytes | memoryview) -> None:
        """Check the header and length of `data`, not the order of its entries. Raises `BreachedListError`."""
        if len(data) < HEADER.size:
            raise BreachedListError("is too short for a list of breached passwords")
        magic, version, width, count = HEADER.unpack_from(data)
        if magic != MAGIC or version != FORMAT or not 8 <= width <= SHA1_BYTES:  # noqa: PLR2004 - 64 bits keep entries apart
            raise BreachedListError("is not a list of breached passwords; make one with `gateway passwords import`")
        if len(data) != HEADER.size + width * count:
            raise BreachedListError("is cut short or too long; import the list again")
        self._data = memoryview(data)
        self._width = width
        self._count: int = count

    def __len__(self) -> int:
        return self._count

    def __contains__(self, password: str) -> bool:
        return self.holds(digest_of(password))

    def holds(self, digest: bytes) -> bool:
        """Tell whether a full SHA-1 is on the list."""
        data, width = self._data, self._width
        wanted = digest[:width]
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            start = HEADER.size + middle * width
            entry = data[start : start + width].tobytes()
            if entry == wanted:
                return True
            if entry < wanted:
                low = middle + 1
            else:
                high = middle
        return False


def digest_of(password: str) -> bytes:
    """Return the SHA-1 of a password's UTF-8 bytes."""
    return sha1(password.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()


def header_of(count: int) -> bytes:
    """Return the header of a list of `count` entries of 10 bytes."""
    return HEADER.pack(MAGIC, FORMAT, WIDTH, count)


def make_list(passwords: Iterable[str]) -> bytes:
    """Return a whole list; for small ones."""
    entries = sorted({digest_of(password)[:WIDTH] for password in passwords})
    return header_of(len(entries)) + b"".join(entries)


def parse_published(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Read the published form, one `SHA1:count` a line in ascending order, and yield each entry once.

    Raises:
        BreachedListError: names the line that is malformed or out of order.

    """
    previous = b""
    for number, line in enumerate(lines, 1):
        text = line.partition(b":")[0].strip()
        if not text:
            continue
        try:
            entry = bytes.fromhex(text.decode("ascii"))
        except ValueError:
            entry = b""
        if len(entry) != SHA1_BYTES:
            raise BreachedListError(f"line {number}: is not a SHA-1 in hexadecimal, a colon and a count")
        short = entry[:WIDTH]
        if short < previous:
            raise BreachedListError(f"line {number}: is out of order; use the list that is ordered by hash")
        if short != previous:
            yield short
        previous = short
