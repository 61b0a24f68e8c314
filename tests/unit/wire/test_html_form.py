from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.html_form import MAX_FIELDS, filled_in, find_form

PAGE = """
<html><body>
<form action="/search" method="get"><input name="q"></form>
<form id="login" name="signin" action="/doku.php?do=login&amp;id=start" method="POST">
 <input type="hidden" name="sectok" value="a&amp;b"><INPUT TYPE=hidden NAME=id value=start>
 <input name="u"><input type="password" name="p">
 <input type="checkbox" name="r" value="1"><input type="checkbox" name="keep" checked>
 <input name="off" disabled value="x"><input type="file" name="f">
 <button type="submit" name="go" value="1">Log in</button><button name="other" value="2">No</button>
</form></body></html>
"""


@pytest.mark.parametrize("which", ["", "login", "signin"])
def test_the_form_is_found_with_what_it_brings_along(which: str) -> None:
    form = find_form(PAGE, which)
    assert form is not None
    assert form.action == "/doku.php?do=login&id=start"
    assert form.method == "post"
    assert form.names == {"sectok", "id", "u", "p", "r", "keep"}
    assert filled_in(form, {"u": "al", "p": "s&t", "extra": "1"}) == [
        ("sectok", "a&b"), ("id", "start"), ("u", "al"), ("p", "s&t"), ("keep", "on"), ("go", "1"), ("extra", "1"),
    ]  # fmt: skip


def test_a_page_without_the_form_has_none() -> None:
    assert find_form("<form><input name=q></form>") is None
    assert find_form(PAGE, "register") is None
    assert find_form("") is None


def test_a_form_that_is_never_closed_is_read() -> None:
    form = find_form("<form action=/x method=post><input type=password name=p>")
    assert form is not None
    assert form.action == "/x"


def test_forms_do_not_nest_and_comments_and_scripts_are_no_forms() -> None:
    """attack: a form inside a comment or a script, to catch the password."""
    page = (
        "<!-- <form action='https://evil.example' method=post><input type=password name=p></form> -->"
        "<script>'<form action=https://evil.example method=post><input type=password name=p></form>'</script>"
        "<form action=/real method=post><form action='https://evil.example'><input type=password name=p></form>"
    )
    form = find_form(page)
    assert form is not None
    assert form.action == "/real"


def test_the_first_of_repeated_attributes_counts() -> None:
    form = find_form("<form action=/a action=/b><input type=password name=p name=q></form>")
    assert form is not None
    assert (form.action, form.names) == ("/a", frozenset({"p"}))


def test_a_page_with_endless_fields_is_read_up_to_a_bound() -> None:
    fields = "".join(f"<input name=f{number}>" for number in range(MAX_FIELDS * 2))
    form = find_form(f"<form><input type=password name=p>{fields}</form>")
    assert form is not None
    assert len(form.names) == MAX_FIELDS


@given(st.text(alphabet="<>/=\"'! \n-formput&;abx[]", max_size=200))
def test_any_page_is_read_without_an_exception(page: str) -> None:
    form = find_form(page)
    assert form is None or form.method in {"get", "post"}
