"""Read the place of a request in a distributed trace: `traceparent` of W3C Trace Context (Recommendation, 23 November 2021).

Strict: what is not exactly a traceparent, or is there twice, is none, and then its `tracestate` means nothing either
(§3.2.2.2, §3.3). Whose word about it counts is not decided here.
"""

from __future__ import annotations

import re
from typing import Final

# version-format = trace-id "-" parent-id "-" trace-flags, §3.2.2; a version we do not know may have more after a dash, §3.2.4
_TRACEPARENT: Final = re.compile(
    rb"(?:00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
    rb"|(?!00|ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]{0,200})?)"
).fullmatch
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16
MAX_TRACESTATE_BYTES: Final = 4096
"""§3.3.1.5 asks for 512 at least; more than this is dropped as a whole."""


def read_traceparent(values: list[bytes]) -> bytes:
    """Return the one valid traceparent among the lines of the field; nothing otherwise."""
    if len(values) != 1 or _TRACEPARENT(values[0]) is None:
        return b""
    value = values[0]
    return b"" if trace_id(value) == _NO_TRACE or span_id(value) == _NO_SPAN else value


def trace_id(traceparent: bytes) -> bytes:
    """Return the trace of a valid traceparent, 32 hexadecimal digits."""
    return traceparent[3:35]


def span_id(traceparent: bytes) -> bytes:
    """Return the span that a valid traceparent names as the parent, 16 hexadecimal digits."""
    return traceparent[36:52]
