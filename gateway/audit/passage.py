"""What the check of one file of a log gives: small, and the same whichever process made it."""

from __future__ import annotations

import msgspec

from gateway.audit.filehead import NO_HASH, FileHead
from gateway.audit.finding import Finding
from gateway.audit.tally import Hold, Prune


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a log: what the next frame has to continue."""

    next_index: int = 0
    next_frame: int = 1
    last_sha256: bytes = NO_HASH
    frontier: tuple[bytes, ...] | None = ()
    """Of the tree of `next_index` leaves; None where it could not be followed."""
    follows: bool = True
    """False after damage: what comes next cannot be held against what came before."""
    sequences: dict[int, int] = {}
    intents: dict[str, int] = {}

    @classmethod
    def at_head(cls, head: FileHead) -> Position:
        """Return where a file begins, as its signed head says."""
        fits = head.first_index.bit_count() == len(head.frontier)
        return cls(
            next_index=head.first_index,
            next_frame=head.first_frame,
            last_sha256=head.prev_sha256,
            frontier=head.frontier if fits else None,
            sequences=head.sequences,
            intents=head.intents,
        )


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """What every file of a log has to agree with."""

    origin: str
    public: bytes
    """Ed25519 key of the log; empty when no head names one."""
    stream: int
    """Number of the stream that its entries must be of; 0 = the log has none, and any is refused."""
    sizes: frozenset[int] = frozenset()
    """Sizes at which the signed root is wanted, because a checkpoint is for them."""


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """One file, checked."""

    name: str
    head: FileHead | None
    """None when it is damaged."""
    is_sealed: bool
    findings: tuple[Finding, ...]
    begin: Position
    end: Position
    tail: int
    """Offset after the last valid frame, as the log file had it."""
    leftover: bytes = b""
    """What follows it in the newest file, up to the last byte that is not zero."""
    proven: int = 0
    """Entries up to here were hashed to a signed root, and nothing in the file before is wrong; 0 = none."""
    is_unread: bool = False
    """Not decrypted: no key was given, or it is not the file's."""
    signed: tuple[tuple[int, bytes], ...] = ()
    """Size and root of the tree heads at the wanted sizes, and of the last one."""
    first_ns: int = 0
    last_ns: int = 0
    prunes: tuple[Prune, ...] = ()
    holds: tuple[Hold, ...] = ()
