"""Deciding again what was decided: the same policy says the same, and what no record says is unknown."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.reason import Reason
from gateway.exchange.session import Owed, Session
from gateway.exchange.subject import ERASED
from gateway.policy import Facts, PolicyTable, compile_policy
from gateway.policy.condition import NAMES
from gateway.policy.history.recorded import LATER, REFUSALS, Recall, Recorded
from gateway.policy.history.replaying import UNSAID, Replayer
from tests.fakes.past import Past, Recorder, signed_in

HOSTS = {"portal.example.com": "", "acme.example.com": "acme", "zeta.example.com": "zeta"}
NOW = 1_800_000_000.5
POLICY = """
version: 1
roles: {client: {}, billing: {includes: [client]}, guest: {}}
routes:
  - {name: assets, match: {path: "/static/**", methods: [GET]}, upstream: portal, public: true}
  - {name: home, match: {path: /, methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}
  - name: invoice
    match: {path: "/invoices/{id}", methods: [GET, DELETE]}
    upstream: portal
    allow:
      - roles: [billing]
        when: session.mfa_age < duration("1h")
      - roles: [client]
        when: path.id == user.name && request.method == "GET"
        tenants: [acme]
    deny:
      - {roles: [guest]}
      - {when: 'request.user_agent.startsWith("Bad")'}
  - {name: fresh, match: {path: /fresh, methods: [POST]}, upstream: portal, mfa_age: 10m, allow: [{roles: [client]}]}
  - {name: open, match: {path: /open, methods: [GET]}, upstream: portal, unsafe_without_mfa: true, allow: [{roles: [client]}]}
  - {name: api, match: {path: /api, methods: [GET]}, upstream: portal, credentials: [api_key, session], allow: [{roles: [client], scopes: [read]}]}
  - {name: inner, match: {path: /inner, methods: [GET]}, upstream: portal, require: {network: [10.0.0.0/8], device: known}, allow: [{roles: [client]}]}
  - {name: closed, match: {path: /closed, methods: [GET]}, upstream: portal, deny: true}
  - {name: queried, match: {path: /queried, methods: [GET]}, upstream: portal, allow: [{roles: [client], when: 'session.tenant == "zeta" || request.query == "x=1"'}]}
"""


def compiled(text: str) -> PolicyTable:
    return compile_policy({"p.yaml": text}, upstreams=["portal"], tenants=["acme", "zeta"], hosts=HOSTS)[0]


TABLE = compiled(POLICY)


def ask(path: str = "/", method: str = "GET", **changes: Any) -> Facts:
    values = {"host": "acme.example.com", "client_ip": "10.1.2.3", "user_agent": "Browser/1"}
    return Facts(**{**values, **changes}, path=path, method=method)


def recorded(past: Past, table: PolicyTable = TABLE, **more: Any) -> Recorded:
    found = Recall().read(Recorder(table, HOSTS).record(past, **more), 0, 1 << 62)
    assert isinstance(found, Recorded), found
    return found


def again(past: Past, candidate: str, table: PolicyTable = TABLE) -> tuple[str, str]:
    read = recorded(past, table)
    redecision = Replayer(compiled(candidate), HOSTS).decide(read)
    why = redecision.why if redecision.verdict is None else redecision.verdict.decision.reason.value
    return redecision.beside(read), why


def changed(old: str, new: str) -> str:
    assert old in POLICY
    return POLICY.replace(old, new)


sessions = st.none() | st.builds(
    lambda name, roles, tenant, age, factor, owes, credential, known: signed_in(
        name,
        roles,
        NOW,
        tenant=tenant,
        auth_time=NOW - age,
        mfa_time=0.0 if factor is None else NOW - factor,
        amr=("pwd", "otp", "mfa") if factor is not None else ("pwd",),
        owes=owes,
        credential=credential,
        scopes=("read",) if credential == "api_key" else (),
        known_device=known,
    ),
    st.sampled_from(["alice", "bob"]),
    st.lists(st.sampled_from(["client", "billing", "guest", "gone"]), max_size=2, unique=True).map(tuple),
    st.sampled_from(["acme", "zeta", ""]),
    st.floats(0, 5000),
    st.none() | st.floats(0, 5000),
    st.sampled_from([Owed.NOTHING, Owed.NOTHING, Owed.MFA]),
    st.sampled_from(["cookie", "cookie", "api_key"]),
    st.booleans(),
)
requests = st.builds(
    ask,
    path=st.sampled_from(
        [
            "/",
            "/static/a.css",
            "/invoices/alice",
            "/invoices/7",
            "/fresh",
            "/open",
            "/api",
            "/inner",
            "/closed",
            "/nowhere",
            "/a%2Fb",
        ]
    ),
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    host=st.sampled_from(sorted(HOSTS)),
    client_ip=st.sampled_from(["10.1.2.3", "192.0.2.1", "2001:db8::1"]),
    user_agent=st.sampled_from(["Browser/1", "Bad/2", "", "x" * 300, "100%"]),
    secure=st.booleans(),
)


@given(st.lists(st.tuples(requests, sessions), min_size=1, max_size=6))
def test_replay_of_the_same_policy_changes_nothing(asked: list[tuple[Facts, Session | None]]) -> None:
    recorder, recall, replayer = Recorder(TABLE, HOSTS), Recall(), Replayer(TABLE, HOSTS)
    for facts, session in asked:
        read = recall.read(recorder.record(Past(facts=facts, session=session, now=NOW)), 0, 1 << 62)
        assert isinstance(read, Recorded)
        redecision = replayer.decide(read)
        assert redecision.beside(read) in ("same", "unknown")
        if redecision.verdict is not None:
            assert redecision.verdict.decision.reason is read.reason
            assert redecision.verdict.decision.rule == read.rule


@given(st.lists(st.tuples(requests, sessions), min_size=1, max_size=6), st.randoms())
def test_what_is_remembered_of_answers_never_changes_one(asked: list[tuple[Facts, Session | None]], order: Any) -> None:
    recorder, candidate = Recorder(TABLE, HOSTS), compiled(changed("roles: [billing]", "roles: [client]"))
    pasts = [Past(facts=facts, session=session, now=NOW) for facts, session in asked]
    shared, recall = Replayer(candidate, HOSTS), Recall()
    order.shuffle(pasts)
    for past in pasts * 2:
        payload = recorder.record(past)
        alone = Replayer(candidate, HOSTS).decide(Recall().read(payload, 0, 1 << 62))  # type: ignore[arg-type]
        together = shared.decide(recall.read(payload, 0, 1 << 62))  # type: ignore[arg-type]
        assert (alone.why, alone.verdict and alone.verdict.decision) == (
            together.why,
            together.verdict and together.verdict.decision,
        )


def test_a_role_that_is_taken_away_refuses_and_names_the_line() -> None:
    past = Past(facts=ask(), session=signed_in("alice", ("client",), NOW), now=NOW)
    assert again(
        past,
        changed("allow: [{roles: [client]}]}\n  - name: invoice", "allow: [{roles: [billing]}]}\n  - name: invoice"),
    ) == (
        "would refuse",
        "role_missing",
    )


def test_a_route_that_is_opened_allows_whoever_was_refused() -> None:
    past = Past(facts=ask("/closed"), session=None, now=NOW)
    assert recorded(past).reason is Reason.SIGN_IN_REQUIRED
    assert again(past, changed("upstream: portal, deny: true", "upstream: portal, public: true")) == (
        "would allow",
        "public",
    )


def test_who_would_have_asked_where_there_was_no_route_is_unknown() -> None:
    past = Past(facts=ask("/new"), session=signed_in("alice", ("client",), NOW), now=NOW)
    new = (
        POLICY + "  - {name: new, match: {path: /new, methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}\n"
    )
    assert again(past, new) == ("unknown", "there was no route then, so nobody was asked who they are")
    public = new.replace(
        "name: new, match: {path: /new, methods: [GET]}, upstream: portal, allow: [{roles: [client]}]",
        "name: new, match: {path: /new, methods: [GET]}, upstream: portal, public: true",
    )
    assert again(past, public) == ("would allow", "public")


def test_a_key_that_nobody_looked_at_is_unknown() -> None:
    past = Past(facts=ask("/"), session=None, now=NOW)
    candidate = changed(
        "methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}\n  - name: invoice",
        "methods: [GET]}, upstream: portal, credentials: [api_key], allow: [{roles: [client]}]}\n  - name: invoice",
    )
    assert again(past, candidate) == ("unknown", "the route did not look at API keys and tokens then")


def test_the_query_is_not_recorded_and_matters_only_where_it_decides() -> None:
    of_zeta = Past(
        facts=ask("/queried", host="portal.example.com", query="x=1"),
        session=signed_in("zoe", ("client",), NOW, tenant="zeta"),
        now=NOW,
    )
    assert again(of_zeta, POLICY) == ("same", "allowed")
    of_acme = Past(facts=ask("/queried", query="x=1"), session=signed_in("alice", ("client",), NOW), now=NOW)
    assert b"x=1" not in Recorder(TABLE, HOSTS).record(of_acme)
    assert again(of_acme, POLICY) == ("unknown", "a condition asks about request.query, which the record does not say")


def test_an_address_is_recorded_where_a_condition_asks_for_it_and_unknown_elsewhere() -> None:
    past = Past(facts=ask(), session=signed_in("alice", ("client",), NOW), now=NOW)
    asking = changed(
        "allow: [{roles: [client]}]}\n  - name: invoice",
        "allow: [{roles: [client], when: 'user.email.endsWith(\"@acme.example\")'}]}\n  - name: invoice",
    )
    assert b"alice@acme.example" not in Recorder(TABLE, HOSTS).record(past)
    assert again(past, asking) == ("unknown", "a condition asks about user.email, which the record does not say")
    assert again(past, asking, compiled(asking)) == ("same", "allowed")
    assert again(past, POLICY, compiled(asking)) == ("same", "allowed")


@pytest.mark.parametrize("agent", ["x" * 300, "100% real"])
def test_a_user_agent_that_may_be_cut_or_escaped_is_unknown(agent: str) -> None:
    past = Past(facts=ask("/invoices/alice", user_agent=agent), session=signed_in("alice", ("client",), NOW), now=NOW)
    assert again(past, POLICY)[0] == "unknown"


@pytest.mark.parametrize(("path", "why"), [("/inner", "address"), ("/invoices/alice", "user.name"), ("/", "allowed")])
def test_what_was_erased_is_unknown_where_it_decides_and_does_not_matter_elsewhere(path: str, why: str) -> None:
    person = signed_in("alice", ("client",), NOW, known_device=True)
    past = Past(facts=ask(path), session=person, now=NOW)
    record = orjson.loads(Recorder(TABLE, HOSTS).record(past))
    record["src_endpoint"]["ip"] = record["http_request"]["user_agent"] = ERASED
    record["actor"]["user"] |= {"name": ERASED, "uid": ERASED}
    read = Recall().read(orjson.dumps(record), 0, 1 << 62)
    assert isinstance(read, Recorded)
    redecision = Replayer(TABLE, HOSTS).decide(read)
    said = redecision.why if redecision.verdict is None else redecision.verdict.decision.reason.value
    assert why in said


@pytest.mark.parametrize(
    ("age", "expected"), [(600.2, "unknown"), (599.9, "unknown"), (550.0, "same"), (700.0, "same")]
)
def test_an_age_within_a_second_of_its_limit_is_unknown(age: float, expected: str) -> None:
    session = signed_in("alice", ("client",), NOW, mfa_time=NOW - age, auth_time=NOW - age)
    assert again(Past(facts=ask("/fresh", "POST"), session=session, now=NOW), POLICY)[0] == expected


def test_a_certificate_that_is_wanted_now_and_was_not_shown_refuses() -> None:
    candidate = changed(
        "{name: home, match: {path: /, methods: [GET]}, upstream: portal,",
        "{name: home, match: {path: /, methods: [GET]}, upstream: portal, client_certificate: required,",
    )
    past = Past(facts=ask(), session=signed_in("alice", ("client",), NOW), now=NOW)
    assert again(past, candidate) == ("would refuse", "certificate_required")
    shown = Past(facts=ask(), session=signed_in("alice", ("client",), NOW), now=NOW, certificate="ab" * 32)
    assert again(shown, candidate) == ("same", "allowed")


def test_a_public_route_for_devices_asks_for_the_certificate_again() -> None:
    devices = "version: 1\nroutes:\n  - {name: d, match: {path: /, methods: [GET]}, upstream: portal, public: true, client_certificate: required}\n"
    payload = orjson.loads(Recorder(compiled(devices), HOSTS).record(Past(facts=ask(), session=None, now=NOW)))
    payload["action_id"], payload["unmapped"]["gw"]["reason"] = 2, "certificate_required"
    payload["unmapped"]["gw"]["decision_inputs"]["certificate"] = "ab" * 32  # one that was revoked
    of_edge = Recall().read(orjson.dumps(payload), 0, 1 << 62)
    assert isinstance(of_edge, Recorded)
    assert Replayer(compiled(devices), HOSTS).decide(of_edge).beside(of_edge) == "same"


def test_whom_a_certificate_stands_for_is_known_where_the_route_asked() -> None:
    asking = POLICY.replace(
        "{name: home, match: {path: /, methods: [GET]}, upstream: portal,",
        "{name: home, match: {path: /, methods: [GET]}, upstream: portal, client_certificate: optional,",
    )
    past = Past(facts=ask(), session=None, now=NOW, certificate="ab" * 32)
    assert again(past, asking, compiled(asking)) == ("same", "sign_in_required")
    assert again(past, asking) == ("unknown", "the route did not ask whom the certificate stands for")


@pytest.mark.parametrize("owes", [Owed.DEVICE, Owed.ROOM])
def test_what_a_session_owes_is_owed_under_another_policy_too(owes: Owed) -> None:
    session = signed_in("alice", ("client",), NOW, owes=owes)
    past = Past(facts=ask("/nowhere"), session=session, now=NOW)
    read = recorded(past)._replace(reason=Reason.DEVICE_UNCONFIRMED, route="open", path="/open", is_whole=True)
    payload = orjson.loads(Recorder(TABLE, HOSTS).record(Past(facts=ask("/open"), session=session, now=NOW)))
    payload["action_id"], payload["unmapped"]["gw"]["reason"] = 2, "device_unconfirmed"
    of_edge = Recall().read(orjson.dumps(payload), 0, 1 << 62)
    assert isinstance(of_edge, Recorded)
    assert read.allowed is False
    redecision = Replayer(TABLE, HOSTS).decide(of_edge)
    assert (redecision.beside(of_edge), redecision.verdict is not None) == ("same", True)


HEADER = """
version: 1
roles: {client: {}}
routes:
  - {name: shared, match: {path: /shared, methods: [GET]}, upstream: portal, tenant: {header: X-Tenant}, allow: [{roles: [client]}]}
  - {name: plain, match: {path: /plain, methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}
"""


@pytest.mark.parametrize("named", ["acme", "zeta", "nobody", ""])
def test_the_tenant_that_a_header_named_is_known_and_a_header_that_nobody_read_is_not(named: str) -> None:
    table = compiled(HEADER)
    fields = (("x-tenant", named),) if named else ()
    past = Past(
        facts=ask("/shared", host="portal.example.com", fields=fields),
        session=signed_in("alice", ("client",), NOW),
        now=NOW,
    )
    assert again(past, HEADER, table)[0] == "same"
    unread = Past(
        facts=ask("/plain", host="portal.example.com", fields=fields),
        session=signed_in("alice", ("client",), NOW),
        now=NOW,
    )
    asking = HEADER.replace(
        "name: plain, match: {path: /plain, methods: [GET]}, upstream: portal,",
        "name: plain, match: {path: /plain, methods: [GET]}, upstream: portal, tenant: {header: X-Tenant},",
    )
    assert again(unread, asking, table) == ("unknown", "the header x-tenant was not looked at then")


@pytest.mark.parametrize("reason", sorted(LATER))
def test_what_refused_after_policy_is_no_answer_of_policy(reason: Reason) -> None:
    past = Past(facts=ask(), session=signed_in("alice", ("client",), NOW), now=NOW)
    read = recorded(past, reason=reason)
    assert (read.is_later, read.allowed) == (True, True)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"http_request": None}, "no request"),
        ({"unmapped": {"gw": {"phase": "intent", "reason": "allowed", "route": "home"}}}, "part of another"),
        ({"unmapped": {"gw": {"phase": "closing", "reason": "allowed", "route": "home"}}}, "part of another"),
        ({"action_id": 2, "unmapped": {"gw": {"phase": "single", "reason": "shed", "route": "none"}}}, "not policy"),
        (
            {"action_id": 2, "unmapped": {"gw": {"phase": "single", "reason": "store_unavailable", "route": "home"}}},
            "not policy",
        ),
        (
            {"action_id": 2, "unmapped": {"gw": {"phase": "single", "reason": "a_reason_of_later", "route": "home"}}},
            "not policy",
        ),
        (
            {
                "action_id": 1,
                "unmapped": {
                    "gw": {"phase": "single", "reason": "allowed", "route": "home", "decision_inputs": {"hots": 1}}
                },
            },
            "unreadable",
        ),
        (
            {
                "action_id": 1,
                "unmapped": {
                    "gw": {"phase": "single", "reason": "allowed", "route": "home", "decision_inputs": "[erased]"}
                },
            },
            "unreadable",
        ),
        ({"time": "yesterday"}, "unreadable"),
    ],
)
def test_records_that_hold_no_answer_of_policy_are_left_out(change: dict[str, Any], expected: str) -> None:
    record = orjson.loads(Recorder(TABLE, HOSTS).record(Past(facts=ask(), session=None, now=NOW)))
    assert Recall().read(orjson.dumps({**record, **change}), 0, 1 << 62) == expected


@given(st.binary(max_size=200))
def test_no_bytes_in_a_log_stop_a_replay(payload: bytes) -> None:
    assert Recall().read(payload, 0, 1 << 62) in ("no request", "unreadable")


def test_a_page_of_ours_is_left_out_and_a_route_of_that_name_is_not() -> None:
    record = orjson.loads(Recorder(TABLE, HOSTS).record(Past(facts=ask(), session=None, now=NOW)))
    record["unmapped"]["gw"]["route"] = "gateway.login"
    assert isinstance(Recall().read(orjson.dumps(record), 0, 1 << 62), Recorded)
    record["http_request"]["url"]["path"] = "/.gateway/login"
    assert Recall().read(orjson.dumps(record), 0, 1 << 62) == "own page"


def test_a_record_outside_the_span_is_passed_by() -> None:
    payload = Recorder(TABLE, HOSTS).record(Past(facts=ask(), session=None, now=NOW))
    at = int(NOW * 1000)
    recall = Recall()
    assert recall.read(payload, at + 1, 1 << 62) is None
    assert recall.read(payload, 0, at) is None
    assert recall.read(payload, at, at + 1) is not None


def test_a_path_that_may_be_cut_is_unknown() -> None:
    past = Past(facts=ask("/static/" + "a" * 2040), session=None, now=NOW)
    assert again(past, POLICY) == ("unknown", "the record does not hold the whole address")


def test_every_name_of_a_condition_is_recorded_or_said_to_be_unknown() -> None:
    """A name that conditions learn has to be recorded, or reported."""
    from_record = {
        "user.name", "user.id", "session.tenant", "session.roles", "session.amr", "session.acr", "session.mfa_age", "session.auth_age",
        "session.credential", "session.scopes", "session.handle", "session.known_device", "request.method", "request.host", "request.path",
        "request.client_ip", "request.action", "request.resource.type", "request.resource.id", "network.ip", "request.tenant", "tenant", "now",
    }  # fmt: skip
    where_asked = {"user.email", "session.provider", "session.country"}
    or_unknown = {"request.user_agent", "request.secure", "request.scheme"}
    assert set(NAMES) == from_record | where_asked | or_unknown | UNSAID


def test_reasons_are_sorted_into_those_of_policy_and_others() -> None:
    assert REFUSALS.isdisjoint(LATER)
    assert {Reason.ALLOWED, Reason.PUBLIC}.isdisjoint(REFUSALS | LATER)
