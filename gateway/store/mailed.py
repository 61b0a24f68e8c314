"""Codes that were mailed, by the browser that asked: how many guesses are left, and whose account it is about.

A browser that asked for an account that cannot be told has a row as well, which no code opens: every answer costs
the same. A new code for the same thing takes the place of the one before.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import partial
from hashlib import sha256

import msgspec

from gateway.authn.mailed_code import GUESSES, LIFETIME_S, RANDOM_BYTES, Purpose, digest_of, make_code, parse_code
from gateway.store.keyring import Keyring
from gateway.store.rows import Rows, Transaction
from gateway.store.sealing import Sealer
from gateway.store.shelf import Shelf
from gateway.store.tables import MAILED


class Mailed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One code. A format on disk. Times are unix seconds."""

    user_id: str
    """Empty: nobody's, and no code is right."""
    stamp: str = ""
    """Of the account when the code was made: a change in between voids it."""
    digest: bytes
    guesses: int
    expires: float
    letter: str = ""
    """Id of the letter that has the code, where somebody asks whether it went."""
    is_proven: bool = False
    """The code was given; it is not taken again."""


class MailedCodes:
    """The codes of one gateway. Methods raise `StoreUnavailableError`."""

    def __init__(self, rows: Rows, sealer: Sealer, keyring: Keyring, random: Callable[[int], bytes]) -> None:
        self._rows = rows
        self._shelf = Shelf(MAILED, Mailed, rows, sealer)
        self._key = keyring.derive("mailed code")
        self._random = random

    def issue_in(
        self,
        tx: Transaction,
        browser: bytes,
        purpose: Purpose,
        *,
        user_id: str,
        stamp: str,
        now: float,
        letter: str = "",
    ) -> str:
        """Make a code for the browser whose secret `browser` is; void its earlier one. Returns the code, to be mailed."""
        code = make_code(self._random(RANDOM_BYTES))
        mailed = Mailed(
            user_id=user_id,
            stamp=stamp,
            digest=digest_of(code, purpose=purpose, browser=browser, key=self._key),
            guesses=GUESSES,
            expires=now + LIFETIME_S,
            letter=letter,
        )
        self._put_in(tx, _row(browser, purpose), mailed, now)
        return code

    def prove(self, browser: bytes, purpose: Purpose, code: str, *, now: float) -> Mailed | None:
        """Take a code: once, and as long as guesses are left. Whatever is wrong costs the same. Returns whose it was."""
        return self._rows.transact(partial(self._prove, browser, purpose, code, now), durable=False, confirmed=True)

    def issued(self, browser: bytes, purpose: Purpose, *, now: float) -> Mailed | None:
        """Return the code that this browser asked for last."""
        return self._shelf.get(_row(browser, purpose), now=now)

    def proven(self, browser: bytes, purpose: Purpose, *, now: float) -> Mailed | None:
        """Return what this browser has proven and not used yet."""
        found = self._shelf.get(_row(browser, purpose), now=now)
        return found if found is not None and found.is_proven and found.user_id else None

    def take(self, browser: bytes, purpose: Purpose, *, now: float) -> Mailed | None:
        """Use up what this browser has proven: of two requests exactly one gets it."""
        return self._rows.transact(partial(self._take, browser, purpose, now), durable=False, confirmed=True)

    def _prove(self, browser: bytes, purpose: Purpose, code: str, now: float, tx: Transaction) -> Mailed | None:
        row = _row(browser, purpose)
        digest = digest_of(parse_code(code), purpose=purpose, browser=browser, key=self._key)
        mailed = self._shelf.get_in(tx, row, now=now)
        if mailed is None or mailed.guesses <= 0 or mailed.is_proven:
            return None
        is_right = hmac.compare_digest(mailed.digest, digest) and bool(mailed.user_id)
        changed = msgspec.structs.replace(mailed, guesses=mailed.guesses - 1, is_proven=is_right)
        self._put_in(tx, row, changed, now)
        return changed if is_right else None

    def _take(self, browser: bytes, purpose: Purpose, now: float, tx: Transaction) -> Mailed | None:
        row = _row(browser, purpose)
        mailed = self._shelf.get_in(tx, row, now=now)
        if mailed is None or not mailed.is_proven or not mailed.user_id:
            return None
        self._shelf.delete_in(tx, row)
        return mailed

    def _put_in(self, tx: Transaction, row: bytes, mailed: Mailed, now: float) -> None:
        self._shelf.put_in(tx, row, mailed, now=now, expires=mailed.expires)


def _row(browser: bytes, purpose: Purpose) -> bytes:
    """Return the row of a browser's secret: nothing of the secret can be found from it."""
    return sha256(f"mailed row\0{purpose}\0".encode() + browser).digest()
