"""DokuWiki with its own sign-in behind the gateway: people sign in once, and the wiki's session stays on our side.

The browser here is a small one that keeps cookies, follows redirects and fills in forms: what it holds can be looked at.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
import trustme
import yaml

from tests.e2e import dokuwiki
from tests.e2e.dokuwiki import DokuWiki
from tests.e2e.installed_gateway import InstalledGateway
from tests.machine import cannot_run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

HOST = "wiki.localhost"
PASSWORD = "seven quiet lamps on a shelf"
CLOSED = "# <?php exit()?>\n*  @ALL   0\n*  @user  16\n"
SETTINGS = """\
version: 1
public_url: https://{host}:{port}
listen:
  - address: 127.0.0.1:{port}
    tls: {{certificate: config/tls/cert.pem, key: config/tls/key.pem}}
admin: {{address: 127.0.0.1:{admin_port}}}
workers: 2
state_dir: state
upstreams:
  wiki:
    servers: ["{upstream}"]
    cookies: {{vault: http_only}}
    sign_on:
      type: form
      page: "/start?do=login"
      form: dw__login
      fields: {{u: username, p: password}}
      success: {{status: [302, 303], not_location: "/start?do=login"}}
      detect: {{body_contains: 'id="dw__login"', at_most_every: 100ms}}
      sign_out: "/start?do=logout"
limits:
  login: {{rate: 60/m, burst: 60, per: ip}}
"""
POLICY = """\
version: 1
roles: {reader: {}}
routes:
  - {name: wiki, match: {path: "/**", methods: [GET, POST]}, upstream: wiki, allow: [{roles: [reader]}]}
"""


@dataclass
class Page:
    status: int
    place: str
    text: str
    set_cookies: list[str]

    def hidden(self, name: str) -> dict[str, str]:
        for form in re.findall(r"<form.*?</form>", self.text, re.DOTALL):
            values = {
                key: unescape(value)
                for key, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form)
            }
            if values.get("form") == name:
                return values
        raise AssertionError(f"no form {name} at {self.place}: {self.status} {self.text[:400]}")


@dataclass
class Browser:
    port: int
    trust: ssl.SSLContext
    cookies: dict[str, str] = field(default_factory=dict)
    saw: list[str] = field(default_factory=list)
    """Every Set-Cookie that ever reached it."""

    def get(self, target: str) -> Page:
        return self._follow("GET", target)

    def post(self, target: str, fields: dict[str, str]) -> Page:
        return self._follow("POST", target, urlencode(fields))

    def sign_in(self, name: str) -> Page:
        page = self.get("/start")
        assert page.place.startswith("/.gateway/login")
        return self.post("/.gateway/login", page.hidden("sign-in") | {"username": name, "password": PASSWORD})

    def reach_wiki(self, name: str) -> Page:
        """Sign in, and tell the account at the wiki if nobody did before."""
        page = self.sign_in(name)
        if "/.gateway/" in page.place:
            page = self.tell_account(page, DokuWiki.PERSON, DokuWiki.PASSWORD)
        assert "The Librarian" in page.text
        return page

    def tell_account(self, page: Page, username: str, password: str) -> Page:
        fields = page.hidden("portal-account") | {"username": username, "password": password}
        return self.post("/.gateway/portal-account/wiki", fields)

    def _follow(self, method: str, target: str, body: str = "") -> Page:
        for _ in range(10):
            page, location = self._ask(method, target, body)
            if not location:
                return page
            method, target, body = "GET", location, ""
        raise AssertionError(f"in circles at {target}")

    def _ask(self, method: str, target: str, body: str) -> tuple[Page, str]:
        connection = http.client.HTTPSConnection(HOST, self.port, timeout=30, context=self.trust)
        connection._create_connection = lambda *_: _connect(self.port)  # type: ignore[attr-defined]  # a name without DNS
        fields = {
            "Accept": "text/html",
            "User-Agent": "Mozilla/5.0 test",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            "Sec-Fetch-Dest": "document",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Site": "same-origin",
        }
        if method == "POST":
            fields |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"https://{HOST}:{self.port}"}
        try:
            connection.request(method, target, body=body or None, headers=fields)
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        finally:
            connection.close()
        set_cookies = answer.headers.get_all("Set-Cookie") or []
        for line in set_cookies:
            self.saw.append(line)
            name, _, value = line.partition(";")[0].partition("=")
            if "max-age=0" in line.lower() or value in ("", "deleted"):
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        location = answer.headers.get("Location", "") if 300 <= answer.status < 400 else ""
        if location:
            parts = urlsplit(location)
            assert parts.netloc in ("", f"{HOST}:{self.port}"), location
            location = parts.path + (f"?{parts.query}" if parts.query else "")
        return Page(answer.status, target, text, set_cookies), location


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


@dataclass
class House:
    wiki: DokuWiki
    gateway: InstalledGateway
    trust: ssl.SSLContext

    def browser(self) -> Browser:
        return Browser(self.gateway.port, self.trust)

    def logins(self) -> int:
        """How often the wiki's form was sent."""
        return sum(seen.method == "POST" for seen in self.wiki.seen())

    def lose_sessions(self) -> None:
        """Have the wiki forget everybody, as an expiry or a restart does."""
        for path in (self.wiki.home / "sessions").iterdir():
            path.unlink()
        (self.wiki.home / "data" / "meta" / "_htcookiesalt2").unlink(missing_ok=True)
        (self.wiki.home / "data" / "meta" / "_htcookiesalt").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    if missing := dokuwiki.missing():
        cannot_run(f"not installed: {', '.join(missing)}; tests/install-packages installs them")
    base = Path(tempfile.mkdtemp(prefix="gw-"))  # short: Unix socket paths end at 107 bytes
    base.chmod(0o711)  # the wiki's server is another user
    wiki: DokuWiki | None = None
    gateway: InstalledGateway | None = None
    try:
        (base / "wiki").mkdir()
        wiki = DokuWiki(base / "wiki")
        wiki.start()
        (wiki.home / "conf" / "acl.auth.php").write_text(CLOSED)
        gateway = InstalledGateway.init(base / "gateway")
        trust = install(wiki, gateway)
        for name in ("erin", "rita", "olaf"):
            gateway.verb(
                "user",
                "add",
                name,
                "--tenant",
                "t",
                "--role",
                "reader",
                "--password-stdin",
                "--self-enrol",
                stdin=PASSWORD + "\n",
            )
        gateway.start()
        yield House(wiki, gateway, trust)
    except Exception:
        print(*(part.said()[-4000:] for part in (wiki, gateway) if part is not None), sep="\n")
        raise
    finally:
        for part in (gateway, wiki):
            if part is not None:
                part.stop()
        shutil.rmtree(base, ignore_errors=True)


