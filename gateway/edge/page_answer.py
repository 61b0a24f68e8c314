"""What an answer of the portal gets on a route with rules for browsers: who may read it, its cookies' SameSite, its policy, nonces and tokens.

A page is asked for uncompressed where something may be put into it, and as a whole. What was put in is of this answer alone: it
is stored nowhere, and nothing that named the bytes as they were (ETag, digests) goes along.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from dataclasses import replace
from typing import Final

from gateway.edge.browser import origin_of, said
from gateway.edge.cross_origin import browser_rules, sharing_of
from gateway.edge.exchange import Exchange
from gateway.edge.snapshot import BrowserRules
from gateway.exchange.route import OWN_PAGES
from gateway.inspection.cors import Field, excess_of, is_sharing_field
from gateway.inspection.csp.policy import NONCE_BYTES
from gateway.inspection.form_token import FIELD, PAD_BYTES, make_token
from gateway.inspection.rewrite.charset import of_content_type
from gateway.inspection.rewrite.insertion import Insertion
from gateway.inspection.rewrite.page import Page
from gateway.inspection.same_site import enforce_same_site
from gateway.wire.response import ResponseHead

EXCESS_EVENT: Final = "answer.overshared"
REPORTS: Final = OWN_PAGES.encode("ascii") + b"/csp-report?route="
_DOCUMENTS: Final = frozenset((b"document", b"iframe", b"frame", b"embed", b"object", b"fencedframe"))
_DOCUMENT_TYPES: Final = frozenset(
    (b"", b"*/*", b"text/html", b"text/xml", b"text/xsl", b"application/xml", b"multipart/x-mixed-replace")
)
"""And everything that ends in `+xml`: what a browser may show as a document, with scripts of its own."""
_TYPE: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch
_OF_THE_BYTES: Final = frozenset(
    (b"etag", b"last-modified", b"accept-ranges", b"content-md5", b"digest", b"content-digest", b"repr-digest")
)
_CACHING: Final = frozenset((b"cache-control", b"pragma", b"expires"))
_SHARED_CACHING: Final = (b"-cache-control", b"surrogate-control", b"x-accel-expires")
"""What caches between us and the browser take for more than Cache-Control (RFC 9213): how such names end."""
_CONDITIONS: Final = (b"if-none-match", b"if-modified-since", b"range", b"if-range")
_PARTIAL: Final = frozenset((204, 206, 304))


class Passing:
    """An answer of which only the head changes."""

    def __init__(self, head: ResponseHead) -> None:
        self.head = head

    def feed(self, data: bytes) -> bytes:
        """Pass the body on."""
        return data

    def finish(self) -> bytes:
        """Nothing was held back."""
        return b""


class Rewriting:
    """A page into which something is put."""

    def __init__(self, head: ResponseHead, page: Page, x: Exchange) -> None:
        self.head = head
        self._page = page
        self._x = x

    def feed(self, data: bytes) -> bytes:
        """Pass on what may leave of the page."""
        return self._page.feed(data)

    def finish(self) -> bytes:
        """Return the rest, and tell which scripts were not approved."""
        rest, x = self._page.finish(), self._x
        x.client.metrics.pages.inc((x.route.name, self._page.stopped or "whole"))
        for what in self._page.seen:
            x.client.tally.add(x.route.name, "script", "", what, enforced=False, now=x.started)
        return rest


def open_answer(x: Exchange, head: ResponseHead) -> Passing | Rewriting | None:
    """Say how an answer of the portal is changed for browsers; None = not at all."""
    rules = browser_rules(x)
    if rules is None:
        return None
    lines = _lines(head.forward)
    kept = [(name, value) for name, value in lines if not _is_taken(x, rules, name, lines)]
    kept.extend(sharing_of(x))
    weighed = head.weighed
    if rules.cookies != "portal":
        weighed = tuple(
            (name, enforce_same_site(value, rules.cookies) if name == b"set-cookie" else value)
            for name, value in weighed
        )
    page, nonce = _page(x, rules, head, lines)
    policy = rules.policy
    # 304 too: caches take its fields for the stored answer's (RFC 9111 §3.2), and the general policy is one of them
    if policy is not None and _is_document(head.content_type):
        kept.append((policy.field, policy.write(nonce, (REPORTS + x.route.name.encode("ascii")).decode("ascii"))))
    length = head.length
    if page is not None:
        length = None
        kept = [
            (name, value) for name, value in kept if name not in _OF_THE_BYTES and not name.endswith(_SHARED_CACHING)
        ]
        weighed = (*((name, value) for name, value in weighed if name not in _CACHING), (b"cache-control", b"no-store"))
    if kept == lines and weighed == head.weighed and page is None:
        return None
    forward = b"".join([b"%b: %b\r\n" % field for field in kept])
    changed = replace(head, forward=forward, weighed=weighed, length=length, hardened={})
    return Passing(changed) if page is None or x.method == b"HEAD" else Rewriting(changed, page, x)


def _lines(forward: bytes) -> list[Field]:
    found = []
    for line in forward.split(b"\r\n"):
        if line:
            name, _, value = line.partition(b": ")
            found.append((name, value))
    return found


def _is_taken(x: Exchange, rules: BrowserRules, name: bytes, lines: list[Field]) -> bool:
    """Tell whether a field is the gateway's to write here, or gives away more than the operator allows."""
    if not is_sharing_field(name):
        return False
    if rules.sharing is not None:
        return True
    if not rules.is_strict:
        return False
    excess = excess_of(tuple(lines), asked_by=x.fields.origin, own=origin_of(x))
    if excess is None:
        return False
    if EXCESS_EVENT not in x.detections:
        x.detections.append(EXCESS_EVENT)
        x.noticed["cors"] = {"outcome": "taken out", "because": excess.value}
        x.client.metrics.overshared.inc((x.route.name, excess.value))
    return True


