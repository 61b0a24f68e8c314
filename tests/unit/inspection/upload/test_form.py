"""Forms with files: one reading, or a refusal."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.inspection.upload.form import BLOCK_BYTES, FormReader
from gateway.inspection.upload.objection import UploadRefusedError
from gateway.inspection.upload.policy import FIELD_BYTES, MAX_PARTS
from tests.unit.inspection.upload.bodies import BOUNDARY, cut, field, file, form, part


def read(body: bytes, *, places: list[int] | None = None, max_size: int = 1 << 24, max_files: int = 20) -> FormReader:
    reader = FormReader(BOUNDARY, max_size=max_size, max_files=max_files)
    for piece in cut(body, places or []):
        reader.feed(piece)
    reader.finish()
    return reader


def refused(body: bytes, **limits: int) -> str:
    with pytest.raises(UploadRefusedError) as caught:
        read(body, **limits)  # type: ignore[arg-type]
    return caught.value.objection.value


def test_a_form_of_a_browser_is_read() -> None:
    body = form(
        field(b"comment", "It's fine \u2013 5 € < 6 €".encode()),
        file(b"datei", "the %22best%22 Übersicht.pdf".encode(), b"%PDF-1.7 \r\n--" + BOUNDARY[:-1], b"application/pdf"),
        file(b"nothing", b"", b""),
        part(b"content-disposition: FORM-DATA; filename=a.txt; name=x\r\nContent-Length: 2", b"hi"),
    )  # fmt: skip
    parts = read(body).parts
    assert [(one.name, one.file_name, one.declared) for one in parts] == [
        ("comment", None, ""),
        ("datei", 'the "best" Übersicht.pdf', "application/pdf"),
        ("nothing", "", "application/octet-stream"),
        ("x", "a.txt", ""),
    ]
    assert parts[0].value.decode() == "It's fine \u2013 5 € < 6 €"
    assert [body[one.start : one.start + one.length] for one in parts[1:]] == [
        b"%PDF-1.7 \r\n--" + BOUNDARY[:-1],
        b"",
        b"hi",
    ]


@pytest.mark.parametrize("body", [b"--" + BOUNDARY + b"--\r\n", b"--" + BOUNDARY + b"--"])
def test_an_empty_form_has_no_parts(body: bytes) -> None:
    assert read(body).parts == []


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        (b"filename=a.pdf; filename*=utf-8''a%2Epdf", "a.pdf"),
        (b"filename=\"%C3%BC.pdf\"; filename*=UTF-8'de'%C3%BC.pdf", "%C3%BC.pdf"),
    ],
)
def test_a_name_in_both_spellings_is_read_where_they_agree(parameters: bytes, name: str) -> None:
    head = b"Content-Disposition: form-data; name=f; " + parameters
    assert read(form(part(head, b"x"))).parts[0].file_name == name


@given(
    st.lists(st.tuples(st.binary(max_size=60), st.booleans()), max_size=4),
    st.lists(st.integers(min_value=0), max_size=6),
    st.integers(min_value=-40, max_value=40),
)
@example([(b"\r\n--", True)], [3], 0)
def test_every_cut_of_a_body_reads_the_same(contents: list[tuple[bytes, bool]], places: list[int], around: int) -> None:
    filler = b"x" * (BLOCK_BYTES - 300 + around)
    parts = [file(b"f", b"a.txt", one) if is_file else field(b"v", one) for one, is_file in contents]
    body = form(file(b"big", b"b.txt", filler), *parts)
    found = read(body, places=places)
    assert found.parts == read(body).parts
    assert [body[one.start : one.start + one.length] for one in found.parts] == [filler, *(one for one, _ in contents)]


@pytest.mark.parametrize("around", range(-120, 20))
def test_a_boundary_may_fall_anywhere_in_the_blocks(around: int) -> None:
    body = form(file(b"big", b"b.txt", b"\r" * (BLOCK_BYTES + around)), field(b"v", b"1"))
    first, second = read(body).parts
    assert (first.length, second.value) == (BLOCK_BYTES + around, b"1")
    body = form(field(b"v", b"1" * (BLOCK_BYTES + around)))
    assert read(body).parts[0].length == BLOCK_BYTES + around


_ONE = field(b"a", b"1")
AMBIGUOUS = [
    ("a preamble", b"junk\r\n" + form(_ONE)),
    ("a line break before the first boundary", b"\r\n" + form(_ONE)),
    ("no end", _ONE),
    ("an epilogue", form(_ONE) + b"x"),
    ("a second form behind the first", form(_ONE) + form(_ONE)),
    ("bare line feeds", form(_ONE).replace(b"\r\n", b"\n")),
    ("blanks behind a boundary", form(_ONE).replace(BOUNDARY + b"\r\n", BOUNDARY + b" \r\n")),
    ("another name twice", form(part(b'Content-Disposition: form-data; name="a"; name="b"', b""))),
    ("two file names", form(part(b'Content-Disposition: form-data; name="a"; filename="b.txt"; filename="b.php"', b""))),
    ("two dispositions", form(part(b'Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="b"', b""))),
    ("two types", form(part(b'Content-Disposition: form-data; name="a"\r\nContent-Type: text/plain\r\nContent-Type: text/html', b""))),
    ("no disposition", form(part(b"Content-Type: text/plain", b""))),
    ("no headers", form(b"--" + BOUNDARY + b"\r\n\r\nx\r\n")),
    ("no name", form(part(b'Content-Disposition: form-data; filename="a.txt"', b""))),
    ("another disposition", form(part(b'Content-Disposition: attachment; name="a"; filename="a.txt"', b""))),
    ("a folded header", form(part(b'Content-Disposition: form-data;\r\n name="a"', b""))),
    ("a blank before the colon", form(part(b'Content-Disposition : form-data; name="a"', b""))),
    ("a parameter nobody knows", form(part(b'Content-Disposition: form-data; name="a"; size=1', b""))),
    ("blanks around an equals sign", form(part(b'Content-Disposition: form-data; name = "a"', b""))),
    ("an extended name", form(part(b"Content-Disposition: form-data; name*=utf-8''a", b""))),
    ("a continued name", form(part(b'Content-Disposition: form-data; name="a"; filename*0="a"; filename*1=".php"', b""))),
    ("NUL in a header", form(part(b'Content-Disposition: form-data; name="a\0b"', b""))),
    ("latin-1 in a header", form(part(b'Content-Disposition: form-data; name="a"; filename="\xfc.txt"', b""))),
    ("base64", form(part(b'Content-Disposition: form-data; name="a"; filename="a.txt"\r\nContent-Transfer-Encoding: base64', b"aGk="))),
    ("quoted-printable", form(part(b'Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: quoted-printable', b"=31"))),
    ("a form in a form", form(part(b'Content-Disposition: form-data; name="a"\r\nContent-Type: multipart/mixed; boundary=x', b"--x--"))),
    ("a foreign charset in the first part", form(part(b'Content-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset=utf-7', b"+ADw-"), _ONE)),
    ("a type that is none", form(part(b'Content-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset', b""))),
    ("a wrong length", form(part(b'Content-Disposition: form-data; name="a"\r\nContent-Length: 5', b"1"))),
    ("a gzip in a part", form(part(b'Content-Disposition: form-data; name="a"; filename="a"\r\nContent-Encoding: gzip', b""))),
]  # fmt: skip


@pytest.mark.parametrize("body", [case[1] for case in AMBIGUOUS], ids=[case[0] for case in AMBIGUOUS])
def test_a_body_that_parsers_read_differently_is_refused(body: bytes) -> None:
    assert refused(body) == "form_ambiguous"


@pytest.mark.parametrize(
    "parameters",
    [
        b"filename=\"a.txt\"; filename*=utf-8''a.php",
        b"filename*=utf-8''a.php",
        b"filename=\"a.txt\"; filename*=utf-8''%ff",
        b"filename=\"a.txt\"; filename*=utf-16''a.txt",
        b'filename="a\\"; x.txt"',
        b'filename="a\\\\.txt"',
    ],
)
def test_a_file_name_with_two_readings_is_refused(parameters: bytes) -> None:
    body = form(part(b'Content-Disposition: form-data; name="a"; ' + parameters, b"x"))
    assert refused(body) in {"name_ambiguous", "form_ambiguous"}


def test_a_file_without_a_name_is_refused() -> None:
    assert refused(form(file(b"a", b"", b"x"))) == "name_missing"


def test_sizes_and_counts_are_limited() -> None:
    assert refused(form(file(b"a", b"a.txt", b"x" * 11)), max_size=10) == "file_too_large"
    assert refused(form(*[file(b"a", b"a.txt", b"")] * 3), max_files=2) == "too_many_files"
    assert len(read(form(*[file(b"a", b"", b"")] * 3), max_files=2).parts) == 3  # nothing was chosen there
    assert refused(form(field(b"a", b"x" * (FIELD_BYTES + 1)))) == "form_too_large"
    assert refused(form(*[field(b"a" * 1000, b"x" * 1000)] * 600)) == "form_too_large"
    assert refused(form(*[field(b"a", b"")] * (MAX_PARTS + 1))) == "form_too_large"
    assert (
        refused(form(part(b'Content-Disposition: form-data; name="a"' + b"\r\nX-A: b" * 20, b""))) == "form_too_large"
    )
    assert refused(form(part(b'Content-Disposition: form-data; name="%b"' % (b"a" * 9000), b""))) == "form_too_large"


def test_a_million_bytes_before_the_boundary_are_not_searched() -> None:
    """CVE-2024-53981: a log line for each byte of junk."""
    reader = FormReader(BOUNDARY, max_size=10, max_files=1)
    with pytest.raises(UploadRefusedError):
        reader.feed(b"\r\n" * 500_000)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for data in (body, b"--" + BOUNDARY + b"\r\n" + body, form(body)):
        try:
            read(data)
        except UploadRefusedError:
            pass


INNER = b'Content-Disposition: form-data; name="g"; filename="evil.php"'


@pytest.mark.parametrize("line_break", [b"\n", b"\r"])
@pytest.mark.parametrize("tail", [b"", b"--"])
@pytest.mark.parametrize("before", [0, BLOCK_BYTES - 400, BLOCK_BYTES - 200])
def test_a_part_that_only_readers_of_other_line_breaks_see_is_refused(
    line_break: bytes, tail: bytes, before: int
) -> None:
    """Werkzeug takes a line feed or a carriage return alone before a boundary, Python's email a line feed."""
    inner = line_break.join((b"x" * before, b"--" + BOUNDARY + tail, INNER, b"", b"<?php"))
    for places in ([], list(range(BLOCK_BYTES - 500, BLOCK_BYTES + 500, 7))):
        with pytest.raises(UploadRefusedError) as caught:
            read(form(file(b"f", b"a.txt", inner)), places=places)
        assert caught.value.objection.value == "form_ambiguous"


