"""What browsers report about a policy: read from hostile input, and cut down to what holds nothing personal.

Both forms are read: `application/csp-report` (CSP2, one report) and `application/reports+json` (Reporting API, a list). Of a
report a directive and the *origin* of what was blocked are kept. Addresses of pages, queries, samples, referrers and line
numbers are not: they tell about a person, and anybody may write what they like into them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, NamedTuple

import orjson

from gateway.inspection.csp.policy import FETCH_DIRECTIVES
from gateway.inspection.web_origin import origin_of_url

MAX_REPORT_BYTES: Final = 64 * 1024
MAX_REPORTS: Final = 32
"""Of one request: browsers gather for a minute at most."""
_NAMES: Final = FETCH_DIRECTIVES | {
    "base-uri", "form-action", "frame-ancestors", "require-trusted-types-for", "trusted-types", "sandbox",
}  # fmt: skip
_KEYWORDS: Final = {
    "": "inline",  # how Firefox once wrote it
    "inline": "inline",
    "eval": "eval",
    "wasm-eval": "wasm-eval",
    "self": "'self'",
    "data": "data:",
    "blob": "blob:",
    "filesystem": "filesystem:",
    "about": "about:",
    "trusted-types-policy": "trusted-types-policy",
    "trusted-types-sink": "trusted-types-sink",
}
_SCHEMES: Final = ("data:", "blob:", "filesystem:", "about:", "ws:", "wss:")
_EXTENSIONS: Final = (
    "chrome-extension",
    "moz-extension",
    "safari-extension",
    "safari-web-extension",
    "ms-browser-extension",
)
OTHER: Final = "other"

Kind = Literal["application/csp-report", "application/reports+json"]
KINDS: Final[tuple[Kind, ...]] = ("application/csp-report", "application/reports+json")


class ReportError(ValueError):
    """A body that is no report."""


class Violation(NamedTuple):
    """What one report says."""

    directive: str
    """One of the directives that are reported about."""
    blocked: str
    """`https://cdn.example`, `'self'`, `inline`, `eval`, `data:`, or `other`."""
    enforced: bool
    """It was blocked, not only reported."""


def read_reports(kind: str, body: bytes, own: bytes) -> list[Violation]:
    """Read a body of reports about pages of the origin `own`; what is about other pages, or about browser extensions, is left out.

    Raises:
        ReportError: it is larger than a report, or none.

    """
    if len(body) > MAX_REPORT_BYTES:
        raise ReportError("larger than a report")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ReportError("no JSON") from error
    found = (_read(about, own) for about in _reports(kind, document))
    return [violation for violation in found if violation is not None]


def _reports(kind: str, document: Any) -> Iterable[dict[str, Any]]:
    if kind == "application/csp-report":
        if not isinstance(document, dict) or not isinstance(document.get("csp-report"), dict):
            raise ReportError("no csp-report")
        return [document["csp-report"]]
    if kind != "application/reports+json" or not isinstance(document, list) or len(document) > MAX_REPORTS:
        raise ReportError("no list of reports")
    return [
        report["body"]
        for report in document
        if isinstance(report, dict) and report.get("type") == "csp-violation" and isinstance(report.get("body"), dict)
    ]


def _read(about: dict[str, Any], own: bytes) -> Violation | None:
    if _origin(_word(about, "document-uri", "documentURL")) != own:  # anybody may send reports about anything
        return None
    directive = (_word(about, "effective-directive", "effectiveDirective") or _word(about, "violated-directive")).split(
        " "
    )[0]
    if directive not in _NAMES:
        return None
    blocked = _blocked(_word(about, "blocked-uri", "blockedURL"), own)
    if blocked is None:
        return None
    return Violation(directive, blocked, _word(about, "disposition") == "enforce")


def _word(about: dict[str, Any], *names: str) -> str:
    for name in names:
        value = about.get(name)
        if isinstance(value, str):
            return value[:2048]
    return ""


def _origin(url: str) -> bytes | None:
    return origin_of_url(url.encode("ascii", "replace").partition(b" ")[0])


def _blocked(said: str, own: bytes) -> str | None:
    """Cut what was blocked down to an origin, a scheme or a keyword; None for what a browser extension did."""
    keyword = _KEYWORDS.get(said)
    if keyword is not None:
        return keyword
    scheme = said.partition(":")[0].lower()
    if scheme in _EXTENSIONS:
        return None
    origin = _origin(said.replace("wss://", "https://", 1).replace("ws://", "http://", 1))
    if origin is not None:
        text = "'self'" if origin == own else origin.decode("ascii")
        return text.replace("http", "ws", 1) if scheme in {"ws", "wss"} and origin != own else text
    return f"{scheme}:" if f"{scheme}:" in _SCHEMES else OTHER
