"""What is put into one page, and which of its tags get it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from gateway.inspection.csp.scripts import Approved, resolve
from gateway.inspection.rewrite.charset import Charset
from gateway.inspection.rewrite.tag import Tag

_STEALING: Final = re.compile(rb"<(?:script|style)", re.IGNORECASE).search
_SCRIPT_TYPES: Final = frozenset(
    (b"", b"module", b"importmap", b"speculationrules", b"text/javascript", b"application/javascript", b"text/ecmascript",
     b"application/ecmascript", b"application/x-javascript", b"application/x-ecmascript", b"text/x-javascript",
     b"text/x-ecmascript", b"text/jscript", b"text/livescript", b"text/javascript1.0", b"text/javascript1.1",
     b"text/javascript1.2", b"text/javascript1.3", b"text/javascript1.4", b"text/javascript1.5"),
)  # fmt: skip
"""What browsers run, or obey (WHATWG MIME Sniffing §4.6); everything else is data."""
_OWN_PAGES: Final = "/.gateway/"
_WHITE: Final = b"\t\n\f\r "


@dataclass(frozen=True, slots=True)
class Insertion:
    """What is put into one page, and where it may go."""

    url: str
    """Absolute, as the browser has it: relative addresses go by it."""
    own: str
    """Our origin, as the browser writes it."""
    charset: Charset
    nonce: str = ""
    """Base64; empty = scripts are left alone."""
    approved: Approved = field(default_factory=Approved)
    input: bytes = b""
    """A hidden input for forms that come back to us; empty = forms are left alone."""


def can_carry_nonce(tag: Tag) -> bool:
    """Tell whether browsers accept a nonce on this tag (CSP3 §7.2): none that swallowed another one, or says things twice.

    A tag that has a nonce of the portal's keeps it: it can have but one.
    """
    if tag.is_unfit or b"nonce" in tag.attributes:
        return False
    return not any(_STEALING(name) or _STEALING(value) for name, value in tag.attributes.items())


def is_run(tag: Tag) -> bool:
    """Tell whether browsers run, or obey, what a script element holds; else it is data."""
    kind = tag.attributes.get(b"type")
    if kind is None:
        language = tag.attributes.get(b"language", b"").lower()
        return not language or b"text/" + language in _SCRIPT_TYPES
    return kind.strip(_WHITE).lower() in _SCRIPT_TYPES


def loads_script(tag: Tag) -> bool:
    """Tell whether a `<link>` loads a script ahead."""
    rel = tag.attributes.get(b"rel", b"").lower().split()
    return b"modulepreload" in rel or (b"preload" in rel and tag.attributes.get(b"as", b"").lower() == b"script")


def place_of(tag: Tag, attribute: bytes, base: str) -> str | None:
    """Return the absolute address in an attribute; None where it is not clear which it is."""
    value = tag.attributes.get(attribute, b"").strip(_WHITE)
    return resolve(value.decode("latin-1"), base) if value else None


def is_approved(tag: Tag, place: str | None, into: Insertion) -> bool:
    """Tell whether what a tag loads is approved, by its address or by the hash that the browser will check."""
    integrity = tag.attributes.get(b"integrity", b"").decode("latin-1")
    return into.approved.has_integrity(integrity) or (place is not None and into.approved.has_place(place, into.own))


def shown(place: str, own: str) -> str:
    """Return an address as the operator approves it: a path where it is ours, and without its query."""
    bare = place.partition("#")[0].partition("?")[0]
    return bare.removeprefix(own) if bare.startswith(own + "/") else bare


def takes_field(tag: Tag, base: str, into: Insertion) -> bool:
    """Tell whether a form is sent to us by POST, as fields: never to our own pages, nor to anybody else."""
    about = tag.attributes
    if (
        tag.is_unfit
        or about.get(b"method", b"").lower() != b"post"
        or about.get(b"enctype", b"").lower() == b"text/plain"
    ):
        return False
    action = about.get(b"action", b"").strip(_WHITE)
    target = resolve(action.decode("latin-1"), base) if action else into.url
    if target is None or not (target + "/").startswith((into.own + "/", into.own + "?")):
        return False
    return not target.startswith(into.own + _OWN_PAGES)