def test_letters_of_a_boundary_within_a_line_are_content() -> None:
    assert len(read(form(file(b"f", b"a.txt", b"a --" + BOUNDARY + b" b\n--" + BOUNDARY[:-1]))).parts) == 1


@pytest.mark.parametrize(
    "parameters",
    [
        b"name=f; filename='evil.php'",  # PHP takes them for quotes
        b"name='f'; filename=a.txt",
        b"name=a'b; filename=x'c",
        b'name="f"; filename="=?utf-8?B?ZXZpbC5qc3A=?="',  # Tomcat decodes them (RFC 2047)
        b'name="=?utf-8?q?a?="; filename="a.txt"',
    ],
)
def test_names_that_some_portals_read_differently_are_refused(parameters: bytes) -> None:
    assert refused(form(part(b"Content-Disposition: form-data; " + parameters, b"x"))) == "name_ambiguous"


def test_a_file_without_a_name_is_no_field() -> None:
    """Busboy takes it for a file, others for a field."""
    head = b'Content-Disposition: form-data; name="f"\r\nContent-Type: application/octet-stream'
    assert refused(form(part(head, b"MZ"))) == "name_missing"
    head = b'Content-Disposition: form-data; name="f"\r\nContent-Type: application/json'
    assert read(form(part(head, b"{}"))).parts[0].value == b"{}"


def test_a_form_that_says_how_its_fields_are_decoded_says_utf_8() -> None:
    assert refused(form(field(b"_charset_", b"utf-7"), field(b"a", b"+ADw-script+AD4-"))) == "form_ambiguous"
    assert len(read(form(field(b"_charset_", b"UTF-8"))).parts) == 1
