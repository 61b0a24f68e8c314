import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.errors import StoreUnavailableError
from gateway.store.keyring import SEAL_LEAD_S, Keyring
from gateway.store.sealing import SealBrokenError, Sealer

NOW = 1000.0
KEYRING = Keyring.generate(os.urandom, NOW)


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_what_is_sealed_for_a_row_opens_in_that_row(value: bytes, row: bytes) -> None:
    sealer = Sealer(KEYRING)
    version, envelope = sealer.seal("sessions", row, value, NOW)
    assert version == 1
    assert sealer.open("sessions", row, envelope) == value
    assert len(value) < 8 or value not in envelope


@given(st.binary(min_size=1, max_size=60), st.integers(min_value=0), st.integers(0, 7))
def test_one_flipped_bit_anywhere_breaks_the_seal(value: bytes, place: int, bit: int) -> None:
    sealer = Sealer(KEYRING)
    _, envelope = sealer.seal("users", b"row", value, NOW)
    tampered = bytearray(envelope)
    tampered[place % len(envelope)] ^= 1 << bit
    with pytest.raises(SealBrokenError):
        sealer.open("users", b"row", bytes(tampered))


@pytest.mark.parametrize(
    ("table", "row"), [("users", b"other"), ("factors", b"row"), ("user", b"srow"), ("", b"usersrow")]
)
def test_a_value_moved_to_another_row_or_table_does_not_open(table: str, row: bytes) -> None:
    sealer = Sealer(KEYRING)
    _, envelope = sealer.seal("users", b"row", b"value", NOW)
    with pytest.raises(SealBrokenError, match="does not open"):
        sealer.open(table, row, envelope)


@given(st.binary(max_size=80))
def test_no_bytes_open_by_chance(envelope: bytes) -> None:
    with pytest.raises(SealBrokenError):
        Sealer(KEYRING).open("users", b"row", envelope)


def test_another_keyring_opens_nothing() -> None:
    _, envelope = Sealer(KEYRING).seal("users", b"row", b"value", NOW)
    with pytest.raises(SealBrokenError):
        Sealer(Keyring.generate(os.urandom, NOW)).open("users", b"row", envelope)


def test_a_broken_seal_means_unavailable_and_never_signed_out() -> None:
    assert issubclass(SealBrokenError, StoreUnavailableError)


def test_old_values_open_after_rotation_and_new_ones_are_sealed_under_the_new_key() -> None:
    rotated = Keyring.generate(os.urandom, NOW)
    _, old = Sealer(rotated).seal("users", b"row", b"old", NOW)
    rotated = rotated.rotate(os.urandom, NOW)
    sealer = Sealer(rotated)
    version, new = sealer.seal("users", b"row", b"new", NOW + SEAL_LEAD_S)
    assert (version, sealer.version(NOW), sealer.version(NOW + SEAL_LEAD_S)) == (2, 1, 2)
    assert (sealer.open("users", b"row", old), sealer.open("users", b"row", new)) == (b"old", b"new")


def test_a_process_that_does_not_know_the_new_key_says_so_and_how_to_learn_it() -> None:
    before = Keyring.generate(os.urandom, NOW)
    _, new = Sealer(before.rotate(os.urandom, NOW)).seal("users", b"row", b"new", NOW + SEAL_LEAD_S)
    with pytest.raises(SealBrokenError, match="key 2, which this process does not hold; run: gateway reload"):
        Sealer(before).open("users", b"row", new)


def test_the_same_value_never_seals_the_same_twice() -> None:
    sealer = Sealer(KEYRING)
    assert len({sealer.seal("users", b"row", b"value", NOW) for _ in range(50)}) == 50


def test_look_up_tokens_are_stable_and_differ_by_purpose_value_and_keyring() -> None:
    sealer = Sealer(KEYRING)
    assert sealer.token("user", "u_1") == Sealer(KEYRING.rotate(os.urandom, NOW)).token("user", "u_1")
    others = {
        sealer.token("user", "u_2"),
        sealer.token("tenant", "u_1"),
        Sealer(Keyring.generate(os.urandom, NOW)).token("user", "u_1"),
    }
    assert sealer.token("user", "u_1") not in others
