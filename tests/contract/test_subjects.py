"""Keys of people, and everything that is known of a person: told, removed, and removed again after a restore."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.authn.mailed_code import Purpose
from gateway.authn.throttle import ACCOUNT, FACTOR
from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.letter import Letter, Matter
from gateway.exchange.session import Owed, Session
from gateway.exchange.subject import ERASED, RESTRICTED, SubjectKey
from gateway.inspection.abuse.rule import Answer, Scope
from gateway.inspection.abuse.standing import Standing
from gateway.session.binding import Bond
from gateway.session.life import Lifetimes, start
from gateway.session.token import make_handle, make_token, row_of
from gateway.session.vault import Owner, VaultRules
from gateway.store.api_keys import ApiKey
from gateway.store.attempts import AttemptKeys
from gateway.store.erasures import JOURNAL_NAME, Erasures
from gateway.store.federated import FederatedStore, SignInNote
from gateway.store.keyring import Keyring
from gateway.store.mailed import MailedCodes
from gateway.store.outbox import Outbox
from gateway.store.passkeys import Passkey
from gateway.store.provider_tokens import ProviderTokens
from gateway.store.records import Factor, PendingFactor, User
from gateway.store.redis_client import RedisPlace
from gateway.store.redis_options import Credentials
from gateway.store.redis_rows import RedisRows
from gateway.store.rows import Backend
from gateway.store.sealing import Sealer
from gateway.store.sessions import Entry
from gateway.store.standings import StandingStore
from gateway.store.state import Store
from gateway.store.strays import Strays
from gateway.store.subject_data import REACH, Person, SubjectData
from gateway.store.subject_pool import SPARES, SubjectPool
from gateway.store.subjects import SubjectKeys
from gateway.store.tables import ERASURES, MARKS, SUBJECT_KEYS, TABLES
from gateway.store.vaults import Vaults
from gateway.wire.set_cookie import Cookie
from tests.contract.conftest import NOW, OpenRows
from tests.fakes.redis_servers import PASSWORD

DAY_S = 86_400.0
NAMES_NOBODY = {
    "marks",
    "challenges",
    "provider_metadata",
    "spent",
    "issuer_keys",
    "erasures",
    "abuse_memory",
    "page_counts",
}


@pytest.fixture
def store(rows: Backend, keyring: Keyring) -> Store:
    return Store(rows, keyring)


@pytest.fixture
def keys(store: Store) -> SubjectKeys:
    return store.subjects


@pytest.fixture
def data(store: Store, keyring: Keyring, state_dir: Path) -> SubjectData:
    return SubjectData(store, keyring, Erasures(store.rows, store.sealer, state_dir))


# Keys


def test_a_person_keeps_the_key_they_were_given(keys: SubjectKeys) -> None:
    assert keys.recall("u_alice", "acme") is None
    key = keys.of("u_alice", "acme", now=NOW)
    assert (len(key.token), len(key.key)) == (16, 32)
    assert keys.of("u_alice", "acme", now=NOW + 5) == keys.recall("u_alice", "acme") == key


def test_two_people_and_two_tenants_share_no_key(keys: SubjectKeys) -> None:
    made = {
        keys.of(user, tenant, now=NOW).key
        for user, tenant in (("u_alice", "acme"), ("u_bob", "acme"), ("u_alice", "globex"))
    }
    assert len(made) == 3


def test_a_key_does_not_stand_readable_in_the_store(keys: SubjectKeys, rows: Backend) -> None:
    key = keys.of("u_alice", "acme", now=NOW)
    (row,) = rows.all(SUBJECT_KEYS)
    everything = row.id + row.value + b"".join(row.tokens.values())
    assert key.key not in everything
    assert b"alice" not in everything
    assert row.id == key.token


def test_a_finder_knows_keys_and_says_what_became_of_others(keys: SubjectKeys, store: Store) -> None:
    alice, bob = keys.of("u_alice", "acme", now=NOW), keys.of("u_bob", "acme", now=NOW)
    store.restrict("u_bob", tenant="acme", restricted=True, now=NOW)
    find = keys.finder(now=NOW)
    assert find(alice.token.hex()) == alice
    assert find(bob.token.hex()) == RESTRICTED
    assert find("00" * 16) == ERASED
    assert find("no token") == ERASED
    assert keys.finder(now=NOW, restricted=True)(bob.token.hex()) == bob


def test_a_session_brings_the_key_of_its_person_and_so_does_the_next(store: Store) -> None:
    alice = person(store, "alice")
    first, second = (row_of(sign_in(store, alice)) for _ in range(2))
    stored = [store.session(row, NOW) for row in (first, second)]
    subjects = [found.session.subject for found in stored if found is not None]
    assert subjects == [store.subjects.recall(alice.id, alice.tenant)] * 2
    assert None not in subjects


def test_a_key_for_programs_brings_the_key_of_its_owner(store: Store) -> None:
    alice = person(store, "alice")
    _, made = store.api_keys.create(api_key(alice), now=NOW)
    assert made.subject == made.session().subject == store.subjects.recall(alice.id, "acme")


def test_a_restricted_person_is_out_and_stays_out_until_that_is_lifted(store: Store) -> None:
    alice = person(store, "alice")
    sign_in(store, alice)
    assert store.restrict(alice.id, tenant="acme", restricted=True, now=NOW) == 1
    assert store.restrict(alice.id, tenant="acme", restricted=True, now=NOW) is None
    restricted = store.user(alice.id)
    assert restricted is not None
    assert restricted.disabled
    enabled = msgspec.structs.replace(restricted, disabled=False)
    assert store.change_user(restricted, enabled, now=NOW) is None, "enabling the account lifts nothing"
    assert store.restrict(alice.id, tenant="acme", restricted=False, now=NOW) == 0
    lifted = store.user(alice.id)
    assert lifted is not None
    assert not lifted.disabled


def test_an_account_that_was_disabled_before_is_so_when_the_restriction_is_lifted(store: Store) -> None:
    alice = person(store, "alice")
    store.change_user(alice, msgspec.structs.replace(alice, disabled=True), now=NOW)
    store.restrict(alice.id, tenant="acme", restricted=True, now=NOW)
    store.restrict(alice.id, tenant="acme", restricted=False, now=NOW)
    lifted = store.user(alice.id)
    assert lifted is not None
    assert lifted.disabled


# The pool of a worker


def test_a_key_of_the_pool_is_in_the_store_before_it_is_used_and_the_persons_within_a_flush(keys: SubjectKeys) -> None:
    pool = SubjectPool(keys, recalls=False, anonymous_s=30 * DAY_S)
    pool.flush(NOW)
    key = pool.person("u_alice", "acme")
    assert key.token in keys.of_tokens([key.token], now=NOW)
    assert keys.recall("u_alice", "acme") is None
    pool.flush(NOW + 1)
    assert keys.recall("u_alice", "acme") == key == pool.person("u_alice", "acme")
    assert pool.unstored == 0


def test_a_worker_goes_on_with_the_key_that_a_person_has(keys: SubjectKeys) -> None:
    known = keys.of("u_alice", "acme", now=NOW)
    near, far = (SubjectPool(keys, recalls=recalls, anonymous_s=DAY_S) for recalls in (True, False))
    assert near.person("u_alice", "acme") == known
    taken = far.person("u_alice", "acme")
    assert taken != known, "a store in the network is not waited for"
    far.flush(NOW)
    assert far.person("u_alice", "acme") == known
    assert taken.token in {stored.token for stored in keys.of_person("u_alice")}, "what was used is the person's too"


def test_strangers_of_a_day_share_a_key_that_ends_by_itself(keys: SubjectKeys) -> None:
    pool = SubjectPool(keys, recalls=True, anonymous_s=30 * DAY_S)
    day = int(NOW // DAY_S)
    key = pool.stranger("acme", day)
    assert pool.stranger("acme", day) == key
    assert pool.stranger("globex", day) != key
    assert pool.stranger("acme", day + 1) != key
    pool.flush(NOW)
    end = (day + 1) * DAY_S + 30 * DAY_S
    assert keys.of_tokens([key.token], now=end - 1)
    assert not keys.of_tokens([key.token], now=end)


def test_tenants_that_are_made_up_fill_no_store(keys: SubjectKeys) -> None:
    """Attack: another tenant with each request, in whatever field says it."""
    pool = SubjectPool(keys, recalls=True, anonymous_s=DAY_S)
    assert len({pool.stranger(f"tenant-{number}", 1).token for number in range(1_000)}) <= 65


def test_a_worker_forgets_a_key_that_was_destroyed(keys: SubjectKeys, rows: Backend) -> None:
    pool = SubjectPool(keys, recalls=True, anonymous_s=DAY_S)
    before = pool.person("u_alice", "acme")
    pool.flush(NOW)
    rows.transact(lambda tx: keys.destroy_in(tx, "u_alice", tenant="acme", until=NOW))
    pool.flush(NOW + 60)
    assert pool.person("u_alice", "acme") != before


class Away:
    """Keys whose store cannot be used."""

    def __init__(self, keys: SubjectKeys) -> None:
        self._keys = keys
        self.is_away = True
        self.make = keys.make

    def __getattr__(self, name: str) -> Any:
        if self.is_away:
            raise StoreUnavailableError("away")
        return getattr(self._keys, name)


def test_strangers_are_sealed_while_the_store_is_away_and_their_key_is_kept_when_it_is_back(keys: SubjectKeys) -> None:
    away = Away(keys)
    pool = SubjectPool(away, recalls=False, anonymous_s=DAY_S)  # type: ignore[arg-type]  # as far as the pool asks
    with pytest.raises(StoreUnavailableError):
        pool.flush(NOW)
    key = pool.stranger("acme", int(NOW // DAY_S))
    with pytest.raises(StoreUnavailableError):
        pool.flush(NOW)
    assert pool.unstored == 1
    away.is_away = False
    pool.flush(NOW)
    assert keys.of_tokens([key.token], now=NOW)[key.token].subject == key


def test_spare_keys_that_nobody_took_end_with_those_of_strangers(keys: SubjectKeys, store: Store) -> None:
    SubjectPool(keys, recalls=True, anonymous_s=DAY_S).flush(NOW)
    assert len(store.rows.all(SUBJECT_KEYS)) == SPARES
    store.maintain(now=NOW + 4 * DAY_S)
    assert store.rows.all(SUBJECT_KEYS) == []


# Everything about a person


def person(store: Store, name: str) -> User:
    user = User(
        id=f"u_{name}",
        stamp="first",
        name=name,
        tenant="acme",
        roles=("client",),
        email=f"{name}@acme.example",
        email_verified=True,
        password="hash",
        password_changed=NOW,
        created=NOW,
    )
    factor = Factor(secret="JBSWY3DPEHPK3PXP", created=NOW)
    assert store.add_user(user, now=NOW, factor=factor, recovery=(name.encode(),))
    return user


def sign_in(store: Store, user: User) -> bytes:
    token = make_token(os.urandom(32))
    session = start(
        handle=make_handle(os.urandom(16)), user_id=user.id, user=user.name, tenant=user.tenant, roles=user.roles,
        email=user.email, owes=Owed.NOTHING, lifetimes=Lifetimes(), host="portal.example.com", secure=True,
        client_ip="192.0.2.77", user_agent="Firefox", now=NOW,
    )  # fmt: skip
    assert store.create_session(row_of(token), session, stamp=store_stamp(store, user), keep=None, now=NOW) is not None
    return token


def store_stamp(store: Store, user: User) -> str:
    found = store.user(user.id)
    assert found is not None
    return found.stamp


def api_key(user: User) -> ApiKey:
    return ApiKey(
        handle="", label=f"{user.name}s script", user_id=user.id, user=user.name, tenant=user.tenant, roles=user.roles,
        email=user.email, created=NOW, expires=NOW + DAY_S, owner_roles=user.roles,
    )  # fmt: skip


class _Inline:
    async def run(self, work: Callable[[], Any]) -> Any:
        return work()


def leave_traces(store: Store, keyring: Keyring, name: str) -> User:
    """Have a person leave something in every table that can hold something of people."""
    rows, sealer, user = store.rows, store.sealer, person(store, name)
    token = sign_in(store, user)
    stored = store.session(row_of(token), NOW)
    assert stored is not None
    session: Session = stored.session
    pending = PendingFactor(user_id=user.id, secret="JBSWY3DP", expires=NOW + 600, replacing=True)
    store.put_enrolment(session.handle, pending, now=NOW)
    attempts = AttemptKeys(keyring)
    store.admit_attempt([(attempts.account(user.name), ACCOUNT), (attempts.factor(user.id), FACTOR)], now=NOW)
    store.keep_form(os.urandom(32), b"form", person=store.person(user.id), expires=NOW + 600, now=NOW)
    letter = Letter(
        id=os.urandom(16).hex(),
        matter=Matter.TEST,
        to=user.email,
        user=name,
        user_id=user.id,
        created=NOW,
        expires=NOW + 600,
    )
    assert Outbox(rows, sealer, capacity=100).put(letter, now=NOW)
    codes = MailedCodes(rows, sealer, keyring, os.urandom)
    rows.transact(lambda tx: codes.issue_in(tx, os.urandom(16), Purpose.RESET, user_id=user.id, stamp="", now=NOW))
    passkey = Passkey(
        id=name.encode(), user_id=user.id, relying_party="portal.example.com", public_key=b"", sign_count=0, aaguid="",
        backup_eligible=False, backed_up=False, transports=(), name=f"{name}s phone", created=NOW,
    )  # fmt: skip
    assert rows.transact(lambda tx: store.passkeys.add_in(tx, passkey, now=NOW))
    device = os.urandom(32)
    store.devices.mark(
        b"", user_id=user.id, host="portal.example.com", renewed=device, name=name, client_ip="192.0.2.77", now=NOW
    )
    strays = Strays(rows, sealer)
    strays.note(Entry(session, NOW, row_of(token), b""), Bond.NETWORK, "198.51.100.9", NOW)
    strays.flush(NOW)
    cookie = Cookie(name=b"sid", value=name.encode(), created=NOW)
    Vaults(rows, sealer, keyring).change(Owner(token, session, "portal"), [cookie], VaultRules(mode="all"), now=NOW)
    store.portal_accounts.set(user.id, "portal", username=name, password="secret", now=NOW)
    assert ProviderTokens(rows, sealer, keyring).put(
        token, session.handle, "corp", b"tokens", now=NOW, expires=NOW + 600
    )
    federated = FederatedStore(store, keyring=keyring, executor=_Inline(), longest_s=DAY_S)  # type: ignore[arg-type]
    answered = Standing(
        reference="a_1", detector="D-14", rule="burst", scope=Scope.PERSON, subject=user.id, name=name, person=user.id,
        answer=Answer.BLOCK, since=NOW, until=NOW + 600,
    )  # fmt: skip
    assert StandingStore(rows, sealer).add(answered, now=NOW)
    note = SignInNote(
        provider="corp",
        at=NOW,
        request_id=name,
        outcome="signed_in",
        user=name,
        user_id=user.id,
        client_ip="192.0.2.77",
    )
    asyncio.run(federated.note(note))
    store.api_keys.create(api_key(user), now=NOW)
    store.api_keys.note_used([(NOW, store.api_keys.all(user_id=user.id)[0].row, NOW + 600)])
    return user


def contents(rows: Backend) -> dict[str, set[bytes]]:
    return {table.name: {row.id for row in rows.all(table)} for table in TABLES}


def everything(rows: Backend, sealer: Sealer) -> bytes:
    """All that the state says, opened."""
    pieces = []
    for table in TABLES:
        for row in rows.all(table):
            pieces += [row.id, *row.tokens.values()]
            pieces.append(sealer.open(table.name, row.id, row.value) if row.key else row.value)
    return b"\n".join(pieces)


def redis_keys(rows: Backend) -> set[bytes]:
    if not isinstance(rows, RedisRows):
        return set()
    options = rows.redis.options
    if options.credentials.username:  # the gateway's own user may not list keys
        options = msgspec.structs.replace(options, credentials=Credentials(username="", password=PASSWORD))
    place = RedisPlace(options)
    found, cursor = set(), 0
    while True:
        ((cursor, names),) = place.run(("SCAN", cursor, "MATCH", f"*{options.prefix}*", "COUNT", 1000))
        found |= set(names)
        cursor = int(cursor)
        if not cursor:
            place.close()
            return found


def test_how_a_person_is_found_is_said_of_every_table() -> None:
    """Whoever adds a table says here how an erasure reaches it, and `leave_traces` fills it."""
    assert set(REACH) == {table.name for table in TABLES}
    assert {name for name, how in REACH.items() if "nobody" in how or "stays" in how} == NAMES_NOBODY


def test_a_person_who_is_erased_is_in_no_table_any_more_and_others_are_untouched(
    store: Store, keyring: Keyring, data: SubjectData
) -> None:
    leave_traces(store, keyring, "bob")
    before, before_keys = contents(store.rows), redis_keys(store.rows)
    alice = leave_traces(store, keyring, "alice")
    filled = contents(store.rows)
    for name, how in REACH.items():
        assert name in NAMES_NOBODY or filled[name] > before[name], f"{name} ({how}): leave_traces leaves none there"
    found = data.find("alice", "acme")
    assert found is not None
    erasure = data.erasure(found, now=NOW + 1)
    data.erasures.note(erasure)
    data.forget(found, erasure, now=NOW + 1)
    data.mark()
    after = contents(store.rows)
    assert after.pop(ERASURES.name)
    after.pop(MARKS.name)
    assert after == {name: ids for name, ids in before.items() if name not in {ERASURES.name, MARKS.name}}
    said = everything(store.rows, store.sealer)
    for word in (b"alice", alice.email.encode()):
        assert word not in said
    gone_keys = {key for key in redis_keys(store.rows) - before_keys if b"erasures" not in key and b"marks" not in key}
    assert gone_keys == set(), "keys of Redis that only the person had"


def test_what_a_person_is_told_is_everything_but_secrets(store: Store, keyring: Keyring, data: SubjectData) -> None:
    leave_traces(store, keyring, "bob")
    leave_traces(store, keyring, "alice")
    found = data.find("alice", "acme")
    assert found is not None
    told = data.tell(found, now=NOW)
    assert {name for name, value in told.items() if not value} == set(), "traces of every kind are told"
    text = msgspec.json.encode(told)
    for word in (b"192.0.2.77", b"alice@acme.example", b"alices phone", b"alices script", b"corp"):
        assert word in text
    for secret in (b"JBSWY3DP", b"hash", b"secret", b"bob"):
        assert secret not in text.replace(b"second_factors", b"")


def test_nobody_is_found_under_the_name_of_another_tenant(store: Store, data: SubjectData) -> None:
    person(store, "alice")
    assert data.find("alice", "globex") is None
    assert data.find("carol", "acme") is None


def test_somebody_without_an_account_is_known_by_their_key_and_erased_with_it(store: Store, data: SubjectData) -> None:
    key = store.subjects.of("patient-4711", "acme", now=NOW)
    found = data.find("patient-4711", "acme")
    assert found == Person(id="patient-4711", tenant="acme")
    erasure = data.erasure(found, now=NOW)
    assert erasure.tokens == (key.token.hex(),)
    data.erasures.note(erasure)
    data.forget(found, erasure, now=NOW)
    assert data.find("patient-4711", "acme") is None


def test_whose_data_a_portal_names_by_the_account_is_told_restricted_and_erased_with_it(
    store: Store, data: SubjectData
) -> None:
    """Attack on an erasure: the portal's owner is the name of an account, so that a key of its own opens those records for ever."""
    alice = person(store, "alice")
    keys = [store.subjects.of(name, "acme", now=NOW) for name in (alice.id, "alice")]
    other = store.subjects.of("alice", "globex", now=NOW)
    found = data.find("alice", "acme")
    assert found is not None
    tokens = {key.token.hex() for key in keys}
    assert {one["token"] for one in data.tell(found, now=NOW)["keys_of_the_log"]} == tokens
    assert data.elsewhere(found) == ["globex"]
    store.restrict(found.id, tenant="acme", aliases=found.sealed_as, restricted=True, now=NOW)
    find = store.subjects.finder(now=NOW)
    assert [find(key.token.hex()) for key in (*keys, other)] == [RESTRICTED, RESTRICTED, other]
    erasure = data.erasure(found, now=NOW)
    assert set(erasure.tokens) == tokens
    data.erasures.note(erasure)
    assert data.forget(found, erasure, now=NOW)["subject_keys"] == 2
    find = store.subjects.finder(now=NOW)
    assert [find(key.token.hex()) for key in (*keys, other)] == [ERASED, ERASED, other]


