"""The grammar of Forwarded (RFC 7239 §4, §6), which clients write into before our proxies do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.forwarded_field import Element, parse_forwarded


@pytest.mark.parametrize(
    ("lines", "elements"),
    [
        ([b"for=192.0.2.60;proto=http;by=203.0.113.43"], [("192.0.2.60", "http")]),
        ([b"for=192.0.2.43, for=198.51.100.17"], [("192.0.2.43", ""), ("198.51.100.17", "")]),
        ([b"for=192.0.2.43", b"for=198.51.100.17"], [("192.0.2.43", ""), ("198.51.100.17", "")]),
        ([b'For="[2001:db8:cafe::17]:4711"'], [("2001:db8:cafe::17", "")]),
        ([b'for="192.0.2.43:47011"'], [("192.0.2.43", "")]),
        ([b'for="192.0.2.43:_port"'], [("192.0.2.43", "")]),
        ([b'for="[::ffff:192.0.2.1]"'], [("192.0.2.1", "")]),
        ([b'for="_gazonk"'], [("", "")]),
        ([b"for=_SEVKISEK"], [("", "")]),
        ([b"for=Unknown"], [("", "")]),
        ([b'for="unknown:80"'], [("", "")]),
        ([b'proto="https";host="a\\"b:8443"'], [(None, "https")]),
        ([b'for="192.0.\\2.1";PROTO=HTTPS'], [("192.0.2.1", "https")]),
        ([b" for=192.0.2.1 ; proto=http\t,\tfor=192.0.2.2 "], [("192.0.2.1", "http"), ("192.0.2.2", "")]),
        ([b", ,for=192.0.2.1;;;proto=http;,,"], [("192.0.2.1", "http")]),
        ([b""], []),
        ([], []),
    ],
)
def test_elements_are_read_in_order(lines: list[bytes], elements: list[tuple[str | None, str]]) -> None:
    assert parse_forwarded(lines) == [Element(*element) for element in elements]


@pytest.mark.parametrize(
    "line",
    [
        b"192.0.2.1",
        b"for",
        b"for=",
        b"for =192.0.2.1",
        b"for= 192.0.2.1",
        b"for=192.0.2.1:80",  # a colon asks for quotes
        b"for=[::1]",
        b'for="::1"',
        b'for="[::1"',
        b'for="[192.0.2.1]x"',
        b'for="[fe80::1%eth0]"',
        b'for="192.0.2.1:123456"',
        b'for="1.2.3.4.5"',
        b"for=example.com",
        b"for=_",
        b"for=192.0.2.1 for=192.0.2.2",
        b"for=192.0.2.1;for=192.0.2.2",
        b"for=192.0.2.1;FOR=192.0.2.1",
        b'for="192.0.2.1',
        b'for="192.0.2.1\\"',
        b'for="192.0.2.1"x',
        b"f\xc3\xb6r=192.0.2.1",
        b"for=192.0.2.1\x00",
        b"a=b/c",
    ],
)
def test_anything_but_the_grammar_is_an_error(line: bytes) -> None:
    with pytest.raises(ValueError):
        parse_forwarded([line])


@pytest.mark.parametrize("opening", [b'x="', b'for=6.6.6.6;x="', b'x="\\', b'for="6.6.6.6', b'for=6.6.6.6, x="a;'])
@pytest.mark.parametrize(
    "ours", [b'for="[2001:db8::1]:80";proto="http"', b"for=192.0.2.9", b'for="192.0.2.9:1";host="a"']
)
def test_an_open_quote_never_swallows_what_the_proxy_adds(opening: bytes, ours: bytes) -> None:
    with pytest.raises(ValueError):
        parse_forwarded([opening + b", " + ours])
    with pytest.raises(ValueError):
        parse_forwarded([opening, ours])


@given(
    st.lists(
        st.sampled_from([b'"', b"\\", b",", b";", b" ", b"for=", b"1.2.3.4", b"x", b"[::1]", b"_a", b"="]), max_size=24
    )
)
def test_what_the_proxy_adds_is_the_last_element_whatever_the_client_sends(parts: list[bytes]) -> None:
    try:
        elements = parse_forwarded([b"".join(parts) + b', for="192.0.2.9:1";proto="https"'])
    except ValueError:
        return
    assert elements[-1] == ("192.0.2.9", "https")


@pytest.mark.parametrize("junk", [b" ", b", ", b";", b",;\t", b'a="', b"\\", b"a=b;", b'x="\\"'])
def test_a_long_line_costs_one_pass(junk: bytes) -> None:
    """With two passes over each run this would outlast any time limit of a test."""
    with pytest.raises(ValueError):
        parse_forwarded([junk * (1_000_000 // len(junk)) + b"\x00"])
