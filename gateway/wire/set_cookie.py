"""Cookies as a browser keeps and returns them (RFC 6265 §5, with the stricter rules of RFC 6265bis §5.6-§5.8).

Reads Set-Cookie, says which kept cookies a request gets back, and merges what changed. Pure functions of bytes and of
the time; who keeps a jar, and for whom, is not known here.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from gateway.wire.cookies import is_own_name

MAX_PAIR_BYTES: Final = 4096
"""Of name and value together (RFC 6265bis §5.6 step 5)."""
MAX_ATTRIBUTE_BYTES: Final = 1024
MAX_AGE_S: Final = 400 * 86400.0
"""No cookie is kept for longer (RFC 6265bis §5.5)."""
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
_MAX_AGE: Final = re.compile(rb"-?[0-9]{1,18}").fullmatch
_DELIMITERS: Final = re.compile(rb"[\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME: Final = re.compile(rb"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[^0-9].*)?").fullmatch
_DAY: Final = re.compile(rb"([0-9]{1,2})(?:[^0-9].*)?").fullmatch
_YEAR: Final = re.compile(rb"([0-9]{2,4})(?:[^0-9].*)?").fullmatch
_MONTHS: Final = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec")
_IP: Final = re.compile(r"[0-9.]+|.*:.*").fullmatch
_INNER: Final = re.compile(rb'[,;"\s]+')


class Cookie(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One cookie as it is kept. Name, domain and path together are its identity (RFC 6265 §5.3 step 11)."""

    name: bytes
    value: bytes
    domain: str = ""
    """Lower case, without a dot in front; empty = the host that set it, and no other."""
    path: bytes = b"/"
    secure: bool = False
    http_only: bool = False
    strict: bool = False
    """SameSite=Strict: not for a request that another site caused."""
    expires: float | None = None
    """Unix seconds; None = as long as the session."""
    created: float

    @property
    def identity(self) -> tuple[bytes, str, bytes]:
        """What another cookie must share to take this one's place."""
        return self.name, self.domain, self.path

    def is_over(self, now: float) -> bool:
        """True from its moment of expiry on."""
        return self.expires is not None and self.expires <= now


class Merged(NamedTuple):
    """A jar after changes, and what did not fit into it."""

    cookies: tuple[Cookie, ...]
    evicted: int


def read_set_cookie(value: bytes, *, host: str, path: bytes, secure: bool, now: float) -> Cookie | None:
    """Read one Set-Cookie value that came in answer to a request for `path` of `host`; None when a browser would ignore it.

    `path` may have a query. A cookie that is to be removed is returned too, expired. Names of the gateway's own are ignored.
    """
    if _CONTROL(value) is not None:
        return None
    pair, *attributes = value.split(b";")
    name, equals, content = pair.partition(b"=")
    name, content = name.strip(b" \t"), content.strip(b" \t")
    if not equals or _TOKEN(name) is None or is_own_name(name) or len(name) + len(content) > MAX_PAIR_BYTES:
        return None
    expires: float | None = None
    age: float | None = None
    domain = ""
    kept_path = default_path(path)
    has_path = is_secure = http_only = strict = False
    for attribute in attributes:
        key, _, said = attribute.partition(b"=")
        key, said = key.strip(b" \t").lower(), said.strip(b" \t")
        if len(said) > MAX_ATTRIBUTE_BYTES:
            continue
        if key == b"expires":
            moment = cookie_date(said)
            expires = moment if moment is not None else expires
        elif key == b"max-age" and _MAX_AGE(said) is not None:
            age = float(said)
        elif key == b"domain":
            domain = said.removeprefix(b".").decode("latin-1").lower()
        elif key == b"path":
            has_path = said.startswith(b"/")
            kept_path = said if has_path else default_path(path)
        elif key == b"secure":
            is_secure = True
        elif key == b"httponly":
            http_only = True
        elif key == b"samesite":
            strict = said.lower() == b"strict"
    if domain:
        if not domain_matches(host, domain):
            return None
        domain = "" if domain == host and _IP(host) is not None else domain
    if is_secure and not secure:
        return None
    folded = name.lower()
    if folded.startswith(b"__secure-") and not is_secure:
        return None
    if folded.startswith(b"__host-") and not (is_secure and has_path and kept_path == b"/" and not domain):
        return None
    if age is not None:
        expires = now + min(age, MAX_AGE_S) if age > 0 else 0.0
    elif expires is not None:
        expires = min(expires, now + MAX_AGE_S)
    return Cookie(
        name=name,
        value=content,
        domain=domain,
        path=kept_path,
        secure=is_secure,
        http_only=http_only,
        strict=strict,
        expires=expires,
        created=now,
    )


