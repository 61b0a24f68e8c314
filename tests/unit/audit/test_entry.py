from __future__ import annotations

import pytest

from gateway.audit.entry import Entry, EntryError, pack_entry, parse_entry, split_bundle
from gateway.exchange.stream import Stream

ENTRY = pack_entry(Stream.ACCESS, 0x0102, 3, 4, b"s" * 16, b"payload")


def test_the_bytes_are_the_documented_ones() -> None:
    assert b"GWA1" + bytes.fromhex("00 02 0201 0300000000000000 0400000000000000") + b"s" * 16 + b"payload" == ENTRY
    assert parse_entry(ENTRY) == Entry(0x0102, 3, 4, b"payload", Stream.ACCESS)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        ENTRY[:40],
        b"GWA2" + ENTRY[4:],
        ENTRY[:4] + b"\1" + ENTRY[5:],
        ENTRY[:5] + b"\0" + ENTRY[6:],
        ENTRY[:5] + b"\4" + ENTRY[6:],
        ENTRY + b"x" * 65535,
    ],
)
def test_anything_else_is_no_entry(data: bytes) -> None:
    with pytest.raises(EntryError):
        parse_entry(data)


def test_a_bundle_is_cut_into_exactly_its_entries() -> None:
    bundle = b"\x02\0ab\x01\0c"
    assert split_bundle(bundle, 2) == [b"ab", b"c"]
    for wrong, count in ((bundle, 1), (bundle, 3), (bundle[:-1], 2), (bundle + b"x", 2)):
        with pytest.raises(EntryError):
            split_bundle(wrong, count)
