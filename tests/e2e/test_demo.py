"""`gateway demo` as a person at a terminal has it: start, sign in, see an invoice, be refused another, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import aiohttp
import pyotp
import pytest

from tests.machine import free_ports
from tests.unit.inspection.upload.samples import chunk, png

GATEWAY = str(Path(sys.executable).with_name("gateway"))
STOPPED_S = 15

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


class Running:
    """A demo that runs, with everything it said when it was ready."""

    def __init__(self, place: Path) -> None:
        self.place = place
        https, redirect, admin = free_ports(3)
        ports = ["--port", str(https), "--http-port", str(redirect), "--admin-port", str(admin)]
        with (place / "stderr").open("wb") as stderr:
            self.process = subprocess.Popen(
                [GATEWAY, "demo", "--json", *ports],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=os.environ | {"TMPDIR": str(place)},
                start_new_session=True,
            )
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            line = stdout.readline()
        if not line:
            self.process.wait(STOPPED_S)
            pytest.fail(f"the demo did not become ready: {self.said()}")
        self.answer: dict[str, Any] = json.loads(line)
        self.descendants = descendants(self.process.pid)

    def said(self) -> str:
        return (self.place / "stderr").read_text(errors="replace")

    def person(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(person for person in self.answer["people"] if person["user"] == name)
        return found

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(STOPPED_S)

    def directories(self) -> list[Path]:
        return list(self.place.glob("gateway-demo-*"))


def descendants(pid: int) -> set[int]:
    """All processes below `pid` that live now."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def living(pids: set[int]) -> set[int]:
    """Those that still run; a zombie does not."""
    found = set()
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.add(pid)
        except OSError:
            continue
    return found


