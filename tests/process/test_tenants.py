"""Two tenants in one gateway: what a browser of one takes to the other opens nothing there, on any page and any kind of route."""

from __future__ import annotations

import base64
import http.client
import json
import re
import time
from collections.abc import Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pyotp
import pytest

from gateway.edge.resolve import INTERNAL_PAGES
from gateway.pages.console.addresses import ADDRESSES
from gateway.session.token import ENTROPY_BYTES, make_token
from tests.process.conftest import PASSWORD, SECRET, Answer, Browser, Gateway, Portal

pytestmark = pytest.mark.timeout(180)  # whole processes on a busy machine
ACME, GLOBEX, SHARED = "acme.localhost", "globex.localhost", "shared.localhost"
SECRETS = {
    "alice": SECRET,
    "gina": "KRSXG5CTMVRXEZLUKRSXG5CTMVRXEZLU",
    "tina": "MFRGGZDFMZTWQ2LKMFRGGZDFMZTWQ2LK",
}
PEOPLE = {"alice": ("acme", "client"), "gina": ("globex", "client"), "tina": ("acme", "gateway.tenant-admin")}
POLICY = """
version: 1
roles: {client: {}}
routes:
  - {name: open, match: {path: "/open/**", methods: [GET]}, upstream: portal, public: true}
  - {name: closed, match: {path: "/closed/**", methods: [GET]}, upstream: portal, deny: true}
  - name: home
    match: {path: "/home/**", methods: [GET, POST]}
    upstream: portal
    allow: [{roles: [client]}]
  - name: by-path
    match: {path: "/t/{tenant}/**", methods: [GET]}
    upstream: portal
    tenant: {path: tenant}
    allow: [{roles: [client]}]
  - name: by-header
    match: {path: "/h/**", methods: [GET]}
    upstream: portal
    tenant: {header: X-Tenant}
    allow: [{roles: [client]}]
  - name: programs
    match: {path: "/keys/{tenant}/**", methods: [GET]}
    upstream: portal
    tenant: {path: tenant}
    credentials: [api_key]
    allow: [{roles: [client]}]
  - name: vaulted
    match: {path: "/vaulted/{tenant}/**", methods: [GET]}
    upstream: portal
    tenant: {path: tenant}
    cookies: {vault: all}
    allow: [{roles: [client]}]
"""
_FORM = re.compile(r'<form[^>]* action="([^"]*)"[^>]*>(.*?)</form>', re.DOTALL)
_INPUT = re.compile(r"<input([^>]*)>")
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')


class PlainGateway(Gateway):
    """A gateway without TLS, so that a test may ask for any host on any connection."""

    def connect(self, address: str = "127.0.0.1") -> http.client.HTTPSConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20, source_address=(address, 0))  # type: ignore[return-value]  # the same requests


