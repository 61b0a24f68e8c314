"""`gateway policy shadow`: what a candidate would have answered, read from records as the edge writes them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from gateway.audit.access import COURSES, Place, encode_text, fill, template
from gateway.exchange.reason import ANSWERS, Reason
from gateway.exchange.route import Route
from gateway.exchange.session import Session
from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from tests.fakes.past import NOBODYS, NODE, signed_in, write_log
from tests.unit.cli.conftest import House

HOST = "portal.example.com"
OLD, NEW = "0" * 16, "f" * 16
INVOICES = Route(name="invoices", template="/invoices", methods=("GET",), upstream="portal")
REPORTS = Route(name="reports", template="/reports", methods=("GET",), upstream="portal")
LOGIN = Route(name="gateway.login", template="/.gateway/login", methods=("GET",), upstream="gateway", public=True)


class Days:
    """Writes records, one second apart, ending now."""

    def __init__(self, count: int) -> None:
        self._now = time.time() - count
        self._count = 0

    def record(
        self,
        route: Route,
        who: Session | None,
        *,
        reason: Reason = Reason.ALLOWED,
        candidate: str = NEW,
        otherwise: dict[str, Any] | None = None,
        phase: bytes = b"single",
        live: str = "live",
    ) -> bytes:
        self._count += 1
        now = self._now + self._count
        allowed = reason is Reason.ALLOWED
        place = Place(HOST, "", True, "", live, candidate_version=candidate)
        shadow = b""
        if otherwise is not None:
            shadow = b',"shadow":' + orjson.dumps({**otherwise, "version": candidate}, option=orjson.OPT_SORT_KEYS)
        return fill(
            template(route, "GET", who, place, NODE, stream=Stream.ACCESS, allowed=allowed, reason=reason, rule=b'"policies/live.yaml:9:5"', status=200 if allowed else ANSWERS[reason].status), 0, b"r%03d" % self._count, encode_text(route.template.encode() or b"/x", 2048),
            b'""', b"", 1, 1, self._count, b"u%03d" % self._count, b"",
            b'"ip":"203.0.113.9"', 1, int(now * 1000), b"0" * 16, b"0" * 32, b"", 1, COURSES[phase.decode()]["completed" if allowed else "blocked"], shadow,
        )  # fmt: skip


LOSES = {"decision": "deny", "reason": "role_missing", "route": "invoices", "rule": "policies-next/portal.yaml:7:5"}
GAINS = {"decision": "allow", "reason": "allowed", "route": "reports", "rule": "policies-next/portal.yaml:12:9"}
APPEARS = {"decision": "allow", "reason": "public", "route": "help", "rule": "policies-next/portal.yaml:15:5"}


def past() -> Iterator[bytes]:
    days, now = Days(20), time.time()
    alice, bob = signed_in("alice", ("client",), now), signed_in("bob", ("client", "auditor"), now)
    yield days.record(INVOICES, alice, candidate="")
    yield days.record(INVOICES, alice, candidate=OLD)
    for who in (alice, alice, bob):
        yield days.record(INVOICES, who, otherwise=LOSES)
        yield days.record(INVOICES, who, otherwise=LOSES, phase=b"closing")  # of the same request
    yield days.record(INVOICES, bob)
    yield days.record(REPORTS, bob, reason=Reason.ROLE_MISSING, otherwise=GAINS)
    yield days.record(NOBODYS, None, reason=Reason.NO_ROUTE, otherwise=APPEARS)
    yield days.record(LOGIN, None)  # no business of a policy


@pytest.fixture
def recorded(house: House) -> House:
    write_log(house.state_dir, AuditKeys.load(house.directory / "config" / "audit-keys.json"), past())
    return house


def ask(house: House, *words: str) -> tuple[int, Any]:
    result = house.run("policy", "shadow", "--json", *words)
    return result.exit_code, json.loads(result.stdout)


def test_who_would_lose_and_gain_what_is_told_by_person_role_and_route(recorded: House) -> None:
    code, value = ask(recorded)
    assert code == 1
    assert (value["version"], value["other_versions"]) == (NEW, [OLD])
    assert (value["judged"], value["same"], value["would_refuse"], value["would_allow"]) == (6, 1, 3, 2)
    assert value["by"]["would_refuse"] == {
        "route": {"invoices": 3}, "role": {"client": 3, "auditor": 1}, "person": {"alice@acme": 2, "bob@acme": 1},
    }  # fmt: skip
    assert value["by"]["would_allow"]["route"] == {"help": 1, "reports": 1}
    first = value["changes"][0]
    assert (first["person"], first["roles"], first["requests"]) == ("alice@acme", ["client"], 2)
    assert first["before"] == {"reason": "allowed", "rule": "policies/live.yaml:9:5"}
    assert first["after"] == {"reason": "role_missing", "rule": "policies-next/portal.yaml:7:5"}
    assert first["first_time"] < first["last_time"]
    assert first["example"] == "r003"


def test_people_read_the_same_in_lines(recorded: House) -> None:
    result = recorded.run("policy", "shadow")
    assert result.exit_code == 1
    assert f"The candidate {NEW} was asked about 6 requests from " in result.stdout
    assert f"Other candidates ran in that time: {OLD}" in result.stdout
    assert "WOULD BE REFUSED: 3 requests of 2 persons" in result.stdout
    assert "role_missing (policies-next/portal.yaml:7:5)" in result.stdout
    assert result.stdout.endswith("1 the same, 3 would be refused, 2 would be allowed, 0 unknown.\n")


def test_a_candidate_that_changes_nothing_for_anybody_exits_0(recorded: House) -> None:
    code, value = ask(recorded, "--version", OLD)
    assert code == 0
    assert (value["judged"], value["same"], value["changes"]) == (1, 1, [])


FAILS = {"decision": "unknown", "reason": "candidate_failed", "route": "invoices", "rule": ""}


@pytest.fixture
def doubtful(house: House) -> House:
    """A log of a candidate that failed on every request it was asked about, and of a limit."""
    days, now = Days(20), time.time()
    alice = signed_in("alice", ("client",), now)
    records = [
        *(days.record(INVOICES, alice, otherwise=FAILS) for _ in range(3)),
        *(days.record(INVOICES, alice, reason=Reason.RATE_LIMITED) for _ in range(2)),
        days.record(INVOICES, alice, reason=Reason.RATE_LIMITED, candidate=OLD),
    ]
    write_log(house.state_dir, AuditKeys.load(house.directory / "config" / "audit-keys.json"), records)
    return house


def test_a_candidate_that_failed_on_every_request_does_not_pass_for_one_that_changes_nothing(doubtful: House) -> None:
    code, value = ask(doubtful)
    assert code == 1
    assert (value["judged"], value["same"], value["unknown"], value["limited"]) == (3, 0, 3, 2)
    assert value["changes"][0]["after"] == {"unknown": "candidate_failed"}
    text = doubtful.run("policy", "shadow").stdout
    assert "UNKNOWN: 3 requests of 1 person" in text
    assert text.endswith("3 unknown. 2 requests refused by a limit: not compared.\n")


def test_what_was_different_from_an_earlier_live_policy_is_not_passed_off_as_different_from_this_one(
    house: House,
) -> None:
    days, now = Days(20), time.time()
    alice = signed_in("alice", ("client",), now)
    records = [days.record(INVOICES, alice, otherwise=LOSES, live="a"), days.record(INVOICES, alice, live="b")]
    write_log(house.state_dir, AuditKeys.load(house.directory / "config" / "audit-keys.json"), records)
    assert ask(house)[1]["beside"] == {"a": 1, "b": 1}
    text = house.run("policy", "shadow").stdout
    assert "It ran beside several live policies, and this is about all of them: a (1), b (1);" in text


def test_a_candidate_that_was_asked_about_no_request_proves_nothing(doubtful: House) -> None:
    result = doubtful.run("policy", "shadow", "--version", OLD)
    assert result.exit_code == 2
    assert f"the candidate {OLD} was asked about no request since" in result.output


def test_who_would_gain_by_a_credential_that_the_live_policy_refuses_is_told(house: House) -> None:
    """Attack: a candidate that takes API keys lets programs in, and what refused them was not called policy."""
    days = Days(20)
    records = [
        days.record(REPORTS, None, reason=reason, otherwise=GAINS)
        for reason in (Reason.API_KEY_REFUSED, Reason.CREDENTIALS_CONFLICT, Reason.SESSION_ELSEWHERE)
    ]
    write_log(house.state_dir, AuditKeys.load(house.directory / "config" / "audit-keys.json"), records)
    code, value = ask(house)
    assert (code, value["would_allow"]) == (1, 3)


def test_a_span_without_a_candidate_is_no_proof_that_nothing_changes(recorded: House, house: House) -> None:
    result = recorded.run("policy", "shadow", "--until", "1h")
    assert result.exit_code == 2
    assert "no candidate policy was asked about a request since" in result.output
    assert "set candidate: in gateway.yaml, or write mode: shadow in a policy, and reload" in result.output


def test_a_version_that_never_ran_is_refused_with_those_that_did(recorded: House) -> None:
    result = recorded.run("policy", "shadow", "--version", "abc")
    assert result.exit_code == 2
    assert "the candidate abc was asked about no request since" in result.output
    assert f"these did: {OLD}, {NEW}" in result.output


def test_the_look_is_itself_recorded_and_needs_the_keys(recorded: House) -> None:
    assert recorded.run("policy", "shadow", "--reason", "ticket 7").exit_code == 1
    operations = [name for name, _ in recorded.records() if name == "policy shadow"]
    assert operations == ["policy shadow"]
    (recorded.directory / "config" / "audit-keys.json").unlink()
    assert recorded.run("policy", "shadow").exit_code == 2
