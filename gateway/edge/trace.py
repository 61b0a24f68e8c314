"""Which distributed trace a request belongs to (W3C Trace Context), and what its upstream is told of it.

The gateway is no span of its own: it passes a valid `traceparent` on as it came, so that the portal's traces stay whole,
and records the ids. Where nothing valid came, the record's ids are made of the request id; whether the upstream is told
of those is the operator's choice, because the flag in them decides what the portal samples.
"""

from __future__ import annotations

from typing import Final

from gateway.edge.exchange import Exchange
from gateway.wire.traceparent import span_id, trace_id

SPAN_AT: Final = 16


def accepted(x: Exchange) -> bytes:
    """Return the traceparent that came with `x`, where it counts; else nothing."""
    accept = x.snapshot.trace.accept
    if accept == "any" or (accept == "trusted" and x.peer.trusted):
        return x.fields.traceparent
    return b""


def trace_ids(x: Exchange) -> tuple[bytes, bytes]:
    """Return trace and span for the record, hexadecimal."""
    if x.fields.traceparent:
        traceparent = accepted(x)
        if traceparent:
            return trace_id(traceparent), span_id(traceparent)
    own = x.request_id.replace(b"-", b"")
    return own, own[SPAN_AT:]


def trace_fields(x: Exchange) -> bytes:
    """Write what the upstream is told; nothing where nothing came and nothing begins."""
    if x.fields.traceparent:
        traceparent = accepted(x)
        if traceparent:
            state = x.fields.tracestate
            if state:
                return b"traceparent: %b\r\ntracestate: %b\r\n" % (traceparent, state)
            return b"traceparent: %b\r\n" % traceparent
    flags = x.snapshot.trace.flags
    if not flags:
        return b""
    own = x.request_id.replace(b"-", b"")
    return b"traceparent: 00-%b-%b-%b\r\n" % (own, own[SPAN_AT:], flags)
