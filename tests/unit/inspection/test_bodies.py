"""What is read from a body, by its type and by its shape."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.bodies import BINARY_HEAD, of_body
from gateway.inspection.body import BodyTooComplexError, BodyUnreadableError, Limits, media_type_of
from gateway.inspection.finding import Position, Value

FORM = b"application/x-www-form-urlencoded"
JSON = b"application/json"
XML = b"application/xml"
MULTIPART = b"multipart/form-data; boundary=b"


def read(content_type: bytes, body: bytes, limits: Limits | None = None) -> list[Value]:
    return of_body(content_type, body, limits or Limits())


def multipart(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


def field(name: bytes, text: bytes, more: bytes = b"") -> bytes:
    return b'Content-Disposition: form-data; name="%b"\r\n%b\r\n%b' % (name, more, text)


def test_an_empty_body_says_nothing() -> None:
    assert read(JSON, b"") == []


def test_a_form_is_read_like_a_query() -> None:
    assert read(FORM, b"a=it%27s+me&b=plain&c[$gt]=1") == [
        Value(Position.FORM, "a", "it's me"),
        Value(Position.FORM_NAME, "c[$gt]", "c[$gt]"),
        Value(Position.FORM, "c[$gt]", "c[$gt]=1"),
    ]


def test_json_that_is_called_a_form_is_read_as_both() -> None:
    values = read(FORM, b'{"q": "it\\u0027s"}')
    assert Value(Position.JSON, "q", "it's") in values
    assert any(value.position is Position.FORM for value in values)


def test_json_and_forms_that_are_called_text_are_read_as_both() -> None:
    assert Value(Position.JSON, "q", "it's") in read(b"text/plain", b'{"q": "it\\u0027s"}')
    assert Value(Position.FORM, "q", "it's") in read(b"text/plain", b"q=it%27s")
    assert Value(Position.FORM, "q", "it's") in read(b"", b"q=it%27s")
    assert Value(Position.XML, "a", "it's") in read(b"text/plain", b"<a>it&#39;s</a>")


def test_text_of_no_known_type_is_one_value() -> None:
    assert read(b"text/csv", b"a;it's\nb;c") == [Value(Position.BODY, "", "a;it's\nb;c")]


def test_a_file_that_is_no_text_shows_its_head_only() -> None:
    (value,) = read(b"image/png", b"\x89PNG\r\n\x1a\n\0" + b"x" * 1000)
    assert len(value.text) == BINARY_HEAD


def test_a_file_that_is_text_is_read() -> None:
    assert read(b"application/octet-stream", b"it's text") == [Value(Position.BODY, "", "it's text")]


def test_texts_in_a_binary_form_are_read() -> None:
    values = read(b"application/grpc", b"\0\0\0\0\x1a\x0a\x18" + b"<script>alert(1)</script>\0\1\2ab")
    assert values[1] == Value(Position.BODY, "", "<script>alert(1)</script>")


def test_names_and_strings_of_json_are_values_with_their_paths() -> None:
    body = json.dumps({"items": [{"note": "it's"}, {"$where": "1"}], "n": 5, "ok": True, "none": None}).encode()
    assert read(JSON, body) == [
        Value(Position.JSON, "items[].note", "it's"),
        Value(Position.JSON_NAME, "items[].$where", "$where"),
    ]


def test_repeated_names_of_json_are_read_both() -> None:
    assert [value.text for value in read(JSON, b'{"a": "first\'", "a": "second\'"}')] == ["first'", "second'"]


def test_prototypes_in_json_are_named_with_what_is_above_them() -> None:
    assert read(JSON, b'{"constructor": {"prototype": {"x": 1}}}') == [
        Value(Position.JSON_NAME, "constructor.prototype", "constructor.prototype")
    ]


def test_a_document_of_many_small_objects_is_honest() -> None:
    body = json.dumps([{"id": n, "name": f"item {n}"} for n in range(12_000)]).encode()
    assert read(JSON, body) == []


@pytest.mark.parametrize(
    "body", [b"{", b"{'a': 1}", b'{"a": 1} x', b"nope", b'{"a": "\n"}', b'{"a": 1,}', b'"' + b"\xff" * 3]
)
def test_json_that_is_none_is_unreadable(body: bytes) -> None:
    with pytest.raises(BodyUnreadableError, match="line 1, column"):
        read(JSON, body)


@pytest.mark.parametrize("depth", [65, 100_000])
def test_json_beyond_its_depth_is_too_complex(depth: int) -> None:
    with pytest.raises(BodyTooComplexError, match="64 deep"):
        read(JSON, b"[" * depth + b"]" * depth)


def test_json_as_deep_as_allowed_is_read() -> None:
    assert read(JSON, b"[" * 64 + b'"it\'s"' + b"]" * 64)[0].text == "it's"


def test_json_with_too_many_members_or_values_is_too_complex() -> None:
    with pytest.raises(BodyTooComplexError, match="more than 2 members"):
        read(JSON, b'{"a": 1, "b": 2, "c": 3}', Limits(members=2))
    with pytest.raises(BodyTooComplexError, match="more than 5 values"):
        read(JSON, b"[[1, 2], [3, 4]]", Limits(values=5))


def test_a_number_of_a_million_digits_is_no_work() -> None:
    assert read(JSON, b"[" + b"9" * 1_000_000 + b"]") == []


def test_each_line_of_ndjson_is_read() -> None:
    assert [value.text for value in read(b"application/x-ndjson", b'{"a": "it\'s"}\n\n"you\'re"\n')] == [
        "it's",
        "you're",
    ]


def test_json_in_utf_16_is_read_as_declared() -> None:
    body = '{"a": "it\'s"}'.encode("utf-16")
    assert read(b"application/json; charset=utf-16", body) == [Value(Position.JSON, "a", "it's")]


def test_json_that_is_ascii_whatever_it_declares_is_read() -> None:
    with pytest.raises(BodyUnreadableError):
        read(b"application/json; charset=utf-16", b'{"a": "it\'s"}')


@pytest.mark.parametrize("charset", [b"utf-7", b"ibm037", b"utf-8x", b"cp037", b"hz-gb-2312"])
@pytest.mark.parametrize("media_type", [FORM, JSON, b"text/plain"])
def test_a_character_set_that_hides_ascii_is_refused(media_type: bytes, charset: bytes) -> None:
    with pytest.raises(BodyUnreadableError, match="character set"):
        read(media_type + b"; charset=" + charset, b"1")


@pytest.mark.parametrize("charset", [b"UTF-8", b"utf8", b'"utf-8"', b"ISO-8859-1", b"windows-1252", b"us-ascii"])
def test_character_sets_of_browsers_are_read(charset: bytes) -> None:
    assert read(FORM + b"; charset=" + charset, b"a=it's")[0].text == "it's"


def test_a_form_in_a_wide_character_set_is_read_as_declared_and_as_bytes() -> None:
    texts = [value.text for value in read(FORM + b"; charset=shift_jis", b"a=it%27s+" + "\u65e5".encode("cp932"))]
    assert texts[0] == "it's \u65e5"
    assert len(texts) == 2


def test_a_content_type_that_says_two_things_is_refused() -> None:
    with pytest.raises(BodyUnreadableError, match="two things of the charset"):
        media_type_of(b"text/plain; charset=utf-8; charset=utf-16")


def test_too_many_fields_of_a_form_are_too_complex() -> None:
    with pytest.raises(BodyTooComplexError, match="more than 10 fields"):
        read(FORM, b"a=1&" * 11, Limits(members=10))


def test_texts_attributes_and_instructions_of_xml_are_values() -> None:
    body = b"<?xml version='1.0'?><o a='it&apos;s'><n>O'Brien</n><!-- it's --><?p a'b?><![CDATA[1' or]]></o>"
    assert read(XML, body) == [
        Value(Position.XML, "o@a", "it's"),
        Value(Position.XML, "n", "O'Brien"),
        Value(Position.XML, "", " it's "),
        Value(Position.XML, "", "<?p a'b?>"),
        Value(Position.XML, "o", "1' or"),
    ]


def test_a_document_type_is_shown_as_it_stands() -> None:
    values = read(b"application/soap+xml", b"<!DOCTYPE a SYSTEM 'http://x/'><a>it's</a>")
    assert values[0].text.startswith("<!DOCTYPE a SYSTEM")
    assert values[1].text == "it's"


def test_an_entity_is_never_expanded() -> None:
    laughs = b"<!DOCTYPE a [<!ENTITY b 'bbbb'><!ENTITY c '&b;&b;&b;'>]><a>&c;</a>"
    declared, first = read(XML, laughs)
    assert declared.text == laughs.decode()
    assert first.text == '<!DOCTYPE x [<!ENTITY b "bbbb">]>'


@pytest.mark.parametrize(
    "body", [b"<a>", b"<a></b>", b"<a>&nbsp;</a>", b"plain", b"<?xml version='1.0' encoding='utf-7'?><a/>"]
)
def test_xml_that_is_none_is_unreadable(body: bytes) -> None:
    with pytest.raises(BodyUnreadableError, match="XML"):
        read(XML, body)


def test_xml_beyond_its_limits_is_too_complex() -> None:
    with pytest.raises(BodyTooComplexError, match="64 deep"):
        read(XML, b"<a>" * 65 + b"</a>" * 65)
    with pytest.raises(BodyTooComplexError, match="more than 3 values"):
        read(XML, b"<a>1<b/>2<b/>3<b/>4</a>", Limits(values=3))


def test_fields_names_and_file_names_of_multipart_are_values() -> None:
    body = multipart(
        field(b"note", b"it's"),
        b'Content-Disposition: form-data; name="f"; filename="../x.php"\r\nContent-Type: text/plain\r\n\r\nit\'s a file',
    )
    assert read(MULTIPART, body) == [
        Value(Position.FILE_NAME, "f", "../x.php"),
        Value(Position.PART_NAME, "f", 'form-data; name="f"; filename="../x.php"'),
        Value(Position.PART, "note", "it's"),
    ]


def test_json_in_a_part_is_read_as_json() -> None:
    body = multipart(field(b"data", b'{"a": "it\\u0027s"}', b"Content-Type: application/json\r\n"))
    assert Value(Position.JSON, "a", "it's") in read(MULTIPART, body)


def test_unusual_fields_of_a_part_are_values() -> None:
    body = multipart(field(b"a", b"1", b"X-Note: it's\r\n"))
    assert read(MULTIPART, body) == [Value(Position.PART_NAME, "a", "it's")]


@pytest.mark.parametrize(
    "body",
    [
        b"no boundary at all",
        multipart(field(b"a", b"1"), end=b""),
        multipart(field(b"a", b"1"), end=b"--b--\r\nmore"),
        multipart(field(b"a", b"1")) + multipart(field(b"a", b"1")),
        multipart(b"X: y\r\n\r\nz"),
        multipart(b'Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="b"\r\n\r\nz'),
        multipart(field(b"a", b"1", b"Content-Transfer-Encoding: base64\r\n")),
        multipart(field(b"a", b"1", b"Content-Type: text/plain; charset=utf-7\r\n")),
        multipart(field(b"_charset_", b"utf-7"), field(b"a", b"1")),
        b"--b--\r\nmore",
        b'--b\nContent-Disposition: form-data; name="a"\n\n1\n--b--\n',
    ],
)
def test_multipart_that_two_readers_take_differently_is_unreadable(body: bytes) -> None:
    with pytest.raises(BodyUnreadableError):
        read(MULTIPART, body)


@pytest.mark.parametrize(
    "boundary", [b"", b"; boundary=", b'; boundary="a b "', b"; boundary=" + b"x" * 71, b"; boundary=\xff"]
)
def test_a_boundary_that_readers_disagree_about_is_unreadable(boundary: bytes) -> None:
    with pytest.raises(BodyUnreadableError, match="boundary"):
        read(b"multipart/form-data" + boundary, multipart(field(b"a", b"1")))


def test_too_many_parts_are_too_complex() -> None:
    with pytest.raises(BodyTooComplexError):
        read(MULTIPART, multipart(*[field(b"a", b"1")] * 3), Limits(parts=2))


def test_an_error_never_quotes_the_body() -> None:
    for media_type, body in ((JSON, b'{"secret"'), (XML, b"<secret>"), (MULTIPART, b"secret")):
        with pytest.raises(BodyUnreadableError) as caught:
            read(media_type, body)
        assert "secret" not in str(caught.value)


@given(
    st.sampled_from([FORM, JSON, XML, MULTIPART, b"text/plain", b"", b"application/x-ndjson"]), st.binary(max_size=80)
)
def test_any_body_is_read_or_refused(content_type: bytes, body: bytes) -> None:
    try:
        values = read(content_type, body)
    except (BodyUnreadableError, BodyTooComplexError):
        return
    for value in values:
        value.text.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("line_break", [b"\n", b"\r"])
def test_a_field_that_only_readers_of_other_line_breaks_see_is_unreadable(line_break: bytes) -> None:
    """Werkzeug finds the field within the file."""
    inner = line_break.join((b"GIF89a", b"--b", b'Content-Disposition: form-data; name="q"', b"", b"' OR 1=1--"))
    head = b'Content-Disposition: form-data; name="f"; filename="a.gif"\r\n\r\n'
    with pytest.raises(BodyUnreadableError, match="only some readers"):
        read(MULTIPART, multipart(head + inner))
    read(MULTIPART, multipart(head + b"GIF89a --b"))


A_FILE = b'Content-Disposition: form-data; name="f"; filename="x.txt"\r\n\r\n'
INNER = b'--a\r\nContent-Disposition: form-data; name="q"\r\n\r\nhidden\r\n--a--\r\n'


@pytest.mark.parametrize(
    "parameters",
    [
        b"xboundary=a; boundary=b",  # PHP
        b'x="; boundary=a"; boundary=b',
        b"boundary=b; boundary*0=a",  # RFC 2231: Werkzeug, Go
        b"boundary=b; boundary*=utf-8''a",
        b"boundary=b\tx",
        b'boundary="b,c"',
        b'boundary="b c"',
    ],
)
def test_a_form_with_a_boundary_that_only_some_readers_see_is_unreadable(parameters: bytes) -> None:
    with pytest.raises(BodyUnreadableError):
        read(b"multipart/form-data; " + parameters, multipart(A_FILE + INNER))


@pytest.mark.parametrize("boundary", [b"----WebKitFormBoundaryAbc", b"boundary", b'"--=_Part_1.2"', b"charset"])
def test_boundaries_of_honest_programs_are_read(boundary: bytes) -> None:
    body = multipart(field(b"a", b"it's")).replace(b"--b", b"--" + boundary.strip(b'"'))
    assert read(b"multipart/form-data; boundary=" + boundary, body)[0].text == "it's"


@pytest.mark.parametrize("parameters", [b"xcharset=ibm037", b'x="charset=ibm037"', b"charset*=utf-8''ibm037"])
def test_a_character_set_that_only_some_readers_see_is_unreadable(parameters: bytes) -> None:
    with pytest.raises(BodyUnreadableError, match="charset"):  # Tomcat looks for the letters
        read(FORM + b"; " + parameters, b"a=1")


def test_a_part_whose_file_has_no_name_is_read_as_the_field_that_it_is_to_go() -> None:
    part = b'Content-Disposition: form-data; name="a"; filename=""\r\n\r\nit\'s'
    assert Value(Position.PART, "a", "it's") in read(MULTIPART, multipart(part))


@pytest.mark.parametrize(
    "disposition",
    [
        b'name="a\\"; filename="y"',
        b'name="a"; filename ="y"',
        b'name="a"; filename="y"; filename=""',
        b'name="a"; filename=y z',
        b"name='a'; filename='y'",
        b'name="a"; filename="y"; filename*=utf-8\'\'',
    ],
)
def test_a_part_that_is_a_file_only_to_some_readers_is_unreadable(disposition: bytes) -> None:
    with pytest.raises(BodyUnreadableError, match="file only to some"):
        read(MULTIPART, multipart(b"Content-Disposition: form-data; " + disposition + b"\r\n\r\nit's"))


@pytest.mark.parametrize("gap", ["<!-- x -->", "<?x y?>", "<b/>", "<b>c</b>"])
def test_a_text_of_xml_with_something_in_the_middle_is_read_whole_too(gap: str) -> None:
    values = read(XML, f"<a>1 UNION {gap}SELECT 2</a>".encode())
    assert Value(Position.XML, "a", "1 UNION SELECT 2") in values


def test_blanks_between_elements_are_no_text() -> None:
    assert read(XML, b"<a>\n <b>it's</b>\n <b>c</b>\n</a>") == [Value(Position.XML, "b", "it's")]


def test_a_long_text_of_xml_is_one_value() -> None:
    text = "it's " * 5_000
    assert read(XML, f"<a>{text}</a>".encode()) == [Value(Position.XML, "a", text)]


@pytest.mark.parametrize("kind", [b"", b"% "])
def test_an_entity_behind_a_long_document_type_is_shown(kind: bytes) -> None:
    body = b"<!DOCTYPE a [" + b" " * 70_000 + b"<!ENTITY " + kind + b"x SYSTEM 'file:///etc/passwd'>]><a/>"
    assert read(XML, body)[-1].text == f'<!DOCTYPE x [<!ENTITY {kind.decode()}x SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("behind", [b" x", b", text/plain"])
def test_a_form_with_something_behind_its_type_is_a_form(behind: bytes) -> None:
    assert Value(Position.FORM, "b[$ne]", "b[$ne]=1") in read(FORM + behind, b"a'=1&b[$ne]=1")
