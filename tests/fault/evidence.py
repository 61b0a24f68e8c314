"""What the audit log says about requests, and whether it says all that clients and the portal know.

Reads the log with the gateway's own reader; that the log is whole is `gateway audit verify`'s to say.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from gateway.ledger.keys import AuditKeys
from gateway.ledger.reader import entries
from tests.fault.load import Received
from tests.fault.upstream import Effect

SAFE = ("GET", "HEAD", "OPTIONS")
UNRECORDED = "audit_unavailable"
"""The one answer that may leave without a record: the one that says that there is none."""


class Said(NamedTuple):
    """One record of a request."""

    place: int
    """Its index in the log."""
    slot: int
    phase: str
    status: int
    record: dict[str, Any]


class Evidence:
    """The log of a gateway as it stands."""

    def __init__(self, directory: Path) -> None:
        keys = AuditKeys.load(directory / "config" / "audit-keys.json")
        damage: list[str] = []
        self.of_request: dict[str, list[Said]] = defaultdict(list)
        self.numbers: list[tuple[int, int]] = []
        self.events: list[str] = []
        for stored in entries(directory / "state" / "audit", keys, on_damage=damage.append):
            self.numbers.append((stored.entry.slot, stored.entry.sequence))
            record = json.loads(stored.entry.payload)
            gw = record.get("unmapped", {}).get("gw", {})
            if "http_response" in record:
                said = Said(stored.index, stored.entry.slot, gw["phase"], record["http_response"]["code"], record)
                self.of_request[record["metadata"]["correlation_uid"]].append(said)
            self.events.append(str(gw.get("event", "")))
        assert not damage, damage

    def assert_numbers_are_unique(self) -> None:
        """No record stands there twice."""
        assert len(self.numbers) == len(set(self.numbers))

    def assert_answers_are_recorded(self, answers: Iterable[Received]) -> int:
        """Every answer that a client received has its record; returns how many had none because they said so."""
        missing, unrecorded = [], 0
        for answer in answers:
            if not any(said.status == answer.status for said in self.of_request.get(answer.request_id, ())):
                if answer.status == 503 and answer.reason == UNRECORDED:
                    unrecorded += 1
                else:
                    missing.append((answer, self.of_request.get(answer.request_id)))
        assert not missing, (len(missing), missing[:3])
        return unrecorded

    def assert_effects_were_announced(self, effects: Iterable[Effect]) -> None:
        """Everything that changed something behind the gateway was in the log before."""
        missing = [
            effect
            for effect in effects
            if effect.method not in SAFE
            and not any(said.phase == "intent" for said in self.of_request.get(effect.request_id, ()))
        ]
        assert not missing, (len(missing), missing[:3])
