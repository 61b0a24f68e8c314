from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from gateway.audit.entry import Entry
from gateway.cli import program
from gateway.cli.audit.showing import line, parse, plain
from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.log import open_log
from gateway.ledger.reader import Stored, entries

YAML = """version: 1
public_url: http://localhost:8000
listen:
  - {address: 127.0.0.1:8000, unsafe_plaintext: true}
state_dir: state
upstreams:
  portal: {servers: ["http://127.0.0.1:3000"]}
"""


def access(n: int, **changes: Any) -> bytes:
    made = {
        "action_id": 1,
        "actor": {"user": {"name": "alice", "uid": "u-1"}},
        "http_request": {"http_method": "GET", "uid": f"req-{n}", "url": {"path": f"/invoices/{n}"}},
        "http_response": {"code": 200},
        "metadata": {"correlation_uid": f"req-{n}", "tenant_uid": "acme"},
        "resources": [{"type": "invoice", "uid": str(n)}],
        "src_endpoint": {"ip": "10.0.0.1"},
        "time": 1_700_000_000_000 + n * 1000,
        "unmapped": {"gw": {"action": "view", "phase": "single", "reason": "allowed", "route": "invoice"}},
        **changes,
    }
    return orjson.dumps(made, option=orjson.OPT_SORT_KEYS)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A configuration with a log of five records: three of alice, one refused to bob, one that is no JSON."""
    path = tmp_path / "gateway.yaml"
    path.write_text(YAML)
    (tmp_path / "config").mkdir()
    keys = AuditKeys.generate(origin="gateway/node", created="x", random=os.urandom)
    keys.create(tmp_path / "config" / "audit-keys.json")
    refused = {
        "action_id": 2,
        "actor": {"user": {"name": "bob", "uid": "u-2"}},
        "http_response": {"code": 403},
        "metadata": {"correlation_uid": "req-9", "tenant_uid": "globex"},
        "unmapped": {"gw": {"action": "edit", "phase": "single", "reason": "role_missing", "route": "edit"}},
    }
    log = open_log(tmp_path / "state", keys, Stream.SECURITY, boot="b", capacity=1 << 16)
    log.append(
        [(0, range(1, 6), [access(1), access(2), access(3), access(9, **refused), b"no JSON \x1b[31m"])],
        is_safe=True,
        now_ns=1_700_000_100_000_000_000,
    )
    log.close()
    return path


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(program, ["audit", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def files(site: Path) -> list[Path]:
    return sorted((site.parent / "state" / "audit").iterdir())


# verify


def test_an_intact_log_exits_0_and_says_what_is_proven_and_by_whom(site: Path) -> None:
    result = run("verify", "-c", str(site))
    assert result.exit_code == 0, result.output
    assert "/security: intact: entries 0 to 4 are what the log's key signed" in result.output
    assert "entries 0 to 4 proven by the checkpoint of 5 entries" in result.output
    assert "no witness" in result.output


def test_the_same_as_json(site: Path) -> None:
    result = run("verify", "-c", str(site), "--json")
    whole = json.loads(result.output)
    answer = whole["streams"]["security"]
    assert (whole["ok"], whole["exit_code"], list(whole["streams"])) == (True, 0, ["security"])
    assert (answer["exit_code"], answer["size"], answer["proven"]) == (0, 5, 5)
    assert answer["findings"] == []
    assert answer["vkey"].startswith("gateway/node/")
    assert answer["first_time"] == "2023-11-14T22:15:00Z"


def test_one_flipped_byte_exits_1_and_names_the_place(site: Path) -> None:
    path = files(site)[0]
    data = bytearray(path.read_bytes())
    data[-300] ^= 1
    path.write_bytes(bytes(data))
    result = run("verify", "-c", str(site))
    assert result.exit_code == 1
    assert "BITFLIP" in result.output
    assert path.name in result.output
    assert "NOT INTACT" in result.output
    answer = json.loads(run("verify", "-c", str(site), "--json").output)["streams"]["security"]
    assert answer["findings"][0]["kind"] == "BITFLIP"
    assert answer["findings"][0]["first_index"] == 0


def test_a_bare_directory_exits_3_and_says_what_is_lacking(site: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(site.parent / "state" / "audit", copy)
    result = run("verify", str(copy))
    assert result.exit_code == 3
    assert "were not decrypted" in result.output
    assert "may have been cut off" in result.output
    damaged = bytearray((copy / "security-000000000001.log").read_bytes())
    damaged[-300] ^= 1
    (copy / "security-000000000001.log").write_bytes(bytes(damaged))
    assert run("verify", str(copy)).exit_code == 1


def test_a_copy_is_judged_with_the_keys_and_checkpoint_of_the_gateway(site: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(site.parent / "state" / "audit", copy)
    assert run("verify", str(copy), "-c", str(site)).exit_code == 0


def test_a_checkpoint_and_a_key_that_were_kept_elsewhere_can_be_given(site: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.txt"
    shutil.copy(site.parent / "state" / "checkpoints" / "security", kept)
    vkey = json.loads(run("verify", "-c", str(site), "--json").output)["streams"]["security"]["vkey"]
    directory = str(site.parent / "state" / "audit")
    assert run("verify", directory, "--trusted-checkpoint", str(kept), "--vkey", vkey).exit_code == 3
    assert run("verify", "-c", str(site), "--trusted-checkpoint", str(kept)).exit_code == 0
    for path in files(site):
        path.unlink()
    gone = run("verify", "-c", str(site), "--trusted-checkpoint", str(kept))
    assert gone.exit_code == 1
    assert "TRUNCATED" in gone.output
    assert f"{kept.name} is signed for" in gone.output
    assert run("verify", directory, "--vkey", "nonsense").exit_code == 2


def test_a_deleted_log_is_a_finding_and_a_new_one_is_unproven(site: Path) -> None:
    shutil.rmtree(site.parent / "state" / "audit")
    assert run("verify", "-c", str(site)).exit_code == 1
    (site.parent / "state" / "checkpoints" / "security").unlink()
    result = run("verify", "-c", str(site))
    assert result.exit_code == 3
    assert "there is no log yet" in result.output


def test_a_deleted_checkpoint_leaves_the_tail_unproven(site: Path) -> None:
    (site.parent / "state" / "checkpoints" / "security").unlink()
    assert run("verify", "-c", str(site)).exit_code == 3


@pytest.mark.parametrize("arguments", [["nowhere"], ["-c", "nowhere.yaml"], ["--wrong"]])
def test_usage_and_missing_files_exit_2(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("verify", *arguments).exit_code == 2
    assert run("verify").exit_code == 2


def test_keys_that_others_can_read_exit_2(site: Path) -> None:
    (site.parent / "config" / "audit-keys.json").chmod(0o644)
    result = run("verify", "-c", str(site))
    assert result.exit_code == 2
    assert "chmod 600" in result.output


def test_many_open_intents_are_summed_up(site: Path) -> None:
    keys = AuditKeys.load(site.parent / "config" / "audit-keys.json")
    log = open_log(site.parent / "state", keys, Stream.SECURITY, boot="b", capacity=1 << 16)
    intents = [b'{"metadata":{"correlation_uid":"r%d"},"unmapped":{"gw":{"phase":"intent"}}}' % n for n in range(30)]
    log.append([(1, range(1, 31), intents)], is_safe=True, now_ns=1_700_000_200_000_000_000)
    log.close()
    result = run("verify", "-c", str(site))
    assert result.exit_code == 0
    assert result.output.count("OPEN_INTENT") == 21
    assert "OPEN_INTENT and 10 more" in result.output
    assert len(json.loads(run("verify", "-c", str(site), "--json").output)["streams"]["security"]["declared"]) == 30


# query


def query(site: Path, *arguments: str) -> list[int]:
    result = run("query", "-c", str(site), "--json", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(row)["log"]["index"] for row in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--user", "alice"], [0, 1, 2]),
        (["--user", "u-2"], [3]),
        (["--tenant", "globex"], [3]),
        (["--route", "invoice"], [0, 1, 2]),
        (["--action", "edit"], [3]),
        (["--decision", "deny"], [3]),
        (["--decision", "allow", "--user", "alice"], [0, 1, 2]),
        (["--status", "403"], [3]),
        (["--resource", "invoice/2"], [1]),
        (["--resource", "invoice", "--user", "bob"], [3]),
        (["--request-id", "req-3"], [2]),
        (["--since", "2023-11-14T22:13:22Z", "--until", "2023-11-14T22:13:23"], [1]),
        (["--since", "2023-11-14T23:13:23+01:00", "--user", "alice"], [2]),
        (["--user", "alice", "--limit", "2"], [1, 2]),
        (["--user", "nobody"], []),
        (["--user", "alice", "--since", "1m"], []),
    ],
)
def test_a_query_finds_what_was_asked_for(site: Path, arguments: list[str], found: list[int]) -> None:
    assert query(site, *arguments) == found


def test_a_query_is_itself_recorded_before_anything_is_shown(site: Path) -> None:
    query(site, "--user", "alice", "--reason", "ticket 7")
    keys = AuditKeys.load(site.parent / "config" / "audit-keys.json")
    last = list(entries(Layout(site.parent / "state").directory, keys, on_damage=pytest.fail))[-1]
    decoded = orjson.loads(last.entry.payload)
    assert decoded["api"]["operation"] == "audit query"
    assert decoded["unmapped"]["gw"]["query"] == {"user": "alice"}
    assert decoded["status_detail"] == "ticket 7"
    assert decoded["actor"]["user"]["uid"]
    assert run("verify", "-c", str(site)).exit_code == 0


def test_nothing_is_shown_when_the_query_cannot_be_recorded(site: Path) -> None:
    path = files(site)[-1]
    path.write_bytes(path.read_bytes()[:-10])
    result = run("query", "-c", str(site))
    assert result.exit_code == 2
    assert "alice" not in result.output
    assert "audit verify" in result.output


def test_people_read_one_line_a_record_and_no_escape_sequence(site: Path) -> None:
    result = run("query", "-c", str(site))
    rows = result.output.splitlines()
    assert rows[0] == (
        "security/0 2023-11-14T22:13:21.000Z alice@acme GET /invoices/1 200 allow route=invoice reason=allowed phase=single "
        "from=10.0.0.1 request=req-1"
    )
    assert "bob@globex" in rows[3]
    assert " deny " in rows[3]
    assert "\x1b" not in result.output
    assert "no JSON \\x1b[31m" in rows[4]
    assert "audit query" in rows[5]


def test_damage_is_said_beside_the_result(site: Path) -> None:
    run("query", "-c", str(site))
    path = files(site)[0]
    data = bytearray(path.read_bytes())
    data[-300] ^= 1
    path.write_bytes(bytes(data))
    result = run("query", "-c", str(site))
    assert "warning: security-000000000001.log: not readable" in result.output
    assert result.exit_code == 0


@pytest.mark.parametrize(
    "arguments", [["--since", "yesterday"], ["--decision", "maybe"], ["--status", "7"], ["--limit", "0"]]
)
def test_a_query_that_makes_no_sense_exits_2(site: Path, arguments: list[str]) -> None:
    assert run("query", "-c", str(site), *arguments).exit_code == 2


# tail and the rest


def test_tail_shows_the_newest_records_and_is_recorded(site: Path) -> None:
    result = run("tail", "-c", str(site), "-n", "2")
    rows = result.output.splitlines()
    assert len(rows) == 2
    assert " audit tail" in rows[1]


def test_tail_follows_until_ctrl_c(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = AuditKeys.load(site.parent / "config" / "audit-keys.json")
    turns = iter([True, False])

    def sleep(_seconds: float) -> None:
        if not next(turns):
            raise KeyboardInterrupt
        log = open_log(site.parent / "state", keys, Stream.SECURITY, boot="b", capacity=1 << 16)
        log.append([(1, [1], [access(77)])], is_safe=True, now_ns=1)
        log.close()

    monkeypatch.setattr("gateway.cli.audit.tail.time.sleep", sleep)
    result = run("tail", "-c", str(site), "-n", "0", "-f")
    assert result.exit_code == 0
    assert "/invoices/77" in result.output


def test_the_line_of_a_record_of_the_log_says_what_it_is_about() -> None:
    disk = {"level": "critical", "free_bytes": 5, "before": "high"}
    gw = {
        "event": "audit.disk_level",
        "disk": disk,
        "decision_inputs": {"host": "x"},
        "sink": {"indexes": [1], "name": ""},
    }
    stored = Stored(Stream.SECURITY, 3, Entry(1, 10**18, 1, b"{}"))
    assert line(stored, {"time": 0, "unmapped": {"gw": gw}}).endswith(
        "audit.disk_level before=high free_bytes=5 level=critical"
    )


def test_any_record_has_a_line() -> None:
    for payload in (
        b"{}",
        b"[]",
        b'{"unmapped":5}',
        b'{"actor":[],"http_request":{}}',
        b'{"time":"x"}',
        b'{"unmapped":{"gw":5}}',
        b'{"time":99999999999999999999}',
        b'{"time":-9999999999999999}',
        b'{"http_request":{},"action_id":{}}',
        b'{"metadata":{"tenant_uid":[]},"unmapped":{"gw":{"disk":{"level":{}}}}}',
    ):
        stored = Stored(Stream.TRAFFIC, 0, Entry(1, 10**18, 1, payload))
        assert line(stored, parse(stored)).startswith("traffic/0 2")
    assert plain("a\u202eb\n") == "a\\u202eb\\n"
