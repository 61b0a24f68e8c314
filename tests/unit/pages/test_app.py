from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from gateway.exchange.envelope import ENVELOPE_FIELD, SIGHTINGS, Envelope, Interrupted, pack_envelope
from gateway.exchange.errors import StoreUnavailableError
from gateway.pages import app
from gateway.pages.app import Dependencies, create_app
from gateway.store.executor import OverloadedError, store_executor
from gateway.store.kept import KeptForms
from gateway.store.openings import Client
from tests.fakes.pages_site import LOOK, PASSWORD, Browser, Site

PAGES = [
    "/.gateway/login",
    "/.gateway/mfa",
    "/.gateway/logout",
    "/.gateway/account",
    "/.gateway/enrol",
    "/.gateway/kept",
]
WHOLE = [
    "/.gateway/account",
    "/.gateway/account/password",
    "/.gateway/account/recovery",
    "/.gateway/enrol",
    "/.gateway/mfa",
    "/.gateway/logout",
    "/.gateway/kept",
]


# The edge's word


def _envelope(**changes: Any) -> str:
    values: dict[str, Any] = {
        "request_id": "01REQUEST",
        "client_ip": "203.0.113.7",
        "scheme": "https",
        "host": "portal.example.com",
        "authority": "portal.example.com",
        "tenant": "acme",
        "session": "",
        "cookie_name": "__Host-gw",
    }
    return pack_envelope(Envelope(**(values | changes))).decode()


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [""],
        ["garbage"],
        ["!!!!"],
        ["\u00e4"],
        ["gA=="],
        [_envelope()[:-8]],
        [_envelope(), _envelope()],
        [_envelope(scheme="gopher")],
        [_envelope(cookie_name="gw")],
        [_envelope(scheme="http")],
        [_envelope(cookie_name="portal")],
    ],
    ids=range(12),
)
async def test_without_exactly_one_sound_envelope_nothing_is_served(browser: Browser, lines: list[str]) -> None:

    def envelope(interrupted: Interrupted | None = None) -> str:
        return lines[0] if lines else ""

    browser.envelope = envelope  # type: ignore[method-assign]
    for target in ("/.gateway/login", "/.gateway/nothing", LOOK.style.path):
        answer = await browser.send("GET", target, headers=[(ENVELOPE_FIELD, line) for line in lines[1:]])
        assert answer.status == 400
        assert answer.cookies == {}


# What every answer carries


@pytest.mark.parametrize("target", [*PAGES, "/.gateway/nothing", "/.gateway/"])
async def test_every_answer_is_hardened(browser: Browser, target: str) -> None:
    answer = await browser.get(target)
    headers = answer.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "noopener-allow-popups"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe-inline" not in headers["Content-Security-Policy"]
    for name in ("X-Content-Type-Options", "X-Frame-Options", "Content-Security-Policy", "Cache-Control"):
        assert len(headers.getall(name)) == 1


@pytest.mark.parametrize("target", WHOLE)
async def test_every_page_uses_one_fresh_nonce_and_no_script(browser: Browser, target: str) -> None:
    await browser.sign_in()
    seen = set()
    for _ in range(2):
        page = await browser.get(target)
        assert page.status == 200
        nonces = set(re.findall(r'nonce="([^"]+)"', page.text))
        assert len(nonces) == 1
        assert f"'nonce-{nonces.pop()}'" in page.headers["Content-Security-Policy"]
        seen.add(page.headers["Content-Security-Policy"])
        assert re.search(r"<script|\son[a-z]+=|style=|javascript:", page.text) is None
    assert len(seen) == 2


@pytest.mark.parametrize("target", WHOLE)
async def test_every_page_can_be_read_aloud_and_used_by_keyboard(browser: Browser, target: str) -> None:
    await browser.sign_in()
    text = (await browser.get(target)).text
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert len(re.findall(r"<h1", text)) == 1
    assert 'class="skip" href="#main"' in text
    for tag in re.findall(r"<input[^>]*>", text):
        if 'type="hidden"' in tag or 'aria-hidden="true"' in tag:
            continue
        name = re.findall(r'id="([^"]+)"', tag)[0]
        assert f'<label for="{name}">' in text
        assert "autocomplete=" in tag
        for described in re.findall(r'aria-describedby="([^"]+)"', tag):
            assert all(f'id="{part}"' in text for part in described.split())
    assert len(re.findall(r"\sautofocus", text)) <= 1
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert "tabindex" not in re.sub(r'tabindex="-1" aria-hidden="true"', "", text)


# What browsers may do


