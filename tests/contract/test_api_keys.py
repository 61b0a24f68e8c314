"""API keys over each place that keeps rows."""

import os

import msgspec
import pytest

from gateway.authn.api_key import is_key, row_of
from gateway.store.api_keys import ApiKey, ApiKeys
from gateway.store.keyring import Keyring
from gateway.store.records import User
from gateway.store.rows import Backend
from gateway.store.sealing import SealBrokenError
from gateway.store.state import Store
from gateway.store.tables import API_KEYS
from tests.contract.conftest import NOW

DAY_S = 86_400.0
ALICE = User(
    id="u_" + "a" * 32,
    stamp="s",
    name="alice",
    tenant="acme",
    roles=("billing", "client"),
    password="",
    password_changed=NOW,
    created=NOW,
)


def a_key(**changes: object) -> ApiKey:
    service = ApiKey(
        handle="",
        label="nightly export",
        user_id="service:acme:export",
        user="service:export",
        tenant="acme",
        roles=("billing",),
        created=NOW,
        expires=NOW + 90 * DAY_S,
    )
    return msgspec.structs.replace(service, **changes)


def alices(**changes: object) -> ApiKey:
    return a_key(user_id=ALICE.id, user=ALICE.name, owner_roles=ALICE.roles, **changes)


@pytest.fixture
def store(rows: Backend, keyring: Keyring) -> Store:
    return Store(rows, keyring)


@pytest.fixture
def keys(store: Store) -> ApiKeys:
    return store.api_keys


def test_a_key_is_shown_once_and_found_by_its_digest_alone(keys: ApiKeys, rows: Backend) -> None:
    text, key = keys.create(a_key(), now=NOW)
    assert is_key(text)
    row = keys.read(row_of(text))
    assert row is not None
    assert keys.open(row.id, row.value) == key
    everything = b"".join(found.id + found.value + b"".join(found.tokens.values()) for found in rows.all(API_KEYS))
    assert text not in everything
    assert text[4:] not in everything
    assert b"export" not in everything


def test_a_key_row_that_was_moved_does_not_open(keys: ApiKeys) -> None:
    text, _ = keys.create(a_key(), now=NOW)
    row = keys.read(row_of(text))
    assert row is not None
    with pytest.raises(SealBrokenError):
        keys.open(row_of(b"other"), row.value)


def test_keys_are_listed_by_owner_by_tenant_or_all_with_their_last_use(keys: ApiKeys) -> None:
    text, one = keys.create(a_key(), now=NOW)
    _, two = keys.create(a_key(user_id="service:beta:x", user="service:x", tenant="beta", created=NOW + 1), now=NOW)
    keys.note_used([(NOW + 5, row_of(text), one.expires)])
    assert [kept.key for kept in keys.all()] == [two, one]
    assert [(kept.key, kept.used) for kept in keys.all(tenant="acme")] == [(one, NOW + 5)]
    assert [(kept.key, kept.used) for kept in keys.all(user_id="service:beta:x")] == [(two, 0.0)]
    assert keys.used(row_of(text)) == NOW + 5
    found = keys.get(one.handle)
    assert found is not None
    assert found.row == row_of(text)
    assert keys.get("k_" + "0" * 16) is None


def test_a_revoked_key_is_gone_and_revoking_says_whose_it_was(keys: ApiKeys) -> None:
    text, key = keys.create(a_key(), now=NOW)
    assert keys.revoke(key.handle) == key
    assert keys.read(row_of(text)) is None
    assert keys.revoke(key.handle) is None


def test_all_keys_of_an_owner_end_together_and_nobody_elses(keys: ApiKeys) -> None:
    keys.create(a_key(), now=NOW)
    keys.create(a_key(), now=NOW)
    _, other = keys.create(alices(), now=NOW)
    assert keys.revoke_owner("service:acme:export") == 2
    assert [kept.key for kept in keys.all()] == [other]


def test_a_rotated_key_serves_until_its_overlap_is_over(keys: ApiKeys) -> None:
    text, key = keys.create(a_key(scopes=("a",), networks=("10.0.0.0/8",)), now=NOW)
    made = keys.rotate(key.handle, overlap_s=3600, now=NOW + DAY_S)
    assert made is not None
    fresh, new, old = made
    assert fresh != text
    assert (new.scopes, new.networks, new.roles) == (key.scopes, key.networks, key.roles)
    assert (new.created, new.expires) == (NOW + DAY_S, NOW + 91 * DAY_S)
    assert (old.expires, old.replaced_by) == (NOW + DAY_S + 3600, new.handle)
    assert old.is_live(NOW + DAY_S + 3599)
    assert not old.is_live(NOW + DAY_S + 3600)


def test_rotating_never_prolongs_a_key(keys: ApiKeys) -> None:
    _, key = keys.create(a_key(expires=NOW + 60), now=NOW)
    made = keys.rotate(key.handle, overlap_s=3600, now=NOW)
    assert made is not None
    assert made[2].expires == NOW + 60


