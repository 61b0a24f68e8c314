"""`gateway audit query`, `gaps`, `open-intents` and `export` on a log of three streams."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from gateway.audit import case, subject
from gateway.audit.protocol import DAEMON_SLOT
from gateway.audit.subject import Sealing
from gateway.cli import program
from gateway.exchange.stream import Stream
from gateway.exchange.subject import SubjectKey
from gateway.ledger.case_file import read_case
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.reader import entries
from gateway.store.subjects import Kept
from tests.fakes.evidence import access, write
from tests.unit.cli.conftest import House


def keys(house: House) -> AuditKeys:
    return AuditKeys.load(house.directory / "config" / "audit-keys.json")


@pytest.fixture
def log(house: House) -> House:
    for first, stream in enumerate(Stream):
        write(house.state_dir, keys(house), stream, map(access, range(first * 10, first * 10 + 10)))
    return house


def run(house: House, *arguments: str, code: int = 0) -> Result:
    result = house.run("audit", *arguments)
    assert result.exit_code == code, result.output
    return result


def uses(house: House) -> list[dict[str, Any]]:
    """What was recorded of the use of the log, oldest first."""
    stored = entries(Layout(house.state_dir).directory, keys(house), on_damage=pytest.fail)
    records = [orjson.loads(each.entry.payload) for each in stored]
    return [read for read in records if read.get("api", {}).get("service")]


def requests(result: Result) -> list[str]:
    return [json.loads(row)["record"]["metadata"]["correlation_uid"] for row in result.stdout.splitlines()]


# query


def test_streams_are_merged_or_chosen(log: House) -> None:
    assert len(requests(run(log, "query", "--event", "request", "--json"))) == 30
    assert requests(run(log, "query", "--stream", "access", "--limit", "2", "--json")) == ["req-18", "req-19"]
    two = run(log, "query", "--stream", "access", "--stream", "traffic", "--json")
    assert len(requests(two)) == 20


def test_an_answer_that_was_cut_says_so_and_so_does_an_empty_one(log: House) -> None:
    cut = run(log, "query", "--stream", "access", "--limit", "4", "--json")
    assert len(requests(cut)) == 4
    assert "the newest 4, and there are older ones" in cut.stderr
    whole = run(log, "query", "--stream", "access", "--event", "request", "--limit", "10", "--json")
    assert (len(requests(whole)), whole.stderr) == (10, "")
    assert "no record was found" in run(log, "query", "--user", "nobody").stderr


@pytest.mark.parametrize("verb", ["query", "export"])
@pytest.mark.parametrize("option", ["--user", "--actor", "--subject", "--resource", "--request-id", "--event", "--ip"])
def test_an_empty_filter_does_not_find_everything(log: House, verb: str, option: str) -> None:
    result = run(log, verb, option, "", code=2)
    assert "is empty" in result.output
    assert "person" not in result.stdout


def test_the_use_says_what_was_asked_for_and_why(log: House) -> None:
    run(log, "query", "--actor", "person3", "--case", "4711", "--stream", "access", "--reason", "court order", "--json")
    run(log, "query", "--sql", "SELECT count(*) FROM records")
    first, second = uses(log)
    assert first["unmapped"]["gw"]["query"] == {"actor": "person3", "case": "4711", "streams": "access"}
    assert first["status_detail"] == "court order"
    assert second["unmapped"]["gw"]["query"] == dict.fromkeys(("sql", "sql_shape"), "SELECT count(*) FROM records")


def test_nothing_is_shown_by_any_verb_when_its_use_cannot_be_recorded(log: House, tmp_path: Path) -> None:
    newest = max((log.state_dir / "audit").glob("security-*"))
    newest.write_bytes(newest.read_bytes()[:-10])
    for verb in (
        ["query"],
        ["query", "--sql", "SELECT path FROM records"],
        ["tail"],
        ["gaps"],
        ["open-intents"],
        ["export"],
        ["export", "-o", str(tmp_path / "out")],
        ["export", "--case", "1", "--sign", "-o", str(tmp_path / "out.tar")],
    ):
        result = run(log, *verb, code=2)
        assert "person" not in result.output
        assert "invoices" not in result.output
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.tar").exists()


def test_sql_is_answered_as_table_json_csv_and_parquet(log: House, tmp_path: Path) -> None:
    question = "SELECT stream, actor_id, time FROM records WHERE request_id = 'req-11'"
    table = run(log, "query", "--sql", question).stdout.splitlines()
    assert table == ["stream  actor_id  time", "access  u-4       2023-11-14T22:13:31.000Z"]
    assert json.loads(run(log, "query", "--sql", question, "--json").stdout) == {
        "stream": "access",
        "actor_id": "u-4",
        "time": "2023-11-14T22:13:31.000Z",
    }
    rows = list(csv.reader(io.StringIO(run(log, "query", "--sql", question, "--format", "csv").stdout)))
    assert rows == [["stream", "actor_id", "time"], ["access", "u-4", "2023-11-14T22:13:31.000Z"]]
    path = tmp_path / "x.parquet"
    run(log, "query", "--sql", question, "--format", "parquet", "-o", str(path))
    assert path.read_bytes()[:4] == b"PAR1"
    assert path.stat().st_mode & 0o077 == 0


def test_no_part_of_a_question_can_be_hidden_from_its_record(log: House) -> None:
    """Whoever looks somebody up puts a page of spaces before it."""
    run(log, "query", "--sql", " " * 2000 + "SELECT path FROM records WHERE actor = 'the boss'")
    assert "WHERE actor = " in uses(log)[0]["unmapped"]["gw"]["query"]["sql_shape"]
    answer = run(log, "query", "--sql", " " * 9000 + "SELECT path FROM records WHERE actor = 'the boss'", code=2)
    assert "all of it is recorded" in answer.output


def test_a_long_table_says_that_there_is_more(log: House) -> None:
    result = run(log, "query", "--sql", "SELECT path FROM records", "--limit", "5", "--stream", "access")
    assert len(result.stdout.splitlines()) == 6
    assert "5 more rows" in result.stderr
    csv_rows = run(log, "query", "--sql", "SELECT path FROM records", "--format", "csv", "--limit", "5").stdout
    assert len(csv_rows.splitlines()) == 6


@pytest.mark.parametrize(
    "question",
    ["SELECT * FROM read_text('/etc/passwd')", "COPY records TO '/tmp/x'", "SELECT nothing FROM records", "SELEC"],
)
def test_a_question_that_is_refused_is_refused_before_anything_is_read(log: House, question: str) -> None:
    result = run(log, "query", "--sql", question, code=2)
    assert "root:" not in result.output
    assert uses(log) == []


def test_no_cell_calculates_and_no_terminal_obeys(log: House) -> None:
    hostile = {"http_method": "GET", "uid": "req-99", "url": {"path": "=HYPERLINK(1)"}, "user_agent": "\x1b[2J@x"}
    write(log.state_dir, keys(log), Stream.TRAFFIC, [access(99, http_request=hostile)])
    for words in (
        ["query", "--request-id", "req-99"],
        ["query", "--request-id", "req-99", "--json"],
        ["query", "--request-id", "req-99", "--sql", "SELECT user_agent, path FROM records"],
        ["query", "--request-id", "req-99", "--format", "csv"],
        ["query", "--request-id", "req-99", "--format", "csv", "--sql", "SELECT user_agent, path FROM records"],
        ["export", "--request-id", "req-99", "--format", "csv"],
        ["export", "--request-id", "req-99", "--format", "cef"],
        ["export", "--request-id", "req-99"],
    ):
        output = run(log, *words).stdout
        assert "\x1b" not in output
        if "csv" in words:
            cells = next(iter(list(csv.reader(io.StringIO(output)))[1:]))
            assert "'=HYPERLINK(1)" in cells
            assert not any(cell.startswith(("=", "@")) for cell in cells)


@pytest.mark.parametrize(
    "words",
    [
        ["query", "--format", "parquet"],
        ["query", "--format", "parquet", "-o", "x", "--limit", "3"],
        ["query", "--memory", "much"],
        ["query", "--stream", "main"],
        ["export", "--sign"],
        ["export", "--sign", "--case", "1", "-o", "x.zip"],
        ["export", "--sign", "--case", "1", "-o", "x.tar", "--format", "csv"],
        ["export", "--format", "parquet"],
        ["export", "--format", "xml"],
    ],
)
def test_what_makes_no_sense_exits_2_and_is_not_recorded(log: House, words: list[str]) -> None:
    run(log, *words, code=2)
    assert uses(log) == []


def test_nothing_is_written_over(log: House, tmp_path: Path) -> None:
    path = tmp_path / "there.csv"
    path.write_text("evidence")
    for verb in ("query", "export"):
        assert "exists" in run(log, verb, "--format", "csv", "-o", str(path), code=2).output
    assert path.read_text() == "evidence"
    assert "no such file" in run(log, "query", "-o", str(tmp_path / "nowhere" / "x"), code=2).output


# People


def sealed(house: House, name: str) -> SubjectKey:
    """Write two requests of somebody, sealed under a key that the store keeps."""
    house.add(name, "--totp-secret", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")
    store = house.store()
    user = store.user_named(name)
    assert user is not None
    key = store.subjects.recall(user.id, "main")
    if key is None:
        key = store.subjects.make()
        store.subjects.keep([Kept(subject=key, user_id=user.id, tenant="main")], now=time.time())
    store.close()
    sealing = Sealing(key, os.urandom)
    who = {"name": sealing.value(subject.USER_NAME, name), "uid": sealing.value(subject.USER_UID, user.id)}
    write(house.state_dir, keys(house), Stream.ACCESS, [access(n, actor={"user": who}) for n in (70, 71)])
    return key


def test_a_person_is_found_by_name_and_shown_until_their_key_is_gone(log: House) -> None:
    key = sealed(log, "alice")
    for flag in ("--user", "--actor"):
        lines = run(log, "query", flag, "alice", "--stream", "access").stdout.splitlines()
        assert len(lines) == 2
        assert "alice@acme" in lines[0]
    assert "alice" in run(log, "query", "--actor", "alice", "--sql", "SELECT DISTINCT actor FROM records").stdout
    assert "alice" in run(log, "tail", "-n", "1", "--stream", "access").stdout
    assert "alice" in run(log, "export", "--actor", "alice", "--format", "csv").stdout
    assert "alice" not in run(log, "export", "--actor", "alice", "--format", "csv", "--sealed").stdout
    store = log.store()
    user = store.user_named("alice")
    assert user is not None
    store.rows.transact(lambda tx: store.subjects.destroy_in(tx, user.id, tenant="main", until=time.time() + 60))
    store.close()
    lines = run(log, "query", "--request-id", "req-70").stdout.splitlines()
    assert "(erased)@acme" in lines[0]
    assert key.token.hex() not in lines[0]


def test_without_the_state_what_is_sealed_stays_sealed_and_that_is_said(log: House) -> None:
    sealed(log, "alice")
    (log.directory / "config" / "keyring.json").unlink()
    result = run(log, "query", "--request-id", "req-70")
    assert "(sealed)@acme" in result.stdout
    assert result.stderr.count("the state cannot be opened") == 1


# gaps and open intents


def lifecycle(event: str, **gw: Any) -> bytes:
    return orjson.dumps({"class_uid": 6002, "time": 1_700_000_000_000, "unmapped": {"gw": {"event": event, **gw}}})


def test_gaps_are_listed_and_summed_up(log: House) -> None:
    assert "no gap" in run(log, "gaps").output
    gap = {"count": 7, "first": "1", "last": "7", "slot": 3}
    records = [
        lifecycle("audit.gap", reason="refused", gap=gap),
        lifecycle("audit.recovery", recovery={"discarded_bytes": 0, "missing_files": []}),
        lifecycle("audit.recovery", recovery={"discarded_bytes": 9, "missing_files": []}),
        lifecycle("audit.io_error"),
    ]
    write(log.state_dir, keys(log), Stream.SECURITY, records)
    lines = run(log, "gaps").output.splitlines()
    assert len(lines) == 4
    assert "audit.gap refused 7 records first=1 last=7 slot=3" in lines[0]
    assert lines[-1] == "7 records are known to be missing; 3 entries of the log are about that"
    answer = json.loads(run(log, "gaps", "--json").stdout)
    assert (answer["missing_records"], len(answer["gaps"])) == (7, 3)
    assert "no gap" in run(log, "gaps", "--since", "1m").output


def test_open_intents_are_those_of_which_nothing_else_is_known(log: House) -> None:
    assert "no open intent" in run(log, "open-intents").output
    intent = {"gw": {"action": "edit", "phase": "intent"}}
    closed = {"gw": {"action": "edit", "phase": "closing"}}
    records = [access(80, unmapped=intent), access(81, unmapped=intent), access(80, unmapped=closed)]
    write(log.state_dir, keys(log), Stream.ACCESS, records)
    lines = run(log, "open-intents").output.splitlines()
    assert lines[0].endswith("person4 GET /invoices/{id} request=req-81")
    assert lines[1] == "1 open intents"
    assert json.loads(run(log, "open-intents", "--json").stdout)["open_intents"][0]["request_id"] == "req-81"


def test_a_request_id_that_another_process_uses_closes_nobodys_intent(log: House) -> None:
    """Attack: a worker that was taken over says of somebody else's request that it is over."""
    intent = {"gw": {"action": "edit", "phase": "intent"}}
    closed = {"gw": {"action": "edit", "phase": "closing"}}
    write(log.state_dir, keys(log), Stream.ACCESS, [access(90, unmapped=intent)], slot=1)
    write(log.state_dir, keys(log), Stream.ACCESS, [access(90, unmapped=closed), access(90, unmapped=intent)], slot=2)
    write(log.state_dir, keys(log), Stream.TRAFFIC, [access(90, unmapped=closed)], slot=1)
    (shown,) = json.loads(run(log, "open-intents", "--json").stdout)["open_intents"]
    assert (shown["stream"], shown["index"], shown["request_id"]) == ("access", 10, "req-90")
    write(log.state_dir, keys(log), Stream.ACCESS, [access(90, unmapped=closed)], slot=1)
    assert "no open intent" in run(log, "open-intents").output


