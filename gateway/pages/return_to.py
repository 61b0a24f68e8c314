"""Where the browser goes after sign-in: a path of the same origin, or the start page.

It decides whether a `return_to` value is harmless. It does not decide whether the person may go
there: the pipeline does, when the browser asks.
"""

from __future__ import annotations

import re
from unicodedata import normalize
from urllib.parse import unquote_to_bytes

START_PAGE = "/"

MAX_RETURN_TO_CHARACTERS = 2000
"""Longer ones would not fit into the login-state cookie."""

# absolute-path [ "?" query ] of RFC 9112 §3.2.1, widened by the raw characters that browsers leave alone
# (RFC 3986 would have them encoded) and never opening an authority: no "//", no backslash, no fragment.
_TARGET = re.compile(r"/(?!/)[!$-;=@-\[\]_a-z{|}~]*(?:\?[!$-;=?@-\[\]_a-z{|}~\"'`^<>]*)?")

_OWN_PAGES = frozenset(
    {
        "/.gateway/account",
        "/.gateway/account/passkeys",
        "/.gateway/account/password",
        "/.gateway/account/recovery",
        "/.gateway/enrol",
        "/.gateway/enrol/passkey",
    }
)
"""The only pages of ours that sign-in may lead to, beside the console: the rest of the flow would go in circles."""
CONSOLE = "/.gateway/admin/"
_CONSOLE_PAGE = re.compile(r"/\.gateway/admin(?:/|(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,63}){1,2})")
"""Segments begin with a letter or digit: none is `..`."""

_DECODINGS = 3


def safe_return(value: str) -> str:
    """Return `value` where it is a harmless path of this origin, else the start page (ASVS 3.7.2, CWE-601).

    Whatever some parser might read as another origin, as one of our flow pages or as a line
    break loses: a wrong guess costs one click, an open redirect costs an account.
    """
    if len(value) > MAX_RETURN_TO_CHARACTERS or _TARGET.fullmatch(value) is None:
        return START_PAGE
    path = value.partition("?")[0]
    if path in _OWN_PAGES or _CONSOLE_PAGE.fullmatch(path):
        return value
    for _ in range(_DECODINGS):
        if not _is_plain(path):
            return START_PAGE
        try:
            path = unquote_to_bytes(path).decode()
        except UnicodeDecodeError:
            return START_PAGE
    return value if _is_plain(path) else START_PAGE


def is_own_page(target: str) -> bool:
    """Report whether a harmless path is one of ours: what sign-in may lead to, and nothing of the portal's."""
    path = target.partition("?")[0]
    return path in _OWN_PAGES or _CONSOLE_PAGE.fullmatch(path) is not None


def _is_plain(path: str) -> bool:
    """Report whether one reading of a path stays inside the portal."""
    folded = normalize("NFKC", path).casefold()
    if folded.startswith("//") or "\\" in folded or not folded.isprintable():
        return False
    segments = [segment.partition(";")[0].strip() for segment in folded.split("/")]
    if "." in segments or ".." in segments:
        return False
    return next((segment for segment in segments if segment), "") != ".gateway"
