"""Let a request in only with the receipt of its audit record: middleware for an ASGI portal behind the gateway.

Copy this file into the portal; it needs nothing but Python. `gateway audit receipt-key` shows the keys.

    receipts = Receipts([b64decode(os.environ["AUDIT_RECEIPT_KEY"])])
    application = RequireReceipt(application, receipts, exempt={"/health"})

A receipt is `<origin>#<index> <base64> <salt>`. The base64 is HMAC-SHA256 under the upstream's key over five lines, each ended
by a line feed: `gateway audit receipt v1`, origin, index, request id, and in hexadecimal SHA-256 of salt and request line.
That the body is the one that was announced it does not say.
"""

from __future__ import annotations

import hmac
import re
import time
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from hashlib import sha256
from typing import Any

MAX_AGE_S = 60.0
AHEAD_S = 10.0
"""How far the gateway's clock may be before the portal's."""
MAX_REMEMBERED = 100_000
"""Requests of 70 seconds, 1400 a second: more are refused."""
KEY_BYTES = 32

_RECEIPT = re.compile(r"([\x21-\x7e]{1,1024})#([0-9]{1,19}) ([A-Za-z0-9+/]{43}=) ([0-9a-f]{32})")
_REQUEST_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class ReceiptError(Exception):
    """The request must not be served; the text says why, and holds no secret."""


class Receipts:
    """Checks receipts; remembers those of the last minute, so that none is used twice."""

    def __init__(
        self,
        keys: Iterable[bytes],
        *,
        max_age_s: float = MAX_AGE_S,
        max_remembered: int = MAX_REMEMBERED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`keys` are the current ones of all nodes; while one is changed, the old and the new one.

        Raises `ValueError` for what is no key: with an empty one, anybody could make receipts.
        """
        self._keys = tuple(keys)
        if not self._keys or any(len(key) != KEY_BYTES for key in self._keys):
            raise ValueError(f"a key of receipts has {KEY_BYTES} bytes, and there is at least one")
        self._max_age_s = max_age_s
        self._max_remembered = max_remembered
        self._clock = clock
        self._seen: dict[str, float] = {}
        """`origin#index` -> when it may be forgotten. A portal of several processes keeps it where all of them see it."""

    def verify(self, request_line: bytes, request_id: str, receipt: str) -> str:
        """Return `origin#index` of the record that announces this request. Raises `ReceiptError`."""
        return self.verify_any([request_line], request_id, receipt)

    def verify_any(self, request_lines: Iterable[bytes], request_id: str, receipt: str) -> str:
        """Do so for a request whose line is one of these: they are the same to the portal."""
        found = _RECEIPT.fullmatch(receipt)
        if found is None or _REQUEST_ID.fullmatch(request_id) is None:
            raise ReceiptError("there is no receipt, or none that can be read")
        now = self._clock()
        began = int(request_id.replace("-", "")[:12], 16) / 1000  # RFC 9562 section 5.7: milliseconds since 1970
        if not now - self._max_age_s <= began <= now + AHEAD_S:
            raise ReceiptError("the receipt is of another time")
        origin, index, code, salt = found.groups()
        lines = [sha256(bytes.fromhex(salt) + line).hexdigest() for line in request_lines]
        head = f"gateway audit receipt v1\n{origin}\n{index}\n{request_id}\n"
        texts = [f"{head}{line}\n".encode("ascii") for line in lines]
        try:
            given = b64decode(code, validate=True)
        except Base64Error:
            raise ReceiptError("there is no receipt, or none that can be read") from None
        codes = (hmac.digest(key, text, "sha256") for key in self._keys for text in texts)
        if not any(hmac.compare_digest(given, code) for code in codes):
            raise ReceiptError("the receipt is of another request, or of nobody who has a key")
        place = f"{origin}#{index}"
        self._use_up(place, now)
        return place

    def _use_up(self, place: str, now: float) -> None:
        seen, until = self._seen, now + self._max_age_s + AHEAD_S
        if seen and next(iter(seen.values())) > until:  # the clock was put back
            self._seen = seen = dict.fromkeys(seen, until)
        while seen and next(iter(seen.values())) <= now:
            del seen[next(iter(seen))]
        if place in seen:
            raise ReceiptError("the receipt was used before")
        if len(seen) >= self._max_remembered:
            raise ReceiptError("there are more requests than can be remembered")
        seen[place] = until


class RequireReceipt:
    """Answers 403 to every request without a receipt of its own, before the portal sees it."""

    def __init__(self, application: Application, receipts: Receipts, *, exempt: Collection[str] = ()) -> None:
        """`exempt` are paths that change and tell nothing: checks of health come without a record."""
        self._application = application
        self._receipts = receipts
        self._exempt = frozenset(exempt)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection of ASGI."""
        if scope["type"] in {"http", "websocket"} and scope["path"] not in self._exempt:
            try:
                scope["audit_record"] = self._verify(scope)
            except ReceiptError as error:
                await _refuse(scope, send, str(error))
                return
        await self._application(scope, receive, send)

    def _verify(self, scope: MutableMapping[str, Any]) -> str:
        fields: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            fields.setdefault(name.lower(), []).append(value)
        receipt, request_id = fields.get(b"x-audit-receipt", ()), fields.get(b"x-request-id", ())
        if len(receipt) != 1 or len(request_id) != 1:
            raise ReceiptError("there is no receipt, or more than one")
        query = scope["query_string"]
        targets = [scope["raw_path"] + b"?" + query] if query else [scope["raw_path"], scope["raw_path"] + b"?"]
        method = scope.get("method", "GET").encode("ascii")
        lines = [b"%b %b HTTP/1.1" % (method, target) for target in targets]  # ASGI does not say whether `?` was there
        return self._receipts.verify_any(lines, request_id[0].decode("latin-1"), receipt[0].decode("latin-1"))


async def _refuse(scope: MutableMapping[str, Any], send: Send, why: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": why})
        return
    body = f"{why}\n".encode("ascii")
    fields = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 403, "headers": fields})
    await send({"type": "http.response.body", "body": body})