def install(wiki: DokuWiki, gateway: InstalledGateway) -> ssl.SSLContext:
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST, "127.0.0.1")
    tls = gateway.home / "config" / "tls"
    tls.mkdir(parents=True, exist_ok=True)
    (tls / "cert.pem").write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems))
    (tls / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    (tls / "key.pem").chmod(0o600)
    settings = SETTINGS.format(host=HOST, port=gateway.port, admin_port=gateway.admin_port, upstream=wiki.url)
    gateway.config.write_text(settings)
    shutil.rmtree(gateway.home / "policies")
    (gateway.home / "policies").mkdir()
    (gateway.home / "policies" / "wiki.yaml").write_text(POLICY)
    gateway.verb("check")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return trust


def test_a_person_signs_in_once_and_is_signed_in_at_the_wiki(house: House) -> None:
    browser = house.browser()
    asked = browser.sign_in("erin")
    assert asked.place.startswith("/.gateway/sign-on/wiki")
    assert "User name at the portal" in asked.text
    page = browser.tell_account(asked, DokuWiki.PERSON, DokuWiki.PASSWORD)
    assert (page.status, page.place) == (200, "/start")
    assert "The Librarian" in page.text
    assert "Open from nine to five" in page.text
    # nothing of the wiki's session ever reached the browser
    assert [line for line in browser.saw if not line.startswith(("__Host-", "gw"))] == []
    # a new session needs no telling any more, and finds the wiki open
    other = house.browser()
    again = other.sign_in("erin")
    assert (again.status, again.place) == (200, "/start")
    assert "The Librarian" in again.text


def test_a_wrong_password_is_sent_once_however_often_the_person_comes_back(house: House) -> None:
    """attack: a stored password that changed must not lock the person's account at the portal."""
    browser = house.browser()
    asked = browser.sign_in("rita")
    before = house.logins()
    refused = browser.tell_account(asked, DokuWiki.PERSON, "not the password")
    assert refused.status == 403
    assert "did not accept" in refused.text
    assert house.logins() == before + 1
    for target in ("/start", "/.gateway/sign-on/wiki", "/other"):
        assert browser.get(target).status == 403
    assert house.logins() == before + 1
    right = browser.tell_account(browser.get("/start"), DokuWiki.PERSON, DokuWiki.PASSWORD)
    assert right.status == 200
    assert "The Librarian" in right.text


def test_a_session_that_the_wiki_lost_is_begun_anew_once_without_the_person(house: House) -> None:
    browser = house.browser()
    browser.reach_wiki("olaf")
    before = house.logins()
    house.lose_sessions()
    # the rule of this wiki: a session that began a tenth of a second ago is not begun anew
    deadline = time.monotonic() + 10
    while "The Librarian" not in (page := browser.get("/start")).text and time.monotonic() < deadline:
        pass
    assert page.status == 200
    assert "The Librarian" in page.text
    assert house.logins() == before + 1


def test_signing_out_ends_the_session_at_the_wiki(house: House) -> None:
    browser = house.browser()
    browser.reach_wiki("olaf")
    page = browser.get("/.gateway/logout")
    browser.post("/.gateway/logout", page.hidden("sign-out"))
    asked = [seen for seen in house.wiki.seen() if seen.path in ("/start", "/doku.php")]
    assert asked[-1].cookie != "-"
    assert browser.get("/start").place.startswith("/.gateway/login")


def test_no_password_and_no_cookie_of_the_wiki_stands_in_log_or_record(house: House) -> None:
    browser = house.browser()
    browser.reach_wiki("olaf")
    records = json.dumps(house.gateway.records())
    said = house.gateway.said()
    cookies = {seen.cookie for seen in house.wiki.seen()} - {"-"}
    values = {pair.partition("=")[2] for cookie in cookies for pair in cookie.split("; ")}
    assert values
    for secret in (*values, DokuWiki.PASSWORD, "not the password"):
        assert secret not in records
        assert secret not in said
    assert '"portal.signed_on"' in records
    state = b"".join(path.read_bytes() for path in house.gateway.state.glob("state.sqlite3*"))
    assert DokuWiki.PASSWORD.encode() not in state


def test_the_configuration_of_the_documentation_is_the_one_that_was_tried() -> None:
    text = (Path(__file__).parents[2] / "docs" / "portal.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n(upstreams:\n.*?)```", text, re.DOTALL)
    told = yaml.safe_load(shown)["upstreams"]["wiki"]
    tried = yaml.safe_load(SETTINGS.format(host=HOST, port=1, admin_port=2, upstream=told["servers"][0]))
    del tried["upstreams"]["wiki"]["sign_on"]["detect"]["at_most_every"]  # tests do not wait for a minute
    assert told == tried["upstreams"]["wiki"]
