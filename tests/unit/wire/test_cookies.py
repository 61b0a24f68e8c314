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
