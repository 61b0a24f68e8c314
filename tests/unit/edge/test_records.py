"""What the record of a request says: whose data, why, by which trace; and what no record ever holds."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from gateway.audit.canonical import encode
from gateway.audit.record import DETECTIONS
from gateway.audit.schema import record_schema
from gateway.edge.resolve import Resolver
from gateway.edge.snapshot import TraceRules
from gateway.exchange.envelope import Event, pack_events
from gateway.policy import compile_policy
from gateway.wire.forwarded import TrustedProxies
from tests.corpora.secrets import SECRETS
from tests.unit.edge.conftest import Edge, until

VALID = Draft202012Validator(record_schema())
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
POLICY = """
version: 1
roles: {client: {}}
routes:
  - name: chart
    match: {path: "/patients/{patient}/chart", methods: [GET, PUT]}
    upstream: portal
    resource: {type: chart, id: "{patient}", owner: "{patient}"}
    audit: {purpose: treatment, legal_basis: contract, classification: phi}
    allow: [{roles: [client]}]
  - name: mine
    match: {path: /mine, methods: [GET]}
    upstream: portal
    resource: {type: profile, owner: self}
    require: {mfa_age: 1h}
    allow: [{roles: [client]}]
  - name: list
    match: {path: /list, methods: [GET, OPTIONS]}
    upstream: portal
    audit: {require_resource: true}
    allow: [{roles: [client]}]
  - name: news
    match: {path: "/news/**", methods: [GET]}
    upstream: portal
    public: true
    audit: {stream: access}
