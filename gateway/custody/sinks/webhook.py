"""Records as NDJSON by HTTPS POST: signed, with the key of the batch.

A 2xx means that the receiver stored the body. It recognises what it has by `Idempotency-Key`, and each
record by its origin and index.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.audit.delivery import NDJSON, Batch
from gateway.audit.webhook import message_id, sign
from gateway.custody.sinks.http import Endpoint, Poster


class WebhookSink:
    """Posts each batch to one address."""

    def __init__(
        self, endpoint: Endpoint, *, secret: bytes, content_type: str = NDJSON, clock: Callable[[], float]
    ) -> None:
        self._poster = Poster(endpoint)
        self._secret = secret
        self._content_type = content_type
        self._clock = clock

    async def deliver(self, batch: Batch) -> None:
        """Post a batch. Raises NotDeliveredError, RefusedRecordsError."""
        body = batch.body()
        key = batch.key(body)
        identity, time_s = message_id(key), int(self._clock())
        await self._poster.post(
            body,
            {
                "Content-Type": self._content_type,
                "Idempotency-Key": f'"{key}"',  # draft-ietf-httpapi-idempotency-key-header: a string of RFC 9651
                "Gateway-Audit-Stream": batch.stream,
                "webhook-id": identity,
                "webhook-timestamp": str(time_s),
                "webhook-signature": sign(self._secret, identity=identity, time_s=time_s, body=body),
            },
        )

    async def probe(self) -> None:
        """See that there is a receiver behind TLS that is trusted. Raises NotDeliveredError."""
        await self._poster.connect()

    async def close(self) -> None:
        """Close every connection."""
        await self._poster.close()
