from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.inspection.rewrite.tag import MAX_VALUE_BYTES, WHOLE, Tag

MARKUP = st.lists(
    st.sampled_from([b"a", b"b=", b"=", b" ", b"\n", b"/", b'"', b"'", b">", b"<", b"\0", b"x=y", b'c="d"', b"e='f'", b"\xff", b"A"])
).map(b"".join)  # fmt: skip


def read(text: bytes, step: int = 0) -> tuple[Tag, int]:
    tag = Tag(is_end=False)
    if not step:
        return tag, tag.read(text, 0)
    at = 0
    for start in range(0, len(text), step):
        piece = text[start : start + step]
        at += tag.read(piece, 0)
        if tag.is_whole:
            break
    return tag, at


@pytest.mark.parametrize(
    ("text", "name", "attributes", "is_self_closing"),
    [
        (b"a>", b"a", {}, False),
        (b"SCRIPT SRC=/x.js>", b"script", {b"src": b"/x.js"}, False),
        (b'script src="a>b" async>', b"script", {b"src": b"a>b", b"async": b""}, False),
        (b"a b = 'c' d=e/>", b"a", {b"b": b"c", b"d": b"e/"}, False),
        (b"svg/>", b"svg", {}, True),
        (b"svg / >", b"svg", {}, False),
        (b"a/b/c>", b"a", {b"b": b"", b"c": b""}, False),
        (b"a =b>", b"a", {b"=b": b""}, False),
        (b"a b=>", b"a", {b"b": b""}, False),
        (b"a b= >", b"a", {b"b": b""}, False),
        (b"a b=\"c\"d='e'>", b"a", {b"b": b"c", b"d": b"e"}, False),
        (b'script <script src="x">', b"script", {b"<script": b"", b"src": b"x"}, False),
        (b"a\0b>", b"a\0b", {}, False),
        (b"x:y\x0cz>", b"x:y", {b"z": b""}, False),
    ],
)
def test_a_tag_is_read_as_browsers_read_it(
    text: bytes, name: bytes, attributes: dict[bytes, bytes], is_self_closing: bool
) -> None:
    tag, at = read(text + b"rest")
    assert (tag.name, tag.attributes, tag.is_self_closing, at) == (name, attributes, is_self_closing, len(text))


def test_of_two_attributes_the_first_counts_and_nothing_relies_on_it() -> None:
    tag, _ = read(b"script src=a SRC=b>")
    assert tag.attributes == {b"src": b"a"}
    assert tag.is_unfit


def test_an_endless_value_is_not_kept() -> None:
    tag, _ = read(b"img src=" + b"x" * (MAX_VALUE_BYTES + 1) + b">")
    assert tag.is_unfit
    assert len(tag.attributes[b"src"]) == MAX_VALUE_BYTES


def test_a_tag_without_an_end_is_not_whole() -> None:
    for text in (b"a", b"a b", b"a b=", b'a b="', b"a b='>", b'a b="c', b"a b=c"):
        assert not read(text)[0].is_whole
        assert WHOLE(b"<" + text) is None


@given(MARKUP, st.integers(1, 4))
@example(b'a"x>', 1)
def test_a_tag_is_read_alike_however_it_is_cut(rest: bytes, step: int) -> None:
    text = b"a" + rest
    whole, at = read(text)
    pieces, end = read(text, step)
    assert (whole.is_whole, whole.name, whole.attributes, whole.is_unfit) == (
        pieces.is_whole, pieces.name, pieces.attributes, pieces.is_unfit,
    )  # fmt: skip
    assert at == end
    if whole.is_whole:
        assert whole.is_self_closing == pieces.is_self_closing


@given(MARKUP)
def test_the_expression_and_the_machine_agree(rest: bytes) -> None:
    text = b"<a" + rest
    tag, at = Tag(is_end=False), 0
    at = tag.read(text, 1)
    found: re.Match[bytes] | None = WHOLE(text)
    assert (found is not None) == tag.is_whole
    if found is not None:
        assert found.end() == at
        assert found[1].lower() == tag.name
        assert found[2].endswith(b"/") == tag.is_self_closing
