"""Time-based codes, RFC 6238: making a secret, its enrolment URI, and finding the step a code belongs to.

Thirty seconds, six digits, SHA-1: what every authenticator app understands. One step of drift either
way (RFC 6238 section 5.2). Whether the step was used before is a compare-and-set in the store.
"""

from __future__ import annotations

import binascii
import re
from base64 import b32decode, b32encode
from typing import Final

import pyotp
from pyotp.exceptions import OTPVerificationError

SECRET_BYTES: Final = 20
"""160 bits, RFC 4226 section 4 R6."""
MIN_SECRET_BYTES: Final = 10
"""What an operator may bring from elsewhere: many issuers give 80 bits."""
RFC_4226_MIN_SECRET_BYTES: Final = 16
"""RFC 4226 section 4 R6 wants 128 bits: shorter secrets are taken with a warning."""
MAX_SECRET_BYTES: Final = 64
STEP_S: Final = 30
WINDOW: Final = 1
_CODE: Final = re.compile(r"[0-9]{6}", re.ASCII)
_SECRET: Final = re.compile(r"[A-Z2-7]{16,104}", re.ASCII)


class InvalidSecretError(ValueError):
    """Not a base32 secret. The text never quotes it."""


def make_secret(random: bytes) -> str:
    """Return the base32 of 20 random bytes, without padding."""
    if len(random) != SECRET_BYTES:
        raise ValueError(f"a secret is made of {SECRET_BYTES} random bytes")
    return b32encode(random).decode("ascii")


def parse_secret(text: str) -> str:
    """Read a secret as people copy it (spaces, dashes, lower case, padding) and return it canonical.

    Raises:
        InvalidSecretError: it is not base32 of 10 to 64 bytes.

    """
    bare = re.sub(r"[\s-]", "", text).upper().rstrip("=")
    if not _SECRET.fullmatch(bare):
        raise InvalidSecretError("a TOTP secret is 16 to 104 characters of base32 (A-Z and 2-7)")
    try:
        raw = _raw(bare)
    except binascii.Error:
        raise InvalidSecretError("a TOTP secret has a length that base32 never has") from None
    if not MIN_SECRET_BYTES <= len(raw) <= MAX_SECRET_BYTES:
        raise InvalidSecretError(f"a TOTP secret has {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes")
    return b32encode(raw).decode("ascii").rstrip("=")


def enrolment_uri(secret: str, *, name: str, issuer: str) -> str:
    """Return the `otpauth://totp/` URI that authenticator apps read."""
    return pyotp.utils.build_uri(secret=secret, name=name, issuer=issuer)


def is_short(secret: str) -> bool:
    """Tell whether a secret has less than the 128 bits of RFC 4226."""
    return len(_raw(secret)) < RFC_4226_MIN_SECRET_BYTES


def parse_code(text: str) -> str | None:
    """Return six digits, written with or without a space; None when it is something else."""
    bare = text.strip().replace(" ", "")
    return bare if _CODE.fullmatch(bare) else None


def step_of(secret: str, code: str, *, after: int, now: float) -> int | None:
    """Find the time step, later than `after`, to which `code` belongs at `now`; None when there is none.

    The comparison takes the same time for every code. The caller must still win the compare-and-set
    from `after` to the step: two requests can come here with the same code.
    """
    if not _CODE.fullmatch(code):
        return None
    try:
        step = pyotp.TOTP(_padded(secret)).verify_and_get_timecode(code, for_time=now, valid_window=WINDOW)
    except OTPVerificationError:
        return None
    return step if step > after else None


def _raw(secret: str) -> bytes:
    return b32decode(secret + "=" * (-len(secret) % 8))


def _padded(secret: str) -> str:
    """Lengthen a short secret with zero bytes, which changes no code (RFC 2104 section 2): pyotp refuses less than 112 bits."""
    return b32encode(_raw(secret).ljust(RFC_4226_MIN_SECRET_BYTES, b"\0")).decode("ascii")
