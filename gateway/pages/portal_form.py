"""Filling in a portal's own sign-in form on a person's behalf: two requests, and a verdict.

It reads the page with the form, fills in what it was told, sends it once and judges the answer by the operator's rule. It
never tries twice, sends a password to nobody but the portal, and keeps nothing: cookies are returned to the caller.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import urlencode, urlsplit

import aiohttp
from yarl import URL

from gateway.session.vault import EMPTY_VAULT, Vault, VaultRules, changed_vault
from gateway.wire.forwarded import forwarding_fields
from gateway.wire.html_form import filled_in, find_form
from gateway.wire.set_cookie import cookie_field, read_set_cookie, returned

MAX_PAGE_BYTES: Final = 1024 * 1024
MAX_REDIRECTS: Final = 3
_REDIRECTION: Final = 300
_CLIENT_ERROR: Final = 400
_SERVER_ERROR: Final = 500
_FAILURES: Final = (aiohttp.ClientError, TimeoutError, OSError, UnicodeError)
_KEEP_ALL: Final = VaultRules(mode="all", max_count=50)


class Outcome(StrEnum):
    """What came of a sign-on."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    """The portal did not answer, or failed. No password was sent."""
    UNKNOWN = "unknown"
    """The password was sent, and nobody learned what the portal made of it."""
    NO_FORM = "no_form"
    """The portal answered, and not with the form that it should have. Nothing was sent."""


class PortalServer(NamedTuple):
    """One server of a portal."""

    scheme: str
    host: str
    port: int
    path: str
    """Unix socket instead of host and port; empty for TCP."""
    authority: str
    """What `Host` says where the browser's is not preserved."""


@dataclass(frozen=True, slots=True)
class FormRules:
    """How one portal signs people in."""

    servers: tuple[PortalServer, ...]
    preserve_host: bool
    page: str
    form: str
    fields: Mapping[str, str]
    """Field name by `username` and `password`."""
    values: Mapping[str, str]
    statuses: frozenset[int]
    location: str
    not_location: str
    cookie: str
    sign_out: str
    timeout_s: float
    tls: ssl.SSLContext | None = None
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class Client:
    """On whose behalf: what the portal would have been told about the browser."""

    scheme: str
    authority: str
    host: str
    ip: str
    user_agent: str
    language: str


@dataclass(slots=True)
class _Talk:
    """The cookies of one sign-on, and what every request of it carries."""

    rules: FormRules
    client: Client
    server: PortalServer
    session: aiohttp.ClientSession
    now: float
    vault: Vault = EMPTY_VAULT
    set_cookies: list[tuple[str, str]] = field(default_factory=list)
    """Path and value of each Set-Cookie, as the portal said it."""

    async def ask(self, method: str, target: str, body: bytes = b"", referer: str = "") -> tuple[int, str, bytes]:
        """Send one request; returns status, Location and the body, cut at `MAX_PAGE_BYTES`."""
        fields = self._fields(target)
        if body:
            fields["Content-Type"] = "application/x-www-form-urlencoded"
        if referer:
            fields["Referer"] = f"{self.client.scheme}://{self.client.authority}{referer}"
            fields["Origin"] = f"{self.client.scheme}://{self.client.authority}"
        place = "unix" if self.server.path else self.server.host
        url = URL.build(scheme=self.server.scheme, host=place, port=self.server.port or None).join(
            URL(target, encoded=True)
        )
        async with self.session.request(
            method,
            url,
            data=body or None,
            headers=fields,
            allow_redirects=False,
            ssl=self.rules.tls or True,
            server_hostname=self.rules.server_name or None if self.server.scheme == "https" else None,
        ) as answer:
            content = await answer.content.read(MAX_PAGE_BYTES)
            while len(content) < MAX_PAGE_BYTES and (more := await answer.content.read(MAX_PAGE_BYTES - len(content))):
                content += more
            self._take(target, answer.headers.getall("Set-Cookie", []))
            return answer.status, answer.headers.get("Location", ""), content

    def _fields(self, target: str) -> dict[str, str]:
        client = self.client
        port = urlsplit(f"//{client.authority}").port or (443 if client.scheme == "https" else 80)
        lines = forwarding_fields(client.ip, client.ip, proto=client.scheme, authority=client.authority, port=port)
        fields = dict(line.split(": ", 1) for line in lines.decode("ascii").split("\r\n") if line)
        fields["Host"] = client.authority if self.rules.preserve_host else self.server.authority
        fields["Accept"] = "text/html,application/xhtml+xml"
        fields["Accept-Encoding"] = "identity"
        fields["User-Agent"] = client.user_agent
        if client.language:
            fields["Accept-Language"] = client.language
        kept = returned(
            self.vault.cookies, host=client.host, path=target.encode(), secure=True, cross_site=False, now=self.now
        )
        if kept:
            fields["Cookie"] = cookie_field(kept).decode("utf-8", "surrogateescape")
        return fields

    def _take(self, target: str, values: list[str]) -> None:
        for value in values:
            self.set_cookies.append((target, value))
            cookie = read_set_cookie(
                value.encode("utf-8", "surrogateescape"),
                host=self.client.host,
                path=target.encode(),
                secure=True,
                now=self.now,
            )
            if cookie is not None:
                self.vault, _ = changed_vault(self.vault, [cookie], _KEEP_ALL, self.now)


