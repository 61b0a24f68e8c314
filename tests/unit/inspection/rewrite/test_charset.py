from __future__ import annotations

import pytest

from gateway.inspection.rewrite.charset import Charset, decode, of_content_type, of_meta


@pytest.mark.parametrize(
    ("value", "charset"),
    [
        (b"text/html", Charset.UNDECLARED),
        (b"text/html; charset=utf-8", Charset.UTF_8),
        (b'Text/HTML ;Charset="UTF-8"', Charset.UTF_8),
        (b"text/html;charset=iso-8859-1", Charset.WINDOWS_1252),
        (b"text/html; charset='utf-8'", Charset.UTF_8),
        (b"text/html; charset=utf-16", None),
        (b"text/html; charset=iso-2022-jp", None),
        (b"text/html; charset=shift_jis", None),
        (b"text/html; charset=utf-8; charset=utf-7", None),
        (b"application/xhtml+xml; charset=utf-8", None),
        (b"text/plain", None),
        (b"", None),
    ],
)
def test_only_pages_in_which_ascii_is_ascii_are_rewritten(value: bytes, charset: Charset | None) -> None:
    assert of_content_type(value) is charset


def test_meta_says_the_encoding_in_either_way() -> None:
    assert of_meta(b" UTF-8 ", None) is Charset.UTF_8
    assert of_meta(None, b"text/html; charset = latin1") is Charset.WINDOWS_1252
    assert of_meta(None, b"text/html") is Charset.UNDECLARED
    assert of_meta(None, None) is Charset.UNDECLARED
    assert of_meta(b"big5", None) is None


def test_text_is_decoded_as_browsers_do() -> None:
    assert decode(Charset.UNDECLARED, b"a\r\nb\rc\0") == "a\nb\nc\ufffd"
    assert decode(Charset.WINDOWS_1252, b"\x80\x81\xfc") == "\u20ac\x81\xfc"
    assert decode(Charset.UTF_8, b"\xc3\xbc\xff") == "\xfc\ufffd"
    assert decode(Charset.UNDECLARED, b"\xfc") is None