@pytest.mark.parametrize("named", ["the id", "the name"])
def test_a_person_of_one_tenant_is_no_way_to_an_account_of_another(
    store: Store, keyring: Keyring, data: SubjectData, named: str
) -> None:
    """Attack: have patient `alice` of globex told, restricted or erased, and reach the account alice of acme."""
    alice = leave_traces(store, keyring, "alice")
    id_ = alice.id if named == "the id" else "alice"
    key = store.subjects.of(id_, "globex", now=NOW)
    before = contents(store.rows)
    found = data.find(id_, "globex")
    assert found == Person(id=id_, tenant="globex")
    told = data.tell(found, now=NOW)
    assert [one["token"] for one in told.pop("keys_of_the_log")] == [key.token.hex()]
    assert not any(told.values())
    store.restrict(id_, tenant="globex", restricted=True, now=NOW)
    account = store.user(alice.id)
    assert account is not None
    assert not account.disabled
    assert store.subjects.finder(now=NOW)(key.token.hex()) == RESTRICTED
    erasure = data.erasure(found, now=NOW)
    data.erasures.note(erasure)
    counts = data.forget(found, erasure, now=NOW)
    assert (counts["subject_keys"], sum(counts.values())) == (1, 1)
    after = contents(store.rows)
    before[SUBJECT_KEYS.name].discard(key.token)
    assert {name: ids for name, ids in after.items() if name != ERASURES.name} == {
        name: ids for name, ids in before.items() if name != ERASURES.name
    }


