"""Second factors: one TOTP secret per person, and the recovery codes beside it.

Whatever is good once is spent here by compare-and-set: of two requests with one code exactly one wins.
Codes themselves are not checked here.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.store.records import Factor
from gateway.store.rows import Rows, Transaction
from gateway.store.sealing import Sealer
from gateway.store.shelf import Shelf
from gateway.store.tables import FACTORS, RECOVERY


class _RecoveryCodes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The unused recovery codes of a person, as digests. A format on disk."""

    digests: tuple[bytes, ...]


class Factors:
    """The second factors of one gateway."""

    __slots__ = ("_codes", "_rows", "_shelf")

    def __init__(self, rows: Rows, sealer: Sealer) -> None:
        self._rows = rows
        self._shelf = Shelf(FACTORS, Factor, rows, sealer)
        self._codes = Shelf(RECOVERY, _RecoveryCodes, rows, sealer)

    def get(self, user_id: str) -> Factor | None:
        """Return a person's TOTP factor."""
        return self._shelf.get(user_id.encode())

    def put(self, user_id: str, factor: Factor, recovery: Iterable[bytes], *, now: float) -> None:
        """Set or replace a person's factor and recovery codes."""
        codes = tuple(recovery)
        self._rows.transact(lambda tx: self.put_in(tx, user_id, factor, codes, now=now), confirmed=True)

    def advance_step(self, user_id: str, *, after: int, step: int, now: float) -> bool:
        """Compare-and-set the last accepted time step: of two requests with one code exactly one gets True."""

        def work(tx: Transaction) -> bool:
            factor = self._shelf.get_in(tx, user_id.encode())
            if factor is None or factor.last_step != after or after >= step:
                return False
            self._shelf.put_in(tx, user_id.encode(), msgspec.structs.replace(factor, last_step=step), now=now)
            return True

        return self._rows.transact(work, confirmed=True)

    def use_recovery(self, user_id: str, code: bytes, *, now: float) -> bool:
        """Spend a recovery code; True exactly once."""

        def work(tx: Transaction) -> bool:
            codes = self._codes.get_in(tx, user_id.encode())
            if codes is None or code not in codes.digests:
                return False
            left = tuple(digest for digest in codes.digests if digest != code)
            self._put_codes_in(tx, user_id, left, now=now)
            return True

        return self._rows.transact(work, confirmed=True)

    def count_recovery(self, user_id: str) -> int:
        """Count a person's unused recovery codes."""
        codes = self._codes.get(user_id.encode())
        return 0 if codes is None else len(codes.digests)

    # Inside a transaction

    def has_in(self, tx: Transaction, user_id: str) -> bool:
        """Whether the person has a TOTP factor."""
        return tx.get(FACTORS, user_id.encode()) is not None

    def put_in(self, tx: Transaction, user_id: str, factor: Factor, recovery: Iterable[bytes], *, now: float) -> None:
        """Set or replace a person's factor and recovery codes."""
        self._shelf.put_in(tx, user_id.encode(), factor, now=now)
        self._put_codes_in(tx, user_id, tuple(recovery), now=now)

    def delete_in(self, tx: Transaction, user_id: str) -> None:
        """Remove a person's factor and recovery codes."""
        self._shelf.delete_in(tx, user_id.encode())
        self._codes.delete_in(tx, user_id.encode())

    def remove_totp_in(self, tx: Transaction, user_id: str) -> bool:
        """Remove a person's TOTP factor and leave the recovery codes; False when there was none."""
        return self._shelf.delete_in(tx, user_id.encode())

    def put_recovery_in(self, tx: Transaction, user_id: str, digests: tuple[bytes, ...], *, now: float) -> None:
        """Void a person's recovery codes and store new ones."""
        self._put_codes_in(tx, user_id, digests, now=now)

    def _put_codes_in(self, tx: Transaction, user_id: str, digests: tuple[bytes, ...], *, now: float) -> None:
        if digests:
            self._codes.put_in(tx, user_id.encode(), _RecoveryCodes(digests=digests), now=now)
        else:
            self._codes.delete_in(tx, user_id.encode())
