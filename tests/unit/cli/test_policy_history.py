"""`policy replay`, `suggest` and `coverage --traffic` on a log, as an operator calls them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from gateway.cli import program
from gateway.cli.policy import history
from gateway.exchange.reason import Reason
from gateway.ledger.keys import AuditKeys
from gateway.policy import Facts, compile_policy
from tests.bench.replay import prepare
from tests.fakes.past import Past, Recorder, signed_in, write_log

HOSTS = {"portal.example.com": "", "acme.example.com": "acme"}
SETTINGS = """version: 1
public_url: https://portal.example.com
listen: [{address: 127.0.0.1:8443, tls: {certificate: cert.pem, key: key.pem}}]
state_dir: state
upstreams: {portal: {servers: ["http://127.0.0.1:3000"]}}
tenants: {acme: {hosts: [acme.example.com]}}
mfa: {required: always}
"""
POLICY = """version: 1
roles: {client: {}, billing: {includes: [client]}}
routes:
  - name: home
    match: {path: /, methods: [GET]}
    upstream: portal
    allow:
      - roles: [client]
  - name: invoice
    match: {path: "/invoices/{id}", methods: [GET]}
    upstream: portal
    allow:
      - roles: [billing]
        when: session.mfa_age < duration("12h")
"""
CASES = """cases:
  - name: billing reads an invoice
    as: {user: alice, tenant: acme, roles: [billing]}
    request: GET https://acme.example.com/invoices/1
    expect: {decision: allow, route: invoice}
"""
Run = Callable[..., Result]


@pytest.fixture
def now() -> float:
    return time.time() - 3600


def ask(path: str, method: str = "GET") -> Facts:
    return Facts(method=method, host="acme.example.com", path=path, client_ip="10.1.2.3", user_agent="Browser/1")


def visits(now: float) -> list[Past]:
    alice, bob = signed_in("alice", ("billing",), now), signed_in("bob", ("client",), now)
    return [
        Past(facts=ask("/"), session=bob, now=now),
        Past(facts=ask("/invoices/1"), session=alice, now=now + 1),
        Past(facts=ask("/invoices/2"), session=alice, now=now + 2),
        Past(facts=ask("/invoices/2"), session=bob, now=now + 3),
        Past(facts=ask("/"), session=None, now=now + 4),
        Past(facts=ask("/nowhere"), session=bob, now=now + 5),
    ]


def write(site: Path, payloads: Iterable[bytes], **options: Any) -> None:
    write_log(site / "state", AuditKeys.load(site / "config" / "audit-keys.json"), payloads, **options)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A gateway that is not running, with its keys and without a log."""
    assert CliRunner().invoke(program, ["init", str(tmp_path / "made"), "--tenant", "acme"]).exit_code == 0
    site = tmp_path / "made"
    (site / "gateway.yaml").write_text(SETTINGS, "utf-8")
    for found in (site / "policies").rglob("*.yaml"):
        found.unlink()
    (site / "policies" / "tests").mkdir(exist_ok=True)
    (site / "policies" / "portal.yaml").write_text(POLICY, "utf-8")
    (site / "policies" / "tests" / "portal.yaml").write_text(CASES, "utf-8")
    return site


@pytest.fixture
def recorder(site: Path) -> Recorder:
    table, _ = compile_policy({"policies/portal.yaml": POLICY}, upstreams=["portal"], tenants=["acme"], hosts=HOSTS)
    return Recorder(table, HOSTS)


@pytest.fixture
def run(site: Path) -> Run:
    def verb(*arguments: str) -> Result:
        result = CliRunner().invoke(program, ["policy", *arguments, "-c", str(site / "gateway.yaml")])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return verb


def candidate(site: Path, old: str, new: str) -> str:
    assert old in POLICY
    (site / "next").mkdir()
    (site / "next" / "portal.yaml").write_text(POLICY.replace(old, new), "utf-8")
    return str(site / "next")


def uses(site: Path) -> list[dict[str, Any]]:
    shown = CliRunner().invoke(program, ["audit", "query", "--json", "-c", str(site / "gateway.yaml")])
    read = [json.loads(line)["record"] for line in shown.stdout.splitlines()]
    return [record for record in read if record.get("api", {}).get("operation", "").startswith("policy ")]


