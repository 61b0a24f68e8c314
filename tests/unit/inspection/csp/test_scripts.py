from __future__ import annotations

import base64
import hashlib

import pytest

from gateway.inspection.csp.scripts import hash_of, read_approved, resolve

OWN = "https://portal.example"


def test_a_hash_is_that_of_the_standard() -> None:
    # the example of CSP3 §8.4
    assert hash_of("alert('Hello, world.');") == "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng="
    assert hash_of("\xfc") == "sha256-" + base64.b64encode(hashlib.sha256("\xfc".encode()).digest()).decode()


@pytest.mark.parametrize(
    ("entry", "url", "expected"),
    [
        ("/static/app.js", OWN + "/static/app.js", True),
        ("/static/app.js", OWN + "/static/app.js?v=1#x", True),
        ("/static/app.js?v=1", OWN + "/static/app.js?v=1", True),
        ("/static/app.js?v=1", OWN + "/static/app.js?v=2", False),
        ("/static/app.js", "https://evil.example/static/app.js", False),
        ("/static/*", OWN + "/static/a/b.js", True),
        ("/static/*", OWN + "/staticx.js", False),
        ("/static/*", "https://evil.example/static/a.js", False),
        ("https://cdn.example/lib/*", "https://cdn.example/lib/x.js?y", True),
        ("https://cdn.example/x.js", "https://cdn.example.evil.example/x.js", False),
        ("https://cdn.example/x.js", "http://cdn.example/x.js", False),
        ("/*", OWN + ".evil.example/x.js", False),
    ],
)
def test_a_script_is_approved_by_its_address(entry: str, url: str, expected: bool) -> None:
    assert read_approved([entry]).has_place(url, OWN) is expected


@pytest.mark.parametrize(
    "entry",
    ["", "app.js", "//cdn.example/x.js", "sha256-AAAA", "sha512-x", "sha256-" + "A" * 42 + "B=", "/a b.js", "/a/../b.js", "/a/..", "/a/./b.js", "/%2e%2e/b.js", "/*.js", "/a/*?x", "/*/*",
     "javascript:x", "data:text/javascript,1", "https://u@cdn.example/x.js", "https://CDN.example/x.js", '/a".js'],
)  # fmt: skip
def test_an_entry_that_names_no_script_for_certain_is_an_error(entry: str) -> None:
    with pytest.raises(ValueError, match=r"'|\*"):
        read_approved([entry])


def test_there_is_an_end_to_what_is_approved() -> None:
    with pytest.raises(ValueError, match="more than"):
        read_approved([f"/{number}.js" for number in range(513)])


def test_integrity_counts_when_every_hash_in_it_is_approved() -> None:
    good, other = hash_of("a"), hash_of("b")
    approved = read_approved([good])
    assert approved.has_integrity(good)
    assert approved.has_integrity(f" {good}?opt ")
    assert not approved.has_integrity(f"{good} {other}")
    assert not approved.has_integrity("")


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("app.js", OWN + "/dir/app.js"),
        ("/a?x=1&amp;y=2", OWN + "/a?x=1&y=2"),
        ("/a?x=1&y=2", OWN + "/a?x=1&y=2"),
        ("//cdn.example/a", "https://cdn.example/a"),
        (" HTTPS://cdn.example/a\n", "https://cdn.example/a"),
        ("?x", OWN + "/dir/page?x"),
        ("../a", OWN + "/a"),
        ("../../../a", OWN + "/a"),
        # no two readers agree
        ("///evil.example", None),
        ("https:///evil.example", None),
        ("https:evil.js", None),
        ("https:/evil.js", None),
        ("/\\evil.example", None),
        ("/a\tb", None),
        ("/%2E%2e/a", None),
        ("/a%5c..", None),
        ("/a&lt;b", None),
        ("/a&#47;b", None),
        ("/a&copy", None),
        ("https://u:p@host/", None),
        ("https://HOST.example/", None),
        ("javascript:1", None),
        ("\xfc.js", None),
        ("x" * 3000, None),
        ("https://[::1/", None),
        # dots that are still there when the browser asks, and empty segments that not everybody counts
        (OWN + "/static/../files/a", None),
        ("//portal.example/static/../files/a", None),
        (OWN + "/static/..", None),
        (OWN + "/static/./a", None),
        ("/static/..;/files/a", None),
        ("..;x", None),
        ("files/me///../../static/a", None),
        ("..//static/a", None),
        ("/static//a", OWN + "/static//a"),
        ("/a?/../b//c", OWN + "/a?/../b//c"),
    ],
)
def test_an_address_is_resolved_as_by_a_browser_or_not_at_all(reference: str, url: str | None) -> None:
    assert resolve(reference, OWN + "/dir/page?q") == url


def test_below_a_base_with_empty_segments_relative_addresses_are_not_clear() -> None:
    assert resolve("../app.js", OWN + "/a//b") is None
    assert resolve("/app.js", OWN + "/a//b?c") == OWN + "/app.js"
