"""Replaces small files on a real file system that is full: run in a mount namespace of its own, with the directory and the kind of file system.

Prints one JSON object: what became of cursors, holds, the rules of retention and the custodian's journal.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path

from gateway.custody.sinks.cursor import Cursor, CursorError, CursorFile
from gateway.ledger.holds import Hold, Holds
from gateway.ledger.layout import Layout
from gateway.ledger.retention import Rules, load, save
from gateway.ledger.spare import replace_file
from tests.mounts import mount

CHANGES = 50


def fill(place: Path, name: str) -> Path:
    hog = place / name
    with hog.open("wb", buffering=0) as file:
        for size in (1 << 16, 512):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    return hog


def hold(case: str) -> Hold:
    return Hold(case=case, reason="letter of counsel", created_by="os:0", created_ns=1)


def main() -> None:
    disk, kind = Path(sys.argv[1]), sys.argv[2]
    mount(disk, kind, "size=8m")
    layout = Layout(disk)
    layout.create()
    for directory in (disk / "cursors", layout.custody):
        directory.mkdir()
    layout.ballast.write_bytes(bytes(1 << 20))
    cursors, first = CursorFile(disk / "cursors", "siem", "access"), CursorFile(disk / "cursors", "new", "access")
    for index in (1, 2):
        cursors.store(Cursor(origin="a", next_index=index))
    save(layout, Rules())
    replace_file(layout.custody / "journal.json", b"0")
    fill(disk, "hog")
    try:
        first.store(Cursor(origin="a", next_index=1))
        refusal = ""
    except CursorError as error:
        refusal = str(error)
    for index in range(3, 3 + CHANGES):
        cursors.store(Cursor(origin="a", next_index=index))
        save(layout, Rules())
        replace_file(layout.custody / "journal.json", b"%d" % index)
    found = [cursors.load(), CursorFile(disk / "cursors", "siem", "access").load()]
    Holds((hold("2026/17"),)).save(layout)
    fill(disk, "again")
    Holds((hold("2026/17"), hold("2026/18"))).save(layout)
    told = {
        "refusal": refusal,
        "cursors": [cursor.next_index if cursor else 0 for cursor in found],
        "previous": json.loads(cursors.previous.read_bytes())["next_index"],
        "journal": (layout.custody / "journal.json").read_text(),
        "rules": load(layout) == Rules(),
        "holds": [one.case for one in Holds.load(layout).holds],
        "names": sorted(path.name for path in (disk / "cursors").iterdir()),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
