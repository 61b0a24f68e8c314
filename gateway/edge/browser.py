"""What a browser tells about a request that is refused: who waits for the answer, and on which page.

Read from the fields as they would be forwarded, and only once a request is refused: a plain request
pays nothing for it. Nothing here decides whether a request passes.
"""

from __future__ import annotations

from typing import Final

from gateway.edge.exchange import Exchange
from gateway.exchange.route import OWN_PAGES
from gateway.wire.request import Fields

_FRAMES: Final = frozenset((b"iframe", b"frame", b"object", b"embed", b"fencedframe"))
_OWN: Final = OWN_PAGES.encode("ascii")


def said(fields: Fields, name: bytes) -> bytes:
    """Return the value of the first field `name` (lower case); empty when there is none."""
    block = b"\r\n" + fields.forward
    start = block.find(b"\r\n%b: " % name)
    if start < 0:
        return b""
    start += len(name) + 4
    return block[start : block.find(b"\r\n", start)]


def waits_for_page(fields: Fields) -> bool:
    """Tell whether a person waits for the answer as a page: not a script, not an image, not a browser that reads ahead.

    Fetch Metadata says so, else the Accept field (`Fields.navigates`). What is fetched in advance
    (`Sec-Purpose: prefetch`) and XMLHttpRequests of old libraries are programs.
    """
    return (
        fields.navigates
        and not fields.websocket
        and not said(fields, b"sec-purpose").startswith(b"prefetch")
        and said(fields, b"x-requested-with").lower() != b"xmlhttprequest"
    )


def is_framed(fields: Fields) -> bool:
    """Tell whether the answer will stand in a frame (`Sec-Fetch-Dest`)."""
    return said(fields, b"sec-fetch-dest").lower() in _FRAMES


def origin_of(x: Exchange) -> bytes:
    """Return our origin, as the browser writes it in Origin."""
    authority = x.fields.authority
    assert authority is not None  # noqa: S101 - a head without a valid Host is no Exchange
    return b"%b://%b" % (b"https" if x.secure else b"http", authority.text.encode("ascii"))


def page_of(x: Exchange) -> bytes:
    """Return path and query of the portal's page that the request came from (Referer); the start page where nobody says."""
    referer, origin = said(x.fields, b"referer"), origin_of(x)
    if not referer.lower().startswith(origin.lower() + b"/"):
        return b"/"
    page = referer[len(origin) :].partition(b"#")[0]
    return b"/" if page == _OWN or page.startswith(_OWN + b"/") else page