def test_an_intent_whose_announcement_is_not_found_is_shown_all_the_same(log: House) -> None:
    """Attack: a worker that was taken over writes a request id so that a search does not find what the log follows."""
    hidden = {"correlation_uid": "req\n94", "tenant_uid": "acme", "uid": "e-94"}
    intent = {"gw": {"action": "edit", "phase": "intent"}}
    write(log.state_dir, keys(log), Stream.ACCESS, [access(94, metadata=hidden, unmapped=intent)], slot=4)
    (shown,) = json.loads(run(log, "open-intents", "--json").stdout)["open_intents"]
    assert (shown["stream"], shown["slot"], shown["index"], shown["request_id"]) == ("access", 4, None, r"req\n94")
    lines = run(log, "open-intents").output.splitlines()
    assert lines == [r"access: request=req\n94 of producer 4: its announcement is not found", "1 open intents"]


def test_an_intent_that_the_daemon_closed_is_not_open(log: House) -> None:
    intent = {"gw": {"action": "edit", "phase": "intent"}}
    unknown = {"gw": {"action": "edit", "outcome": "unknown", "phase": "outcome"}}
    write(log.state_dir, keys(log), Stream.ACCESS, [access(91, unmapped=intent)], slot=3)
    write(log.state_dir, keys(log), Stream.ACCESS, [access(91, unmapped=unknown)], slot=DAEMON_SLOT)
    assert "no open intent" in run(log, "open-intents").output


