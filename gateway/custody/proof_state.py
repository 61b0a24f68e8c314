"""Says what can be proven of each stream right now: how far it is signed, who cosigned it, and who else has it.

It reads what other duties left on disk and verifies every signature that it tells of. It changes nothing and asks nobody.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gateway.audit.checkpoint import CheckpointError, parse_checkpoint, split_note
from gateway.audit.trust import TrustPolicy
from gateway.custody.sinks.cursor import CursorFile
from gateway.custody.station import Station
from gateway.exchange.inquiry import Cosignature, Lag, Standing
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.layout import parse_name


class Receiver(msgspec.Struct, frozen=True, kw_only=True):
    """A sink, and which streams it is sent."""

    name: str
    streams: tuple[Stream, ...]
    is_required: bool


class ProofState:
    """Of the streams of one node. `standings` blocks."""

    def __init__(
        self, station: Station, *, policy: TrustPolicy | None, receivers: Sequence[Receiver], cursors: Path
    ) -> None:
        """`policy` names the witnesses, None = there are none; `cursors` is where receivers' cursors are."""
        self._station = station
        self._policy = policy
        self._receivers = receivers
        self._cursors = cursors

    @property
    def is_witnessed(self) -> bool:
        """Tell whether there are witnesses."""
        return self._policy is not None

    def standings(self) -> tuple[Standing, ...]:
        """Tell of every stream."""
        return tuple(map(self._standing, STREAMS))

    def _standing(self, stream: Stream) -> Standing:
        extent = self._station.tails[stream].extent()
        if extent is None:
            return Standing(stream=stream)
        layout = self._station.layout
        found = [name for path in layout.directory.iterdir() if (name := parse_name(path.name)) is not None]
        sealed = [name.is_sealed for name in found if name.stream is stream]
        try:
            at = layout.checkpoint(stream).stat().st_mtime
        except OSError:
            at = 0.0
        cosigned_size, cosigned = self._cosigned(stream, extent.origin)
        return Standing(
            stream=stream,
            origin=extent.origin,
            first=extent.first,
            size=extent.size,
            root=b64encode(parse_checkpoint(split_note(extent.note)[0]).root).decode(),
            checkpoint_at=at,
            segments=sum(sealed),
            open_files=len(sealed) - sum(sealed),
            cosigned_size=cosigned_size,
            cosigned=cosigned,
            lags=tuple(
                self._lag(receiver, stream, extent.origin, extent.size)
                for receiver in self._receivers
                if stream in receiver.streams
            ),
        )

    def _cosigned(self, stream: Stream, origin: str) -> tuple[int, tuple[Cosignature, ...]]:
        """Return how far the published tree head reaches, and who cosigned it: only whose signature is right."""
        if self._policy is None:
            return 0, ()
        try:
            note = self._station.layout.cosigned(stream).read_bytes()
            judged = self._policy.judge(note, log=self._station.keys.vkey(origin))
        except (OSError, CheckpointError):
            return 0, ()
        found = tuple(Cosignature(name, float(cosigned.time_s)) for name, cosigned in judged.cosigned)
        return judged.checkpoint.size, found

    def _lag(self, receiver: Receiver, stream: Stream, origin: str, size: int) -> Lag:
        cursor = CursorFile(self._cursors, receiver.name, stream).load()
        known = cursor.next_index if cursor is not None and cursor.origin == origin else 0
        return Lag(receiver.name, max(0, size - known), receiver.is_required)
