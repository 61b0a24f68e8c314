"""Answers of detectors in every store: added, read by whoever asks whether anything changed, lifted, over by themselves."""

from __future__ import annotations

import msgspec
import pytest

from gateway.inspection.abuse.rule import Answer, Scope
from gateway.inspection.abuse.standing import Standing
from gateway.store import standings
from gateway.store.keyring import Keyring
from gateway.store.rows import Backend
from gateway.store.sealing import Sealer
from gateway.store.standings import MEMORY_S, StandingStore, is_about
from gateway.store.tables import ABUSE_MEMORY, STANDINGS
from tests.contract.conftest import NOW


@pytest.fixture
def kept(rows: Backend, keyring: Keyring) -> StandingStore:
    return StandingStore(rows, Sealer(keyring))


def standing(**more: object) -> Standing:
    made = Standing(
        reference="a_1",
        detector="D-03",
        rule="many_names",
        scope=Scope.NETWORK,
        subject="203.0.113.7",
        answer=Answer.BLOCK,
        since=NOW,
        until=NOW + 900,
    )
    return msgspec.structs.replace(made, **more)


def test_what_was_added_stands_until_its_end(kept: StandingStore) -> None:
    assert kept.all(NOW) == []
    assert kept.add(standing(), now=NOW)
    assert kept.all(NOW + 899) == [standing()]
    assert kept.all(NOW + 900) == []


def test_the_version_changes_with_everything_that_is_added_or_lifted(kept: StandingStore) -> None:
    seen = {kept.version()}
    kept.add(standing(), now=NOW)
    seen.add(kept.version())
    assert kept.version() in seen
    kept.lift([standing()])
    seen.add(kept.version())
    assert len(seen) == 3


def test_the_same_rule_answers_the_same_once_and_others_beside_it(kept: StandingStore) -> None:
    kept.add(standing(), now=NOW)
    kept.add(standing(reference="a_2", since=NOW + 10), now=NOW + 10)
    kept.add(standing(reference="a_3", subject="203.0.113.8", since=NOW + 20), now=NOW)
    kept.add(standing(reference="a_4", detector="D-04", since=NOW + 30), now=NOW)
    assert [each.reference for each in kept.all(NOW + 40)] == ["a_4", "a_3", "a_2"]


def test_lifting_ends_what_is_named_and_says_how_much_stood(kept: StandingStore) -> None:
    other = standing(reference="a_2", subject="203.0.113.8")
    kept.add(standing(), now=NOW)
    kept.add(other, now=NOW)
    assert kept.lift([standing()]) == 1
    assert kept.lift([standing()]) == 0
    assert kept.lift([]) == 0
    assert kept.all(NOW) == [other]


def test_nobody_can_read_in_the_store_who_was_answered(kept: StandingStore, rows: Backend) -> None:
    kept.add(standing(scope=Scope.PERSON, subject="u_alice", name="alice"), now=NOW)
    (row,) = rows.all(STANDINGS)
    assert b"alice" not in row.id + row.value


def test_an_answer_that_does_not_open_blocks_nobody(kept: StandingStore, rows: Backend) -> None:
    kept.add(standing(), now=NOW)
    kept.add(standing(subject="203.0.113.8"), now=NOW)
    row = rows.all(STANDINGS)[0]
    broken = msgspec.structs.replace(row, value=row.value[:-1] + bytes([row.value[-1] ^ 1]))
    rows.transact(lambda tx: tx.put(STANDINGS, broken))
    assert len(kept.all(NOW)) == 1


def test_there_is_an_end_to_how_many_stand(kept: StandingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: an answer for each address of a network."""
    monkeypatch.setattr(standings, "MOST_STANDINGS", 2)
    assert [kept.add(standing(subject=f"203.0.113.{number}"), now=NOW) for number in range(3)] == [True, True, False]
    assert kept.add(standing(subject="203.0.113.1", until=NOW + 1800), now=NOW), "what stands may be renewed"


def test_a_flood_of_networks_keeps_nobody_else_from_being_answered(
    kept: StandingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: an answer for each /64 of a /48, and then what the attacker wanted."""
    monkeypatch.setattr(standings, "MOST_STANDINGS", 2)
    kept.add(standing(subject="2001:db8::/64", until=NOW + 60), now=NOW)
    kept.add(standing(subject="2001:db8:0:1::/64"), now=NOW)
    person = standing(scope=Scope.PERSON, subject="u_1", reference="a_2")
    assert kept.add(person, now=NOW)
    assert {each.subject for each in kept.all(NOW)} == {"u_1", "2001:db8:0:1::/64"}
    assert kept.add(standing(scope=Scope.KEY, subject="k_1"), now=NOW)
    assert not kept.add(standing(scope=Scope.KEY, subject="k_2"), now=NOW), "people and keys displace nobody"


def test_what_a_node_remembers_is_its_own_and_ends(kept: StandingStore, rows: Backend) -> None:
    assert kept.recall("one", now=NOW) == {}
    kept.remember("one", {"rule": {"entries": [["a", 1.5, [[2.0, 1, []]]]]}}, now=NOW)
    assert kept.recall("one", now=NOW) == {"rule": {"entries": [["a", 1.5, [[2.0, 1, []]]]]}}
    assert kept.recall("two", now=NOW) == {}
    assert kept.recall("one", now=NOW + MEMORY_S) == {}
    (row,) = rows.all(ABUSE_MEMORY)
    rows.transact(lambda tx: tx.put(ABUSE_MEMORY, msgspec.structs.replace(row, value=row.value[:-1])), durable=False)
    assert kept.recall("one", now=NOW) == {}


def test_a_person_is_found_by_their_id(kept: StandingStore) -> None:
    assert is_about(standing(scope=Scope.SESSION, subject="s_1", person="u_1"), "u_1")
    assert not is_about(standing(), "u_1")