class Visitor(Browser):
    """A browser that asks for one host."""

    def __init__(self, gateway: PlainGateway, host: str) -> None:
        super().__init__(gateway)
        self.host = f"{host}:{gateway.port}"

    def post(self, path: str, fields: Mapping[str, str]) -> Answer:
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": f"http://{self.host}",
            "Sec-Fetch-Site": "same-origin",
        }
        return self._ask("POST", path, urlencode(fields), headers)

    def _ask(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Answer:
        return super()._ask(method, path, body, {"Host": self.host, **headers})

    def with_cookies(self, host: str) -> Visitor:
        """Take every cookie to another host by hand."""
        assert isinstance(self._gateway, PlainGateway)
        thief = Visitor(self._gateway, host)
        thief.cookies = dict(self.cookies)
        return thief


class House(NamedTuple):
    gateway: PlainGateway
    alice: Visitor
    """Of acme, signed in on acme's host."""
    gina: Visitor
    tina: Visitor
    """Administrator of acme."""
    ids: dict[str, str]
    keys: dict[str, str]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, portal: Portal) -> Iterator[House]:
    gateway = PlainGateway(tmp_path_factory.mktemp("tenants") / "g")
    gateway.init(portal)
    gateway.edit(
        (gateway.public_url, f"http://{SHARED}:{gateway.port}"),
        (f"  - address: 127.0.0.1:{gateway.port}\n    tls: {{certificate: config/tls/cert.pem, key: config/tls/key.pem}}\n",
         f"  - {{address: 127.0.0.1:{gateway.port}, unsafe_plaintext: true}}\n"),
        ("workers: auto", "workers: 1"),
        ("rate: 50/s, burst: 200", "rate: 1000/s, burst: 1000"),
        ("rate: 10/m, burst: 10", "rate: 1000/s, burst: 1000"),
        ("identity:\n", f"tenants: {{acme: {{hosts: [{ACME}]}}, globex: {{hosts: [{GLOBEX}]}}}}\nidentity:\n"),
    )  # fmt: skip
    (gateway.directory / "policies" / "portal.yaml").write_text(POLICY)
    (gateway.directory / "policies" / "tests" / "portal.yaml").unlink()
    gateway.edit((f"127.0.0.1:{gateway.admin_port}}}", f"127.0.0.1:{gateway.admin_port}, console: {{enabled: true}}}}"))
    for name, (tenant, role) in PEOPLE.items():
        done = gateway.cli(
            "user", "add", name, "--tenant", tenant, "--role", role, "--password-stdin", "--totp-secret", SECRETS[name],
            "--email", f"{name}@{tenant}.example", stdin=f"{PASSWORD}\n",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    keys = {}
    for tenant in ("acme", "globex"):
        made = gateway.cli(
            "apikey", "create", "export", "--service", "export", "--tenant", tenant, "--role", "client", "--json"
        )
        assert made.returncode == 0, made.stderr
        keys[tenant] = json.loads(made.stdout)["key"]
    gateway.start()
    try:
        listed = json.loads(gateway.cli("user", "list", "--json").stdout)["users"]
        visitors = {
            name: Visitor(gateway, ACME if tenant == "acme" else GLOBEX) for name, (tenant, _) in PEOPLE.items()
        }
        for name, visitor in visitors.items():
            visitor.sign_in(name, PASSWORD, SECRETS[name])
        yield House(gateway, **visitors, ids={person["name"]: person["id"] for person in listed}, keys=keys)
    finally:
        gateway.stop()


# pages

PAGES: Mapping[str, tuple[str, ...]] = {
    "login": ("/.gateway/login", "/.gateway/login?return_to=/home/x"),
    "mfa": ("/.gateway/mfa",),
    "device": ("/.gateway/device",),
    "enrol": ("/.gateway/enrol",),
    "recovery": ("/.gateway/recovery",),
    "reset": ("/.gateway/reset",),
    "logout": ("/.gateway/logout",),
    "account": ("/.gateway/account", "/.gateway/account/password", "/.gateway/account/sessions", "/.gateway/account/passkeys"),
    "admin": ("/.gateway/admin/", "/.gateway/admin/people", "/.gateway/admin/sessions", "/.gateway/admin/routes", "/.gateway/admin/try", "/.gateway/admin/evidence", "/.gateway/admin/evidence/proof"),
    "kept": ("/.gateway/kept",),
    "sign-on": ("/.gateway/sign-on", "/.gateway/sign-on/portal"),
    "portal-account": ("/.gateway/portal-account", "/.gateway/portal-account/portal"),
    "oidc": ("/.gateway/oidc/okta/start", "/.gateway/oidc/okta/callback?code=x&state=y", "/.gateway/oidc/freshen"),
    "session": ("/.gateway/session",),
    "sessions": ("/.gateway/sessions",),
    "static": ("/.gateway/static/pages.css",),
    "jwks.json": ("/.gateway/jwks.json",),
    "csp-report": ("/.gateway/csp-report",),
}  # fmt: skip
"""Every page of ours, and the addresses at which it is tried."""


def test_every_page_of_ours_has_a_row() -> None:
    assert set(PAGES) == set(INTERNAL_PAGES)


def shape(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.headers.get("location", "")


def forms(page: bytes) -> list[tuple[str, dict[str, str]]]:
    """Each form of a page: its address and the fields that it sends by itself."""
    found = []
    for action, inner in _FORM.findall(page.decode()):
        inputs = [dict(_ATTRIBUTE.findall(text)) for text in _INPUT.findall(inner)]
        found.append(
            (unescape(action), {each["name"]: unescape(each.get("value", "")) for each in inputs if "name" in each})
        )
    return found


@pytest.mark.parametrize("page", PAGES)
def test_a_page_tells_whoever_brings_another_tenants_cookies_what_it_tells_a_stranger(house: House, page: str) -> None:
    """attack: session, login state and device of acme, copied to globex's host and to the shared one.

    The stranger has a cookie too, of no session at all.
    """
    for host in (GLOBEX, SHARED):
        thief, stranger = house.alice.with_cookies(host), Visitor(house.gateway, host)
        for path in PAGES[page]:
            thief.cookies = dict(house.alice.cookies)
            stranger.cookies = {"gw": make_token(b"n" * ENTROPY_BYTES).decode()}
            got, expected = thief.get(path), stranger.get(path)
            assert shape(got) == shape(expected), (host, path)
            assert b"alice" not in got.body, (host, path)


@pytest.mark.parametrize("page", PAGES)
def test_a_form_of_one_tenant_does_nothing_on_the_host_of_another(house: House, page: str) -> None:
    """attack: acme's forms, with their hidden fields and all of alice's cookies, sent to globex."""
    for path in PAGES[page]:
        shown = house.alice.get(path)
        sent = forms(shown.body) or [(path.partition("?")[0], {"token": "x"})]
        for action, fields in sent:
            if not action.startswith("/.gateway/"):
                continue
            thief = house.alice.with_cookies(GLOBEX)
            answer = thief.post(action, fields | {"username": "alice", "password": PASSWORD, "code": "000000"})
            assert b"alice@acme.example" not in answer.body, (path, action)
            signed_in = json.loads(Visitor.get(thief, "/.gateway/session").body)
            assert not signed_in["signed_in"], (path, action)
    assert house.alice.get("/home/x").status == 200, "her own session lives on"


def test_right_credentials_on_the_wrong_host_are_no_credentials(house: House) -> None:
    visitor = Visitor(house.gateway, GLOBEX)
    answer = visitor.submit("/.gateway/login", {"username": "alice", "password": PASSWORD})
    unknown = Visitor(house.gateway, GLOBEX).submit("/.gateway/login", {"username": "nobody", "password": PASSWORD})
    assert answer.status == unknown.status
    assert "location" not in answer.headers
    assert not json.loads(visitor.get("/.gateway/session").body)["signed_in"]


def test_login_state_of_one_tenant_is_none_on_the_other(house: House) -> None:
    """attack: acme's login form and its state, submitted to globex by somebody of globex."""
    visitor = Visitor(house.gateway, ACME)
    action, fields = next(form for form in forms(visitor.get("/.gateway/login").body) if "username" in form[1])
    thief = visitor.with_cookies(GLOBEX)
    answer = thief.post(action, fields | {"username": "gina", "password": PASSWORD})
    assert "location" not in answer.headers or "/.gateway/mfa" not in answer.headers["location"]


def test_a_form_that_is_kept_over_sign_in_stays_with_its_tenant(house: House) -> None:
    """attack: what somebody typed on acme's host is offered on globex's after a sign-in there."""
    visitor = Visitor(house.gateway, ACME)
    kept = visitor.post("/home/order", {"amount": "4711"})
    assert kept.status == 303, (kept.status, kept.body[:500])
    thief = visitor.with_cookies(GLOBEX)
    for path in ("/.gateway/kept", "/.gateway/login"):
        assert b"4711" not in thief.get(path).body
    thief.cookies |= {"gw": house.gina.cookies["gw"]}
    assert b"4711" not in thief.get("/.gateway/kept").body


# routes


class Try(NamedTuple):
    path: str
    headers: Mapping[str, str] = {}
    own: int = 200
    """What somebody of the tenant is answered."""
    foreign: int = 403
    """What somebody of another one is."""


def websocket() -> dict[str, str]:
    key = base64.b64encode(b"k" * 16).decode()
    return {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}


ROUTES: Mapping[str, Try] = {
    "public": Try("/open/x", own=200, foreign=200),
    "deny": Try("/closed/x", own=403, foreign=403),
    "path": Try("/t/{tenant}/x"),
    "header": Try("/h/x", {"X-Tenant": "{tenant}"}),
    "event stream": Try("/t/{tenant}/x", {"Accept": "text/event-stream"}),
    "websocket": Try("/t/{tenant}/x", websocket(), own=200),
    "vaulted": Try("/vaulted/{tenant}/x"),
}


def asked(visitor: Visitor, row: Try, tenant: str) -> Answer:
    headers = {name: value.replace("{tenant}", tenant) for name, value in row.headers.items()}
    return visitor.get(row.path.replace("{tenant}", tenant), headers)


@pytest.mark.parametrize("kind", ROUTES)
def test_every_kind_of_route_keeps_the_tenants_apart(house: House, kind: str) -> None:
    row = ROUTES[kind]
    for visitor, own, other in ((house.alice, "acme", "globex"), (house.gina, "globex", "acme")):
        assert asked(visitor, row, own).status == row.own
        answer = asked(visitor, row, other)
        assert answer.status == row.foreign, (kind, answer.body[:300])
        if row.foreign == 403 and row.own != 403:
            assert b"Not your organisation" in answer.body or b"tenant_mismatch" in answer.body


def test_an_api_key_opens_what_is_its_tenants_on_its_tenants_hosts_alone(house: House) -> None:
    for tenant, host in (("acme", ACME), ("globex", GLOBEX)):
        other = "globex" if tenant == "acme" else "acme"
        headers = {"X-API-Key": house.keys[tenant], "Accept": "application/json"}
        for where, about, status in (
            (host, tenant, 200),
            (SHARED, tenant, 200),
            (SHARED, other, 403),
            (host, other, 403),
            (GLOBEX if host == ACME else ACME, tenant, 403),
            (GLOBEX if host == ACME else ACME, other, 403),
        ):
            answer = Visitor(house.gateway, where).get(f"/keys/{about}/x", headers)
            assert answer.status == status, (tenant, where, about, answer.body)


def test_who_signs_in_on_the_shared_host_is_of_one_tenant_there_too(house: House) -> None:
    visitor = Visitor(house.gateway, SHARED)
    answer = visitor.submit("/.gateway/login", {"username": "gina", "password": PASSWORD})
    code = pyotp.TOTP(SECRETS["gina"]).at(time.time() + 30)  # the present one was used; a step of drift is allowed
    answer = visitor.submit(answer.headers["location"], {"code": code})
    assert answer.status == 303, answer.body[:500]
    own, other = visitor.get("/t/globex/x"), visitor.get("/t/acme/x")
    assert (own.status, other.status) == (200, 403)
    assert own.json["headers"]["x-gateway-tenant"] == "globex"
    assert visitor.get("/t/nobody/x").status == 403


# the console


def address_of(house: House, pattern: str, person: str) -> str:
    path = re.sub(r"\{person:[^/]*\}", house.ids[person], pattern)
    path = re.sub(r"\{index:.*\}", "0", re.sub(r"\{stream:[^/]*\}", "security", path))
    return re.sub(r"\{name:[^/]*\}", "client" if "/roles/" in pattern else "home", path)


@pytest.mark.parametrize("pattern", [address.path for address in ADDRESSES])
def test_no_page_of_the_console_tells_a_tenants_administrator_of_another_tenant(house: House, pattern: str) -> None:
    own_ids = (house.ids["alice"], house.ids["tina"])
    for query in ("", "?q=gina", "?tenant=globex", "?who=gina", "?person=gina", "?stream=security", "?stream=access"):
        answer = house.tina.get(address_of(house, pattern, "gina") + query)
        assert answer.status in {200, 404, 405}, answer.body[:300]
        text = answer.body.decode().replace("?q=gina", "").replace('value="gina"', "").replace('value="globex"', "")
        assert house.ids["gina"] not in text
        assert "gina@globex.example" not in text
        for line in text.splitlines():  # where its own people and programs knocked is its own affair
            assert GLOBEX not in line or any(own in line for own in (*own_ids, "service:acme:")), line
    assert house.gina.get(address_of(house, pattern, "alice")).status == 404, "she administers nothing"


@pytest.mark.parametrize("pattern", [address.path for address in ADDRESSES if address.submit is not None])
def test_no_act_of_a_tenants_administrator_touches_another_tenant(house: House, pattern: str) -> None:
    """attack: forms of the own people's pages, sent to the addresses of another tenant's person."""
    before = house.gateway.cli("session", "list", "--tenant", "globex", "--json").stdout
    own = address_of(house, pattern, "alice")
    page = house.tina.get(own.rpartition("/")[0] if "{person" in pattern else own)
    assert page.status == 200, page.body[:300]
    fields = next((inner for action, inner in forms(page.body) if action == own), {"token": "x"})
    handles = [session["session"] for session in json.loads(before)["sessions"]]
    for handle in handles:
        typed = {"handle": handle, "method": "GET", "url": f"http://{GLOBEX}/home/x", "who": "gina", "tenant": "globex"}
        answer = house.tina.post(address_of(house, pattern, "gina"), fields | typed)
        if answer.status == 303:  # back to whom it was about, and there is nobody
            answer = house.tina.get(answer.headers["location"])
            assert answer.status == 404
        assert "gina@globex.example" not in answer.body.decode()
        if pattern.endswith("/end"):
            house.tina.post(own, fields | {"handle": handle})
    after = house.gateway.cli("session", "list", "--tenant", "globex", "--json").stdout
    assert {each["session"] for each in json.loads(after)["sessions"]} == set(handles)
    assert house.gina.get("/home/x").status == 200


# what operators do


def test_one_name_is_one_person_whatever_the_tenant(house: House) -> None:
    """attack: a second alice, of globex, who would be the first one to whatever knows people by name."""
    done = house.gateway.cli(
        "user", "add", "alice", "--tenant", "globex", "--role", "client", "--password-stdin", stdin=f"{PASSWORD}\n"
    )
    assert done.returncode != 0


def test_the_trail_can_be_read_for_one_tenant(house: House) -> None:
    house.alice.get("/home/of-acme")
    house.gina.get("/home/of-globex")
    deadline = time.monotonic() + 30
    found: list[Any] = []
    while time.monotonic() < deadline and not any("/home/of-acme" in json.dumps(each) for each in found):
        lines = house.gateway.cli("audit", "query", "--tenant", "acme", "--limit", "1000", "--json").stdout.splitlines()
        found = [json.loads(line)["record"] for line in lines]
    assert {record["metadata"]["tenant_uid"] for record in found} == {"acme"}
    assert not any("/home/of-globex" in json.dumps(record) for record in found)


def test_a_tenant_that_is_removed_takes_its_hosts_and_its_sessions_along(
    house: House, tmp_path: Path, portal: Portal
) -> None:
    """A live session of a tenant that is renamed: its host is unknown, then another's, and the cookie opens nothing."""
    del tmp_path, portal
    gateway, before = house.gateway, house.gateway.config.read_text()
    visitor = house.alice
    try:
        gateway.edit((f"acme: {{hosts: [{ACME}]}}, ", f"renamed: {{hosts: [{ACME}]}}, "))
        reloaded = gateway.cli("reload")
        assert reloaded.returncode == 0, reloaded.stderr
        gateway.wait_until(lambda: visitor.get("/home/x").status == 403)
        assert visitor.get("/t/acme/x").status == 403, "a tenant of this name is gone"
        assert not json.loads(visitor.get("/.gateway/session").body)["signed_in"]
        assert b"alice" not in visitor.get("/.gateway/account").body
        gateway.edit((f"renamed: {{hosts: [{ACME}]}}, ", ""))
        assert gateway.cli("reload").returncode == 0
        gateway.wait_until(lambda: visitor.get("/home/x").status == 421)
        assert house.gina.get("/home/x").status == 200, "the other tenant is not touched"
    finally:
        gateway.config.write_text(before)
        assert gateway.cli("reload").returncode == 0
    gateway.wait_until(lambda: visitor.get("/.gateway/session").status == 200)
