"""`gateway privacy`: a person is told everything, restricted, and erased so that nothing of them is left anywhere."""

from __future__ import annotations

import csv
import json
import os
import re
import time
from base64 import b64decode
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.audit import record
from gateway.audit.checkpoint import parse_checkpoint, split_note, verify_checkpoint
from gateway.audit.merkle import ProofError, verify_inclusion
from gateway.audit.subject import (
    ADDRESS,
    OWNER_UID,
    RESOURCE_UID,
    USER_AGENT,
    USER_NAME,
    USER_UID,
    Sealing,
    fingerprint,
    seal_fields,
)
from gateway.audit.tlog_proof import TlogProof
from gateway.cli.privacy.disclosure import disclosed
from gateway.cli.privacy.erased import NOUNS, destroyed_sentence, removed_sentence
from gateway.exchange.subject import ERASED, RESTRICTED, SubjectKey
from gateway.ledger import producer
from gateway.ledger.holds import Hold, Holds
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.reader import entries
from gateway.store.state import Store
from gateway.store.subject_data import REACH
from gateway.store.subjects import Kept
from gateway.store.tables import SUBJECT_KEYS
from tests.unit.cli.conftest import House

ALICE = ("--subject", "alice", "--tenant", "main", "--reason", "case 7")
STAFF_ROLE = "clerk"


@pytest.fixture
def store(house: House) -> Iterator[Store]:
    for name in ("alice", "bob", "staff"):
        house.add(name, "--email", f"{name}@example.org", "--self-enrol")
    opened = house.store()
    yield opened
    opened.close()


def act(
    house: House,
    store: Store,
    actor: str,
    *,
    owner: str,
    count: int = 1,
    address: str = "192.0.2.77",
    request: str = "",
) -> None:
    """Have somebody look at data of somebody, as the gateway records it."""
    people = {name: store.user_named(name) for name in (actor, owner)}
    who, whose = people[actor], people[owner]
    assert who is not None
    assert whose is not None
    by = Sealing(store.subjects.of(who.id, who.tenant, now=time.time()), os.urandom)
    of = Sealing(store.subjects.of(whose.id, whose.tenant, now=time.time()), os.urandom)

    def build(stamp: record.Stamp) -> dict[str, Any]:
        made = record.administration(
            stamp,
            "GET /records/{id}",
            actor={"user": {"name": who.name, "type_id": 1, "uid": who.id}},
            action="view",
            tenant="main",
            more={
                "purpose": "treatment",
                "legal_basis": "contract",
                "decision_inputs": {"roles": [STAFF_ROLE]},
            },
        )
        made["resources"] = [{"owner": {"uid": whose.id}, "type": "record", "uid": f"record of {whose.name}"}]
        if request:
            made["metadata"]["correlation_uid"] = request
        made["src_endpoint"] = {"ip": address}
        made["http_request"] = {"user_agent": f"browser of {who.name}"}
        return seal_fields(
            made, {USER_UID: by, USER_NAME: by, ADDRESS: by, USER_AGENT: by, OWNER_UID: of, RESOURCE_UID: of}
        )

    keys = house.directory / "config" / "audit-keys.json"
    producer.append(house.state_dir, keys, [build] * count)


