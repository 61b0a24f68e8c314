"""The accounts of people at portals: what they are signed on with, sealed under the keyring, bound to person and portal.

It also remembers what became of using them, so that a password that is wrong is tried once, whoever asks and however
often: a portal locks accounts, and must not lock them because of the gateway. Who may see an account is not decided here.
"""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import Literal, NamedTuple

import msgspec

from gateway.store.rows import Rows, Transaction
from gateway.store.sealing import Sealer
from gateway.store.shelf import Shelf
from gateway.store.tables import PORTAL_ACCOUNTS

MAX_UNSETTLED = 2
"""Attempts in a row of which nobody learned what became of them (the process was killed, the portal fell silent)."""

Verdict = Literal["granted", "busy", "refused"]
"""May these credentials be tried: yes, somebody else is at it, or no, for the portal said no to them."""


class PortalAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One person at one portal."""

    user_id: str
    upstream: str
    username: str = ""
    """Empty = not told."""
    password: str = ""
    since: float = 0.0
    """When name and password were told."""
    accepted: bytes = b""
    """Digest of the credentials that the portal took last."""
    refused: bytes = b""
    """Digest of the credentials that the portal said no to."""
    trying: bytes = b""
    """Digest of those that are being tried."""
    trying_until: float = 0.0
    unsettled: int = 0


class Known(NamedTuple):
    """Credentials for a portal, and what became of them so far."""

    username: str
    password: str
    digest: bytes
    standing: Literal["accepted", "refused", "untried"]

    def __repr__(self) -> str:
        return f"Known(standing={self.standing!r})"


class PortalAccounts:
    """Usable from any thread; methods raise `StoreUnavailableError`."""

    def __init__(self, rows: Rows, sealer: Sealer) -> None:
        self._rows = rows
        self._shelf = Shelf(PORTAL_ACCOUNTS, PortalAccount, rows, sealer)

    def get(self, user_id: str, upstream: str) -> PortalAccount | None:
        """Return what is known of a person at a portal."""
        return self._shelf.get(self._row(user_id, upstream))

    def known(self, user_id: str, upstream: str, *, username: str, password: str) -> Known | None:
        """Return what a person is signed on with: `username` and `password`, or what was told where they are empty.

        None: something was not told.
        """
        account = self.get(user_id, upstream) or PortalAccount(user_id=user_id, upstream=upstream)
        username, password = username or account.username, password or account.password
        if not username or not password:
            return None
        digest = digest_of(username, password)
        if account.refused == digest:
            return Known(username, password, digest, "refused")
        return Known(username, password, digest, "accepted" if account.accepted == digest else "untried")

    def of(self, user_id: str) -> list[PortalAccount]:
        """List a person's accounts, by portal."""
        return sorted(self._shelf.find("person", self._person(user_id)), key=lambda account: account.upstream)

    def set(self, user_id: str, upstream: str, *, username: str, password: str, now: float) -> None:
        """Keep a name and a password, in place of earlier ones; they count as never tried."""
        account = PortalAccount(user_id=user_id, upstream=upstream, username=username, password=password, since=now)
        self._rows.transact(partial(self._put, account, now))

    def delete(self, user_id: str, upstream: str) -> bool:
        """Forget an account; False when there was none."""
        row = self._row(user_id, upstream)
        return self._rows.transact(lambda tx: self._shelf.delete_in(tx, row))

    def drop_person_in(self, tx: Transaction, user_id: str) -> None:
        """Forget all accounts of a person who is deleted."""
        for row in tx.find(PORTAL_ACCOUNTS, "person", self._person(user_id)):
            tx.delete(PORTAL_ACCOUNTS, row.id)

    def claim(self, user_id: str, upstream: str, credentials: bytes, *, now: float, until: float) -> Verdict:
        """Announce one attempt with credentials of this digest, which is over by `until`."""

        def work(tx: Transaction) -> Verdict:
            found = self._shelf.get_in(tx, self._row(user_id, upstream))
            account = found or PortalAccount(user_id=user_id, upstream=upstream)
            if account.refused == credentials:
                return "refused"
            if account.trying_until > now:
                return "busy"
            # An attempt that nobody settled may have failed at the portal: after the second the person is asked.
            unsettled = account.unsettled if account.trying == credentials else 0
            if unsettled >= MAX_UNSETTLED:
                self._put(msgspec.structs.replace(account, refused=credentials, trying=b"", unsettled=0), now, tx)
                return "refused"
            tried = msgspec.structs.replace(account, trying=credentials, trying_until=until, unsettled=unsettled + 1)
            self._put(tried, now, tx)
            return "granted"

        return self._rows.transact(work)

    def settle(self, user_id: str, upstream: str, credentials: bytes, *, accepted: bool | None, now: float) -> None:
        """Say what became of an attempt: True, False, or None where it never reached the portal's judgement."""

        def work(tx: Transaction) -> None:
            account = self._shelf.get_in(tx, self._row(user_id, upstream))
            if account is None or credentials not in (account.trying, account.accepted):
                return  # told anew meanwhile
            settled = msgspec.structs.replace(account, trying=b"", trying_until=0.0, unsettled=0)
            if accepted is True:
                settled = msgspec.structs.replace(settled, accepted=credentials)
            elif accepted is False:
                settled = msgspec.structs.replace(settled, accepted=b"", refused=credentials)
            self._put(settled, now, tx)

        self._rows.transact(work)

    def _put(self, account: PortalAccount, now: float, tx: Transaction) -> None:
        row = self._row(account.user_id, account.upstream)
        self._shelf.put_in(tx, row, account, now=now, tokens={"person": self._person(account.user_id)})

    def _row(self, user_id: str, upstream: str) -> bytes:
        return self._shelf.token("portal account", f"{user_id}\0{upstream}")

    def _person(self, user_id: str) -> bytes:
        return self._shelf.token("person", user_id)


def digest_of(username: str, password: str) -> bytes:
    """Tell credentials apart without keeping them; it stands sealed beside the password itself, so it need not be slow."""
    return sha256(f"{len(username)}:{username}{password}".encode()).digest()
