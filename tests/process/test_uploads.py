"""Uploads to a whole gateway: taken, refused, infected by a real clamd, the antivirus away, the disk full, the quarantine."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.clamd import INFECTED, SIGNATURE, clamd, clamd_program
from tests.machine import cannot_run
from tests.process.conftest import Answer, Browser
from tests.unit.inspection.upload import samples
from tests.unit.inspection.upload.bodies import CONTENT_TYPE, field, file, form

pytestmark = pytest.mark.timeout(240)  # whole processes on a busy machine

PDF = file(b"file", b"O'Brien's scan.pdf", samples.pdf(), b"application/pdf")
LARGE = file(
    b"film", b"clip.mp4", samples.film() + (3 << 20).to_bytes(4) + b"free" + b"\x07" * ((3 << 20) - 8), b"video/mp4"
)


class Received(ThreadingHTTPServer):
    """A portal that keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert isinstance(self.server, Received)
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        pass


@pytest.fixture
def received() -> Iterator[Received]:
    server = Received()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def antivirus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if clamd_program() is None:
        cannot_run("not installed: clamav-daemon; tests/install-packages installs it")
    with clamd(tmp_path_factory.mktemp("clamd")) as address:
        yield address


@pytest.fixture
def start_in(make_browser: type[Browser], portal: Any, received: Received) -> Callable[[Any, str], Browser]:
    def begin(gateway: Any, rules: str) -> Browser:
        inspect(gateway, f" {rules}")
        gateway.edit((f"http://127.0.0.1:{portal.port}", f"http://127.0.0.1:{received.server_address[1]}"))
        gateway.start()
        browser = make_browser(gateway)
        browser.sign_in()
        return browser

    return begin


@pytest.fixture
def start(
    make_gateway: Callable[..., Any], start_in: Callable[[Any, str], Browser]
) -> Callable[[str], tuple[Any, Browser]]:
    def begin(rules: str) -> tuple[Any, Browser]:
        gateway = make_gateway(workers=1)
        return gateway, start_in(gateway, rules)

    return begin


def inspect(gateway: Any, rules: str) -> None:
    """Write the rules in the place of those that `gateway init` wrote."""
    lines = gateway.config.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("inspection:")]
    gateway.config.write_text("".join(kept) + f"inspection:{rules}\n")


