"""What is read from the head of a request, and as what."""

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.finding import Position, Value
from gateway.inspection.values import of_cookies, of_field, of_head, of_path, of_target, unquoted


def texts(values: list[Value], position: Position) -> list[str]:
    return [value.text for value in values if value.position is position]


def test_query_values_are_decoded_once_with_plus_as_a_space() -> None:
    values = of_target(b"/search?q=O%27Brien+%26+Sons&sort=date", "/search")
    assert values == [Value(Position.QUERY, "q", "O'Brien & Sons")]


@pytest.mark.parametrize(
    "target", [b"/invoices/42?page=2&sort=date", b"/a/b.html", b"/a/app.js", b"/", b"/x?flag", b"/x?a=&b="]
)
def test_words_and_numbers_are_not_worth_a_look(target: bytes) -> None:
    assert of_target(target, target.partition(b"?")[0].decode()) == []


def test_words_are_listed_for_patches() -> None:
    values = of_target(b"/a?debug=true", "/a", with_plain=True)
    assert Value(Position.QUERY, "debug", "true") in values
    assert Value(Position.PATH, "", "/a") in values


@pytest.mark.parametrize(
    "target",
    [
        b"/.git/config",
        b"/db.sql",
        b"/WEB-INF/a",
        b"/a.b/c",
        b"/a/../b",
        b"/a//b",
        b"/__debug__/x",
        b"/a%20b",
        b"/a.",
        b"/..",
        b"/x;y",
    ],
)
def test_a_path_that_could_mean_something_is_listed(target: bytes) -> None:
    assert texts(of_target(target, target.decode()), Position.PATH)


def test_a_path_is_read_as_sent_and_as_forwarded() -> None:
    values = texts(of_path(b"/static/../admin%2f", "/admin%2F"), Position.PATH)
    assert values[:2] == ["/static/../admin/", "/admin/"]


def test_each_segment_of_a_path_stands_alone_too() -> None:
    values = texts(of_path(b"/users/1'%20or%20'1'='1/mail", "/users/1'%20or%20'1'='1/mail"), Position.PATH)
    assert "1' or '1'='1" in values


def test_a_query_without_a_name_is_a_value() -> None:
    assert texts(of_target(b"/?<script>", "/"), Position.QUERY) == ["<script>"]


def test_a_query_that_only_happens_to_have_an_equals_sign_is_read_whole() -> None:
    assert "1' or 1=1" in texts(of_target(b"/?1'+or+1=1", "/"), Position.QUERY)


def test_parameters_split_at_semicolons_are_read_too() -> None:
    values = of_target(b"/?a=1;id=1'--", "/")
    assert Value(Position.QUERY, "id", "1'--") in values
    assert Value(Position.QUERY, "a", "1;id=1'--") in values


def test_parameter_pollution_is_joined_as_the_upstream_joins_it() -> None:
    values = of_target(b"/?id=1/*&id=*/union+select+1", "/")
    assert Value(Position.QUERY, "id", "1/*,*/union select 1") in values


def test_names_with_operators_are_values_of_their_own() -> None:
    values = of_target(b"/?user[$ne]=1&__proto__[x]=1", "/")
    assert texts(values, Position.QUERY_NAME) == ["user[$ne]", "__proto__[x]"]


def test_bytes_that_are_no_utf_8_are_kept() -> None:
    assert texts(of_target(b"/?q=%ff'", "/"), Position.QUERY) == ["\udcff'"]


def test_cookies_are_read_one_by_one_and_without_their_quotes() -> None:
    values = of_cookies(b"""theme=dark; cart="a'b"; x[]=1; lonely'""")
    assert Value(Position.COOKIE, "cart", "a'b") in values
    assert Value(Position.COOKIE_NAME, "x[]", "x[]") in values
    assert Value(Position.COOKIE, "", "lonely'") in values
    assert len(values) == 3


def test_basic_credentials_are_decoded() -> None:
    assert of_field(b"authorization", b"Basic J29yIDE9MS0tOng=") == [
        Value(Position.HEADER, "authorization", "'or 1=1--:x")
    ]


def test_a_broken_credential_is_read_as_it_stands() -> None:
    assert texts(of_field(b"authorization", b"Basic '--"), Position.HEADER) == ["'--"]
    assert texts(of_field(b"authorization", b"Bearer a.b.c"), Position.HEADER) == ["a.b.c"]


def test_the_query_of_a_referer_is_taken_apart() -> None:
    values = texts(of_field(b"referer", b"https://shop.example/a%20b?q=it%27s+%3Cb%3E&x=y#top"), Position.HEADER)
    assert values == ["https://shop.example", "/a b", "it's <b>"]


def test_a_referer_that_is_no_url_is_one_text() -> None:
    assert texts(of_field(b"referer", b"<script>"), Position.HEADER) == ["<script>"]


def test_fields_that_the_wire_layer_has_a_grammar_for_are_left_alone() -> None:
    fields = [(b"Host", b"a'"), (b"X-Note", b"it's"), (b"Cookie", b"a=it's")]
    assert of_head(b"/", "/", fields) == [
        Value(Position.HEADER, "x-note", "it's"),
        Value(Position.COOKIE, "a", "it's"),
    ]


@given(
    st.lists(
        st.sampled_from([b"%", b"%4", b"%41", b"%3d", b"=", b"=\n", b"%%", b"x", b"\r\n", b" ", b"\xff"]), max_size=12
    )
)
def test_percent_decoding_is_that_of_the_standard_library(parts: list[bytes]) -> None:
    raw = b"".join(parts)
    assert unquoted(raw) == unquote_to_bytes(raw)


@given(st.binary(max_size=60), st.binary(max_size=40))
def test_any_target_and_cookie_can_be_read(query: bytes, cookie: bytes) -> None:
    for value in of_head(
        b"/a?" + query, "/a", [(b"cookie", cookie), (b"x-a", query), (b"referer", b"http://a/?" + query)]
    ):
        assert value.text.encode("utf-8", "surrogateescape") is not None


@pytest.mark.parametrize("name", [b"sec-ch-ua", b"sec-websocket-protocol", b"sec-x", b"accept-encoding"])
def test_fields_that_browsers_write_are_read_since_anybody_can_send_them(name: bytes) -> None:
    values = of_head(b"/a", "/a", [(name, b"${jndi:ldap://x/a}")])
    assert texts(values, Position.HEADER) == ["${jndi:ldap://x/a}"]


def test_an_unusual_name_of_a_cookie_is_read_with_its_value() -> None:
    assert "' OR 1=1 --" in texts(of_cookies(b"' OR 1=1 --"), Position.COOKIE)


@pytest.mark.parametrize("cookie", [b'a=j:{"$gt":""}', b'a=j%3A{"$gt":""}'])
def test_a_cookie_that_is_json_to_express_is_read_as_that(cookie: bytes) -> None:
    assert '{"$gt":""}' in texts(of_cookies(cookie), Position.COOKIE)


@pytest.mark.parametrize("written", [b" YSdiOmM=", b"YSdiOmM", b"YS.diOm\xffM=", b"YSdiOmM=="])
def test_basic_credentials_that_only_careless_readers_take_are_decoded(written: bytes) -> None:
    assert "a'b:c" in texts(of_field(b"authorization", b"Basic " + written), Position.HEADER)
