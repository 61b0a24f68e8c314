from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.inspection.upload.source import Held
from gateway.quarantine.quarantine import LABEL, Item, Quarantine, new_id
from gateway.server.upload_places import quarantine_directory
from gateway.store.keyring import Keyring
from tests.fakes.clamd import saying

NOW = 4_000_000_000.0
DATA = b"\x00\xffMZ it's bad" * 10_000


def keep(house: Any, *, name: str = "O'Brien.pdf", data: bytes = DATA) -> Item:
    keyring = Keyring.load(house.directory / "config" / "keyring.json")
    item = Item(
        id=new_id(NOW), at=NOW, until=NOW + 100, request_id="r1", route="upload", tenant="main", user="alice", client="192.0.2.1", objection="infected",
        signature="Test.Sample", name=name, field="file", declared="application/pdf", kind="pdf", size=len(data), digest=sha256(data).hexdigest(),
    )  # fmt: skip
    quarantine = Quarantine(
        quarantine_directory(house.state_dir), keyring.derive(LABEL), max_bytes=1 << 30, kept_free=0
    )
    assert quarantine.add(item, Held(data))
    return item


def test_refused_files_are_listed_shown_released_and_deleted_and_all_of_it_is_recorded(
    house: Any, tmp_path: Path
) -> None:
    assert "Nothing is in quarantine." in house.run("quarantine", "list").stdout
    item = keep(house)
    assert house.value("quarantine", "list")["files"] == [{"id": item.id, **house.value("quarantine", "show", item.id)}]
    text = house.run("quarantine", "list").stdout
    assert "Test.Sample" in text
    assert "O'Brien.pdf" in text
    target = tmp_path / "out"
    assert house.value("quarantine", "release", item.id, "--to", str(target))["sha256"] == item.digest
    assert target.read_bytes() == DATA
    assert target.stat().st_mode & 0o777 == 0o600
    assert house.run("quarantine", "release", item.id, "--to", "-").stdout_bytes == DATA
    assert house.value("quarantine", "delete", item.id)["deleted"] == [item.id]
    assert house.value("quarantine", "list")["files"] == []
    done = [(name, [resource["uid"] for resource in record["resources"]]) for name, record in house.records()]
    assert [name for name, _ in done if name.startswith("quarantine ")] == [
        f"quarantine {verb}" for verb in ("list", "list", "show", "list", "release", "release", "delete", "list")
    ]
    assert all(item.id in ids for name, ids in done if name in {"quarantine release", "quarantine delete"})


def test_what_is_not_there_changed_or_in_the_way_is_told(house: Any, tmp_path: Path) -> None:
    item = keep(house)
    for name in ("x", new_id(NOW)):
        for verb in (("show", name), ("delete", name), ("release", name, "--to", str(tmp_path / "x"))):
            assert house.run("quarantine", *verb).exit_code == 1
    there = tmp_path / "there"
    there.write_text("mine")
    assert house.run("quarantine", "release", item.id, "--to", str(there)).exit_code == 2
    assert there.read_text() == "mine"
    (path,) = quarantine_directory(house.state_dir).iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    torn = tmp_path / "torn"
    assert house.run("quarantine", "release", item.id, "--to", str(torn)).exit_code == 2
    assert not torn.exists()
    assert house.run("quarantine", "release", item.id, "--to", str(tmp_path / "no" / "x")).exit_code == 2


def test_a_name_does_nothing_to_a_terminal(house: Any) -> None:
    item = keep(house, name="\x1b[2Jevil\u202efdp" + "x" * 100)
    for verb in (("list",), ("show", item.id)):
        text = house.run("quarantine", *verb).stdout
        assert "\x1b" not in text
        assert "\u202e" not in text


@pytest.mark.parametrize("answer", [b"ClamAV 1.4.6/1/x\0", None])
def test_the_doctor_asks_the_antivirus(house: Any, answer: bytes | None) -> None:
    config = house.directory / "gateway.yaml"
    lines = [line for line in config.read_text().splitlines() if not line.startswith("inspection:")]

    def findings(uploads: str) -> list[str]:
        config.write_text("\n".join([*lines, f"inspection: {{uploads: {uploads}}}", ""]))
        found: list[dict[str, str]] = json.loads(house.run("doctor", "--json").stdout)["findings"]
        return [
            f"{one['kind']}: {one['sentence']}"
            for one in found
            if "antivirus" in one["subject"] or "uploads" in one["subject"]
        ]

    if answer is None:
        assert findings("{types: [pdf], antivirus: {clamd: 'tcp://127.0.0.1:1', on_failure: allow}}") == [
            "wrong: the antivirus cannot be reached: Connection refused",
            "weak: uploads pass while the antivirus is away; set on_failure: refuse",
        ]
        (told,) = findings("{types: [pdf], max_size: 2GiB}")
        assert "http.max_body" in told
    else:
        with saying(answer, after=1) as address:
            assert findings(f"{{antivirus: {{clamd: '{address}'}}}}") == [
                "weak: files of every type pass that is not run somewhere; list types"
            ]


@pytest.mark.parametrize(("most", "is_taken"), [("10MiB", False), ("1GiB", True), ("0", True)])
def test_no_route_empties_the_quarantine_of_the_others(house: Any, most: str, *, is_taken: bool) -> None:
    """Attack: one file to the route that says the least, and nothing is left to look at."""
    settings = house.directory / "gateway.yaml"
    settings.write_text(f"{settings.read_text()}\ninspection:\n  uploads: {{quarantine: {{max: 1GiB}}}}\n")
    path = next((house.directory / "policies").glob("*.yaml"))
    text = path.read_text()
    place = text.index("    upstream: portal")
    path.write_text(f"{text[:place]}    inspection: {{uploads: {{quarantine: {{max: {most}}}}}}}\n{text[place:]}")
    with path.open("a") as file:
        file.write("  - {name: other, match: {path: /other, methods: [POST]}, upstream: portal, public: true}\n")
    checked = house.run("check")
    assert (checked.exit_code == 0) is is_taken, checked.stderr
    if not is_taken:
        assert "inspection.uploads.quarantine.max: is of all that is kept" in checked.stderr
        assert f"{path.name}:" in checked.stderr or "gateway.yaml:" in checked.stderr
