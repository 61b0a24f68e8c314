"""Which scripts are approved for a route: by the hash of what runs, or by the address it is loaded from.

An address is approved only where a browser cannot read it as another one: what it would normalise away (`%2e`, a backslash, tabs,
character references) is never approved, so that what is compared is what is fetched.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from urllib.parse import urljoin

MAX_APPROVED: Final = 512
HASH: Final = re.compile(r"sha256-[A-Za-z0-9+/]{43}=")
_ABSOLUTE: Final = re.compile(
    r"https?://[a-z0-9.-]{1,253}(?::[0-9]{1,5})?(/[A-Za-z0-9._~!$'()*+,;:@%/-]{0,512})(?:\?[!-~]{0,256})?"
)
_PATH: Final = re.compile(r"/(?!/)[A-Za-z0-9._~!$'()*+,;:@%/-]{0,512}(?:\?[!-~]{0,256})?")
_CLEAR: Final = re.compile(r"[!#$%&'()*+,./:;=?@_~A-Za-z0-9\[\]-]{1,2048}").fullmatch
_AMBIGUOUS: Final = re.compile(r"%(?:2[ef]|5c|0[0-9a-f]|1[0-9a-f])", re.IGNORECASE).search
_REFERENCE: Final = re.compile(r"&(?:#|[A-Za-z0-9]+(?![A-Za-z0-9=]))").search
_ODD: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?/{3,}|[A-Za-z][A-Za-z0-9+.-]*:(?!//)").match
_PLAIN: Final = re.compile(r"https?://[a-z0-9.-]{1,253}(?::[0-9]{1,5})?(?:[/?#].*)?").fullmatch
_DOTS: Final = re.compile(r"(?:^|/)\.{1,2}(?:;[^/]*)?(?:/|$)").search
"""Segments that lead elsewhere (RFC 3986 §5.2.4), also where a portal drops parameters first."""
_PARAMETERS_OF_DOTS: Final = re.compile(r"(?:^|/)\.{1,2};").search
_ROOTED: Final = re.compile(r"/|[A-Za-z][A-Za-z0-9+.-]*:").match
_WHITE: Final = " \t\n\f\r"


@dataclass(frozen=True, slots=True)
class Approved:
    """The scripts that an operator approved for one route."""

    hashes: frozenset[str] = frozenset()
    """`sha256-…`: of the text of a script, or of the file that `integrity` binds."""
    places: frozenset[str] = frozenset()
    """Absolute URLs, or paths of the own origin; without a query they stand for every query."""
    prefixes: tuple[str, ...] = ()
    """The same, of everything below: what was written with `*` at its end."""

    def has_place(self, url: str, own: str) -> bool:
        """Tell whether the script at an absolute URL is approved; `own` is our origin."""
        bare = url.partition("#")[0]
        for whole in (bare, bare.partition("?")[0]):
            path = whole.removeprefix(own) if whole.startswith(own + "/") else whole
            if whole in self.places or path in self.places:
                return True
        place = bare.partition("?")[0]
        path = place.removeprefix(own) if place.startswith(own + "/") else place
        return place.startswith(self.prefixes) or path.startswith(self.prefixes)

    def has(self, script: str) -> bool:
        """Tell whether a script is approved that was counted: its hash, its absolute URL, or its path of the own origin."""
        return script in self.hashes or self.has_place(script, "")

    def has_integrity(self, value: str) -> bool:
        """Tell whether `integrity` binds a script to approved files alone (CSP3 §6.7.1.1): each hash in it is approved."""
        words = [word.partition("?")[0] for word in value.split()]
        return bool(words) and all(word in self.hashes for word in words)


def read_approved(entries: list[str]) -> Approved:
    """Read what an operator wrote.

    Raises:
        ValueError: with a sentence that names the entry.

    """
    hashes, places, prefixes = set(), set(), set()
    for entry in entries:
        if HASH.fullmatch(entry) and b64encode(b64decode(entry[7:])).decode("ascii") == entry[7:]:
            hashes.add(entry)
            continue
        if entry.startswith("sha"):
            raise ValueError(f"{entry!r} is no hash of a script: sha256- and 44 characters of base64")
        if not (_ABSOLUTE.fullmatch(entry) or _PATH.fullmatch(entry)) or _AMBIGUOUS(entry) or _DOTS(_path(entry)):
            raise ValueError(f"{entry!r} is neither sha256-… nor the address of a script, such as /static/app.js")
        if "*" not in entry:
            places.add(entry)
        elif entry.endswith("/*") and entry.count("*") == 1 and "?" not in entry:
            prefixes.add(entry[:-1])
        else:
            raise ValueError(f"{entry!r}: * stands for everything below, once and at the end: /static/*")
    if len(hashes) + len(places) + len(prefixes) > MAX_APPROVED:
        raise ValueError(f"more than {MAX_APPROVED} scripts")
    return Approved(frozenset(hashes), frozenset(places), tuple(sorted(prefixes)))


def hash_of(text: str) -> str:
    """Return the hash of a script's text as CSP writes it (CSP3 §6.7.3.3).

    `text` is what the document holds, with line feeds alone (WHATWG HTML §13.2.3.5).
    """
    return "sha256-" + b64encode(sha256(text.encode("utf-8", "replace")).digest()).decode("ascii")


def resolve(reference: str, base: str) -> str | None:
    """Return the absolute URL that a browser would load; None where it is not clear, or none of the web.

    `reference` is the attribute as it stands in the page, `base` an absolute URL. What RFC 3986 and the URL standard of
    browsers read differently (`///host`, `https:path`) is not clear.
    """
    stripped = reference.strip(_WHITE).replace("&amp;", "&")
    if _CLEAR(stripped) is None or _REFERENCE(stripped) or _AMBIGUOUS(stripped) or _ODD(stripped):
        return None
    path = _path(stripped)
    # attack: `x//../y` is `x/y` to browsers, while RFC 3986 as it is often built knows no empty segments
    if _PARAMETERS_OF_DOTS(path) or (not _ROOTED(stripped) and "//" in path + _path(base)):
        return None
    try:
        found = urljoin(base, stripped)
    except ValueError:
        return None
    # attack: an absolute address keeps its dots until the browser asks for it
    return found if _PLAIN(found) and not _DOTS(_path(found)) else None


def _path(url: str) -> str:
    """Return the path of an address, without its origin and its query."""
    bare = url.partition("#")[0].partition("?")[0]
    _, found, rest = bare.partition("://")
    if not found:
        _, found, rest = bare.partition("//") if bare.startswith("//") else ("", "", bare)
    if not found:
        return rest
    _, slash, path = rest.partition("/")
    return slash + path
