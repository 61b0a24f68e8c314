"""Personal fields of records, sealed under the key of the person they are about.

A sealed value is `{"c": base64(nonce ‖ ciphertext ‖ tag), "e": 1, "t": token}`: AES-256-GCM (SP 800-38D) with a random
96-bit nonce. The additional data is the path of the field, so that a value opens in no other field; what is sealed once for a
session and a route serves all their records (docs/decisions/0024). The leaf of the log covers the ciphertext: a key that is
destroyed changes no hash and no proof. Where keys are kept, and who may see what they open, is not decided here.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.exchange.subject import ERASED, UNREADABLE, SubjectKey

NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_FORM: Final = 1
_MEMBERS: Final = frozenset(("c", "e", "t"))
_MARK: Final = b'"e":1,"t":"'
_SEALED: Final = re.compile(rb'(\{"c":"[A-Za-z0-9+/=]{0,8192}","e":1,"t":"[0-9a-f]{32}"\})')
REMEMBERED: Final = 65_536

USER_UID: Final = "actor.user.uid"
USER_NAME: Final = "actor.user.name"
ADDRESS: Final = "src_endpoint.ip"
DEVICE: Final = "src_endpoint.uid"
USER_AGENT: Final = "http_request.user_agent"
EMAIL: Final = "unmapped.gw.decision_inputs.email"
CERTIFICATE: Final = "unmapped.gw.decision_inputs.certificate"
RESOURCE_UID: Final = "resources.uid"
RESOURCE_NAME: Final = "resources.name"
OWNER_UID: Final = "resources.owner.uid"
EVENT_USER_ID: Final = "unmapped.gw.events.user_id"
EVENT_USER: Final = "unmapped.gw.events.user"
CHANGED_UID: Final = "user.uid"
CHANGED_NAME: Final = "user.name"

Keys = Callable[[str], SubjectKey | str]
"""Finds the key of a token (hexadecimal), or says what to show in place of the value: one of `UNREADABLE`."""


class Sealing:
    """Seals the fields of one subject."""

    __slots__ = ("_cipher", "_random", "token")

    def __init__(self, subject: SubjectKey, random: Callable[[int], bytes]) -> None:
        """Seal under `subject`; a nonce is what `random` gives, and no two may be alike."""
        self._cipher = AESGCM(subject.key)
        self._random = random
        self.token = subject.token.hex()

    def value(self, field: str, text: str) -> dict[str, Any]:
        """Return what stands in a record in place of `text`."""
        return {"c": self._sealed(field, text).decode("ascii"), "e": _FORM, "t": self.token}

    def encoded(self, field: str, text: str) -> bytes:
        """Return the same as canonical JSON."""
        return b'{"c":"%b","e":1,"t":"%b"}' % (self._sealed(field, text), self.token.encode("ascii"))

    def _sealed(self, field: str, text: str) -> bytes:
        nonce = self._random(NONCE_BYTES)
        plain = text.encode("utf-8", "surrogatepass")
        return b64encode(nonce + self._cipher.encrypt(nonce, plain, field.encode("ascii")))


def fingerprint(subject: SubjectKey) -> str:
    """Return what names a key without telling it: the log says by it which key was destroyed."""
    return hashlib.sha256(b"gateway/subject-key\0" + subject.key).hexdigest()[:32]


def is_sealed(value: object) -> bool:
    """Tell whether a value of a record is a sealed one."""
    return isinstance(value, dict) and value.keys() == _MEMBERS and value["e"] == _FORM


def may_be_sealed(payload: bytes) -> bool:
    """Tell quickly whether a stored record may hold a sealed value; false means that it holds none."""
    return _MARK in payload


def tokens_in(record: Mapping[str, Any]) -> set[str]:
    """Return the pseudonyms of everybody who is sealed in a record."""
    found: set[str] = set()
    _collect(record, found)
    return found


def reveal(record: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
    """Return the record with every sealed value opened; what cannot be shows as what `keys` says, or as erased.

    A value that was changed, or moved to another field, does not open: it shows as `(erased)` too, and
    `gateway audit verify` is what tells that from an erasure.
    """
    return {name: _revealed(name, value, keys) for name, value in record.items()}


class Revealer:
    """Opens what is sealed in stored records, which are many and repeat what was sealed once for a session."""

    __slots__ = ("_keys", "_known")

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._known: dict[bytes, bytes] = {}

    def payload(self, payload: bytes) -> bytes:
        """Return a stored record with every sealed value opened, as `reveal` does; what is no record stays as it is."""
        if _MARK not in payload:
            return payload
        known = self._known
        pieces = _SEALED.split(payload)
        for place in range(1, len(pieces), 2):
            opened = known.get(pieces[place])
            if opened is None:
                return self._whole(payload)
            pieces[place] = opened
        return b"".join(pieces)

    def _whole(self, payload: bytes) -> bytes:
        try:
            record = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return payload
        if not isinstance(record, dict):
            return payload
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        return orjson.dumps({name: self._opened(name, value) for name, value in record.items()})

    def _opened(self, path: str, value: Any) -> Any:
        """Open a part of a record; one that somebody moved to another field is for `gateway audit verify` to find."""
        if isinstance(value, dict):
            if not is_sealed(value):
                return {name: self._opened(f"{path}.{name}", member) for name, member in value.items()}
            opened = _opened(path, value, self._keys)
            if opened not in UNREADABLE:
                self._known[orjson.dumps(value, option=orjson.OPT_SORT_KEYS)] = orjson.dumps(opened)
            return opened
        if isinstance(value, list):
            return [self._opened(path, member) for member in value]
        return value


def seal_fields(record: Mapping[str, Any], fields: Mapping[str, Sealing]) -> dict[str, Any]:
    """Return the record with those of its texts sealed whose paths `fields` names; a path leaves out indexes of lists."""
    return {name: _sealed(name, value, fields) for name, value in record.items()}


def _sealed(path: str, value: Any, fields: Mapping[str, Sealing]) -> Any:
    if isinstance(value, str):
        sealing = fields.get(path) if value else None
        return value if sealing is None else sealing.value(path, value)
    if isinstance(value, Mapping):
        if is_sealed(value):
            return value
        return {name: _sealed(f"{path}.{name}", member, fields) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_sealed(path, member, fields) for member in value]
    return value


def _revealed(path: str, value: Any, keys: Keys) -> Any:
    if isinstance(value, dict):
        if is_sealed(value):
            return _opened(path, value, keys)
        return {name: _revealed(f"{path}.{name}", member, keys) for name, member in value.items()}
    if isinstance(value, list):
        return [_revealed(path, member, keys) for member in value]
    return value


def _opened(path: str, value: dict[str, Any], keys: Keys) -> str:
    found = keys(str(value["t"]))
    if isinstance(found, str):
        return found
    try:
        sealed = b64decode(value["c"], validate=True)
        if len(sealed) < NONCE_BYTES + _TAG_BYTES:
            return ERASED
        text = AESGCM(found.key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], path.encode("ascii"))
        return text.decode("utf-8", "surrogatepass")
    except (InvalidTag, ValueError, TypeError):
        return ERASED


def _collect(value: Any, found: set[str]) -> None:
    if isinstance(value, Mapping):
        if is_sealed(value):
            found.add(str(value["t"]))
        else:
            for member in value.values():
                _collect(member, found)
    elif isinstance(value, list):
        for member in value:
            _collect(member, found)
