"""Browsers that people signed in with before: a cookie of their own, its digest, and what was proven there.

A known device is one that the person has signed in on; a remembered one has proven a second factor and is not asked
for it again for a while. The cookie's value changes at each use; who shows an old one knows no device.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import msgspec

from gateway.session.device import device_id
from gateway.store.rows import Rows, Transaction
from gateway.store.sealing import Sealer
from gateway.store.shelf import Shelf
from gateway.store.tables import DEVICES

KNOWN_S: Final = 180 * 86_400.0
"""A device is known for half a year after its last sign-in."""
MAX_DEVICES: Final = 20
"""Of one person; the one unused for longest is forgotten first."""
GRACE_S: Final = 30.0
"""The value before the last is good for so long: two tabs may sign in at once."""


class KnownDevice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One browser of one person on one host. Times are unix seconds. A format on disk."""

    name: str
    """What forms and the audit trail call it; stays when the cookie changes."""
    user_id: str
    host: str
    cookie: str
    """Id of the cookie's value (`session.device.device_id`, `Session.device`), from which the value cannot be found."""
    before: str = ""
    """Id of the value before it."""
    rotated: float
    created: float
    seen: float
    remembered_until: float = 0.0
    """Until then no second factor is asked; 0 = not remembered."""
    mfa_time: float = 0.0
    """When a second factor was proven on it."""
    user_agent: str = ""
    client_ip: str = ""
    country: str = ""

    def is_remembered(self, now: float) -> bool:
        """Tell whether a second factor that was proven here still counts."""
        return bool(self.mfa_time) and now < self.remembered_until


class Marked(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in that was noted."""

    device: KnownDevice
    is_new: bool


class Devices:
    """All known devices of one state. Methods raise `StoreUnavailableError`."""

    def __init__(self, rows: Rows, sealer: Sealer) -> None:
        self._rows = rows
        self._shelf = Shelf(DEVICES, KnownDevice, rows, sealer)

    def find(self, cookie: bytes, *, user_id: str, host: str, now: float) -> KnownDevice | None:
        """Return the device of a cookie value, if it is this person's and this host's."""
        shown = device_id(cookie)
        return _pick(self._shelf.find("user", self._token(user_id), now=now), shown, host, now) if shown else None

    def knows(self, cookie: bytes, *, user_id: str, host: str, now: float) -> bool:
        """Tell whether the person signed in with this browser before."""
        return self.find(cookie, user_id=user_id, host=host, now=now) is not None

    def of(self, user_id: str, *, now: float) -> list[KnownDevice]:
        """Return the devices of a person, the last used first."""
        found = self._shelf.find("user", self._token(user_id), now=now)
        return sorted(found, key=lambda device: -device.seen)

    def mark(
        self,
        cookie: bytes,
        *,
        user_id: str,
        host: str,
        renewed: bytes,
        name: str,
        user_agent: str = "",
        client_ip: str = "",
        country: str = "",
        now: float,
    ) -> Marked:
        """Note a sign-in of a person: the browser's device gets another value, a browser that is not known becomes one.

        Args:
            cookie: the cookie's value, empty where there was none.
            user_id: whose sign-in it is.
            host: of the page: a device is known on one host alone.
            renewed: the value that the browser gets now (`session.device.make_device`).
            name: for a device that is new: random, opaque.
            user_agent: as the browser calls itself.
            client_ip: where it is.
            country: where that is, if known.
            now: unix seconds.

        """
        shown = device_id(cookie)

        def work(tx: Transaction) -> Marked:
            devices = self._shelf.find_in(tx, "user", self._token(user_id), now=now)
            known = _pick(devices, shown, host, now) if shown else None
            if known is None:
                for surplus in sorted(devices, key=lambda device: -device.seen)[MAX_DEVICES - 1 :]:
                    self._shelf.delete_in(tx, _row(surplus.name))
                device = KnownDevice(
                    name=name, user_id=user_id, host=host, cookie=device_id(renewed), rotated=now, created=now, seen=now
                )
            else:
                device = msgspec.structs.replace(
                    known, cookie=device_id(renewed), before=known.cookie, rotated=now, seen=now
                )
            device = msgspec.structs.replace(device, user_agent=user_agent, client_ip=client_ip, country=country)
            self._put_in(tx, device, now)
            return Marked(device=device, is_new=known is None)

        return self._rows.transact(work)

    def remember(self, name: str, *, user_id: str, until: float, now: float) -> bool:
        """Ask this device for no second factor until then: one was proven on it just now. False when it is not known."""

        def work(tx: Transaction) -> bool:
            known = self._shelf.get_in(tx, _row(name), now=now)
            if known is None or known.user_id != user_id:
                return False
            self._put_in(tx, msgspec.structs.replace(known, remembered_until=until, mfa_time=now), now)
            return True

        return self._rows.transact(work)

    def forget(self, name: str, *, user_id: str, now: float) -> bool:
        """Forget one device of a person; False when it was not known."""

        def work(tx: Transaction) -> bool:
            known = self._shelf.get_in(tx, _row(name), now=now)
            return known is not None and known.user_id == user_id and self._shelf.delete_in(tx, _row(name))

        return self._rows.transact(work, confirmed=True)

    def forget_all_in(self, tx: Transaction, user_id: str) -> int:
        """Forget every device of a person, unopened: after a reset, and when the account is deleted."""
        return sum(tx.delete(DEVICES, row.id) for row in tx.find(DEVICES, "user", self._token(user_id)))

    def ask_again_in(self, tx: Transaction, user_id: str, *, now: float) -> int:
        """Remember no device of a person any more, though all stay known: password or factors changed."""
        known = [
            device
            for device in self._shelf.find_in(tx, "user", self._token(user_id), now=now)
            if device.remembered_until
        ]
        for device in known:
            self._put_in(tx, msgspec.structs.replace(device, remembered_until=0.0, mfa_time=0.0), now)
        return len(known)

    def ask_again(self, user_id: str, *, now: float) -> int:
        """Remember no device of a person any more, in a transaction of its own."""
        return self._rows.transact(lambda tx: self.ask_again_in(tx, user_id, now=now))

    def _put_in(self, tx: Transaction, device: KnownDevice, now: float) -> None:
        expires = max(device.seen + KNOWN_S, device.remembered_until)
        tokens = {"user": self._token(device.user_id)}
        self._shelf.put_in(tx, _row(device.name), device, now=now, tokens=tokens, expires=expires)

    def _token(self, user_id: str) -> bytes:
        return self._shelf.token("device", user_id)


def _pick(devices: list[KnownDevice], shown: str, host: str, now: float) -> KnownDevice | None:
    """Find the device that a cookie belongs to: by the value it has, or for a moment by the one before."""
    for device in devices:
        if device.host == host and (
            device.cookie == shown or (device.before == shown and now < device.rotated + GRACE_S)
        ):
            return device
    return None


def _row(name: str) -> bytes:
    return sha256(b"device\0" + name.encode()).digest()
