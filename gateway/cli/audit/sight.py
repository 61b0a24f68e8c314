"""Opens what is sealed in records for whoever may see it, and knows under which names a person stands in them.

The state is opened only when a record needs it: a log without sealed fields is read without it. Where
the state cannot be opened, sealed values are shown as such and the reader is told.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import click

from gateway.audit.subject import Sealing
from gateway.authn.name import InvalidNameError, canonical_name
from gateway.exchange.errors import GatewayError
from gateway.exchange.subject import SEALED, SubjectKey
from gateway.ledger.search import Somebody
from gateway.server.settings import Settings
from gateway.server.state import open_state, read_redis_options
from gateway.store.keyring import Keyring
from gateway.store.records import User
from gateway.store.sqlite_rows import STATE_NAME
from gateway.store.state import Store


class Sight:
    """What one verb may see. A context manager: the state is closed at its end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store: Store | None = None
        self._is_blind = False
        self._find: Callable[[str], SubjectKey | str] | None = None
        self._nobody: SubjectKey | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the state, where a record needed it."""
        if self._store is not None:
            self._store.close()

    def keys(self, token: str) -> SubjectKey | str:
        """Return the key of a token, or what to show in place of the value."""
        store = self._open()
        if store is None:
            return SEALED
        if self._find is None:
            self._find = store.subjects.finder(now=time.time())
        return self._find(token)

    def sealed(self, path: str, name: str) -> dict[str, Any] | str:
        """Return what stands for a person, given by name or id, in a member of a record; nobody's name ends with strangers'.

        Attack: to look whether somebody is erased writes their name into the log for good.
        """
        store = self._writable()
        if store is None:
            return name
        subject = _subject(store, name)
        return _value(subject, path, name) if subject is not None else self.passing(path, name)

    def sealed_if_known(self, path: str, name: str, text: str) -> dict[str, Any] | str:
        """Return the same for a text about whatever has this name; it stands as it is where that is nobody."""
        store = self._writable()
        subject = None if store is None else _subject(store, name)
        return text if subject is None else _value(subject, path, text)

    def passing(self, path: str, text: str) -> dict[str, Any] | str:
        """Return what stands for a text that may name anybody: nobody can read it after the time of strangers' addresses."""
        store = self._writable()
        if store is None:
            return text
        if self._nobody is None:
            kept_s = self._settings.audit.privacy.anonymous
            self._nobody = store.subjects.of_nobody(now=time.time(), kept_s=kept_s)
        return _value(self._nobody, path, text)

    def somebody(self, name: str) -> Somebody:
        """Return under which names and pseudonyms records know a person, who is given by name or id."""
        names = {name}
        tokens: set[str] = set()
        store = self._open()
        if store is not None:
            user = _account(store, name)
            if user is not None:
                names |= {user.id, user.name}
            for each in names:
                tokens.update(stored.token.hex() for stored in store.subjects.of_person(each))
        return Somebody(names=frozenset(names), tokens=frozenset(tokens))

    def _writable(self) -> Store | None:
        return self._open() if self._settings.audit.privacy.subject_keys else None

    def _open(self) -> Store | None:
        settings = self._settings
        if not settings.state.is_remote and not (settings.state_dir / STATE_NAME).exists():
            return None  # nobody was ever known here
        if self._store is None and not self._is_blind:
            try:
                keyring = Keyring.load(settings.keyring)
                self._store = open_state(settings, keyring, read_redis_options(settings), create=True)
            except GatewayError as error:
                self._is_blind = True
                click.echo(f"warning: what is sealed stays sealed, the state cannot be opened: {error}", err=True)
        return self._store


def _value(subject: SubjectKey, path: str, text: str) -> dict[str, Any]:
    """Return a text of one member sealed under a key."""
    return Sealing(subject, os.urandom).value(path, text)


def _subject(store: Store, name: str) -> SubjectKey | None:
    user = _account(store, name)
    if user is not None:
        return store.subjects.of(user.id, user.tenant, now=time.time())
    known = store.subjects.of_person(name)
    return known[0].subject if known else None


def _account(store: Store, name: str) -> User | None:
    user = store.user(name)
    if user is None:
        try:
            user = store.user_named(canonical_name(name))
        except InvalidNameError:
            return None
    return user
