import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.api_key import ENTROPY_BYTES, is_handle, is_key, make_handle, make_key, row_of

RANDOM = st.binary(min_size=ENTROPY_BYTES, max_size=ENTROPY_BYTES)


@given(RANDOM)
def test_every_key_has_the_form_that_scanners_look_for(random: bytes) -> None:
    key = make_key(random)
    assert re.fullmatch(rb"gwk_[0-9A-Za-z]{49}", key)
    assert is_key(key)


@given(RANDOM, RANDOM)
def test_different_random_bits_make_different_keys(one: bytes, two: bytes) -> None:
    assert (make_key(one) == make_key(two)) is (one == two)


def test_the_form_of_a_key_does_not_change() -> None:
    """Scanners have it: gwk_, 43 digits of base 62, 6 more of the CRC-32."""
    assert make_key(bytes(32)) == b"gwk_" + b"0" * 43 + b"0oVEGz"
    assert zlib.crc32(b"gwk_" + b"0" * 43) == sum(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".index(digit) * 62**power
        for power, digit in enumerate(reversed("0oVEGz"))
    )


@given(RANDOM, st.data())
def test_a_key_with_one_character_mistyped_is_no_key(random: bytes, data: st.DataObject) -> None:
    key = make_key(random)
    place = data.draw(st.integers(0, len(key) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != key[place]))
    assert not is_key(key[:place] + bytes([other]) + key[place + 1 :])


@given(st.binary(max_size=80))
def test_anything_else_is_no_key(text: bytes) -> None:
    assert not is_key(text)
    assert not is_key(b"gwk_" + text)


def test_white_space_around_a_key_is_not_part_of_one() -> None:
    key = make_key(b"\x07" * 32)
    for text in (key + b"\n", b" " + key, key + b" ", key[:-1], key + b"0", key.upper(), key.lower()):
        assert not is_key(text)


@pytest.mark.parametrize("random", [b"", bytes(31), bytes(33)])
def test_a_key_is_made_of_all_its_bits(random: bytes) -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        make_key(random)


def test_the_row_of_a_key_is_its_sha_256() -> None:
    assert row_of(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4
    assert len(row_of(make_key(bytes(32)))) == 32


def test_the_handle_of_a_key_has_a_form_of_its_own() -> None:
    handle = make_handle(bytes(range(8)))
    assert handle == "k_0001020304050607"
    assert is_handle(handle)
    for text in (
        "",
        "k_",
        "k_000102030405060",
        "k_00010203040506070",
        "s_0001020304050607",
        "k_000102030405060G",
        handle + "\n",
    ):
        assert not is_handle(text)