def test_what_cannot_be_read_of_the_newest_file_is_said(log: House) -> None:
    intent = {"gw": {"action": "edit", "phase": "intent"}}
    write(log.state_dir, keys(log), Stream.ACCESS, [access(92, unmapped=intent)])
    newest = max((log.state_dir / "audit").glob("access-*.log"))
    newest.write_bytes(newest.read_bytes() + b"garbage")
    told = json.loads(run(log, "open-intents", "--json").stdout)
    assert [shown["request_id"] for shown in told["open_intents"]] == ["req-92"]
    assert any(newest.name in line for line in told["unreadable"])
    newest.write_bytes(b"no head")
    assert any(
        "its head cannot be read" in line
        for line in json.loads(run(log, "open-intents", "--json").stdout)["unreadable"]
    )


# export


def test_every_format_has_every_record_once(log: House, tmp_path: Path) -> None:
    for form in ("ocsf-jsonl", "ecs", "cef"):
        path = tmp_path / form
        run(log, "export", "--event", "request", "--format", form, "-o", str(path))
        assert len(path.read_text("utf-8").splitlines()) == 30
        assert path.stat().st_mode & 0o077 == 0
    rows = list(csv.DictReader(io.StringIO(run(log, "export", "--event", "request", "--format", "csv").stdout)))
    assert len({(row["origin"], row["index"]) for row in rows}) == 30
    first = json.loads((tmp_path / "ocsf-jsonl").read_text("utf-8").splitlines()[0])
    assert first["unmapped"]["gw"]["origin"].endswith("/security")
    run(log, "export", "--event", "request", "--format", "parquet", "-o", str(tmp_path / "p"))
    assert [use["unmapped"]["gw"]["action"] for use in uses(log)] == ["export"] * 5


