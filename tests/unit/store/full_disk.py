"""Changes a state on a real file system that is full: run in a mount namespace of its own, with the directory, the kind of file system, and `kept` or `bare`.

Prints one JSON object: how many sign-ins and changes were stored before the first that was not, and what the file says of itself.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path

from gateway.exchange.errors import StoreUnavailableError
from gateway.store.reserve import Reserve
from gateway.store.rows import Row
from gateway.store.sqlite_rows import SQLiteRows
from gateway.store.tables import MARKS, SESSIONS
from tests.mounts import mount

ADDED = 300
"""Sessions, with a value as long as sealed ones are."""
CHANGED = 3000
AGAIN = 200
"""Changes after those, whether the last one failed or not."""


def put(rows: SQLiteRows, table: object, row_id: bytes, length: int) -> bool:
    row = Row(id=row_id, value=bytes(length), expires=1e12)
    try:
        rows.transact(lambda tx: tx.put(table, row))  # type: ignore[arg-type]  # one of ours
    except StoreUnavailableError:
        return False
    return True


def fill(place: Path) -> Path:
    hog = place / "hog"
    with hog.open("wb", buffering=0) as file:
        for size in (1 << 16, 512):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    return hog


def main() -> None:
    disk, kind, way = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    mount(disk, kind, "size=48m")
    rows = SQLiteRows(disk / "state", create=True)
    reserve = Reserve(rows.database)
    kept = reserve.keep() if way == "kept" else 0
    put(rows, MARKS, b"first", 8)
    hog = fill(disk)
    assert reserve.keep() == kept or way == "bare", "nothing is taken from a disk that has nothing"
    added = changed = 0
    while added < ADDED and put(rows, SESSIONS, added.to_bytes(32), 1200):
        added += 1
    while changed < CHANGED and put(rows, MARKS, b"changed", 1 + changed % 900):
        changed += 1
    again = sum(put(rows, MARKS, b"changed", 1 + number % 900) for number in range(AGAIN))
    hog.unlink()
    is_well = put(rows, MARKS, b"last", 8)
    left = reserve.keep()
    told = {
        "kept": kept,
        "added": added,
        "changed": changed,
        "again": again,
        "is_well": is_well,
        "left": left,
        "check": rows.database.read("PRAGMA integrity_check"),
        "sessions": len(rows.all(SESSIONS)),
    }
    rows.close()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
