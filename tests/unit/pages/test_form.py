from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.reason import Reason
from gateway.pages.form import parse_form

NAMES = frozenset({"username", "password"})


def test_fields_are_decoded_and_missing_ones_are_empty() -> None:
    assert parse_form(b"username=al+ice%40x&form=sign-in", NAMES) == {
        "username": "al ice@x",
        "password": "",
        "form": "sign-in",
        "form_token": "",
    }


def test_an_empty_body_has_empty_fields() -> None:
    assert parse_form(b"", NAMES) == {"username": "", "password": "", "form": "", "form_token": ""}


def test_an_unknown_field_is_not_read() -> None:
    assert "submit" not in parse_form(b"username=a&submit=1", NAMES)


@pytest.mark.parametrize(
    "body",
    [
        b"username=a&username=b",
        b"username=a&user%6eame=b",
        b"x=1&x=2",
        b"username=%",
        b"username=%4",
        b"username=%zz",
        b"username=%+1",
        b"username=%-1",
        b"username=% 1",
        b"username=%ff",
        b"username=%c0%af",
        b"username=%ed%a0%80",
        b"username=\xff",
        b"username=\xc3\xa9",
        b"username=a%00b",
        b"&".join(b"f%d=x" % number for number in range(17)),
        b"&" * 60000,
    ],
    ids=repr,
)
def test_a_body_that_two_readers_could_understand_differently_is_refused(body: bytes) -> None:
    assert parse_form(body, NAMES) is Reason.MALFORMED_BODY


@given(
    st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])), st.text(alphabet="abc&=+% ü")
)
def test_whatever_a_browser_sends_comes_back(name: str, password: str) -> None:
    values = parse_form(urlencode({"username": name, "password": password}).encode(), NAMES)
    assert isinstance(values, dict)
    assert (values["username"], values["password"]) == (name, password)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    values = parse_form(body, NAMES)
    assert values is Reason.MALFORMED_BODY or (
        isinstance(values, dict) and values.keys() == NAMES | {"form", "form_token"}
    )
