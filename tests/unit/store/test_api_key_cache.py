"""A key is never served longer than the store says: what the edge asks on every request."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.exchange.errors import StoreUnavailableError
from gateway.store.api_key_cache import USE_GRAIN_S, ApiKeyCache
from gateway.store.api_keys import ApiKey, ApiKeys
from gateway.store.keyring import Keyring
from gateway.store.records import User
from gateway.store.rows import Row
from gateway.store.sessions import REREAD_S
from gateway.store.sqlite_rows import SQLiteRows
from gateway.store.state import Store

NOW = 1_800_000_000.0
ALICE = User(
    id="u_" + "a" * 32,
    stamp="s",
    name="alice",
    tenant="acme",
    roles=("client",),
    password="",
    password_changed=NOW,
    created=NOW,
)
SERVICE = ApiKey(
    handle="",
    label="",
    user_id="service:acme:export",
    user="service:export",
    tenant="acme",
    roles=("client",),
    created=NOW,
    expires=NOW + 1000,
)


class Counting:
    """The store's keys, with a count of looks and a fault to switch on."""

    def __init__(self, keys: ApiKeys) -> None:
        self.keys = keys
        self.looks = 0
        self.is_away = False

    def read(self, row: bytes) -> Row | None:
        self.looks += 1
        if self.is_away:
            raise StoreUnavailableError("away")
        return self.keys.read(row)

    def __getattr__(self, name: str) -> object:
        return getattr(self.keys, name)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    keyring = Keyring.generate(os.urandom, NOW)
    rows = SQLiteRows(tmp_path, create=True)
    yield Store(rows, keyring)
    rows.close()


@pytest.fixture
def counting(store: Store) -> Counting:
    return Counting(store.api_keys)


@pytest.fixture
def cache(store: Store, counting: Counting) -> ApiKeyCache:
    assert isinstance(store.rows, SQLiteRows)
    return ApiKeyCache(counting, store.rows.generations)  # type: ignore[arg-type]  # stands in for the keys


def test_a_known_key_is_served_from_memory(store: Store, cache: ApiKeyCache, counting: Counting) -> None:
    text, key = store.api_keys.create(SERVICE, now=NOW)
    assert cache.known(text, NOW) is None
    entry = cache.lookup(text, NOW)
    assert entry is not None
    assert (entry.session.handle, entry.session.user, entry.session.credential) == (
        key.handle,
        "service:export",
        "api_key",
    )
    assert cache.lookup(text, NOW + 0.5) is entry
    assert cache.known(text, NOW + 0.5) is entry
    assert counting.looks == 1


def test_an_entry_is_read_again_after_a_second(store: Store, cache: ApiKeyCache, counting: Counting) -> None:
    text, _ = store.api_keys.create(SERVICE, now=NOW)
    entry = cache.lookup(text, NOW)
    assert cache.lookup(text, NOW + REREAD_S) is entry
    assert counting.looks == 2


def test_a_revoked_key_is_refused_on_the_next_look(store: Store, cache: ApiKeyCache) -> None:
    text, key = store.api_keys.create(SERVICE, now=NOW)
    assert cache.lookup(text, NOW) is not None
    store.api_keys.revoke(key.handle)
    assert cache.lookup(text, NOW) is None
    assert len(cache) == 0


def test_what_another_process_revoked_is_refused_on_the_next_look(
    store: Store, cache: ApiKeyCache, tmp_path: Path
) -> None:
    text, key = store.api_keys.create(SERVICE, now=NOW)
    assert cache.lookup(text, NOW) is not None
    other = SQLiteRows(tmp_path)
    ApiKeys(other, store.sealer, bytes).revoke(key.handle)
    other.close()
    assert cache.lookup(text, NOW) is None


def test_a_persons_key_changes_with_the_person_on_the_next_look(store: Store, cache: ApiKeyCache) -> None:
    store.add_user(ALICE, now=NOW)
    key = msgspec.structs.replace(SERVICE, user_id=ALICE.id, user="alice", owner_roles=ALICE.roles)
    text, _ = store.api_keys.create(key, now=NOW)
    assert cache.lookup(text, NOW) is not None
    changed = store.change_user(ALICE, msgspec.structs.replace(ALICE, disabled=True), now=NOW)
    assert changed is not None
    assert cache.lookup(text, NOW) is None
    assert store.change_user(changed[0], msgspec.structs.replace(changed[0], disabled=False, roles=()), now=NOW)
    entry = cache.lookup(text, NOW)
    assert entry is not None
    assert entry.session.roles == ()