def wait_until_gone(pids: set[int]) -> set[int]:
    deadline = time.monotonic() + STOPPED_S
    while (left := living(pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@contextmanager
def running() -> Iterator[Running]:
    place = Path(tempfile.mkdtemp(prefix="gw-"))  # short: Unix socket paths end at 107 bytes
    started = None
    try:
        started = Running(place)
        yield started
    finally:
        if started is not None and started.process.poll() is None:
            started.stop(signal.SIGTERM)
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
def demo() -> Iterator[Running]:
    """One demo for everything that only visits it."""
    with running() as started:
        yield started


@pytest.fixture
def doomed() -> Iterator[Running]:
    """A demo of its own for a test that ends it."""
    with running() as started:
        yield started


@pytest.fixture
async def browser(demo: Running) -> AsyncIterator[aiohttp.ClientSession]:
    trust = ssl.create_default_context(cafile=demo.answer["certificate"])
    connector = aiohttp.TCPConnector(ssl=trust)
    headers = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(
        demo.answer["url"], connector=connector, headers=headers, cookie_jar=jar
    ) as session:
        yield session


class Form(HTMLParser):
    """The first form of a page: where it goes and what it holds."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.action:
            self.action, self._inside = values["action"], True
        if tag == "input" and self._inside and "name" in values:
            self.fields[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


async def submit(browser: aiohttp.ClientSession, url: str, html: str, **typed: str) -> tuple[int, str]:
    form = Form(html)
    headers = {"Origin": url, "Sec-Fetch-Site": "same-origin"}
    async with browser.post(form.action, data=form.fields | typed, headers=headers) as answer:
        return answer.status, await answer.text()


async def sign_in(browser: aiohttp.ClientSession, demo: Running, name: str, wanted: str = "/") -> str:
    """Sign in with password and code; the page that comes after."""
    person, url = demo.person(name), demo.answer["url"]
    async with browser.get(wanted) as answer:
        assert answer.url.path == "/.gateway/login"
        html = await answer.text()
    status, html = await submit(browser, url, html, username=person["user"], password=person["password"])
    assert status == 200, html
    status, html = await submit(browser, url, html, code=pyotp.TOTP(person["totp_secret"]).now())
    assert status == 200, html
    return html


async def test_a_person_signs_in_sees_an_invoice_and_is_refused_the_other_organisations(
    demo: Running, browser: aiohttp.ClientSession
) -> None:
    await sign_in(browser, demo, "billing")
    async with browser.get("/") as answer:
        assert "Good day, <b>billing</b> of <b>acme</b>" in await answer.text()
        assert "Server" not in answer.headers
        assert "X-Powered-By" not in answer.headers
        assert answer.headers.getall("X-Frame-Options") == ["SAMEORIGIN"]
    async with browser.get("/customers/acme/invoices/1001") as answer:
        assert answer.status == 200
        assert "1086.95" in await answer.text()
    async with browser.get("/customers/globex/invoices/1002") as answer:
        assert answer.status == 403
        assert "389.00" not in await answer.text()
    async with browser.get("/office") as answer:
        assert answer.status == 403
    alone = demo.answer["portal"] + "/customers/globex/invoices/1002"
    async with aiohttp.ClientSession() as past_the_gateway, past_the_gateway.get(alone) as answer:
        assert answer.status == 200  # the portal alone protects nothing

    for verb in (["audit", "verify"], ["policy", "test"], ["check"]):
        done = subprocess.run([GATEWAY, *verb, "-c", demo.answer["config"]], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


async def test_forms_redirects_downloads_uploads_chat_and_news_work_through_the_gateway(
    demo: Running, browser: aiohttp.ClientSession
) -> None:
    url = demo.answer["url"]
    await sign_in(browser, demo, "client", "/suggestions")
    same_origin = {"Origin": url, "Sec-Fetch-Site": "same-origin"}
    async with browser.post(
        "/suggestions", data={"text": "More pencils"}, headers=same_origin, allow_redirects=False
    ) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, f"{url}/suggestions")
    content = png(extra=chunk(b"priV", os.urandom(300_000)))
    form = aiohttp.FormData()
    form.add_field("file", content, filename="plan.png", content_type="image/png")
    async with browser.post("/customers/acme/documents", data=form, headers=same_origin) as answer:
        assert answer.status == 200
        assert "plan.png" in await answer.text()
    program = aiohttp.FormData()
    program.add_field("file", b"MZ" + bytes(300), filename="plan.png", content_type="image/png")
    async with browser.post("/customers/acme/documents", data=program, headers=same_origin) as answer:
        assert answer.status == 415
    async with browser.get("/customers/acme/documents/1") as answer:
        assert await answer.read() == content
        assert answer.headers["Cache-Control"] == "no-store"
    async with browser.ws_connect("/chat/socket", headers={"Origin": url, "Sec-Fetch-Mode": "websocket"}) as chat:
        await chat.send_str("anyone there?")
        assert await chat.receive_str(timeout=10) == "* client has joined"
        assert await chat.receive_str(timeout=10) == "<client> anyone there?"
    async with browser.get("/news/feed", headers={"Accept": "text/event-stream"}) as feed:
        assert feed.content_type == "text/event-stream"
        assert await feed.content.readline() == b"event: news\n"


async def test_an_administrator_of_the_other_organisation_opens_the_office_and_the_console(
    demo: Running, browser: aiohttp.ClientSession
) -> None:
    html = await sign_in(browser, demo, "admin", "/office")
    if "Our customers" not in html:
        async with browser.get("/office") as answer:
            html = await answer.text()
    assert "Our customers" in html
    async with browser.get("/.gateway/admin/") as answer:
        assert answer.status == 200
        assert "Policy in force" in await answer.text()


def test_ctrl_c_leaves_neither_a_process_nor_a_file(doomed: Running) -> None:
    assert len(doomed.descendants) >= 5  # the portal, the supervisor, the pages, the audit, an edge
    assert len(doomed.directories()) == 1
    assert doomed.stop(signal.SIGINT) == 0
    assert wait_until_gone(doomed.descendants) == set()
    assert doomed.directories() == []


def test_a_gateway_that_dies_ends_the_demo_with_the_reason(doomed: Running) -> None:
    supervisor = next(pid for pid in doomed.descendants if b"\0run\0" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(supervisor, signal.SIGKILL)
    assert doomed.process.wait(STOPPED_S) == 1
    assert "the gateway ended with status -9" in doomed.said()
    assert wait_until_gone(doomed.descendants) == set()
    assert doomed.directories() == []


def test_killing_the_demo_itself_leaves_no_process(doomed: Running) -> None:
    doomed.stop(signal.SIGKILL)
    assert wait_until_gone(doomed.descendants) == set()


def test_a_port_that_was_asked_for_and_is_taken_is_a_usage_error() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        done = subprocess.run([GATEWAY, "demo", "--port", str(port)], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"port {port} on 127.0.0.1 is taken" in done.stderr


def test_a_directory_that_holds_something_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years of work")
    done = subprocess.run([GATEWAY, "demo", "--dir", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert re.search("is not an empty directory", done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
