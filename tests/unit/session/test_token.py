from base64 import urlsafe_b64decode
from hashlib import sha256
from string import ascii_letters, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.session.token import MAX_COOKIE_BYTES, is_handle, is_token, make_handle, make_token, row_of

BASE64URL = (ascii_letters + digits + "-_").encode()


@given(st.binary(min_size=32, max_size=32))
def test_every_made_token_is_one_and_fits_the_cookie(random: bytes) -> None:
    token = make_token(random)
    assert is_token(token)
    assert len(token) <= MAX_COOKIE_BYTES
    assert random.hex().encode() not in token
    assert row_of(token) == sha256(token).digest()


@given(st.binary(min_size=32, max_size=32))
def test_no_two_spellings_mean_the_same_token(random: bytes) -> None:
    """The last character has two bits that no token uses: a lenient decoder takes four spellings for one."""
    token = make_token(random)
    spellings = [token[:-1] + bytes([last]) for last in BASE64URL]
    same = [spelling for spelling in spellings if urlsafe_b64decode(spelling[4:] + b"=") == random]
    assert len(same) == 4
    assert [spelling for spelling in same if is_token(spelling)] == [token]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"gws_",
        make_token(bytes(32)) + b"\n",
        b" " + make_token(bytes(32)),
        make_token(bytes(32)) + b"=",
        make_token(bytes(32))[:-1],
        make_token(bytes(32))[:-1] + b"B",  # bits that no token sets
        b"GWS_" + make_token(bytes(32))[4:],
        b"gws_" + b"+" * 43,
        b"a" * 10_000,
    ],
)
def test_anything_else_is_no_token(value: bytes) -> None:
    assert not is_token(value)


@given(st.binary(max_size=120))
def test_reading_any_cookie_value_never_fails(value: bytes) -> None:
    is_token(value)


def test_handles_are_made_of_randomness_of_their_own() -> None:
    handle = make_handle(bytes(range(16)))
    assert handle == "s_000102030405060708090a0b0c0d0e0f"
    assert is_handle(handle)
    assert not is_handle(handle + "\n")
    assert not is_handle(handle.upper())
    with pytest.raises(ValueError, match="16 random bytes"):
        make_handle(b"")
    with pytest.raises(ValueError, match="32 random bytes"):
        make_token(b"")