def upload(gateway: Any, browser: Browser, body: bytes, content_type: bytes = CONTENT_TYPE) -> Answer:
    connection = gateway.connect()
    try:
        headers = {
            "Content-Type": content_type.decode(),
            "Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items()),
            "Origin": gateway.public_url,
            "Sec-Fetch-Site": "same-origin",
            "Accept": "text/html",
            "Sec-Fetch-Mode": "navigate",
        }
        connection.request("POST", "/upload", body, headers)
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def listed(gateway: Any) -> list[dict[str, Any]]:
    done = gateway.cli("quarantine", "list", "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["files"]
    return found


def test_uploads_are_taken_or_refused_and_what_is_suspect_can_be_looked_at(
    start: Callable[[str], tuple[Any, Browser]], received: Received, tmp_path: Path
) -> None:
    gateway, browser = start("{uploads: {types: [pdf, mp4], max_size: 5MiB}}")
    for body in (form(field(b"note", b"It's fine"), PDF), form(LARGE)):
        answer = upload(gateway, browser, body)
        assert answer.status == 200, answer.body
        assert received.bodies.pop() == body
    assert upload(gateway, browser, samples.pdf(), b"application/pdf").status == 200
    assert received.bodies.pop() == samples.pdf()

    page = b"<html><script>alert(1)</script>"
    refused = upload(gateway, browser, form(file(b"file", b"cv.pdf", page, b"application/pdf")))
    assert refused.status == 415
    assert refused.headers["x-request-id"] in refused.body.decode(), "the page gives the reference number"
    assert upload(gateway, browser, form(file(b"f", b"a.png", samples.png()))).status == 415
    assert upload(gateway, browser, form(file(b"f", b"a.php", b"<?php"))).status == 415
    assert upload(gateway, browser, form(file(b"f", b"a.pdf", samples.pdf() + bytes(6 << 20)))).status == 413
    assert received.bodies == []
    assert gateway.metric('gateway_uploads_total{outcome="passed",route="portal"}') == 3
    assert gateway.metric('gateway_uploads_total{outcome="type_disguised",route="portal"}') == 1
    assert gateway.metric("gateway_uploads_waiting") == 0
    assert gateway.metric("gateway_upload_spool_bytes") == 0

    # the quarantine
    items = {item["objection"]: item for item in listed(gateway)}
    assert items.keys() == {"type_disguised", "name_executable"}
    item = items["type_disguised"]
    assert (item["name"], item["user"], item["route"]) == ("cv.pdf", "alice", "portal")
    assert item["request_id"] == refused.headers["x-request-id"]
    for directory in ("spool", "quarantine"):
        place = gateway.directory / "state" / directory
        assert place.stat().st_mode & 0o777 == 0o700
        for kept in place.iterdir():
            assert b"alert" not in kept.read_bytes()
    assert list((gateway.directory / "state" / "spool").iterdir()) == []
    shown = gateway.cli("quarantine", "show", item["id"])
    assert "cv.pdf" in shown.stdout
    target = tmp_path / "released"
    done = gateway.cli("quarantine", "release", item["id"], "--to", str(target))
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == page
    assert target.stat().st_mode & 0o777 == 0o600
    assert (
        gateway.cli("quarantine", "release", item["id"], "--to", str(target)).returncode == 2
    )  # nothing is written over
    assert gateway.cli("quarantine", "delete", item["id"]).returncode == 0
    assert gateway.cli("quarantine", "show", item["id"]).returncode == 1
    assert len(listed(gateway)) == 1
    found = gateway.cli("audit", "query", "--event", "quarantine release", "--json").stdout
    recorded = gateway.cli("audit", "query", "--request", refused.headers["x-request-id"], "--json").stdout
    assert "type_disguised" in recorded or found, recorded
    assert "cv.pdf" not in recorded
    for secret in ("cv.pdf", "alert(1)", "O'Brien's scan"):
        assert secret not in gateway.log.read_text()


def test_a_real_antivirus_finds_what_is_infected_however_it_is_packed(
    start: Callable[[str], tuple[Any, Browser]], received: Received, antivirus: str
) -> None:
    gateway, browser = start(f"{{uploads: {{antivirus: {{clamd: '{antivirus}'}}}}}}")
    assert upload(gateway, browser, form(PDF)).status == 200
    for body in (
        form(PDF, file(b"f", b"notes.txt", b"hello " + INFECTED)),
        form(file(b"f", b"notes.zip", samples.archive({"notes.txt": INFECTED}))),
    ):
        answer = upload(gateway, browser, body)
        assert answer.status == 403
        assert INFECTED not in answer.body
    assert len(received.bodies) == 1
    assert {item["signature"] for item in listed(gateway)} == {f"{SIGNATURE}.UNOFFICIAL"}
    assert gateway.metric('gateway_uploads_total{outcome="infected",route="portal"}') == 2
    assert gateway.metric('gateway_findings_total{event="upload.infected"}') == 2

    def found() -> bool:
        return bool(gateway.cli("audit", "query", "--event", "upload.infected", "--json").stdout.strip())

    gateway.wait_until(found)
    # more than the daemon looks at whole is not called clean
    assert upload(gateway, browser, form(LARGE)).status == 503


@pytest.mark.parametrize("on_failure", ["refuse", "allow"])
def test_an_antivirus_that_is_away_closes_or_opens_by_route(
    start: Callable[[str], tuple[Any, Browser]], received: Received, tmp_path: Path, on_failure: str
) -> None:
    rules = f"{{uploads: {{antivirus: {{clamd: 'unix:{tmp_path}/none.sock', timeout: 2s, on_failure: {on_failure}}}}}}}"
    gateway, browser = start(rules)
    answer = upload(gateway, browser, form(PDF))
    if on_failure == "refuse":
        assert answer.status == 503
        assert "retry-after" in answer.headers
        assert received.bodies == []
    else:
        assert answer.status == 200
        assert gateway.metric('gateway_uploads_total{outcome="unscanned",route="portal"}') == 1
    assert gateway.metric('gateway_findings_total{event="upload.unscanned"}') == 1


@pytest.fixture
def tiny_disk() -> Iterator[Callable[[Path], None]]:
    """Put a file system of 16 MiB over a directory."""
    mounted: list[Path] = []

    def mount(place: Path) -> None:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)], capture_output=True)
        if done.returncode:
            cannot_run(f"no file system can be mounted here: {done.stderr.decode().strip()}")
        mounted.append(place)

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_refuses_large_uploads_and_nothing_else(
    make_gateway: Callable[..., Any],
    start_in: Callable[[Any, str], Browser],
    received: Received,
    tiny_disk: Callable[[Path], None],
) -> None:
    gateway = make_gateway(workers=1)
    for name in ("spool", "quarantine"):
        tiny_disk(gateway.directory / "state" / name)
    browser = start_in(gateway, "{uploads: {}}")
    answer = upload(gateway, browser, form(LARGE))
    assert answer.status == 503
    assert "retry-after" in answer.headers
    assert received.bodies == []
    assert upload(gateway, browser, form(PDF)).status == 200
    assert upload(gateway, browser, form(file(b"f", b"a.pdf", b"<html>"))).status == 415, "a refusal needs no room"
    assert gateway.metric('gateway_quarantine_files_total{result="failed"}') == 1
    assert gateway.ready()[0] == 200


