"""What the audit record of a route says beside what happened: which data, whose, of what kind, and why.

Read word by word. Nothing here lets anybody in or keeps anybody out, but for `require_resource`, which is the edge's
to enforce.
"""

from __future__ import annotations

import re
from typing import Any, Final

from gateway.document.place import Place
from gateway.document.source import did_you_mean
from gateway.exchange.route import SELF, Classification, LegalBasis, Resource
from gateway.exchange.stream import Stream
from gateway.policy.obligations import read_grade
from gateway.policy.template import Template

RESOURCE_TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
PURPOSE: Final = re.compile(r"[^\W_](?:[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{0,199})")
CHOSEN_STREAMS: Final = (Stream.ACCESS, Stream.TRAFFIC)
"""What a route may choose; what belongs into `security` is not its to say."""
KEYS: Final = ("durability", "purpose", "legal_basis", "classification", "require_resource", "stream")
_REFERENCE: Final = re.compile(r"\{([^{}]*)\}")


def read_account(place: Place) -> dict[str, Any]:
    """Read `audit` of a route as fields of `Route`."""
    entries = place.fields((), KEYS)
    if entries is None:
        return {}
    if not entries:
        place.fail("nothing is said; name a key, or remove this one", name="empty-value")
    options: dict[str, Any] = {}
    for key, item in entries.items():
        match key:
            case "durability":
                options[key] = read_grade(item)
            case "purpose":
                text = item.text(
                    PURPOSE, "a purpose begins with a letter or digit and is one line, 200 characters at most"
                )
                options[key] = text or ""
            case "legal_basis":
                word = item.one_of([basis.value for basis in LegalBasis])
                options[key] = None if word is None else LegalBasis(word)
            case "classification":
                word = item.one_of([kind.value for kind in Classification])
                options[key] = None if word is None else Classification(word)
            case "require_resource":
                options[key] = item.flag() is True
            case _:
                word = item.one_of([stream.value for stream in CHOSEN_STREAMS])
                options[key] = None if word is None else Stream(word)
    return options


def read_resource(place: Place, template: Template | None, *, public: bool) -> Resource | None:
    """Read which data a route gives access to, and whose they are."""
    entries = place.fields(("type",), ("id", "owner", "person"))
    if entries is None:
        return None
    kind = entries["type"].text(
        RESOURCE_TYPE, "a type starts with a letter and has letters, digits, '.', '_' and '-', 64 at most"
    )
    text = _read_pattern(entries["id"], template) if "id" in entries else ""
    owner = _read_pattern(entries["owner"], template) if "owner" in entries else ""
    if owner == SELF and public:
        entries["owner"].fail("a public route knows nobody whose the data could be", name="contradiction")
    is_person = "person" in entries and entries["person"].flag() is True
    if is_person and not text:
        entries["person"].key().fail("without an id there is no person to protect", name="no-effect")
    if kind is None or text is None or owner is None:
        return None
    return Resource(type=kind, id=text, owner=owner, is_person=is_person)


def _read_pattern(place: Place, template: Template | None) -> str | None:
    """Read a text that may use parameters of the path."""
    text = place.text()
    if text and template is not None:
        known = template.names
        for found in _REFERENCE.finditer(text):
            if found[1] not in known:
                hint = did_you_mean(found[1], known)
                place.fail_inside(
                    1, found.start() + 1, f"the path has no parameter {found[0]}{hint}", name="unknown-parameter"
                )
        stray = re.search(r"[{}]", _REFERENCE.sub(lambda found: " " * len(found[0]), text))
        if stray:
            place.fail_inside(1, stray.start() + 1, "a brace without its partner", name="malformed-value")
    return text
