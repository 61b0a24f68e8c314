"""`gateway audit receipt-key`: what it shows, and that it is recorded."""

from __future__ import annotations

from base64 import b64decode

from gateway.ledger.keys import AuditKeys
from tests.unit.cli.conftest import House


def enforce(house: House, number: int = 4) -> str:
    """Switch receipts on for the one upstream; returns its name."""
    path = house.directory / "gateway.yaml"
    text = path.read_text()
    name = text.partition("upstreams:\n")[2].strip().partition(":")[0]
    assert f"  {name}: {{" in text
    path.write_text(text.replace(f"  {name}: {{", f"  {name}: {{receipt_key: {number}, ", 1))
    return name


def test_the_key_of_an_upstream_is_shown_and_that_it_was_is_recorded(house: House) -> None:
    name = enforce(house)
    keys = AuditKeys.load(house.directory / "config" / "audit-keys.json")
    shown = house.value("audit", "receipt-key", name)
    assert (shown["upstream"], shown["number"], shown["origin"]) == (name, 4, keys.origin)
    assert b64decode(shown["key"]) == keys.receipt_key(name, 4)
    assert house.run("audit", "receipt-key", name).stdout == shown["key"] + "\n"
    records = [record for event, record in house.records() if event == "audit.receipt_key_shown"]
    assert [record["unmapped"]["gw"]["receipt_key"] for record in records] == [{"upstream": name, "number": 4}] * 2
    assert shown["key"] not in str(records)


def test_the_next_key_can_be_shown_before_it_is_used(house: House) -> None:
    name = enforce(house)
    keys = AuditKeys.load(house.directory / "config" / "audit-keys.json")
    shown = house.value("audit", "receipt-key", name, "--number", "5")
    assert b64decode(shown["key"]) == keys.receipt_key(name, 5)


def test_an_upstream_that_does_not_exist_or_wants_no_receipts_has_no_key(house: House) -> None:
    name = house.directory.joinpath("gateway.yaml").read_text().partition("upstreams:\n")[2].strip().partition(":")[0]
    unknown = house.run("audit", "receipt-key", "nobody")
    assert unknown.exit_code == 1
    assert f"there is no upstream nobody; there is {name}" in unknown.stderr
    unset = house.run("audit", "receipt-key", name)
    assert unset.exit_code == 1
    assert f"upstreams.{name} has no receipt_key" in unset.stderr
    assert house.run("audit", "receipt-key", name, "--number", "0").exit_code == 2
    assert [event for event, _ in house.records()] == []


def test_what_cannot_be_recorded_is_not_shown(house: House) -> None:
    name = enforce(house)
    keys = AuditKeys.load(house.directory / "config" / "audit-keys.json")
    (house.state_dir / "audit").parent.mkdir(exist_ok=True)
    (house.state_dir / "audit").write_text("no directory")
    result = house.run("audit", "receipt-key", name)
    assert result.exit_code != 0
    assert keys.receipt_key(name, 4).hex() not in result.output
    assert result.stdout == ""
