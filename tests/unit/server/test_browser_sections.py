from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.inspection.csp.policy import STRICT
from gateway.inspection.csp.scripts import hash_of
from gateway.server.inspection import _browser
from gateway.server.sections.inspection import Inspection


def read(**values: Any) -> Inspection:
    return Inspection.model_validate(values)


def test_a_word_stands_for_its_mode() -> None:
    assert read(csrf="detect").csrf == read(csrf={"mode": "detect"}).csrf
    assert read(csp="enforce").csp == read(csp={"mode": "enforce"}).csp
    assert read(cors="strict").cors == read(cors={"mode": "strict"}).cors


def test_what_is_absent_or_off_enforces_nothing() -> None:
    assert _browser(read(), b"k") is None
    assert _browser(read(waf="block"), b"k") is None
    assert _browser(read(csrf="off", csp="off", cors="portal"), b"k") is None


def test_forged_requests_are_judged_by_what_the_operator_says() -> None:
    rules = _browser(
        read(
            csrf={
                "trusted_origins": ["https://IDP.example:443"],
                "missing": "refuse",
                "token": True,
                "methods": ["GET"],
            }
        ),
        b"k",
    )
    assert rules is not None
    assert rules.senders is not None
    assert (rules.senders.mode, rules.senders.missing, rules.senders.token) == ("block", "refuse", True)
    assert rules.senders.trusted_origins == {b"https://idp.example"}
    assert rules.senders.methods == {b"GET"}
    assert (rules.cookies, rules.form_key) == ("lax", b"k")
    assert "form_key" not in repr(rules)
    detected = _browser(read(csrf="detect"), b"k")
    assert detected is not None
    assert (detected.cookies, detected.form_key) == ("portal", b"")


def test_origins_that_may_act_with_cookies_are_trusted_senders() -> None:
    cors = {"origins": ["https://app.example.com"], "headers": ["X-One"], "expose": ["ETag"], "max_age": "5m"}
    rules = _browser(read(csrf="block", cors={**cors, "credentials": True}), b"")
    assert rules is not None
    assert rules.senders is not None
    assert rules.senders.trusted_origins == {b"https://app.example.com"}
    assert rules.sharing is not None
    assert rules.sharing.fields == {b"x-one"}
    assert (rules.sharing.expose, rules.sharing.max_age_s) == ((b"ETag",), 300)
    rules = _browser(read(csrf="block", cors=cors), b"")
    assert rules is not None
    assert rules.senders is not None
    assert rules.senders.trusted_origins == frozenset()


def test_a_policy_is_strict_unless_it_says_otherwise() -> None:
    rules = _browser(read(csp="report"), b"")
    assert rules is not None
    assert rules.policy is not None
    assert (rules.policy.mode, rules.policy.directives, rules.policy.nonces) == ("report", STRICT, True)
    name = hash_of("x")
    rules = _browser(
        read(csp={"mode": "enforce", "policy": {"img-src": "'self'"}, "scripts": [name], "nonces": False}), b""
    )
    assert rules is not None
    assert rules.policy is not None
    assert dict(rules.policy.directives)["img-src"] == ("'self'",)
    assert rules.policy.hashes == (name,)
    rules = _browser(read(csp={"scripts": [name, "/a/*"]}), b"")
    assert rules is not None
    assert rules.approved.prefixes == ("/a/",)


def test_the_same_words_make_the_same_rules() -> None:
    first, second = _browser(read(csp="report"), b""), _browser(read(csp="report"), b"")
    assert first == second
    assert first is not None
    assert first != replace(first, is_strict=True)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"csrf": "on"}, "'off', 'detect' or 'block'"),
        ({"csrf": {"trusted_origins": ["https://idp.example/"]}}, "no path"),
        ({"csrf": {"trusted_origins": ["null"]}}, "no path"),
        ({"csrf": {"trusted_origins": ["*"]}}, "no path"),
        ({"csrf": {"methods": ["POST"]}}, "'GET', 'HEAD' or 'OPTIONS'"),
        ({"csrf": {"tokens": True}}, "Extra inputs"),
        ({"cors": {}}, "origins is missing"),
        ({"cors": {"origins": ["*"], "credentials": True}}, "no credentials"),
        ({"cors": {"origins": ["*", "https://a.example"]}}, "stands alone"),
        ({"cors": {"origins": ["null"]}}, "no path"),
        ({"cors": {"origins": ["https://*.example.com"]}}, "no path"),
        ({"cors": {"mode": "strict", "origins": ["https://a.example"]}}, "no effect"),
        ({"cors": {"mode": "strict", "credentials": True}}, "credentials has no effect"),
        ({"cors": {"mode": "portal", "methods": ["GET"]}}, "methods has no effect"),
        ({"cors": {"origins": ["https://a.example"], "methods": ["get"]}}, "'GET'"),
        ({"cors": {"origins": ["https://a.example"], "max_age": "2d"}}, "86400"),
        ({"csp": {"policy": {"script-src": "self"}}}, "single quotes"),
        ({"csp": {"policy": {"scriptsrc": "'self'"}}}, "no directive"),
        ({"csp": {"policy": {"script-src": 5}}}, "write directives"),
        ({"csp": {"policy": "default-src 'self'"}}, "write directives"),
        ({"csp": {"nonces": False, "scripts": ["/app.js"]}}, "no way to approve"),
        ({"csp": {"scripts": ["app.js"]}}, "neither sha256"),
        ({"csp": {"scripts": "/app.js"}}, "list"),
    ],
)
def test_what_means_nothing_or_too_much_is_an_error(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        read(**values)
