import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.session.token import MAX_COOKIE_BYTES, is_handle, is_token, make_handle, make_token, row_of


@given(st.binary(min_size=32, max_size=32))
def test_every_made_token_is_one_and_fits_the_cookie(random: bytes) -> None:
    token = make_token(random)
    assert is_token(token)
    assert len(token) <= MAX_COOKIE_BYTES
    assert random.hex().encode() not in token
    assert row_of(token) != row_of(make_token(bytes(32))) or random == bytes(32)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 46), st.binary(min_size=1, max_size=1))
def test_no_two_spellings_mean_the_same_token(random: bytes, place: int, byte: bytes) -> None:
    token = make_token(random)
    other = token[:place] + byte + token[place + 1 :]
    assert other == token or not is_token(other) or row_of(other) != row_of(token)


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
