"""What is assigned to the name of a secret: `password = "…"`, `api_key: …`, `aws_secret_access_key=…`.

The last is a secret whatever stands around it: AWS makes it of exactly forty letters. For the others a value is only guessed to
be one, so they are a kind of their own.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.inspection.leak.reading import HOLD, Found, Reading, Skip, Text, beginnings
from gateway.inspection.leak.sighting import Kind

AWS_LITERALS: Final = (b"aws_secret_access_key", b"aws_secret_key", b"awssecretkey", b"secretaccesskey")
"""In lower case, as those below."""
AWS_TRIGGER: Final = rb"(?i:" + b"|".join(AWS_LITERALS) + rb")"
AWS_OPENING: Final = rb"(?i:" + beginnings(AWS_LITERALS) + rb")"
LITERALS: Final = (
    b"password", b"passwd", b"passphrase", b"passwort", b"kennwort", b"pwd", b"secret", b"api_key", b"api-key", b"apikey",
    b"access_key", b"access-key", b"auth_token", b"auth-token", b"access_token", b"private_token",
)  # fmt: skip
TRIGGER: Final = rb"(?i:" + b"|".join(LITERALS) + rb")"
OPENING: Final = rb"(?i:" + beginnings(LITERALS) + rb")"

_AWS: Final = re.compile(rb"\w{12,24}[\"'\\ \t:=>]{1,12}([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])")
_AWS_REACH: Final = 80
_NAMED: Final = re.compile(
    rb"[A-Za-z-]{3,16}[A-Za-z0-9_-]{0,24}\\?[\"']?[ \t]{0,3}(?:=>|:=|=|:)[ \t]{0,3}\\?[\"']?"
    rb"([^\s\"'<>&;,\\]{8,128})(?=[\s\"'<>&;,\\]|\Z)"
)
_NAMED_REACH: Final = 192
_CODE: Final = re.compile(rb"[(){}\[\]$]|^[A-Za-z_]+(?:\.[A-Za-z_]+)+$")
"""It is called, looked up or put in by a program."""
_DIGITS: Final = b"0123456789"
_FEWEST_LETTERS: Final = 5


def claims_aws(trigger: bytes) -> bool:
    """Tell whether a trigger names a secret key of Amazon's."""
    return trigger.lower() in AWS_LITERALS


def claims(trigger: bytes) -> bool:
    """Tell whether a trigger is one of the others."""
    return trigger.lower() in LITERALS


def read_aws(text: Text, at: int, trigger: bytes) -> Reading:
    """Read on from the first letter of the name."""
    data = text.data
    if not text.is_whole and len(data) - at < _AWS_REACH:
        return HOLD
    found = _AWS.match(data, at)
    if found is None:
        return Skip(at + len(trigger))
    return Found(Kind.SECRETS, at, found.end(), found[1], (found.span(1),))


def read(text: Text, at: int, trigger: bytes) -> Reading:
    """Read on from the first letter of the name."""
    data = text.data
    if not text.is_whole and len(data) - at < _NAMED_REACH:
        return HOLD
    found = _NAMED.match(data, at, at + _NAMED_REACH)
    if found is None or not _is_likely(found[1]):
        return Skip(at + len(trigger))
    # what is assigned may be more than a guess: others read it, too
    return Found(Kind.PASSWORDS, at, found.start(1), found[1], (found.span(1),))


def _is_likely(value: bytes) -> bool:
    """Tell whether a value looks like a secret rather than a word, an example or a piece of a program."""
    letters = value.translate(None, _DIGITS)
    return 0 < len(letters) < len(value) and len(set(value)) >= _FEWEST_LETTERS and not _CODE.search(value)
