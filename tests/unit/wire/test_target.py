"""Targets: one canonical path for everybody, and every other way to read it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.exchange.reason import Reason
from gateway.wire.authority import Authority
from gateway.wire.target import Target, aliases, is_clear, is_plain, parse_target, readings, remove_dot_segments

HOST = Authority("portal.example", None, "portal.example")


def path_of(raw: bytes) -> str:
    target = parse_target(raw, HOST)
    assert isinstance(target, Target), target
    return target.path


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/", "/"),
        (b"/a/b", "/a/b"),
        (b"/a/./b", "/a/b"),
        (b"/a/../b", "/b"),
        (b"/public/%2e%2e/admin", "/admin"),
        (b"/public/.%2E/admin", "/admin"),
        (b"/../../x", "/x"),
        (b"/%61dmin", "/admin"),
        (b"/a%2fb", "/a%2Fb"),
        (b"/%7Euser", "/~user"),
        (b"/items;color=red", "/items;color=red"),
        (b"/public/c%23", "/public/c%23"),
        (b"/a[1]", "/a%5B1%5D"),
        (b"/caf%c3%a9", "/caf%C3%A9"),
        (b"//x/admin", "//x/admin"),
    ],
)
def test_a_path_has_one_canonical_form(raw: bytes, path: str) -> None:
    assert path_of(raw) == path


@pytest.mark.parametrize(
    "raw",
    [
        b"/a#/b",  # CVE-2023-47106
        b"/a%",
        b"/a%4",
        b"/a%zz",
        b"/a%00",
        b"/a%0a",
        b"/a%7f",
        b"/a\\b",
        b'/a"b',
        b"/a<b",
        b"*",
        b"a",
        b"ftp://portal.example/",
        b"http://other.example/",
        b"http://portal.example:81/",
        b"http://portal.example@other.example/",
        b"http:/a",
        b"/?a#b",
    ],
)
def test_a_target_that_no_browser_sends_is_refused(raw: bytes) -> None:
    assert parse_target(raw, HOST) is Reason.INVALID_TARGET


def test_absolute_form_that_agrees_with_host_is_ordinary() -> None:
    target = parse_target(b"http://PORTAL.example/a?b", HOST)
    assert isinstance(target, Target)
    assert target.text == b"/a?b"


@pytest.mark.parametrize("query", [b"a=[1]|{2}", b"", b"x=%00%0a", b"?", b"a=b/../c", b"q=%zz"])
def test_a_query_is_forwarded_byte_for_byte(query: bytes) -> None:
    target = parse_target(b"/x?" + query, HOST)
    assert isinstance(target, Target)
    assert target.text == b"/x?" + query


@pytest.mark.parametrize(
    "path",
    [
        "/public/..%5cadmin", "/public/..;/admin", "/public/..%2fadmin", "/public%2f..%2fadmin", "/%2561dmin", "/%25%36%31dmin", "/%252561dmin", "/public/%252e%252e/admin",
        "/%c0%ae%c0%ae/admin", "/public/%c0%ae%c0%ae/admin", "/public/%e0%80%ae%e0%80%ae/admin", "/public/%EF%BC%8E%EF%BC%8E/admin", "/%EF%BD%81dmin",
        "/admin%23", "/admin%3f", "/admin;x", "/admin;x/", "//admin", "/public//../admin", "/admin%20", "/%20admin", "/admin%09", "/adm%E2%80%8Bin", "/.;/admin",
        "/public/..%c0%afadmin", "/admin%C2%A0", "/public/%2e%2e;a=b/admin", "/x/..%5c..%5cadmin",
    ],
)  # fmt: skip
def test_every_spelling_of_admin_that_some_upstream_understands_is_among_the_readings(path: str) -> None:
    found = readings(path)
    assert found is not None
    assert {"/admin", "/admin/"} & {reading.lower() for reading in found}


@pytest.mark.parametrize(
    "path",
    [
        "/adm%C4%B1n", "/adm%C4%B0n", "/%C3%A0dmin", "/public/..%E2%88%95admin", "/public/..%C2%A5admin", "/adm%C2%ADin", "/adm%ffin", "/%25u0061dmin", "/public/..%c0%2fadmin",
        "/public/%f8%80%80%80%ae./admin", "/public/..%fc%80%80%80%80%afadmin", "/(S(token))/admin", "/%28A(x)F(y)%29/admin", "/admin:$i30:$INDEX_ALLOCATION", "/admin+", "/+admin",
    ],
)  # fmt: skip
def test_what_windows_aspnet_and_old_decoders_understand_is_among_the_readings(path: str) -> None:
    found = readings(path)
    assert found is not None
    assert {"/admin", "/admin/"} & {reading.lower() for reading in found}


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/admin.json", {"/admin"}),
        ("/a.tar.gz", {"/a.tar", "/a"}),
        ("/admin/index.php", {"/admin/index", "/admin/"}),
        ("/index.php/admin", {"/admin"}),
        (
            "/app/index.php/admin.json",
            {"/admin.json", "/app/admin.json", "/admin", "/app/admin", "/app/index.php/admin"},
        ),
        ("/.htaccess", set()),
        ("/admin", set()),
        ("/", set()),
    ],
)
def test_aliases_are_the_names_without_suffix_index_and_script(path: str, names: set[str]) -> None:
    assert aliases(path) == names


def test_many_dots_make_few_aliases() -> None:
    assert len(aliases("/" + "a." * 4000)) <= 4


@pytest.mark.parametrize("value", ["root", "Alice B", "André", "a.b", "a@b", "12,5", ""])
def test_a_value_with_one_meaning_is_clear(value: str) -> None:
    assert is_clear(value)


@pytest.mark.parametrize(
    "value", ["root;x", "root%20", "root ", " root", "root.", "ro\u200bot", "\uff52oot", "a/b", "a\\b", "a\0"]
)
def test_a_value_that_may_mean_another_is_not_clear(value: str) -> None:
    assert not is_clear(value)


def test_an_absolute_target_says_whether_it_wants_tls_and_may_name_the_port_of_its_scheme() -> None:
    for raw, wants in ((b"https://portal.example:443/a", True), (b"http://portal.example:80/a", False), (b"/a", False)):
        target = parse_target(raw, HOST)
        assert isinstance(target, Target)
        assert (target.text, target.demands_tls) == (b"/a", wants)
    assert parse_target(b"https://portal.example:80/a", HOST) is Reason.INVALID_TARGET


@pytest.mark.parametrize("path", ["/", "/a/b.html", "/a-b/c_d/~e", "/lib/exe/fetch.php", "/a/"])
def test_an_ordinary_path_has_one_reading(path: str) -> None:
    assert is_plain(path)
    assert readings(path) == frozenset((path,))


@pytest.mark.parametrize("path", ["/A", "/a%20b", "/..", "/a/./b", "//", "/a;b", "/.htaccess", "/a.", "/a./b"])
def test_a_path_with_anything_unusual_is_not_plain(path: str) -> None:
    assert not is_plain(path)


@pytest.mark.parametrize("path", ["/%2520;a%5c%EF%BC%8F//" * 12 + "%23x", "/" + "%2520;a%5c" * 900])
def test_a_path_with_too_many_readings_is_ambiguous_not_slow(path: str) -> None:
    assert readings(path) is None


SEGMENTS = st.lists(st.sampled_from(["a", ".", "..", "", "%2e", "b;c", "%2F", "..;", "A"]), max_size=8)


@settings(max_examples=200)
@given(SEGMENTS)
def test_the_canonical_form_is_canonical(segments: list[str]) -> None:
    target = parse_target(("/" + "/".join(segments)).encode(), HOST)
    assert isinstance(target, Target)
    again = parse_target(target.path.encode(), HOST)
    assert isinstance(again, Target)
    assert again.path == target.path
    assert "/../" not in target.path + "/"
    assert remove_dot_segments(target.path) == target.path


@settings(max_examples=500)
@given(st.text(st.sampled_from("a9/.%~A_-\n"), max_size=12))
def test_a_plain_path_is_segments_without_a_dot_at_an_end(text: str) -> None:
    segment = "[a-z0-9_~-](?:[a-z0-9_.~-]*[a-z0-9_~-])?"
    assert is_plain("/" + text) is (re.fullmatch(f"/(?:(?:{segment}/)*(?:{segment})?)?", "/" + text) is not None)
    assert not is_plain("a" + text)


@settings(max_examples=200)
@given(st.text(st.sampled_from("ab/.%25eEfF;\\ ~A_-"), max_size=30))
def test_plain_paths_and_their_readings_agree(text: str) -> None:
    path = "/" + text
    if is_plain(path):
        assert readings(path) == frozenset((path,))