# The journal


def erase(data: SubjectData, name: str, *, now: float = NOW) -> SubjectKey:
    found = data.find(name, "acme")
    assert found is not None
    (stored,) = data.subject_keys(found)
    erasure = data.erasure(found, now=now)
    data.erasures.note(erasure)
    data.forget(found, erasure, now=now)
    data.mark()
    return stored.subject


def copied(rows: Backend) -> Callable[[], None]:
    """Return what puts every row back as it is now: a backup."""
    kept = {table: rows.all(table) for table in TABLES}

    def restore() -> None:
        for table in TABLES:
            rows.clear(table)
            rows.transact(partial(_put_all, table, kept[table]))

    return restore


def _put_all(table: Any, kept: Any, tx: Any) -> None:
    for row in kept:
        tx.put(table, row)


def test_a_restored_backup_is_erased_again_before_it_is_served(
    store: Store, keyring: Keyring, data: SubjectData
) -> None:
    for name in ("alice", "bob"):
        sign_in(store, person(store, name))
    restore = copied(store.rows)
    key = erase(data, "alice")
    assert data.apply_journal(now=NOW + 5) == [], "a state that knows it is left alone"
    restore()
    assert store.user_named("alice") is not None
    assert len(data.apply_journal(now=NOW + 5)) == 1
    assert store.user_named("alice") is None
    assert store.subjects.of_tokens([key.token], now=NOW) == {}
    assert store.sessions(now=NOW, user_id="u_alice") == []
    assert store.user_named("bob") is not None
    assert data.apply_journal(now=NOW + 6) == []
    del keyring


