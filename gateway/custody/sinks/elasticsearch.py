"""Records as documents of Elasticsearch or OpenSearch, by `_bulk`.

Each is created under `origin#index`: one that is there already (409) was delivered before. What the answer says
of one document counts for it alone.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import orjson

from gateway.audit.delivery import NDJSON, Batch, idempotency_key
from gateway.custody.sinks.http import Endpoint, Poster
from gateway.custody.sinks.sink import Fault, NotDeliveredError, RefusedRecordsError

_THERE_ALREADY: Final = 409
_SUCCESS: Final = range(200, 300)
_PATIENCE: Final = frozenset({429, 503})
_RECORD_FAULTS: Final = frozenset({400, 413, 422})


class _Outcome(msgspec.Struct):
    status: int
    error: Any = None


class _Item(msgspec.Struct):
    create: _Outcome


class _Answer(msgspec.Struct):
    items: list[_Item]


class ElasticsearchSink:
    """Creates documents in one index or data stream; `{stream}` in its name is the stream."""

    def __init__(self, endpoint: Endpoint, *, index: str) -> None:
        self._poster = Poster(endpoint)
        self._index = index

    async def deliver(self, batch: Batch) -> None:
        """Create the documents of a batch. Raises NotDeliveredError, RefusedRecordsError."""
        index = self._index.replace("{stream}", batch.stream)
        lines = []
        for delivery in batch.deliveries:
            action = {"create": {"_id": idempotency_key(batch.origin, delivery.index), "_index": index}}
            lines += [orjson.dumps(action), delivery.line]
        content = await self._poster.post(b"\n".join(lines) + b"\n", {"Content-Type": NDJSON}, path="/_bulk")
        _judge(batch, content)

    async def probe(self) -> None:
        """Ask the cluster who it is. Raises NotDeliveredError."""
        try:
            await self._poster.get("/")
        except RefusedRecordsError as error:
            raise NotDeliveredError(Fault.MISCONFIGURED, error.detail) from error

    async def close(self) -> None:
        """Close every connection."""
        await self._poster.close()


def _judge(batch: Batch, content: bytes) -> None:
    """Raise what the answer of `_bulk` says of the documents."""
    try:
        items = msgspec.json.decode(content, type=_Answer).items
    except msgspec.DecodeError as exc:
        raise NotDeliveredError(Fault.MISCONFIGURED, "the answer is none of _bulk") from exc
    if len(items) != len(batch.deliveries):
        raise NotDeliveredError(Fault.BROKEN, "the answer of _bulk is about other documents")
    refused: list[int] = []
    detail = ""
    for delivery, item in zip(batch.deliveries, items, strict=True):
        status = item.create.status
        if status in _SUCCESS or status == _THERE_ALREADY:
            continue
        if status in _RECORD_FAULTS:
            refused.append(delivery.index)
            detail = f"it answered {status} ({_kind(item.create.error)})"
            continue
        fault = Fault.BUSY if status in _PATIENCE else Fault.BROKEN if status >= 500 else Fault.MISCONFIGURED  # noqa: PLR2004 - RFC 9110 section 15.6
        raise NotDeliveredError(fault, f"it answered {status} for a document ({_kind(item.create.error)})")
    if refused:
        raise RefusedRecordsError(detail, refused)


def _kind(error: Any) -> str:
    """Name the kind of an error; its text may quote the document."""
    kind = error.get("type") if isinstance(error, dict) else None
    return kind[:64] if isinstance(kind, str) and kind.isidentifier() else "no type"
