from __future__ import annotations

import os
from collections.abc import Iterable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.columns import Builder, Columns, ColumnsError, read_head
from gateway.audit.columns import decode as decode_parts
from gateway.audit.flat import NAMES, flatten

KEY = AESGCM(bytes(range(32)))
SALT = bytes(16)


def decode(data: bytes, key: AESGCM, names: Iterable[str]) -> Columns:
    return decode_parts(lambda offset, size: data[offset : offset + size], data, key, names)


def built(count: int, first_index: int = 100) -> Columns:
    builder = Builder(first_index)
    for n in range(count):
        builder.add(flatten({"time": 1000 + n, "metadata": {"correlation_uid": f"r{n}", "tenant_uid": "acme"}}))
    return builder.columns()


def encoded(count: int = 3) -> bytes:
    return built(count).encode(KEY, file="f" * 64, salt=SALT)


@pytest.mark.parametrize("count", [0, 1, 3, 1024, 2500])
def test_what_was_encoded_is_decoded(count: int) -> None:
    columns = decode(encoded(count), KEY, ["request_id", "tenant"])
    assert (columns.first_index, columns.rows) == (100, count)
    assert columns.values("request_id") == [f"r{n}" for n in range(count)]
    assert columns.values("tenant") == ["acme"] * count
    if count:
        assert (columns.first_ms, columns.last_ms) == (1000, 999 + count)


def test_a_column_that_was_not_asked_for_is_not_there() -> None:
    with pytest.raises(KeyError):
        decode(encoded(), KEY, ["request_id"]).values("tenant")


def test_the_clear_part_says_nothing_about_anybody() -> None:
    data = encoded(50)
    assert b"acme" not in data
    assert read_head(data).rows == 50


def test_another_key_opens_nothing() -> None:
    with pytest.raises(ColumnsError):
        decode(encoded(), AESGCM(os.urandom(32)), [])


def test_times_that_would_hide_a_file_from_a_search_do_not_pass() -> None:
    data = encoded()
    with pytest.raises(ColumnsError, match="head"):
        decode(data.replace(b'"last_ms":1002', b'"last_ms":1001'), KEY, [])


def test_a_column_in_the_place_of_another_does_not_open() -> None:
    columns = built(2)
    head = read_head(columns.encode(KEY, file="f", salt=SALT))
    data = columns.encode(KEY, file="f", salt=SALT)
    sizes = list(head.columns.values())
    at = len(data) - sum(sizes)
    first, second = data[at : at + sizes[0]], data[at + sizes[0] : at + sizes[0] + sizes[1]]
    swapped = data[:at] + second + first + data[at + sizes[0] + sizes[1] :]
    with pytest.raises(ColumnsError):
        decode(swapped, KEY, NAMES[:2])


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_no_flipped_bit_changes_what_is_read(at: int, flip: int) -> None:
    data = bytearray(encoded())
    data[at % len(data)] ^= flip
    with pytest.raises(ColumnsError):
        decode(bytes(data), KEY, NAMES)


@given(st.binary(max_size=200))
def test_junk_is_refused(junk: bytes) -> None:
    for data in (junk, b"GWI1" + junk):
        with pytest.raises(ColumnsError):
            decode(data, KEY, NAMES)


@given(st.integers(min_value=0, max_value=400))
def test_what_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(ColumnsError):
        decode(encoded()[:length], KEY, NAMES)
