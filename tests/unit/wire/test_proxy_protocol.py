"""PROXY protocol headers, whole, in pieces, cut, and forged."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.proxy_protocol import (
    MAX_V1_BYTES,
    MAX_V2_BYTES,
    SIGNATURE,
    ProxyHeader,
    ProxyHeaderError,
    Source,
    crc32c,
    decode,
)

addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
ports = st.integers(0, 65535)


def version_1(source: str, destination: str, port: int = 56324, to: int = 443) -> bytes:
    return f"PROXY TCP{6 if ':' in source else 4} {source} {destination} {port} {to}\r\n".encode()


def version_2(family: int, block: bytes, command: int = 0x21) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, family, len(block)) + block


def block_of(source: str, destination: str, port: int = 56324, to: int = 443) -> bytes:
    return ip_address(source).packed + ip_address(destination).packed + struct.pack(">HH", port, to)


def extension(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value


def with_checksum(family: int, block: bytes) -> bytes:
    blank = version_2(family, block + extension(3, bytes(4)))
    return blank[:-4] + crc32c(blank).to_bytes(4, "big")


IPV4 = block_of("198.51.100.7", "203.0.113.1")
GOOD = [
    (version_1("198.51.100.7", "203.0.113.1"), Source("198.51.100.7", 56324)),
    (version_1("2001:db8::7", "2001:db8::1"), Source("2001:db8::7", 56324)),
    (version_1("::ffff:198.51.100.7", "::1"), Source("198.51.100.7", 56324)),
    (version_1("255.255.255.255", "255.255.255.255", 65535, 65535), Source("255.255.255.255", 65535)),
    (b"PROXY UNKNOWN\r\n", Source()),
    (b"PROXY UNKNOWN ffff::1 whatever it says 1 2\r\n", Source()),
    (version_2(0x11, IPV4), Source("198.51.100.7", 56324)),
    (version_2(0x21, block_of("2001:db8::7", "2001:db8::1")), Source("2001:db8::7", 56324)),
    (version_2(0x21, block_of("::ffff:198.51.100.7", "::1")), Source("198.51.100.7", 56324)),
    (
        version_2(0x11, IPV4 + extension(1, b"h2") + extension(0x20, bytes(64)) + extension(4, b"")),
        Source("198.51.100.7", 56324),
    ),
    (with_checksum(0x11, IPV4), Source("198.51.100.7", 56324)),
    (with_checksum(0x11, IPV4 + extension(2, b"portal.example")), Source("198.51.100.7", 56324)),
    (version_2(0x31, bytes(216)), Source()),
    (version_2(0x00, b""), Source()),
    (version_2(0x00, b"anything"), Source()),
    (version_2(0x00, b"", command=0x20), Source(is_proxy=True)),
    (version_2(0x11, IPV4, command=0x20), Source(is_proxy=True)),
    (version_2(0x99, b"anything", command=0x20), Source(is_proxy=True)),
    (version_2(0x11, IPV4 + extension(4, bytes(MAX_V2_BYTES - 16 - 12 - 3))), Source("198.51.100.7", 56324)),
]
BAD = [
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01",
    b"\r\n\r\n\x00\r\nQUIT\r",
    b"PROXY TCP4 198.51.100.7 203.0.113.1 56324 443\n\r\n",
    b"PROXY  TCP4 198.51.100.7 203.0.113.1 56324 443\r\n",
    b"PROXY TCP4 198.51.100.7 203.0.113.1 56324 443 \r\n",
    b"PROXY TCP4 198.51.100.7 203.0.113.1 56324\r\n",
    b"PROXY TCP4 198.51.100.7 203.0.113.1 056324 443\r\n",
    b"PROXY TCP4 198.51.100.7 203.0.113.1 65536 443\r\n",
    b"PROXY TCP4 198.51.100.7 203.0.113.1 1 99999\r\n",
    b"PROXY TCP4 198.51.100.07 203.0.113.1 1 2\r\n",
    b"PROXY TCP4 198.51.100.7 203.0.113.256 1 2\r\n",
    b"PROXY TCP4 ::1 ::1 1 2\r\n",
    b"PROXY TCP6 198.51.100.7 203.0.113.1 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    b"PROXY UDP4 198.51.100.7 203.0.113.1 1 2\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY unknown\r\n",
    b"proxy UNKNOWN\r\n",
    b"PROXY UNKNOWN " + b"x" * MAX_V1_BYTES + b"\r\n",
    version_2(0x12, IPV4),  # datagrams
    version_2(0x01, b""),
    version_2(0x41, bytes(12)),
    version_2(0x11, IPV4, command=0x11),
    version_2(0x11, IPV4, command=0x22),
    version_2(0x11, IPV4[:-1]),
    version_2(0x21, IPV4),
    version_2(0x31, bytes(215)),
    version_2(0x11, IPV4 + b"\x01"),
    version_2(0x11, IPV4 + b"\x01\x00\x05abcd"),
    version_2(0x11, IPV4 + extension(3, bytes(4))),
    version_2(0x11, IPV4 + extension(3, b"")),
    with_checksum(0x11, IPV4)[:-7] + extension(3, bytes(4)),
    with_checksum(0x11, IPV4 + extension(3, bytes(4))),
    version_2(0x11, bytes(MAX_V2_BYTES)),
]


@pytest.mark.parametrize(("header", "source"), GOOD)
def test_a_header_names_its_source_and_nothing_after_it_is_touched(header: bytes, source: Source) -> None:
    assert decode(header) == decode(header + b"GET / HTTP/1.1\r\n\r\n") == ProxyHeader(len(header), source)


@pytest.mark.parametrize(("header", "source"), GOOD)
def test_a_header_in_pieces_is_awaited(header: bytes, source: Source) -> None:
    assert all(decode(header[:size]) is None for size in range(len(header)))


@pytest.mark.parametrize("data", BAD)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ProxyHeaderError):
        decode(data)


@given(addresses, st.data(), ports, ports)
def test_both_versions_say_the_same(source: IPv4Address | IPv6Address, data: st.DataObject, port: int, to: int) -> None:
    destination = data.draw(st.ip_addresses(v=source.version))
    texts = str(source), str(destination), port, to
    first, second = (
        decode(version_1(*texts)),
        decode(version_2(0x11 if source.version == 4 else 0x21, block_of(*texts))),
    )
    assert first is not None
    assert second is not None
    assert first.source == second.source
    assert first.source.port == port


@given(st.binary(max_size=160), st.integers(0, 3))
def test_garbage_is_refused_or_awaited_and_more_of_it_changes_no_refusal(tail: bytes, kind: int) -> None:
    data = (b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11\x00")[kind] + tail
    settled: ProxyHeader | None = None
    refused = False
    for size in range(len(data) + 1):
        try:
            header = decode(data[:size])
        except ProxyHeaderError:
            refused = True
            assert settled is None
            continue
        assert not refused or header is None
        if refused:
            pytest.fail("a refusal was taken back")
        assert settled is None or header == settled
        settled = header


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    for header in (data, SIGNATURE + data, SIGNATURE + b"\x21\x11" + struct.pack(">H", len(data)) + data):
        try:
            decode(header)
        except ProxyHeaderError:
            pass


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


def test_the_longest_line_of_version_1_fits() -> None:
    full = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
    line = f"PROXY UNKNOWN {full} {full} 65535 65535\r\n".encode()
    assert len(line) == MAX_V1_BYTES
    assert decode(line) == ProxyHeader(MAX_V1_BYTES, Source())
