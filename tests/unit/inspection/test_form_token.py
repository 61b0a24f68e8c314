from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.form_token import (
    HOUR_S,
    LIFETIME_HOURS,
    FormTokenError,
    find_in_parts,
    make_token,
    take_from_form,
    verify_token,
)

KEY = b"k" * 32
PAD = bytes(range(32))
NOW = 1_800_000_000.0


def test_the_token_of_a_page_is_valid_while_the_page_may_be_open() -> None:
    token = make_token(KEY, "session-1", NOW, PAD)
    assert len(token) == 86
    assert verify_token(KEY, "session-1", token, NOW) == 0
    assert verify_token(KEY, "session-1", token, NOW + LIFETIME_HOURS * HOUR_S) == LIFETIME_HOURS


def test_a_token_ends_with_its_hours() -> None:
    token = make_token(KEY, "session-1", NOW, PAD)
    with pytest.raises(FormTokenError):
        verify_token(KEY, "session-1", token, NOW + (LIFETIME_HOURS + 1) * HOUR_S)
    with pytest.raises(FormTokenError):  # the clock of another node is behind by more than it may
        verify_token(KEY, "session-1", token, NOW - HOUR_S)


def test_a_token_of_another_session_or_key_is_none() -> None:
    token = make_token(KEY, "session-1", NOW, PAD)
    for key, handle in ((KEY, "session-2"), (b"x" * 32, "session-1"), (KEY, "")):
        with pytest.raises(FormTokenError):
            verify_token(key, handle, token, NOW)


def test_a_token_looks_different_on_each_page_so_that_compression_tells_nothing() -> None:
    first, second = make_token(KEY, "s", NOW, PAD), make_token(KEY, "s", NOW, PAD[::-1])
    assert first != second
    assert verify_token(KEY, "s", first, NOW) == verify_token(KEY, "s", second, NOW)
    with pytest.raises(ValueError, match="32 bytes"):
        make_token(KEY, "s", NOW, b"")


@given(st.binary(max_size=100))
def test_what_nobody_made_is_refused(token: bytes) -> None:
    with pytest.raises(FormTokenError):
        verify_token(KEY, "s", token, NOW)


@pytest.mark.parametrize(
    ("body", "token", "rest"),
    [
        (b"gw_csrf=T&a=1", b"T", b"a=1"),
        (b"a=1&gw_csrf=T&b=%20+", b"T", b"a=1&b=%20+"),
        (b"a=1", b"", b"a=1"),
        (b"gw_csrf=T", b"T", b""),
        (b"gw_csrf=T&gw_csrf=U&a=gw_csrf=V", b"T", b"a=gw_csrf=V"),
        (b"&&a=1&", b"", b"&&a=1&"),
        (b"", b"", b""),
    ],
)
def test_the_field_is_taken_out_and_the_rest_stays_byte_for_byte(body: bytes, token: bytes, rest: bytes) -> None:
    assert take_from_form(body) == (token, rest)


def test_the_token_is_found_among_parts() -> None:
    token = make_token(KEY, "s", NOW, PAD)
    body = b'--b\r\nContent-Disposition: form-data; name="gw_csrf"\r\n\r\n%b\r\n--b\r\n' % token
    assert find_in_parts(body) == token
    assert find_in_parts(b"x" * 70_000 + body) == b""
    assert find_in_parts(body.replace(b"gw_csrf", b"other")) == b""
