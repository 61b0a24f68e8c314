"""Uploads at the edge: what reaches the portal, what the client is told, what is recorded and counted."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import pytest

from gateway.edge import inspecting
from gateway.edge.snapshot import RouteInspection
from gateway.inspection.upload import reception
from gateway.inspection.upload.policy import Antivirus, QuarantinePolicy, UploadPolicy
from gateway.quarantine.quarantine import Quarantine
from gateway.server.upload_keeper import LOOKED_INTO, MAX_WAITING, THREADS, UploadKeeper
from gateway.server.upload_places import make_upload_places, quarantine_directory
from tests.fakes.clamd import saying
from tests.unit.edge.conftest import Edge, Http2Edge, Reply, until
from tests.unit.edge.test_inspection import rules, told
from tests.unit.inspection.upload import samples
from tests.unit.inspection.upload.bodies import CONTENT_TYPE, field, file, form

FORM = f"Content-Type: {CONTENT_TYPE.decode()}\r\n"
KEY = bytes(32)
PDF = file(b"file", b"scan.pdf", samples.pdf(), b"application/pdf")
LARGE = file(b"file", b"film.mp4", samples.film() + struct.pack(">I", 600_008) + b"free" + bytes(600_000))
POLICY = UploadPolicy()


@pytest.fixture
async def keeper(edge: Edge, tmp_path: Path) -> AsyncIterator[UploadKeeper]:
    make_upload_places(tmp_path)
    made = UploadKeeper(tmp_path, KEY, report=lambda event, detail: edge.reports.append((event, detail)))
    edge.worker.upload_keeper = made
    edge.change(inspections={"public": RouteInspection(uploads=POLICY)})
    yield made
    await until(lambda: made.spool.rooms == 0)
    assert made.spool.on_disk == 0


def take(edge: Edge, policy: UploadPolicy = POLICY, **more: Any) -> None:
    edge.change(inspections={"public": RouteInspection(uploads=policy, **more)})


async def post(edge: Edge, body: bytes, fields: str = FORM, method: str = "POST") -> Reply:
    return await edge.get("/public/x", method=method, fields=fields + "Accept: application/json\r\n", body=body)


def counted(edge: Edge, outcome: str) -> float:
    return edge.worker.metrics.uploads.values.get(("public", outcome), 0.0)


def kept(tmp_path: Path) -> Quarantine:
    return Quarantine(quarantine_directory(tmp_path), KEY)


@pytest.mark.parametrize("large", [False, True])
async def test_an_honest_form_reaches_the_portal_byte_for_byte(
    edge: Edge, keeper: UploadKeeper, *, large: bool
) -> None:
    body = form(field(b"to", b"O'Brien"), LARGE if large else PDF)
    reply = await post(edge, body)
    assert reply.status == 200
    assert edge.portal.bodies == [body]
    assert edge.portal.field(b"content-type") == [CONTENT_TYPE]
    assert counted(edge, "passed") == 1
    (entry,) = told(edge)
    assert entry["uploads"][0]["outcome"] == "passed"
    assert "scan.pdf" not in json.dumps(entry)


async def test_a_form_in_chunks_goes_upstream_with_its_length(edge: Edge, keeper: UploadKeeper) -> None:
    body = form(PDF)
    head = (
        f"POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n{FORM}\r\n"
    )
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    assert Reply(await edge.raw(head.encode() + chunks + b"0\r\n\r\n")).status == 200
    assert edge.portal.bodies == [body]
    assert edge.portal.field(b"content-length") == [b"%d" % len(body)]


@pytest.mark.parametrize(
    ("body", "fields", "answer", "objection"),
    [
        (form(file(b"f", b"a.php", b"x")), FORM, (415, "upload_refused"), "name_executable"),
        (form(file(b"f", b"a.png", b"<html>")), FORM, (415, "upload_refused"), "type_disguised"),
        (b"junk" + form(PDF), FORM, (415, "upload_refused"), "form_ambiguous"),
        (form(PDF) + b"x", FORM, (415, "upload_refused"), "form_ambiguous"),
        (samples.png(), "Content-Type: application/pdf\r\n", (415, "upload_refused"), "type_disguised"),
        (form(PDF), FORM.replace("form-data", "mixed"), (415, "upload_refused"), "form_ambiguous"),
        (form(file(b"f", b"a.txt", b"x" * 101)), FORM, (413, "body_too_large"), "file_too_large"),
    ],
)
async def test_what_is_refused_never_reaches_the_portal(
    edge: Edge, keeper: UploadKeeper, body: bytes, fields: str, *, answer: tuple[int, str], objection: str
) -> None:
    if objection == "file_too_large":
        take(edge, replace_policy(max_size=100))
    reply = await post(edge, body, fields)
    assert (reply.status, json.loads(reply.body)["reason"]) == answer
    assert edge.portal.heads == []
    assert counted(edge, objection) == 1
    (entry,) = told(edge)
    assert entry["uploads"][0]["files"][0]["objection"] == objection
    assert edge.audit.records[-1]["unmapped"]["gw"]["outcome"] == "blocked"


def replace_policy(**changes: Any) -> UploadPolicy:
    return msgspec.structs.replace(POLICY, **changes)


async def test_what_is_suspect_is_kept_and_what_is_only_unwanted_is_not(
    edge: Edge, keeper: UploadKeeper, tmp_path: Path
) -> None:
    take(edge, replace_policy(types=frozenset(("pdf",))))
    page = b"<html><script>alert(1)</script>"
    await post(edge, form(field(b"a", b"1"), file(b"doc", b"O'Brien.pdf", page), file(b"f", b"b.png", samples.png())))
    (item,) = kept(tmp_path).items()
    assert (item.name, item.field, item.objection, item.route) == ("O'Brien.pdf", "doc", "type_disguised", "public")
    assert b"".join(kept(tmp_path).pieces(item.id)) == page
    (entry,) = told(edge)
    first, second = entry["uploads"][0]["files"]
    assert (first["quarantine"], first["sha256"]) == (item.id, item.digest)
    assert "quarantine" not in second
    assert edge.worker.metrics.quarantined.values[("kept",)] == 1


async def test_a_route_may_keep_nothing(edge: Edge, keeper: UploadKeeper, tmp_path: Path) -> None:
    take(edge, replace_policy(quarantine=QuarantinePolicy(max_bytes=0)))
    assert (await post(edge, form(file(b"f", b"a.pdf", b"<html>")))).status == 415
    assert kept(tmp_path).items() == []


async def test_what_the_antivirus_knows_is_refused_kept_and_a_finding(
    edge: Edge, keeper: UploadKeeper, tmp_path: Path
) -> None:
    with saying(b"stream: Test.Sample FOUND\0") as address:
        take(edge, replace_policy(antivirus=Antivirus(clamd=address)))
        reply = await post(edge, form(PDF))
    assert (reply.status, json.loads(reply.body)["reason"]) == (403, "upload_infected")
    assert edge.portal.heads == []
    assert [item.signature for item in kept(tmp_path).items()] == ["Test.Sample"]
    events = [record["unmapped"]["gw"].get("event") for record in edge.audit.records]
    assert "upload.infected" in events
    assert told(edge)[0]["uploads"][0]["files"][0]["signature"] == "Test.Sample"


@pytest.mark.parametrize("on_failure", ["refuse", "allow"])
async def test_an_antivirus_that_is_away_closes_or_opens(
    edge: Edge, keeper: UploadKeeper, tmp_path: Path, on_failure: Any
) -> None:
    take(edge, replace_policy(antivirus=Antivirus(clamd=f"unix:{tmp_path}/none", on_failure=on_failure)))
    reply = await post(edge, form(PDF))
    if on_failure == "allow":
        assert reply.status == 200
        assert counted(edge, "unscanned") == 1
    else:
        assert (reply.status, json.loads(reply.body)["reason"]) == (503, "uploads_unavailable")
        assert reply.field("retry-after")
        assert edge.portal.heads == []
    events = [record["unmapped"]["gw"].get("event") for record in edge.audit.records]
    assert "upload.unscanned" in events


async def test_a_full_disk_refuses_large_uploads_and_takes_small_ones(edge: Edge, keeper: UploadKeeper) -> None:
    keeper.spool._kept_free = 1 << 60
    reply = await post(edge, form(LARGE))
    assert (reply.status, json.loads(reply.body)["reason"]) == (503, "uploads_unavailable")
    assert edge.portal.heads == []
    assert (await post(edge, form(PDF))).status == 200


async def test_a_full_disk_does_not_undo_a_refusal(edge: Edge, keeper: UploadKeeper, tmp_path: Path) -> None:
    quarantine_directory(tmp_path).rmdir()
    quarantine_directory(tmp_path).write_text("")
    assert (await post(edge, form(file(b"f", b"a.pdf", b"<html>")))).status == 415
    assert edge.worker.metrics.quarantined.values[("failed",)] == 1
    assert [event for event, _ in edge.reports] == ["quarantine.failed"]
    edge.reports.clear()


async def test_too_many_waiting_uploads_are_refused(edge: Edge, keeper: UploadKeeper) -> None:
    keeper.spool.rooms += MAX_WAITING
    reply = await post(edge, form(PDF))
    keeper.spool.rooms -= MAX_WAITING
    assert (reply.status, json.loads(reply.body)["reason"]) == (503, "uploads_unavailable")


async def test_a_verdict_that_fails_refuses(edge: Edge, keeper: UploadKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("gateway.inspection.upload.reception.examine", failing)
    reply = await post(edge, form(PDF))
    assert (reply.status, json.loads(reply.body)["reason"]) == (503, "uploads_unavailable")
    assert edge.portal.heads == []
    assert [event for event, _ in edge.reports] == ["upload.unjudged"]
    edge.reports.clear()


async def test_a_worker_without_a_keeper_takes_no_uploads(edge: Edge) -> None:
    take(edge)
    assert (await post(edge, form(PDF))).status == 503


async def test_a_client_that_leaves_during_the_verdict_leaves_nothing(edge: Edge, keeper: UploadKeeper) -> None:
    with saying(None) as address:
        take(edge, replace_policy(antivirus=Antivirus(clamd=address, timeout_s=1.0)))
        _, writer = await edge.connect()
        body = form(LARGE)
        writer.write(
            f"POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n{FORM}\r\n".encode() + body
        )
        await until(lambda: keeper.spool.on_disk > 0 and keeper._threads > 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await until(lambda: keeper.spool.rooms == 0)
    assert edge.portal.heads == []


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(edge: Edge, keeper: UploadKeeper) -> None:
    _, writer = await edge.connect()
    writer.write(
        f"POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000\r\n{FORM}\r\n".encode()
        + form(LARGE)[:-9]
    )
    await until(lambda: keeper.spool.on_disk > 0)
    writer.transport.abort()
    await until(lambda: keeper.spool.rooms == 0)


async def test_bodies_of_values_are_not_spooled(edge: Edge, keeper: UploadKeeper) -> None:
    body = b'{"a": "<html>"}'
    assert (await post(edge, body, "Content-Type: application/json\r\n")).status == 200
    assert edge.portal.bodies == [body]
    assert counted(edge, "passed") == 0


@pytest.mark.parametrize(
    "body",
    [
        form(field(b"q", b"1 union select 2"), PDF),
        form(field(b"union select", b"1"), PDF),
        form(file(b"f", b"union select.pdf", samples.pdf())),
    ],
)
async def test_fields_and_names_are_read_for_attacks(edge: Edge, keeper: UploadKeeper, body: bytes) -> None:
    take_with_waf(edge)
    reply = await post(edge, body)
    assert (reply.status, json.loads(reply.body)["reason"]) == (403, "hostile_input")
    assert edge.portal.heads == []


def take_with_waf(edge: Edge) -> None:
    edge.change(inspections={"public": replace(rules(), uploads=POLICY)})


async def test_many_fields_are_read_beside_the_loop(edge: Edge, keeper: UploadKeeper) -> None:
    edge.change(inspections={"public": replace(rules(max_body=1 << 20), uploads=POLICY)})
    filler = field(b"note", b"honest words " * 4000)
    assert (await post(edge, form(filler, PDF))).status == 200
    assert (await post(edge, form(filler, field(b"q", b"1 union select 2"), PDF))).status == 403
    assert len(edge.portal.bodies) == 1


@pytest.mark.parametrize("filler", [b"", b"x" * 20_000])
async def test_what_would_be_masked_in_a_form_with_files_is_refused(
    edge: Edge, keeper: UploadKeeper, monkeypatch: pytest.MonkeyPatch, filler: bytes
) -> None:
    masking = (lambda _x, _rules: True, lambda _x, body: body.replace(b"4111", b"****"))
    monkeypatch.setattr(inspecting, "BODY_JUDGES", (masking,))
    edge.change(inspections={"public": replace(rules(max_body=1 << 20), uploads=POLICY)})
    reply = await post(edge, form(field(b"card", b"4111" + filler), PDF))
    assert json.loads(reply.body)["reason"] == "data_refused"
    assert edge.portal.heads == []
    assert (await post(edge, form(field(b"card", b"none" + filler), PDF))).status == 200


async def test_what_fails_beside_the_loop_refuses(
    edge: Edge, keeper: UploadKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(inspecting, "BODY_JUDGES", ((lambda _x, _rules: True, failing),))
    edge.change(inspections={"public": replace(rules(max_body=1 << 20), uploads=POLICY)})
    reply = await post(edge, form(field(b"a", b"x" * 20_000), PDF))
    assert json.loads(reply.body)["reason"] == "internal_error"
    assert edge.portal.heads == []


async def test_over_http2_an_upload_is_judged_whole(http2: Http2Edge, tmp_path: Path) -> None:
    edge = http2.edge
    make_upload_places(tmp_path)
    edge.worker.upload_keeper = UploadKeeper(tmp_path, KEY, report=lambda event, detail: None)
    take(edge)
    client = await http2.client()
    for body, status in ((form(PDF), 200), (form(file(b"f", b"a.php", b"x")), 415)):
        stream_id = client.request(client.get("/public/x", (b"content-type", CONTENT_TYPE), method=b"POST"), end=False)
        client.data(stream_id, body[:30])
        client.data(stream_id, body[30:], end=True)
        assert (await client.answer(stream_id)).status == status
    assert edge.portal.bodies == [form(PDF)]


async def test_what_is_in_a_file_is_no_attack(edge: Edge, keeper: UploadKeeper) -> None:
    take_with_waf(edge)
    assert (await post(edge, form(file(b"f", b"question.txt", b"what does union select do?")))).status == 200
    assert (await post(edge, form(field(b"q", b"x" * 5000)))).status == 413  # more than is read


async def test_a_small_body_of_no_known_type_is_read_for_attacks_too(edge: Edge, keeper: UploadKeeper) -> None:
    take_with_waf(edge)
    reply = await post(edge, b"1 union select 2", "Content-Type: application/x-unknown\r\n")
    assert reply.status == 403


def with_waf_alone(edge: Edge) -> None:
    edge.change(inspections={"public": rules(max_body=64 * 1024)})


@pytest.mark.parametrize("length", [True, False])
async def test_a_large_form_passes_where_nothing_is_said_of_uploads_and_its_fields_are_read(
    edge: Edge, keeper: UploadKeeper, length: bool
) -> None:
    with_waf_alone(edge)
    program = file(b"file", b"setup.exe", b"MZ" + bytes(600_000))
    head = f"POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{FORM}"

    async def send(body: bytes) -> Reply:
        if length:
            return await post(edge, body)
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        return Reply(await edge.raw(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk))

    honest = form(field(b"to", b"O'Brien"), program)
    assert (await send(honest)).status == 200
    assert edge.portal.bodies == [honest]
    assert (await send(form(program, field(b"q", b"1 union select 2")))).status == 403
    assert len(edge.portal.heads) == 1


async def test_a_large_form_of_fields_alone_is_refused_where_nothing_is_said_of_uploads(
    edge: Edge, keeper: UploadKeeper
) -> None:
    with_waf_alone(edge)
    reply = await post(edge, form(field(b"text", b"x" * 100_000)))
    assert (reply.status, json.loads(reply.body)["reason"]) == (413, "body_too_large")
    assert edge.portal.heads == []


async def test_many_small_archives_at_once_do_not_take_memory_for_all_of_them(
    edge: Edge, keeper: UploadKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, at_once, looked = Event(), [0], [0]

    def examine(file: object, policy: object) -> str:
        del file, policy
        at_once[0] += 1
        looked[0] += 1
        assert go.wait(20)
        at_once[0] -= 1
        return "pdf"

    monkeypatch.setattr(reception, "examine", examine)
    async with asyncio.TaskGroup() as group:
        replies = [group.create_task(post(edge, form(PDF))) for _ in range(THREADS)]
        await until(lambda: keeper._threads == THREADS and at_once[0] >= LOOKED_INTO)
        await until(keeper._work.empty)
        assert at_once[0] == looked[0] == LOOKED_INTO
        go.set()
    assert [(await reply).status for reply in replies] == [200] * THREADS
    assert looked[0] == THREADS


async def test_files_that_take_the_time_of_the_antivirus_do_not_let_another_pass_unscanned(
    edge: Edge, keeper: UploadKeeper
) -> None:
    with saying(None) as address:
        take(edge, replace_policy(antivirus=Antivirus(clamd=address, timeout_s=0.3, on_failure="allow")))
        reply = await post(edge, form(PDF, PDF))
    assert reply.status == 503
    assert edge.portal.bodies == []
    (entry,) = told(edge)
    assert [each["objection"] for each in entry["uploads"][0]["files"]] == ["unscanned", "unscanned"]