def everything_under(directory: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


def shown(house: House) -> str:
    result = house.run("audit", "query", "--json", "--limit", "1000")
    assert result.exit_code == 0, result.output
    return result.stdout


def events(house: House) -> list[str]:
    return [record["unmapped"]["gw"]["event"] for _, record in house.records()]


# Told


def test_a_person_is_told_of_five_consultations_with_date_purpose_and_role_and_of_nobody_else(
    house: House, store: Store, tmp_path: Path
) -> None:
    """T-62."""
    act(house, store, "staff", owner="alice", count=5)
    act(house, store, "staff", owner="bob", count=3)
    act(house, store, "alice", owner="alice")
    path = tmp_path / "alice.json"
    told = house.value("privacy", "export", *ALICE, "-o", str(path))
    assert told["own"] == 1
    written = json.loads(path.read_text())
    looked = [one for one in written["records"] if one["kind"] == "of_others" and one["what"] == "view"]
    assert len(looked) == 5
    for one in looked:
        assert (one["purpose"], one["legal_basis"], one["by"]) == ("treatment", "contract", [f"role {STAFF_ROLE}"])
        assert one["time"].endswith("Z")
        assert one["resources"] == ["record/record of alice"]
    (own,) = [one for one in written["records"] if one["kind"] == "own"]
    assert (own["by"], own["client_ip"], own["user_agent"]) == ("the person", "192.0.2.77", "browser of alice")
    assert written["held"]["account"]["email"] == "alice@example.org"
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", written["held"]["account"]["created"])
    assert re.search(r'": 1[0-9]{9}\b', json.dumps(written)) is None, "no person reads unix seconds"
    text = path.read_text()
    for word in ("bob", "browser of staff", "argon2", '"staff"'):
        assert word not in text
    assert path.stat().st_mode & 0o077 == 0
    assert "privacy.exported" in events(house)


def test_members_of_staff_are_named_only_where_somebody_approved_it(house: House, store: Store, tmp_path: Path) -> None:
    act(house, store, "staff", owner="alice")
    path = tmp_path / "alice.json"
    refused = house.run("privacy", "export", *ALICE, "-o", str(path), "--with-names")
    assert refused.exit_code == 1
    assert "--approver" in refused.stderr
    assert not path.exists()
    house.value("privacy", "export", *ALICE, "-o", str(path), "--with-names", "--approver", "the DPO")
    looked = [one for one in json.loads(path.read_text())["records"] if one["what"] == "view"]
    assert looked[0]["by"] == ["staff", f"role {STAFF_ROLE}"]
    exported = [record for _, record in house.records() if record["unmapped"]["gw"]["event"] == "privacy.exported"]
    assert exported[-1]["unmapped"]["gw"]["approver"] == "the DPO"


def test_the_same_is_written_as_a_table_that_no_spreadsheet_runs(house: House, store: Store, tmp_path: Path) -> None:
    """Attack: a user agent that is a formula."""
    act(house, store, "alice", owner="alice", address="=cmd()")
    path = tmp_path / "alice.csv"
    house.value("privacy", "export", *ALICE, "-o", str(path), "--format", "csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert {row["kind"] for row in rows} >= {"held", "own"}
    (own,) = [row for row in rows if row["kind"] == "own"]
    assert own["client_ip"] == "'=cmd()"


def test_a_table_says_which_record_each_row_is_so_that_prove_shows_it(
    house: House, store: Store, tmp_path: Path
) -> None:
    act(house, store, "alice", owner="alice")
    path = tmp_path / "alice.csv"
    told = house.run("privacy", "export", *ALICE, "-o", str(path), "--format", "csv")
    assert "gateway audit prove --stream STREAM --index INDEX" in told.stdout
    (own,) = [row for row in csv.DictReader(path.read_text().splitlines()) if row["kind"] == "own"]
    proof = tmp_path / "x.tlog-proof"
    house.value("audit", "prove", "--stream", own["stream"], "--index", own["index"], "-o", str(proof))
    assert own["request"] in TlogProof.parse(proof.read_bytes()).extra.decode("utf-8", "replace")
    assert own["request"]


def test_an_export_counts_requests_and_not_their_records(house: House, store: Store, tmp_path: Path) -> None:
    """One request has up to three records: intent, opening and closing."""
    act(house, store, "alice", owner="alice", count=3, request="r-1")
    act(house, store, "alice", owner="alice", request="r-2")
    act(house, store, "staff", owner="alice", count=2, request="r-3")
    path = tmp_path / "alice.json"
    told = house.run("privacy", "export", *ALICE, "-o", str(path))
    written = json.loads(path.read_text())
    assert written["requests"]["own"] == 2
    assert sum(one["kind"] == "own" for one in written["records"]) == 4
    others = {one["request"] or one["index"] for one in written["records"] if one["kind"] != "own"}
    assert written["requests"]["of_others"] == len(others)
    assert "2 acts of the person and " in told.stdout


def test_an_export_writes_over_nothing(house: House, store: Store, tmp_path: Path) -> None:
    del store
    path = tmp_path / "there"
    path.write_text("mine")
    refused = house.run("privacy", "export", *ALICE, "-o", str(path))
    assert refused.exit_code == 1
    assert path.read_text() == "mine"


@pytest.mark.parametrize("verb", ["export", "erase", "restrict", "lift"])
def test_somebody_whom_nobody_knows_is_refused_by_name_and_tenant(house: House, tmp_path: Path, verb: str) -> None:
    house.add("alice", "--self-enrol")
    more = ("-o", str(tmp_path / "x")) if verb == "export" else ()
    for whom in (("carol", "main"), ("alice", "elsewhere")):
        refused = house.run("privacy", verb, "--subject", whom[0], "--tenant", whom[1], "--reason", "case", *more)
        assert refused.exit_code == 1
        assert "neither an account nor a record" in refused.stderr


def test_what_a_person_is_told_is_proven_against_a_signed_tree_head(house: House, store: Store, tmp_path: Path) -> None:
    """T-62: nobody takes back later what was told, and the proof tells nothing of others."""
    act(house, store, "staff", owner="alice", count=3)
    act(house, store, "bob", owner="bob")
    path = tmp_path / "alice.json"
    house.value("privacy", "export", *ALICE, "-o", str(path))
    written = json.loads(path.read_text())
    assert written["incomplete"] == []
    assert len(written["records"]) >= 3
    keys = AuditKeys.load(house.directory / "config" / "audit-keys.json")
    stored = {
        (each.stream.value, each.index): each
        for each in entries(Layout(house.state_dir).directory, keys, on_damage=pytest.fail)
    }
    for one in written["records"]:
        note = written["heads"][one["stream"]].encode()
        head = verify_checkpoint(note, keys.vkey(parse_checkpoint(split_note(note)[0]).origin))
        leaf, hashes = b64decode(one["proof"]["leaf"]), [b64decode(node) for node in one["proof"]["path"]]
        verify_inclusion(one["index"], head.size, leaf, hashes, head.root)
        with pytest.raises(ProofError):
            verify_inclusion(one["index"], head.size, bytes(32), hashes, head.root)
        assert (one["stream"], one["index"]) in stored
    assert "sealed" not in path.read_text()
    for each in stored.values():
        assert each.entry.payload.decode() not in path.read_text()


def test_an_export_leaves_out_who_goes_by_the_same_id_elsewhere(house: House, store: Store, tmp_path: Path) -> None:
    """Attack: patient 17 of one organisation is told who looked at patient 17 of another, where records name in clear."""
    store.subjects.of("p-17", "main", now=time.time())

    def build(stamp: record.Stamp, tenant: str) -> dict[str, Any]:
        made = record.administration(stamp, f"GET /{tenant}", actor={}, action="view", tenant=tenant)
        made["resources"] = [{"owner": {"uid": "p-17"}, "type": "record", "uid": "1"}]
        return made

    keys = house.directory / "config" / "audit-keys.json"
    producer.append(house.state_dir, keys, [partial(build, tenant=tenant) for tenant in ("main", "other")])
    path = tmp_path / "p.json"
    house.value("privacy", "export", "--subject", "p-17", "--tenant", "main", "--reason", "case", "-o", str(path))
    assert [one["detail"] for one in json.loads(path.read_text())["records"]] == ["GET /main"]


# Restricted


def test_restricted_data_are_kept_and_not_shown_until_that_is_lifted(house: House, store: Store) -> None:
    act(house, store, "alice", owner="alice")
    house.value("privacy", "restrict", *ALICE)
    assert "192.0.2.77" not in shown(house)
    assert RESTRICTED in shown(house)
    refused = house.run("user", "enable", "alice")
    alice = store.user_named("alice")
    assert alice is not None
    assert alice.disabled
    assert refused.exit_code == 1
    assert "privacy lift" in refused.stderr
    assert house.run("privacy", "restrict", *ALICE).exit_code == 1
    house.value("privacy", "lift", *ALICE)
    assert "192.0.2.77" in shown(house)
    assert house.run("privacy", "lift", *ALICE).exit_code == 1
    assert {"privacy.restricted", "privacy.restriction_lifted"} <= set(events(house))


# Erased


def test_nothing_of_an_erased_person_is_left_and_the_log_verifies(house: House, store: Store) -> None:
    """T-60."""
    act(house, store, "alice", owner="alice", count=3)
    act(house, store, "bob", owner="bob")
    alice = store.user_named("alice")
    assert alice is not None
    (kept,) = store.subjects.of_person(alice.id)
    size = house.value("audit", "verify")["size"]
    told = house.value("privacy", "erase", *ALICE, "--yes")
    assert told["erased"]
    assert told["keys"] == [{"token": kept.token.hex(), "fingerprint": fingerprint(kept.subject)}]
    files = everything_under(house.state_dir)
    for word in (b"alice", b"192.0.2.77", alice.id.encode(), kept.key, kept.key.hex().encode()):
        assert word not in files
    verdict = house.value("audit", "verify")
    assert verdict["ok"]
    assert verdict["size"] > size
    output = shown(house)
    assert "alice" not in output
    assert ERASED in output
    assert "browser of bob" in output
    assert events(house).count("privacy.key_destroyed") == 2
    assert house.run("privacy", "erase", *ALICE, "--yes").exit_code == 1
    assert kept.token.hex() in house.run("privacy", "status").stdout


def test_an_erasure_is_told_in_sentences(house: House, store: Store) -> None:
    alice = store.user_named("alice")
    assert alice is not None
    store.subjects.of(alice.id, "main", now=time.time())
    store.subjects.of(alice.id, "elsewhere", now=time.time())
    lines = house.run("privacy", "erase", *ALICE, "--yes").stdout.splitlines()
    assert lines[0] == (
        "Erased. The key of the log for the person was destroyed. "
        "Everything that the state held about them was removed, among it 1 account."
    )
    assert lines[1] == (
        "The same id has a key at elsewhere too; if it is the same person, repeat it with that --tenant."
    )
    assert removed_sentence({"sessions": 1, "owners": 2, "users": 1, "attempts": 0}).endswith(
        "among it 2 notes of whose session a cookie was, 1 session and 1 account."
    )
    assert destroyed_sentence(2) == "The 2 keys of the log for the person were destroyed."
    assert set(NOUNS) <= set(REACH)


def damage(store: Store, token: bytes) -> None:
    """Flip a bit of a key where it is stored."""
    row = store.rows.get(SUBJECT_KEYS, token)
    assert row is not None
    spoilt = msgspec.structs.replace(row, value=row.value[:-1] + bytes([row.value[-1] ^ 1]))
    store.rows.transact(lambda tx: tx.put(SUBJECT_KEYS, spoilt))


def test_a_key_that_cannot_be_read_keeps_nobody_from_being_erased(house: House, store: Store) -> None:
    act(house, store, "alice", owner="alice")
    alice = store.user_named("alice")
    assert alice is not None
    (spoilt,) = store.subjects.of_person(alice.id)
    whole = SubjectKey(b"t" * 16, b"k" * 32)
    store.subjects.keep([Kept(subject=whole, user_id="alice", tenant="main")], now=time.time())
    damage(store, spoilt.token)
    assert house.run("privacy", "restrict", *ALICE).exit_code == 2, "other verbs say that the state is damaged"
    told = house.value("privacy", "erase", *ALICE, "--yes")
    assert told["keys"] == [
        {"token": whole.token.hex(), "fingerprint": fingerprint(whole)},
        {"token": spoilt.token.hex(), "unreadable": True},
    ]
    assert told["removed"][SUBJECT_KEYS.name] == 2
    assert store.rows.get_many(SUBJECT_KEYS, [whole.token, spoilt.token]) == {}
    assert store.user_named("alice") is None
    records = [gw for _, each in house.records() if (gw := each["unmapped"]["gw"])["event"] == "privacy.key_destroyed"]
    assert [gw["unreadable"] for gw in records if gw.get("token") == spoilt.token.hex()] == [True]
    assert house.value("audit", "verify")["ok"]


def test_whoever_has_no_account_and_a_damaged_key_alone_is_erased_and_told_so(house: House, store: Store) -> None:
    spoilt = SubjectKey(b"t" * 16, b"k" * 32)
    store.subjects.keep([Kept(subject=spoilt, user_id="p-7", tenant="main")], now=time.time())
    damage(store, spoilt.token)
    who = ("--subject", "p-7", "--tenant", "main", "--reason", "case 7")
    lines = house.run("privacy", "erase", *who, "--yes").stdout.splitlines()
    assert lines[0].startswith("Erased. The key of the log for the person was destroyed.")
    assert lines[1] == (
        "1 of the keys was damaged and could not be read: what it sealed was lost before, and there is no fingerprint of it."
    )
    assert store.rows.get(SUBJECT_KEYS, spoilt.token) is None
    assert house.run("privacy", "erase", *who, "--yes").exit_code == 1


def test_a_key_that_the_keyring_cannot_open_is_not_taken_for_a_damaged_one(house: House, store: Store) -> None:
    """Attack: an old keyring.json is put back, and an erasure at one tenant destroys whole keys of another."""
    here, elsewhere = SubjectKey(b"t" * 16, b"k" * 32), SubjectKey(b"u" * 16, b"k" * 32)
    keys = [Kept(subject=here, user_id="p-7", tenant="main"), Kept(subject=elsewhere, user_id="p-7", tenant="other")]
    store.subjects.keep(keys, now=time.time())
    row = store.rows.get(SUBJECT_KEYS, elsewhere.token)
    assert row is not None
    newer = msgspec.structs.replace(row, key=9, value=row.value[:1] + (9).to_bytes(4, "big") + row.value[5:])
    store.rows.transact(lambda tx: tx.put(SUBJECT_KEYS, newer))
    who = ("--subject", "p-7", "--tenant", "main", "--reason", "case 7")
    refused = house.run("privacy", "erase", *who, "--yes")
    assert refused.exit_code == 2
    assert "under key 9, which this process does not hold" in refused.stderr
    assert set(store.rows.get_many(SUBJECT_KEYS, [here.token, elsewhere.token])) == {here.token, elsewhere.token}
    store.rows.transact(lambda tx: tx.put(SUBJECT_KEYS, row))
    assert house.run("privacy", "erase", *who, "--yes").exit_code == 0
    assert set(store.rows.get_many(SUBJECT_KEYS, [here.token, elsewhere.token])) == {elsewhere.token}


def test_a_hold_on_records_under_a_damaged_key_stands_against_its_erasure(house: House, store: Store) -> None:
    act(house, store, "alice", owner="alice")
    alice = store.user_named("alice")
    assert alice is not None
    (spoilt,) = store.subjects.of_person(alice.id)
    house.value("audit", "hold", "create", "--case", "2026/17", "--reason", "suit")
    damage(store, spoilt.token)
    refused = house.run("privacy", "erase", *ALICE, "--yes")
    assert refused.exit_code == 1
    assert "the hold of the case 2026/17" in refused.stderr
    assert store.rows.get(SUBJECT_KEYS, spoilt.token) is not None


def test_everything_that_an_erasure_counts_has_a_noun(house: House, store: Store) -> None:
    removed = house.value("privacy", "erase", *ALICE, "--yes")["removed"]
    assert set(removed) == {*NOUNS, SUBJECT_KEYS.name}
    del store


def test_a_key_that_came_while_the_question_waited_is_destroyed_too(
    house: House, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: sign in while an operator is asked whether they are sure, and keep a key that nobody can find again."""
    alice = store.user_named("alice")
    assert alice is not None
    made: list[bytes] = []

    def confirm(*_: Any, **__: Any) -> bool:
        for number in range(2):
            made.append(b"%016d" % number)
            key = SubjectKey(made[-1], b"k" * 32)  # of a node whose clock is ahead
            store.subjects.keep([Kept(subject=key, user_id=alice.id, tenant="main")], now=time.time() + number)
        return True

    monkeypatch.setattr("click.confirm", confirm)
    assert house.run("privacy", "erase", *ALICE).exit_code == 0
    assert store.subjects.of_person(alice.id) == []
    journal = json.loads((house.state_dir / "erasures.jsonl").read_text())
    assert {token.hex() for token in made} <= set(journal["tokens"])


@pytest.mark.parametrize("verb", ["export", "erase", "restrict", "lift"])
@pytest.mark.parametrize("reason", ["letter of Alice, 3 May", "ALICE@example.org wrote"])
def test_a_reason_that_names_the_person_is_refused_and_not_recorded(
    house: House, store: Store, tmp_path: Path, verb: str, reason: str
) -> None:
    """Attack on an erasure: its own reason keeps the name in the log."""
    more = ("-o", str(tmp_path / "x")) if verb == "export" else ()
    refused = house.run("privacy", verb, "--subject", "alice", "--tenant", "main", "--reason", reason, *more)
    assert refused.exit_code == 1
    assert "case number" in refused.stderr
    assert not any(event.startswith("privacy.") for event in events(house))
    assert store.user_named("alice") is not None


def test_a_ground_to_keep_is_recorded_and_nothing_is_erased(house: House, store: Store) -> None:
    for ground, article in (("legal-claims", "17(3)(e)"), ("legal-obligation", "17(3)(b)")):
        told = house.run("privacy", "erase", *ALICE, "--ground", ground, "--yes")
        assert told.exit_code == 0
        assert article in told.stdout
    assert store.user_named("alice") is not None
    refused = [
        record for _, record in house.records() if record["unmapped"]["gw"]["event"] == "privacy.erasure_refused"
    ]
    assert [record["status_id"] for record in refused] == [2, 2]


@pytest.mark.parametrize("named", [(), ("alice",), ("bob",)])
def test_a_hold_keeps_the_key_of_whom_it_names_or_whose_records_it_keeps(
    house: House, store: Store, named: tuple[str, ...]
) -> None:
    """T-61: of a hold that names nobody, everybody in its records."""
    act(house, store, "alice", owner="alice")
    hold = Hold(case="7-2026", reason="suit", subjects=named, created_by="root", created_ns=time.time_ns())
    Holds([hold]).save(Layout(house.state_dir))
    done = house.run("privacy", "erase", *ALICE, "--yes")
    if "bob" in named:
        assert done.exit_code == 0, done.output
        assert store.user_named("alice") is None
        return
    assert done.exit_code == 1
    assert "7-2026" in done.stderr
    assert store.user_named("alice") is not None
    assert "192.0.2.77" in shown(house)


def test_holds_that_cannot_be_read_hold_everybody(house: House, store: Store) -> None:
    (house.state_dir / "holds.json").write_text("junk")
    assert house.run("privacy", "erase", *ALICE, "--yes").exit_code == 2
    assert store.user_named("alice") is not None


def test_an_erasure_is_not_done_unasked(house: House, store: Store) -> None:
    assert house.run("privacy", "erase", *ALICE, given="n\n").exit_code == 1
    assert house.run("privacy", "erase", *ALICE, "--json").exit_code == 1
    assert house.run("privacy", "erase", "--subject", "alice", "--tenant", "main").exit_code == 2, "no reason"
    assert store.user_named("alice") is not None


def test_an_erasure_that_cannot_be_recorded_is_not_begun(house: House, store: Store) -> None:
    (house.directory / "config" / "audit-keys.json").unlink()
    assert house.run("privacy", "erase", *ALICE, "--yes").exit_code == 2
    assert store.user_named("alice") is not None


def test_the_record_of_an_act_on_an_account_names_nobody_in_clear(house: House, store: Store) -> None:
    house.value("user", "disable", "alice")
    house.value("session", "revoke", "--user", "alice")
    assert b"alice" not in _payloads(house)
    named = [record for name, record in house.records() if name == "user.disabled"]
    assert [record["user"]["name"] for record in named] == ["alice"], "and a reader sees who it was"
    del store


def test_who_was_looked_for_in_the_log_is_sealed_too(house: House, store: Store) -> None:
    del store
    for asked in (("--user", "alice"), ("--actor", "alice"), ("--subject", "alice"), ("--resource", "patient/alice")):
        assert house.run("audit", "query", *asked).exit_code == 0
    assert b"alice" not in _payloads(house)
    assert shown(house).count('"alice"') >= 3, "and is read by whoever may"


def test_to_look_whether_somebody_is_gone_does_not_write_them_down_again(house: House, store: Store) -> None:
    """Attack on an erasure: the search that checks it names the person in the log, in clear and for ever."""
    house.value("privacy", "erase", *ALICE, "--yes")
    sql = 'SELECT "who".time, 77 FROM (SELECT * FROM records WHERE actor = \'alice\') AS "who" -- of alice'
    for asked in (("--user", "alice"), ("--ip", "192.0.2.77"), ("--sql", sql)):
        result = house.run("audit", "query", *asked)
        assert result.exit_code == 0, result.output
    payloads = _payloads(house)
    for word in (b"alice", b"192.0.2.77"):
        assert word not in payloads
    *_, user, ip, question = house.queries()
    assert (user["user"], ip["ip"]) == ("alice", "192.0.2.77"), "for now it can be read what was looked for"
    assert question["sql"] == sql
    assert question["sql_shape"] == "SELECT ?.time, ? FROM (SELECT * FROM records WHERE actor = ?) AS ? ?"
    late = time.time() + 32 * 86_400
    store.rows.sweep(SUBJECT_KEYS, late)
    assert b"192.0.2.77" not in shown(house).encode()


def test_without_subject_keys_records_name_people_and_status_says_so(house: House, store: Store) -> None:
    path = house.directory / "gateway.yaml"
    text = path.read_text()
    path.write_text(text.replace("audit: {", "audit: {privacy: {subject_keys: false}, "))
    house.value("user", "disable", "alice")
    assert b"alice" in _payloads(house)
    assert "in clear" in house.run("privacy", "status").stdout
    del store


def test_status_tells_what_is_known_of_one_person_and_that_it_was_asked(house: House, store: Store) -> None:
    del store
    told = house.value("privacy", "status", "--subject", "alice", "--tenant", "main")
    assert told["held"]["account"] == 1
    assert "privacy.status_shown" in events(house)
    assert house.run("privacy", "status", "--subject", "alice").exit_code == 1


def _payloads(house: House) -> bytes:
    from gateway.ledger.layout import Layout

    keys = AuditKeys.load(house.directory / "config" / "audit-keys.json")
    return b"\n".join(
        stored.entry.payload for stored in entries(Layout(house.state_dir).directory, keys, on_damage=pytest.fail)
    )


# What is told of a record


def test_a_record_of_an_operator_says_that_it_was_one() -> None:
    told = disclosed(
        {
            "actor": {"user": {"type_id": 3, "name": "root", "uid": "0"}},
            "time": 1,
            "unmapped": {"gw": {"event": "user.disabled"}},
        },
        {},
        names=("alice",),
        others="(another person)",
    )
    assert told["by"] == ["an operator of the gateway"]
    assert told["detail"] == "user.disabled"


def test_a_record_of_a_broken_shape_tells_nothing_and_raises_nothing() -> None:
    for broken in ({}, {"actor": 5, "resources": [7], "unmapped": {"gw": {"events": "x"}}, "time": "soon"}):
        assert disclosed(broken, {}, names=(), others="-")["kind"] == "of_others"
