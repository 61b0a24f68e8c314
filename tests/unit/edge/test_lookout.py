"""What a worker tells detectors of abuse: of each request what they count, and nothing of the others."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gateway.edge import lookout
from gateway.edge.lookout import WatchRules
from gateway.edge.resolve import Resolver
from gateway.exchange.envelope import Event, pack_events
from gateway.exchange.reason import Reason
from gateway.inspection.abuse.sighting import Sighting, What, digest
from gateway.policy import compile_policy
from tests.unit.edge.conftest import Edge, KeyEntry, session, until

KEY = b"k" * 32
POLICY = """
version: 1
roles: {client: {}}
routes:
  - name: chart
    match: {path: "/patients/{patient}/chart", methods: [GET, PUT]}
    upstream: portal
    resource: {type: chart, id: "{patient}", owner: "{patient}"}
    audit: {classification: phi}
    allow: [{roles: [client]}]
  - name: mine
    match: {path: "/mine/{id}", methods: [GET]}
    upstream: portal
    resource: {type: letter, id: "{id}", owner: self}
    allow: [{roles: [client]}]
  - name: export
    match: {path: /export, methods: [GET]}
    upstream: portal
    action: export
    resource: {type: report, id: all}
    credentials: [session, api_key]
    authorization: gateway
    allow: [{roles: [client]}]
  - name: pages
    match: {path: "/pages/**", methods: [GET, POST]}
    upstream: portal
    public: true
