"""Header lists of HTTP/2: the same request as HTTP/1.1 would have brought, or the same refusal."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.reason import Reason
from gateway.wire.http2 import RequestHead, are_trailers, request_fields, split_head
from gateway.wire.request import Fields, parse_fields

Header = tuple[bytes, bytes]
GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.example"), (b":path", b"/")]
POST_FIELDS = st.lists(
    st.sampled_from(
        [
            (b"accept", b"text/html"),
            (b"cookie", b"__Host-gw=abc; theme=dark"),
            (b"cookie", b"gw=x"),
            (b"authorization", b"Bearer t"),
            (b"x-forwarded-for", b"10.0.0.1"),
            (b"x-forwarded-proto", b"https"),
            (b"forwarded", b"for=10.0.0.1"),
            (b"x-gateway-user", b"root"),
            (b"x_gateway_user", b"root"),
            (b"content-length", b"5"),
            (b"content-length", b"x"),
            (b"content-length", b"+5"),
            (b"content-type", b"text/plain"),
            (b"expect", b"100-continue"),
            (b"expect", b"200-ok"),
            (b"origin", b"https://a.example"),
            (b"sec-fetch-mode", b"navigate"),
            (b"te", b"trailers"),
            (b"trailer", b"x"),
            (b"via", b"1.1 proxy"),
            (b"max-forwards", b"3"),
            (b"user-agent", b"x\xe4"),
            (b"range", b"bytes=0-1"),
            (b"http2-settings", b"AAMAAABkAAQAAP__"),
            (b"priority", b"u=1"),
        ]
    )
    | st.tuples(
        st.from_regex(rb"[a-z0-9_.-]{1,20}", fullmatch=True).filter(
            lambda name: name not in (b"host", b"connection", b"upgrade", b"te")
        ),
        st.from_regex(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]{0,20}[!-~\x80-\xff])?)?", fullmatch=True),
    ),
    max_size=12,
)


def head(*changes: Header, without: bytes = b"", scheme: bytes = b"https") -> RequestHead | Reason:
    fields = [pair for pair in GET if pair[0] != without and pair[0] not in dict(changes)]
    return split_head([*changes, *fields], max_target=100, any_scheme=False)


def fields_of(*regular: Header, authority: bytes | None = b"a.example", has_body: bool = False) -> Fields | Reason:
    return request_fields(authority, regular, has_body=has_body, max_fields=50, mapped=frozenset())


@given(POST_FIELDS, st.booleans())
def test_both_versions_give_the_same_fields_or_the_same_refusal(regular: list[Header], has_body: bool) -> None:
    ours = fields_of(*regular, has_body=has_body)
    crumbs = [value for name, value in regular if name == b"cookie"]
    lines = [b"host: a.example\r\n", *(b"%b: %b\r\n" % pair for pair in regular if pair[0] != b"cookie")]
    if crumbs:
        lines.append(b"cookie: %b\r\n" % b"; ".join(crumbs))
    if has_body and b"content-length" not in dict(regular):
        lines.append(b"transfer-encoding: chunked\r\n")
    theirs = parse_fields(b"".join(lines), max_fields=51, mapped=frozenset())
    if isinstance(ours, Fields) and isinstance(theirs, Fields):
        assert asdict(ours) == asdict(theirs)
    elif not has_body and isinstance(theirs, Fields) and theirs.length:
        assert ours is Reason.AMBIGUOUS_FRAMING, "a length, and the stream has ended"
    else:
        assert ours == theirs


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=20)), max_size=6))
def test_no_bytes_of_a_client_make_a_line_of_their_own(regular: list[Header]) -> None:
    outcome = fields_of(*regular)
    if isinstance(outcome, Fields):
        lines = outcome.forward.split(b"\r\n")[:-1]
        assert len(lines) <= len(regular)
        assert not [line for line in lines if b"\n" in line or b"\r" in line or b"\0" in line]
        names = {name for name, _ in regular}
        assert {line.partition(b": ")[0] for line in lines} <= names


def test_an_ordinary_head_is_read() -> None:
    assert split_head([*GET, (b"accept", b"*/*")], max_target=10, any_scheme=False) == RequestHead(
        b"GET", b"/", b"a.example", ((b"accept", b"*/*"),)
    )


@pytest.mark.parametrize("name", [b":method", b":scheme", b":path"])
def test_a_head_without_a_pseudo_field_is_malformed(name: bytes) -> None:
    assert head(without=name) is Reason.MALFORMED_HEAD


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([(b":method", b"")], Reason.MALFORMED_HEAD),
        ([(b":method", b"GE T")], Reason.MALFORMED_HEAD),
        ([(b":method", b"GET / HTTP/1.1\r\nx: y\r\n\r\nGET")], Reason.MALFORMED_HEAD),
        ([(b":method", b"CONNECT")], Reason.METHOD_NOT_IMPLEMENTED),
        ([(b":method", b"TRACE")], Reason.METHOD_NOT_IMPLEMENTED),
        ([(b":method", b"A" * 33)], Reason.METHOD_NOT_IMPLEMENTED),
        ([(b":path", b"")], Reason.MALFORMED_HEAD),
        ([(b":path", b"/a b")], Reason.MALFORMED_HEAD),
        ([(b":path", b"/ HTTP/1.1\r\nx: y")], Reason.MALFORMED_HEAD),
        ([(b":path", b"/\xff")], Reason.MALFORMED_HEAD),
        ([(b":path", b"a")], Reason.INVALID_TARGET),
        ([(b":path", b"*")], Reason.INVALID_TARGET),
        ([(b":path", b"http://b.example/")], Reason.INVALID_TARGET),
        ([(b":path", b"/" + b"a" * 100)], Reason.TARGET_TOO_LONG),
        ([(b":scheme", b"http")], Reason.MALFORMED_HEAD),
        ([(b":scheme", b"https://b.example/?")], Reason.MALFORMED_HEAD),
        ([(b":scheme", b"HTTPS")], Reason.MALFORMED_HEAD),
        ([(b":protocol", b"websocket")], Reason.MALFORMED_HEAD),
        ([(b":status", b"200")], Reason.MALFORMED_HEAD),
        ([(b":", b"x")], Reason.MALFORMED_HEAD),
        ([(b"x", b"y")], Reason.MALFORMED_HEAD),
    ],
)
def test_what_the_pseudo_fields_may_not_say(changes: list[Header], reason: Reason) -> None:
    assert head(*changes) is reason


def test_a_pseudo_field_stands_once_and_before_the_others() -> None:
    assert split_head([*GET, GET[0]], max_target=10, any_scheme=False) is Reason.MALFORMED_HEAD
    late = split_head([*GET[:3], (b"x", b"y"), GET[3]], max_target=10, any_scheme=False)
    assert late is Reason.MALFORMED_HEAD
    after = split_head([*GET, (b"x", b"y"), (b":authority", b"b.example")], max_target=10, any_scheme=False)
    assert isinstance(after, RequestHead)
    assert fields_of(*after.regular) is Reason.MALFORMED_HEAD


def test_options_may_ask_about_the_server() -> None:
    assert isinstance(head((b":path", b"*"), (b":method", b"OPTIONS")), RequestHead)


def test_a_proxy_may_speak_for_somebody_on_plain_http() -> None:
    fields = [(name, b"http" if name == b":scheme" else value) for name, value in GET]
    assert isinstance(split_head(fields, max_target=10, any_scheme=True), RequestHead)


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ((b"X-Upper", b"1"), Reason.MALFORMED_HEAD),
        ((b"", b"1"), Reason.MALFORMED_HEAD),
        ((b"a b", b"1"), Reason.MALFORMED_HEAD),
        ((b"a:b", b"1"), Reason.MALFORMED_HEAD),
        ((b":x", b"1"), Reason.MALFORMED_HEAD),
        ((b"a\r\nb", b"1"), Reason.MALFORMED_HEAD),
        ((b"a\0", b"1"), Reason.MALFORMED_HEAD),
        ((b"a\x7f", b"1"), Reason.MALFORMED_HEAD),
        ((b"a\xe4", b"1"), Reason.MALFORMED_HEAD),
        ((b"x", b"1\r\ncontent-length: 5"), Reason.MALFORMED_HEAD),
        ((b"x", b"1\n"), Reason.MALFORMED_HEAD),
        ((b"x", b"1\r"), Reason.MALFORMED_HEAD),
        ((b"x", b"\0"), Reason.MALFORMED_HEAD),
        ((b"x", b" 1"), Reason.MALFORMED_HEAD),
        ((b"x", b"1\t"), Reason.MALFORMED_HEAD),
        ((b"x", b"\x0b"), Reason.MALFORMED_HEAD),
        ((b"connection", b"close"), Reason.MALFORMED_HEAD),
        ((b"keep-alive", b"1"), Reason.MALFORMED_HEAD),
        ((b"proxy-connection", b"close"), Reason.MALFORMED_HEAD),
        ((b"upgrade", b"websocket"), Reason.MALFORMED_HEAD),
        ((b"transfer-encoding", b"chunked"), Reason.AMBIGUOUS_FRAMING),
        ((b"te", b"gzip"), Reason.MALFORMED_HEAD),
        ((b"te", b"trailers, deflate"), Reason.MALFORMED_HEAD),
        ((b"host", b"b.example"), Reason.INVALID_HOST),
        ((b"host", b""), Reason.INVALID_HOST),
        ((b"host", b"a.example:444"), Reason.INVALID_HOST),
        ((b"content-length", b"5"), Reason.AMBIGUOUS_FRAMING),
        ((b"content-length", b"-1"), Reason.AMBIGUOUS_FRAMING),
    ],
)
def test_what_a_field_may_not_be(field: Header, reason: Reason) -> None:
    assert fields_of(field) is reason


def test_host_may_repeat_what_authority_says_once() -> None:
    outcome = fields_of((b"host", b"A.example:443"))
    assert isinstance(outcome, Fields)
    assert outcome.authority is not None
    assert outcome.authority.text == "a.example"
    assert b"host" not in outcome.forward
    assert fields_of((b"host", b"a.example"), (b"host", b"a.example")) is Reason.INVALID_HOST


def test_host_may_stand_for_authority() -> None:
    outcome = fields_of((b"host", b"a.example"), authority=None)
    assert isinstance(outcome, Fields)
    assert fields_of((b"host", b"a.example"), (b"host", b"a.example"), authority=None) is Reason.INVALID_HOST
    assert fields_of(authority=None) is Reason.INVALID_HOST


@pytest.mark.parametrize(
    "authority", [b"", b"user@a.example", b"a.example/x", b"a.example\r\nx: y", b"a b", b" a.example", b"a.example:0"]
)
def test_what_authority_may_not_be(authority: bytes) -> None:
    assert fields_of(authority=authority) is Reason.INVALID_HOST


def test_a_body_without_a_length_goes_on_in_chunks() -> None:
    unknown, known = fields_of(has_body=True), fields_of((b"content-length", b"5"), has_body=True)
    assert isinstance(unknown, Fields)
    assert isinstance(known, Fields)
    assert (unknown.chunked, unknown.length, known.chunked, known.length) == (True, None, False, 5)


def test_crumbs_count_as_one_field() -> None:
    crumbs = [(b"cookie", b"c%d=1" % at) for at in range(100)]
    outcome = fields_of(*crumbs)
    assert isinstance(outcome, Fields)
    assert outcome.forward.startswith(b"cookie: c0=1; c1=1; ")
    assert fields_of(*((b"x-%d" % at, b"1") for at in range(60))) is Reason.TOO_MANY_FIELDS


def test_trailers_are_judged_and_have_no_pseudo_fields() -> None:
    assert are_trailers([(b"x-checksum", b"1")])
    for field in ((b":path", b"/"), (b"X", b"1"), (b"x", b"\n"), (b"transfer-encoding", b"chunked"), (b"", b"")):
        assert not are_trailers([field])