def test_a_crash_leaves_nothing_of_an_upload(start: Callable[[str], tuple[Any, Browser]], received: Received) -> None:
    gateway, browser = start("{uploads: {}}")
    connection = gateway.connect()
    body = form(LARGE)
    connection.putrequest("POST", "/upload")
    connection.putheader("Content-Type", CONTENT_TYPE.decode())
    connection.putheader("Content-Length", str(len(body)))
    connection.putheader("Cookie", "; ".join(f"{name}={value}" for name, value in browser.cookies.items()))
    connection.endheaders()
    connection.send(body[: 2 << 20])
    gateway.wait_until(lambda: gateway.metric("gateway_upload_spool_bytes") > 1 << 20)
    (edge,) = gateway.children("edge")
    os.kill(edge, 9)
    connection.close()
    gateway.wait_until(lambda: gateway.children("edge") not in ([], [edge]))
    gateway.wait_until(lambda: gateway.ready()[0] == 200)
    spool = gateway.directory / "state" / "spool"
    assert list(spool.iterdir()) == []
    gateway.wait_until(lambda: gateway.metric("gateway_upload_spool_bytes") == 0)
    assert received.bodies == []


def test_what_is_wrong_in_the_rules_is_told_with_its_place(make_gateway: Callable[..., Any]) -> None:
    gateway = make_gateway(workers=1)
    inspect(gateway, "\n  uploads:\n    types: [pdff]\n    antivirus: {clamd: /run/x}\n    max_sizes: 1MiB")
    refused = gateway.cli("check")
    assert refused.returncode == 2
    for told in ("did you mean 'pdf'?", "write unix:/run/clamav/clamd.ctl", "max_sizes", "gateway.yaml:"):
        assert told in refused.stderr


def test_a_route_has_rules_of_its_own(
    make_gateway: Callable[..., Any], start_in: Callable[[Any, str], Browser], received: Received
) -> None:
    gateway = make_gateway(workers=1)
    policy = gateway.directory / "policies" / "portal.yaml"
    text = policy.read_text()

    def say(rules: str) -> None:
        policy.write_text(text.replace("    upstream: portal\n", f"    upstream: portal\n    inspection: {rules}\n"))

    say("{uploads: {types: [png]}}")
    browser = start_in(gateway, "{uploads: {types: [pdf]}}")
    picture = form(file(b"f", b"a.png", samples.png()))
    assert upload(gateway, browser, picture).status == 200
    assert upload(gateway, browser, form(PDF)).status == 415
    say("{uploads: off}")
    assert gateway.cli("reload").returncode == 0
    assert upload(gateway, browser, form(PDF)).status == 200
