"""The pages about the audit log over a real log, a real audit daemon and the custodian's duty that answers."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.subject import OWNER_UID, RESOURCE_UID, USER_NAME, USER_UID, Sealing
from gateway.exchange.inquiry import SOCKET_NAME
from gateway.exchange.stream import Stream
from gateway.pages.console.desk import Console
from gateway.pages.console.evidence import moment_of, sought_of
from gateway.server.evidence import EvidenceDesk
from gateway.store.executor import BoundedExecutor
from gateway.store.keyring import Keyring
from gateway.store.state import Store
from tests.fakes.evidence import access, write
from tests.fakes.pages_site import Site
from tests.unit.custody.conftest import Custody, Start, bench, custody, daemon
from tests.unit.custody.test_inquiry import Bureau, Serving
from tests.unit.pages.conftest import SiteMaker
from tests.unit.pages.test_console import ADMIN, console, person, signed_in

__all__ = ["bench", "custody", "daemon"]

EVIDENCE = f"{ADMIN}evidence"
FOUND = re.compile(r'href="/\.gateway/admin/evidence/(\w+)/(\d+)"')


def desk(path: Path, store: Store, keyring: Keyring, executor: BoundedExecutor, tell: Any, *, badge: bytes) -> Console:
    evidence = EvidenceDesk(path, store, badge=badge, executor=executor, seals=True, anonymous_s=86_400.0)
    return console(store, keyring, executor, tell, evidence=evidence)


def sealed_access(site: Site, n: int, name: str, tenant: str, *, of: str = "", **changes: Any) -> bytes:
    """A request of somebody, about themselves, as the edge records it."""
    user_id = person(site, name)
    sealing = Sealing(site.store.subjects.of(user_id, of or tenant, now=site.now), os.urandom)
    return access(
        n,
        actor={"user": {"name": sealing.value(USER_NAME, name), "uid": sealing.value(USER_UID, user_id)}},
        resources=[
            {
                "owner": {"uid": sealing.value(OWNER_UID, user_id)},
                "type": "patient",
                "uid": sealing.value(RESOURCE_UID, user_id),
            }
        ],
        metadata={"correlation_uid": f"req-{n}", "tenant_uid": tenant, "uid": f"e-{n}"},
        **changes,
    )


STOPPED = {
    "outcome": "blocked",
    "score": 5,
    "findings": [
        {"rule": "sqli-tautology", "class": "sqli", "position": "query", "name": "q<b>", "reading": "url", "score": 5}
    ],
}


class Office:
    """The site, its log, and who answers about it."""

    def __init__(self, site: Site, custody: Custody) -> None:
        self.site = site
        payloads = [
            sealed_access(site, 10, "alice", "acme"),
            sealed_access(site, 11, "gwen", "globex"),
            # Of acme, and names somebody of globex.
            sealed_access(site, 12, "gwen", "acme", of="globex", http_response={"code": 201}),
            access(
                13,
                http_request={"http_method": "GET", "url": {"path": "/<script>\u202e=1+1"}},
                actor={"user": {"name": "=cmd|x", "uid": "u-evil"}},
                unmapped={"gw": {"event": "request", "route": "search", "inspection": {"waf": [STOPPED]}}},
            ),
        ]
        write(custody.bench.state_dir, custody.bench.keys, Stream.ACCESS, payloads)
        self.bureau = Bureau(custody)


@pytest.fixture
async def office(make_site: SiteMaker, custody: Custody, daemon: Start) -> AsyncIterator[Office]:
    path = custody.bench.layout.run / SOCKET_NAME
    async with AsyncExitStack() as stack:
        async for site in _site(make_site, path, custody.bench.keys.inquiry_badge()):
            office = Office(site, custody)
            await asyncio.to_thread(daemon)
            await stack.enter_async_context(Serving(office.bureau.duty()))
            yield office


async def _site(make_site: SiteMaker, path: Path, badge: bytes = bytes(16)) -> AsyncIterator[Site]:
    async with make_site(make_console=partial(desk, path, badge=badge)) as site:
        site.add_user("root", gateway_roles=("gateway.admin",))
        site.add_user("tina", gateway_roles=("gateway.tenant-admin",), roles=("lead",))
        site.add_user("alice")
        site.add_user("gwen", tenant="globex")
        yield site


def found(text: str) -> list[str]:
    return [f"{stream}/{index}" for stream, index in FOUND.findall(text)]


async def test_a_person_is_followed_by_name_through_what_is_sealed(office: Office) -> None:
    root = await signed_in(office.site, "root")
    page = await root.get(EVIDENCE)
    assert (page.status, found(page.text), [event.operation for event in page.events]) == (200, [], ["search evidence"])
    page = await root.get(f"{EVIDENCE}?person=gwen&stream=access")
    assert found(page.text) == ["access/2", "access/1"]
    assert "gwen" in page.text
    assert f"person={person(office.site, 'gwen')}" not in page.text
    page = await root.get(f"{EVIDENCE}?person=Alice&decision=allow")
    assert found(page.text) == ["access/0"]
    page = await root.get(f"{EVIDENCE}?resource=patient/{person(office.site, 'alice')}")
    assert found(page.text) == ["access/0"]
    page = await root.get(f"{EVIDENCE}?request=req-11")
    assert found(page.text) == ["access/1"]
    uses = await asyncio.to_thread(office.bureau.uses, 4)
    assert len(uses) == 4
    queries = [use["unmapped"]["gw"]["query"] for use in uses]
    assert all("gwen" not in json.dumps(query) for query in queries), "who was looked for is theirs to have erased"
    assert queries[0]["user"]["t"] in {
        stored.token.hex() for stored in office.site.store.subjects.of_person(person(office.site, "gwen"))
    }
    assert all("root" not in json.dumps(use["actor"]) for use in uses)


async def test_what_inspection_found_is_shown_with_the_exclusion_that_would_let_it_pass(office: Office) -> None:
    root = await signed_in(office.site, "root")
    page = await root.get(f"{EVIDENCE}/access/3")
    assert "Why inspection spoke up" in page.text
    assert "- rule: sqli-tautology" in page.text
    assert "q&lt;b&gt;" in page.text
    assert "Why inspection spoke up" not in (await root.get(f"{EVIDENCE}/access/0")).text


async def test_a_record_is_shown_whole_and_what_a_stranger_chose_is_text(office: Office) -> None:
    root = await signed_in(office.site, "root")
    page = await root.get(f"{EVIDENCE}/access/0")
    assert page.status == 200
    assert "alice" in page.text
    assert "gateway audit prove --stream access --index 0" in page.text
    page = await root.get(f"{EVIDENCE}/access/3")
    assert "<script>" not in page.text
    assert "\u202e" not in page.text
    assert "\\u202e" in page.text
    for path in ("access/99999999", "traffic/0"):
        assert (await root.get(f"{EVIDENCE}/{path}")).status == 404
    for path in ("other/0", "access/x", "access/-1", "access/" + "9" * 19):
        assert (await root.get(f"{EVIDENCE}/{path}")).status == 404


async def test_an_organisation_sees_its_records_and_nobody_of_another(office: Office) -> None:
    tina = await signed_in(office.site, "tina")
    page = await tina.get(f"{EVIDENCE}?stream=access")
    assert page.status == 200
    assert "access/1" not in found(page.text)
    assert {"access/0", "access/2"} <= set(found(page.text))
    assert "gwen" not in page.text, "a record of acme that names her opens for her own organisation alone"
    assert "(sealed)" in page.text
    assert (await tina.get(f"{EVIDENCE}/access/1")).status == 404
    for address in (f"{EVIDENCE}/access/2", f"{EVIDENCE}/export?format=jsonl", f"{EVIDENCE}/export?format=csv"):
        answer = await tina.get(address)
        assert answer.status == 200, address
        assert "gwen" not in answer.text
        assert person(office.site, "gwen") not in answer.text
    assert found((await tina.get(f"{EVIDENCE}?person=gwen")).text) == [], "her pseudonyms are not theirs to look for"
    assert (await tina.get(f"{EVIDENCE}/proof")).status == 404
    assert "What can be proven" not in page.text


async def test_the_state_of_the_proofs_is_shown(office: Office) -> None:
    root = await signed_in(office.site, "root")
    page = await root.get(f"{EVIDENCE}/proof")
    assert page.status == 200
    extent = office.bureau.station.tails[Stream.ACCESS].extent()
    assert extent is not None
    assert extent.origin in page.text
    assert "only this node vouches for the log" in page.text
    assert "siem" in page.text


async def test_what_was_found_is_handed_out_and_no_spreadsheet_computes_it(office: Office) -> None:
    root = await signed_in(office.site, "root")
    answer = await root.get(f"{EVIDENCE}/export?stream=access&format=csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="evidence.csv"'
    assert [event.operation for event in answer.events] == ["export evidence"]
    rows = list(csv.DictReader(answer.text.splitlines()))
    assert {row["actor"] for row in rows} >= {"alice", "gwen", "'=cmd|x"}
    answer = await root.get(f"{EVIDENCE}/export?person=alice&format=jsonl")
    [line] = [json.loads(line) for line in answer.text.splitlines()]
    assert line["log"]["stream"] == "access"
    assert line["log"]["index"] == 0
    assert line["record"]["actor"]["user"]["name"] == "alice"
    uses = await asyncio.to_thread(office.bureau.uses, 2)
    assert [use["unmapped"]["gw"]["action"] for use in uses] == ["export", "export"]


async def test_an_erased_person_is_gone_from_the_pages(office: Office) -> None:
    site, user_id = office.site, person(office.site, "alice")
    site.store.rows.transact(lambda tx: site.store.subjects.destroy_in(tx, user_id, tenant="acme", until=2e9))
    root = await signed_in(site, "root")
    page = await root.get(f"{EVIDENCE}/access/0")
    assert "(erased)" in page.text
    assert "alice" not in page.text


@pytest.mark.parametrize(
    "query",
    [
        "since=yesterday",
        "until=2026-13-01T00:00",
        "stream=secrets",
        "decision=maybe",
        "resource=/42",
        "person=%00",
        "request=a%0Ab",
    ],
)
async def test_a_question_that_makes_no_sense_is_not_asked(office: Office, query: str) -> None:
    root = await signed_in(office.site, "root")
    for path in (f"{EVIDENCE}?{query}", f"{EVIDENCE}/export?{query}"):
        page = await root.get(path)
        assert page.status == 400
        assert 'aria-invalid="true"' in page.text
        assert found(page.text) == []
    assert (await root.get(f"{EVIDENCE}/export?format=exe")).status == 400


async def test_without_a_custodian_the_pages_say_so(make_site: SiteMaker, tmp_path: Path) -> None:
    async for site in _site(make_site, tmp_path / SOCKET_NAME):
        root = await signed_in(site, "root")
        for path in ("?person=alice", "/export?person=alice", "/access/0", "/proof"):
            page = await root.get(EVIDENCE + path)
            assert page.status == 503, path
            assert "does not answer" in page.text
            assert "<nav" in page.text, "in the look of the console"
        assert (await root.get(EVIDENCE)).status == 200


async def test_nothing_is_shown_that_cannot_be_recorded(make_site: SiteMaker, custody: Custody) -> None:
    path = custody.bench.layout.run / SOCKET_NAME
    async for site in _site(make_site, path, custody.bench.keys.inquiry_badge()):
        office = Office(site, custody)  # and no audit daemon
        async with Serving(office.bureau.duty()):
            root = await signed_in(site, "root")
            page = await root.get(f"{EVIDENCE}?person=alice")
            assert (page.status, found(page.text)) == (503, [])
            assert "could not be recorded" in page.text


async def test_what_the_custodian_garbles_is_not_shown(make_site: SiteMaker, tmp_path: Path) -> None:
    async def garble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(answers.pop())
        writer.close()

    answers = [b"", b"\xff\xff\xff\xff", b"\x00\x00\x00\x02\xc1\xc1", b"\x00\x00\x00\x09short"]
    async with await asyncio.start_unix_server(garble, tmp_path / SOCKET_NAME):
        async for site in _site(make_site, tmp_path / SOCKET_NAME):
            root = await signed_in(site, "root")
            while answers:
                assert (await root.get(f"{EVIDENCE}?person=alice")).status == 503


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02T00:00", 86400.0),
        ("1970-01-02", 86400.0),
        ("1970-01-01T00:00:07", 7.0),
        ("1969-01-01", None),
        ("", None),
        ("12:00", None),
    ],
)
def test_a_time_is_in_utc(text: str, seconds: float | None) -> None:
    assert moment_of(text) == seconds


def test_what_is_asked_for_is_cut_to_what_a_name_can_be() -> None:
    _, sought, wrong = sought_of({"person": "x" * 5000})
    assert sought is not None
    assert len(sought.person) == 100
    assert not wrong
