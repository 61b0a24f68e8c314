"""Requests within values, broken encodings, and the calling cards of scanners.

CWE-444, CWE-176, CWE-158; RFC 9112 section 3, RFC 9110 section 14.2, RFC 3629 section 3. The request itself is
the wire layer's affair: here stands what only a second parser would take for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.lower_case import lower_case
from gateway.inspection.prose import PROSE_POSITIONS, CodeSpans, is_running
from gateway.inspection.sign import Sign

CLASS: Final = "protocol"

SIGNS: Final[Mapping[str, str]] = {
    "protocol.request": "A line of the value is the first line of a request (smuggling, splitting).",
    "protocol.null": "The value has a NUL, at which C ends a text.",
    "protocol.control": "The value has control characters that nobody types.",
    "protocol.ranges": "A Range field asks for very many pieces.",
    "protocol.scanner": "The client calls itself a tool that looks for weaknesses.",
    "protocol.tool": "The client calls itself a library or a command line tool.",
    "protocol.media_type": "A Content-Type has an expression in the place of a type.",
}

_REQUEST: Final = re.compile(
    r"(?:[\r\n]|\\r|\\n)\s{0,8}(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|TRACE|CONNECT|PATCH|PROPFIND|PROPPATCH|MKCOL|MOVE|COPY|LOCK|UNLOCK|SEARCH|TRACK|DEBUG)[ \t]+(?:https?://|/|\*)?[^\s]{0,2048}[ \t]+HTTP/\d(?:\.\d)?\b"
)
_BEGINS: Final = re.compile(
    r"\w*(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|TRACE|CONNECT|PATCH)[ \t]+\S{1,2048}[ \t]+HTTP/\d\.\d\r?\n[\w-]{1,64}:"
)
_CONTROLS: Final = re.compile("[\x01-\x08\x0e-\x1f\x7f]")
_RANGES: Final = re.compile(r"\s*bytes\s*=(?:[^,]*,){6,}[^,]*", re.IGNORECASE)
_WORDS: Final = re.compile(r"[a-z0-9_]+(?:-[a-z0-9_]+)*")


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_SCANNERS: Final = _listed(
    """sqlmap nikto nessus arachni havij zgrab zgrab2 masscan openvas openvas-vt openvasvt acunetix acunetix-product netsparker invicti wpscan
    dirbuster gobuster feroxbuster ffuf wfuzz w3af skipfish whatweb appscan webinspect burpsuite burpcollaborator zaproxy commix jorgee xsser
    xsstrike dalfox brutus joomscan droopescan cmsmap jaeles dirsearch dotdotpwn fimap n-stealth bsqlbf sqlninja sqlsus webshag
    grendel-scan webcruiser nmap zmeu morfeus muieblackcat pmafind libwhisker qualys rapid7 nexpose tenable cgichk hping l9explore l9tcpid
    leakix interactsh httprobe projectdiscovery aquatone subfinder naabu cariddi crawlergo awvs wvs vulners cyberscan dirb detectify
    cgi-scanner nuclei-engine uniscan vulnweb owtf wapiti golismero raccoon tplmap xspear kiterunner paramspider arjun gospider hakrawler"""
)
_SCANNERS_TOO: Final = _listed(
    "nuclei hydra medusa grabber rad gau katana metis paros goby xray amass vega absinthe pangolin"
)
"""Words of other meanings: a scanner where a product stands, first or before a slash (RFC 9110 section 10.1.5)."""
_PHRASES: Final = ("fuzz faster u fool", "burp suite", "burp collaborator", "owasp zap", "nmap scripting")
_TOOLS: Final = _listed(
    """curl wget python-requests python-urllib libwww-perl lwp go-http-client java apache-httpclient okhttp httpie aiohttp python-httpx
    node-fetch axios php ruby winhttp winhttprequest indy mechanize scrapy guzzlehttp pycurl postmanruntime insomnia"""
)
_NAS: Final = re.compile(r"(?i)_user_agent_\w*injection\b|\.nasl\b")
_CONTROL_CHARACTERS: Final = frozenset(map(chr, (*range(9), *range(14, 32), 127)))
_EXPRESSION: Final = frozenset("%#$")
_LONGEST_FIELD: Final = 512
_PREFIXES: Final = frozenset({"mozilla", "microsoft", "fuzz", "opera", "burp", "owasp"})
"""What scanners put before their own names."""
_PROGRAMS: Final = _SCANNERS | _SCANNERS_TOO | _TOOLS
_MEDIA_TYPE: Final = re.compile(r"[%#$]\{.{0,256}(?:multipart|@|#|=|\()")
_URL: Final = re.compile(r"(?i)\s*https?://")


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether a control is there, or a line of a request, or what calls itself a program."""
    if not _CONTROL_CHARACTERS.isdisjoint(specials) or ("/" in specials and "http/" in lowered):
        return True
    if len(lowered) > _LONGEST_FIELD:
        return False
    first = lowered.partition("/")[0].partition(" ")[0]
    return (
        first in _PROGRAMS
        or (first in _PREFIXES and _scanner(lowered) is not None)
        or "bytes=" in lowered
        or ".nasl" in lowered
        or "_injection" in lowered
        or ("{" in specials and not _EXPRESSION.isdisjoint(specials))
    )


