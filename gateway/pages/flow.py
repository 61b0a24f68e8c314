"""The login state of one browser: a short-lived sealed cookie, and the anti-forgery tokens made from it.

It knows where the browser wanted to go and proves that a form came from a page of ours. It never
says who the person is: that is the session's word alone.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from hashlib import sha256

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.authn.passkey import CEREMONY_S, CLOCKS_DIFFER_S, PasskeyRefusedError, decode

FLOW_LIFETIME_S = 3600.0
"""A form left open longer asks to be sent again."""

SIGN_IN = "sign-in"
PROVE = "prove"
ADD = "add"
"""What a challenge is for."""
CHALLENGE_NONCE_BYTES = 16

_CHALLENGE_HEAD_BYTES = 8 + CHALLENGE_NONCE_BYTES
_NONCE_BYTES = 12  # SP 800-38D §8.2
_SECRET_BYTES = 32
_MAX_SEALED_CHARACTERS = 4000


class Flow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the cookie holds. Times are unix seconds."""

    secret: bytes
    """Never leaves the seal; forms carry what is derived from it."""
    return_to: str
    """Already judged by `safe_return`."""
    issued: float
    notice: str = ""
    """Name of the sentence that the next page shows once."""
    kept: bytes = b""
    """The secret under which a form waits for the end of the sign-in; empty when none does."""
    offered: str = ""
    """Where the form goes that was offered last: a path."""
    sent: tuple[float, ...] = ()
    """When the browser was sent to sign in for `return_to`, lately."""
    signed_in: float = 0.0
    """When the browser last got a session from here; 0 = not since it came to sign in."""
    returns: int = 0
    """How many sign-ins in a row did not last."""
    asked: bytes = b""
    """The secret under which codes that went by mail belong to this browser; empty when none did."""
    browser: bytes = b""
    """Random, for as long as the cookie lives: what is begun at an identity provider is finished in the same browser only."""

    def token(self, form: str, session: str) -> str:
        """Derive the anti-forgery token of one form, for one session handle (empty before sign-in)."""
        digest = hmac.digest(self.secret, f"{form}\0{session}".encode(), "sha256")
        return urlsafe_b64encode(digest).decode("ascii").rstrip("=")

    def challenge(self, purpose: str, session: str, now: float, nonce: bytes) -> bytes:
        """Make the challenge of a passkey ceremony: good for one purpose, this browser, this session, five minutes.

        It is kept nowhere: the login state recognises it. That it is answered once is the store's to see to.
        """
        head = int(now).to_bytes(8, "big") + nonce
        return head + self._bound(purpose, session, head)

    def owns_challenge(self, written: str, purpose: str, session: str, now: float) -> bytes | None:
        """Return the challenge that a form carries, if it was made here for that purpose and is not too old."""
        try:
            raw = decode(written)
        except PasskeyRefusedError:
            return None
        head, mac = raw[: -sha256().digest_size], raw[-sha256().digest_size :]
        if len(head) != _CHALLENGE_HEAD_BYTES or not hmac.compare_digest(self._bound(purpose, session, head), mac):
            return None
        # From the future: clocks of two nodes differ by less than a minute, and people are quicker than that.
        return raw if -CLOCKS_DIFFER_S <= now - int.from_bytes(head[:8], "big") < CEREMONY_S else None

    def _bound(self, purpose: str, session: str, head: bytes) -> bytes:
        return hmac.digest(self.secret, b"challenge\0" + f"{purpose}\0{session}\0".encode() + head, "sha256")

    def owns(self, token: str, form: str, session: str) -> bool:
        """Report whether `token` was made here for this form and session (ASVS 3.5.1)."""
        return hmac.compare_digest(self.token(form, session).encode(), token.encode())


class FlowSeal:
    """Seals and opens login states under one key of 32 bytes.

    A state is bound to the host and scheme it was made for; another host's cookie does not open.
    """

    def __init__(self, key: bytes, random: Callable[[int], bytes]) -> None:
        self._aead = AESGCM(key)
        self._random = random

    def begin(self, return_to: str, now: float) -> Flow:
        """Make a fresh state."""
        return Flow(secret=self._random(_SECRET_BYTES), return_to=return_to, issued=now)

    def close(self, flow: Flow, origin: str) -> str:
        """Seal a state for the cookie; at most 4,000 characters."""
        nonce = self._random(_NONCE_BYTES)
        sealed = self._aead.encrypt(nonce, msgspec.msgpack.encode(flow), _binding(origin))
        return urlsafe_b64encode(nonce + sealed).decode("ascii").rstrip("=")

    def open(self, value: str, origin: str, now: float) -> Flow | None:
        """Open a cookie's value; None for everything that is not a live state of this origin."""
        if not value or len(value) > _MAX_SEALED_CHARACTERS:
            return None
        try:
            raw = urlsafe_b64decode(value.encode("ascii") + b"=" * (-len(value) % 4))
            opened = self._aead.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _binding(origin))
            flow = msgspec.msgpack.decode(opened, type=Flow)
        except (UnicodeEncodeError, Base64Error, ValueError, InvalidTag):
            return None
        # A state from the future is no state: clocks of two nodes differ by less than a minute.
        return flow if -CLOCKS_DIFFER_S <= now - flow.issued < FLOW_LIFETIME_S else None


def _binding(origin: str) -> bytes:
    """Additional data: what this seal is for."""
    return b"gateway flow 1\0" + sha256(origin.encode()).digest()
