from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit.redact import MARK, MAX_TEXT, may_hold_secret, redact
from gateway.wire.card_number import is_card_number

SECRETS = [
    ("password=hunter2-hunter2", "hunter2"),
    ('{"password": "correct horse"}', "correct horse"),
    ("PASSWD: 'abc def'", "abc def"),
    ("api_key=abcdef", "abcdef"),
    ("apikey%3Dabcdef", "abcdef"),
    ("?access_token=abcdef&x=1", "abcdef"),
    ("Authorization: Bearer abc.def-ghi", "abc.def"),
    ("authorization: Digest username=alice, response=0123", "0123"),
    ("Proxy-Authorization: Basic dXNlcjpwYXNz", "dXNl"),
    ("Cookie: a=1; __Host-gw=tok; JSESSIONID=xyz", "xyz"),
    ("Set-Cookie: gw=tok; Secure", "tok"),
    ("__Host-gw=tok", "tok"),
    ("bearer abcdefgh", "abcdefgh"),
    ("Bearer%20abcdefgh", "abcdefgh"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "c2ln"),
    ("eyJhbGciOiJkaXIifQ..iv.cipher.tag", "cipher"),
    ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN"),
    ("ghp_0123456789abcdefghijABCDEFGHIJ", "0123456789"),
    ("sk_live_0123456789abcdef", "0123456789"),
    ("xoxb-123456789012-abcdef", "abcdef"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----", "MIIEow"),
    ("otpauth://totp/x?secret=JBSWY3DP", "JBSWY3DP"),
    ("https://user:pa55@host/", "pa55"),
    ("SAMLResponse=PHNhbWw", "PHNhbWw"),
    ("code=123456", "123456"),
    ("otp: 123456", "123456"),
    ("card 4111111111111111.", "4111111111111111"),
    ("4111 1111 1111 1111", "1111 1111"),
    ("4111-1111-1111-1111", "1111-1111"),
    ("4111%201111%201111%201111", "1111"),
    ("4111%2D1111%2D1111%2D1111", "1111"),
    ("378282246310005", "378282"),
    ("5555555555554444", "5555"),
    ("%34111111111111111", "111111"),
    ("%65yJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "c2ln"),
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_a_secret_does_not_survive(text: str, secret: str) -> None:
    clean, count = redact(text)
    assert secret not in clean
    assert MARK in clean
    assert count >= 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GET /invoices/42 by alice",
        "order 1234567890123 shipped",
        "4111111111111112",
        "postcode=12345",
        "policies/portal.yaml:15:9",
        "a passport number",
        "100%",
        "phone +49 30 1234567",
        "01234567-89ab-7def-8123-456789abcdef",
        "1111222233334444555566667777",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == (text, 0)


@pytest.mark.parametrize("kind", ["k", "p", "s", "u"])
def test_an_id_of_ours_in_which_a_card_number_could_be_read_stays(kind: str) -> None:
    assert is_card_number("5656404211629")
    for name in ("b5656404211629f4", "b5656404211629f4" * 2):
        assert redact(f"apikey revoke {kind}_{name}") == (f"apikey revoke {kind}_{name}", 0)
    assert redact(f"{kind}-b5656404211629f4")[1] == 1
    assert redact(f"x{kind}_b5656404211629f4")[1] == 1


def test_redaction_is_idempotent_and_counts_each_secret() -> None:
    text, count = redact("password=a&token=b 4111111111111111")
    assert count == 3
    assert redact(text)[0] == text


def test_the_surroundings_stay_readable() -> None:
    assert redact("user=alice&password=x&page=2")[0] == f"user=alice&password={MARK}&page=2"


@settings(max_examples=100)
@given(st.text(max_size=400))
def test_no_text_raises(text: str) -> None:
    redact(text)


@pytest.mark.parametrize(
    "pattern", ["password=", "eyJ", "eyJaaaaa.", "4 ", "://a:", "bearer ", "%34", "-----BEGIN ", "pass", '"']
)
def test_hostile_repetition_ends(pattern: str) -> None:
    """Quantifiers are bounded or possessive: an unbounded one would not end before the suite's time limit."""
    clean, _ = redact(pattern * (2 * MAX_TEXT // len(pattern)))
    assert len(clean) <= MAX_TEXT * 2


@pytest.mark.parametrize(
    "path",
    [
        "/cards/4111/1111/1111/1111",
        "/x/4111--1111--1111--1111/y",
        "/p/3782.822463.10005",
        "/a/4111%201111%201111%201111",
    ],
)
def test_a_card_number_that_is_split_over_a_path_does_not_survive(path: str) -> None:
    text, count = redact(path)
    assert count == 1
    assert "1111" not in text
    assert "822463" not in text


@given(st.text(max_size=60) | st.from_regex(r"(?:[0-9 ./-]{4,20}|[a-zA-Z_]{3,8}[=: ]?){1,5}", fullmatch=True))
def test_what_the_quick_look_passes_has_nothing_to_take_out(text: str) -> None:
    if not may_hold_secret(text.encode("utf-8", "surrogatepass")):
        assert redact(text) == (text, 0)


@pytest.mark.parametrize(
    "text", ["BeArEr abcdef123456", "4111111111111111", "a/4111/1111/1111/1111", "gHp_x", "PASSWORD=x"]
)
def test_the_quick_look_sees_secrets_in_any_case(text: str) -> None:
    assert may_hold_secret(text.encode())


@pytest.mark.parametrize("path", [b"/invoices/42", b"/orders/018f3c2a-5b7d-7c31-9d3a-0123456789ab/lines/3"])
def test_the_quick_look_spares_ordinary_paths(path: bytes) -> None:
    assert not may_hold_secret(path)