def test_replay_of_the_policy_that_decided_changes_nothing_and_exits_0(
    run: Run, site: Path, recorder: Recorder, now: float
) -> None:
    write(site, map(recorder.record, visits(now)))
    result = run("replay")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "6 the same, 0 would be refused, 0 would be allowed, 0 unknown." in result.stdout
    value = json.loads(run("replay", "--json").stdout)
    assert (value["same"], value["changes"], value["read"]["requests"]) == (6, [], 6)
    assert value["read"]["policy_versions"] == {recorder.table.version: 6}


def test_replay_names_who_would_lose_by_which_line_and_exits_1(
    run: Run, site: Path, recorder: Recorder, now: float
) -> None:
    write(site, map(recorder.record, visits(now)))
    result = run("replay", "--candidate", candidate(site, "- roles: [client]", "- roles: [billing]"))
    assert result.exit_code == 1
    assert "WOULD BE REFUSED: 1 request of 1 person" in result.stdout
    assert "bob@acme" in result.stdout
    value = json.loads(run("replay", "--candidate", str(site / "next"), "--json").stdout)
    (change,) = value["changes"]
    assert (change["outcome"], change["person"], change["roles"], change["route"], change["requests"]) == (
        "would_refuse", "bob@acme", ["client"], "home", 1,
    )  # fmt: skip
    assert change["before"] == {"reason": "allowed", "rule": "policies/portal.yaml:8:9"}
    assert change["after"]["reason"] == "role_missing"
    assert change["after"]["rule"].endswith("next/portal.yaml:7:5")
    assert change["example"] == f"{1:032x}"
    assert value["by"] == {"would_refuse": {"route": {"home": 1}, "role": {"client": 1}, "person": {"bob@acme": 1}}}


def test_replay_names_who_would_gain(run: Run, site: Path, recorder: Recorder, now: float) -> None:
    write(site, map(recorder.record, visits(now)))
    result = run("replay", "--candidate", candidate(site, "- roles: [billing]", "- roles: [client]"), "--json")
    value = json.loads(result.stdout)
    assert (result.exit_code, value["would_allow"], value["would_refuse"]) == (1, 1, 0)
    assert (value["changes"][0]["person"], value["changes"][0]["before"]["reason"]) == ("bob@acme", "role_missing")


def test_what_is_unknown_is_said_and_is_no_change(run: Run, site: Path, recorder: Recorder, now: float) -> None:
    write(site, map(recorder.record, visits(now)))
    result = run("replay", "--candidate", candidate(site, "/invoices/{id}", "/{anything}"))
    assert "UNKNOWN: 1 request" in result.stdout
    assert "nobody was asked who they are" in result.stdout


def test_limits_and_portals_that_were_down_are_no_answers_of_policy(
    run: Run, site: Path, recorder: Recorder, now: float
) -> None:
    bob = Past(facts=ask("/"), session=signed_in("bob", ("client",), now), now=now)
    write(site, [recorder.record(bob, reason=Reason.RATE_LIMITED), recorder.record(bob)])
    result = run("replay", "--candidate", candidate(site, "- roles: [client]", "- roles: [billing]"))
    assert "0 the same, 1 would be refused" in result.stdout
    assert "1 request refused by something after policy: not decided again." in result.stdout


def test_only_the_span_that_was_asked_for_is_read(run: Run, site: Path, recorder: Recorder, now: float) -> None:
    write(site, map(recorder.record, visits(now - 40 * 86_400) + visits(now)))
    assert json.loads(run("replay", "--json").stdout)["read"]["requests"] == 6
    assert json.loads(run("replay", "--since", "60d", "--json").stdout)["read"]["requests"] == 12
    assert json.loads(run("replay", "--since", "60d", "--until", "30d", "--json").stdout)["read"]["requests"] == 6


