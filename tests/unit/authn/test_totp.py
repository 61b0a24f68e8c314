import hmac
from base64 import b32encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.totp import (
    InvalidSecretError,
    enrolment_uri,
    is_short,
    make_secret,
    parse_code,
    parse_secret,
    step_of,
)

RFC_SECRET = b32encode(b"12345678901234567890").decode()
"""RFC 6238 appendix B."""


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_the_vectors_of_rfc_6238_are_accepted_at_their_step(now: int, code: str) -> None:
    assert step_of(RFC_SECRET, code, after=0, now=now) == now // 30


def test_one_step_of_drift_either_way_is_accepted_and_two_are_not() -> None:
    for drift, accepted in ((-60, False), (-30, True), (0, True), (30, True), (60, False)):
        found = step_of(RFC_SECRET, "081804", after=0, now=1111111109 + drift)
        assert (found == 1111111109 // 30) is accepted


def test_a_code_of_a_used_or_an_earlier_step_is_refused() -> None:
    step = 1111111109 // 30
    assert step_of(RFC_SECRET, "081804", after=step - 1, now=1111111109) == step
    assert step_of(RFC_SECRET, "081804", after=step, now=1111111109) is None
    assert step_of(RFC_SECRET, "081804", after=step + 1, now=1111111109) is None


@pytest.mark.parametrize(
    "code",
    [
        "",
        "08180",
        "0818044",
        "08180a",
        "\u0660\u0668\u0661\u0668\u0660\u0664",
        "081804\n",
        "\uff10\uff18\uff11\uff18\uff10\uff14",
    ],
)
def test_anything_but_six_ascii_digits_is_no_code(code: str) -> None:
    assert step_of(RFC_SECRET, code, after=0, now=1111111109) is None


def test_people_may_write_a_space_into_a_code() -> None:
    assert parse_code(" 081 804\n") == "081804"
    assert parse_code("081-804") is None
    assert parse_code("\u0660\u0668\u0661\u0668\u0660\u0664") is None


def test_a_secret_has_160_bits_and_a_uri_that_apps_read() -> None:
    secret = make_secret(bytes(range(20)))
    assert len(secret) == 32
    uri = enrolment_uri(secret, name="alice@example.com", issuer="portal.example.com")
    assert uri == f"otpauth://totp/portal.example.com:alice%40example.com?secret={secret}&issuer=portal.example.com"
    with pytest.raises(ValueError, match="20 random bytes"):
        make_secret(b"short")


@pytest.mark.parametrize("raw", [b"0123456789", b"0123456789abc", b"0123456789abcdef", b"x" * 64])
def test_short_secrets_that_people_bring_give_the_codes_their_apps_show(raw: bytes) -> None:
    """RFC 4226 section 5.3, computed here by hand."""
    secret = parse_secret(b32encode(raw).decode())
    mac = hmac.digest(raw, (1111111109 // 30).to_bytes(8, "big"), "sha1")
    at = mac[-1] & 15
    code = f"{(int.from_bytes(mac[at : at + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06d}"
    assert step_of(secret, code, after=0, now=1111111109) == 1111111109 // 30
    assert is_short(secret) is (len(raw) < 16)
    assert f"secret={secret}&" in enrolment_uri(secret, name="alice", issuer="portal")


@given(st.binary(min_size=10, max_size=64))
def test_a_secret_reads_back_however_it_was_copied(raw: bytes) -> None:
    secret = b32encode(raw).decode().rstrip("=")
    grouped = " ".join(secret[i : i + 4] for i in range(0, len(secret), 4)).lower()
    assert parse_secret(grouped) == parse_secret(b32encode(raw).decode()) == secret


@pytest.mark.parametrize("text", ["", "JBSWY3DP", "JBSWY3DPEHPK3PX0", "J" * 17, "A" * 105, "\u0410" * 16])
def test_text_that_is_no_base32_secret_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(InvalidSecretError) as refused:
        parse_secret(text)
    assert not text or text not in str(refused.value)
