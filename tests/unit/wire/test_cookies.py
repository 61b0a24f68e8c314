"""Cookies: ours stay ours, the portal's leave hardened."""

from __future__ import annotations

import pytest

from gateway.wire.cookies import harden_set_cookie, split_cookies


@pytest.mark.parametrize(
    "value",
    [
        b"__Host-gw=evil",
        b"gw=evil; Path=/",
        b"__HOST-GW=evil",
        b" gw =evil",
        b"gw-flow=x",
        b"__Host-gw-flow=x",
        b"=gw=x",
        b"gw",
        b"",
        b"a b=c",
    ],
)
def test_the_portal_cannot_set_a_cookie_of_ours(value: bytes) -> None:
    assert harden_set_cookie(value, secure=True) is None


def test_a_portal_cookie_gets_secure_and_samesite_but_never_httponly() -> None:
    assert harden_set_cookie(b"PHPSESSID=1; path=/", secure=True) == b"PHPSESSID=1; path=/; Secure; SameSite=Lax"
    assert harden_set_cookie(b"a=1", secure=False) == b"a=1; SameSite=Lax"


def test_what_the_portal_chose_itself_is_kept() -> None:
    assert (
        harden_set_cookie(b"a=1; secure; samesite=None; HttpOnly", secure=True)
        == b"a=1; secure; samesite=None; HttpOnly"
    )


def test_absurd_cookies_are_split_without_trouble() -> None:
    split = split_cookies(b"; ".join(b"c%d=%d" % (n, n) for n in range(5000)) + b";;; =x; gw=1")
    assert split.plain_token == b"1"
    assert split.portal.count(b"=") == 5000


@pytest.mark.parametrize(
    "name",
    [
        b"__host-gw", b"__HOST-GW", b"__Host-GW", b"__Secure-gw", b"__Host-gw ", b"\xe2\x80\x80__Host-gw", b"\xa0__Host-gw", b"\x0b__Host-gw",
        b'"__Host-gw"', b"__Host%2Dgw", b"__Host-gw[]", b"__Host-gw\x00", b"$__Host-gw", b"gw", b"__Host-gw-device", b"__Host-gw-flow",
    ],
)  # fmt: skip
def test_no_other_spelling_of_the_session_cookie_is_one(name: bytes) -> None:
    """Cookie tossing: browsers guard the prefix of exactly one spelling; a sibling host can set all others."""
    split = split_cookies(b"a=1; %b=tossed; b=2" % name)
    if name.strip(b" ") != b"__Host-gw":
        assert split.secure_token is None
    assert split_cookies(b"__Host-gw=ours; %b=tossed" % name).secure_token in (b"ours", None)


def test_a_session_cookie_that_comes_twice_is_none_wherever_the_second_one_stands() -> None:
    """Cookie tossing: the order of two cookies of one name proves nothing (RFC 6265 §5.4), also of a third."""
    for value in (
        b"__Host-gw=a; __Host-gw=b",
        b"__Host-gw=a; x=1; __Host-gw=a; __Host-gw=c",
        b"__Host-gw=a;__Host-gw=",
    ):
        assert split_cookies(value).secure_token is None


def test_a_cookie_sandwich_hides_and_reveals_nothing() -> None:
    """Old servers take what stands in quotes for one value; we cut at each semicolon, as browsers write them."""
    split = split_cookies(b'$Version=1; a="x; __Host-gw=ours; b=y"')
    assert split.secure_token == b"ours"
    assert b"ours" not in split.portal


def test_the_device_cookie_stays_ours_and_comes_once() -> None:
    split = split_cookies(b"x=1; __Host-gw-device=d; gw-device=p")
    assert (split.secure_device, split.plain_device, split.portal) == (b"d", b"p", b"x=1")
    assert split_cookies(b"__Host-gw-device=d; __Host-gw-device=e").secure_device is None
    assert harden_set_cookie(b"__Host-gw-device=x", secure=True) is None