def test_a_case_is_made_checked_and_found_out(log: House, tmp_path: Path) -> None:
    sealed(log, "alice")
    path = tmp_path / "case.tar"
    words = ["export", "--case", "4711", "--sign", "--reason", "court order", "--actor", "alice", "-o", str(path)]
    assert "2 records, each with its proof" in run(log, *words).output
    assert path.stat().st_mode & 0o077 == 0
    assert "intact: case 4711" in run(log, "verify", str(path)).output, "-c says whose key it is"
    bare = CliRunner().invoke(program, ["audit", "verify", str(path), "--json"])
    assert bare.exit_code == 3
    answer = json.loads(bare.stdout)["cases"][0]
    assert (answer["proven_records"], answer["manifest"]["reason"], answer["findings"]) == (2, "court order", [])
    files = read_case(path)
    assert b"alice" in files[case.OPENED]
    assert b"alice" not in files[case.RECORDS]
    page = files[case.README].decode()
    for sentence in (
        "EVIDENCE FROM AN AUDIT LOG: 4711",
        "WHAT IS NOT PROVEN",
        "opened by the gateway with the key of the person",
    ):
        assert sentence in page
    data = path.read_bytes().replace(b"court order", b"court 0rder")
    path.write_bytes(data)
    changed = CliRunner().invoke(program, ["audit", "verify", str(path)])
    assert changed.exit_code == 1
    assert "BITFLIP" in changed.output


