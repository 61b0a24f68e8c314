from __future__ import annotations

import pytest

from gateway.exchange.errors import StoreUnavailableError
from gateway.store.measured import MeasuredRows
from gateway.store.rows import Row
from gateway.store.sqlite_rows import SQLiteRows
from gateway.store.tables import USERS


def test_every_use_is_counted_under_what_it_was(sqlite: SQLiteRows) -> None:
    seen: list[str] = []
    rows = MeasuredRows(sqlite, lambda seconds, operation: seen.append(operation) if seconds >= 0 else None)
    rows.transact(lambda tx: tx.put(USERS, Row(id=b"a", value=b"1", tokens={"tenant": b"acme"})))
    assert rows.get(USERS, b"a") is not None
    assert rows.get_many(USERS, [b"a"]).keys() == {b"a"}
    assert len(rows.find(USERS, "tenant", b"acme")) == len(rows.all(USERS)) == 1
    assert (rows.sweep(USERS, 1.0), rows.outdated(USERS, 9, 1), rows.keys(USERS), rows.heal()) == ([], [], {0: 1}, 0)
    assert rows.clear(USERS) == 1
    assert rows.place == sqlite.place
    assert seen == ["change", "read", "read", "find", "list", "upkeep", "upkeep", "upkeep", "upkeep", "change"]


def test_what_failed_took_its_time_too(sqlite: SQLiteRows) -> None:
    seen: list[str] = []
    rows = MeasuredRows(sqlite, lambda _, operation: seen.append(operation))
    sqlite.database.path.unlink()
    with pytest.raises(StoreUnavailableError):
        rows.get(USERS, b"a")
    assert seen == ["read"]
    rows.close()