def test_a_damaged_key_that_a_backup_brought_back_keeps_nobody_from_starting(store: Store, data: SubjectData) -> None:
    for name in ("p-1", "p-2"):
        store.subjects.of(name, "acme", now=NOW)
    restore = copied(store.rows)
    key = erase(data, "p-1")
    restore()
    row = store.rows.get(SUBJECT_KEYS, key.token)
    assert row is not None
    store.rows.transact(
        partial(
            _put_all, SUBJECT_KEYS, [msgspec.structs.replace(row, value=row.value[:-1] + bytes((row.value[-1] ^ 1,)))]
        )
    )
    assert len(data.apply_journal(now=NOW + 5)) == 1
    assert store.rows.get(SUBJECT_KEYS, key.token) is None
    assert len(store.subjects.of_person("p-2")) == 1


def test_a_damaged_key_of_another_tenant_takes_no_account_along_when_a_backup_is_restored(
    store: Store, data: SubjectData
) -> None:
    """Attack: whoever is erased at one tenant while a key of their namesake at another is damaged; the backup has it whole."""
    alice = person(store, "alice")
    key = store.subjects.of(alice.id, alice.tenant, now=NOW)
    restore = copied(store.rows)
    row = store.rows.get(SUBJECT_KEYS, key.token)
    assert row is not None
    store.rows.transact(
        partial(
            _put_all, SUBJECT_KEYS, [msgspec.structs.replace(row, value=row.value[:-1] + bytes((row.value[-1] ^ 1,)))]
        )
    )
    namesake = data.find(alice.id, "other", despite_damage=True)
    assert namesake is not None
    erasure = data.erasure(namesake, now=NOW + 1)
    data.erasures.note(erasure)
    data.forget(namesake, erasure, now=NOW + 1)
    assert store.rows.get(SUBJECT_KEYS, key.token) is None
    restore()
    assert data.apply_journal(now=NOW + 5) == [erasure]
    assert store.user_named("alice") is not None, "nobody asked for that at this tenant"
    assert store.rows.get(SUBJECT_KEYS, key.token) is None, "what was said to be destroyed does not come back"


