from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.web_origin import origin_of_url, read_origin


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        (b"https://shop.example", b"https://shop.example"),
        (b"https://Shop.Example:443", b"https://shop.example"),
        (b"http://shop.example:80", b"http://shop.example"),
        (b"https://shop.example:8443", b"https://shop.example:8443"),
        (b"http://[2001:DB8::1]:8080", b"http://[2001:db8::1]:8080"),
        (b"https://127.0.0.1", b"https://127.0.0.1"),
    ],
)
def test_an_origin_is_read_as_browsers_write_it(text: bytes, origin: bytes) -> None:
    assert read_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        b"", b"null", b"https://", b"https://a.example/", b"https://a.example/x", b"ftp://a.example", b"//a.example",
        b"https://user@a.example", b"https://a.example:0", b"https://a.example:99999", b"https://a.example b.example",
        b"https://a.example\n", b"https://a.example,https://b.example", b"https://" + b"a" * 300, b"file://",
        b"chrome-extension://abcdef", b"HTTPS://a.example",
    ],
)  # fmt: skip
def test_what_is_no_origin_of_the_web_has_none(text: bytes) -> None:
    assert read_origin(text) is None


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        (b"https://shop.example/", b"https://shop.example"),
        (b"https://shop.example", b"https://shop.example"),
        (b"HTTPS://Shop.example:443/a?b#c", b"https://shop.example"),
        (b"http://shop.example?x", b"http://shop.example"),
    ],
)
def test_the_origin_of_a_page_is_that_of_its_address(url: bytes, origin: bytes) -> None:
    assert origin_of_url(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        b"", b"about:client", b"/path", b"https://portal.example@evil.example/", b"https://portal.example\\@evil.example/",
        b"https://portal.example:x/", b"data:text/html,x", b"https://a.example/\x00", b"https:///a.example/", b"https:a.example",
    ],
)  # fmt: skip
def test_an_address_that_could_name_two_hosts_has_no_origin(url: bytes) -> None:
    assert origin_of_url(url) is None


@given(st.binary(max_size=64))
def test_reading_an_origin_twice_changes_nothing(text: bytes) -> None:
    once = read_origin(text)
    if once is not None:
        assert read_origin(once) == once
        assert origin_of_url(once + b"/") == once