def test_the_page_of_a_case_can_be_followed_by_somebody_who_has_only_the_archive(log: House, tmp_path: Path) -> None:
    """Every command of the page, as it stands there, in a fresh directory."""
    sealed(log, "alice")
    desk = tmp_path / "desk"
    desk.mkdir()
    path = desk / "THIS-ARCHIVE.tar"
    run(log, "export", "--case", "4711 / North", "--sign", "--actor", "alice", "-o", str(path))
    trusted = run(log, "trust", "--vkeys").stdout
    (desk / "KEYS-THAT-YOU-TRUST.txt").write_text(trusted)
    page = read_case(path)[case.README].decode()
    commands = [line.strip() for line in page.splitlines() if line.startswith("    ")]
    verify, *tools = commands[next(at for at, line in enumerate(commands) if line.startswith("gateway audit verify")) :]

    def shell(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-ec", text], cwd=desk, capture_output=True, text=True, check=False)

    checked = shell(verify.replace("gateway", str(Path(sys.executable).with_name("gateway")), 1))
    assert (checked.returncode, "intact: case 4711 / North" in checked.stdout) == (0, True), checked.stderr
    done = shell("\n".join(tools))
    *_, verified, key, trusted_key = done.stdout.splitlines()
    assert (done.returncode, done.stderr, verified) == (0, "", "Signature Verified Successfully")
    assert key == trusted_key
    assert {each.name for each in desk.iterdir()} == {
        "THIS-ARCHIVE.tar",
        "KEYS-THAT-YOU-TRUST.txt",
        "case-4711-North",
        "signed-text",
    }
    (desk / "case-4711-North" / case.TABLE).write_text("something else")
    found = shell("\n".join(tools[1:3]))
    assert found.returncode == 1
    assert f"{case.TABLE}: FAILED" in found.stdout
    unpacked = CliRunner().invoke(program, ["audit", "verify", str(desk / "case-4711-North")])
    assert (unpacked.exit_code, "BITFLIP" in unpacked.output) == (1, True)


def test_a_sealed_case_shows_nobody(log: House, tmp_path: Path) -> None:
    sealed(log, "alice")
    path = tmp_path / "case.tar"
    run(log, "export", "--case", "1", "--sign", "--sealed", "--request-id", "req-70", "-o", str(path))
    assert b"alice" not in path.read_bytes()
    assert case.OPENED not in read_case(path)
    assert "intact" in run(log, "verify", str(path)).output


def test_a_case_of_nothing_is_refused_and_leaves_no_file(log: House, tmp_path: Path) -> None:
    path = tmp_path / "case.tar"
    result = run(log, "export", "--case", "1", "--sign", "--request-id", "none", "-o", str(path), code=1)
    assert "nothing to prove" in result.output
    assert not path.exists()


def test_a_case_and_a_copy_of_the_log_are_not_verified_in_one_go(log: House, tmp_path: Path) -> None:
    path = tmp_path / "case.tar"
    run(log, "export", "--case", "1", "--sign", "--request-id", "req-3", "-o", str(path))
    fleet = tmp_path / "fleet"
    fleet.write_text(f"log {keys(log).vkey('gateway/node/1a2b3c4d/access')}\n")
    assert "apart" in run(log, "verify", str(path), str(log.state_dir / "audit"), code=2).output
    for more in (["--trusted-checkpoint", str(path)], ["--fleet", str(fleet)], ["--against-witness"], ["--to", "0"]):
        answer = run(log, "verify", str(path), *more, code=2).output
        assert "it cannot show what was asked about whole logs" in answer, "a case instead of a copy answers nothing"
    path.write_bytes(path.read_bytes()[:3000])
    assert "damaged" in run(log, "verify", str(path), code=2).output


def test_a_query_gives_a_proof_of_each_record_that_it_shows(log: House, tmp_path: Path) -> None:
    policies, proofs = tmp_path / "trust", tmp_path / "proofs"
    run(log, "trust", "-o", str(policies))
    shown = run(log, "query", "--event", "request", "--limit", "12", "--json", "--with-proofs", str(proofs))
    wanted = {
        f"{each['log']['stream']}-{each['log']['index']}.tlog-proof"
        for line in shown.stdout.splitlines()
        if (each := json.loads(line))
    }
    assert {path.name for path in proofs.iterdir()} == wanted
    assert len(wanted) == 12
    assert "wrote 12 proofs" in shown.stderr
    assert uses(log)[-1]["unmapped"]["gw"]["query"]["proofs"] == str(proofs)
    for path in proofs.iterdir():
        assert path.stat().st_mode & 0o077 == 0
        stream = path.name.partition("-")[0]
        run(log, "check-proof", str(path), "--policy", str(policies / f"{stream}.policy"))
    assert "name a new directory" in run(log, "query", "--with-proofs", str(proofs), code=2).output
    sql = ("query", "--sql", "SELECT 1 FROM records", "--with-proofs", str(tmp_path / "other"))
    assert "proves records" in run(log, *sql, code=2).output
    assert not (tmp_path / "other").exists()