def _is_document(content_type: bytes) -> bool:
    kind = content_type.partition(b";")[0].strip(b" \t").lower()
    # attack: `text/html,x`, of which browsers take the part that they know
    return kind in _DOCUMENT_TYPES or kind.endswith(b"+xml") or _TYPE(kind) is None


def _page(x: Exchange, rules: BrowserRules, head: ResponseHead, lines: list[Field]) -> tuple[Page | None, str]:
    """Begin to rewrite a page, where there is anything to put into it; with the nonce of its scripts."""
    wants_nonce, wants_token = _wants_nonce(x, rules), _wants_token(x, rules)
    if not (wants_nonce or wants_token) or head.status in _PARTIAL:
        return None, ""
    if head.content_type.partition(b";")[0].strip(b" \t").lower() != b"text/html":
        return None, ""
    charset = of_content_type(head.content_type)
    if charset is None or any(name == b"content-encoding" and value.lower() != b"identity" for name, value in lines):
        x.client.metrics.pages.inc((x.route.name, "encoding"))
        return None, ""
    assert x.resolution is not None  # noqa: S101 - it was admitted
    own = origin_of(x).decode("ascii")
    nonce = b64encode(os.urandom(NONCE_BYTES)).decode("ascii") if wants_nonce else ""
    into = Insertion(
        url=own + x.resolution.text.decode("ascii"),
        own=own,
        charset=charset,
        nonce=nonce,
        approved=rules.approved,
        input=_input(x, rules) if wants_token else b"",
    )
    return Page(into), nonce


def _input(x: Exchange, rules: BrowserRules) -> bytes:
    assert x.entry is not None  # noqa: S101 - `_wants_token`
    token = make_token(rules.form_key, x.entry.session.handle, x.started, os.urandom(PAD_BYTES))
    return b'<input type="hidden" name="%b" value="%b">' % (FIELD, token)


def _wants_nonce(x: Exchange, rules: BrowserRules) -> bool:
    """Tell whether the answer may be a document whose scripts get nonces: not what a script fetches."""
    if rules.policy is None or not rules.policy.nonces:
        return False
    destination = said(x.fields, b"sec-fetch-dest")
    return destination in _DOCUMENTS or (not destination and x.fields.navigates)


def _wants_token(x: Exchange, rules: BrowserRules) -> bool:
    """Tell whether the answer may hold forms for this session: a document, or a piece of one that a script fetches."""
    entry = x.entry
    if not rules.form_key or entry is None or entry.session.credential != "cookie":
        return False
    destination = said(x.fields, b"sec-fetch-dest")
    if destination in _DOCUMENTS or (not destination and x.fields.navigates):
        return True
    asks_for_html = b"text/html" in said(x.fields, b"accept").lower()
    return destination in {b"", b"empty"} and (asks_for_html or bool(said(x.fields, b"x-requested-with")))


def asked_whole(x: Exchange, forward: bytes) -> bytes:
    """Return the client's fields as they go upstream: where a page may be rewritten, it is asked for whole and uncompressed."""
    rules = browser_rules(x)
    if rules is None or not (_wants_nonce(x, rules) or _wants_token(x, rules)):
        return forward
    kept = [
        line
        for line in forward.splitlines(keepends=True)
        if not line.startswith((b"accept-encoding:", *(name + b":" for name in _CONDITIONS)))
    ]
    return b"".join((*kept, b"accept-encoding: identity\r\n"))
