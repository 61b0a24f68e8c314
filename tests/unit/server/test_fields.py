from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.server.fields import Address, Origin, parse_address, parse_host, parse_origin, parse_port

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
PORTS = st.integers(1, 65535)


@given(address=ADDRESSES, port=PORTS)
@settings(max_examples=60)
def test_an_address_is_read_as_it_is_written(address: IPv4Address | IPv6Address, port: int) -> None:
    written = Address(str(address), port)
    assert parse_address(str(written)) == written


@given(scheme=st.sampled_from(["http", "https"]), host=st.one_of(NAMES, ADDRESSES.map(str)), port=PORTS)
@settings(max_examples=60)
def test_an_origin_is_read_as_it_is_written(scheme: str, host: str, port: int) -> None:
    origin = Origin("https" if scheme == "https" else "http", host, port)
    assert parse_origin(str(origin), "an origin") == origin


@given(text=st.text(max_size=40))
@settings(max_examples=100)
def test_whatever_is_written_is_read_or_refused_and_nothing_else_happens(text: str) -> None:
    for parse in (parse_address, parse_host, parse_port, lambda value: parse_origin(value, "an origin")):
        with suppress(ValueError):
            parse(text)


@given(name=NAMES)
@settings(max_examples=40)
def test_reading_a_host_twice_changes_nothing(name: str) -> None:
    assert parse_host(parse_host(name.upper())) == parse_host(name)


@pytest.mark.parametrize("port", ["0", "65536", "08443", "+1", "1 ", "", "٣"])
def test_what_is_no_port_is_refused(port: str) -> None:
    with pytest.raises(ValueError, match="is not a port"):
        parse_port(port)


@pytest.mark.parametrize(
    "host",
    ["a..b", "-a", "a-", "a b", "a/b", "a@b", "é.example", "a" * 64, ".".join(["abc"] * 70), "[::1", "[1.2.3.4]"],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ValueError):
        parse_host(host)


def test_the_schemes_own_port_is_left_out_of_the_authority() -> None:
    assert parse_origin("https://a.example:443", "x").authority == "a.example"
    assert parse_origin("http://a.example:443", "x").authority == "a.example:443"
    assert parse_origin("https://[::1]", "x").authority == "[::1]"
