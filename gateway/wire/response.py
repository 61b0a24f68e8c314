"""Parse the head of an upstream's answer. The upstream may be hostile too (RFC 9112 §4, §6.3).

Returns what the edge needs to frame and harden the answer; None means the answer cannot be passed on.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

from gateway.wire.names import HOP_BY_HOP
from gateway.wire.request import FIELD_LINES, FIELDS

STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [\t -~\x80-\xff]*)?\r\n").match
_LENGTH: Final = re.compile(rb"[0-9]{1,18}").fullmatch

# Names that tell an attacker what runs behind us.
_REVEALING: Final = frozenset(
    (
        b"server",
        b"x-powered-by",
        b"x-aspnet-version",
        b"x-aspnetmvc-version",
        b"x-generator",
        b"x-runtime",
        b"x-version",
        b"x-drupal-cache",
        b"x-backend-server",
    )
)
# Fields that the gateway writes itself on every answer (see edge/hardening).
_OVERWRITTEN: Final = frozenset(
    (b"strict-transport-security", b"x-content-type-options", b"x-xss-protection", b"cross-origin-opener-policy", b"cross-origin-resource-policy",
     b"permissions-policy", b"public-key-pins", b"expect-ct", b"content-length", b"alt-svc", b"via"),
)  # fmt: skip
# Fields that need a look at their value before they pass.
_WEIGHED: Final = frozenset(
    (b"set-cookie", b"clear-site-data", b"location", b"cache-control", b"pragma", b"expires", b"x-frame-options", b"referrer-policy", b"service-worker-allowed", b"refresh",
     b"content-location", b"link"),
)  # fmt: skip


@dataclass(slots=True, eq=False)
class ResponseHead:
    """A parsed answer of an upstream."""

    status: int
    minor: int
    forward: bytes
    """Fields that pass as they are, `name: value CRLF` each."""
    weighed: tuple[tuple[bytes, bytes], ...]
    """Fields that depend on the request or the route."""
    length: int | None
    chunked: bool
    close: bool
    websocket_accept: bytes = b""
    upgrade: bytes = b""
    content_type: bytes = b""
    dated: bool = False
    """The upstream said when it made the answer (RFC 9110 §6.6.1)."""
    events: bytes = b""
    """`X-Gateway-Events` of our own pages; ignored from anybody else."""
    audit_resources: bytes = b""
    """`X-Audit-Resource`, lines joined by commas: what a portal says about the data in its answer."""
    audit_changes: bytes = b""
    """`X-Audit-Change`, the same: the names of the fields that were changed."""
    hardened: dict[Hashable, bytes] = field(default_factory=dict)
    """What the edge made of this head, by the facts it depends on."""


def parse_response_head(block: bytes, max_fields: int = 200) -> ResponseHead | None:
    """Parse a status line with its field lines (each ending in CRLF, without the empty line); None when malformed or ambiguous."""
    found = STATUS_LINE(block)
    if found is None:
        return None
    lines_block = block[found.end() :]
    if FIELD_LINES(lines_block) is None:
        return None
    lines: list[tuple[bytes, bytes]] = FIELDS(lines_block)
    if len(lines) > max_fields:
        return None
    length: int | None = None
    codings: list[bytes] = []
    nominated: set[bytes] = set()
    named: list[tuple[bytes, bytes]] = []
    weighed: list[tuple[bytes, bytes]] = []
    accept = upgrade = content_type = events = resources = changes = b""
    dated = False
    for raw, value in lines:
        name = raw.lower()
        if name == b"content-length":
            if _LENGTH(value) is None or (length is not None and length != int(value)):  # response splitting
                return None
            length = int(value)
        elif name == b"transfer-encoding":
            codings.append(value.lower())
        elif name == b"connection":
            nominated.update(token.strip(b" \t").lower() for token in value.split(b","))
        elif name == b"upgrade":
            upgrade = value.lower()
        elif name == b"x-gateway-events":
            events = value
        elif name == b"x-audit-resource":
            resources = b"%b,%b" % (resources, value) if resources else value
        elif name == b"x-audit-change":
            changes = b"%b,%b" % (changes, value) if changes else value
        elif name in _WEIGHED:
            weighed.append((name, value))
        elif (
            name not in HOP_BY_HOP
            and name not in _REVEALING
            and name not in _OVERWRITTEN
            and not name.startswith((b"x-gateway-", b"x-audit-"))
        ):
            if name == b"sec-websocket-accept":
                accept = value
            elif name == b"content-type":
                content_type = value
            elif name == b"date":
                dated = True
            named.append((name, value))
    minor = 1 if found[1] == b"1" else 0
    if codings and (codings != [b"chunked"] or length is not None or minor == 0):
        return None
    status = int(found[2])
    if status == 407 or (status == 205 and length):  # nobody asked for a proxy's credentials; §15.3.6: no content
        return None
    return ResponseHead(
        status=status,
        minor=minor,
        forward=b"".join([b"%b: %b\r\n" % pair for pair in named if pair[0] not in nominated]),
        weighed=tuple([pair for pair in weighed if pair[0] not in nominated]) if nominated else tuple(weighed),
        length=length,
        chunked=bool(codings),
        close=b"close" in nominated or (minor == 0 and b"keep-alive" not in nominated),
        websocket_accept=accept,
        upgrade=upgrade,
        content_type=content_type,
        dated=dated and b"date" not in nominated,
        events=events,
        audit_resources=resources,
        audit_changes=changes,
    )
