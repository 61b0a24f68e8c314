import msgspec
import pytest

from gateway.store.passkeys import MAX_PASSKEYS, Passkey, Passkeys, find_by_handle
from gateway.store.rows import Backend
from gateway.store.sealing import Sealer
from tests.contract.conftest import NOW, OpenRows

LAPTOP = Passkey(
    id=b"laptop",
    user_id="u_alice",
    relying_party="portal.example.com",
    public_key=b"key",
    sign_count=3,
    aaguid="00000000-0000-0000-0000-000000000000",
    backup_eligible=False,
    backed_up=False,
    transports=("internal",),
    name="Laptop",
    created=NOW,
)


@pytest.fixture
def passkeys(rows: Backend, sealer: Sealer) -> Passkeys:
    return Passkeys(rows, sealer)


def add(rows: Backend, passkeys: Passkeys, passkey: Passkey) -> bool:
    return rows.transact(lambda tx: passkeys.add_in(tx, passkey, now=NOW))


def test_passkeys_are_found_by_id_and_by_person_the_oldest_first(rows: Backend, passkeys: Passkeys) -> None:
    phone = msgspec.structs.replace(LAPTOP, id=b"phone", created=NOW - 10)
    assert add(rows, passkeys, LAPTOP)
    assert add(rows, passkeys, phone)
    assert passkeys.get(b"laptop") == LAPTOP
    assert passkeys.get(b"other") is None
    assert passkeys.of("u_alice") == [phone, LAPTOP]
    assert passkeys.of("u_bob") == []


def test_an_id_is_nobodys_twice(rows: Backend, passkeys: Passkeys) -> None:
    """attack: registering somebody else's passkey id takes it over."""
    add(rows, passkeys, LAPTOP)
    assert not add(rows, passkeys, msgspec.structs.replace(LAPTOP, user_id="u_mallory", public_key=b"evil"))
    assert passkeys.get(b"laptop") == LAPTOP
    assert passkeys.of("u_mallory") == []


def test_a_person_has_only_so_many(rows: Backend, passkeys: Passkeys) -> None:
    for number in range(MAX_PASSKEYS):
        assert add(rows, passkeys, msgspec.structs.replace(LAPTOP, id=bytes([number])))
    assert not add(rows, passkeys, LAPTOP)


def test_the_counter_is_compared_and_set(open_rows: OpenRows, sealer: Sealer) -> None:
    """attack: two uses of one counter at the same moment."""
    rows = open_rows()
    one, other = Passkeys(rows, sealer), Passkeys(open_rows(), sealer)
    add(rows, one, LAPTOP)
    seen, also_seen = one.get(b"laptop"), other.get(b"laptop")
    assert seen is not None
    assert also_seen is not None
    assert one.note_use(seen, sign_count=4, backed_up=False, now=NOW + 1)
    assert not other.note_use(also_seen, sign_count=4, backed_up=False, now=NOW + 1)
    assert one.get(b"laptop") == msgspec.structs.replace(LAPTOP, sign_count=4, last_used=NOW + 1)


def test_a_passkey_that_was_removed_is_used_no_more(rows: Backend, passkeys: Passkeys) -> None:
    add(rows, passkeys, LAPTOP)
    assert rows.transact(lambda tx: passkeys.remove_in(tx, LAPTOP))
    assert not passkeys.note_use(LAPTOP, sign_count=4, backed_up=False, now=NOW)
    assert passkeys.get(b"laptop") is None


def test_a_person_renames_their_own_passkeys_alone(rows: Backend, passkeys: Passkeys) -> None:
    add(rows, passkeys, LAPTOP)
    assert passkeys.rename("u_mallory", LAPTOP.handle, "Mine", now=NOW) is None
    assert passkeys.rename("u_alice", LAPTOP.handle, "Work laptop", now=NOW) == LAPTOP
    assert [passkey.name for passkey in passkeys.of("u_alice")] == ["Work laptop"]


def test_all_passkeys_of_a_person_go_together(rows: Backend, passkeys: Passkeys) -> None:
    add(rows, passkeys, LAPTOP)
    add(rows, passkeys, msgspec.structs.replace(LAPTOP, id=b"phone"))
    add(rows, passkeys, msgspec.structs.replace(LAPTOP, id=b"bobs", user_id="u_bob"))
    assert rows.transact(lambda tx: passkeys.remove_all_in(tx, "u_alice")) == 2
    assert passkeys.of("u_alice") == []
    assert len(passkeys.of("u_bob")) == 1


def test_a_challenge_is_answered_once(open_rows: OpenRows, sealer: Sealer) -> None:
    """attack: replay."""
    one, other = Passkeys(open_rows(), sealer), Passkeys(open_rows(), sealer)
    assert one.spend(b"c" * 32, expires=NOW + 300, now=NOW)
    assert not other.spend(b"c" * 32, expires=NOW + 300, now=NOW + 1)
    assert other.spend(b"d" * 32, expires=NOW + 300, now=NOW + 1)


def test_the_handle_of_a_form_says_nothing_of_the_id() -> None:
    assert find_by_handle([LAPTOP], LAPTOP.handle) is LAPTOP
    assert find_by_handle([LAPTOP], "p_" + "0" * 32) is None
    assert b"laptop".hex() not in LAPTOP.handle