def test_whoever_had_a_damaged_key_alone_is_erased_again_after_a_restore(store: Store, data: SubjectData) -> None:
    key = store.subjects.of("p-1", "acme", now=NOW)
    restore = copied(store.rows)
    row = store.rows.get(SUBJECT_KEYS, key.token)
    assert row is not None
    store.rows.transact(
        partial(
            _put_all, SUBJECT_KEYS, [msgspec.structs.replace(row, value=row.value[:-1] + bytes((row.value[-1] ^ 1,)))]
        )
    )
    found = data.find("p-1", "acme", despite_damage=True)
    assert found is not None
    erasure = data.erasure(found, now=NOW + 1)
    data.erasures.note(erasure)
    data.forget(found, erasure, now=NOW + 1)
    restore()
    assert data.apply_journal(now=NOW + 5) == [erasure]
    assert store.rows.get(SUBJECT_KEYS, key.token) is None


def test_somebody_new_of_the_same_name_is_not_who_was_erased(store: Store, data: SubjectData) -> None:
    person(store, "alice")
    store.subjects.of("u_alice", "acme", now=NOW)
    restore = copied(store.rows)
    erase(data, "alice")
    restore()
    later = msgspec.structs.replace(person(store, "bob"), id="u_alice2", name="alice2", created=NOW + 60)
    assert store.add_user(later, now=NOW + 60)
    data.apply_journal(now=NOW + 61)
    assert store.user_named("alice2") is not None


