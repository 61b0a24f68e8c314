from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.csp.report import MAX_REPORT_BYTES, ReportError, Violation, read_reports

OWN = b"https://portal.example"
LEGACY, LIST = "application/csp-report", "application/reports+json"


def legacy(**about: Any) -> bytes:
    told = {
        "document-uri": "https://portal.example/p/17?token=secret",
        "violated-directive": "script-src-elem",
        **about,
    }
    return orjson.dumps({"csp-report": told})


def one(**about: Any) -> Violation | None:
    found = read_reports(LEGACY, legacy(**about), OWN)
    return found[0] if found else None


@pytest.mark.parametrize(
    ("blocked", "kept"),
    [
        ("https://cdn.example/lib/17/x.js?user=bob", "https://cdn.example"),
        ("https://portal.example/people/17", "'self'"),
        ("wss://live.example/x", "wss://live.example"),
        ("inline", "inline"),
        ("", "inline"),
        ("eval", "eval"),
        ("data", "data:"),
        ("data:text/plain,secret", "data:"),
        ("about", "about:"),
        ("https://bob:pw@cdn.example/", "other"),
        ("android-app://x/y", "other"),
        ("nonsense", "other"),
    ],
)
def test_of_what_was_blocked_only_the_origin_is_kept(blocked: str, kept: str) -> None:
    assert one(**{"blocked-uri": blocked}) == Violation("script-src-elem", kept, enforced=False)


def test_the_list_of_the_reporting_api_is_read_too() -> None:
    about = {
        "documentURL": "https://portal.example/", "effectiveDirective": "img-src", "blockedURL": "https://x.example/a.png",
        "disposition": "enforce", "sample": "secret", "sourceFile": "https://portal.example/17", "lineNumber": 3,
    }  # fmt: skip
    body = orjson.dumps([{"type": "csp-violation", "body": about, "age": 1}, {"type": "deprecation", "body": {}}, 7])
    assert read_reports(LIST, body, OWN) == [Violation("img-src", "https://x.example", enforced=True)]


def test_reports_about_other_pages_and_browser_extensions_are_left_out() -> None:
    assert one(**{"document-uri": "https://evil.example/", "blocked-uri": "inline"}) is None
    assert one(**{"document-uri": 5, "blocked-uri": "inline"}) is None
    assert one(**{"blocked-uri": "chrome-extension://abc/x.js"}) is None
    assert one(**{"blocked-uri": "moz-extension"}) is None
    assert one(**{"effective-directive": "made-up", "blocked-uri": "inline"}) is None


def test_the_old_form_names_the_directive_with_its_sources() -> None:
    assert one(**{"violated-directive": "img-src 'self'", "blocked-uri": "data"}) == Violation(
        "img-src", "data:", enforced=False
    )


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (LEGACY, b""), (LEGACY, b"[]"), (LEGACY, b"{}"), (LEGACY, b'{"csp-report": 1}'), (LEGACY, b"[" * 5000),
        (LIST, b"{}"), (LIST, b"[" + b"{}," * 40 + b"{}]"), ("text/plain", b"[]"), (LEGACY, b" " * (MAX_REPORT_BYTES + 1)),
    ],
)  # fmt: skip
def test_what_is_no_report_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(ReportError):
        read_reports(kind, body, OWN)


@given(st.text(max_size=100), st.text(max_size=30))
def test_nothing_of_what_somebody_wrote_is_kept_but_names_of_the_web(blocked: str, directive: str) -> None:
    found = one(**{"blocked-uri": blocked, "violated-directive": directive})
    assert found is None or len(found.blocked) < 300
