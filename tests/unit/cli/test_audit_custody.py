"""`gateway audit seal`, `hold` and `retention`, with the gateway stopped: what they do, what they refuse, what they record."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.canonical import encode
from gateway.audit.protocol import CLI_SLOT
from gateway.cli.audit import custody
from gateway.exchange.stream import Stream
from gateway.ledger import producer
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.log import open_log
from tests.unit.cli.conftest import House

DAY_NS = 86_400 * 10**9
AUDIT = "audit: {durability: group, "


def be(monkeypatch: pytest.MonkeyPatch, uid: str) -> None:
    """Have another person of the system run the verbs that follow."""
    actor = {"app_name": "gateway", "user": {"name": f"user{uid}", "type_id": 3, "uid": uid}}
    monkeypatch.setattr(producer, "operator", lambda: actor)


def keep(house: House, value: str = "10d") -> None:
    path = house.directory / "gateway.yaml"
    text = path.read_text()
    assert AUDIT in text
    path.write_text(text.replace(AUDIT, AUDIT + f"streams: {{access: {{retention: {value}}}}}, "))


def old_files(house: House, days: int = 20) -> None:
    """One closed file of the access stream a day, the oldest so many days ago; and the security stream's beside them."""
    keys = AuditKeys.load(house.directory / "config" / "audit-keys.json")
    now = time.time_ns()
    for stream in (Stream.SECURITY, Stream.ACCESS):
        for day in range(days):
            log = open_log(house.state_dir, keys, stream, boot="", capacity=1 << 20)
            at = now - (days - day) * DAY_NS
            first = log.taken.get(1, 0) + 1
            log.append(
                [(1, [first, first + 1], [b'{"unmapped":{"gw":{"event":"1"}}}', b'{"unmapped":{"gw":{"event":"2"}}}'])],
                is_safe=True,
                now_ns=at,
            )
            log.close()


def names(house: House, stream: str = "access") -> list[str]:
    return sorted(path.name for path in (house.state_dir / "audit").iterdir() if path.name.startswith(stream))


def events(house: House, event: str) -> list[dict[str, Any]]:
    return [record["unmapped"]["gw"] for name, record in house.records() if name == event]


# seal


def test_closed_files_are_sealed_and_the_log_verifies(house: House) -> None:
    old_files(house, days=3)
    value = house.value("audit", "seal")
    assert value["ok"]
    assert "access-000000000001.seg" in value["sealed"]
    assert names(house) == ["access-000000000001.seg", "access-000000000002.seg", "access-000000000003.log"]
    assert house.run("audit", "verify").exit_code == 0
    assert len(events(house, "audit.segment_sealed")) == len(value["sealed"])


def test_nothing_to_seal_is_said_so(house: House) -> None:
    house.value("audit", "seal")
    again = house.run("audit", "seal", "--json")
    assert again.exit_code == 0


def test_a_damaged_file_is_named_and_stays(house: House) -> None:
    old_files(house, days=3)
    path = house.state_dir / "audit" / "access-000000000001.log"
    data = bytearray(path.read_bytes())
    data[-50] ^= 1
    path.write_bytes(data)
    result = house.run("audit", "seal")
    assert result.exit_code == 1
    assert "access-000000000001.log: is not what was signed and is not sealed" in result.output
    assert "run gateway audit verify" in result.output
    assert path.exists()


# hold


def test_a_hold_is_made_listed_and_recorded(house: House) -> None:
    made = house.value(
        "audit",
        "hold",
        "create",
        "--case",
        "2026/17",
        "--stream",
        "access",
        "--since",
        "2026-01-01",
        "--reason",
        "letter",
    )
    assert made["hold"]["since"] == "2026-01-01T00:00:00Z"
    assert [hold["case"] for hold in house.value("audit", "hold", "list")["holds"]] == ["2026/17"]
    [gw] = events(house, "hold.created")
    assert gw["hold"]["case"] == "2026/17"
    assert "2026/17" in house.run("audit", "hold", "list").output
    assert house.run("audit", "verify").exit_code == 0


def test_a_case_has_one_hold(house: House) -> None:
    house.value("audit", "hold", "create", "--case", "c", "--reason", "r")
    result = house.run("audit", "hold", "create", "--case", "c", "--reason", "r")
    assert result.exit_code == 1
    assert "already" in result.output


@pytest.mark.parametrize("case", ["", "-x", "a b", "x" * 101, "a\n"])
def test_a_case_has_a_plain_name(house: House, case: str) -> None:
    assert house.run("audit", "hold", "create", "--reason", "r", f"--case={case}").exit_code == 2