"""


def answer(fields: str = "", *, status: str = "200 OK", body: bytes = b"hello") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body


@pytest.fixture(autouse=True)
def charts(edge: Edge) -> None:
    table, _ = compile_policy(
        {"p.yaml": POLICY}, upstreams=["portal"], tenants=["acme", "globex"], hosts=["127.0.0.1", "globex.example"]
    )
    edge.change(policy=table, resolver=Resolver(table), limits_of=dict.fromkeys(table.routes, ()))


def check(record: dict[str, Any]) -> dict[str, Any]:
    VALID.validate(record)
    assert encode(record) == orjson.dumps(record, option=orjson.OPT_SORT_KEYS), "canonical"
    return record


def last(edge: Edge) -> dict[str, Any]:
    return check(edge.audit.records[-1])


async def test_a_record_says_whose_data_were_seen_by_whom_why_and_how_sure(edge: Edge) -> None:
    assert (await edge.get("/patients/p7/chart", token="tok", fields="User-Agent: me\r\n")).status == 200
    record = last(edge)
    gw = record["unmapped"]["gw"]
    assert record["resources"] == [
        {
            "data_classification": {"category_id": 1, "confidentiality_id": 6},
            "owner": {"uid": "p7"},
            "type": "chart",
            "uid": "p7",
        }
    ]
    assert (gw["purpose"], gw["legal_basis"], gw["classification"]) == ("treatment", "contract", "phi")
    assert (gw["auth"]["aal"], gw["auth"]["step_up"], gw["redactions"]) == (1, False, 0)
    assert record["actor"]["idp"] == {"name": "local"}
    assert record["actor"]["session"]["issuer"] == "gateway"
    assert (record["class_uid"], record["metadata"]["log_name"], record["disposition_id"]) == (6003, "access", 1)
    assert record["dst_endpoint"]["port"] == 80
    assert record["device"] == {"hostname": "node-a", "uid": "node-a"}
    own = record["http_request"]["uid"].replace("-", "")
    assert record["trace"] == {"span": {"uid": own[16:]}, "uid": own}


async def test_records_that_differ_in_little_are_not_taken_for_each_other(edge: Edge) -> None:
    """What repeats is remembered: status, decision and place are of this request all the same."""
    found: list[tuple[object, ...]] = []
    for status, token in ((200, "tok"), (404, "tok"), (500, "tok"), (200, ""), (200, "tok")):
        edge.portal.answers[b"/patients/p7/chart"] = answer(status=f"{status} Said")
        reply = await edge.get("/patients/p7/chart", token=token)
        record = last(edge)
        assert record["status_code"] == str(record["http_response"]["code"]) == str(reply.status)
        found.append((reply.status, record["status_id"], record["metadata"]["log_name"], record["policy"]["uid"] != ""))
    assert found == [
        (200, 1, "access", True),
        (404, 2, "access", True),
        (500, 2, "access", True),
        (401, 2, "security", False),
        (200, 1, "access", True),
    ]


async def test_the_data_of_whoever_asks_are_their_own(edge: Edge) -> None:
    assert (await edge.get("/mine", token="tok")).status == 200
    record = last(edge)
    assert record["resources"] == [{"owner": {"uid": "u1"}, "type": "profile"}]
    assert record["unmapped"]["gw"]["auth"]["step_up"] is True


async def test_the_portal_names_what_its_answer_holds_and_the_client_never_sees_it(edge: Edge) -> None:
    fields = (
        "X-Audit-Resource: invoice/1;owner=p1, invoice/2;owner=p2\r\nX-AUDIT-resource: chart/p7;name=X\r\n"
        "X-Audit-Change: email, phone\r\nContent-Type: Text/HTML; charset=utf-8\r\n"
    )
    edge.portal.answers[b"/patients/p7/chart"] = answer(fields)
    reply = await edge.get("/patients/p7/chart", token="tok")
    assert reply.status == 200
    assert b"audit" not in reply.head.lower()
    record = last(edge)
    assert [(each["type"], each["uid"], each.get("owner")) for each in record["resources"]] == [
        ("invoice", "1", {"uid": "p1"}),
        ("invoice", "2", {"uid": "p2"}),
        ("chart", "p7", {"uid": "p7"}),
    ]
    assert record["unmapped"]["gw"]["change"] == {"fields": ["email", "phone"]}
    assert record["http_response"]["content_type"] == "text/html"


@pytest.mark.parametrize("value", ['invoice/1"}],"x":1', "invoice", "invoice/%0a", "invoice/" + "9" * 300])
async def test_record_spoofing_what_is_not_a_resource_is_not_recorded_as_one(edge: Edge, value: str) -> None:
    edge.portal.answers[b"/patients/p7/chart"] = answer(f"X-Audit-Resource: {value}\r\n")
    assert (await edge.get("/patients/p7/chart", token="tok")).status == 200
    record = last(edge)
    assert [each["uid"] for each in record["resources"]] == ["p7"]
    assert record["unmapped"]["gw"]["resource_faults"] == ["resource_malformed"]
    counted = {sample.name: dict(sample.values) for sample in edge.worker.metrics.dump()}
    assert counted["gateway_audit_resource_faults_total"] == {("portal", "resource_malformed"): 1.0}


async def test_a_client_names_no_resources(edge: Edge) -> None:
    await edge.get("/patients/p7/chart", token="tok", fields="X-Audit-Resource: invoice/9;owner=me\r\n")
    assert [each["type"] for each in last(edge)["resources"]] == ["chart"]
    assert edge.portal.field(b"x-audit-resource") == []


async def test_an_answer_that_must_name_its_data_and_does_not_is_not_released(edge: Edge) -> None:
    edge.portal.answers[b"/list"] = answer(body=b"secret list")
    reply = await edge.get("/list", token="tok")
    assert reply.status == 502
    assert b"secret list" not in reply.raw
    record = last(edge)
    assert (record["unmapped"]["gw"]["reason"], record["action_id"]) == ("resource_unnamed", 2)
    edge.portal.answers[b"/list"] = answer("X-Audit-Resource: invoice/1\r\n", body=b"list")
    assert (await edge.get("/list", token="tok")).body == b"list"
    edge.portal.answers[b"/list"] = answer("X-Audit-Resource: invoice\r\n", body=b"list")
    assert (await edge.get("/list", token="tok")).status == 502, "malformed names nothing"
    edge.portal.answers[b"/list"] = answer(status="404 Not Found")
    assert (await edge.get("/list", token="tok")).status == 404


async def test_a_trace_goes_on_as_it_came_and_stands_in_the_record(edge: Edge) -> None:
    await edge.get("/news/1", fields=f"traceparent: {TRACEPARENT}\r\ntracestate: a=1\r\n")
    assert edge.portal.field(b"traceparent") == [TRACEPARENT.encode()]
    assert edge.portal.field(b"tracestate") == [b"a=1"]
    assert last(edge)["trace"] == {"span": {"uid": SPAN}, "uid": TRACE}


@pytest.mark.parametrize("value", ["junk", f"00-{'0' * 32}-{SPAN}-01", f'00-{TRACE}-{SPAN}-01"'])
async def test_what_is_no_trace_goes_nowhere(edge: Edge, value: str) -> None:
    await edge.get("/news/1", fields=f"traceparent: {value}\r\ntracestate: a=1\r\n")
    assert edge.portal.field(b"traceparent") == edge.portal.field(b"tracestate") == []
    record = last(edge)
    assert record["trace"]["uid"] == record["http_request"]["uid"].replace("-", "")


async def test_whose_traces_count_and_whether_some_begin_is_the_operators_choice(edge: Edge) -> None:
    edge.change(trace=TraceRules(accept="trusted", flags=b"00"))
    await edge.get("/news/1", fields=f"traceparent: {TRACEPARENT}\r\n")
    own = last(edge)["http_request"]["uid"].replace("-", "")
    assert edge.portal.field(b"traceparent") == [f"00-{own}-{own[16:]}-00".encode()]
    edge.change(trusted_proxies=TrustedProxies((ip_network("127.0.0.1/32"),)))
    await edge.get("/news/1", fields=f"traceparent: {TRACEPARENT}\r\nX-Forwarded-For: 203.0.113.9\r\n")
    assert edge.portal.field(b"traceparent") == [TRACEPARENT.encode()]
    edge.change(trace=TraceRules(accept="never"))
    await edge.get("/news/1", fields=f"traceparent: {TRACEPARENT}\r\n")
    assert edge.portal.field(b"traceparent") == []


@pytest.mark.parametrize(
    ("target", "token", "expected"),
    [
        ("/patients/p7/chart", "tok", ("access", 6003)),
        ("/patients/p7/chart", "", ("security", 6003)),
        ("/patients/p7/chart", "admin", ("security", 6003)),
        ("/nothing", "tok", ("traffic", 4002)),
        ("/news/1", "", ("access", 4002)),
        ("/news/%00", "", ("traffic", 4002)),
    ],
)
async def test_each_record_stands_where_its_question_is_asked(
    edge: Edge, target: str, token: str, expected: tuple[str, int]
) -> None:
    await edge.get(target, token=token)
    record = last(edge)
    assert (record["metadata"]["log_name"], record["class_uid"]) == expected
    assert record["type_uid"] == record["class_uid"] * 100 + record["activity_id"]


async def test_an_intent_and_what_came_of_it_stand_in_one_stream(edge: Edge) -> None:
    edge.portal.answers[b"/patients/p7/chart"] = b"nonsense\r\n\r\n"
    assert (await edge.get("/patients/p7/chart", method="PUT", token="tok", body=b"x")).status == 502
    intent, outcome = edge.audit.records[-2:]
    last(edge)
    assert intent["metadata"]["log_name"] == outcome["metadata"]["log_name"] == "access"
    assert (intent["unmapped"]["gw"]["outcome"], intent["unmapped"]["gw"]["phase"]) == ("pending", "intent")
    assert (outcome["action_id"], outcome["disposition_id"]) == (2, 27)


async def test_the_proxies_before_us_are_named(edge: Edge) -> None:
    edge.change(trusted_proxies=TrustedProxies((ip_network("127.0.0.1/32"), ip_network("10.0.0.0/8"))))
    await edge.get("/news/1", fields="X-Forwarded-For: 203.0.113.9, 10.1.1.1\r\n")
    record = last(edge)
    assert record["src_endpoint"]["ip"] == "203.0.113.9"
    assert record["src_endpoint"]["intermediate_ips"][0] == "10.1.1.1"


@pytest.mark.parametrize("event", sorted(DETECTIONS))
async def test_what_somebody_should_look_at_is_a_finding_of_its_own(edge: Edge, event: str) -> None:
    told = pack_events([Event(name=event, outcome="failure", user_id="u1", user="alice", tenant="acme")])
    edge.worker.swap(edge.worker.snapshot)
    edge.portal.answers[b"/.gateway/login"] = answer(f"X-Gateway-Events: {told.decode()}\r\n")
    edge.change(pages=edge.worker.snapshot.pages)
    await edge.get("/.gateway/login", method="POST", body=b"username=alice")
    records = {record["class_uid"]: check(record) for record in edge.audit.records}
    found, request = records[2004], records[3002]
    assert found["metadata"]["correlation_uid"] == request["metadata"]["correlation_uid"]
    assert (found["metadata"]["log_name"], found["type_uid"]) == ("security", 200401)
    assert found["attacks"][0]["technique"]["uid"] == DETECTIONS[event][1]
    is_sign_in = event.startswith(("break_glass.", "factor.", "login.", "session."))
    assert found["unmapped"]["gw"]["action"] == ("login" if is_sign_in else "view"), "an attack is no sign-in"
    assert found["user"]["name"] == "alice"
    assert request["user"]["name"] == "alice"
    assert request["logon_type_id"] == 3
    assert edge.worker.metrics.findings.values == dict.fromkeys([(name,) for name in DETECTIONS], 0) | {(event,): 1}


AGENTS = [bytes([byte]) for byte in (*range(1, 10), 11, 12, *range(14, 32), 34, 92, *range(127, 256))]


@pytest.mark.parametrize("start", range(0, len(AGENTS), 24))
async def test_no_byte_suppresses_a_record(edge: Edge, start: int) -> None:
    """Attack (ASVS 16.4.1): an exotic byte that makes the gateway forget to record a request."""
    for byte in AGENTS[start : start + 24]:
        before = len(edge.audit.records)
        head = b"GET /news/%b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nUser-Agent: a%bb\r\nCookie: %b=1\r\nX-%b: 1\r\n\r\n"
        await edge.raw(head % (byte, byte, byte, byte))
        await edge.raw(
            b"GET /news/x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nUser-Agent: a%bb\r\n\r\n" % byte
        )
        assert len(edge.audit.records) == before + 2, byte
    for record in edge.audit.records:
        check(record)


async def test_a_megabyte_of_user_agent_is_recorded_as_a_refusal(edge: Edge) -> None:
    reply = await edge.raw(b"GET /news/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: " + b"x" * 20_000 + b"\r\n\r\n")
    assert b"431" in reply[:20]
    assert last(edge)["unmapped"]["gw"]["reason"] == "head_too_large"


async def test_what_is_cut_says_so(edge: Edge) -> None:
    await edge.get("/news/" + "y" * 3000, fields=f"User-Agent: {'x ' * 400}\r\n")
    record = last(edge)
    assert record["metadata"]["is_truncated"] is True
    assert record["metadata"]["untruncated_size"] > len(encode(record))
    assert len(record["http_request"]["url"]["path"]) <= 2048


@pytest.mark.parametrize(("text", "secret"), SECRETS)
async def test_a_secret_in_a_request_stands_in_no_record_line_or_metric(edge: Edge, text: str, secret: str) -> None:
    quoted = re.sub(
        r"[^!-~]|[\"<>\\^`{|}?#]", lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text
    )
    before = len(edge.audit.records)
    await edge.get(f"/news/{quoted}")
    await edge.get(f"/news/x?{quoted}")
    await edge.raw(
        b"GET /news/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nUser-Agent: %b\r\nReferer: https://x/?%b\r\n\r\n"
        % (text.encode(), quoted.encode())
    )
    await edge.raw(
        b"GET /news/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nCookie: a=%b\r\nX-Y: %b\r\n\r\n"
        % (quoted.encode(), text.encode())
    )
    assert len(edge.audit.records) == before + 4
    last(edge)
    edge.worker.evidence.flush_log()
    written = orjson.dumps(edge.audit.records) + b"".join(edge.lines) + repr(list(edge.worker.metrics.dump())).encode()
    assert secret.encode() not in written
    assert secret not in repr(edge.reports)


async def test_secrets_that_were_taken_out_are_counted(edge: Edge) -> None:
    await edge.get("/news/4111111111111111", fields="User-Agent: x password=hunter2hunter2\r\n")
    record = last(edge)
    assert record["unmapped"]["gw"]["redactions"] == 2
    assert record["http_request"]["url"]["path"] == "/news/[redacted]"


async def test_a_card_number_as_an_id_stands_in_no_resource(edge: Edge) -> None:
    await edge.get("/patients/4111111111111111/chart", token="tok")
    assert b"4111111111111111" not in orjson.dumps(edge.audit.records)


async def test_a_session_that_ends_under_an_open_answer_says_why(edge: Edge) -> None:
    edge.portal.answers[b"/mine"] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"
    reader, writer = await edge.connect()
    writer.write(b"GET /mine HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: gw=tok\r\n\r\n")
    await reader.readuntil(b"data: 1")
    edge.sessions.entries.clear()
    await reader.read()
    writer.close()
    await until(lambda: edge.audit.records[-1]["unmapped"]["gw"]["phase"] == "closing")
    assert last(edge)["actor"]["session"]["expiration_reason"] in {"revoked", "expired"}