def test_the_journal_names_nobody_and_holds_no_key(store: Store, data: SubjectData, state_dir: Path) -> None:
    sign_in(store, person(store, "alice"))
    key = erase(data, "alice")
    written = (state_dir / JOURNAL_NAME).read_bytes()
    assert b"alice" not in written
    assert key.key.hex().encode() not in written
    assert key.token.hex().encode() in written
    assert (state_dir / JOURNAL_NAME).stat().st_mode & 0o077 == 0


def test_a_journal_that_a_node_lost_comes_back_from_the_state(store: Store, data: SubjectData, state_dir: Path) -> None:
    sign_in(store, person(store, "alice"))
    erase(data, "alice")
    (state_dir / JOURNAL_NAME).unlink()
    assert len(data.erasures.all()) == 1
    assert (state_dir / JOURNAL_NAME).exists()


def test_a_line_that_a_crash_cut_off_is_no_damage_and_is_written_over(
    store: Store, data: SubjectData, state_dir: Path
) -> None:
    for name in ("alice", "bob"):
        sign_in(store, person(store, name))
    erase(data, "alice")
    with (state_dir / JOURNAL_NAME).open("ab") as file:
        file.write(b'{"at":1')
    erase(data, "bob")
    assert len(data.erasures.all()) == 2


