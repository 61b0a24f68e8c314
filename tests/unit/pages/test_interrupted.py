from __future__ import annotations

from html import unescape
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pages.interrupted import FormField, InterruptedForm, read_interrupted

FORM = "application/x-www-form-urlencoded"
BOUNDARY = "----WebKitFormBoundaryO5quBRiT4G7Vm3R7"


def read(body: bytes, kind: str = FORM) -> InterruptedForm | None:
    return read_interrupted("/orders?step=2", kind, body)


def multipart(*parts: bytes) -> bytes:
    fence = f"--{BOUNDARY}".encode()
    return b"".join(fence + b"\r\n" + part + b"\r\n" for part in parts) + fence + b"--\r\n"


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'Content-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value


EMPTY_FILE = part("upload", b"", '; filename=""\r\nContent-Type: application/octet-stream')


def test_a_form_keeps_order_repetition_and_emptiness() -> None:
    form = read(b"item=2&item=1&note=&colour=red+green")
    assert form is not None
    assert [(field.name, field.value) for field in form.fields] == [
        ("item", "2"),
        ("item", "1"),
        ("note", ""),
        ("colour", "red green"),
    ]
    assert (form.path, form.target, form.size) == ("/orders", "/orders?step=2", 36)


@pytest.mark.parametrize("kind", [FORM, f"{FORM}; charset=UTF-8", FORM.upper(), f"{FORM};charset=utf-8"])
def test_the_media_type_is_read_as_browsers_write_it(kind: str) -> None:
    assert read(b"a=1", kind) is not None


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/json", f"{FORM}; charset=utf-7", f"{FORM}; a=b", "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=x"],
)  # fmt: skip
def test_another_media_type_is_not_kept(kind: str) -> None:
    assert read(b"a=1", kind) is None


@pytest.mark.parametrize(
    "body",
    [b"", b"a", b"=1", b"a=1&", b"&a=1", b"a=1&&b=2", b"a=%zz", b"a=%4", b"a=\xc3\xa9", b"a=b c", b"a=1;b=2", b"a=%00", b"a=%0A", b"a=%0Db", b"a=b=c"],
)  # fmt: skip
def test_what_no_browser_would_write_again_is_not_kept(body: bytes) -> None:
    assert read(body) is None


def test_more_fields_than_a_page_can_hold_are_not_kept() -> None:
    assert read(b"&".join([b"a=1"] * 500)) is not None
    assert read(b"&".join([b"a=1"] * 501)) is None


def test_a_legacy_charset_comes_back_byte_for_byte() -> None:
    form = read(b"name=M%FCller&pound=%A3")
    assert form is not None
    assert form.charset == "windows-1252"
    assert urlencode([(f.name, f.value) for f in form.fields], encoding="windows-1252") == "name=M%FCller&pound=%A3"
    assert read(b"name=%81") is None, "a byte that windows-1252 does not have"


@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1), st.text(max_size=40)),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_a_browser_writes_is_written_again(pairs: list[tuple[str, str]]) -> None:
    # A browser turns every line end into CRLF before it writes (HTML §4.10.22.4).
    lines = [
        (name, value.replace("\0", "").replace("\r", "\n").replace("\n", "\r\n").encode("utf-8", "replace").decode())
        for name, value in pairs
    ]
    body = "&".join(f"{quote_plus(name, safe='*-._')}={quote_plus(value, safe='*-._')}" for name, value in lines)
    body = body.replace("~", "%7E")
    form = read(body.encode())
    assert form is not None
    assert [(field.name, field.value) for field in form.fields] == lines
    assert form.charset == "utf-8"


def test_multipart_without_files_is_kept_and_an_empty_file_input_stays_one() -> None:
    body = multipart(part("subject", "Grüße\r\nzwei".encode()), part("a%22b", b""), EMPTY_FILE)
    form = read(body, f"multipart/form-data; boundary={BOUNDARY}")
    assert form is not None
    assert form.coding == "multipart/form-data"
    assert form.fields == (
        FormField(name="subject", value="Grüße\r\nzwei"),
        FormField(name='a"b', value=""),
        FormField(name="upload", value="", file=True),
    )


@pytest.mark.parametrize(
    "body",
    [
        multipart(part("upload", b"PK", '; filename="a.zip"\r\nContent-Type: application/zip')),
        multipart(part("upload", b"x", '; filename=""\r\nContent-Type: application/octet-stream')),
        multipart(part("a", b"1", "\r\nContent-Transfer-Encoding: base64")),
        multipart(b"no head"),
        multipart(part("a", b"1"))[:-2],
        b"preamble\r\n" + multipart(part("a", b"1")),
        multipart(part("a", f"--{BOUNDARY}".encode())),
        multipart(),
        multipart(*[part("a", b"")] * 501),
    ],
    ids=["file", "nameless file", "coded", "headless", "cut", "preamble", "fence inside", "nothing", "too many"],
)
def test_other_multipart_bodies_are_not_kept(body: bytes) -> None:
    assert read(body, f"multipart/form-data; boundary={BOUNDARY}") is None


def test_values_that_may_be_secret_are_not_shown() -> None:
    form = read(b"name=Ann&new_password=hunter2&csrfmiddlewaretoken=abc&cvv=123&empty=&text=" + b"x" * 200)
    assert form is not None
    shown = dict(form.shown())
    assert shown == {"name": "Ann", "new_password": "", "csrfmiddlewaretoken": "", "cvv": "", "text": "x" * 159 + "…"}
    assert unescape("".join(shown.values())).find("hunter2") < 0