def test_a_key_ends_to_the_second(store: Store, cache: ApiKeyCache) -> None:
    text, _ = store.api_keys.create(SERVICE, now=NOW)
    assert cache.lookup(text, NOW + 999.5) is not None
    assert cache.lookup(text, NOW + 1000) is None


def test_what_has_not_the_form_of_a_key_costs_the_store_nothing(cache: ApiKeyCache, counting: Counting) -> None:
    for text in (b"", b"gwk_", b"gwk_" + b"0" * 49, b"x" * 53):
        assert cache.lookup(text, NOW) is None
    assert counting.looks == 0


def test_a_store_that_is_away_is_no_answer_and_forgets_nobody(
    store: Store, cache: ApiKeyCache, counting: Counting
) -> None:
    text, _ = store.api_keys.create(SERVICE, now=NOW)
    assert cache.lookup(text, NOW) is not None
    counting.is_away = True
    assert cache.lookup(text, NOW + 0.5) is not None
    with pytest.raises(StoreUnavailableError):
        cache.lookup(text, NOW + REREAD_S)
    counting.is_away = False
    assert cache.lookup(text, NOW + REREAD_S) is not None


def test_while_a_writer_is_at_work_nothing_is_kept(store: Store, cache: ApiKeyCache, counting: Counting) -> None:
    assert isinstance(store.rows, SQLiteRows)
    text, key = store.api_keys.create(SERVICE, now=NOW)
    row = store.api_keys.get(key.handle)
    assert row is not None
    slots = store.rows.generations.slots
    slot = row.row[0] << 8 | row.row[1]
    slots[slot] = 0
    assert cache.lookup(text, NOW) is not None
    assert cache.lookup(text, NOW) is not None
    assert (counting.looks, len(cache)) == (2, 0)


def test_last_use_is_noted_once_a_minute_and_written_in_one_commit(store: Store, cache: ApiKeyCache) -> None:
    text, key = store.api_keys.create(SERVICE, now=NOW)
    entry = cache.lookup(text, NOW)
    assert entry is not None
    for second in range(10):
        cache.touch(entry, NOW + second)
    assert cache.flush() == 1
    assert cache.flush() == 0
    kept = store.api_keys.get(key.handle)
    assert kept is not None
    assert kept.used == NOW
    cache.touch(entry, NOW + USE_GRAIN_S)
    assert cache.flush() == 1


def test_what_could_not_be_written_is_written_with_the_next_flush(
    store: Store, cache: ApiKeyCache, counting: Counting
) -> None:
    text, key = store.api_keys.create(SERVICE, now=NOW)
    entry = cache.lookup(text, NOW)
    assert entry is not None
    cache.touch(entry, NOW)
    away = counting.keys
    counting.keys = Away()  # type: ignore[assignment]  # a store that is away
    with pytest.raises(StoreUnavailableError):
        cache.flush()
    counting.keys = away
    assert cache.flush() == 1
    assert store.api_keys.get(key.handle) is not None


class Away:
    def note_used(self, batch: object) -> None:
        raise StoreUnavailableError("away")


def test_a_key_is_used_from_its_networks_alone(store: Store, cache: ApiKeyCache) -> None:
    key = msgspec.structs.replace(SERVICE, networks=("10.0.0.0/8", "2001:db8::/32"))
    text, _ = store.api_keys.create(key, now=NOW)
    entry = cache.lookup(text, NOW)
    assert entry is not None
    assert entry.is_from("10.1.2.3")
    assert entry.is_from("2001:db8::1")
    assert not entry.is_from("11.0.0.1")
    assert not entry.is_from("2001:db9::1")


def test_a_key_has_a_limit_of_its_own_where_it_was_made_with_one(store: Store, cache: ApiKeyCache) -> None:
    text, key = store.api_keys.create(msgspec.structs.replace(SERVICE, rate_per_s=2.0, burst=5), now=NOW)
    entry = cache.lookup(text, NOW)
    assert entry is not None
    assert entry.bucket is not None
    assert (entry.bucket.spec.name, entry.bucket.spec.burst) == (f"key:{key.handle}", 5)


def test_memory_for_keys_is_bounded(store: Store, counting: Counting) -> None:
    assert isinstance(store.rows, SQLiteRows)
    cache = ApiKeyCache(counting, store.rows.generations, capacity=3)  # type: ignore[arg-type]  # stands in for the keys
    for _ in range(5):
        text, _ = store.api_keys.create(SERVICE, now=NOW)
        assert cache.lookup(text, NOW) is not None
    assert len(cache) == 3
