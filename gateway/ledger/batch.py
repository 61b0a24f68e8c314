"""What producers sent in one turn, parted by streams, and the answers to it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress

from gateway.audit.protocol import RECEIPTED, RESERVED, STREAM_MASK, Records, Refusal, pack_ack, pack_refused
from gateway.exchange.stream import STREAM_NUMBERS, STREAMS, STREAMS_BY_NUMBER, Stream
from gateway.ledger.chunk import Group

_OF_STREAM = {
    stream: bytes(number & STREAM_MASK == chosen for number in range(256)) for stream, chosen in STREAM_NUMBERS.items()
}
"""Tables for `bytes.translate`: which records of a frame are the stream's."""
_IN_LANE = bytes(number >= RESERVED for number in range(256))
_RECEIPTED = bytes(bool(number & RECEIPTED) for number in range(256))


def by_stream(slot: int, records: Records) -> list[tuple[Stream, Group]]:
    """Part the records of a frame by their streams."""
    streams, payloads = records.streams, records.payloads
    sequences = range(records.first_seq, records.first_seq + len(payloads))
    if streams.count(streams[0]) == len(streams):
        return [(STREAMS_BY_NUMBER[streams[0] & STREAM_MASK], (slot, sequences, payloads))]
    found: list[tuple[Stream, Group]] = []
    for stream in STREAMS:
        chosen = streams.translate(_OF_STREAM[stream])
        if any(chosen):
            found.append((stream, (slot, list(compress(sequences, chosen)), list(compress(payloads, chosen)))))
    return found


def reserved(records: Records) -> list[int]:
    """Return the sequences of those that may use the ballast."""
    sequences = range(records.first_seq, records.first_seq + len(records.payloads))
    return list(compress(sequences, records.streams.translate(_IN_LANE)))


def receipted(records: Records) -> list[int]:
    """Return the sequences of those whose receipts are asked for."""
    chosen = records.streams.translate(_RECEIPTED)
    if not any(chosen):
        return []
    return list(compress(range(records.first_seq, records.first_seq + len(records.payloads)), chosen))


def pack_answers(first: int, end: int, lost: Mapping[int, Refusal]) -> bytes:
    """Encode the answers to the records `first` to `end`, some of which were refused: one for each run of the same kind."""
    answers: list[bytes] = []
    at = first
    refused = sorted(lost.items())
    for i, (sequence, code) in enumerate(refused):
        if sequence > at:
            answers.append(pack_ack(sequence - 1))
        at = sequence + 1
        if i + 1 == len(refused) or refused[i + 1] != (at, code):
            answers.append(pack_refused(sequence, code))
    if at <= end:
        answers.append(pack_ack(end))
    return b"".join(answers)
