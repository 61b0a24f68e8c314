"""What a worker writes about people is sealed: under the key of the person, or of the strangers of the day."""

from __future__ import annotations

import os

import orjson
import pytest

from gateway.audit.flat import AND, NAMES, flatten
from gateway.audit.subject import is_sealed, reveal, tokens_in
from gateway.edge.resolve import Resolver
from gateway.edge.subjects import REMEMBERED, SubjectSeals
from gateway.exchange.envelope import Event
from gateway.exchange.subject import ERASED, SubjectKey
from gateway.policy import compile_policy
from gateway.session.device import ENTROPY_BYTES, device_id, make_device
from tests.unit.edge.conftest import Edge, Entry, session

ALICE = SubjectKey(b"a" * 16, b"A" * 32)
ADDRESS = "127.0.0.1"


class Keys:
    """Keys by whom they are of."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, ...], SubjectKey] = {}

    def person(self, user_id: str, tenant: str) -> SubjectKey:
        return self._of("person", user_id, tenant)

    def stranger(self, tenant: str, day: int) -> SubjectKey:
        return self._of("stranger", tenant, str(day))

    def _of(self, *who: str) -> SubjectKey:
        return self.known.setdefault(who, SubjectKey(os.urandom(16), os.urandom(32)))

    def find(self, token: str) -> SubjectKey | str:
        everybody = [ALICE, *self.known.values()]
        return next((key for key in everybody if key.token.hex() == token), ERASED)


@pytest.fixture
def keys(edge: Edge) -> Keys:
    keys = Keys()
    edge.worker.evidence.seals = SubjectSeals(keys)
    edge.change(seals_subjects=True)
    return keys


def text_of(record: object) -> bytes:
    return orjson.dumps(record)


async def test_a_session_is_recorded_under_its_own_key_and_nothing_names_the_person(edge: Edge, keys: Keys) -> None:
    edge.sessions.entries[b"tok"] = Entry(session(subject=ALICE, user="alice", user_id="u_alice"))
    await edge.get("/", token="tok")
    record = edge.audit.records[-1]
    assert tokens_in(record) == {ALICE.token.hex()}
    for word in (b"alice", ADDRESS.encode()):
        assert word not in text_of(record["actor"]) + text_of(record["src_endpoint"])
    shown = reveal(record, keys.find)
    assert shown["actor"]["user"] == {"name": "alice", "type_id": 1, "uid": "u_alice"}
    assert shown["src_endpoint"]["ip"] == ADDRESS
    assert keys.known == {}, "a session brings its key along"


async def test_the_browser_of_a_session_is_sealed_with_its_person(edge: Edge, keys: Keys) -> None:
    """Attack: the digest of a device cookie outlives an erasure, and tells who it was at the next sign-in from there."""
    cookie = make_device(b"7" * ENTROPY_BYTES)
    device = device_id(cookie)
    edge.sessions.entries[b"tok"] = Entry(session(subject=ALICE, user="alice", user_id="u_alice", device=device))
    assert (await edge.get("/", fields=f"Cookie: gw=tok; gw-device={cookie.decode()}\r\n")).status == 200
    record = edge.audit.records[-1]
    assert device.encode() not in text_of(record)
    assert reveal(record, keys.find)["src_endpoint"]["uid"] == device


async def test_a_session_without_a_key_gets_one_of_the_person(edge: Edge, keys: Keys) -> None:
    await edge.get("/", token="tok")
    assert reveal(edge.audit.records[-1], keys.find)["actor"]["user"]["name"] == "alice"
    assert list(keys.known) == [("person", "u1", "acme")]


async def test_strangers_share_the_key_of_their_tenant_and_day(edge: Edge, keys: Keys) -> None:
    await edge.get("/")
    await edge.get("/public/x")
    refused, public = edge.audit.records[-2:]
    ((kind, _tenant, _day),) = keys.known
    assert kind == "stranger"
    assert tokens_in(refused) == tokens_in(public)
    assert refused["http_response"]["code"] != 200
    assert reveal(refused, keys.find)["src_endpoint"]["ip"] == ADDRESS


async def test_what_is_sealed_once_serves_all_requests_of_a_session(edge: Edge, keys: Keys) -> None:
    del keys
    await edge.get("/", token="tok")
    await edge.get("/", token="tok")
    first, second = edge.audit.records[-2:]
    assert first["src_endpoint"]["ip"] == second["src_endpoint"]["ip"]
    assert first["actor"]["user"] == second["actor"]["user"]


async def test_with_the_switch_off_records_name_people_in_clear(edge: Edge, keys: Keys) -> None:
    edge.change(seals_subjects=False)
    await edge.get("/", token="tok")
    record = edge.audit.records[-1]
    assert tokens_in(record) == set()
    assert record["actor"]["user"]["name"] == "alice"
    assert record["src_endpoint"]["ip"] == ADDRESS
    assert keys.known == {}


def test_an_event_is_sealed_under_the_key_that_the_pages_sent_along() -> None:
    keys = Keys()
    seals = SubjectSeals(keys)
    sealing = seals.of_person("u_other", "acme")
    event = Event(name="login.succeeded", user_id="u_alice", user="alice", tenant="acme", subject=ALICE)
    (told,) = orjson.loads(b"{" + seals.events([event], sealing).rstrip(b",") + b"}")["events"]
    assert told["user"]["t"] == told["user_id"]["t"] == ALICE.token.hex()
    assert "subject" not in told
    assert ALICE.key not in seals.events([event], None), "nor where nothing is sealed"


def test_an_event_that_knows_no_id_is_sealed_like_its_record() -> None:
    seals = SubjectSeals(Keys())
    sealing = seals.of_person("u_admin", "acme")
    assert sealing is not None
    (told,) = orjson.loads(b"{" + seals.events([Event(name="admin", user="alice")], sealing).rstrip(b",") + b"}")[
        "events"
    ]
    assert is_sealed(told["user"])
    assert told["user"]["t"] == sealing.token


def test_endless_user_agents_fill_no_memory() -> None:
    """Attack: kilobytes of user agent, another one with each request."""
    seals = SubjectSeals(Keys())
    sealing = seals.of_person("u_alice", "acme")
    for number in range(REMEMBERED + 10):
        seals.client(sealing, ADDRESS, b"%d" % number + b"x" * 8_000)
    assert len(seals._clients) <= REMEMBERED
    assert max((len(agent) for _, _, agent in seals._clients), default=0) <= 256


def test_a_client_that_names_no_browser_is_recorded_all_the_same() -> None:
    seals = SubjectSeals(Keys())
    _, agent, _ = seals.client(seals.of_person("u_alice", "acme"), ADDRESS, b"")
    assert agent == b'""'
    assert seals.client(None, ADDRESS, b"\xff\x00 \x1b[31m") == (
        b'"ip":"127.0.0.1"',
        b'"%FF\\u0000 \\u001b[31m"',
        None,
    )


PATIENTS = """
version: 1
roles: {client: {}}
routes:
  - name: patient
    match: {path: "/patients/{patient}", methods: [GET]}
    upstream: portal
    resource: {type: patient, id: "{patient}", person: true}
    allow: [{roles: [client]}]