def test_a_key_is_rotated_once_and_only_while_it_serves(keys: ApiKeys) -> None:
    _, key = keys.create(a_key(), now=NOW)
    assert keys.rotate(key.handle, overlap_s=3600, now=NOW) is not None
    assert keys.rotate(key.handle, overlap_s=3600, now=NOW) is None
    _, over = keys.create(a_key(), now=NOW)
    assert keys.rotate(over.handle, overlap_s=3600, now=over.expires) is None
    assert keys.rotate("k_" + "0" * 16, overlap_s=3600, now=NOW) is None


def test_a_rotation_without_overlap_ends_the_old_key(keys: ApiKeys) -> None:
    text, key = keys.create(a_key(), now=NOW)
    assert keys.rotate(key.handle, overlap_s=0, now=NOW) is not None
    assert keys.read(row_of(text)) is None


def test_a_persons_key_loses_the_role_that_the_person_loses(store: Store) -> None:
    store.add_user(ALICE, now=NOW)
    text, _ = store.api_keys.create(alices(roles=("billing", "client")), now=NOW)
    changed = store.change_user(ALICE, msgspec.structs.replace(ALICE, roles=("client",)), now=NOW)
    assert changed is not None
    assert stored(store, text).session().roles == ("client",)


def test_a_persons_key_gains_nothing_that_it_was_not_made_with(store: Store) -> None:
    store.add_user(ALICE, now=NOW)
    text, _ = store.api_keys.create(alices(roles=("client",)), now=NOW)
    assert store.change_user(ALICE, msgspec.structs.replace(ALICE, roles=("client", "billing", "admin")), now=NOW)
    assert stored(store, text).session().roles == ("client",)


def test_a_disabled_persons_key_rests_and_serves_again_when_enabled(store: Store) -> None:
    store.add_user(ALICE, now=NOW)
    text, _ = store.api_keys.create(alices(), now=NOW)
    changed = store.change_user(ALICE, msgspec.structs.replace(ALICE, disabled=True), now=NOW)
    assert changed is not None
    assert not stored(store, text).is_live(NOW)
    assert store.change_user(changed[0], msgspec.structs.replace(changed[0], disabled=False), now=NOW) is not None
    assert stored(store, text).is_live(NOW)


def test_the_key_of_a_person_who_moved_to_another_tenant_rests(store: Store) -> None:
    store.add_user(ALICE, now=NOW)
    text, _ = store.api_keys.create(alices(), now=NOW)
    assert store.change_user(ALICE, msgspec.structs.replace(ALICE, tenant="beta"), now=NOW) is not None
    assert not stored(store, text).is_live(NOW)


def test_a_deleted_persons_keys_are_gone(store: Store) -> None:
    store.add_user(ALICE, now=NOW)
    text, _ = store.api_keys.create(alices(), now=NOW)
    store.delete_user(ALICE.id)
    assert store.api_keys.read(row_of(text)) is None


def test_keys_are_sealed_again_under_a_new_key_and_still_open(rows: Backend, keyring: Keyring) -> None:
    store = Store(rows, keyring)
    text, key = store.api_keys.create(a_key(), now=NOW)
    store.adopt(keyring.rotate(os.urandom, NOW))
    assert store.maintain(now=NOW + DAY_S).resealed == 2  # and that of its owner
    assert stored(store, text) == key


def test_expired_keys_are_swept(store: Store) -> None:
    text, key = store.api_keys.create(a_key(), now=NOW - 91 * DAY_S)
    assert store.api_keys.read(row_of(text)) is not None
    assert not key.is_live(key.expires)
    store.maintain(now=key.expires)
    assert store.api_keys.read(row_of(text)) is None


def stored(store: Store, text: bytes) -> ApiKey:
    row = store.api_keys.read(row_of(text))
    assert row is not None
    return store.api_keys.open(row.id, row.value)


def test_a_key_gives_no_role_that_its_person_lost_while_it_was_made(store: Store) -> None:
    store.add_user(ALICE, now=NOW)
    assert store.change_user(ALICE, msgspec.structs.replace(ALICE, roles=("client",)), now=NOW) is not None
    assert store.create_api_key(alices(roles=("billing",)), now=NOW) is None
    assert store.api_keys.all() == []


def test_nobody_makes_a_key_for_a_person_who_was_deleted_meanwhile(store: Store) -> None:
    store.add_user(ALICE, now=NOW)
    store.delete_user(ALICE.id)
    assert store.create_api_key(alices(), now=NOW) is None
    assert store.api_keys.all() == []


def test_a_key_made_while_its_person_is_disabled_rests(store: Store) -> None:
    store.add_user(ALICE, now=NOW)
    assert store.change_user(ALICE, msgspec.structs.replace(ALICE, disabled=True), now=NOW) is not None
    made = store.create_api_key(alices(), now=NOW)
    assert made is not None
    assert not stored(store, made[0]).is_live(NOW)
