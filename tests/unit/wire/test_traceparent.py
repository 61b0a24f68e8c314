from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.request import Fields, parse_fields
from gateway.wire.traceparent import MAX_TRACESTATE_BYTES, read_traceparent, span_id, trace_id

TRACE = b"0af7651916cd43dd8448eb211c80319c"
SPAN = b"b7ad6b7169203331"
VALID = b"00-%b-%b-01" % (TRACE, SPAN)


def fields(lines: bytes) -> Fields:
    found = parse_fields(b"host: a.example\r\n" + lines, max_fields=50, mapped=frozenset())
    assert isinstance(found, Fields)
    return found


def test_the_example_of_the_recommendation_is_read() -> None:
    assert read_traceparent([VALID]) == VALID
    assert (trace_id(VALID), span_id(VALID)) == (TRACE, SPAN)


def test_a_later_version_may_have_more_after_a_dash() -> None:
    assert read_traceparent([b"01-%b-%b-01-what-the-future-brings" % (TRACE, SPAN)])
    assert read_traceparent([b"01-%b-%b-01what" % (TRACE, SPAN)]) == b""


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"ff-%b-%b-01" % (TRACE, SPAN),
        b"00-%b-%b-01" % (b"0" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00-%b-%b-01" % (TRACE.upper(), SPAN),
        b"00-%b-%b-01-extra" % (TRACE, SPAN),
        b"00-%b-%b" % (TRACE, SPAN),
        VALID + b"\n",
        b" " + VALID,
        VALID + b", " + VALID,
        b"00-" + TRACE + b'"}' + SPAN,
    ],
)
def test_what_is_not_exactly_a_traceparent_is_none(value: bytes) -> None:
    assert read_traceparent([value]) == b""


def test_two_of_them_are_none() -> None:
    assert read_traceparent([VALID, VALID]) == b""
    assert fields(b"traceparent: %b\r\nTraceparent: %b\r\n" % (VALID, VALID)).traceparent == b""


@given(st.binary(max_size=80))
def test_what_is_read_is_always_hexadecimal(value: bytes) -> None:
    found = read_traceparent([value])
    assert not found or (bytes.fromhex(trace_id(found).decode()) and bytes.fromhex(span_id(found).decode()))


def test_the_state_goes_along_with_a_valid_parent_alone() -> None:
    with_both = fields(b"traceparent: %b\r\ntracestate: a=1\r\ntracestate: b=2\r\n" % VALID)
    assert (with_both.traceparent, with_both.tracestate) == (VALID, b"a=1,b=2")
    assert b"trace" not in with_both.forward, "who passes it on is decided later"
    assert fields(b"tracestate: a=1\r\n").tracestate == b""
    assert fields(b"traceparent: junk\r\ntracestate: a=1\r\n").tracestate == b""
    too_long = b"traceparent: %b\r\ntracestate: a=%b\r\n" % (VALID, b"x" * MAX_TRACESTATE_BYTES)
    assert fields(too_long).tracestate == b""


def test_a_connection_option_takes_it_away() -> None:
    assert fields(b"connection: traceparent\r\ntraceparent: %b\r\n" % VALID).traceparent == b""
