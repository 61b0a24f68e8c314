"""One request of a corpus, as the inspection is asked about it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.inspection.engine import RequestLine


@dataclass(frozen=True)
class Sample:
    """One request of a corpus."""

    id: str
    attack: str
    tier: str
    place: str
    payload: str
    line: RequestLine
    fields: tuple[tuple[bytes, bytes], ...]
    content_type: bytes
    body: bytes
    refused: str
    """Why the wire layer refuses the target before anything is inspected; empty = it does not."""
