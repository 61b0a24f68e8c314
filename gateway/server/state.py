"""The state that gateway.yaml names, opened: the file of this node, or Redis after a trial of everything it is needed for."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from gateway.exchange.errors import ConfigurationError, StoreUnavailableError
from gateway.ledger.ballast import take_from_ballast
from gateway.ledger.layout import Layout
from gateway.server.bundle import read_secret
from gateway.server.sections.secret import SecretFile, SecretSource, secret_files
from gateway.server.settings import Settings
from gateway.store.erasures import Erasures
from gateway.store.keyring import Keyring
from gateway.store.measured import Observe
from gateway.store.redis_options import Credentials, RedisOptions, TLSFiles
from gateway.store.redis_probe import probe
from gateway.store.state import Store, open_store
from gateway.store.subject_data import SubjectData

_log = structlog.get_logger()
_OPENING_BYTES: Final = 256 << 10
"""For the index of the log, and the log of a few changes; as much again is freed for whoever is quicker."""
_PASSWORD, _SENTINEL = "state.password", "state.sentinel.password"


def redis_options(settings: Settings, secrets: Mapping[str, bytes]) -> RedisOptions | None:
    """Return how Redis is reached, None when the state is not there; `secrets` as in a `Bundle`.

    Raises:
        ConfigurationError: a password is not text.

    """
    state = settings.state
    if state.url.kind == "sqlite":
        return None
    login = state.sentinel
    tls = None
    if state.has_tls:
        files = state.tls
        tls = TLSFiles(
            ca=files.ca if files else None,
            certificate=files.certificate if files else None,
            key=files.key if files else None,
            server_name=files.server_name if files else "",
        )
    return RedisOptions(
        kind=state.url.kind,
        nodes=state.url.nodes,
        service=state.url.service,
        database=state.url.database,
        credentials=_credentials(state.username or state.url.username, _PASSWORD, secrets),
        sentinel=_credentials(login.username if login else "", _SENTINEL, secrets),
        tls=tls,
        prefix=state.prefix,
        timeout_s=state.timeout,
        replicas=state.replicas,
    )


def read_redis_options(settings: Settings) -> RedisOptions | None:
    """Return how Redis is reached, for a program that read gateway.yaml alone. Raises `ConfigurationError`."""
    if not settings.state.is_remote:
        return None
    files: dict[str, SecretFile | SecretSource] = dict(secret_files(settings.state, "state"))
    secrets = {place: read_secret(place, secret) for place, secret in files.items()}
    return redis_options(settings, secrets)


def open_state(
    settings: Settings,
    keyring: Keyring,
    redis: RedisOptions | None,
    *,
    create: bool = False,
    observe: Observe | None = None,
) -> Store:
    """Open the state; with `create` make what is missing of a file. `observe` is told how long each use took.

    Raises:
        KeyringError: the state was written under another keyring.
        StoreUnavailableError: it cannot be used.

    """
    try:
        return open_store(settings.state_dir, keyring, redis=redis, create=create, observe=observe)
    except StoreUnavailableError:
        if not create or redis is not None or not _make_room(settings.state_dir):
            raise
    return open_store(settings.state_dir, keyring, create=True, observe=observe)


def _make_room(state_dir: Path) -> bool:
    """Give the state what it needs to be opened on a full disk, out of the ballast; False when that is not why, or there is none.

    SQLite removes its log with the last connection, so nobody who comes after a gateway that was stopped finds room kept.
    """
    try:
        status = os.statvfs(state_dir)
        return status.f_bavail * status.f_frsize < _OPENING_BYTES and take_from_ballast(
            Layout(state_dir), _OPENING_BYTES
        )
    except OSError:
        return False


def erase_again(settings: Settings, keyring: Keyring, store: Store) -> int:
    """Erase whom the journal says and the state still has, because it was restored; before anything is served.

    Returns: how many entries of the journal were gone through; 0 = the state knew them all.
    Raises `StoreUnavailableError`: then nothing may be served.
    """
    data = SubjectData(store, keyring, Erasures(store.rows, store.sealer, settings.state_dir))
    applied = data.apply_journal(now=time.time())
    if applied:
        _log.warning("privacy.erased_again", entries=len(applied), left=store.rows.scrub())
    return len(applied)


def try_redis(redis: RedisOptions) -> list[str]:
    """Use Redis as the gateway will; returns what it should be warned of.

    Raises:
        ConfigurationError: certificates cannot be used.
        StoreUnavailableError: it cannot hold the state; the text says why.

    """
    from gateway.store.redis_client import RedisPlace  # noqa: PLC0415 - a tenth of a second of each process that starts

    place = RedisPlace(redis)
    try:
        return probe(place)
    finally:
        place.close()


def _credentials(username: str, place: str, secrets: Mapping[str, bytes]) -> Credentials:
    try:
        return Credentials(username=username, password=secrets.get(place, b"").decode())
    except UnicodeDecodeError:
        raise ConfigurationError((f"{place}: the password is not UTF-8",)) from None
