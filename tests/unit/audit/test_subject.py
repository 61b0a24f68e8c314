"""Personal fields are sealed for one person and one field; without the key nothing of them is left."""

from __future__ import annotations

import os

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.canonical import encode
from gateway.audit.subject import (
    ADDRESS,
    USER_NAME,
    USER_UID,
    Revealer,
    Sealing,
    fingerprint,
    is_sealed,
    may_be_sealed,
    reveal,
    seal_fields,
    tokens_in,
)
from gateway.exchange.subject import ERASED, RESTRICTED, SubjectKey

ALICE = SubjectKey(b"a" * 16, b"A" * 32)
BOB = SubjectKey(b"b" * 16, b"B" * 32)
RECORD = {
    "actor": {"user": {"name": "alice", "type_id": 1, "uid": "u_alice"}},
    "resources": [{"type": "patient", "uid": "p1", "owner": {"uid": "p1"}}, {"type": "scan", "uid": "s9"}],
    "src_endpoint": {"ip": "192.0.2.7", "port": 4711},
    "time": 1,
}


def keys(*known: SubjectKey) -> dict[str, SubjectKey]:
    return {key.token.hex(): key for key in known}


def finder(*known: SubjectKey):  # type: ignore[no-untyped-def]
    return lambda token: keys(*known).get(token, ERASED)


def sealed() -> dict[str, object]:
    alice, bob = Sealing(ALICE, os.urandom), Sealing(BOB, os.urandom)
    return seal_fields(
        RECORD, {USER_UID: alice, USER_NAME: alice, ADDRESS: alice, "resources.uid": bob, "resources.owner.uid": bob}
    )


def test_what_is_sealed_is_revealed_as_it_was() -> None:
    assert reveal(sealed(), finder(ALICE, BOB)) == RECORD


def test_nothing_of_a_person_stands_in_what_is_stored() -> None:
    stored = encode(sealed())
    for word in (b"alice", b"192.0.2.7", b'"p1"', ALICE.key, BOB.key):
        assert word not in stored
    assert may_be_sealed(stored)
    assert not may_be_sealed(encode(RECORD))


def test_without_the_key_a_value_is_erased_and_those_of_others_stay() -> None:
    shown = reveal(sealed(), finder(BOB))
    assert shown["actor"]["user"] == {"name": ERASED, "type_id": 1, "uid": ERASED}
    assert shown["src_endpoint"] == {"ip": ERASED, "port": 4711}
    assert shown["resources"] == RECORD["resources"]


def test_a_restricted_person_shows_as_restricted() -> None:
    shown = reveal(sealed(), lambda token: BOB if token == BOB.token.hex() else RESTRICTED)
    assert shown["actor"]["user"]["name"] == RESTRICTED


def test_a_value_that_was_moved_to_another_field_does_not_open() -> None:
    record = sealed()
    user = record["actor"]["user"]  # type: ignore[index]
    user["uid"], user["name"] = user["name"], user["uid"]
    assert reveal(record, finder(ALICE, BOB))["actor"]["user"] == {"name": ERASED, "type_id": 1, "uid": ERASED}


@pytest.mark.parametrize("broken", ["", "!", "AAAA", None, 5, "A" * 64])
def test_a_value_that_is_no_ciphertext_shows_as_erased_and_raises_nothing(broken: object) -> None:
    record = {"src_endpoint": {"ip": {"c": broken, "e": 1, "t": ALICE.token.hex()}}}
    assert reveal(record, finder(ALICE)) == {"src_endpoint": {"ip": ERASED}}


def test_an_empty_text_needs_no_key() -> None:
    assert seal_fields({"user": {"name": ""}}, {"user.name": Sealing(ALICE, os.urandom)}) == {"user": {"name": ""}}


def test_what_is_sealed_twice_is_sealed_once() -> None:
    once = sealed()
    assert seal_fields(once, {USER_NAME: Sealing(BOB, os.urandom)}) == once


def test_the_same_value_is_never_the_same_twice() -> None:
    sealing = Sealing(ALICE, os.urandom)
    assert sealing.value(ADDRESS, "192.0.2.7") != sealing.value(ADDRESS, "192.0.2.7")


def test_the_tokens_of_everybody_in_a_record_are_found() -> None:
    assert tokens_in(sealed()) == {ALICE.token.hex(), BOB.token.hex()}
    assert tokens_in(RECORD) == set()


def test_a_key_tells_itself_to_nobody() -> None:
    assert "AAAA" not in repr(ALICE)
    assert repr(ALICE) == f"SubjectKey({ALICE.token.hex()})"
    assert fingerprint(ALICE) != fingerprint(BOB)
    assert ALICE.key.hex() not in fingerprint(ALICE)


@given(st.text(), st.sampled_from([USER_NAME, ADDRESS, "resources.uid"]))
def test_every_text_comes_back_and_its_json_is_canonical(text: str, field: str) -> None:
    sealing = Sealing(ALICE, os.urandom)
    value = orjson.loads(sealing.encoded(field, text))
    assert is_sealed(value)
    assert encode(value) == orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    record: dict[str, object] = value
    for name in reversed(field.split(".")):
        record = {name: record}
    revealed: object = reveal(record, finder(ALICE))
    for name in field.split("."):
        assert isinstance(revealed, dict)
        revealed = revealed[name]
    assert revealed == text


def test_what_was_opened_once_is_opened_in_every_record_that_repeats_it() -> None:
    asked: list[str] = []

    def find(token: str) -> SubjectKey | str:
        asked.append(token)
        return keys(ALICE, BOB)[token]

    revealer = Revealer(find)
    first = sealed()
    second = first | {"time": 2}
    assert orjson.loads(revealer.payload(encode(first))) == RECORD
    count = len(asked)
    assert orjson.loads(revealer.payload(encode(second))) == RECORD | {"time": 2}
    assert len(asked) == count


def test_an_erased_value_is_looked_for_again_and_shows_as_erased() -> None:
    known: list[SubjectKey] = []
    revealer = Revealer(lambda token: keys(*known).get(token, ERASED))
    payload = encode(sealed())
    assert orjson.loads(revealer.payload(payload))["src_endpoint"]["ip"] == ERASED
    known += [ALICE, BOB]
    assert orjson.loads(revealer.payload(payload)) == RECORD


@pytest.mark.parametrize("payload", [b"", b"junk", b'"e":1,"t":"', b'["e",{"c":"","e":1,"t":""}]', encode(RECORD)])
def test_what_holds_nothing_sealed_or_is_no_record_stays_as_it_is(payload: bytes) -> None:
    assert Revealer(finder(ALICE)).payload(payload) == payload
