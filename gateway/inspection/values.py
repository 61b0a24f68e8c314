"""What the head of a request says: the texts of its path, query, cookies and fields, as an upstream gets them.

Each text is decoded as its place asks for, and no further: how else it could be read is for `readings`. Bytes that are no
UTF-8 stand as surrogates (PEP 383), so that nothing about them is lost.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from gateway.inspection.finding import Position, Value

PLAIN_CHARACTERS: Final = 15
"""A longer word of letters and digits may be a text in base64."""

is_plain: Final = re.compile(
    rf"[A-Za-z0-9_-]{{0,{PLAIN_CHARACTERS}}}|[A-Za-z]{{1,{PLAIN_CHARACTERS}}} [0-9]{{1,9}}"
).fullmatch
"""A value of which no parser makes anything but a word or a number: it need not be looked at."""
is_plain_name: Final = re.compile(r"(?!.*__)[A-Za-z0-9_-]*").fullmatch
_PLAIN_QUERY: Final = re.compile(rb"(?!.*__)(?:[A-Za-z0-9_-]{0,15}[=&])*[A-Za-z0-9_-]{0,15}").fullmatch
_PLAIN_PATH: Final = re.compile(
    rf"(?!.*(?:__|//|-INF))(?:/[A-Za-z0-9_-]{{0,{PLAIN_CHARACTERS}}})+"
    r"(?:[A-Za-z0-9_-]\.(?:js|css|png|jpg|jpeg|gif|svg|webp|ico|woff2?|html))?"
).fullmatch
"""Words, and at the end a name that every site publishes: `/..`, `/.git` and `/db.sql` are not plain."""
_ORDINARY_NAME: Final = re.compile(r"[A-Za-z0-9_.:\[\]-]*").fullmatch
_ALL_ESCAPES: Final = re.compile(rb"[^%]*(?:%[0-9A-Fa-f]{2}[^%]*)*").fullmatch
_NO_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/]+")
_URL: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")

_QUIET_FIELDS: Final = frozenset(
    (b"host", b"connection", b"content-length", b"transfer-encoding", b"te", b"upgrade", b"cookie")
)
"""Fields that the wire layer reads by a grammar of its own, and cookies, which are read one by one."""
_JSON_COOKIES: Final = ("j:", "j%3a")
"""How cookies of Express begin whose rest is JSON."""


def text_of(raw: bytes) -> str:
    """Read bytes as UTF-8; each byte that is none becomes a surrogate."""
    return raw.decode("utf-8", "surrogateescape")


def unquoted(raw: bytes) -> bytes:
    """Undo percent-encoding once; what is no escape stays."""
    if _ALL_ESCAPES(raw) is None:
        return unquote_to_bytes(raw)
    # The same as quoted-printable but for the sign, and that is decoded in C: form bodies are long.
    return binascii.a2b_qp(raw.replace(b"=", b"=3D").replace(b"%", b"="))


def unescaped(raw: bytes) -> str:
    """Undo percent-encoding of a query or form once, with `+` as a space."""
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    if b"%" in raw:
        raw = unquoted(raw)
    return raw.decode("utf-8", "surrogateescape")


def pairs_of(raw: bytes) -> Iterator[tuple[str, str]]:
    """Split `a=1&b=2` and decode it; also at `;` where one stands in the clear, as some servers do."""
    for pair in raw.split(b"&"):
        name, mark, value = pair.partition(b"=")
        if mark:
            yield unescaped(name), unescaped(value)
        elif name:
            yield "", unescaped(name)
        if b";" in pair:
            for part in pair.split(b";"):
                name, mark, value = part.partition(b"=")
                if mark:
                    yield unescaped(name), unescaped(value)


def of_pairs(
    pairs: Iterable[tuple[str, str]], of_name: Position, of_value: Position, *, with_plain: bool = False
) -> list[Value]:
    """List the values of decoded pairs, and their names.

    A name that is sent more than once is also read as ASP.NET reads it: all its values, joined by commas. An unusual name
    is also read together with its value: `?' or 1=1` has a `=`, but no upstream that takes the whole query cares.
    """
    found: list[Value] = []
    of_this_name: dict[str, list[str]] = {}
    for name, value in pairs:
        of_this_name.setdefault(name, []).append(value)
        if with_plain or is_plain(value) is None:
            found.append(Value(of_value, name, value))
        if is_plain_name(name) is None:
            found.append(Value(of_name, name, name))
            if _ORDINARY_NAME(name) is None:
                found.append(Value(of_value, name, f"{name}={value}"))
    for name, values in of_this_name.items():
        if name and len(values) > 1 and any(is_plain(value) is None for value in values):
            found.append(Value(of_value, name, ",".join(values)))
    return found


def of_encoded(raw: bytes, of_name: Position, of_value: Position, *, with_plain: bool = False) -> list[Value]:
    """List the values of a query or form as sent.

    Where a part has no name somebody left an `&` in the clear, and some reader takes the whole for one text: scripts that
    decode `location.search`, for one.
    """
    found = of_pairs(pairs_of(raw), of_name, of_value, with_plain=with_plain)
    if len(found) > 1 and any(not value.name and value.position is of_value for value in found):
        found.append(Value(of_value, "", unescaped(raw)))
    return found


def of_path(raw: bytes, canonical: str, *, with_plain: bool = False) -> list[Value]:
    """List the readings of a path that differ: as it came, as it is forwarded, and each segment of its own.

    `raw` is the path as sent, without the query; `canonical` is what the upstream gets.
    """
    text = raw.decode("latin-1")
    if _PLAIN_PATH(text) is not None and text == canonical and not with_plain:
        return []
    sent = text_of(unquote_to_bytes(raw))
    found = [Value(Position.PATH, "", sent)]
    if canonical != text:
        forwarded = text_of(unquote_to_bytes(canonical))
        if forwarded != sent:
            found.append(Value(Position.PATH, "", forwarded))
    found.extend(
        Value(Position.PATH, "", text_of(unquote_to_bytes(segment)))
        for segment in text.split("/")
        if is_plain(segment) is None
    )
    return found


def of_target(target: bytes, canonical: str, *, with_plain: bool = False) -> list[Value]:
    """List the values of a request target: path, and names and values of the query."""
    path, _, query = target.partition(b"?")
    found = of_path(path, canonical, with_plain=with_plain)
    if query and (with_plain or _PLAIN_QUERY(query) is None):
        found += of_encoded(query, Position.QUERY_NAME, Position.QUERY, with_plain=with_plain)
    return found


def of_cookies(field: bytes, *, with_plain: bool = False) -> list[Value]:
    """List the cookies of one Cookie field. They are not percent-decoded: only some upstreams do.

    An unusual name is also read together with its value, as in `of_pairs`.
    """
    found: list[Value] = []
    for pair in field.split(b";"):
        name, mark, value = pair.strip(b" \t").partition(b"=")
        if not mark:
            name, value = b"", name
        text, content = text_of(name), text_of(value)
        if content[:1] == '"' == content[-1:] and len(content) > 1:
            content = content[1:-1]
        if with_plain or is_plain(content) is None:
            found.append(Value(Position.COOKIE, text, content))
            found += [
                Value(Position.COOKIE, text, content[len(prefix) :])
                for prefix in _JSON_COOKIES
                if content[:4].lower().startswith(prefix)
            ]
        if is_plain_name(text) is None:
            found.append(Value(Position.COOKIE_NAME, text, text))
            if _ORDINARY_NAME(text) is None:
                found.append(Value(Position.COOKIE, text, f"{text}={content}"))
    return found


def is_quiet(name: bytes) -> bool:
    """True if a field of this name (in lower case) is not read as text by a portal."""
    return name in _QUIET_FIELDS


def of_field(name: bytes, value: bytes) -> list[Value]:
    """List what one field says; `name` is in lower case.

    Basic credentials are decoded (RFC 7617), other credentials are the gateway's to judge. A Referer is read as the URL
    that it is, so that the query of the page before is not taken for one text.
    """
    label = text_of(name)
    if name == b"authorization":
        scheme, _, rest = value.partition(b" ")
        if scheme.lower() == b"basic":
            try:
                value = binascii.a2b_base64(rest, strict_mode=True)
            except binascii.Error:
                return [Value(Position.HEADER, label, text_of(said)) for said in (rest, *_careless_base64(rest))]
        elif scheme.lower() == b"bearer":
            value = rest
    elif name == b"referer" and (found := _URL.match(value)) is not None:
        rest, _, fragment = value[found.end() :].partition(b"#")
        path, _, query = rest.partition(b"?")
        texts = [found[0], unquote_to_bytes(path), unquote_to_bytes(fragment)]
        inside = [text for pair in pairs_of(query) for text in pair]
        return [Value(Position.HEADER, label, text) for text in (*map(text_of, texts), *inside) if not is_plain(text)]
    return [Value(Position.HEADER, label, text_of(value))]


def _careless_base64(raw: bytes) -> Iterator[bytes]:
    """Decode what PHP and Python still take for base64: they leave out what does not belong there, and miss no `=`."""
    letters = _NO_BASE64.sub(b"", raw)
    if len(letters) % 4 == 1:  # a letter of which no reader makes a byte
        letters = letters[:-1]
    if letters:
        yield binascii.a2b_base64(letters + b"==")


def of_head(target: bytes, canonical: str, fields: Iterable[tuple[bytes, bytes]]) -> list[Value]:
    """List every value of a head that is more than a word; `canonical` is the path as it is forwarded."""
    found = of_target(target, canonical)
    for name, value in fields:
        folded = name.lower()
        if folded == b"cookie":
            found += of_cookies(value)
        elif not is_quiet(folded):
            found += of_field(folded, value)
    return found
