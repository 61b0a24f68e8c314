"""Request heads: what is refused, and what an upstream sees of the rest (RFC 9112, RFC 9110)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.exchange.reason import Reason
from gateway.wire.request import Fields, parse_fields, parse_request_line, too_large


def fields_of(block: bytes, mapped: frozenset[bytes] = frozenset()) -> Fields | Reason:
    return parse_fields(block, max_fields=100, mapped=mapped)


def parsed(block: bytes, mapped: frozenset[bytes] = frozenset()) -> Fields:
    fields = fields_of(b"Host: portal.example\r\n" + block, mapped)
    assert isinstance(fields, Fields), fields
    return fields


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\n",
        b"GET  / HTTP/1.1\r\n",
        b"GET / HTTP/1.1 \r\n",
        b" GET / HTTP/1.1\r\n",
        b"GET /\r\n",
        b"GET /a b HTTP/1.1\r\n",
        b"GET\t/ HTTP/1.1\r\n",
        b"GET / http/1.1\r\n",
        b"G@T / HTTP/1.1\r\n",
        b"GET /\x00 HTTP/1.1\r\n",
        b"GET /\xe9 HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\r\n",
        b"\r\r\nGET / HTTP/1.1\r\n",
        b"GET / HTTP/1.10\r\n",
        b"GET / HTTP/11\r\n",
    ],
)
def test_a_request_line_outside_the_grammar_is_refused(line: bytes) -> None:
    assert parse_request_line(line, 8192) is Reason.MALFORMED_HEAD


@pytest.mark.parametrize(
    "line", [b"GET / HTTP/2.0\r\n", b"GET / HTTP/0.9\r\n", b"GET / HTTP/1.2\r\n", b"PRI * HTTP/2.0\r\n"]
)
def test_another_version_is_named_as_such(line: bytes) -> None:
    assert parse_request_line(line, 8192) is Reason.VERSION_NOT_SUPPORTED


@pytest.mark.parametrize("method", [b"CONNECT", b"TRACE", b"TRACK"])
def test_connect_and_trace_are_refused_cve_2026_71324(method: bytes) -> None:
    assert parse_request_line(method + b" /x HTTP/1.1\r\n", 8192) is Reason.METHOD_NOT_IMPLEMENTED


def test_a_target_of_8000_bytes_is_ordinary_and_one_over_the_limit_is_414() -> None:
    assert not isinstance(parse_request_line(b"GET /" + b"a" * 7999 + b" HTTP/1.1\r\n", 8192), Reason)
    assert parse_request_line(b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\n", 8192) is Reason.TARGET_TOO_LONG


@pytest.mark.parametrize(
    "block",
    [
        b"X : y\r\n",  # white space before the colon
        b" X: y\r\n",
        b"X: y\r\n z\r\n",  # obs-fold
        b"X: y\n",
        b"X: y\rz\r\n",
        b"X: a\x00b\r\n",
        b"X: a\x0bb\r\n",
        b"X: a\x7fb\r\n",
        b"X\r\n",
        b": y\r\n",
        b"X\x80: y\r\n",
        b"(X): y\r\n",
        b"X: y\r\n\r\nY: z\r\n",
    ],
)
def test_a_field_line_outside_the_grammar_is_refused(block: bytes) -> None:
    assert fields_of(b"Host: a\r\n" + block) is Reason.MALFORMED_HEAD


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Host: a\r\nHost: a\r\n",  # CVE-2026-34525
        b"Host: a\r\nhost: b\r\n",
        b"Host: \r\n",
        b"Host: a b\r\n",
        b"Host: a/b\r\n",
        b"Host: a@b\r\n",
        b"Host: a:b\r\n",
        b"Host: a:99999\r\n",
        b"Host: a:0\r\n",
        b"Host: a,b\r\n",
        b"Host: [::1\r\n",
        b"Host: a%41\r\n",
        b"Host: -a\r\n",
        b"Host: a..b\r\n",
    ],
)
def test_a_head_without_exactly_one_valid_host_is_refused(block: bytes) -> None:
    assert fields_of(block) is Reason.INVALID_HOST


@pytest.mark.parametrize("value", [b"ADMIN.Example", b"admin.example.", b"admin.example:443"])
def test_a_host_is_compared_without_case_dot_and_port_cve_2021_39155(value: bytes) -> None:
    fields = fields_of(b"Host: " + value + b"\r\n")
    assert isinstance(fields, Fields)
    assert fields.authority is not None
    assert fields.authority.host == "admin.example"


SMUGGLING = {
    "CL.TE": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    "TE.CL": b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    "two lengths": b"Content-Length: 3\r\nContent-Length: 4\r\n",
    "two equal lengths": b"Content-Length: 3\r\nContent-Length: 3\r\n",
    "length list": b"Content-Length: 3, 3\r\n",
    "signed length": b"Content-Length: +3\r\n",
    "negative length": b"Content-Length: -3\r\n",
    "hex length": b"Content-Length: 0x3\r\n",
    "underscored length": b"Content-Length: 1_0\r\n",
    "empty length": b"Content-Length: \r\n",
    "huge length": b"Content-Length: 9999999999999999999\r\n",
    "fraction": b"Content-Length: 3.0\r\n",
    "TE.TE two fields": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "xchunked": b"Transfer-Encoding: xchunked\r\n",
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n",
    "chunked with parameter": b"Transfer-Encoding: chunked;q=1\r\n",
    "identity": b"Transfer-Encoding: identity\r\n",
    "quoted": b'Transfer-Encoding: "chunked"\r\n',
    "empty coding": b"Transfer-Encoding: \r\n",
    "trailing comma": b"Transfer-Encoding: chunked,\r\n",
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_ambiguous_framing_is_refused(name: str) -> None:
    assert fields_of(b"Host: a\r\n" + SMUGGLING[name]) is Reason.AMBIGUOUS_FRAMING


def test_a_coding_other_than_chunked_is_501() -> None:
    assert fields_of(b"Host: a\r\nTransfer-Encoding: gzip, chunked\r\n") is Reason.CODING_NOT_IMPLEMENTED


def test_white_space_around_a_length_is_ordinary() -> None:
    assert parsed(b"Content-Length: \t 12 \t\r\n").length == 12


def test_framing_fields_never_reach_the_upstream_in_the_clients_bytes() -> None:
    assert parsed(b"Content-Length: 3\r\n").forward == b""
    assert parsed(b"Transfer-Encoding: chunked\r\nTrailer: X\r\nTE: trailers\r\n").forward == b""


IDENTITY_SPELLINGS = [
    b"X-Gateway-User", b"x-gateway-user", b"X-GATEWAY-USER", b"X_Gateway_User", b"X-Gateway_User", b"X--Gateway--User", b"HTTP-X-Gateway-User",
    b"http_x_gateway_user", b"X-Gateway-Anything", b"X-Audit-Receipt", b"Remote-User", b"Remote_User", b"HTTP_REMOTE_USER", b"X-Remote-User", b"X-Forwarded-User",
    b"X_Forwarded_User", b"X-Forwarded-For", b"X-Forwarded-Prefix", b"X-Forwarded-Port", b"X-Forwarded-Uri", b"X-Original-URL", b"X-Rewrite-URL", b"Forwarded", b"X-Real-IP",
    b"X-Http-Method-Override", b"Proxy", b"X-Request-Id", b"True-Client-IP", b"Via", b"x-envoy-original-path", b"X.Gateway.User", b"X-Gateway-User-", b"-X-Gateway-User", b"Client-Cert", b"X-SSL-Client-DN", b"WL-Proxy-Client-IP", b"X-Consumer-Username",
    b"X-Amzn-Oidc-Identity", b"Cf-Access-Authenticated-User-Email", b"X-Ms-Client-Principal-Name", b"X-ForwardedFor", b"X-User-Name",
]  # fmt: skip


@pytest.mark.parametrize("name", IDENTITY_SPELLINGS)
def test_no_client_copy_of_an_identity_field_passes_in_any_spelling_cve_2025_64484(name: bytes) -> None:
    assert b"evil" not in parsed(name + b": evil\r\n" + name.upper() + b": evil\r\n").forward


@pytest.mark.parametrize("name", [b"X-Portal-User", b"x_portal_user", b"HTTP-X-PORTAL-USER"])
def test_mapped_names_are_reserved_in_every_spelling(name: bytes) -> None:
    assert parsed(name + b": evil\r\n", frozenset((b"x-portal-user",))).forward == b""


def test_connection_cannot_name_a_field_away_that_we_add_cve_2024_45410() -> None:
    fields = parsed(b"Connection: close, X-Gateway-User, X-Real-Ip, X-Kept\r\nX-Kept: a\r\nX-Other: b\r\n")
    assert fields.forward == b"x-other: b\r\n"
    assert fields.close


def test_our_cookies_stay_here_and_the_portals_travel_on() -> None:
    fields = parsed(b"Cookie: a=1; __Host-gw=tok; __host-gw=x; GW=y; b=2; gw-flow=z\r\nCookie: c=3\r\n")
    assert fields.forward == b"cookie: a=1; b=2; c=3\r\n"
    assert fields.secure_token == b"tok"


def test_a_session_cookie_sent_twice_is_no_session_cookie() -> None:
    assert parsed(b"Cookie: __Host-gw=a; __Host-gw=b\r\n").secure_token is None
    assert parsed(b"Cookie: __Host-gw=a\r\nCookie: __Host-gw=b\r\n").secure_token is None


def test_authorization_is_kept_apart_from_the_fields_that_pass() -> None:
    fields = parsed(b"Authorization: Basic eA==\r\n")
    assert fields.authorization == b"Basic eA=="
    assert b"eA==" not in fields.forward


def test_two_authorizations_are_a_conflict() -> None:
    assert fields_of(b"Host: a\r\nAuthorization: a\r\nAuthorization: b\r\n") is Reason.CREDENTIALS_CONFLICT


@pytest.mark.parametrize("name", [b"Content-Type", b"Origin", b"User-Agent", b"Referer", b"Range"])
def test_security_relevant_fields_stand_once_cve_2021_32777(name: bytes) -> None:
    assert fields_of(b"Host: a\r\n" + name + b": a\r\n" + name.lower() + b": b\r\n") is Reason.MALFORMED_HEAD


def test_other_repeated_fields_pass_in_order() -> None:
    assert parsed(b"X-A: 1\r\nx-a: 2\r\n").forward == b"x-a: 1\r\nx-a: 2\r\n"


def test_only_100_continue_may_be_expected() -> None:
    assert parsed(b"Expect: 100-Continue\r\nContent-Length: 1\r\n").expects_continue
    assert fields_of(b"Host: a\r\nExpect: 200-ok\r\n") is Reason.EXPECTATION_FAILED


def test_an_upgrade_that_is_no_websocket_handshake_is_dropped_not_refused() -> None:
    for block in (
        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"Upgrade: websocket\r\n",
    ):
        fields = parsed(block)
        assert not fields.websocket
        assert b"upgrade: " not in fields.forward


HANDSHAKE = b"Host: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n"


def test_a_malformed_websocket_handshake_is_refused_not_passed_on() -> None:
    for block in (
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        b"Sec-WebSocket-Version: 13\r\n",
    ):
        assert fields_of(HANDSHAKE + block) is Reason.MALFORMED_HEAD
    other = b"Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    assert fields_of(HANDSHAKE + other) is Reason.WEBSOCKET_VERSION


def test_a_nominated_cookie_or_credential_goes_no_further() -> None:
    fields = parsed(b"Connection: Cookie, authorization\r\nCookie: gw=t; a=b\r\nAuthorization: Basic eA==\r\n")
    assert (fields.forward, fields.authorization, fields.plain_token) == (b"", b"", b"t")


def test_max_forwards_counts_down_and_is_bounded() -> None:
    for sent, kept, on in ((b"0", 0, b""), (b"1", 1, b"0"), (b"007", 7, b"6"), (b"9" * 30, 255, b"254")):
        fields = parsed(b"Max-Forwards: " + sent + b"\r\n")
        assert fields.max_forwards == kept
        assert fields.forward == (b"max-forwards: " + on + b"\r\n" if on else b"")
    for sent in (b"-1", b"", b"1, 2", b"a"):
        assert fields_of(b"Host: a\r\nMax-Forwards: " + sent + b"\r\n") is Reason.MALFORMED_HEAD


def test_via_is_kept_in_order_and_a_loop_is_noticed() -> None:
    assert (
        parsed(b"Via: 1.0 fred, 1.1 p.example (x)\r\nvia:\r\nVIA: 2 b\r\n").via == b"1.0 fred, 1.1 p.example (x), 2 b, "
    )
    ours = b"Via: 1.1 gateway\r\n"
    assert parsed(ours * 4).via.count(b"gateway") == 4
    assert fields_of(b"Host: a\r\n" + ours * 5) is Reason.LOOP_DETECTED
    assert fields_of(b"Host: a\r\nVia: " + b"1.1 gateway," * 5 + b"\r\n") is Reason.LOOP_DETECTED


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"deflate,chunked", b"GZIP ,\tChunked"])
def test_an_unknown_coding_before_chunked_is_501(coding: bytes) -> None:
    assert fields_of(b"Host: a\r\nTransfer-Encoding: " + coding + b"\r\n") is Reason.CODING_NOT_IMPLEMENTED


@pytest.mark.parametrize(
    "coding",
    [
        b"gzip",
        b"identity",
        b"chunked, chunked",
        b"chunked, gzip",
        b"identity, chunked",
        b", chunked",
        b"xchunked",
        b"chunked;a",
    ],
)
def test_a_coding_that_does_not_end_in_one_chunked_is_400(coding: bytes) -> None:
    assert fields_of(b"Host: a\r\nTransfer-Encoding: " + coding + b"\r\n") is Reason.AMBIGUOUS_FRAMING


def test_a_request_line_that_never_ends_is_414_and_a_head_that_never_ends_431() -> None:
    assert too_large(b"GET /" + b"a" * 40000) is Reason.TARGET_TOO_LONG
    assert too_large(b"GET / HTTP/1.1\r\nA: " + b"a" * 40000) is Reason.HEAD_TOO_LARGE
    assert too_large(b"\xff" * 40000) is Reason.HEAD_TOO_LARGE


def test_a_method_longer_than_any_is_501() -> None:
    assert parse_request_line(b"A" * 33 + b" / HTTP/1.1\r\n", 100) is Reason.METHOD_NOT_IMPLEMENTED


def test_too_many_fields_are_431() -> None:
    assert fields_of(b"Host: a\r\n" + b"X: y\r\n" * 100) is Reason.TOO_MANY_FIELDS


def test_a_value_of_blanks_takes_linear_time() -> None:
    block = b"Host: a\r\nX: a" + b" " * 30_000 + b"b\r\n"
    assert parsed(block[9:]).forward == block[9:].lower()


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.from_regex(rb"[A-Za-z0-9-]{1,12}", fullmatch=True),
            st.binary(max_size=20).map(lambda v: bytes(b for b in v if b >= 0x21 and b != 0x7F)),
        )
    )
)
def test_what_passes_is_grammar_again_and_parses_to_itself(pairs: list[tuple[bytes, bytes]]) -> None:
    block = b"".join(b"%b: %b\r\n" % pair for pair in pairs)
    once = fields_of(b"Host: a\r\n" + block)
    if isinstance(once, Reason):
        return
    again = fields_of(b"Host: a\r\n" + once.forward)
    assert isinstance(again, Fields)
    assert again.forward == once.forward


@pytest.mark.parametrize(
    ("block", "unattended"),
    [
        (b"Accept: text/event-stream\r\n", True),
        (b"ACCEPT:text/event-stream; q=1\r\n", True),
        (b"X: y\r\nAccept: text/event-stream, */*\r\n", True),
        (b"Accept: text/html, text/event-stream\r\n", False),
        (b"X-Accept: text/event-stream\r\n", False),
        (b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", True),
        (b"Accept: */*\r\n", False),
    ],
)  # fmt: skip
def test_a_stream_that_browsers_open_again_by_themselves_shows_nobody(block: bytes, *, unattended: bool) -> None:
    assert parsed(block).unattended is unattended
