"""Which runs of digits could be a payment card's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.card_number import is_card_number, passes_luhn, scheme_of


def test_the_check_digit_is_luhns() -> None:
    assert is_card_number("4111111111111111")
    assert not is_card_number("4111111111111112")
    assert not is_card_number("411111111111")
    assert not is_card_number("1111111111111117")
    assert not is_card_number("४१११११११११११११११")


@pytest.mark.parametrize(
    ("digits", "scheme"),
    [
        ("4111111111111111", "visa"),
        ("4222222222222", "visa"),
        ("5555555555554444", "mastercard"),
        ("2223003122003222", "mastercard"),
        ("378282246310005", "amex"),
        ("6011111111111117", "discover"),
        ("30569309025904", "diners"),
        ("3530111333300000", "jcb"),
        ("6200000000000005", "unionpay"),
        ("6759649826438453", "maestro"),
        ("2200000000000004", "mir"),
    ],
)
def test_each_scheme_is_known_by_its_prefix_and_length(digits: str, scheme: str) -> None:
    assert scheme_of(digits) == scheme
    assert scheme_of(digits[:-1] + str((int(digits[-1]) + 1) % 10)) is None


@pytest.mark.parametrize(
    "digits",
    [
        "49927398716",  # passes Luhn, and no card is so short
        "79927398713000",
        "356938035643809",  # an IMEI
        "8991101200003204510",  # a SIM's ICCID
        "1234567812345670",
        "411111111111110",
    ],
)
def test_numbers_that_only_pass_luhn_belong_to_no_scheme(digits: str) -> None:
    assert scheme_of(digits) is None


@given(st.from_regex(r"[0-9]{1,24}", fullmatch=True))
def test_exactly_one_last_digit_passes(digits: str) -> None:
    assert sum(passes_luhn(f"{digits}{last}".encode()) for last in range(10)) == 1


@given(st.from_regex(r"[0-9]{13,19}", fullmatch=True))
def test_what_a_scheme_claims_is_a_card_number_in_the_wide_reading_too(digits: str) -> None:
    if scheme_of(digits) is not None and digits[0] != "8":
        assert is_card_number(digits)
