"""Read the header that a proxy sends ahead of a connection: PROXY protocol, versions 1 and 2.

Source: HAProxy's `proxy-protocol.txt` (2020/03/05), by its section numbers. Decides nothing about
who may send such a header, and remembers nothing: the same bytes in any pieces read the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from gateway.wire.address import canonical_address

MAX_V1_BYTES: Final = 107
MAX_V2_BYTES: Final = 16 + 4096
"""Ours: addresses take 216 bytes, the rest is what a proxy tells of TLS."""
SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V1: Final = b"PROXY "
_HEAD: Final = Struct(">12sBBH")
_IPV4: Final = Struct(">4s4sHH")
_IPV6: Final = Struct(">16s16sHH")
_TLV: Final = Struct(">BH")
_PORT: Final = rb"(0|[1-9][0-9]{0,4})"
_TCP: Final = re.compile(
    rb"PROXY TCP([46]) ([0-9A-Fa-f.:]{2,39}) ([0-9A-Fa-f.:]{2,39}) " + _PORT + b" " + _PORT
).fullmatch
_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?").fullmatch
_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_ADDRESS_BYTES: Final = {_TCP4: _IPV4.size, _TCP6: _IPV6.size, _UNIX: 216}
_CRC32C: Final = 0x03
_MAX_PORT: Final = 65535


class ProxyHeaderError(ValueError):
    """The bytes are no PROXY header."""


class Source(NamedTuple):
    """Whom a proxy speaks for."""

    address: str = ""
    """Canonical; empty if the proxy speaks for itself, or does not know."""
    port: int = 0
    is_proxy: bool = False
    """The connection is the proxy's own: a health check (§2.2, LOCAL)."""


class ProxyHeader(NamedTuple):
    """A whole header."""

    size: int
    """Bytes it takes; what follows is the client's."""
    source: Source


def decode(data: bytes) -> ProxyHeader | None:
    """Read the header that `data` begins with; None when more of it is to come. Raises ProxyHeaderError."""
    if data[:1] == _V1[:1]:
        return _version_1(data)
    if not SIGNATURE.startswith(data[: len(SIGNATURE)]):
        raise ProxyHeaderError("no PROXY header")
    return _version_2(data)


def _version_1(data: bytes) -> ProxyHeader | None:
    """§2.1: one line of at most 107 bytes."""
    if not data.startswith(_V1[: len(data)]):
        raise ProxyHeaderError("no PROXY header")
    end = data.find(b"\r\n", 0, MAX_V1_BYTES)
    if end < 0:
        if len(data) >= MAX_V1_BYTES:
            raise ProxyHeaderError("the line is too long")
        return None
    line = data[:end]
    if _UNKNOWN(line):
        return ProxyHeader(end + 2, Source())
    found = _TCP(line)
    if found is None:
        raise ProxyHeaderError("not the line of a PROXY header")
    version, source, destination, *ports = found.groups()
    is_6 = version == b"6"
    if max(map(int, ports)) > _MAX_PORT or (b":" in source) is not is_6 or (b":" in destination) is not is_6:
        raise ProxyHeaderError("not the addresses of a PROXY header")
    _address(destination)
    return ProxyHeader(end + 2, Source(_address(source), int(ports[0])))


def _version_2(data: bytes) -> ProxyHeader | None:
    """§2.2: sixteen bytes, then addresses, then extensions."""
    if len(data) < _HEAD.size:
        return None
    _, command, family, length = _HEAD.unpack_from(data)
    size = _HEAD.size + length
    if size > MAX_V2_BYTES:
        raise ProxyHeaderError("the header is too long")
    if command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError("neither LOCAL nor PROXY")
    if len(data) < size:
        return None
    header = data[:size]
    if command == _LOCAL:  # "the receiver must accept this connection as valid and must use the real endpoints"
        return ProxyHeader(size, Source(is_proxy=True))
    if family == _UNSPECIFIED:  # "the receiver should ignore address information": whatever follows, too
        return ProxyHeader(size, Source())
    addresses = _ADDRESS_BYTES.get(family)
    if addresses is None:  # datagrams on a stream, and what is not assigned
        raise ProxyHeaderError("not a family of stream sockets")
    _extensions(header, _HEAD.size + addresses)
    if family == _UNIX:
        return ProxyHeader(size, Source())
    source, _, port, _ = (_IPV4 if family == _TCP4 else _IPV6).unpack_from(header, _HEAD.size)
    return ProxyHeader(size, Source(canonical_address(source), port))


def _extensions(header: bytes, at: int) -> None:
    """§2.2.1-§2.2.3: type, length, value, to the end; only the checksum is looked at."""
    if at > len(header):
        raise ProxyHeaderError("shorter than its addresses")
    is_checked = False
    while at < len(header):
        if at + _TLV.size > len(header):
            raise ProxyHeaderError("a cut extension")
        kind, length = _TLV.unpack_from(header, at)
        at += _TLV.size
        if at + length > len(header):
            raise ProxyHeaderError("a cut extension")
        if kind == _CRC32C:
            blank = header[:at] + bytes(length) + header[at + length :]
            if is_checked or length != 4 or crc32c(blank) != int.from_bytes(header[at : at + 4], "big"):
                raise ProxyHeaderError("a wrong checksum")
            is_checked = True
        at += length


def _address(text: bytes) -> str:
    try:
        return canonical_address(text.decode("ascii"))
    except ValueError as error:
        raise ProxyHeaderError("not an address") from error


def _remainders() -> Iterator[int]:
    for remainder in range(256):
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)  # noqa: PLW2901 - a shift register
        yield remainder


_REMAINDERS: Final = tuple(_remainders())


def crc32c(data: bytes) -> int:
    """Castagnoli's CRC of `data` (RFC 9260 appendix A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _REMAINDERS[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