def test_a_hold_ends_when_a_second_person_asks(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    be(monkeypatch, "1")
    house.value("audit", "hold", "create", "--case", "c", "--reason", "r")
    for _ in range(2):
        assert house.value("audit", "hold", "release", "--case", "c", "--reason", "over")["released"] is False
    assert house.value("audit", "hold", "list")["holds"][0]["release_asked_by"] == "os:1"
    be(monkeypatch, "2")
    assert house.value("audit", "hold", "release", "--case", "c", "--reason", "over")["released"] is True
    assert house.value("audit", "hold", "list")["holds"] == []
    assert house.run("audit", "hold", "release", "--case", "c", "--reason", "over").exit_code == 1
    [gw] = events(house, "hold.released")
    assert gw["hold"] == {"asked_by": "os:1", "by": "os:2", "case": "c"}


def test_holds_that_cannot_be_read_are_an_error(house: House) -> None:
    house.value("audit", "hold", "create", "--case", "c", "--reason", "r")
    (house.state_dir / "holds.json").write_text("{")
    result = house.run("audit", "retention", "apply")
    assert result.exit_code != 0
    assert "everything counts as held" in result.output


def test_a_hold_that_only_the_log_knows_is_listed_keeps_and_can_be_ended(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """attack: holds.json is removed while the gateway is stopped."""
    old_files(house)
    house.value("audit", "seal")
    keep(house)
    agreed(house)
    be(monkeypatch, "1")
    house.value("audit", "hold", "create", "--case", "c", "--stream", "access", "--subject", "alice", "--reason", "r")
    (house.state_dir / "holds.json").unlink()
    [hold] = house.value("audit", "hold", "list")["holds"]
    assert (hold["case"], hold["streams"], hold["created_by"], hold["everybody"]) == ("c", ["access"], "os:1", True)
    message = "holds.json lacks the hold of the case c, which is in force by the log"
    assert hold["difference"] == message
    assert message in house.run("audit", "hold", "list").output
    applied = house.value("audit", "retention", "apply")
    assert (applied["removed"], applied["differences"]) == ({}, [message])
    assert message in house.run("audit", "retention", "plan").output
    house.value("audit", "retention", "apply")
    assert len(events(house, "hold.differs")) == 1
    assert house.value("audit", "hold", "release", "--case", "c", "--reason", "over")["released"] is False
    assert house.value("audit", "hold", "list")["holds"][0]["difference"] == "", "the file has it again"
    be(monkeypatch, "2")
    assert house.value("audit", "hold", "release", "--case", "c", "--reason", "over")["released"] is True
    assert house.value("audit", "retention", "apply")["removed"] == {"access": 10}
    assert house.run("audit", "verify").exit_code == 0


def test_a_hold_that_the_file_has_lost_can_be_said_again_and_gets_no_narrower(house: House) -> None:
    """As after a kill between the record and the file: whoever made it makes it again."""
    create = ("audit", "hold", "create", "--case", "c", "--subject", "alice", "--reason", "r")
    house.value(*create)
    (house.state_dir / "holds.json").unlink()
    house.value(*create, "--stream", "access", "--since", "2026-01-01")
    [hold] = house.value("audit", "hold", "list")["holds"]
    assert (hold["since"], hold["streams"], hold["subjects"]) == ("", ["security", "access", "traffic"], ["alice"])
    assert (hold["everybody"], hold["difference"]) == (True, ""), "nobody can tell whom it named before"
    assert house.run(*create).exit_code == 1, "it is in force already"


def test_a_hold_begins_also_where_the_log_cannot_be_read_and_none_ends(house: House) -> None:
    house.value("audit", "hold", "create", "--case", "c", "--reason", "r")
    old_files(house, days=3)
    (house.state_dir / "audit" / "security-000000000002.log").unlink()
    result = house.run("audit", "hold", "release", "--case", "c", "--reason", "over")
    assert result.exit_code != 0
    assert "what the log says of holds and retention cannot be read" in result.output
    assert house.run("audit", "hold", "create", "--case", "d", "--reason", "r").exit_code == 0
    assert house.run("audit", "hold", "list").exit_code != 0
    assert house.run("audit", "retention", "apply").exit_code != 0


# retention


def test_without_a_rule_nothing_is_removed(house: House) -> None:
    old_files(house)
    house.value("audit", "seal")
    plan = house.value("audit", "retention", "plan")
    assert {stream["in_force"] for stream in plan["streams"]} == {"none"}
    assert house.value("audit", "retention", "apply")["removed"] == {}
    assert len(names(house)) == 20


def test_one_person_shortens_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-72."""
    old_files(house)
    house.value("audit", "seal")
    keep(house)
    be(monkeypatch, "1")
    assert house.value("audit", "retention", "apply")["removed"] == {}
    assert house.value("audit", "retention", "propose", "access", "--reason", "GDPR")["proposed"] == "10d"
    result = house.run("audit", "retention", "approve", "access", "--reason", "me again")
    assert result.exit_code == 1
    assert "a second person has to" in result.output
    assert house.value("audit", "retention", "apply")["removed"] == {}
    be(monkeypatch, "2")
    assert house.value("audit", "retention", "approve", "access", "--reason", "agreed")["approved"] == "10d"
    assert house.value("audit", "retention", "apply")["removed"] == {}, "not before seven days"
    assert len(names(house)) == 20
    plan = next(each for each in house.value("audit", "retention", "plan")["streams"] if each["stream"] == "access")
    assert plan["proposed"]["approved_by"] == "os:2"
    assert house.value("audit", "retention", "withdraw", "access", "--reason", "no")["ok"]
    assert house.run("audit", "retention", "withdraw", "access", "--reason", "no").exit_code == 1
    assert [len(events(house, f"retention.{what}")) for what in ("proposed", "approved", "withdrawn")] == [1, 1, 1]


def agreed(house: House) -> None:
    """Two people agreed on ten days, a week and a day ago: the log says so."""
    keys = AuditKeys.load(house.directory / "config" / "audit-keys.json")
    ago = time.time_ns() - 9 * DAY_NS
    log = open_log(house.state_dir, keys, Stream.SECURITY, boot="", capacity=1 << 20)
    for event, by in (("retention.proposed", "os:1"), ("retention.approved", "os:2")):
        said = {"by": by, "in_force": "none", "stream": "access", "wanted": "10d"}
        payload = encode({"unmapped": {"gw": {"event": event, "retention": said}}})
        sequence = log.taken.get(CLI_SLOT, 0) + 1
        log.append([(CLI_SLOT, range(sequence, sequence + 1), [payload])], is_safe=True, now_ns=ago)
    log.close()


def test_what_is_over_its_time_goes_and_the_log_still_verifies(house: House) -> None:
    """T-71: with the signed record of it."""
    old_files(house)
    house.value("audit", "seal")
    keep(house)
    agreed(house)
    assert house.value("audit", "retention", "apply")["removed"] == {"access": 10}
    assert names(house)[0] == "access-000000000011.seg"
    result = house.run("audit", "verify")
    assert result.exit_code == 0, result.output
    assert "PRUNED_OK" in result.output
    [gw] = events(house, "retention.prune")
    assert (gw["prune"]["from"], gw["prune"]["to"], gw["prune"]["approver"]) == (0, 19, "os:2")
    assert house.value("audit", "retention", "apply")["removed"] == {}, "nothing is removed twice"


def test_what_is_removed_by_hand_is_missing(house: House) -> None:
    """T-71: without a record."""
    old_files(house)
    house.value("audit", "seal")
    for number in (1, 2):
        (house.state_dir / "audit" / f"access-{number:012d}.seg").unlink()
    result = house.run("audit", "verify")
    assert result.exit_code == 1
    assert "MISSING" in result.output


def test_a_hold_keeps_what_is_over_its_time(house: House) -> None:
    old_files(house)
    house.value("audit", "seal")
    keep(house)
    agreed(house)
    house.value("audit", "hold", "create", "--case", "c", "--stream", "access", "--reason", "r")
    plan = house.run("audit", "retention", "plan").output
    assert "file 1 is over its time and stays: held c" not in plan, "the rule is not in force before it was applied"
    assert house.value("audit", "retention", "apply")["removed"] == {}
    plan = house.run("audit", "retention", "plan").output
    assert "access: file 1 is over its time and stays: held c" in plan
    assert "hold in force: c (access)" in plan
    assert len(names(house)) == 20


@pytest.mark.parametrize("value", ["1h", "for ever", "-1d", "10"])
def test_retention_is_told_where_it_is_wrong(house: House, value: str) -> None:
    keep(house, value)
    result = house.run("check")
    assert result.exit_code == 2, result.output
    assert "gateway.yaml:" in result.output
    assert "audit.streams.access.retention" in result.output


def test_while_the_gateway_has_the_custody_the_verbs_ask_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.cli.audit import retention as verb
    from gateway.cli.audit import seal
    from gateway.custody.custodian import CustodyLock

    old_files(house, days=3)
    house.value("audit", "hold", "list")
    monkeypatch.setattr(seal, "_WAIT_S", 0.0)
    monkeypatch.setattr(verb, "_WAIT_S", 0.0)
    (house.state_dir / "custody").mkdir(exist_ok=True)
    lock = CustodyLock(Layout(house.state_dir))
    try:
        busy = house.run("audit", "seal")
        assert busy.exit_code == 1
        assert "another process has the custody" in busy.output
        busy = house.run("audit", "retention", "apply")
        assert busy.exit_code == 1
        assert "has not applied the rules in time" in busy.output
        assert (house.state_dir / "custody" / "apply").exists(), "the custodian finds the wish"
    finally:
        lock.release()


def test_two_verbs_never_have_the_custody_at_once(house: House) -> None:
    from gateway.custody.custodian import CustodyBusyError
    from gateway.server.settings import load_settings

    path = Path(house.directory / "gateway.yaml")
    settings = load_settings(path.read_text(), path)
    with custody.custody(settings), pytest.raises(CustodyBusyError), custody.custody(settings):
        pytest.fail("both have it")