"""


@pytest.fixture
def patients(edge: Edge, keys: Keys) -> Keys:
    table, _ = compile_policy({"p.yaml": PATIENTS}, upstreams=["portal"], tenants=["acme"], hosts=["127.0.0.1"])
    edge.change(policy=table, resolver=Resolver(table), limits_of=dict.fromkeys(table.routes, ()))
    return keys


async def test_the_name_that_a_portal_gives_a_person_or_their_file_is_sealed_with_them(
    edge: Edge, patients: Keys
) -> None:
    """Attack: `X-Audit-Resource: patient/7;name=…` leaves the name of an erased person in clear."""
    said = (
        "X-Audit-Resource: patient/p-7;name=Jane%20Doe, letter/9;owner=p-7;name=Findings%20of%20Jane, ward/3;name=North"
    )
    edge.portal.answers[b"/patients/p-7"] = f"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{said}\r\n\r\nok".encode()
    assert (await edge.get("/patients/p-7", token="tok")).status == 200
    record = edge.audit.records[-1]
    patient, letter, ward = record["resources"]
    token = patients.known["person", "p-7", "acme"].token.hex()
    for sealed in (patient["uid"], patient["name"], patient["owner"]["uid"], letter["name"], letter["owner"]["uid"]):
        assert is_sealed(sealed)
        assert sealed["t"] == token
    assert ward == {"name": "North", "type": "ward", "uid": "3"}
    assert b"Jane" not in text_of(record)
    shown = reveal(record, patients.find)["resources"]
    assert [each["name"] for each in shown] == ["Jane Doe", "Findings of Jane", "North"]


async def test_a_record_of_a_person_is_about_that_person(edge: Edge, patients: Keys) -> None:
    """Else nobody who asks who looked at them is told of it: `person: true` says no owner."""
    await edge.get("/patients/p-7", token="tok")
    record = reveal(edge.audit.records[-1], patients.find)
    assert record["resources"] == [{"owner": {"uid": "p-7"}, "type": "patient", "uid": "p-7"}]
    column = NAMES.index("people")
    assert "p-7" in flatten(record)[column].split(AND)


async def test_strangers_who_ask_for_people_that_do_not_exist_leave_no_keys_behind(edge: Edge, patients: Keys) -> None:
    """Attack: a key is kept for each of a million invented patients."""
    for number in range(5):
        assert (await edge.get(f"/patients/nobody-{number}")).status != 200
    assert {kind for kind, *_ in patients.known} == {"stranger"}
    record = edge.audit.records[-1]
    assert b"nobody-4" not in text_of(record["resources"])
    assert reveal(record, patients.find)["resources"][0]["uid"] == "nobody-4"


async def test_patients_whose_numbers_pass_for_card_numbers_have_keys_of_their_own(edge: Edge, patients: Keys) -> None:
    """Attack on an erasure: `[redacted]` as an id would be one person, and be shown, told and erased as one."""
    numbers = ("4111111111111111", "5555555555554444")
    for number in numbers:
        await edge.get(f"/patients/{number}", token="tok")
        record = edge.audit.records[-1]
        assert number.encode() not in text_of(record), "the path, which is in clear, is redacted as ever"
        assert reveal(record, patients.find)["resources"][0]["uid"] == number
        assert patients.known["person", number, "acme"].token.hex() in tokens_in(record)
    edge.change(seals_subjects=False)
    await edge.get(f"/patients/{numbers[0]}", token="tok")
    assert edge.audit.records[-1]["resources"][0]["uid"] == "[redacted]"
    assert edge.audit.records[-1]["unmapped"]["gw"]["redactions"] == 3, "path, id and owner"
