"""Turns the published ranges of breached passwords into the list that is searched, and goes on where it was interrupted.

Two forms are read: one file of `SHA1:count` lines ordered by hash, and a directory of range files, one for each of the
1,048,576 prefixes (`00000.txt` to `FFFFF.txt`, lines of `SUFFIX:count`). What is built lies beside the list in use
until it is whole, and then takes its place at once. A range that is missing is an error: passwords in it would pass.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from gateway.authn.breached import HEADER, SHA1_BYTES, WIDTH, BreachedListError, header_of
from gateway.exchange.errors import StoreUnavailableError
from gateway.store.breached import IMPORTED_NAME
from gateway.store.ownership import hand_over, make_directory

PARTIAL_NAME: Final = ".breached.bin.partial"
PREFIX: Final = 5
ALL_PREFIXES: Final = 16**PREFIX
_LINE: Final = re.compile(rb"([0-9A-Fa-f]{40}):[0-9]{1,12}\r?\n?")
_RANGE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{35}):[0-9]{1,12}\r?\n?")
_LONGEST_LINE: Final = 128
_REPORT_EVERY: Final = 100_000
_BUFFER: Final = 1 << 20

Tell = Callable[[float], None]
"""Gets the share of the source that is done, 0 to 1, now and then."""


def prefixes(count: int = ALL_PREFIXES) -> Iterator[str]:
    """List the names of the ranges in order."""
    return (f"{number:05X}" for number in range(count))


def import_list(source: Path, state_dir: Path, *, tell: Tell, restart: bool = False, ranges: int = ALL_PREFIXES) -> int:
    """Build the list from a file or a directory; return how many entries it has.

    An import that was interrupted goes on behind the last range or hash that it had, unless `restart`. The list in use
    stays until the new one is complete. `ranges` is how many a directory has to hold.

    Raises:
        BreachedListError: names the file and line that is wrong, or the range that is missing.
        StoreUnavailableError: the list cannot be written, or another import is under way.

    """
    partial = state_dir / PARTIAL_NAME
    try:
        make_directory(state_dir)
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise StoreUnavailableError(f"{partial}: cannot be written: {exc.strerror}") from exc
    with os.fdopen(descriptor, "r+b", buffering=_BUFFER) as target:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise StoreUnavailableError("another import is under way") from exc
        try:
            hand_over(descriptor, state_dir)
            if restart or not _is_ours(target):
                target.truncate(0)
                target.seek(0)
                target.write(header_of(0))
            if source.is_dir():
                _from_ranges(source, target, ranges, tell)
            else:
                _from_file(source, target, tell)
            count = (target.tell() - HEADER.size) // WIDTH
            if not count:
                raise BreachedListError(f"{source}: holds no entry")
            target.seek(0)
            target.write(header_of(count))
            target.flush()
            os.fsync(descriptor)
            partial.replace(state_dir / IMPORTED_NAME)
        except OSError as exc:
            raise StoreUnavailableError(f"{exc.filename or partial}: {exc.strerror}") from exc
    return count


def _is_ours(target: BinaryIO) -> bool:
    """Tell whether what lies there is the beginning of a list."""
    target.seek(0)
    return target.read(HEADER.size) == header_of(0)


def _entries(target: BinaryIO) -> int:
    """Cut what was written half, and return how many whole entries there are."""
    target.seek(0, os.SEEK_END)
    return max(0, target.tell() - HEADER.size) // WIDTH


def _entry(target: BinaryIO, index: int) -> bytes:
    target.seek(HEADER.size + index * WIDTH)
    return target.read(WIDTH)


def _keep(target: BinaryIO, count: int) -> None:
    target.truncate(HEADER.size + count * WIDTH)
    target.seek(HEADER.size + count * WIDTH)


def _from_ranges(source: Path, target: BinaryIO, ranges: int, tell: Tell) -> None:
    count = _entries(target)
    first = 0
    if count:
        # The last range may be half there: it is read anew.
        first = int(_entry(target, count - 1).hex()[:PREFIX], 16)
        while count and int(_entry(target, count - 1).hex()[:PREFIX], 16) >= first:
            count -= 1
    _keep(target, count)
    for number in range(first, ranges):
        prefix = f"{number:05X}"
        path = _range_file(source, prefix)
        with path.open("rb") as lines:
            _write(target, _of_range(lines, prefix, path), b"")
        if number % 256 == 0:
            tell(number / ranges)
    tell(1.0)


def _range_file(source: Path, prefix: str) -> Path:
    for name in (f"{prefix}.txt", prefix, f"{prefix.lower()}.txt", prefix.lower()):
        path = source / name
        if path.is_file():
            return path
    raise BreachedListError(f"{source}: the range {prefix} is missing; download it, and run the import again")


def _of_range(lines: Iterable[bytes], prefix: str, path: Path) -> Iterator[bytes]:
    found = 0
    for number, line in enumerate(lines, 1):
        match = _RANGE_LINE.fullmatch(line)
        if match is None:
            if not line.strip():
                continue
            raise BreachedListError(f"{path}: line {number}: is not 35 hexadecimal digits, a colon and a count")
        found += 1
        yield bytes.fromhex(prefix + match[1].decode("ascii"))
    if not found:
        raise BreachedListError(f"{path}: holds no entry; download it again")


def _from_file(source: Path, target: BinaryIO, tell: Tell) -> None:
    count = _entries(target)
    last = _entry(target, count - 1) if count else b""
    _keep(target, count)
    with source.open("rb", buffering=_BUFFER) as lines:
        size = os.fstat(lines.fileno()).st_size
        lines.seek(_behind(lines, last, size) if last else 0)
        _write(target, _of_file(lines, source, size, tell), last)
    tell(1.0)


def _of_file(lines: BinaryIO, path: Path, size: int, tell: Tell) -> Iterator[bytes]:
    start = at = lines.tell()
    for number, line in enumerate(lines, 1):
        at += len(line)
        match = _LINE.fullmatch(line)
        if match is None:
            if not line.strip():
                continue
            where = f"line {number}" if not start else f"byte {at - len(line)}"
            raise BreachedListError(f"{path}: {where}: is not a SHA-1 in hexadecimal, a colon and a count")
        if number % _REPORT_EVERY == 0:
            tell(at / max(1, size))
        yield bytes.fromhex(match[1].decode("ascii"))


def _behind(lines: BinaryIO, last: bytes, size: int) -> int:
    """Find the line behind the last one that was taken, by bisection: the file is ordered."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        start, digest = _line_from(lines, middle)
        if digest and digest[:WIDTH] <= last:
            low = start + 1
        else:
            high = middle
    return _line_from(lines, low)[0] if low else 0


def _line_from(lines: BinaryIO, offset: int) -> tuple[int, bytes]:
    """Return where the first whole line from `offset` on begins, and its hash; no hash at the end of the file."""
    lines.seek(max(0, offset - 1))
    if offset:
        lines.readline(_LONGEST_LINE)
    start = lines.tell()
    match = _LINE.fullmatch(lines.readline(_LONGEST_LINE))
    return start, b"" if match is None else bytes.fromhex(match[1].decode("ascii"))


def _write(target: BinaryIO, digests: Iterator[bytes], previous: bytes) -> None:
    """Append the entries of some hashes, each once."""
    for digest in digests:
        if len(digest) != SHA1_BYTES:
            raise BreachedListError("a hash has 40 hexadecimal digits")
        short = digest[:WIDTH]
        if short < previous:
            raise BreachedListError(
                f"the hash {digest.hex().upper()[:PREFIX]}… is out of order; use the list that is ordered by hash"
            )
        if short != previous:
            target.write(short)
        previous = short
