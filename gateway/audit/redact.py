"""Takes secrets out of text that goes into a record or a log: the one redaction of the gateway.

It is the second line: builders do not put secrets into records in the first place. It looks for
what is recognisable (tokens with a known form, secrets behind a telling name, card numbers) and
does not claim to find the rest.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from gateway.wire.card_number import is_card_number

MAX_TEXT = 16_384
"""Longer text is cut before it is read, so that the work is bounded."""
MARK = "[redacted]"

_NAMES = (
    r"pass(?:word|wd|phrase)?|pwd|secret|client[_-]?secret|api[_-]?key|apikey|access[_-]?key|private[_-]?key|"
    r"(?:access|refresh|id|csrf|auth|session|bearer)?[_-]?token|"
    r"(?:__host-|__secure-)?gw(?:-flow)?|session(?:[_-]?id)?|sid|jsessionid|phpsessid|otp|totp|mfa[_-]?code|pin|cvv2?|cvc|"
    r"saml(?:request|response|art)|(?:client_)?assertion|signature|sig|code"
)
_HEADER = re.compile(
    r"\b((?:set-)?cookie|(?:proxy-)?authorization)([ \t]{0,3}[:=][ \t]{0,3})[^\r\n]{1,8192}", re.IGNORECASE
)
_NAMED = re.compile(
    rf"(?<![A-Za-z0-9_])((?:{_NAMES})[\"']?[ \t]{{0,3}}(?:=|:|%3[Dd])[ \t]{{0,3}})"
    r"(\"[^\"]{0,4096}\"|'[^']{0,4096}'|[^\s&;,\"'<>]{1,4096})",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\b(bearer|basic|negotiate)([ +]|%20)([A-Za-z0-9._~+/=%-]{6,8192})", re.IGNORECASE)
_KNOWN = re.compile(
    r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,8192}+(?:\.[A-Za-z0-9_-]{0,8192}){1,4}"  # JWS and JWE, RFC 7515, RFC 7516
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,255}"
    r"|\bxox[abeprs]-[A-Za-z0-9-]{10,255}"
    r"|\bsk_(?:live|test)_[A-Za-z0-9]{10,255}"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[A-Za-z0-9+/=\s]{0,8192}(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?"
    r"|otpauth://[^\s\"'<>]{1,2048}",
)
_USERINFO = re.compile(r"(://[^\s/@:]{0,256}:)[^\s/@]{1,1024}(?=@)")
_DIGITS = re.compile(
    r"\b[kpsu]_[0-9a-f]{16}(?:[0-9a-f]{16})?\b"  # ids of ours, taken whole: in some a card number could be read
    r"|(?<![0-9])[0-9](?:(?:[ +._-]|%20|%2[Dd])?[0-9]){12,18}(?![0-9])"
)
_GROUPED = re.compile(
    r"(?<![0-9])[0-9]{4}(?:[ +._/|,;:-]|%20|%2[Dd]){1,3}[0-9]{4}(?:[ +._/|,;:-]|%20|%2[Dd]){1,3}[0-9]{4}"
    r"(?:[ +._/|,;:-]|%20|%2[Dd]){1,3}[0-9]{1,7}(?![0-9])"
    r"|(?<![0-9])3[47][0-9]{2}(?:[ +._/|,;:-]|%20|%2[Dd]){1,3}[0-9]{6}(?:[ +._/|,;:-]|%20|%2[Dd]){1,3}[0-9]{5}(?![0-9])"
)
"""As card numbers are printed, 4-4-4-4 and 4-6-5, with what nobody puts between the digits of other numbers."""
_SEPARATORS = re.compile(r"%20|%2[Dd]|[ +._/|,;:-]")
_DIGIT_BYTES: Final = b"0123456789"
_TELLTALES: Final = (
    b"=", b":", b"%", b"eyj", b"akia", b"asia", b"gh", b"xox", b"sk_", b"-----begin", b"bearer", b"basic", b"negotiate",
)  # fmt: skip
"""One of them stands, in any case, in everything that `redact` would take out, but for card numbers."""
_SHORTEST_CARD: Final = 13
_CARD_LIKE: Final = re.compile(rb"[0-9](?:[^0-9A-Za-z]{0,3}[0-9]){12}").search


def may_hold_secret(data: bytes) -> bool:
    """Tell, cheaply, whether `redact` could find something in this text: false only where it would change nothing."""
    lower = data.lower()
    for telltale in _TELLTALES:
        if telltale in lower:
            return True
    if len(data) - len(data.translate(None, _DIGIT_BYTES)) < _SHORTEST_CARD:
        return False
    return _CARD_LIKE(data) is not None


def redact(text: str) -> tuple[str, int]:
    """Return the text without recognisable secrets, and how many were taken out."""
    text = text[:MAX_TEXT]
    count = 0

    def named(match: re.Match[str]) -> str:
        nonlocal count
        if match[2] == MARK:
            return match[0]
        count += 1
        return match[1] + MARK

    def scheme(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return match[1] + match[2] + MARK

    def known(_: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return MARK

    def userinfo(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return match[1] + MARK

    def card(match: re.Match[str]) -> str:
        nonlocal count
        if not is_card_number(_SEPARATORS.sub("", match[0])):
            return match[0]
        count += 1
        return MARK

    text = _KNOWN.sub(known, text)
    text = _HEADER.sub(scheme, text)
    text = _SCHEME.sub(scheme, text)
    text = _NAMED.sub(named, text)
    text = _USERINFO.sub(userinfo, text)
    text = _DIGITS.sub(card, text)
    text = _GROUPED.sub(card, text)
    if "%" in text and _hides_more(text):
        return MARK, count + 1
    return text, count


def _hides_more(text: str) -> bool:
    """Tell whether percent-decoding, up to three times, shows a secret that the plain reading does not."""
    for _ in range(3):
        decoded = unquote(text)
        if decoded == text:
            return False
        if (
            _KNOWN.search(decoded)
            or _SCHEME.search(decoded)
            or any(match[2] != MARK for match in _NAMED.finditer(decoded))
            or any(
                is_card_number(_SEPARATORS.sub("", match[0]))
                for pattern in (_DIGITS, _GROUPED)
                for match in pattern.finditer(decoded)
            )
        ):
            return True
        text = decoded
    return False
