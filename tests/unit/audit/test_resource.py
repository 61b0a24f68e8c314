"""What a portal may say about its data, and that nothing else of it is believed."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.resource import (
    MAX_CHANGES,
    MAX_RESOURCES,
    MAX_VALUE,
    Named,
    Told,
    encode_resources,
    own_resource,
    read_told,
)
from gateway.audit.subject import OWNER_UID, RESOURCE_NAME
from gateway.exchange.route import Resource
from tests.unit.audit.test_access import route


def test_a_resource_has_a_type_an_id_an_owner_and_a_name() -> None:
    told = read_told(b"invoice/42;owner=p-7; name=March%202026", b"")
    assert told == Told(resources=(Named("invoice", "42", "p-7", "March 2026"),))


def test_several_resources_stand_in_one_line_or_in_several() -> None:
    told = read_told(b"invoice/1, invoice/2;owner=p ,chart/a:b@c/d", b"")
    assert [(named.type, named.uid) for named in told.resources] == [
        ("invoice", "1"),
        ("invoice", "2"),
        ("chart", "a:b@c/d"),
    ]


def test_a_resource_that_is_named_twice_stands_once() -> None:
    assert read_told(b"a/1;owner=p, a/1;name=n", b"").resources == (Named("a", "1", "p", "n"),)


def test_changed_fields_are_named_and_their_values_are_not() -> None:
    assert read_told(b"", b"email, address.street,phones[0], email").changes == ("email", "address.street", "phones[0]")
    assert read_told(b"", b"email=x@y.example").faults == ("change_malformed",)


@pytest.mark.parametrize(
    "field",
    [
        b"invoice",
        b"/42",
        b"invoice/",
        b"1nvoice/42",
        b"invoice/42,",
        b"invoice/42;owner=",
        b"invoice/42;owner=a;owner=b",
        b"invoice/42;role=admin",
        b'invoice/4"2',
        b"invoice/4 2",
        b"invoice/4\\2",
        b"invoice/%0d%0a",
        b"invoice/%e2%80%a8",
        b"invoice/%1b[2J",
        b"invoice/%ff",
        b"invoice/%4",
        b"invoice/\xe9",
        b"invoice/" + b"x" * 257,
        b"invoice/42;" + b" " * 9 + b"owner=p",
    ],
)
def test_record_splitting_what_is_not_exactly_a_resource_is_not_read(field: bytes) -> None:
    assert read_told(b"ok/1, " + field, b"") == Told(faults=("resource_malformed",))


def test_an_answer_names_a_bounded_number_of_things() -> None:
    assert len(read_told(b",".join(b"a/%d" % n for n in range(MAX_RESOURCES)), b"").resources) == MAX_RESOURCES
    assert read_told(b",".join(b"a/%d" % n for n in range(MAX_RESOURCES + 1)), b"").faults == ("resource_too_many",)
    assert read_told(b"a/" + b"x" * 9000, b"").faults == ("resource_too_large",)
    assert read_told(b"", b",".join(b"f%d" % n for n in range(MAX_CHANGES + 1))).faults == ("change_too_many",)


def test_a_card_number_in_the_place_of_an_id_is_taken_out_and_counted() -> None:
    told = read_told(b"card/4111111111111111;owner=4111-1111-1111-1111;name=4111%201111%201111%201111", b"")
    encoded, redactions = encode_resources(route(), told.resources)
    assert redactions == 3
    assert b"4111" not in encoded
    own = own_resource(route(), "4111111111111111")
    assert own is not None
    assert encode_resources(route(), (own,))[1] == 1


def test_a_secret_that_is_cut_is_looked_for_before_it_is_cut() -> None:
    own = own_resource(route(), "x" * (MAX_VALUE - 8) + ".4111111111111111")
    assert own is not None
    encoded, redactions = encode_resources(route(), (own,))
    assert redactions == 1
    assert b"4111" not in encoded


def test_people_whose_ids_pass_for_card_numbers_share_no_key_and_are_sealed_under_their_ids() -> None:
    """Attack: two patients of whom each sees, and is erased with, what is the other's."""
    sealed: list[tuple[str, str, str]] = []

    def seal(field: str, person: str, text: str) -> object:
        sealed.append((field, person, text))
        return {"sealed": len(sealed)}

    told = read_told(
        b"record/1;owner=4111111111111111, record/2;owner=5555555555554444;name=of%205555555555554444", b""
    )
    encoded, redactions = encode_resources(route(), told.resources, seal=seal)
    assert sealed == [
        (OWNER_UID, "4111111111111111", "4111111111111111"),
        (OWNER_UID, "5555555555554444", "5555555555554444"),
        (RESOURCE_NAME, "5555555555554444", "of [redacted]"),
    ]
    assert redactions == 1
    assert b"4111" not in encoded
    patients = route(resource=Resource(type="patient", id="{id}", is_person=True))
    sealed.clear()
    own = own_resource(patients, "4111111111111111")
    assert own is not None
    assert encode_resources(patients, (own,), seal=seal)[1] == 0
    assert {(person, text) for _, person, text in sealed} == {("4111111111111111", "4111111111111111")}


def test_a_token_in_the_place_of_an_id_is_not_even_sealed_and_people_behind_tokens_share_no_key() -> None:
    sealed: list[tuple[str, str]] = []

    def seal(_field: str, person: str, text: str) -> object:
        sealed.append((person, text))
        return {}

    tokens = ("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.x", "eyJhbGciOiJub25lIn0.eyJzdWIiOiIyIn0.x")
    for token in tokens:
        encode_resources(route(), (Named("record", "1", token),), seal=seal)
    assert sealed == [(token, "[redacted]") for token in tokens]


@given(st.binary(max_size=300), st.binary(max_size=100))
def test_no_bytes_make_it_raise_and_what_is_read_is_one_line(resources: bytes, changes: bytes) -> None:
    told = read_told(resources, changes)
    assert len(msgspec.json.encode(told).splitlines()) == 1
    for named in told.resources:
        assert named.type
        assert named.uid
        assert all(text.isprintable() or not text.isascii() for text in named)
