from __future__ import annotations

import email.message
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import cast
from urllib.request import Request
from urllib.response import addinfourl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.set_cookie import (
    MAX_AGE_S,
    Cookie,
    cookie_date,
    cookie_field,
    default_path,
    domain_matches,
    folded_name,
    merge,
    only_names,
    path_matches,
    read_set_cookie,
    returned,
    without_names,
)

NOW = 1_800_000_000.0


def read(value: str, *, host: str = "portal.example", path: bytes = b"/a/b?c", secure: bool = True) -> Cookie | None:
    return read_set_cookie(value.encode("latin-1"), host=host, path=path, secure=secure, now=NOW)


def kept(value: str, **about: object) -> Cookie:
    cookie = read(value, **about)  # type: ignore[arg-type]  # as `read`
    assert cookie is not None
    return cookie


def sent(cookies: list[Cookie], path: str = "/", **about: bool) -> bytes:
    facts = {"secure": True, "cross_site": False, **about}
    return cookie_field(returned(cookies, host="portal.example", path=path.encode(), now=NOW, **facts))


def test_every_attribute_is_read() -> None:
    cookie = kept("SID=31d4; Path=/docs; Domain=.Example; Secure; HttpOnly; SameSite=strict", host="portal.example")
    assert cookie == Cookie(
        name=b"SID",
        value=b"31d4",
        domain="example",
        path=b"/docs",
        secure=True,
        http_only=True,
        strict=True,
        created=NOW,
    )


def test_max_age_wins_over_expires_and_zero_removes() -> None:
    assert kept("a=1; Max-Age=60; Expires=Wed, 09 Jun 2021 10:18:14 GMT").expires == NOW + 60
    assert kept("a=1; Max-Age=0").is_over(NOW)
    assert kept("a=1; Max-Age=-1").is_over(NOW)
    assert kept("a=1; Max-Age=one").expires is None
    assert kept("a=1; Max-Age=999999999999").expires == NOW + MAX_AGE_S


def test_the_last_of_repeated_attributes_counts() -> None:
    assert kept("a=1; Path=/x; Path=/y").path == b"/y"
    assert kept("a=1; Path=/x; Path=y").path == b"/a"


@pytest.mark.parametrize(
    "value",
    [
        "nothing", "=x", "a b=1", "a=1\x01", "a=" + "x" * 4096, "a=1; Domain=other.example", "a=1; Domain=xample",
        "__Secure-a=1", "__Host-a=1; Secure", "__host-a=1; Secure; Path=/; Domain=portal.example", "gw=1", "__HOST-GW=1; Secure; Path=/",
    ],
)  # fmt: skip
def test_what_a_browser_would_ignore_is_ignored(value: str) -> None:
    assert read(value) is None


def test_a_secure_cookie_over_plain_http_is_ignored() -> None:
    assert read("a=1; Secure", secure=False) is None


def test_an_attribute_that_is_too_long_is_ignored() -> None:
    assert kept("a=1; Path=/" + "x" * 1024).path == b"/a"


def test_an_address_takes_no_cookie_for_a_part_of_it() -> None:
    assert read("a=1; Domain=0.0.1", host="127.0.0.1") is None
    assert kept("a=1; Domain=127.0.0.1", host="127.0.0.1").domain == ""
    assert not domain_matches("1.127.0.0.1", "127.0.0.1")


@pytest.mark.parametrize(
    ("path", "expected"), [(b"/", b"/"), (b"/a", b"/"), (b"/a/", b"/a"), (b"/a/b?/c/d", b"/a"), (b"a/b", b"/"), (b"", b"/")]
)  # fmt: skip
def test_default_path_is_the_directory(path: bytes, expected: bytes) -> None:
    assert default_path(path) == expected


@pytest.mark.parametrize(
    ("path", "cookie", "matches"),
    [
        (b"/a", b"/a", True), (b"/a/b", b"/a", True), (b"/a/b", b"/a/", True), (b"/ab", b"/a", False), (b"/a", b"/a/", False), (b"/", b"/", True), (b"/x", b"/", True),
    ],
)  # fmt: skip
def test_paths_match_at_slashes_alone(path: bytes, cookie: bytes, matches: bool) -> None:
    assert path_matches(path, cookie) is matches


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777.0),
        ("Sun Nov  6 08:49:37 1994", 784111777.0),
        ("6 november 94 8:49:37", 784111777.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Tue, 29 Feb 2028 00:00:00 GMT", 1835395200.0),
        ("Tue, 29 Feb 2027 00:00:00 GMT", None),
        ("Sun, 31 Apr 2026 00:00:00 GMT", None),
        ("Sun, 06 Nov 1994 24:00:00 GMT", None),
        ("Sun, 06 Nov 1600 00:00:00 GMT", None),
        ("Sun, 06 Nov 1994", None),
        ("0", None),
        ("", None),
    ],
)
def test_dates_are_read_as_browsers_read_them(text: str, expected: float | None) -> None:
    assert cookie_date(text.encode()) == expected


def test_longer_paths_come_first_then_older_cookies() -> None:
    older = kept("a=1; Path=/")
    newer = Cookie(name=b"b", value=b"2", created=NOW + 1)
    longer = kept("c=3; Path=/x")
    assert sent([newer, older, longer], "/x/y?q") == b"c=3; a=1; b=2"


