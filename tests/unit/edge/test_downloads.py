"""Who takes more records than their role needs is noticed, asked again, or stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.edge.occupancy import OCCUPANCY_BYTES
from gateway.edge.snapshot import RouteInspection
from gateway.edge.takings import Takings
from gateway.inspection.leak.download import Allowance, Answer, DownloadRules
from tests.unit.edge.conftest import Edge, Entry, session

ACCEPT = "Accept: application/json\r\n"


@pytest.fixture(autouse=True)
def takings(edge: Edge) -> Iterator[Takings]:
    descriptor = os.memfd_create("takings")
    edge.worker.takings = Takings(descriptor, 4096 + OCCUPANCY_BYTES, secret=b"k" * 32)
    yield edge.worker.takings
    edge.worker.takings.close()
    os.close(descriptor)


def bound(edge: Edge, answer: Answer, records: int = 3, **of_roles: Allowance | None) -> None:
    rules = DownloadRules(Allowance(records, 3600.0), answer, of_roles)
    inspection = RouteInspection(downloads=rules)
    edge.change(inspections={"invoice": inspection, "home": inspection, "public": inspection})


async def get(edge: Edge, target: str, token: str = "tok", fields: str = ACCEPT) -> tuple[int, str]:
    reply = await edge.get(target, token=token, fields=fields)
    return reply.status, json.loads(reply.body)["reason"] if reply.body.startswith(b"{") else ""


def told(edge: Edge) -> list[dict[str, Any]]:
    words = [record["unmapped"]["gw"].get("inspection", {}) for record in edge.audit.records]
    return [word["downloads"] for word in words if "downloads" in word]


def findings(edge: Edge) -> int:
    return sum(record["unmapped"]["gw"].get("event") == "data.hoarded" for record in edge.audit.records)


async def test_the_record_that_is_one_too_many_is_refused_before_the_portal_is_asked(edge: Edge) -> None:
    bound(edge, "block")
    for number in range(3):
        assert (await get(edge, f"/invoices/{number}"))[0] == 200
    asked = len(edge.portal.heads)
    reply = await edge.get("/invoices/3", token="tok", fields=ACCEPT)
    assert (reply.status, json.loads(reply.body)["reason"]) == (429, "too_much_data")
    assert reply.field("retry-after") == [b"600"]
    assert len(edge.portal.heads) == asked
    assert told(edge)[-1] == {"outcome": "block", "records": 4, "most": 3, "period_s": 3600.0}
    assert findings(edge) == 1


async def test_what_was_seen_may_be_seen_again(edge: Edge) -> None:
    bound(edge, "block")
    for number in (0, 1, 2, 0, 1, 2, 0):
        assert (await get(edge, f"/invoices/{number}"))[0] == 200
    assert (await get(edge, "/invoices/9"))[0] >= 400
    assert (await get(edge, "/invoices/1"))[0] == 200


async def test_an_alert_is_raised_once_and_everything_passes(edge: Edge) -> None:
    bound(edge, "alert")
    for number in range(8):
        assert (await get(edge, f"/invoices/{number}"))[0] == 200
    assert [word["records"] for word in told(edge)] == [4]
    assert findings(edge) == 1


async def test_what_the_portal_names_counts_too_and_does_not_leave(edge: Edge) -> None:
    bound(edge, "block")
    edge.portal.answers[b"/"] = (
        b"HTTP/1.1 200 OK\r\nX-Audit-Resource: invoice/1, invoice/2, invoice/3, invoice/4\r\nContent-Length: 7\r\n\r\nsecrets"
    )
    reply = await edge.get("/", token="tok", fields=ACCEPT)
    assert reply.status >= 400
    assert b"secrets" not in reply.raw


async def test_people_are_counted_apart_and_nobody_who_is_not_known(edge: Edge) -> None:
    bound(edge, "block")
    edge.sessions.entries[b"bob"] = Entry(session(handle="h9", user="bob", user_id="u9"))
    for number in range(3):
        await get(edge, f"/invoices/{number}")
    assert (await get(edge, "/invoices/7"))[0] >= 400
    assert (await get(edge, "/invoices/7", token="bob"))[0] == 200
    for number in range(6):
        assert (await edge.get(f"/public/{number}")).status == 200


async def test_a_role_may_take_more(edge: Edge) -> None:
    bound(edge, "block", client=None)
    for number in range(8):
        assert (await get(edge, f"/invoices/{number}"))[0] == 200
    bound(edge, "block", client=Allowance(9, 3600.0))
    for number in range(9):
        assert (await get(edge, f"/invoices/{number}"))[0] == 200
    assert (await get(edge, "/invoices/9"))[0] >= 400


async def test_a_fresh_proof_opens_a_new_count(edge: Edge) -> None:
    bound(edge, "step_up")
    for number in range(3):
        assert (await get(edge, f"/invoices/{number}"))[0] == 200
    assert (await get(edge, "/invoices/3")) == (401, "step_up_required")
    reply = await edge.get("/invoices/3", token="tok", fields="Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n")
    assert reply.status in {302, 303}
    assert b"/.gateway/mfa?step_up=" in reply.field("location")[0]
    entry = edge.sessions.entries[b"tok"]
    edge.sessions.entries[b"tok"] = Entry(session(mfa_time=entry.session.mfa_time + 60))
    assert (await get(edge, "/invoices/3"))[0] == 200


async def test_without_a_table_nothing_passes(edge: Edge) -> None:
    bound(edge, "block")
    kept, edge.worker.takings = edge.worker.takings, None
    assert (await get(edge, "/invoices/1"))[0] == 500
    edge.worker.takings = kept
    edge.reports.clear()


def test_workers_count_together() -> None:
    descriptor = os.memfd_create("takings")
    first, second = (Takings(descriptor, OCCUPANCY_BYTES, secret=b"k" * 32) for _ in range(2))
    allowance = Allowance(2, 60.0)
    assert first.take("alice", [("invoice", "1")], allowance, 1e9, is_bound=True) == (0, 1)
    assert second.take("alice", [("invoice", "2"), ("invoice", "1")], allowance, 1e9, is_bound=True) == (1, 2)
    assert first.take("alice", [("order", "1")], allowance, 1e9, is_bound=True) == (2, 3)
    first.close()
    second.close()
    os.close(descriptor)
