from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.mailed_code import RANDOM_BYTES, Purpose, digest_of, make_code, parse_code


@given(st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_a_code_is_eight_digits_and_reads_as_itself_however_it_is_typed(random: bytes) -> None:
    code = make_code(random)
    assert len(code) == 8
    assert parse_code(code) == parse_code(f" {code[:4]} {code[4:]}\n") == parse_code(f"{code[:4]}-{code[4:]}") == code


def test_a_code_begins_with_zeros_where_it_must() -> None:
    assert make_code(bytes(15) + b"\x07") == "00000007"


def test_a_code_needs_its_random_bytes() -> None:
    with pytest.raises(ValueError, match="16 random bytes"):
        make_code(b"few")


@given(st.text(max_size=40))
def test_any_text_is_a_code_or_nothing(text: str) -> None:
    assert parse_code(text) == "" or (len(parse_code(text)) == 8 and parse_code(text).isascii())


def test_a_digest_is_of_one_code_purpose_browser_and_key() -> None:
    made = {
        digest_of(code, purpose=purpose, browser=browser, key=key)
        for code in ("12345678", "12345679")
        for purpose in Purpose
        for browser in (b"a" * 32, b"b" * 32)
        for key in (b"k" * 32, b"l" * 32)
    }
    assert len(made) == 2 * len(Purpose) * 2 * 2
