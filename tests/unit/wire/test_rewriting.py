"""What an upstream calls its places, and what the public calls them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.rewriting import PathMapping, Places

STRIP = PathMapping("/app", "")
ADD = PathMapping("", "/x")
BOTH = PathMapping("/app", "/x/y")
PREFIXES = st.from_regex(r"(/[a-z]{1,4}){0,3}", fullmatch=True)
PATHS = st.from_regex(r"(/[a-zA-Z0-9._~%;-]{0,6}){1,5}", fullmatch=True)
WORDS = (
    b"/", b"//", b"app", b"x/y", b"a", b"<", b">", b'"', b"'", b";", b"=", b"path", b"Domain", b"url", b"0", b" ", b",", b"http:", b"10.0.0.9:3000",
    b"portal.example.com", b"\\", b"?", b"#", b":80", b"app.internal", b"__Host-a",
)  # fmt: skip
VALUES = st.one_of(
    st.binary(max_size=200).filter(lambda value: b"\r" not in value and b"\n" not in value),
    st.lists(st.sampled_from(WORDS), max_size=14).map(b"".join),
)


def places(mapping: PathMapping | None = None) -> Places:
    return Places(b"https", b"portal.example.com", frozenset((b"10.0.0.9:3000", b"app.internal")), mapping)


@pytest.mark.parametrize(
    ("mapping", "public", "upstream"),
    [
        (STRIP, "/app/a/b", "/a/b"),
        (STRIP, "/app", "/"),
        (STRIP, "/app/", "/"),
        (STRIP, "/apple", None),
        (STRIP, "/", None),
        (STRIP, "/APP/a", None),
        (STRIP, "/app//a", "//a"),
        (ADD, "/a", "/x/a"),
        (ADD, "/", "/x/"),
        (BOTH, "/app/a", "/x/y/a"),
        (BOTH, "/app", "/x/y"),
        (BOTH, "/b", None),
    ],
)
def test_a_public_path_has_one_path_at_the_upstream(mapping: PathMapping, public: str, upstream: str | None) -> None:
    assert mapping.upstream(public) == upstream


@pytest.mark.parametrize(
    ("mapping", "upstream", "public"),
    [
        (STRIP, "/a", "/app/a"),
        (STRIP, "/", "/app/"),
        (STRIP, "/app/a", "/app/a"),
        (STRIP, "/apple", "/app/apple"),
        (ADD, "/x/a", "/a"),
        (ADD, "/x", "/"),
        (ADD, "/elsewhere", "/elsewhere"),
        (ADD, "/x//evil.example/", "/x//evil.example/"),
        (ADD, "/x/\\evil.example/", "/x/\\evil.example/"),
        (ADD, "/x/\t/evil.example/", "/x/\t/evil.example/"),
        (ADD, "/x/\t\t\\evil.example/", "/x/\t\t\\evil.example/"),
        (BOTH, "/x/y/a", "/app/a"),
        (BOTH, "/x/a", "/x/a"),
        (PathMapping("/x", "/x/app"), "/x/app/a", "/x/a"),
    ],
)
def test_a_path_of_the_upstream_is_named_as_the_public_knows_it(
    mapping: PathMapping, upstream: str, public: str
) -> None:
    assert mapping.public(upstream) == public


@given(PREFIXES, PREFIXES, PATHS)
def test_what_was_mapped_to_the_upstream_is_mapped_back(strip: str, add: str, rest: str) -> None:
    mapping = PathMapping(strip, add)
    forwarded = mapping.upstream(strip + rest)
    assert forwarded is not None
    known_by_itself = not add and forwarded.startswith(strip)  # a portal that knows where it is mounted
    if not known_by_itself and not rest.startswith("//"):
        assert mapping.public(forwarded) == strip + rest


@given(st.sampled_from([None, STRIP, BOTH]), VALUES)
def test_public_names_stay_as_they_are(mapping: PathMapping | None, value: bytes) -> None:
    for rewrite in (places(mapping).reference, places(mapping).link, places(mapping).refresh, places(mapping).cookie):
        once = rewrite(value)
        assert rewrite(once) == once


@given(st.sampled_from([None, STRIP, ADD, BOTH]), VALUES)
def test_no_rewriting_makes_a_new_line(mapping: PathMapping | None, value: bytes) -> None:
    made = places(mapping)
    for rewrite in (made.reference, made.link, made.refresh, made.cookie):
        assert not {b"\r", b"\n"} & {bytes((byte,)) for byte in rewrite(value)}


@given(st.sampled_from([STRIP, ADD, BOTH]), PATHS)
def test_a_path_never_becomes_a_host(mapping: PathMapping, path: str) -> None:
    if not path.startswith("//"):
        assert not places(mapping).reference(path.encode()).startswith(b"//")


@pytest.mark.parametrize(
    ("value", "public"),
    [
        (b"/next", b"/next"),
        (b"next", b"next"),
        (b"", b""),
        (b"http://10.0.0.9:3000/next?a=b#c", b"https://portal.example.com/next?a=b#c"),
        (b"HTTP://APP.internal/next", b"https://portal.example.com/next"),
        (b"http://app.internal:80/next", b"https://portal.example.com/next"),
        (b"https://app.internal:443?q", b"https://portal.example.com?q"),
        (b"http://portal.example.com/next", b"https://portal.example.com/next"),
        (b"//10.0.0.9:3000/next", b"//portal.example.com/next"),
        (b"//elsewhere.example/next", b"//elsewhere.example/next"),
        (b"http://10.0.0.9:3000.evil.example/", b"http://10.0.0.9:3000.evil.example/"),
        (b"http://user@10.0.0.9:3000/", b"http://user@10.0.0.9:3000/"),
        (b"http://10.0.0.9:3000\\@evil.example/", b"https://portal.example.com\\@evil.example/"),
        (b"/go?to=http://10.0.0.9:3000/", b"/go?to=http://10.0.0.9:3000/"),
        (b"mailto:a@10.0.0.9:3000", b"mailto:a@10.0.0.9:3000"),
    ],
)
def test_a_reference_to_the_upstream_leads_to_the_public_origin(value: bytes, public: bytes) -> None:
    assert places().reference(value) == public


@pytest.mark.parametrize(
    ("value", "public"),
    [
        (b"/a?next=/b", b"/app/a?next=/b"),
        (b"/a#/b", b"/app/a#/b"),
        (b"?page=2", b"?page=2"),
        (b"b/c", b"b/c"),
        (b"http://10.0.0.9:3000", b"https://portal.example.com"),
        (b"http://10.0.0.9:3000/a", b"https://portal.example.com/app/a"),
        (b"http://portal.example.com/a", b"https://portal.example.com/app/a"),
        (b"https://elsewhere.example/a", b"https://elsewhere.example/a"),
    ],
)
def test_a_reference_is_mapped_with_the_prefix(value: bytes, public: bytes) -> None:
    assert places(STRIP).reference(value) == public


@pytest.mark.parametrize(
    ("value", "public"),
    [
        (b"5", b"5"),
        (b"5; url=/next", b"5; url=/app/next"),
        (b"0;URL='/next'; more", b"0;URL='/app/next'; more"),
        (b'0, url = "http://10.0.0.9:3000/a"', b'0, url = "https://portal.example.com/app/a"'),
        (b"1.5 /next", b"1.5 /app/next"),
        (b"5; url=https://elsewhere.example/", b"5; url=https://elsewhere.example/"),
    ],
)
def test_refresh_is_rewritten_where_its_address_stands(value: bytes, public: bytes) -> None:
    assert places(STRIP).refresh(value) == public


@pytest.mark.parametrize(
    ("value", "public"),
    [
        (b'</a>; rel="next", </b>; rel=prev', b'</app/a>; rel="next", </app/b>; rel=prev'),
        (b'<http://10.0.0.9:3000/a>; title="</b>"', b'<https://portal.example.com/app/a>; title="</b>"'),
        (b'<a>; title="\\"</b>"; rel=x, </c>', b'<a>; title="\\"</b>"; rel=x, </app/c>'),
        (b"<https://elsewhere.example/>", b"<https://elsewhere.example/>"),
        (b"</unclosed", b"</unclosed"),
        (b'"</unclosed>', b'"</unclosed>'),
    ],
)
def test_link_targets_are_rewritten_and_quoted_texts_are_not(value: bytes, public: bytes) -> None:
    assert places(STRIP).link(value) == public


@pytest.mark.parametrize("value", [b"<" * 65536, b'"\\' * 32768, b'"' * 65535, b"<>" * 30000])
def test_a_link_that_never_ends_costs_one_pass(value: bytes) -> None:
    assert len(places().link(value)) == len(value)


@pytest.mark.parametrize(
    ("mapping", "value", "public"),
    [
        (None, b"a=1; Domain=app.internal; Path=/", b"a=1; Path=/"),
        (None, b"a=1; domain=.Internal", b"a=1"),
        (None, b"a=1; Domain=10.0.0.9", b"a=1"),
        (None, b"a=1; Domain=example.com", b"a=1; Domain=example.com"),
        (None, b"a=1; Domain=elsewhere.example", b"a=1; Domain=elsewhere.example"),
        (STRIP, b"a=1; Path=/", b"a=1; Path=/app"),
        (STRIP, b"a=1; path=/a; HttpOnly", b"a=1; Path=/app/a; HttpOnly"),
        (STRIP, b"a=1; Path=/app/a", b"a=1; Path=/app/a"),
        (STRIP, b"a=1; Path=a", b"a=1; Path=a"),
        (STRIP, b"__Host-a=1; Path=/; Secure", b"__Host-a=1; Path=/; Secure"),
        (ADD, b"a=1; Path=/", b"a=1; Path=/"),
        (ADD, b"a=1; Path=/x/a", b"a=1; Path=/a"),
        (ADD, b"a=1; Path=/elsewhere", b"a=1; Path=/elsewhere"),
        (BOTH, b"a=1; Path=/x", b"a=1; Path=/app"),
        (BOTH, b"a=1; Path=/x/y/z", b"a=1; Path=/app/z"),
    ],
)
def test_a_cookie_of_the_upstream_is_one_of_the_public_place(
    mapping: PathMapping | None, value: bytes, public: bytes
) -> None:
    assert places(mapping).cookie(value) == public


@pytest.mark.parametrize(
    "path", [b"/x//evil.example", b"/x/\\evil.example", b"/x/\t/evil.example", b"/x/\t\\evil.example"]
)
def test_no_prefix_that_is_taken_off_turns_a_path_into_a_host(path: bytes) -> None:
    """Attack: a portal redirects to what is a path of its own; browsers read tabs as nothing and backslashes as slashes."""
    named = places(ADD)
    assert named.reference(path) == path
    assert named.refresh(b"0; url=" + path) == b"0; url=" + path
    assert named.link(b"<" + path + b">; rel=next") == b"<" + path + b">; rel=next"
