"""Receipts of the audit log: what an upstream can check before it acts, so that no request reaches it without its record.

A receipt binds the place of a record in the log to the request that the record announces. Its key is known to the audit
daemon and the upstream alone: a worker that was taken over can leave records out, and cannot make a receipt. It says nothing
of what else the record holds, nor of the body.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from hashlib import sha256
from typing import Any, Final, NamedTuple

import orjson

from gateway.audit.intent import MAX_UID_BYTES, follows

FIELD: Final = b"x-audit-receipt"
SALT_BYTES: Final = 16
SENT: Final = b',"sent":{"key":%d,"line":"%b"}'
"""The member of `unmapped.gw` that says what goes upstream with a receipt: number of its key, salted digest of the request line."""
MAX_KEY_NUMBER: Final = 65_535
MAX_NAME_BYTES: Final = 128
"""Longest name of an upstream for which a receipt is given."""
_LABEL: Final = "gateway audit receipt v1"
_DIGEST: Final = 64
_SORTED: Final = orjson.OPT_SORT_KEYS
"""What `canonical` makes of a record that has nothing strange in it, as those of requests do."""


def line_digest(salt: bytes, method: bytes, target: bytes) -> str:
    """Return the SHA-256, hexadecimal, of the salt and the request line as the upstream gets it.

    The salt goes to the upstream and not into the record: queries stand nowhere in it, and none can be guessed from it.
    """
    return sha256(b"%b%b %b HTTP/1.1" % (salt, method, target)).hexdigest()


def sign_receipt(key: bytes, *, origin: str, index: int, request_uid: str, line: str) -> bytes:
    """Return `<origin>#<index> <base64 of HMAC-SHA256>` for the entry of a log that announces a request.

    The authenticated text has a line for each of: the label, origin, index, id of the request, digest of its request line.
    """
    text = f"{_LABEL}\n{origin}\n{index}\n{request_uid}\n{line}\n".encode()
    return f"{origin}#{index} ".encode() + b64encode(hmac.digest(key, text, "sha256"))


class Announced(NamedTuple):
    """What a record announces: a request, and where it goes."""

    upstream: str
    key: int
    """Number of the upstream's key."""
    request_uid: str
    line: str
    """What `line_digest` returned."""


def announced(payload: bytes) -> Announced | None:
    """Read from a record what a receipt is to be given for; None when it announces nothing that goes upstream with one."""
    try:
        record: Any = orjson.loads(payload)
        gw, uid, upstream = (
            record["unmapped"]["gw"],
            record["metadata"]["correlation_uid"],
            record["dst_endpoint"]["svc_name"],
        )
        number, line = gw["sent"]["key"], gw["sent"]["line"]
        # attack: spaces, escapes, a member twice: a record that others read as something else, and no intent is open
        if gw["phase"] != "intent" or not follows(payload, uid) or orjson.dumps(record, option=_SORTED) != payload:
            return None
    except (ValueError, TypeError, KeyError):
        return None
    if type(number) is not int or not 0 < number <= MAX_KEY_NUMBER:
        return None
    if not all(isinstance(text, str) and text.isascii() and text.isprintable() for text in (uid, upstream, line)):
        return None
    if len(uid) > MAX_UID_BYTES or len(upstream) > MAX_NAME_BYTES or len(line) != _DIGEST:
        return None
    return Announced(upstream, number, uid, line)
