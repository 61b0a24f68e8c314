"""One host, one spelling."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.address import canonical_address, limiter_key


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.1%2", "192.0.2.1"),
        ("64:ff9b::8.8.4.4", "8.8.4.4"),
        (bytes([192, 0, 2, 1]), "192.0.2.1"),
        (IPv6Address("2001:db8::1").packed, "2001:db8::1"),
    ],
)
def test_an_address_has_one_spelling(text: str | bytes, canonical: str) -> None:
    assert canonical_address(text) == canonical
    assert canonical_address(canonical) == canonical


@pytest.mark.parametrize("inside", ["10.0.0.1", "127.0.0.1", "192.168.1.1", "169.254.169.254"])
def test_a_translated_address_never_passes_for_one_inside(inside: str) -> None:
    assert canonical_address(f"64:ff9b::{inside}") == str(IPv6Address(f"64:ff9b::{inside}"))


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "01.2.3.4", "1.2.3.4%eth0", "fe80::1%", "1.2.3.4:80", "[::1]", " ::1", "::1\n", b"12345"]
)
def test_anything_else_is_no_address(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        canonical_address(text)


@given(st.ip_addresses())
def test_the_canonical_form_is_final(address: IPv4Address | IPv6Address) -> None:
    canonical = canonical_address(str(address))
    assert canonical_address(canonical) == canonical == canonical_address(address.packed)


def test_an_ipv6_customer_counts_by_its_64() -> None:
    assert limiter_key("2001:db8:1:2:3::4") == limiter_key("2001:db8:1:2:ffff::1") != limiter_key("2001:db8:1:3::1")
    assert limiter_key("192.0.2.1") == "192.0.2.1"