def test_a_journal_that_is_damaged_is_no_reason_to_serve_who_was_erased(
    store: Store, data: SubjectData, state_dir: Path
) -> None:
    sign_in(store, person(store, "alice"))
    erase(data, "alice")
    path = state_dir / JOURNAL_NAME
    path.write_bytes(b"junk\n" + path.read_bytes())
    with pytest.raises(StoreUnavailableError, match=r"erasures\.jsonl:1: is damaged"):
        data.apply_journal(now=NOW)


def test_nothing_of_a_destroyed_key_is_left_in_the_file(open_rows: OpenRows, keyring: Keyring, state_dir: Path) -> None:
    rows = open_rows()
    if isinstance(rows, RedisRows):
        left = rows.scrub()
        assert left == "" or "refused" in left
        return
    store = Store(rows, keyring)
    store.subjects.of("u_alice", "acme", now=NOW)
    (row,) = rows.all(SUBJECT_KEYS)
    data = SubjectData(store, keyring, Erasures(rows, store.sealer, state_dir))
    erase(data, "u_alice")
    copy = state_dir / "copy"
    copy.mkdir()
    assert rows.scrub() == ""
    for path in state_dir.glob("state.sqlite3*"):
        shutil.copy(path, copy)
    said = b"".join(path.read_bytes() for path in copy.iterdir())
    assert row.value not in said
    assert row.id not in said
