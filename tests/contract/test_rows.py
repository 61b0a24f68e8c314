"""What every place that keeps rows must do, whatever it is built on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from gateway.exchange.errors import StoreUnavailableError
from gateway.store.rows import Backend, Row, Transaction
from gateway.store.tables import ATTEMPTS, ENROLMENTS, SEEN, SESSIONS, USERS
from tests.contract.conftest import NOW, OpenRows

ALICE, BOB = b"\0\xff alice", b"\n\r bob"


def put(rows: Backend, *found: Row) -> None:
    def work(tx: Transaction) -> None:
        for row in found:
            tx.put(USERS, row)

    rows.transact(work)


def by_tenant(rows: Backend, token: bytes = b"acme") -> list[bytes]:
    return sorted(row.id for row in rows.find(USERS, "tenant", token))


def test_a_row_comes_back_as_it_was_put_and_in_no_other_table(rows: Backend) -> None:
    row = Row(id=ALICE, value=bytes(range(256)), key=7, tokens={"name": b"\0n", "tenant": b"acme"}, expires=NOW + 99.5)
    put(rows, row)
    assert rows.get(USERS, ALICE) == row
    assert rows.find(USERS, "name", b"\0n") == [row]
    assert rows.all(USERS) == [row]
    assert rows.get(SESSIONS, ALICE) is None
    assert rows.get(USERS, BOB) is None
    assert rows.all(SESSIONS) == []


def test_an_empty_value_is_a_value(rows: Backend) -> None:
    put(rows, Row(id=ALICE, value=b""))
    assert rows.get(USERS, ALICE) == Row(id=ALICE, value=b"")


def test_rows_are_found_by_their_tokens_and_by_those_alone(rows: Backend) -> None:
    put(
        rows,
        Row(id=ALICE, value=b"1", tokens={"tenant": b"acme", "name": b"a"}),
        Row(id=BOB, value=b"2", tokens={"tenant": b"acme"}),
    )
    assert by_tenant(rows) == sorted([ALICE, BOB])
    assert by_tenant(rows, b"other") == []
    assert rows.find(USERS, "name", b"acme") == []
    assert {key: row.value for key, row in rows.get_many(USERS, [BOB, b"nobody", ALICE]).items()} == {
        ALICE: b"1",
        BOB: b"2",
    }
    assert rows.get_many(USERS, []) == {}
    assert rows.find(USERS, "email", b"") == []


def test_a_row_that_is_put_again_is_found_by_its_new_tokens_alone(rows: Backend) -> None:
    put(rows, Row(id=ALICE, value=b"1", tokens={"tenant": b"acme", "name": b"a"}))
    put(rows, Row(id=ALICE, value=b"2", tokens={"tenant": b"other"}, key=3))
    assert by_tenant(rows) == []
    assert rows.find(USERS, "name", b"a") == []
    assert [row.value for row in rows.find(USERS, "tenant", b"other")] == [b"2"]
    assert rows.keys(USERS) == {3: 1}


def test_a_deleted_row_is_gone_everywhere_and_deleting_says_whether_there_was_one(rows: Backend) -> None:
    put(rows, Row(id=ALICE, value=b"1", tokens={"tenant": b"acme"}))
    assert rows.transact(lambda tx: (tx.delete(USERS, ALICE), tx.delete(USERS, ALICE), tx.delete(USERS, BOB))) == (
        True,
        False,
        False,
    )
    assert (rows.get(USERS, ALICE), by_tenant(rows), rows.all(USERS), rows.keys(USERS)) == (None, [], [], {})


def test_a_transaction_sees_what_it_did_and_nobody_else_does_before_its_end(open_rows: OpenRows) -> None:
    rows, other = open_rows(), open_rows()
    put(rows, Row(id=BOB, value=b"old", tokens={"tenant": b"acme"}))

    def work(tx: Transaction) -> list[bytes]:
        tx.put(USERS, Row(id=ALICE, value=b"new", tokens={"tenant": b"acme"}))
        tx.put(USERS, Row(id=BOB, value=b"moved", tokens={"tenant": b"other"}))
        assert tx.get(USERS, ALICE) == Row(id=ALICE, value=b"new", tokens={"tenant": b"acme"})
        assert tx.get_many(USERS, [ALICE, BOB, b"nobody"]).keys() == {ALICE, BOB}
        assert [row.id for row in tx.find(USERS, "tenant", b"acme")] == [ALICE]
        assert [row.value for row in tx.find(USERS, "tenant", b"other")] == [b"moved"]
        assert (tx.count(USERS, "tenant", b"acme"), tx.count(USERS, "tenant", b"other")) == (1, 1)
        tx.delete(USERS, ALICE)
        assert tx.get(USERS, ALICE) is None
        assert tx.count(USERS, "tenant", b"acme") == 0
        assert tx.find(USERS, "tenant", b"acme") == []
        tx.put(USERS, Row(id=ALICE, value=b"again", tokens={"tenant": b"acme"}))
        return by_tenant(other)

    assert rows.transact(work) == [BOB]
    assert (by_tenant(other), by_tenant(other, b"other")) == ([ALICE], [BOB])
    assert other.get(USERS, ALICE) == Row(id=ALICE, value=b"again", tokens={"tenant": b"acme"})


def test_an_exception_undoes_everything(rows: Backend) -> None:
    put(rows, Row(id=BOB, value=b"1", tokens={"tenant": b"acme"}))

    def work(tx: Transaction) -> None:
        tx.put(USERS, Row(id=ALICE, value=b"1", tokens={"tenant": b"acme"}))
        tx.delete(USERS, BOB)
        raise LookupError

    with pytest.raises(LookupError):
        rows.transact(work)
    assert by_tenant(rows) == [BOB]


def patiently(act: Callable[[], bool]) -> bool:
    """Try again while others hold the lock: a busy store is an error, not an answer."""
    for _ in range(60):
        try:
            return act()
        except StoreUnavailableError:
            continue
    raise AssertionError("never free")


@pytest.mark.parametrize("durable", [True, False])
def test_of_transactions_at_once_no_change_is_lost(open_rows: OpenRows, durable: bool) -> None:
    places = [open_rows() for _ in range(4)]
    barrier = threading.Barrier(len(places))
    table = USERS if durable else ATTEMPTS

    def count_one(tx: Transaction) -> bool:
        row = tx.get(table, ALICE)
        tx.put(table, Row(id=ALICE, value=b"%d" % (int(row.value) + 1 if row else 1)))
        return True

    def race(rows: Backend) -> None:
        barrier.wait(10)
        for _ in range(10):
            patiently(lambda: rows.transact(count_one, durable=durable))

    with ThreadPoolExecutor(len(places)) as pool:
        list(pool.map(race, places))
    row = places[0].get(table, ALICE)
    assert row is not None
    assert row.value == b"40"


def test_of_many_who_see_that_nobody_has_a_name_exactly_one_gets_it(open_rows: OpenRows) -> None:
    """Attack: two accounts under one name, because nothing was there to compare with."""
    places = [open_rows() for _ in range(5)]
    barrier = threading.Barrier(len(places))

    def race(number: int) -> bool:
        def take(tx: Transaction) -> bool:
            if tx.find(USERS, "name", b"admin"):
                return False
            tx.put(USERS, Row(id=b"%d" % number, value=b"", tokens={"name": b"admin"}))
            return True

        barrier.wait(10)
        return patiently(lambda: places[number].transact(take))

    with ThreadPoolExecutor(len(places)) as pool:
        assert sum(pool.map(race, range(len(places)))) == 1
    assert len(places[0].find(USERS, "name", b"admin")) == 1


def test_no_number_of_additions_at_once_passes_a_count(open_rows: OpenRows) -> None:
    places = [open_rows() for _ in range(4)]
    barrier = threading.Barrier(len(places))

    def race(number: int) -> int:
        def add(step: int) -> Callable[[Transaction], bool]:
            def work(tx: Transaction) -> bool:
                if tx.count(USERS, "tenant", b"acme") >= 5:
                    return False
                tx.put(USERS, Row(id=b"%d-%d" % (number, step), value=b"", tokens={"tenant": b"acme"}))
                return True

            return work

        barrier.wait(10)
        return sum(patiently(partial(places[number].transact, add(step))) for step in range(3))

    with ThreadPoolExecutor(len(places)) as pool:
        assert sum(pool.map(race, range(len(places)))) == 5
    assert len(by_tenant(places[0])) == 5


def test_what_must_last_is_not_written_where_a_power_cut_would_undo_it(rows: Backend) -> None:
    with pytest.raises(ValueError, match="power cut"):
        rows.transact(lambda tx: tx.put(USERS, Row(id=ALICE, value=b"")), durable=False)
    with pytest.raises(ValueError, match="power cut"):
        rows.transact(lambda tx: tx.delete(USERS, ALICE), durable=False)
    rows.transact(lambda tx: tx.put(ENROLMENTS, Row(id=ALICE, value=b"")), durable=False)
    assert rows.get(ENROLMENTS, ALICE) is not None


def test_a_sweep_removes_what_is_over_and_nothing_else(rows: Backend) -> None:
    put(
        rows,
        Row(id=ALICE, value=b"1", tokens={"tenant": b"acme"}, expires=NOW + 50),
        Row(id=BOB, value=b"2", tokens={"tenant": b"acme"}, expires=NOW + 51),
        Row(id=b"stays", value=b"3", tokens={"tenant": b"acme"}),
    )
    assert rows.sweep(USERS, NOW + 49) == []
    assert rows.sweep(USERS, NOW + 50) == [ALICE]
    assert by_tenant(rows) == sorted([BOB, b"stays"])
    assert rows.sweep(SEEN, NOW + 99) == []


def test_a_row_that_got_a_later_end_is_not_swept_at_the_earlier_one(rows: Backend) -> None:
    put(rows, Row(id=ALICE, value=b"1", tokens={"tenant": b"acme"}, expires=NOW + 50))
    put(rows, Row(id=BOB, value=b"1", tokens={"tenant": b"acme"}, expires=NOW + 50))
    put(rows, Row(id=ALICE, value=b"1", tokens={"tenant": b"acme"}, expires=NOW + 90))
    put(rows, Row(id=BOB, value=b"1", tokens={"tenant": b"acme"}))
    assert rows.sweep(USERS, NOW + 60) == []
    assert by_tenant(rows) == sorted([ALICE, BOB])
    assert rows.sweep(USERS, NOW + 90) == [ALICE]
    assert by_tenant(rows) == [BOB]


def test_clearing_takes_all_that_a_token_finds_or_the_whole_table(rows: Backend) -> None:
    for start in range(0, 700, 350):
        put(
            rows,
            *(
                Row(id=b"%d" % number, value=b"", tokens={"tenant": b"acme" if number % 7 else b"other"})
                for number in range(start, start + 350)
            ),
        )
    rows.transact(lambda tx: tx.put(ENROLMENTS, Row(id=ALICE, value=b"")))
    assert rows.clear(USERS, "tenant", b"acme") == 600
    assert (by_tenant(rows), len(by_tenant(rows, b"other"))) == ([], 100)
    assert rows.clear(USERS, "tenant", b"acme") == 0
    assert rows.clear(USERS) == 100
    assert (rows.all(USERS), by_tenant(rows, b"other")) == ([], [])
    assert rows.get(ENROLMENTS, ALICE) is not None


def test_what_is_sealed_under_an_older_key_is_told(rows: Backend) -> None:
    put(
        rows,
        Row(id=b"plain", value=b""),
        *(Row(id=b"%d" % number, value=b"", key=1 + number % 3) for number in range(9)),
    )
    assert rows.keys(USERS) == {0: 1, 1: 3, 2: 3, 3: 3}
    assert sorted(row.key for row in rows.outdated(USERS, 3, 100)) == [1, 1, 1, 2, 2, 2]
    assert len(rows.outdated(USERS, 3, 4)) == 4
    assert rows.outdated(USERS, 1, 100) == []


def test_what_one_wrote_the_other_reads_at_once(open_rows: OpenRows) -> None:
    writer, reader = open_rows(), open_rows()
    for number in range(30):
        put(writer, Row(id=ALICE, value=b"%d" % number))
        row = reader.get(USERS, ALICE)
        assert row is not None
        assert row.value == b"%d" % number
