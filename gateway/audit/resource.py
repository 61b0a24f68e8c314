"""What a portal says about the data in its answer: `X-Audit-Resource` and `X-Audit-Change`.

Strict and bounded: a field that is not exactly as below is not read at all, and that is said. Whose answers may say
something, and what becomes of an answer that says nothing, is the edge's to decide.

    X-Audit-Resource = resource *( OWS "," OWS resource )        ; 64 at most, 8 KiB
    resource         = type "/" value *( OWS ";" OWS ( "owner" / "name" ) "=" value )
    X-Audit-Change   = field *( OWS "," OWS field )              ; 64 at most, 4 KiB
    type             = ALPHA *63( ALPHA / DIGIT / "." / "_" / "-" )
    value            = 1*256( ALPHA / DIGIT / "-._~!$&'()*+/:@" / pct-encoded )
    field            = ( ALPHA / "_" ) *63( ALPHA / DIGIT / "." / "_" / "-" / "[" / "]" )

Values are percent-decoded and must then be UTF-8 without controls: they cannot end a string, a record or a line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

import orjson

from gateway.audit.redact import may_hold_secret, redact
from gateway.audit.subject import OWNER_UID, RESOURCE_NAME, RESOURCE_UID
from gateway.exchange.route import Classification, Route
from gateway.wire.card_number import is_card_number

MAX_RESOURCES: Final = 64
MAX_RESOURCE_BYTES: Final = 8192
MAX_CHANGES: Final = 64
MAX_CHANGE_BYTES: Final = 4096
MAX_VALUE: Final = 256

_VALUE: Final = rb"(?:[A-Za-z0-9._~!$&'()*+/:@-]|%[0-9A-Fa-f]{2}){1,256}"
_RESOURCE: Final = re.compile(
    rb"([A-Za-z][A-Za-z0-9._-]{0,63})/(" + _VALUE + rb")((?:[ \t]{0,8};[ \t]{0,8}(?:owner|name)=" + _VALUE + rb"){0,2})"
).fullmatch
_PARAMETER: Final = re.compile(rb";[ \t]{0,8}(owner|name)=(" + _VALUE + rb")").findall
_FIELD: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9._\[\]-]{0,63}").fullmatch
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Named(NamedTuple):
    """One resource as the route or the portal names it; `encode_resources` takes secrets out of it."""

    type: str
    uid: str
    owner: str = ""
    name: str = ""


class Told(NamedTuple):
    """What an answer said about its data."""

    resources: tuple[Named, ...] = ()
    changes: tuple[str, ...] = ()
    """Names of the fields that were changed, never their values."""
    faults: tuple[str, ...] = ()
    """Why something was not read: `resource_malformed`, `resource_too_many`, `resource_too_large`, `change_…`."""


class _FaultError(ValueError):
    pass


def read_told(resources: bytes, changes: bytes) -> Told:
    """Read the two fields, each with its lines joined by commas; empty ones say nothing. Total."""
    named: tuple[Named, ...] = ()
    changed: tuple[str, ...] = ()
    faults: list[str] = []
    if resources:
        try:
            named = _read_resources(resources)
        except _FaultError as fault:
            faults.append(f"resource_{fault}")
    if changes:
        try:
            changed = _read_changes(changes)
        except _FaultError as fault:
            faults.append(f"change_{fault}")
    return Told(named, changed, tuple(faults))


def _read_resources(field: bytes) -> tuple[Named, ...]:
    found: dict[tuple[str, str], Named] = {}
    for item in _items(field, MAX_RESOURCE_BYTES, MAX_RESOURCES):
        match = _RESOURCE(item)
        if match is None:
            raise _FaultError("malformed")
        parameters = _PARAMETER(match[3])
        said = dict(parameters)
        if len(said) != len(parameters):
            raise _FaultError("malformed")
        uid, owner, name = [_text(value) for value in (match[2], said.get(b"owner", b""), said.get(b"name", b""))]
        kind = match[1].decode("ascii")
        before = found.get((kind, uid))
        if before is not None:  # said twice: what is missing in one may stand in the other
            owner, name = owner or before.owner, name or before.name
        found[kind, uid] = Named(kind, uid, owner, name)
    return tuple(found.values())


def _read_changes(field: bytes) -> tuple[str, ...]:
    names = _items(field, MAX_CHANGE_BYTES, MAX_CHANGES)
    if not all(_FIELD(name) for name in names):
        raise _FaultError("malformed")
    return tuple(dict.fromkeys(name.decode("ascii") for name in names))


def _items(field: bytes, most_bytes: int, most: int) -> list[bytes]:
    if len(field) > most_bytes:
        raise _FaultError("too_large")
    items = [item.strip(b" \t") for item in field.split(b",")]
    if len(items) > most:
        raise _FaultError("too_many")
    return items


def _text(value: bytes) -> str:
    if b"%" not in value:
        return value.decode("ascii")
    try:
        text = unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise _FaultError("malformed") from None
    if _CONTROL.search(text) is not None:  # attack: a line of its own, or what a terminal obeys
        raise _FaultError("malformed")
    return text


_CLASSES: Final = {
    Classification.PUBLIC: {"confidentiality_id": 1},
    Classification.INTERNAL: {"category_id": 4, "confidentiality_id": 2},
    Classification.PII: {"category_id": 1, "confidentiality_id": 5},
    Classification.PHI: {"category_id": 1, "confidentiality_id": 6},
    Classification.CHD: {"category_id": 3, "confidentiality_id": 6},
}
"""OCSF `data_classification`: categories 1 Personal, 3 Financial, 4 Business; 1 Not Confidential, 2 Confidential, 5 Private, 6 Restricted."""


def names_people(route: Route) -> bool:
    """Tell whether what a route says about its data names somebody: then it is sealed for each."""
    return route.resource is not None and bool(route.resource.owner or route.resource.is_person)


def own_resource(route: Route, uid: str, owner: str = "") -> Named | None:
    """Return the resource that the route itself names; None where it names none."""
    return None if route.resource is None else Named(route.resource.type, uid, owner)


def together(own: Named | None, told: Told | None) -> tuple[Named, ...]:
    """Put what the portal named beside what the route names, or in its place where it names the same more closely."""
    if told is None or not told.resources:
        return () if own is None else (own,)
    if own is None:
        return told.resources
    same = [named for named in told.resources if named.type == own.type and (not own.uid or named.uid == own.uid)]
    if not same:
        return own, *told.resources
    if not own.owner:
        return told.resources
    return tuple(
        named._replace(owner=own.owner) if named in same and not named.owner else named for named in told.resources
    )


def encode_resources(
    route: Route, resources: Sequence[Named], *, seal: Callable[[str, str, str], object] | None = None
) -> tuple[bytes, int]:
    """Return the `resources` member with its trailing comma, nothing where none is named, and how many secrets were taken out.

    A resource that is a person is that person's own, where nobody else is named. `seal` is given a field, whose it is and
    its text, and seals what names somebody: ids of people, and what the portal calls their data; None = it stands in clear.
    Whose something is, is told by the id as it is: people whose ids look like secrets share no key.
    """
    if not resources:
        return b"", 0
    kind = None if route.classification is None else _CLASSES[route.classification]
    spec = route.resource
    person_type = spec.type if spec is not None and spec.is_person else ""
    found: list[dict[str, object]] = []
    redactions = 0
    for named in resources:
        said: dict[str, object] = {"type": named.type}
        is_person = bool(named.uid) and named.type == person_type
        owner = named.owner or (named.uid if is_person else "")
        if named.uid:
            uid, taken = _clean(named.uid, is_sealed_id=seal is not None and is_person)
            redactions += taken
            said["uid"] = seal(RESOURCE_UID, named.uid[:MAX_VALUE], uid) if seal is not None and is_person else uid
        if owner:
            text, taken = _clean(owner, is_sealed_id=seal is not None)
            redactions += taken
            said["owner"] = {"uid": seal(OWNER_UID, owner[:MAX_VALUE], text) if seal is not None else text}
        if named.name:  # attack: an erased person goes on in the title of their file
            whose = (named.uid if is_person else owner)[:MAX_VALUE]
            name, taken = _clean(named.name, is_sealed_id=False)
            redactions += taken
            said["name"] = seal(RESOURCE_NAME, whose, name) if seal is not None and whose else name
        if kind is not None:
            said["data_classification"] = kind
        found.append(said)
    return b'"resources":' + orjson.dumps(found, option=orjson.OPT_SORT_KEYS) + b",", redactions


def _clean(text: str, *, is_sealed_id: bool) -> tuple[str, int]:
    """Take secrets out of a text. The id of a person that will be sealed is left whole where it is just a long number.

    One number of ten passes for a card's, and a patient must not be `[redacted]` for that.
    """
    if not may_hold_secret(text.encode()) or (is_sealed_id and is_card_number(text)):
        return text[:MAX_VALUE], 0
    clean, taken = redact(text)
    return clean[:MAX_VALUE], taken
