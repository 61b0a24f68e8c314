from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.address import canonical_address, is_address, masked


@pytest.mark.parametrize(
    "text", ["alice@example.com", "a.b+c@mail.example.co.uk", "x@localhost", "o'neil@example.com", "A@EXAMPLE.COM"]
)
def test_a_plain_mailbox_is_an_address(text: str) -> None:
    assert is_address(text)
    assert canonical_address(f" {text} ") == text.lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "@example.com",
        "alice@",
        "attacker@evil.com@company.com",  # CVE-2026-40574
        "alice@example.com\n",
        "alice@example.com\r\nBcc: bob@example.com",
        "alice @example.com",
        ".alice@example.com",
        "alice.@example.com",
        "al..ice@example.com",
        '"alice"@example.com',
        "alice@[192.0.2.1]",
        "alice@-example.com",
        "alice@example-.com",
        "alice@example..com",
        "älice@example.com",
        "alice@exämple.com",
        "<alice@example.com>",
        "a@example.com,b@example.com",
        "a" * 65 + "@example.com",
        "a@" + "b" * 64 + ".com",
        "a@" + ".".join(["b" * 60] * 5),
    ],
)
def test_whatever_a_header_or_a_server_could_read_otherwise_is_none(text: str) -> None:
    assert not is_address(text)


@given(st.text(max_size=80))
def test_the_canonical_form_is_stable_and_an_address_or_nothing(text: str) -> None:
    form = canonical_address(text)
    assert canonical_address(form) == form
    assert form == "" or (is_address(form) and form.count("@") == 1)


def test_a_masked_address_shows_its_host_and_one_letter() -> None:
    assert masked("alice.doe@acme.example") == "a…@acme.example"
    assert masked("a@acme.example") == "a…@acme.example"