def signs(text: str, position: Position) -> Iterator[Sign]:
    """Find what another parser than the gateway's would stumble over."""
    if "HTTP/" in text:
        request = _REQUEST.search(text) or _BEGINS.search(text)
        if request and not (
            position in PROSE_POSITIONS and (request.start() in CodeSpans(text, position) or _is_shown(text, request))
        ):
            yield Sign("protocol.request", request.start(), request.end())
    if position is not Position.BODY:
        if (at := _nul(text)) >= 0 and not (position in PROSE_POSITIONS and is_running(text)):
            yield Sign("protocol.null", at, at + 1)
        control = _CONTROLS.search(text)
        if control:
            yield Sign("protocol.control", control.start(), control.end())
    if position is Position.HEADER:
        yield from _of_field(text)


def _nul(text: str) -> int:
    """Find a NUL; before a hyphen it is the beginning of a range in somebody's regular expression."""
    at = text.find("\0")
    while at >= 0 and text.startswith("-", at + 1):
        at = text.find("\0", at + 1)
    return at


def _is_shown(text: str, request: re.Match[str]) -> bool:
    """A request in the middle of a sentence or of a log that somebody pastes has no line of its own, or words before it."""
    return is_running(text, 0, request.start()) and text[request.start() : request.start() + 1] not in "\r\n"


def _of_field(text: str) -> Iterator[Sign]:
    ranges = _RANGES.fullmatch(text)
    if ranges:
        yield Sign("protocol.ranges", 0, len(text))
    if _URL.match(text):
        return
    lowered = lower_case(text)
    scanner = _scanner(lowered) or _span(_NAS.search(text))
    if scanner:
        yield Sign("protocol.scanner", *scanner)
    elif lowered.partition("/")[0].partition(" ")[0] in _TOOLS:
        yield Sign("protocol.tool", 0, len(text))
    expression = _MEDIA_TYPE.search(text)
    if expression:
        yield Sign("protocol.media_type", expression.start(), expression.end())


def _scanner(lowered: str) -> tuple[int, int] | None:
    """Find the name that a scanner gives itself."""
    for word in _WORDS.finditer(lowered):
        if word[0] in _SCANNERS or (
            word[0] in _SCANNERS_TOO and (word.start() == 0 or lowered.startswith("/", word.end()))
        ):
            return word.span()
    for phrase in _PHRASES:
        if (at := lowered.find(phrase)) >= 0:
            return at, at + len(phrase)
    return None


def _span(match: re.Match[str] | None) -> tuple[int, int] | None:
    return None if match is None else match.span()
