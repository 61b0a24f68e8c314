"""The hidden field that forms of a portal get, and that shows where a form was served (synchronizer token, ASVS 3.5.1).

A token is an HMAC over the session and the hour under a key of the gateway's, masked anew for each page: what is compressed
together with text of an attacker's choosing must not repeat (BREACH). It proves that a page of this session held it. It is
no credential, and useless for another session.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Final

from gateway.exchange.errors import GatewayError
from gateway.exchange.reason import Reason

FIELD: Final = b"gw_csrf"
PAD_BYTES: Final = 32
HOUR_S: Final = 3600
LIFETIME_HOURS: Final = 12
"""A page may be open for so long before its form is sent."""
_TOKEN: Final = re.compile(rb"[A-Za-z0-9_-]{86}").fullmatch
_PURPOSE: Final = b"gateway form token v1\0"
_PAIR: Final = FIELD + b"="
SEARCHED_BYTES: Final = 64 * 1024
"""How far into a multipart body the token is looked for: it is the first field of its form."""
_PART: Final = re.compile(
    rb'content-disposition:[\t ]*form-data;[\t ]*name="' + FIELD + rb'"[\t ]*\r\n\r\n([A-Za-z0-9_-]{86})\r\n',
    re.IGNORECASE,
).search


class FormTokenError(GatewayError):
    """A form without the token of this session, or with one that is too old."""

    reason = Reason.FORM_EXPIRED


def make_token(key: bytes, handle: str, now: float, pad: bytes) -> bytes:
    """Return a token for forms of this session, 86 characters; `pad` is 32 random bytes."""
    if len(pad) != PAD_BYTES:
        raise ValueError(f"a pad has {PAD_BYTES} bytes")
    masked = _xor(pad, _mac(key, handle, int(now) // HOUR_S))
    return urlsafe_b64encode(pad + masked).rstrip(b"=")


def verify_token(key: bytes, handle: str, token: bytes, now: float) -> int:
    """Return how many hours ago the token was made.

    Raises:
        FormTokenError: it is none, of another session, or older than `LIFETIME_HOURS`.

    """
    if not handle or _TOKEN(token) is None:
        raise FormTokenError
    raw = urlsafe_b64decode(token + b"==")
    shown = _xor(raw[:PAD_BYTES], raw[PAD_BYTES:])
    hour = int(now) // HOUR_S
    age = None
    for hours in range(LIFETIME_HOURS + 1):  # to the end, whatever fits: the time taken tells nothing
        if hmac.compare_digest(shown, _mac(key, handle, hour - hours)):
            age = hours
    if age is None:
        raise FormTokenError
    return age


def take_from_form(body: bytes) -> tuple[bytes, bytes]:
    """Take the token out of a whole urlencoded body: the token, empty when there is none, and the body without it.

    The pairs that stay are the bytes that came. Of several tokens the first counts; none is passed on.
    """
    if _PAIR not in body:
        return b"", body
    token, kept = b"", []
    for pair in body.split(b"&"):
        if not pair.startswith(_PAIR):
            kept.append(pair)
        elif not token:
            token = pair[len(_PAIR) :]
    return token, b"&".join(kept)


def find_in_parts(body: bytes) -> bytes:
    """Return the token of a multipart body, or of its beginning; empty when there is none in the first 64 KiB.

    It stays where it is: taking a part out would mean to write the others anew.
    """
    found = _PART(body[:SEARCHED_BYTES])
    return found[1] if found is not None else b""


def _mac(key: bytes, handle: str, hour: int) -> bytes:
    return hmac.digest(key, b"%b%b\0%d" % (_PURPOSE, handle.encode("utf-8"), hour), sha256)


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
