"""Says in the log where the log goes: a sink that is new, changed or gone since the custodian began last.

It compares what gateway.yaml says now with what was recorded before, and does nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.audit import record as records
from gateway.custody.sinks.cursor import CursorError
from gateway.custody.sinks.shipping import Threads
from gateway.custody.sinks.standing import Recorder
from gateway.ledger.spare import replace_file

REGISTER_NAME: Final = "configured.json"


class Register:
    """A duty that is done once."""

    name = "sinks"

    def __init__(
        self, directory: Path, sinks: Mapping[str, Mapping[str, Any]], *, recorder: Recorder, threads: Threads
    ) -> None:
        """`sinks` are their settings by name, without secrets."""
        self._path = directory / REGISTER_NAME
        self._sinks = sinks
        self._recorder = recorder
        self._threads = threads

    async def run(self) -> None:
        """Record what changed. Raises GatewayErrors, and is then called again."""
        known = await self._threads(self._load)
        digests = {
            name: sha256(msgspec.json.encode(sink, order="sorted")).hexdigest() for name, sink in self._sinks.items()
        }
        for name in sorted(known.keys() | digests.keys()):
            if known.get(name) == digests.get(name):
                continue
            change = "removed" if name not in digests else "changed" if name in known else "added"
            more = {"sink": {**self._sinks.get(name, {}), "name": name, "change": change}}
            await self._recorder(
                partial(records.lifecycle, event="audit.sink_configured", severity=records.MEDIUM, more=more)
            )
        if known != digests:
            await self._threads(partial(self._store, digests))

    def measure(self) -> None:
        """Nothing of its own."""

    def _load(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
        except (OSError, msgspec.MsgspecError):  # all are recorded once more
            return {}

    def _store(self, digests: Mapping[str, str]) -> None:
        try:
            replace_file(self._path, msgspec.json.encode(digests))
        except OSError as exc:
            raise CursorError(f"{self._path}: {os.strerror(exc.errno or 0).lower()}") from exc