"""


def answer(status: str = "200 OK", fields: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n{fields}\r\nok".encode()


@pytest.fixture(autouse=True)
def watched(edge: Edge) -> None:
    table, _ = compile_policy(
        {"p.yaml": POLICY}, upstreams=["portal"], tenants=["acme", "globex"], hosts=["127.0.0.1", "globex.example"]
    )
    edge.change(
        policy=table,
        resolver=Resolver(table),
        limits_of=dict.fromkeys(table.routes, ()),
        watch=WatchRules(key=KEY, country=lambda _: "CH"),
    )


async def seen(edge: Edge, *whats: What) -> list[Sighting]:
    """Everything that was seen, but for uses of sessions unless that is asked for."""
    await until(lambda: not edge.worker.evidence.recorder.unacked)
    batch = edge.worker.evidence.lookout.take()
    return [each for each in batch if (each.what in whats if whats else each.what is not What.SESSION_USED)]


async def test_a_resource_that_is_shown_is_told_with_whose_it_is(edge: Edge) -> None:
    assert (await edge.get("/patients/p7/chart", token="tok")).status == 200
    (taken,) = await seen(edge)
    assert taken.what is What.TAKEN
    assert (taken.person, taken.name, taken.session, taken.tenant) == ("u1", "alice", "handle1", "acme")
    assert taken.item == digest(KEY, "item", "chart\0p7")
    assert taken.owner == digest(KEY, "owner", "p7")
    assert taken.group == "acme|client"
    assert taken.classified
    assert (taken.network, taken.route) == ("127.0.0.1", "chart")


async def test_ones_own_data_have_no_owner_that_anybody_snoops_on(edge: Edge) -> None:
    await edge.get("/mine/4", token="tok")
    (taken,) = await seen(edge)
    assert (taken.owner, taken.classified) == ("", False)


async def test_changing_something_is_no_taking(edge: Edge) -> None:
    assert (await edge.get("/patients/p7/chart", method="PUT", body=b"x", token="tok")).status == 200
    assert await seen(edge) == []


async def test_the_same_resource_again_is_not_told_again(edge: Edge) -> None:
    for _ in range(3):
        await edge.get("/patients/p7/chart", token="tok")
    await edge.get("/patients/p8/chart", token="tok")
    found = await seen(edge)
    assert len({each.item for each in found}) == 2
    assert sum(each.count for each in found) == 2


async def test_what_is_told_by_the_portal_counts_where_the_policy_says_nothing(edge: Edge) -> None:
    edge.portal.answers[b"/pages/1"] = answer(fields="X-Audit-Resource: invoice/42;owner=p9\r\n")
    edge.portal.answers[b"/pages/2"] = answer(fields="X-Audit-Resource: invoice/1, invoice/2\r\n")
    await edge.get("/pages/1")
    await edge.get("/pages/2")
    one, two = await seen(edge)
    assert (one.item, one.owner) == (digest(KEY, "item", "invoice\x0042"), digest(KEY, "owner", "p9"))
    assert two.item == digest(KEY, "item", b"/pages/2"), "a list is one page, whatever it names"


async def test_pages_of_a_portal_without_resources_count_and_its_pictures_do_not(edge: Edge) -> None:
    edge.portal.answers[b"/pages/1"] = answer(fields="Content-Type: text/html; charset=utf-8\r\n")
    edge.portal.answers[b"/pages/logo.png"] = answer(fields="Content-Type: image/png\r\n")
    await edge.get("/pages/1?id=4")
    await edge.get("/pages/logo.png")
    (page,) = await seen(edge)
    assert page.item == digest(KEY, "item", b"/pages/1?id=4")
    assert page.person == ""


async def test_a_program_is_told_by_its_key_and_an_export_is_classified(edge: Edge) -> None:
    edge.sessions.keys[b"gwk_secret"] = KeyEntry(session(handle="k_1", credential="api_key"))
    reply = await edge.get("/export", fields="X-API-Key: gwk_secret\r\n")
    assert reply.status == 200
    (taken,) = await seen(edge)
    assert (taken.key, taken.person, taken.session, taken.classified) == ("k_1", "u1", "", True)


async def test_a_key_that_is_not_valid_is_told(edge: Edge) -> None:
    assert (await edge.get("/export", fields="X-API-Key: gwk_wrong\r\n")).status == 401
    (refused,) = await seen(edge)
    assert (refused.what, refused.network, refused.person) == (What.CREDENTIAL_REFUSED, "127.0.0.1", "")


async def test_a_resource_that_is_not_there_is_told_by_itself_and_by_its_address(edge: Edge) -> None:
    edge.portal.answers[b"/patients/p9/chart"] = answer("404 Not Found")
    edge.portal.answers[b"/patients/p6/chart"] = answer("403 Forbidden")
    await edge.get("/patients/p9/chart", token="tok")
    await edge.get("/patients/p6/chart", token="tok")
    missed = await seen(edge)
    assert [each.what for each in missed] == [What.MISSED, What.STRAYED] * 2
    assert missed[0].item == digest(KEY, "item", "chart\0p9")
    assert missed[1].item == digest(KEY, "path", b"/patients/p9/chart")
    assert missed[0].person == "u1"


async def test_an_address_that_no_route_has_is_told_without_its_query(edge: Edge) -> None:
    for number in range(3):
        assert (await edge.get(f"/wp-login.php?{number}")).status == 404
    (strayed, *more) = await seen(edge)
    assert (strayed.what, strayed.item) == (What.STRAYED, digest(KEY, "path", b"/wp-login.php"))
    assert {each.item for each in more} <= {strayed.item}


async def test_what_policy_refuses_is_told_and_a_sign_in_that_is_missing_is_not(edge: Edge) -> None:
    reply = await edge.get("/patients/p7/chart", token="admin")
    assert reply.status == 403
    assert [each.what for each in await seen(edge)] == [What.MISSED, What.STRAYED]
    assert (await edge.get("/patients/p7/chart")).status in (302, 401)
    assert await seen(edge) == []


async def test_errors_of_the_portal_are_told_by_route(edge: Edge) -> None:
    edge.portal.answers[b"/pages/1"] = answer("500 Internal Server Error")
    await edge.get("/pages/1")
    (failed,) = await seen(edge)
    assert (failed.what, failed.route, failed.network) == (What.FAILED, "pages", "127.0.0.1")


async def test_a_portal_that_is_not_there_fails_too(edge: Edge) -> None:
    edge.change_upstream(connect_timeout_s=1.0)
    await edge.portal.stop()
    assert (await edge.get("/pages/1")).status == 502
    assert [each.what for each in await seen(edge)] == [What.FAILED]


async def test_a_session_is_told_once_for_each_browser(edge: Edge) -> None:
    for agent in ("one", "one", "two"):
        await edge.get("/mine/4", token="tok", fields=f"User-Agent: {agent}\r\n")
    used = await seen(edge, What.SESSION_USED)
    assert [each.agent for each in used] == [digest(KEY, "agent", b"one"), digest(KEY, "agent", b"two")]
    assert {each.session for each in used} == {"handle1"}


@pytest.mark.parametrize(
    ("name", "outcome", "what"),
    [
        ("login.failed", "failure", What.SIGN_IN_FAILED),
        ("login.locked", "failure", What.SIGN_IN_LOCKED),
        ("login.succeeded", "success", What.SIGN_IN_SUCCEEDED),
        ("factor.failed", "failure", What.FACTOR_FAILED),
        ("factor.verified", "success", What.FACTOR_SUCCEEDED),
        ("device.confirmation_requested", "success", What.FACTOR_ASKED),
        ("password.reset_requested", "success", What.RESET_ASKED),
    ],
)
async def test_what_our_pages_say_is_told(edge: Edge, name: str, outcome: Any, what: What) -> None:
    event = Event(name=name, outcome=outcome, user_id="u1", user="alice", tenant="acme", session="handle9")
    edge.portal.answers[b"/.gateway/login"] = answer(fields=f"X-Gateway-Events: {pack_events([event]).decode()}\r\n")
    await edge.get("/.gateway/login", method="POST", body=b"x=1", fields="User-Agent: me\r\n")
    (told,) = await seen(edge)
    assert told.what is what
    assert (told.person, told.name, told.tenant, told.session) == ("u1", "alice", "acme", "handle9")
    assert told.account == digest(KEY, "account", "alice")
    assert told.agent == digest(KEY, "agent", b"me")
    assert told.country == ("CH" if name.startswith("login") else "")


async def test_a_name_that_nobody_has_is_told_as_a_digest_and_is_in_no_record(edge: Edge) -> None:
    event = Event(name="login.failed", outcome="failure", reason=Reason.CREDENTIALS_REFUSED, account="5f3a")
    edge.portal.answers[b"/.gateway/login"] = answer(fields=f"X-Gateway-Events: {pack_events([event]).decode()}\r\n")
    await edge.get("/.gateway/login", method="POST", body=b"x=1")
    (told,) = await seen(edge)
    assert (told.account, told.person, told.name) == ("5f3a", "", "")
    assert b"5f3a" not in b"".join(edge.audit.payloads)


async def test_where_every_detector_is_off_nothing_is_told(edge: Edge) -> None:
    edge.change(watch=None)
    await edge.get("/wp-login.php")
    await edge.get("/patients/p7/chart", token="tok")
    assert await seen(edge, *What) == []


async def test_sightings_that_are_alike_are_told_as_one(edge: Edge) -> None:
    found: list[Sighting] = []
    while not any(each.count > 1 for each in found):  # those of one second are alike
        for _ in range(4):
            await edge.get("/wp-login.php")
        found = await seen(edge)
    assert sum(each.count for each in found) == 4


async def test_what_cannot_be_told_now_is_told_later_with_what_came_meanwhile(edge: Edge) -> None:
    post = edge.worker.evidence.lookout
    await edge.get("/wp-login.php")
    first = await seen(edge)
    post.put_back(first)
    await edge.get("/xmlrpc.php")
    found = await seen(edge)
    assert [each.item for each in found] == [digest(KEY, "path", b"/wp-login.php"), digest(KEY, "path", b"/xmlrpc.php")]


async def test_a_flood_of_different_addresses_is_bounded_and_counted(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "MAX_PENDING", 3)
    for number in range(5):
        await edge.get(f"/probe-{number}")
    assert len(await seen(edge)) == 3
    assert edge.worker.evidence.lookout.dropped == 2


async def test_no_payload_and_no_secret_is_in_what_is_told(edge: Edge) -> None:
    await edge.get("/wp-login.php?password=hunter2", fields="User-Agent: secret-agent\r\nX-Token: hunter2\r\n")
    await edge.get("/patients/hunter2/chart", token="tok")
    told = repr(edge.worker.evidence.lookout.take())
    assert "hunter2" not in told
    assert "secret-agent" not in told


async def test_the_time_of_a_sighting_is_that_of_its_request(edge: Edge) -> None:
    before = int(time.time())
    await edge.get("/wp-login.php")
    (strayed,) = await seen(edge)
    assert before <= strayed.at <= time.time()


async def test_long_names_of_browsers_and_long_addresses_fill_no_memory(edge: Edge) -> None:
    edge.portal.answers[b"/pages/1"] = answer(fields="Content-Type: text/html\r\n")
    tail = "x" * 7000
    for number in range(20):
        fields = f"User-Agent: {number}{tail}\r\n"
        assert (await edge.get(f"/pages/1?q={number}{tail}", token="tok", fields=fields)).status == 200
    found = await seen(edge, What.TAKEN)
    assert len({(each.item, each.agent) for each in found}) == 20
    kept = edge.worker.evidence.lookout
    texts = {*kept._agents, *(agent for _, _, agent in kept._used), *(text for _, text in kept._taken)}
    assert sum(map(len, texts)) < 20 * 1200
