"""What a file's name would do where the portal stores, serves or shows it.

Judged in every way that something behind us may read it: as sent, percent-decoded (three times), and in
Unicode's compatibility form. A name of people (`O'Brien CV (final).pdf`, `Übersicht 50%.pdf`, `申込書.pdf`) passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from unicodedata import bidirectional, category, normalize
from urllib.parse import unquote_to_bytes

from gateway.inspection.upload.kinds import RUN_ANYWHERE_IN_A_NAME, RUN_BY_DESKTOPS, RUN_BY_SERVERS
from gateway.inspection.upload.objection import Objection

MAX_BYTES: Final = 255
"""NAME_MAX of Linux, and about what Windows takes."""
_DECODED_TIMES: Final = 3
_ESCAPE: Final = re.compile("%[0-9A-Fa-f]{2}")
_DEVICE: Final = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])[ ]*(?:[.:].*)?", re.IGNORECASE | re.DOTALL
)
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_SEPARATORS: Final = re.compile(r"[/\\]")
_PARTS: Final = re.compile(r"[.;:]")
"""What ends an extension: `a.php;.jpg` to IIS, `a.php:.jpg` and `a.php::$DATA` to NTFS."""
_OBEYED: Final = frozenset(
    (".htaccess", ".htpasswd", ".user.ini", "web.config", ".env", "authorized_keys", ".npmrc", ".netrc", "php.ini")
)
_TURNING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""UAX 9: embeddings, overrides, isolates; `annexe\u202efdp.exe` is displayed as `annexeexe.pdf`."""
_MARKS: Final = frozenset("\u200f\u061c")
"""Right-to-left marks; honest next to letters that are written so."""
_INVISIBLE: Final = frozenset(
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060\u2061\u2062\u2063\u2064\u2800\u3164\ufeff\uffa0"
)
_RIGHT_TO_LEFT: Final = frozenset(("R", "AL"))
_LONG_BLANK: Final = re.compile(r"\s{8,}\.")
"""Blanks before the last extension: Windows Explorer shows `letter.pdf            .exe` without its end."""


def objection_to(name: str) -> Objection | None:
    """Say what is wrong with a name; None = nothing. An empty name is no name."""
    if not name:
        return Objection.NAME_MISSING
    if len(name.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        return Objection.NAME_TOO_LONG
    for reading in readings(name):
        found = _objection(reading)
        if found is not None:
            return found
    return None


def readings(name: str) -> Iterator[str]:
    """List the ways a name is read behind us, each once."""
    seen = set()
    at = name
    for _ in range(_DECODED_TIMES + 1):
        for reading in (at, normalize("NFKC", at)):
            if reading not in seen:
                seen.add(reading)
                yield reading
        if not _ESCAPE.search(at):
            return
        at = unquote_to_bytes(at.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")


def extension(name: str) -> str:
    """Return the last extension, in lower case without its dot; empty = there is none."""
    stem, dot, last = name.rpartition(".")
    return last.lower() if dot and stem.strip(". ") else ""


def _objection(name: str) -> Objection | None:
    if any(category(letter) in {"Cc", "Cs"} for letter in name):
        return Objection.NAME_CONTROL
    if _SEPARATORS.search(name) or _DRIVE.match(name) or not name.strip(". "):
        return Objection.NAME_PATH
    if _is_disguised(name):
        return Objection.NAME_DISGUISED
    lowered = name.lower()
    if _DEVICE.fullmatch(name) or lowered in _OBEYED:
        return Objection.NAME_RESERVED
    left = lowered.encode("ascii", "ignore").decode("ascii")  # what a portal keeps that drops the rest
    return Objection.NAME_EXECUTABLE if _is_run(lowered) or _is_run(left) else None


def _is_run(name: str) -> bool:
    extensions = [part for part in map(str.strip, _PARTS.split(name)[1:]) if part]
    if not extensions:
        return False
    last = extensions[-1]
    return (
        last in RUN_BY_SERVERS
        or last in RUN_BY_DESKTOPS
        or last == "$data"
        or not RUN_ANYWHERE_IN_A_NAME.isdisjoint(extensions)
    )


def _is_disguised(name: str) -> bool:
    letters = set(name)
    if name.endswith((".", " ")) or letters & _TURNING or letters & _INVISIBLE or _LONG_BLANK.search(name):
        return True
    return bool(letters & _MARKS) and not any(bidirectional(letter) in _RIGHT_TO_LEFT for letter in letters - _MARKS)