@pytest.mark.parametrize(
    "destination", ["iframe", "frame", "object", "embed", "script", "empty", "serviceworker", "worker"]
)
@pytest.mark.parametrize("target", PAGES)
async def test_clickjacking_and_script_reads_are_refused(browser: Browser, target: str, destination: str) -> None:
    answer = await browser.get(target, Sec_Fetch_Dest=destination)
    assert answer.status == 403
    assert answer.cookies == {}
    assert "form_token" not in answer.text


async def test_the_style_sheet_and_the_icon_are_for_pages_and_stay_for_ever(browser: Browser) -> None:
    for asset, destination in ((LOOK.style, "style"), (LOOK.icon, "image")):
        answer = await browser.get(asset.path, Sec_Fetch_Dest=destination)
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith(asset.content_type)
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.cookies == {}
        assert (await browser.get(asset.path, Sec_Fetch_Dest="script")).status == 403
    page = await browser.get("/.gateway/login")
    assert LOOK.style.path in page.text
    assert LOOK.icon.path in page.text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
async def test_a_wrong_method_is_refused_and_says_which_are_right(browser: Browser, method: str) -> None:
    answer = await browser.send(method, "/.gateway/login")
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD, POST"
    assert (await browser.send("POST", "/.gateway/account", b"")).status == 405


async def test_head_answers_like_get_without_a_body(browser: Browser) -> None:
    answer = await browser.send("HEAD", "/.gateway/login")
    assert (answer.status, answer.text) == (200, "")


@pytest.mark.parametrize(
    "target",
    [
        "/.gateway/nothing",
        "/.gateway/login/",
        "/.gateway/login/x",
        "/.gateway/static/../app.py",
        "/.gateway/static/",
        "/",
    ],
)
async def test_an_unknown_address_is_404(browser: Browser, target: str) -> None:
    answer = await browser.get(target)
    assert answer.status == 404
    assert "01REQUEST" in answer.text


async def test_a_program_gets_problem_json(browser: Browser) -> None:
    answer = await browser.get("/.gateway/nothing", Accept="application/json")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert json.loads(answer.text) == {
        "type": "about:blank",
        "title": "Not found",
        "status": 404,
        "detail": "There is nothing at this address.",
        "reason": "no_route",
        "request_id": "01REQUEST",
    }


# Bodies


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b'{"username": "alice"}', "application/json", 400),
        (b"username=alice", "text/plain", 400),
        (b"--x\r\n\r\n--x--", "multipart/form-data; boundary=x", 400),
        (b"username=alice", "application/x-www-form-urlencoded; charset=utf-16", 400),
        (b"username=a&username=b", "application/x-www-form-urlencoded", 400),
        (b"username=%ff", "application/x-www-form-urlencoded; charset=UTF-8", 400),
        (b"username=" + b"a" * 70000, "application/x-www-form-urlencoded", 413),
    ],
    ids=range(7),
)
async def test_a_body_of_another_kind_is_refused(browser: Browser, body: bytes, content_type: str, status: int) -> None:
    answer = await browser.send("POST", "/.gateway/login", body, [("Content-Type", content_type)])
    assert answer.status == status
    assert answer.cookies == {}


async def test_a_compressed_form_is_not_opened(browser: Browser) -> None:
    import gzip

    body = gzip.compress(b"username=" + b"a" * 10_000_000)
    headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Content-Encoding", "gzip")]
    assert (await browser.send("POST", "/.gateway/login", body, headers)).status == 400


# Cookies


@pytest.mark.parametrize(
    "cookies",
    [
        "x" * 60000,
        "; ".join(f"c{number}=v" for number in range(5000)),
        "__Host-gw=" + "A" * 60000,
        "__Host-gw-flow=" + "A" * 60000,
        "__Host-gw=a; __Host-gw=b; __Host-gw=c",
        "__Host-gw-flow=a; __Host-gw-flow=b",
        "__Host-gw; =; ;;; = ; __Host-gw-flow",
        "__Host-gw=\u00e4\u00f6",
        "__Host-gw=../../etc/passwd",
        "__host-gw=lower; __HOST-GW=upper",
        "gw=plain",
    ],
    ids=range(11),
)
async def test_absurd_cookies_are_no_session(browser: Browser, cookies: str) -> None:
    for target, status in (("/.gateway/login", 200), ("/.gateway/account", 303)):
        answer = await browser.send("GET", target, headers=[("Cookie", cookies)])
        assert answer.status == status
        assert "__Host-gw" not in answer.cookies