def test_what_does_not_match_is_not_sent_back() -> None:
    jar = [
        kept("path=1; Path=/x"),
        kept("secure=1; Secure; Path=/"),
        kept("strict=1; SameSite=Strict; Path=/"),
        kept("gone=1; Expires=Thu, 01 Jan 1970 00:00:01 GMT; Path=/"),
        Cookie(name=b"other", value=b"1", domain="other.example", created=NOW),
        kept("all=1; Path=/; Domain=example"),
    ]
    assert sent(jar, secure=False, cross_site=True) == b"all=1"
    assert sent(jar, "/x") == b"path=1; secure=1; strict=1; all=1"


def test_a_change_takes_the_place_and_keeps_the_age_of_what_it_replaces() -> None:
    before = Cookie(name=b"a", value=b"1", created=NOW - 5)
    after = merge([before], [Cookie(name=b"a", value=b"2", created=NOW)], max_count=5, now=NOW)
    assert after.cookies == (Cookie(name=b"a", value=b"2", created=NOW - 5),)
    assert merge(after.cookies, [kept("a=; Max-Age=0; Path=/")], max_count=5, now=NOW).cookies == ()


def test_the_least_recently_set_go_beyond_the_count() -> None:
    jar = [Cookie(name=b"%d" % number, value=b"", created=NOW) for number in range(4)]
    merged = merge(jar, [jar[0]], max_count=3, now=NOW)
    assert [cookie.name for cookie in merged.cookies] == [b"2", b"3", b"0"]
    assert merged.evicted == 1


@pytest.mark.parametrize(
    "field",
    [
        b"PHPSESSID=evil", b"phpsessid=evil", b" PHPSESSID = evil", b"%50HPSESSID=evil", b"PHPSESSID", b'x="; PHPSESSID=evil; "',
        b"x=1,PHPSESSID=evil", b'x="1 PHPSESSID=evil"', b"PHPSESSID\x00=evil",
    ],
)  # fmt: skip
def test_no_spelling_of_a_vaulted_name_passes(field: bytes) -> None:
    """Session fixation: the portal must not see an id that the client chose (CVE-2020-7070, CVE-2022-31629)."""
    left = without_names(field, frozenset((folded_name(b"PHPSESSID"),)))
    assert b"evil" not in left
    assert b"SESSID" not in left.upper()


def test_dots_and_underscores_are_one_name_to_some_servers() -> None:
    assert without_names(b"my.sid=evil; my[sid=evil; other=1", frozenset((folded_name(b"my_sid"),))) == b"other=1"


def test_other_cookies_stay_as_they_are() -> None:
    assert without_names(b'a=1;  b="2";c', frozenset((b"x",))) == b'a=1; b="2"; c'
    assert only_names(b"a=1; b=2;a.b=3", frozenset((b"a", b"a.b"))) == b"a=1; a.b=3"


NAMES = st.sampled_from(("a", "b", "sid"))
PATHS = st.sampled_from(("/", "/a", "/a/", "/a/b", "/ab"))


@st.composite
def set_cookies(draw: st.DrawFn) -> str:
    value = f"{draw(NAMES)}={draw(st.text('xyz012', min_size=1, max_size=4))}; Path={draw(PATHS)}"
    value += draw(st.sampled_from(("", "; Secure")))
    value += draw(st.sampled_from(("", "; HttpOnly")))
    return value + draw(st.sampled_from(("", "; Max-Age=0", "; Max-Age=600")))


@given(st.lists(set_cookies(), max_size=8), PATHS, st.booleans())
def test_a_jar_returns_what_the_standard_library_returns(values: list[str], path: str, secure: bool) -> None:
    """http.cookiejar agrees on identity, removal, path, Secure and the order of paths; sets compare, for it orders equals otherwise."""
    theirs = CookieJar(DefaultCookiePolicy(rfc2965=False, netscape=True))
    ours: tuple[Cookie, ...] = ()
    for value in values:
        message = email.message.Message()
        message["Set-Cookie"] = value
        theirs.extract_cookies(cast("addinfourl", _Answer(message)), Request("https://portal.example/a/b/c"))  # type: ignore[arg-type]  # all it reads is `info`
        change = read(value, path=b"/a/b/c")
        assert change is not None
        ours = merge(ours, [change], max_count=50, now=NOW).cookies
    request = Request(f"{'https' if secure else 'http'}://portal.example{path}")
    theirs.add_cookie_header(request)
    expected = request.get_header("Cookie", "")
    got = sent(list(ours), path, secure=secure).decode()
    assert sorted(got.split("; ")) == sorted(expected.split("; "))


class _Answer:
    def __init__(self, message: email.message.Message) -> None:
        self._message = message

    def info(self) -> email.message.Message:
        return self._message


@given(st.binary(max_size=80), st.booleans())
def test_reading_any_bytes_gives_a_cookie_that_can_be_sent_or_nothing(value: bytes, secure: bool) -> None:
    cookie = read_set_cookie(value, host="portal.example", path=b"/", secure=secure, now=NOW)
    if cookie is not None:
        assert not {b"\r", b"\n", b";"} & {bytes([byte]) for byte in cookie_field([cookie])}


@given(st.binary(max_size=120))
def test_nothing_that_is_left_of_a_field_names_what_was_taken_out(field: bytes) -> None:
    names = frozenset((b"sid",))
    left = without_names(b"sid=1; " + field, names)
    assert without_names(left, names) == left
    assert not left.lower().startswith(b"sid=")


@given(st.binary(max_size=60))
def test_any_bytes_are_a_date_or_none(value: bytes) -> None:
    moment = cookie_date(value)
    assert moment is None or moment == int(moment)