def test_many_processes_find_what_one_finds(
    run: Run, site: Path, recorder: Recorder, now: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = signed_in("bob", ("client",), now)
    many = [Past(facts=ask(f"/invoices/{n}" if n % 3 else "/"), session=bob, now=now + n / 100) for n in range(3000)]
    write(site, map(recorder.record, many), capacity=1 << 20)
    assert len(list((site / "state" / "audit").iterdir())) > 3
    asked = ("replay", "--json", "--candidate", candidate(site, "- roles: [client]", "- roles: [billing]"))
    alone = json.loads(run(*asked).stdout)
    monkeypatch.setattr(history, "WORTH_A_PROCESS_BYTES", 1)
    together = json.loads(run(*asked).stdout)
    assert together["would_refuse"] == 1000
    for value in (alone, together):
        value["read"].pop("not_decided")  # each use is in the log
    assert together == alone


def test_each_use_is_recorded_before_anything_is_shown(run: Run, site: Path, recorder: Recorder, now: float) -> None:
    write(site, map(recorder.record, visits(now)))
    run("replay", "--reason", "ticket 4711")
    run("suggest")
    run("coverage", "--traffic")
    run("coverage")
    found = uses(site)
    assert [record["api"]["operation"] for record in found] == ["policy replay", "policy suggest", "policy coverage"]
    assert found[0]["status_detail"] == "ticket 4711"
    assert set(found[0]["unmapped"]["gw"]["query"]) == {"since"}


def test_without_the_keys_of_the_log_nothing_is_shown(run: Run, site: Path, recorder: Recorder, now: float) -> None:
    write(site, map(recorder.record, visits(now)))
    (site / "config" / "audit-keys.json").unlink()
    for verb in (("replay",), ("suggest",), ("coverage", "--traffic")):
        result = run(*verb)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "the audit keys do not exist" in result.stderr
    assert run("coverage").exit_code == 0


def test_a_damaged_file_is_named_and_the_rest_is_read(run: Run, site: Path, recorder: Recorder, now: float) -> None:
    write(site, map(recorder.record, visits(now)))
    write(site, map(recorder.record, visits(now)))
    first = min((site / "state" / "audit").iterdir())
    data = bytearray(first.read_bytes())
    data[-300] ^= 1
    first.write_bytes(bytes(data))
    copy = site / "copy"
    (site / "state" / "audit").rename(copy)
    (site / "state" / "checkpoints" / "security").unlink()
    result = run("replay", "--log", str(copy))
    assert "warning: security-000000000001.log: not readable from byte" in result.stderr
    assert "6 the same" in result.stdout


def test_a_log_that_was_not_begun_holds_nothing(run: Run) -> None:
    assert run("replay").stdout == (
        "Nothing to replay, which proves nothing: the log holds no request of that time that policy decided.\n"
    )
    assert "Nothing can be suggested from that." in run("suggest").stdout


def test_a_wrong_candidate_exits_2_with_its_lines(run: Run, site: Path) -> None:
    result = run("replay", "--candidate", candidate(site, "roles: [client]", "roles: [clint]"))
    assert result.exit_code == 2
    assert "next/portal.yaml:8:17: unknown role 'clint'; did you mean 'client'?" in result.stderr
    assert run("replay", "--candidate", "nowhere").exit_code == 2
    assert run("replay", "--since", "yesterday").exit_code == 2


def test_suggestions_come_with_their_span_their_evidence_and_what_to_write(
    run: Run, site: Path, recorder: Recorder, now: float
) -> None:
    write(site, map(recorder.record, visits(now)[1:3] * 20))
    result = run("suggest")
    assert result.exit_code == 0
    assert "Seen: 40 requests from 20" in result.stdout
    assert "may be missing" in result.stdout
    assert "policies/portal.yaml:4:5: home: nobody was let through" in result.stdout
    assert "    |   deny: true" in result.stdout
    value = json.loads(run("suggest", "--json").stdout)
    assert {one["kind"] for one in value["suggestions"]} == {"unused-route", "idle-condition"}
    assert all(one["source"].startswith("policies/portal.yaml:") for one in value["suggestions"])
    assert "deny: true" in value["suggestions"][0]["yaml"]


def test_people_who_need_less_come_with_the_command(run: Run, site: Path, recorder: Recorder, now: float) -> None:
    carol = Past(facts=ask("/"), session=signed_in("carol", ("billing", "client"), now), now=now)
    write(site, [recorder.record(carol), *map(recorder.record, visits(now))])
    (person,) = json.loads(run("suggest", "--json").stdout)["people"]
    assert (person["user"], person["roles"], person["enough"]) == ("carol", ["billing", "client"], ["client"])
    assert person["command"] == "gateway user role carol --remove billing"


def test_what_the_log_does_not_bear_out_is_not_suggested(run: Run, site: Path, now: float) -> None:
    """Closing `/admin`, which is as open as `/**`, would have `/admin.json` refused as another name of it."""
    text = (
        "version: 1\nroles: {client: {}}\nroutes:\n"
        "  - {name: admin, match: {path: /admin, methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}\n"
        '  - {name: all, match: {path: "/**", methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}\n'
    )
    (site / "policies" / "portal.yaml").write_text(text, "utf-8")
    (site / "policies" / "tests" / "portal.yaml").unlink()
    table, _ = compile_policy({"policies/portal.yaml": text}, upstreams=["portal"], tenants=["acme"], hosts=HOSTS)
    recorder = Recorder(table, HOSTS)
    bob = signed_in("bob", ("client",), now)
    write(site, [recorder.record(Past(facts=ask("/admin.json"), session=bob, now=now))])
    value = json.loads(run("suggest", "--json").stdout)
    assert value["suggestions"] == []


def test_coverage_names_each_line_and_side_that_no_case_exercises(run: Run) -> None:
    result = run("coverage")
    assert result.exit_code == 0
    assert "policies/portal.yaml:4:5   home     route  allow and refuse" in result.stdout
    assert "policies/portal.yaml:13:9  invoice  allow  refuse" in result.stdout
    assert "Exercised by 1 case: 2 of 7 sides (28.6 %)." in result.stdout
    value = json.loads(run("coverage", "--json").stdout)
    assert (value["percent"], value["sides"], value["exercised"]) == (28.6, 7, 2)
    assert value["points"][-1]["cases"] == {"allow": 1, "refuse": 0}


def test_coverage_under_the_mark_exits_1(run: Run) -> None:
    assert run("coverage", "--fail-under", "28").exit_code == 0
    assert run("coverage", "--fail-under", "29").exit_code == 1
    assert run("coverage", "--fail-under", "101").exit_code == 2


def test_coverage_by_traffic_counts_beside_that_by_cases(run: Run, site: Path, recorder: Recorder, now: float) -> None:
    write(site, map(recorder.record, visits(now)))
    result = run("coverage", "--traffic")
    assert "Exercised by the traffic: 5 of 7 sides (71.4 %)." in result.stdout
    assert "Exercised by 1 case: 2 of 7 sides (28.6 %)." in result.stdout
    value = json.loads(run("coverage", "--traffic", "--json").stdout)
    assert value["points"][-1]["traffic"] == {"allow": 2, "refuse": 0}
    assert value["traffic"]["read"]["requests"] == 6


def test_names_of_people_are_quoted_for_the_shell(run: Run, site: Path, recorder: Recorder, now: float) -> None:
    """attack: an identity provider that names somebody `$(reboot)`."""
    session = signed_in("x; $(reboot)", ("billing", "client"), now)
    write(site, [recorder.record(Past(facts=ask("/"), session=session, now=now)), *map(recorder.record, visits(now))])
    (person,) = json.loads(run("suggest", "--json").stdout)["people"]
    assert person["command"] == "gateway user role 'x; $(reboot)' --remove billing"


def test_an_unreadable_record_is_counted_and_stops_nothing(
    run: Run, site: Path, recorder: Recorder, now: float
) -> None:
    broken = orjson.loads(recorder.record(visits(now)[0]))
    broken["http_request"]["url"] = 7
    write(site, [orjson.dumps(broken), b"no JSON", *map(recorder.record, visits(now))])
    value = json.loads(run("replay", "--json").stdout)
    assert (value["same"], value["read"]["not_decided"]["unreadable"]) == (6, 2)


def test_a_week_of_many_people_is_the_same_again(tmp_path: Path) -> None:
    """What `python -m tests.bench.replay` measures."""
    site = tmp_path / "week"
    site.mkdir()
    prepare(site, 400)
    asked = ["policy", "replay", "--json", "-c", str(site / "gateway.yaml")]
    same = CliRunner().invoke(program, asked)
    assert same.exit_code == 0, same.output
    value = json.loads(same.stdout)
    assert (value["read"]["requests"], value["would_refuse"], value["would_allow"]) == (400, 0, 0)
    other = CliRunner().invoke(program, [*asked, "--candidate", str(site / "candidate")])
    assert (other.exit_code, json.loads(other.stdout)["would_refuse"] > 0) == (1, True)


def test_a_name_in_the_log_moves_no_cursor(run: Run, site: Path, recorder: Recorder, now: float) -> None:
    """attack: an identity provider that names somebody in escape sequences."""
    session = signed_in("eve\x1b[2J", ("billing", "client"), now)
    write(site, [recorder.record(Past(facts=ask("/"), session=session, now=now)), *map(recorder.record, visits(now))])
    asked = ("replay", "--candidate", candidate(site, "- roles: [client]", "- {roles: [client], tenants: [other]}"))
    (site / "gateway.yaml").write_text(
        SETTINGS.replace("tenants: {acme:", "tenants: {other: {hosts: [other.example.com]}, acme:"), "utf-8"
    )
    for result in (run(*asked), run("suggest")):
        assert "eve\\x1b[2J@acme" in result.stdout
        assert "\x1b" not in result.stdout
