"""JSON is weighed before anything is built from it."""

from __future__ import annotations

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.shape.json_text import check
from gateway.inspection.shape.limits import Bound, JsonLimits, ShapeError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner, max_size=5),
    max_leaves=20,
)


def refusal(body: bytes, **limits: int) -> tuple[Bound, int]:
    with pytest.raises(ShapeError) as caught:
        check(body, msgspec.structs.replace(JsonLimits(), **limits))
    return caught.value.bound, caught.value.offset


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def names_of(value: object) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(names_of, value.values()))
    return sum(map(names_of, value)) if isinstance(value, list) else 0


@given(JSON, st.integers(0, 6))
def test_depth_is_that_of_the_value(value: object, depth: int) -> None:
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    if depth_of(value) > depth:
        assert refusal(body, depth=depth)[0] is Bound.JSON_DEPTH
    else:
        check(body, JsonLimits(depth=depth))


@given(JSON, st.integers(0, 6))
def test_names_are_those_of_all_objects(value: object, names: int) -> None:
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    if names_of(value) > names:
        assert refusal(body, names=names)[0] is Bound.JSON_NAMES
    else:
        check(body, JsonLimits(names=names))


def test_ordinary_bodies_pass() -> None:
    check(b"", JsonLimits())
    check(b'{"name":"O\'Brien","lines":[{"price":12.5,"text":"a: {b}, [c]"}]}', JsonLimits())
    check(b"\xef\xbb\xbf{}", JsonLimits())


def test_a_large_body_of_small_objects_passes() -> None:
    body = json.dumps([{"id": n, "sku": f"A-{n}"} for n in range(20_000)]).encode()
    check(body, JsonLimits())


def test_brackets_colons_and_commas_in_a_text_are_text() -> None:
    text = json.dumps({"code": '[{"a": [1, 2]}] \\" \\\\' * 200}).encode()
    check(text, JsonLimits(depth=1, names=1, values=3, digits=5))


@pytest.mark.parametrize(
    ("body", "limits", "bound", "offset"),
    [
        (b"[" * 100_000, {}, Bound.JSON_DEPTH, 64),
        (b'{"a":' * 65, {}, Bound.JSON_DEPTH, 320),
        (b'{"[":1,"b":2}', {"names": 1}, Bound.JSON_NAMES, 10),
        (b"[1,2,3]", {"values": 3}, Bound.JSON_VALUES, 4),
        (b'["' + b"1" * 20 + b'",' + b"1" * 20 + b"]", {"digits": 19}, Bound.JSON_DIGITS, 24),
    ],
)
def test_a_body_beyond_a_limit_is_refused_with_its_place(
    body: bytes, limits: dict[str, int], bound: Bound, offset: int
) -> None:
    assert refusal(body, **limits) == (bound, offset)


@pytest.mark.parametrize(
    "body",
    ['{"a":1}'.encode("utf-16-le"), '{"a":1}'.encode("utf-16"), b'{"a":"\xff"}', b'"\xed\xa0\x80"', b'"\xc0\xaf"'],
)
def test_another_encoding_and_overlong_forms_are_refused(body: bytes) -> None:
    with pytest.raises(ShapeError) as caught:
        check(body, JsonLimits())
    assert caught.value.bound is Bound.ENCODING
    assert not caught.value.is_too_complex


def test_a_name_twice_in_one_object_is_noticed() -> None:
    limits = JsonLimits(refuse_duplicates=True)
    check(b'[{"role":1},{"role":2,"x":{"role":3}}]', limits)
    check(b"[1e999, NaN, " + b"9" * 900 + b"]", limits)
    for body in (b'{"role":"user","role":"admin"}', b'{"role":1,"r\\u006fle":2}', b'[{"a":{"b":1,"c":2,"b":3}}]'):
        with pytest.raises(ShapeError) as caught:
            check(body, limits)
        assert caught.value.bound is Bound.JSON_DUPLICATE
    with pytest.raises(ShapeError) as caught:
        check(b'{"a":1,}', limits)
    assert caught.value.bound is Bound.MALFORMED


@pytest.mark.parametrize("unit", [b'"', b'\\"', b'"\\', b"[{", b":", b"1", b'"a\\\\'])
def test_hostile_repetition_is_judged(unit: bytes) -> None:
    with suppress(ShapeError):
        check(unit * 200_000, JsonLimits(refuse_duplicates=True))


@given(st.binary(max_size=200) | st.text('"\\[]{}:,1 ', max_size=80).map(str.encode), st.integers(0, 3))
def test_no_bytes_raise_anything_else(body: bytes, most: int) -> None:
    try:
        check(body, JsonLimits(depth=most, names=most, values=most + 1, digits=most, refuse_duplicates=True))
    except ShapeError as error:
        assert 0 <= error.offset <= len(body)  # noqa: PT017 - most bodies raise nothing