def domain_matches(host: str, domain: str) -> bool:
    """RFC 6265 §5.1.3. Both are lower case; an address matches itself alone."""
    return host == domain or (host.endswith("." + domain) and bool(domain) and _IP(host) is None)


def path_matches(path: bytes, kept: bytes) -> bool:
    """RFC 6265 §5.1.4. `path` is that of a request, without its query."""
    return path == kept or (path.startswith(kept) and (kept.endswith(b"/") or path[len(kept) : len(kept) + 1] == b"/"))


def default_path(path: bytes) -> bytes:
    """RFC 6265 §5.1.4: the directory of a request's path."""
    directory = path.partition(b"?")[0].rpartition(b"/")[0]
    return directory if directory.startswith(b"/") else b"/"


def returned(
    cookies: Iterable[Cookie], *, host: str, path: bytes, secure: bool, cross_site: bool, now: float
) -> list[Cookie]:
    """Choose what a request for `path` (it may have a query) gets back, in the order of RFC 6265 §5.4 step 2.

    `host` is the one on which the jar was filled: a host-only cookie is for it.
    """
    plain = path.partition(b"?")[0]
    found = [
        cookie
        for cookie in cookies
        if not cookie.is_over(now)
        and path_matches(plain, cookie.path)
        and (secure or not cookie.secure)
        and not (cross_site and cookie.strict)
        and (not cookie.domain or domain_matches(host, cookie.domain))
    ]
    found.sort(key=_order)
    return found


def _order(cookie: Cookie) -> tuple[int, float]:
    return -len(cookie.path), cookie.created


def cookie_field(cookies: Iterable[Cookie]) -> bytes:
    """Write them as the value of a Cookie field."""
    return b"; ".join([cookie.name + b"=" + cookie.value for cookie in cookies])


def merge(cookies: Sequence[Cookie], changes: Iterable[Cookie], *, max_count: int, now: float) -> Merged:
    """Put each change in the place of the cookie it is meant for; what expired goes, then the oldest beyond `max_count`."""
    jar = {cookie.identity: cookie for cookie in cookies if not cookie.is_over(now)}
    for change in changes:
        before = jar.pop(change.identity, None)
        if change.is_over(now):
            continue
        if before is not None and before.created <= change.created:
            change = msgspec.structs.replace(change, created=before.created)  # noqa: PLW2901 - RFC 6265 §5.3 step 11.3
        jar[change.identity] = change
    evicted = max(0, len(jar) - max_count)
    return Merged(tuple(jar.values())[evicted:], evicted)


def folded_name(name: bytes) -> bytes:
    """Return the one spelling of all names that some server reads as the same.

    attack: PHP decodes percent signs in names (CVE-2020-7070) and turns dots, blanks and `[` into underscores (CVE-2022-31629);
    others do not tell cases apart.
    """
    return unquote_to_bytes(name).strip(b" \t\r\n\0").lower().translate(_UNDERSCORED)


_UNDERSCORED: Final = bytes.maketrans(b" .[", b"___")


def without_names(field: bytes, names: frozenset[bytes]) -> bytes:
    """Take out of a Cookie field each pair that some server could read as one of `names`, which are folded.

    attack: a server of old (RFC 2965) also splits at commas and lets a quoted value hold semicolons, so a name that
    stands inside a value counts too.
    """
    kept = []
    for pair in field.split(b";"):
        stripped = pair.strip(b" \t")
        if stripped and not any(folded_name(part.partition(b"=")[0]) in names for part in _INNER.split(stripped)):
            kept.append(stripped)
    return b"; ".join(kept)


def only_names(field: bytes, names: frozenset[bytes]) -> bytes:
    """Keep of a Cookie field the pairs with one of `names`, exactly as spelled."""
    pairs = [pair.strip(b" \t") for pair in field.split(b";")]
    return b"; ".join([pair for pair in pairs if pair.partition(b"=")[0].rstrip(b" \t") in names])


def cookie_date(value: bytes) -> float | None:
    """Read a date as lenient as browsers do (RFC 6265 §5.1.1); None when it is none."""
    clock: tuple[int, int, int] | None = None
    day = month = year = None
    for token in _DELIMITERS.split(value):
        if clock is None and (found := _TIME(token)) is not None:
            clock = int(found[1]), int(found[2]), int(found[3])
        elif day is None and (found := _DAY(token)) is not None:
            day = int(found[1])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif year is None and (found := _YEAR(token)) is not None:
            year = int(found[1])
    if clock is None or day is None or month is None or year is None:
        return None
    if 70 <= year <= 99:
        year += 1900
    elif year <= 69:
        year += 2000
    hour, minute, second = clock
    if not 1 <= day <= 31 or year < 1601 or hour > 23 or minute > 59 or second > 59 or day > _days(year, month):
        return None
    return float(timegm((year, month, day, hour, minute, second)))


def _days(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31
