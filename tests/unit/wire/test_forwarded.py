"""Who the client is, behind proxies that are trusted and behind those that are not."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.reason import Reason
from gateway.wire.forwarded import MAX_HOPS, REMEMBERED, Client, TrustedProxies, forwarding_fields

NETWORKS = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
PROXIES = TrustedProxies(NETWORKS)
MODERN = TrustedProxies(NETWORKS, believes="forwarded")


def by_list(*lines: bytes, proto: bytes = b"") -> Client | Reason:
    return PROXIES.client("10.0.0.1", lines, proto, ())


def by_field(*lines: bytes) -> Client | Reason:
    return MODERN.client("10.0.0.1", (), b"", lines)


@pytest.mark.parametrize(
    ("lines", "client", "chain"),
    [
        ([], "10.0.0.1", "10.0.0.1"),
        ([b"198.51.100.7"], "198.51.100.7", "198.51.100.7, 10.0.0.1"),
        # the left part is the client's own invention, for us and for the upstream
        ([b"6.6.6.6, 198.51.100.7"], "198.51.100.7", "198.51.100.7, 10.0.0.1"),
        # all lines count, not the last alone
        ([b"6.6.6.6", b"198.51.100.7, 10.0.0.2"], "198.51.100.7", "198.51.100.7, 10.0.0.2, 10.0.0.1"),
        ([b"10.0.0.3, 10.0.0.2"], "10.0.0.3", "10.0.0.3, 10.0.0.2, 10.0.0.1"),
        ([b"[2001:db9::1]"], "2001:db9::1", "2001:db9::1, 10.0.0.1"),
        ([b"::ffff:198.51.100.7"], "198.51.100.7", "198.51.100.7, 10.0.0.1"),
        ([b"not even an address, 198.51.100.7"], "198.51.100.7", "198.51.100.7, 10.0.0.1"),
    ],
)
def test_the_client_is_the_rightmost_address_no_trusted_proxy_stands_for(
    lines: list[bytes], client: str, chain: str
) -> None:
    found = by_list(*lines)
    assert isinstance(found, Client)
    assert (found.address, found.chain) == (client, chain)


@pytest.mark.parametrize(
    "line",
    [
        b"unknown",
        b"",
        b"1.2.3.4:80",
        b"_hidden",
        b"198.51.100.7,",
        b"\xff",
        b"10.0.0.2%eth0",
        b",".join([b"10.0.0.1"] * 40),
    ],
)
def test_a_hop_that_is_no_address_is_an_error_cve_2024_47070(line: bytes) -> None:
    assert by_list(line) is Reason.INVALID_FORWARDED


@pytest.mark.parametrize(
    ("lines", "client", "scheme"),
    [
        ([], "10.0.0.1", ""),
        ([b"for=198.51.100.7;proto=https"], "198.51.100.7", "https"),
        # the scheme is the one that the client spoke, not the one between two proxies
        ([b"for=198.51.100.7;proto=https, for=10.0.0.2;proto=http"], "198.51.100.7", "https"),
        ([b"for=6.6.6.6;proto=https, for=198.51.100.7;proto=http"], "198.51.100.7", "http"),
        ([b"for=6.6.6.6;proto=https, for=198.51.100.7"], "198.51.100.7", ""),
        ([b"for=_hidden, for=unknown, for=198.51.100.7;proto=wss"], "198.51.100.7", ""),
        ([b"for=6.6.6.6", b'for="[2001:db8::2]", for="[2001:db8::1]"'], "6.6.6.6", ""),
    ],
)
def test_forwarded_names_the_client_and_its_scheme(lines: list[bytes], client: str, scheme: str) -> None:
    found = by_field(*lines)
    assert isinstance(found, Client)
    assert (found.address, found.scheme) == (client, scheme)


@pytest.mark.parametrize(
    "line",
    [
        b"for=unknown",
        b"for=_hidden",
        b"proto=https",
        b"for=198.51.100.7, proto=https",
        b'for="',
        b"for=198.51.100.7, for=unknown",
        b",".join([b"for=10.0.0.1"] * (MAX_HOPS + 1)),
    ],
)
def test_a_client_that_forwarded_does_not_name_is_an_error(line: bytes) -> None:
    assert by_field(line) is Reason.INVALID_FORWARDED


@pytest.mark.parametrize(
    ("proto", "scheme"), [(b"https", "https"), (b"HTTP", "http"), (b"https,http", ""), (b",", ""), (b"", "")]
)
def test_a_scheme_counts_only_when_it_is_one_of_two(proto: bytes, scheme: str) -> None:
    found = by_list(b"198.51.100.7", proto=proto)
    assert isinstance(found, Client)
    assert found.scheme == scheme


def test_the_field_that_the_proxies_do_not_write_is_never_read() -> None:
    """A client sends the other one: it chooses neither its address nor its scheme, and breaks nothing."""
    invented = (b'for=6.6.6.6;proto=https, for="',)
    found = PROXIES.client("10.0.0.1", (b"198.51.100.7",), b"", invented)
    assert found == Client("198.51.100.7", "198.51.100.7", "", "198.51.100.7, 10.0.0.1")
    found = MODERN.client("10.0.0.1", (b"6.6.6.6, nonsense",), b"https", (b"for=198.51.100.7",))
    assert found == Client("198.51.100.7", "198.51.100.7", "", "198.51.100.7, 10.0.0.1")


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line), max_size=4))
def test_a_client_that_is_believed_is_what_the_nearest_proxy_wrote(invented: list[bytes]) -> None:
    for found in (by_list(*invented, b"198.51.100.7"), by_field(b"for=198.51.100.7")):
        assert isinstance(found, Client)
        assert found.address == "198.51.100.7"
    found = by_field(*invented, b"for=198.51.100.7")
    assert found is Reason.INVALID_FORWARDED or (isinstance(found, Client) and found.address == "198.51.100.7")


def test_an_ipv4_mapped_proxy_is_judged_as_ipv4() -> None:
    assert PROXIES.include("::ffff:10.1.1.1")
    assert not PROXIES.include("11.0.0.1")
    assert not TrustedProxies().include("10.1.1.1")


def test_what_is_remembered_is_bounded_and_forgotten_whole() -> None:
    proxies = TrustedProxies(NETWORKS)
    for number in range(REMEMBERED + 10):
        found = proxies.client("10.0.0.1", (f"198.18.{number >> 8}.{number & 255}".encode(),), b"", ())
        assert isinstance(found, Client)
        assert found.address == f"198.18.{number >> 8}.{number & 255}"
    assert len(proxies._known) <= REMEMBERED


def test_what_a_client_makes_long_is_not_remembered() -> None:
    """Attack: the client writes kilobytes to the left of its address, different ones each time."""
    proxies = TrustedProxies(NETWORKS)
    found = proxies.client("10.0.0.1", (b"x" * 300, b"198.51.100.7"), b"", ())
    assert isinstance(found, Client)
    assert found.address == "198.51.100.7"
    proxies.client("10.0.0.1", (b"198.51.100.7",), b"x" * 300, ())
    assert proxies._known == {}


def test_forwarding_fields_name_the_client_once() -> None:
    fields = forwarding_fields("2001:db8::1", "2001:db8::1", proto="https", authority="a.example:8443", port=8443)
    assert b"x-forwarded-for: 2001:db8::1\r\n" in fields
    assert b'forwarded: for="[2001:db8::1]";host="a.example:8443";proto=https\r\n' in fields
