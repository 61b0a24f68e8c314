"""What a record looks like when it leaves this node, and how its leaf is found again in the copy.

A delivered record is the stored one with what its entry's head and its place in the log say (row 50 of
the record schema). The same entry always becomes the same bytes, so that a receiver can tell a second
delivery from a second event. Where records go, and when, is not decided here.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, assert_never

import msgspec
import orjson

from gateway.audit.entry import HEAD, EntryError, parse_entry
from gateway.audit.mapping import Position, to_cef, to_ecs, to_ocsf
from gateway.audit.merkle import hash_leaf
from gateway.exchange.errors import GatewayError

OCSF_SHA_256: Final = 3
"""`fingerprint.algorithm_id` of SHA-256."""
NDJSON: Final = "application/x-ndjson"
_SORTED: Final = orjson.OPT_SORT_KEYS
_ADDED_TO_METADATA: Final = ("logged_time",)
_ADDED_TO_GATEWAY: Final = ("entry_head", "ingest_time", "log_index", "origin")


class Format(StrEnum):
    """In which words a record is sent."""

    OCSF = "ocsf"
    """Everything, in OCSF: the one that entries can be found again from."""
    ECS = "ecs"
    CEF = "cef"


class DeliveryError(GatewayError):
    """A copy of a record that its entry cannot be found again from."""


class Delivery(msgspec.Struct, frozen=True):
    """One record on its way."""

    index: int
    time_ns: int
    """When the log took it in, unix nanoseconds."""
    record: Mapping[str, Any]
    """As it was stored."""
    line: bytes
    """What is sent, without a line end."""


class Batch(msgspec.Struct, frozen=True):
    """Consecutive records of one log; never empty."""

    origin: str
    stream: str
    deliveries: Sequence[Delivery]

    @property
    def first(self) -> int:
        """Index of the first record."""
        return self.deliveries[0].index

    @property
    def last(self) -> int:
        """Index of the last record."""
        return self.deliveries[-1].index

    def body(self) -> bytes:
        """Return all lines, each with its end."""
        return b"".join([delivery.line + b"\n" for delivery in self.deliveries])

    def key(self, body: bytes | None = None) -> str:
        """Return the batch's idempotency key, `origin#first-last#sha256` of its body."""
        digest = sha256(self.body() if body is None else body).hexdigest()
        return f"{self.origin}#{self.first}-{self.last}#{digest}"

    def part(self, start: int, stop: int) -> Batch:
        """Return some of its records, by position."""
        return Batch(self.origin, self.stream, self.deliveries[start:stop])


def idempotency_key(origin: str, index: int) -> str:
    """Return the key by which a receiver knows a record again, for ever."""
    return f"{origin}#{index}"


def deliver_entry(raw: bytes, *, origin: str, index: int, form: Format = Format.OCSF) -> Delivery:
    """Return one entry as it is sent. Total but for bytes that are no entry: those raise `EntryError`.

    A payload that is no canonical JSON object (attack: a worker that was taken over) goes as it is, in base64.
    """
    entry = parse_entry(raw)
    position = Position(origin, index, entry.time_ns)
    record = _read(entry.payload)
    if record is None:
        record = {
            "time": entry.time_ns // 1_000_000,
            "unmapped": {"gw": {"raw_b64": b64encode(entry.payload).decode()}},
        }
    match form:
        case Format.OCSF:
            line = _ocsf(record, position, raw)
        case Format.ECS:
            line = orjson.dumps(to_ecs(record, position), option=_SORTED)
        case Format.CEF:
            line = to_cef(record, position).encode("utf-8", "backslashreplace")
        case _:
            assert_never(form)
    return Delivery(index, entry.time_ns, record, line)


def _ocsf(record: dict[str, Any], position: Position, raw: bytes) -> bytes:
    """Write a record with its place, the head of its entry, and the hash of its leaf."""
    exported = to_ocsf(record, position)
    exported["unmapped"]["gw"]["entry_head"] = b64encode(raw[: HEAD.size]).decode()
    exported["attestation_list"][0]["fingerprint"] = {
        "algorithm": "SHA-256",
        "algorithm_id": OCSF_SHA_256,
        "value": hash_leaf(raw).hex(),
    }
    return orjson.dumps(exported, option=_SORTED)


def restore_entry(record: Mapping[str, Any]) -> tuple[str, int, bytes]:
    """Return origin, index and the entry that a delivered record was made from.

    Raises:
        DeliveryError: it is no delivered record, or not what its fingerprint says: changed, or sent with
            its personal fields opened.

    """
    try:
        gw = dict(record["unmapped"]["gw"])
        origin, index = gw["origin"], gw["log_index"]
        head = b64decode(gw["entry_head"], validate=True)
        fingerprint = bytes.fromhex(record["attestation_list"][0]["fingerprint"]["value"])
        if "raw_b64" in gw and "class_uid" not in record:
            payload = b64decode(gw["raw_b64"], validate=True)
        else:
            payload = orjson.dumps(_stored(record, gw), option=_SORTED)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as exc:
        raise DeliveryError("not a delivered record: origin, log_index, entry_head or fingerprint is missing") from exc
    raw = head + payload
    if hash_leaf(raw) != fingerprint or not isinstance(origin, str) or type(index) is not int:
        raise DeliveryError("not the record that was stored: changed, or sent with its personal fields opened")
    try:
        parse_entry(raw)
    except EntryError as exc:
        raise DeliveryError(str(exc)) from exc
    return origin, index, raw


def _read(payload: bytes) -> dict[str, Any] | None:
    try:
        record = orjson.loads(payload)
        if isinstance(record, dict) and orjson.dumps(record, option=_SORTED) == payload and _has_room(record):
            return record
    except (orjson.JSONDecodeError, TypeError):
        pass
    return None


def _has_room(record: Mapping[str, Any]) -> bool:
    """Tell whether it has the members that are added to, and none of what is added (attack: another place, forged)."""
    metadata, unmapped = record.get("metadata"), record.get("unmapped")
    if not isinstance(metadata, dict) or not isinstance(unmapped, dict) or "attestation_list" in record:
        return False
    gw = unmapped.get("gw")
    if not isinstance(gw, dict) or "raw_b64" in gw:
        return False
    return not any(name in gw for name in _ADDED_TO_GATEWAY) and not any(
        name in metadata for name in _ADDED_TO_METADATA
    )


def _stored(record: Mapping[str, Any], gw: Mapping[str, Any]) -> dict[str, Any]:
    """Take away what was added."""
    stored = {name: value for name, value in record.items() if name != "attestation_list"}
    stored["metadata"] = {name: v for name, v in record["metadata"].items() if name not in _ADDED_TO_METADATA}
    own = {name: value for name, value in gw.items() if name not in _ADDED_TO_GATEWAY}
    stored["unmapped"] = {**record["unmapped"], "gw": own}
    return stored