async def test_a_live_session_cookie_sent_twice_counts_as_none(browser: Browser) -> None:
    await browser.sign_in()
    token = browser.jar["__Host-gw"]
    twice = f"__Host-gw={token}; __Host-gw={token}"
    answer = await browser.send("GET", "/.gateway/account", headers=[("Cookie", twice)])
    assert answer.location == "/.gateway/login"


async def test_a_session_of_plain_http_is_none_over_tls_and_the_reverse(site: Site) -> None:
    plain, secure = site.browser(scheme="http"), site.browser()
    await plain.sign_in()
    await secure.sign_in()
    crossed = site.browser(jar={"__Host-gw": plain.jar["gw"]})
    assert (await crossed.get("/.gateway/account")).location.startswith("/.gateway/login")
    crossed = site.browser(scheme="http", jar={"gw": secure.jar["__Host-gw"]})
    assert (await crossed.get("/.gateway/account")).location.startswith("/.gateway/login")


async def test_a_session_of_another_host_is_none(site: Site, browser: Browser) -> None:
    await browser.sign_in()
    other = site.browser(host="other.example.com", jar=dict(browser.jar))
    assert (await other.get("/.gateway/account")).location.startswith("/.gateway/login")


# When something is down


@pytest.mark.parametrize("target", WHOLE)
async def test_while_the_store_cannot_be_read_everybody_waits_and_keeps_the_cookie(
    site: Site, browser: Browser, target: str
) -> None:
    await browser.sign_in()
    before = dict(browser.jar)
    vandal = sqlite3.connect(site.path.parent / "state.sqlite3", isolation_level=None)
    vandal.execute("DROP TABLE sessions")
    vandal.close()
    answer = await browser.get(target)
    assert answer.status == 503
    assert answer.headers["Retry-After"] == "2"
    assert answer.cookies == {}
    assert browser.jar == before
    assert "You are still signed in" in answer.text


class Failing:
    """Accounts that fail in one way, whatever is asked."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def fail(*_: Any, **__: Any) -> Any:
            raise self._error

        return fail


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (StoreUnavailableError("state.sqlite3: secret-path"), 503, "store_unavailable"),
        (OverloadedError("password hashing: secret-path"), 503, "overloaded"),
        (RuntimeError("secret-path"), 500, "internal_error"),
    ],
    ids=str,
)
async def test_a_dependency_that_fails_refuses_without_a_word_of_its_own(
    make_site: Callable[..., AbstractAsyncContextManager[Site]], error: Exception, status: int, reason: str
) -> None:
    async with make_site(accounts=Failing(error)) as site:
        browser = site.browser()
        page = await browser.get("/.gateway/login")
        answers = [await browser.submit(page, "/.gateway/login", username="alice", password=PASSWORD)]
        browser.jar["__Host-gw"] = "A" * 43
        answers += [await browser.get(target) for target in PAGES]
        for answer in answers:
            assert answer.status == status
            assert ("Retry-After" in answer.headers) is (status == 503)
            assert answer.cookies == {}
            assert reason in answer.text
            assert "secret-path" not in answer.text
            assert PASSWORD not in answer.text


def test_a_flow_key_of_another_length_is_refused(site: Site) -> None:
    with pytest.raises(ValueError, match="AESGCM key"):
        create_app(
            Dependencies(
                accounts=site.accounts,
                kept=KeptForms(site.store, keyring=site.keyring, executor=store_executor()),
                client=Client,
                flow_key=b"short",
                registry=site.registry,
                look=LOOK,
            )
        )


# What the edge tells detectors


class Watcher:
    def __init__(self) -> None:
        self.told: list[bytes] = []

    async def __call__(self, told: bytes) -> None:
        if told == b"junk":
            raise ValueError("no sightings")
        self.told.append(told)


async def test_the_edge_tells_detectors_and_nobody_else_finds_the_page(
    make_site: Callable[..., AbstractAsyncContextManager[Site]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "MAX_SIGHTINGS_BYTES", 400_000)
    watcher = Watcher()
    async with make_site(watch=watcher) as site:
        browser = site.browser()
        for method in ("GET", "POST", "PUT"):
            assert (await browser.send(method, SIGHTINGS, b"told")).status == 404
        assert watcher.told == []
        browser.envelope = lambda interrupted=None: _envelope(tells=True)  # type: ignore[method-assign]
        assert (await browser.send("POST", SIGHTINGS, b"told" * 100_000)).status == 204
        assert (await browser.send("POST", SIGHTINGS, b"junk")).status == 400
        assert (await browser.send("POST", SIGHTINGS, bytes(400_001))).status == 413
    assert watcher.told == [b"told" * 100_000]
