"""Who the client is, behind proxies that are trusted and behind those that are not."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from gateway.exchange.reason import Reason
from gateway.wire.forwarded import client_address, forwarding_fields, is_trusted, limiter_key

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], "10.0.0.1"),
        ([b"198.51.100.7"], "198.51.100.7"),
        ([b"6.6.6.6, 198.51.100.7"], "198.51.100.7"),  # the left part is the client's own invention
        ([b"6.6.6.6", b"198.51.100.7, 10.0.0.2"], "198.51.100.7"),  # all lines count, not the last alone
        ([b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ([b"[2001:db9::1]"], "2001:db9::1"),
        ([b"::ffff:198.51.100.7"], "198.51.100.7"),
    ],
)
def test_the_client_is_the_rightmost_address_no_trusted_proxy_stands_for(lines: list[bytes], client: str) -> None:
    assert client_address("10.0.0.1", lines, TRUSTED) == client


@pytest.mark.parametrize(
    "line", [b"unknown", b"", b"1.2.3.4:80", b"_hidden", b"198.51.100.7,", b"\xff", b",".join([b"10.0.0.1"] * 40)]
)
def test_a_hop_that_is_no_address_is_an_error_cve_2024_47070(line: bytes) -> None:
    assert client_address("10.0.0.1", [line], TRUSTED) is Reason.INVALID_FORWARDED


def test_an_ipv4_mapped_peer_is_judged_as_ipv4() -> None:
    assert is_trusted("::ffff:10.1.1.1", TRUSTED)
    assert not is_trusted("11.0.0.1", TRUSTED)


def test_an_ipv6_customer_counts_by_its_64() -> None:
    assert limiter_key("2001:db8:1:2:3::4") == limiter_key("2001:db8:1:2:ffff::1") != limiter_key("2001:db8:1:3::1")
    assert limiter_key("192.0.2.1") == "192.0.2.1"


def test_forwarding_fields_name_the_client_once() -> None:
    fields = forwarding_fields("2001:db8::1", b"", proto="https", authority="a.example:8443", port=8443)
    assert b"x-forwarded-for: 2001:db8::1\r\n" in fields
    assert b'forwarded: for="[2001:db8::1]";host="a.example:8443";proto=https\r\n' in fields
