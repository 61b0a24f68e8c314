from __future__ import annotations

from enum import StrEnum
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit.canonical import MAX_INTEGER, MAX_RECORD_BYTES, encode


class Colour(StrEnum):
    RED = "red"


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(),
        st.text(alphabet=st.characters(categories=["Cs", "Ll"])),
        st.binary(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4), st.tuples(inner)
    ),
    max_leaves=12,
)


def test_keys_are_sorted_and_nothing_is_padded() -> None:
    assert encode({"b": 1, "a": {"d": [True, "x"], "c": 2}}) == b'{"a":{"c":2,"d":[true,"x"]},"b":1}'


def test_strings_are_escaped_as_rfc_8785_says() -> None:
    text = "".join(chr(i) for i in range(0x20)) + '"\\/\x7f\u2028\u20ac\U0001f600'
    expected = (
        '"\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\b\\t\\n\\u000b\\f\\r\\u000e\\u000f\\u0010\\u0011\\u0012\\u0013'
        '\\u0014\\u0015\\u0016\\u0017\\u0018\\u0019\\u001a\\u001b\\u001c\\u001d\\u001e\\u001f\\"\\\\/\x7f\u2028\u20ac\U0001f600"'
    )
    assert encode({"a": text}) == b'{"a":' + expected.encode() + b"}"


@settings(max_examples=100)
@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=5))
def test_no_value_suppresses_a_record(record: dict[str, Any]) -> None:
    data = encode(record)
    assert len(data) <= MAX_RECORD_BYTES
    decoded = orjson.loads(data)
    assert isinstance(decoded, dict)
    assert b"\n" not in data
    assert orjson.dumps(decoded, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER) == data


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.5, "1.5"),
        (float("nan"), "nan"),
        (MAX_INTEGER + 1, hex(MAX_INTEGER + 1)),
        pytest.param(1 << 20000, None, id="huge"),
        ("\ud800x", "\\ud800x"),
        (b"\xff\0", "\\xff\0"),
        (object(), "<object>"),
    ],
)
def test_what_is_not_allowed_becomes_text_and_is_counted(value: object, text: str | None) -> None:
    decoded = orjson.loads(encode({"a": value}))
    assert decoded["unmapped"]["gw"]["coerced"] == 1
    if text is not None:
        assert decoded["a"] == text


def test_nulls_vanish_enumerations_are_their_values_and_odd_keys_become_ascii() -> None:
    decoded = orjson.loads(encode({"a": None, "b": [None, Colour.RED], "é": 1, 5: 2, Colour.RED: 3}))  # type: ignore[dict-item]
    assert decoded == {"b": ["red"], "\\xe9": 1, "<int>": 2, "red": 3, "unmapped": {"gw": {"coerced": 2}}}


def test_depth_is_bounded_even_for_a_record_that_holds_itself() -> None:
    record: dict[str, Any] = {}
    record["self"] = record
    assert encode(record).count(b"self") == 8


def test_a_long_record_is_cut_and_says_so() -> None:
    record = {"metadata": {"uid": "u"}, "time": 5, "text": "x" * 50_000, "list": ["y" * 100] * 500}
    decoded = orjson.loads(encode(record))
    assert decoded["metadata"]["is_truncated"] is True
    assert decoded["metadata"]["untruncated_size"] > 100_000
    assert decoded["metadata"]["uid"] == "u"
    assert decoded["time"] == 5
    assert decoded["text"] == "x" * len(decoded["text"])


def test_a_record_that_no_cut_makes_small_keeps_its_class_and_a_hash() -> None:
    record: dict[str, Any] = {"class_uid": 6003, "time": 5}
    node: dict[str, Any] = record
    for level in range(3):
        for i in range(32):
            node[f"{level:02d}{i:02d}" + "k" * 60] = {f"{j:03d}" + "k" * 60: "z" * 40 for j in range(32)}
        node = node[f"{level:02d}00" + "k" * 60]
    decoded = orjson.loads(encode(record))
    assert decoded["class_uid"] == 6003
    assert decoded["metadata"]["is_truncated"] is True
    assert len(encode(record)) <= MAX_RECORD_BYTES


def test_only_a_plain_member_is_overwritten_by_the_account_of_coercions() -> None:
    assert orjson.loads(encode({"unmapped": "text", "a": 1.5}))["unmapped"] == {"gw": {"coerced": 1}}
