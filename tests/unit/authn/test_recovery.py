import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.recovery import CODE_BYTES, COUNT, digest_of, make_codes, parse_code


def test_ten_codes_of_eighty_bits_are_made() -> None:
    codes = make_codes(bytes(range(100)))
    assert len(set(codes)) == COUNT
    assert all(len(code) == 19 and code.count("-") == 3 for code in codes)
    with pytest.raises(ValueError, match="random bytes"):
        make_codes(b"few")


@given(st.binary(min_size=COUNT * CODE_BYTES, max_size=COUNT * CODE_BYTES))
def test_a_code_is_recognised_however_it_is_typed(random: bytes) -> None:
    code = make_codes(random)[0]
    bare = code.replace("-", "")
    for typed in (
        code.upper(),
        bare,
        f" {bare[:8]} {bare[8:]} ",
        code.replace("o", "0").replace("l", "1").replace("b", "8"),
    ):
        assert parse_code(typed) == bare


@pytest.mark.parametrize(
    "text", ["", "123456", "abcd-efgh-ijkl", "abcd-efgh-ijkl-mno9", "abcd-efgh-ijkl-mnopq", "\u0430bcd-efgh-ijkl-mnop"]
)
def test_anything_else_is_no_code(text: str) -> None:
    assert parse_code(text) is None


def test_what_is_stored_depends_on_owner_and_key_and_not_on_spelling() -> None:
    code = make_codes(bytes(range(100)))[3]
    stored = digest_of(code, user_id="u_1", key=b"k" * 32)
    assert digest_of(code.upper().replace("-", " "), user_id="u_1", key=b"k" * 32) == stored
    assert digest_of(code, user_id="u_2", key=b"k" * 32) != stored
    assert digest_of(code, user_id="u_1", key=b"j" * 32) != stored
    with pytest.raises(ValueError, match="not a recovery code"):
        digest_of("123456", user_id="u_1", key=b"k" * 32)