class Answered(NamedTuple):
    """What came of a sign-on, and the cookies that the portal set on the way: path of the request and Set-Cookie value."""

    outcome: Outcome
    set_cookies: tuple[tuple[str, str], ...] = ()


async def sign_on_by_form(rules: FormRules, client: Client, *, username: str, password: str, now: float) -> Answered:
    """Sign a person on. The password is sent once at most."""
    for server in rules.servers:
        connector = aiohttp.UnixConnector(server.path) if server.path else aiohttp.TCPConnector()
        timeout = aiohttp.ClientTimeout(total=rules.timeout_s)
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout
        ) as session:
            talk = _Talk(rules=rules, client=client, server=server, session=session, now=now)
            try:
                return await _converse(talk, username, password)
            except aiohttp.ClientConnectorError:
                continue  # nothing was sent: the next server
            except _FAILURES:
                return Answered(Outcome.UNAVAILABLE)
    return Answered(Outcome.UNAVAILABLE)


async def _converse(talk: _Talk, username: str, password: str) -> Answered:
    rules, target = talk.rules, talk.rules.page
    status, location, page = await talk.ask("GET", target)
    for _ in range(MAX_REDIRECTS):
        following = _own_target(talk, target, location) if _REDIRECTION <= status < _CLIENT_ERROR else ""
        if not following:
            break
        target = following
        status, location, page = await talk.ask("GET", target)
    if status >= _SERVER_ERROR:
        return Answered(Outcome.UNAVAILABLE)
    form = find_form(page.decode("utf-8", "replace"), rules.form)
    entries = {rules.fields["username"]: username, rules.fields["password"]: password}
    if form is None or form.method != "post" or not entries.keys() <= form.names:
        return Answered(Outcome.NO_FORM)
    action = _own_target(talk, target, form.action or target)
    if not action:  # attack: a page that sends the password elsewhere
        return Answered(Outcome.NO_FORM)
    body = urlencode(filled_in(form, {**rules.values, **entries})).encode("ascii")
    before = {cookie.identity: cookie.value for cookie in talk.vault.cookies}
    try:
        status, location, _ = await talk.ask("POST", action, body, referer=target)
    except aiohttp.ClientConnectorError:
        raise  # not sent
    except _FAILURES:
        return Answered(Outcome.UNKNOWN)
    if status >= _SERVER_ERROR:
        return Answered(Outcome.UNKNOWN)
    changed = {cookie.name for cookie in talk.vault.cookies if before.get(cookie.identity) != cookie.value}
    accepted = _is_success(rules, status, location, changed)
    return Answered(Outcome.ACCEPTED, tuple(talk.set_cookies)) if accepted else Answered(Outcome.REFUSED)


def _is_success(rules: FormRules, status: int, location: str, changed: set[bytes]) -> bool:
    place = urlsplit(location)._replace(scheme="", netloc="").geturl()
    return (
        status in rules.statuses
        and (not rules.location or place.startswith(rules.location))
        and (not rules.not_location or not place.startswith(rules.not_location))
        and (not rules.cookie or rules.cookie.encode("ascii") in changed)
    )


def _own_target(talk: _Talk, base: str, reference: str) -> str:
    """Resolve a reference to path and query at the portal itself; empty when it leads anywhere else."""
    client, server = talk.client, talk.server
    origin = f"{client.scheme}://{client.authority}"
    try:
        resolved = urlsplit(str(URL(origin + base, encoded=True).join(URL(reference, encoded=True))))
    except ValueError:
        return ""
    if resolved.scheme not in {"http", "https"} or resolved.netloc not in {client.authority, server.authority}:
        return ""
    return (resolved.path or "/") + (f"?{resolved.query}" if resolved.query else "")


async def sign_out_there(rules: FormRules, client: Client, vault: Vault, *, now: float) -> bool:
    """Ask for the address that ends the portal's session; False when nobody answered."""
    for server in rules.servers:
        connector = aiohttp.UnixConnector(server.path) if server.path else aiohttp.TCPConnector()
        timeout = aiohttp.ClientTimeout(total=min(rules.timeout_s, 3.0))
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout
        ) as session:
            talk = _Talk(rules=rules, client=client, server=server, session=session, now=now, vault=vault)
            try:
                await talk.ask("GET", rules.sign_out)
            except aiohttp.ClientConnectorError:
                continue
            except _FAILURES:
                return False
            return True
    return False
