"""Whether somebody may try a password now, and on whom the try is counted.

A stranger is counted three times: on the network, on what was typed, and on the account that is meant by it,
whichever of its names was typed. Only the first two are told: an account that is held is refused like a wrong
password, or one name of a person would tell the other. A browser that signed in to the account before is counted
on itself alone, so nobody locks a person out of their own device. Known names and unknown ones cost the same.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gateway.authn.throttle import ACCOUNT, DEVICE, NETWORK, Throttle
from gateway.store.attempts import AttemptKeys
from gateway.store.openings import Client
from gateway.store.principals import Principal, find_principal
from gateway.store.records import User
from gateway.store.state import Store


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """One try, charged before it is checked."""

    principal: Principal
    told_s: float = 0.0
    """Seconds to wait, to be told; nothing is checked."""
    is_held: bool = False
    """The account waits: whatever the password, the answer is that of a wrong one."""
    charged: tuple[tuple[bytes, Throttle], ...] = ()
    account: str = ""
    """What detectors know the account by that is meant."""

    @property
    def user(self) -> User | None:
        """Who is meant, as far as there is somebody."""
        return self.principal.user


class Admissions:
    """Admits tries for one store. Runs in the store's thread."""

    def __init__(self, store: Store, keys: AttemptKeys, holds: Callable[[str, float], bool] | None = None) -> None:
        """Count by `keys`; `holds` tells whether detectors let strangers try that account no more."""
        self._store = store
        self._keys = keys
        self._holds = holds

    def admit(self, typed: str, *, client: Client, now: float) -> Admission:
        """Charge one try for whoever is meant by `typed`; the same look-ups and charges whoever that is."""
        store, keys = self._store, self._keys
        principal = find_principal(store.people, typed)
        user_id = "" if principal.user is None else principal.user.id
        account = keys.watched(principal.name)
        device = store.devices.find(client.device, user_id=user_id, host=client.host, now=now)
        if device is not None:
            own: tuple[tuple[bytes, Throttle], ...] = ((keys.device(user_id, device.name), DEVICE),)
            wait = store.admit_attempt(own, now=now)
            return Admission(principal=principal, told_s=wait, charged=() if wait else own, account=account)
        told: tuple[tuple[bytes, Throttle], ...] = (
            (keys.network(client.ip), NETWORK),
            (keys.typed(principal.text), ACCOUNT),
        )
        wait = store.admit_attempt(told, now=now)
        if wait:
            return Admission(principal=principal, told_s=wait, account=account)
        meant: tuple[tuple[bytes, Throttle], ...] = ((keys.account(principal.name), ACCOUNT),)
        is_held = store.admit_attempt(meant, now=now, evenly=True) > 0
        if self._holds is not None and self._holds(account, now):
            is_held = True
        charged = told if is_held else (*told, *meant)
        return Admission(principal=principal, is_held=is_held, charged=charged, account=account)

    def forgive(self, admission: Admission) -> None:
        """Take the charges back: nothing was checked."""
        self._store.forgive_attempt(admission.charged)

    def settle(self, admission: Admission) -> None:
        """Forget the failures that were counted on this person, or on this device: the password was right."""
        charged = admission.charged
        self._store.clear_attempts(key for key, limits in charged if limits is not NETWORK)
        self._store.forgive_attempt([(key, limits) for key, limits in charged if limits is NETWORK])
