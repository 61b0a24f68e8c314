"""How a receiver knows that a batch is from this gateway: the signature of Standard Webhooks 1.0.

`webhook-signature: v1,base64(HMAC-SHA256(secret, id "." timestamp "." body))`. It proves who sent a batch, and
when; that it is complete and unchanged since it was recorded, only the log proves.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from typing import Final

SECRET_PREFIX: Final = b"whsec_"
SHORTEST_SECRET_BYTES: Final = 24
LONGEST_ID: Final = 48


def read_secret(content: bytes) -> bytes:
    """Return the key in a secret's file: `whsec_` and base64, or the bytes themselves. Raises ValueError."""
    if content.startswith(SECRET_PREFIX):
        try:
            key = b64decode(content.removeprefix(SECRET_PREFIX), validate=True)
        except ValueError:
            raise ValueError("what follows whsec_ is not base64") from None
    else:
        key = content
    if len(key) < SHORTEST_SECRET_BYTES:
        raise ValueError(
            f"a signing secret has at least {SHORTEST_SECRET_BYTES} bytes; make one with: openssl rand -hex 32"
        )
    return key


def message_id(batch_key: str) -> str:
    """Return the id of a batch: the beginning of its digest, because an id has no dots and an origin may."""
    return f"batch_{batch_key.rpartition('#')[2]}"[:LONGEST_ID]


def sign(secret: bytes, *, identity: str, time_s: int, body: bytes) -> str:
    """Return the value of `webhook-signature`."""
    signed = f"{identity}.{time_s}.".encode("ascii") + body
    return "v1," + b64encode(hmac.digest(secret, signed, "sha256")).decode("ascii")
