"""Forms and multipart bodies are counted before they are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.shape import form, multipart_body
from gateway.inspection.shape.limits import Bound, FormLimits, MultipartLimits, ShapeError


def form_refusal(body: bytes, **limits: int) -> tuple[Bound, int]:
    with pytest.raises(ShapeError) as caught:
        form.check(body, FormLimits(**limits))
    return caught.value.bound, caught.value.offset


def test_ordinary_forms_pass() -> None:
    form.check(b"", FormLimits())
    form.check(b"name=O%27Brien&note=a+b%26c&empty=&flag", FormLimits())
    form.check(b"note=" + b"x" * 100_000, FormLimits())
    form.check(b"&".join([b"a=1"] * 1000), FormLimits())


def test_a_form_beyond_a_limit_is_refused_with_its_place() -> None:
    assert form_refusal(b"&".join([b"a=1"] * 1001)) == (Bound.FORM_FIELDS, 4000)
    assert form_refusal(b"a=1&" + b"b" * 1025 + b"=1") == (Bound.FORM_NAME, 4)
    assert form_refusal(b"a=1&b=" + b"c" * 11, value_bytes=10) == (Bound.FORM_VALUE, 6)
    assert form_refusal(b"&" * 1_000_000)[0] is Bound.FORM_FIELDS


@given(st.lists(st.tuples(st.text("ab", max_size=6), st.text("cd", max_size=6)), max_size=8), st.integers(0, 6))
def test_limits_are_exact(fields: list[tuple[str, str]], most: int) -> None:
    body = "&".join(f"{name}={value}" for name, value in fields).encode()
    beyond = (
        len(fields) > max(most, 1)
        or any(len(name) > most for name, _ in fields)
        or any(len(value) > most for _, value in fields)
    )
    limits = FormLimits(fields=max(most, 1), name_bytes=most, value_bytes=most)
    if beyond:
        with pytest.raises(ShapeError):
            form.check(body, limits)
    else:
        form.check(body, limits)


def part(head: bytes, content: bytes = b"x", boundary: bytes = b"B") -> bytes:
    return b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


FIELD = part(b'Content-Disposition: form-data; name="a"')


def part_refusal(body: bytes, **limits: int) -> Bound:
    with pytest.raises(ShapeError) as caught:
        multipart_body.check(body, b"B", MultipartLimits(**limits))
    return caught.value.bound


def test_ordinary_parts_pass() -> None:
    multipart_body.check(FIELD * 200 + b"--B--\r\n", b"B", MultipartLimits())
    multipart_body.check(b"preamble\r\n" + FIELD + b"--B--", b"B", MultipartLimits())
    multipart_body.check(b"--B--\r\n", b"B", MultipartLimits())
    multipart_body.check(part(b"\r\n", b"\r\n\r\n--C\r\n") + b"--B--", b"B", MultipartLimits())


def test_parts_beyond_a_limit_are_refused() -> None:
    assert part_refusal(FIELD * 201 + b"--B--\r\n") is Bound.PARTS
    assert part_refusal(part(b"\r\n".join([b"a: b"] * 20)) + b"--B--") is Bound.PART_FIELDS
    assert part_refusal(part(b"a: " + b"b" * 9000) + b"--B--") is Bound.PART_HEAD


@pytest.mark.parametrize("body", [b"", b"a=1", FIELD, b"--B\r\nno end of header", b"--C--", b"--B\r\n--B--"])
def test_what_has_no_parts_or_no_end_is_refused(body: bytes) -> None:
    assert part_refusal(body) is Bound.MALFORMED


@given(st.lists(st.sampled_from([b"--B", b"--", b"\r\n", b"x", b": "]), max_size=40).map(b"".join))
def test_no_parts_raise_anything_else(body: bytes) -> None:
    try:
        multipart_body.check(body, b"B", MultipartLimits(parts=2, fields=1, head_bytes=8))
    except ShapeError as error:
        assert 0 <= error.offset <= len(body)  # noqa: PT017 - some bodies raise nothing
