from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from gateway.document.place import Place
from gateway.document.quantity import duration
from gateway.document.source import Diagnostic, load


def place(text: str) -> tuple[Place, list[Diagnostic]]:
    findings: list[Diagnostic] = []
    return Place(load(text, "p.yaml"), findings), findings


def test_a_mapping_gives_the_places_of_its_fields() -> None:
    root, findings = place("a: 1\nb: x\n")
    fields = root.fields(("a",), ("b", "c"))
    assert fields is not None
    assert (fields["a"].value, str(fields["b"]), "c" in fields) == (1, "p.yaml:2:4", False)
    assert findings == []


def test_an_unknown_key_is_an_error_at_the_key_that_names_the_nearest() -> None:
    root, findings = place("routes:\n  - {nmae: x, path: y}\n")
    fields = root.fields(("routes",))
    assert fields is not None
    item = (fields["routes"].items() or [])[0]
    assert item.fields((), ("name", "path")) is not None
    assert list(map(str, findings)) == ["p.yaml:2:6: unknown key 'nmae'; did you mean 'name'? [unknown-key]"]


def test_each_missing_key_is_an_error_at_the_mapping() -> None:
    root, findings = place("a: {x: 1}\n")
    fields = root.fields(("a",))
    assert fields is not None
    assert fields["a"].fields(("b", "c"), ("x",)) is None
    assert list(map(str, findings)) == [
        "p.yaml:1:4: the key 'b' is missing [missing-key]",
        "p.yaml:1:4: the key 'c' is missing [missing-key]",
    ]


@pytest.mark.parametrize(
    ("text", "read", "message"),
    [
        ("[1]", lambda at: at.entries(), "expected a mapping of keys to values, found a list"),
        ("x", lambda at: at.fields(()), "expected a mapping of keys to values, found 'x'"),
        ("a: 1", lambda at: at.items(), "expected a list, found a mapping"),
        ("[]", lambda at: at.items(), "the list is empty"),
        ("1", lambda at: at.text(), "expected text, found the number 1; quote it"),
        ("true", lambda at: at.text(), "expected text, found true; quote it"),
        ("[a]", lambda at: at.text(), "expected text, found a list"),
        ("''", lambda at: at.text(), "empty value"),
        ("' '", lambda at: at.text(), "empty value"),
        ("a b", lambda at: at.text(re.compile("[a-z]+"), "one word"), "'a b': one word"),
        ("yes", lambda at: at.flag(), "expected true or false, found 'yes'"),
        ("1", lambda at: at.flag(), "expected true or false, found the number 1"),
        ("0", lambda at: at.count(maximum=9), "expected a whole number from 1 to 9, found the number 0"),
        ("10", lambda at: at.count(maximum=9), "found the number 10"),
        ("true", lambda at: at.count(maximum=9), "found true"),
        ("1.5", lambda at: at.count(maximum=9), "found the number 1.5"),
        ("''", lambda at: at.count(maximum=9), "found an empty text"),
        ("usr", lambda at: at.one_of(("ip", "user")), "'usr' is not one of ip, user; did you mean 'user'?"),
        ("15", lambda at: at.quantity(duration), "'15' is not a length of time"),
        ("[1]", lambda at: at.quantity(duration), "expected a number with a unit, found a list"),
        ("true", lambda at: at.quantity(duration), "found true"),
        ("[a, b, a]", lambda at: at.texts() and None, "'a' is listed twice"),
        ("[1]", lambda at: at.texts(), "expected text"),
        ("x", lambda at: at.texts(), "expected a list"),
    ],
)
def test_a_value_of_another_kind_is_reported_and_left_out(
    text: str, read: Callable[[Place], object], message: str
) -> None:
    root, findings = place(text)
    assert read(root) is None
    assert len(findings) == 1
    assert message in findings[0].message


def test_values_of_the_right_kind_are_returned() -> None:
    root, findings = place("t: word\nf: true\nn: 3\nq: 15m\nl: [a, b]\no: ip\n")
    at = root.entries() or {}
    assert (at["t"].text(), at["f"].flag(), at["n"].count(maximum=3), at["q"].quantity(duration)) == (
        "word",
        True,
        3,
        900,
    )
    assert (list(at["l"].texts() or ()), at["o"].one_of(("ip",))) == (["a", "b"], "ip")
    assert findings == []


def test_texts_may_be_read_by_a_check_of_the_caller() -> None:
    root, findings = place("[a, b]")
    assert list(root.texts(lambda item: item.text() if item.value == "b" else None) or ()) == ["b"]
    assert findings == []


def test_findings_stand_where_they_belong() -> None:
    root, findings = place("key: 'some text'\n")
    at = (root.entries() or {})["key"]
    at.fail("value", name="a-name")
    at.key().fail("key", name="b-name")
    at.fail_inside(1, 6, "inside", name="c-name")
    at.warn("careful", name="d-name")
    assert list(map(str, findings)) == [
        "p.yaml:1:6: value [a-name]",
        "p.yaml:1:1: key [b-name]",
        "p.yaml:1:12: inside [c-name]",
        "p.yaml:1:6: warning: careful [d-name]",
    ]
    assert str(at.key()) == "p.yaml:1:1"
