"""Requests out of the header blocks of one HTTP/2 connection: frames to blocks, blocks to lists, lists to requests.

A block is remembered while the dynamic table stands, since equal blocks then mean equal lists. What
becomes of a request is the stream's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.edge.answering import NEVER
from gateway.edge.snapshot import Snapshot
from gateway.exchange.reason import Reason
from gateway.wire.hpack_decoder import Header, HeaderBombError, HeaderDecoder, HpackError
from gateway.wire.http2 import RequestHead, request_fields, split_head
from gateway.wire.http2_frames import END_HEADERS, END_STREAM, ErrorCode, Http2Error
from gateway.wire.request import Fields

MEMO_REQUESTS: Final = 8
MEMO_BLOCK_BYTES: Final = 2048
MEMO_LIST_BYTES: Final = 4096
"""Of a header list, as RFC 9113 §6.5.2 counts it: what an idle connection holds is bounded."""
BLOCK_FRAME_BYTES: Final = 1024
"""A header block has one frame for each of these, and a few more (CVE-2024-27316)."""
BLOCK_FRAMES: Final = 8
PLACEHOLDER: Final = (b"GET", b"/")
"""What stands in the record of a head that names no method and target."""

Request = tuple[bytes, bytes, Fields | Reason]
"""Method, target, and the fields or why there are none."""


class RequestHeads:
    """Reads the heads of one connection."""

    __slots__ = ("_decoder", "_fields", "_flags", "_pieces", "_requests", "_size", "stream_id", "until")

    def __init__(self) -> None:
        self._decoder = HeaderDecoder()
        self._requests: dict[bytes, Request] = {}
        """Requests without a body by their block."""
        self._fields: dict[tuple[bytes | None, tuple[Header, ...]], Fields] = {}
        self._pieces: list[bytes] = []
        self._size = 0
        self._flags = 0
        self.stream_id = 0
        """The stream whose block is incomplete; 0 for none."""
        self.until = NEVER
        """When that block must be complete."""

    def forget(self) -> None:
        """Read requests anew: the configuration changed."""
        self._requests.clear()
        self._fields.clear()

    def begin(self, stream_id: int, flags: int, piece: bytes, until: float) -> None:
        """Take the first frame of a block that others continue."""
        self.stream_id, self._flags, self.until = stream_id, flags, until
        self._pieces, self._size = [piece], len(piece)

    def add(self, flags: int, piece: bytes, max_head: int) -> tuple[bytes, bool] | None:
        """Take CONTINUATION; returns the whole block, and whether it ends its stream. Raises Http2Error."""
        self._pieces.append(piece)
        self._size += len(piece)
        # attack: CONTINUATION without end, or without content (CVE-2024-27316, CVE-2019-9518)
        if self._size > max_head or len(self._pieces) > BLOCK_FRAMES + max_head // BLOCK_FRAME_BYTES:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "a header block beyond all bounds")
        if not flags & END_HEADERS:
            return None
        block, self._pieces = b"".join(self._pieces), []
        self.stream_id, self.until = 0, NEVER
        return block, bool(self._flags & END_STREAM)

    def decode(self, block: bytes, max_head: int) -> tuple[Sequence[Header], int]:
        """Decode a block that is no request, or not one that is wanted. Raises Http2Error."""
        decoder = self._decoder
        changes = decoder.changes
        try:
            headers, size = decoder.decode(block, max_head)
        except HpackError as error:
            raise Http2Error(ErrorCode.COMPRESSION_ERROR, str(error)) from None
        except HeaderBombError as bomb:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, str(bomb)) from None
        if decoder.changes != changes:
            self._requests.clear()
        return headers, size

    def request(self, block: bytes, snapshot: Snapshot, *, ended: bool, any_scheme: bool) -> Request:
        """Read the head of a request, or recall it. Raises Http2Error."""
        known = self._requests.get(block) if ended else None
        if known is not None:
            return known
        changes = self._decoder.changes
        headers, size = self.decode(block, snapshot.wire.max_head)
        if size > snapshot.wire.max_head:
            return *PLACEHOLDER, Reason.HEAD_TOO_LARGE
        head = split_head(headers, max_target=snapshot.wire.max_target, any_scheme=any_scheme)
        if isinstance(head, Reason):
            return *PLACEHOLDER, head
        is_kept = ended and size <= MEMO_LIST_BYTES
        request = head.method, head.target, self._fields_of(head, snapshot, ended=ended, is_kept=is_kept)
        if is_kept and len(block) <= MEMO_BLOCK_BYTES and changes == self._decoder.changes:
            if len(self._requests) >= MEMO_REQUESTS:
                self._requests.clear()
            self._requests[block] = request
        return request

    def _fields_of(self, head: RequestHead, snapshot: Snapshot, *, ended: bool, is_kept: bool) -> Fields | Reason:
        """Parse or recall the fields of a request; remembered are those of small requests without a body."""
        key = (head.authority, head.regular)
        known = self._fields.get(key) if is_kept else None
        if known is not None:
            return known
        fields = request_fields(
            head.authority,
            head.regular,
            has_body=not ended,
            max_fields=snapshot.wire.max_fields,
            mapped=snapshot.mapped_names,
        )
        if is_kept and isinstance(fields, Fields):
            if len(self._fields) >= MEMO_REQUESTS:
                self._fields.clear()
            self._fields[key] = fields
        return fields
