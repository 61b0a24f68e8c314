"""A small browser: one host's cookies, forms and redirects, as a person's browser would send them."""

from __future__ import annotations

import http.client
import ssl
import urllib.parse
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie

FIELDS: tuple[tuple[str, str], ...] = (
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    ),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.9,de;q=0.8"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Cache-Control", "max-age=0"),
    ("Sec-Ch-Ua", '"Chromium";v="131", "Not_A Brand";v="24"'),
    ("Sec-Ch-Ua-Mobile", "?0"),
    ("Sec-Ch-Ua-Platform", '"Linux"'),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Sec-Fetch-User", "?1"),
    ("Upgrade-Insecure-Requests", "1"),
)
"""What Chromium sends when a link of the same site is followed; every request of the bench carries it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One complete answer."""

    status: int
    url: str
    location: str
    body: bytes


@dataclass(slots=True)
class Form:
    """One HTML form: where it goes and what it would send untouched."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)


class _Forms(HTMLParser):
    """Collects the POST forms of a page with the names and values of their inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []
        self._open: Form | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self._open = Form(given.get("action") or "") if (given.get("method") or "get").lower() == "post" else None
            if self._open is not None:
                self.found.append(self._open)
        elif tag == "input" and self._open is not None and given.get("name"):
            self._open.fields[str(given["name"])] = given.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None


def forms(page: bytes) -> list[Form]:
    """Return the POST forms of `page` in order."""
    parser = _Forms()
    parser.feed(page.decode("utf-8", "replace"))
    return parser.found


class Browser:
    """Cookies of each origin it has met; redirects only when told to."""

    def __init__(self) -> None:
        self._jar: dict[str, dict[str, str]] = {}

    def cookies(self, url: str) -> str:
        """Return the Cookie field for `url`, empty without cookies."""
        return "; ".join(
            f"{name}={value}" for name, value in self._jar.get(urllib.parse.urlsplit(url).netloc, {}).items()
        )

    def request(self, method: str, url: str, form: dict[str, str] | None = None) -> Answer:
        """Make one request on a new connection. Raises OSError or http.client.HTTPException."""
        parts = urllib.parse.urlsplit(url)
        fields = dict(FIELDS)
        if cookie := self.cookies(url):
            fields["Cookie"] = cookie
        body = None
        if form is not None:
            body = urllib.parse.urlencode(form)
            fields |= {
                "Content-Type": "application/x-www-form-urlencoded",
                "Origin": f"{parts.scheme}://{parts.netloc}",
            }
        connection = connect(parts, timeout_s=10)
        try:
            connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, fields)
            answer = connection.getresponse()
            for line in answer.headers.get_all("Set-Cookie") or []:
                self._keep(parts.netloc, line)
            location = urllib.parse.urljoin(url, answer.headers.get("Location") or "")
            return Answer(answer.status, url, location, answer.read())
        finally:
            connection.close()

    def follow(self, answer: Answer, *, most: int = 15) -> Answer:
        """Follow redirects of `answer` by GET until something else comes."""
        while answer.status in {301, 302, 303, 307, 308} and most:
            answer, most = self.request("GET", answer.location), most - 1
        return answer

    def submit(self, page: Answer, values: dict[str, str]) -> Answer:
        """Fill the first POST form of `page` that has all of `values`, send it, and follow where it leads."""
        for form in forms(page.body):
            if values.keys() <= form.fields.keys():
                target = urllib.parse.urljoin(page.url, form.action)
                return self.follow(self.request("POST", target, {**form.fields, **values}))
        raise LookupError(f"{page.url} ({page.status}) has no form with {', '.join(values)}")

    def _keep(self, netloc: str, line: str) -> None:
        cookie: SimpleCookie = SimpleCookie()
        cookie.load(line)
        own = self._jar.setdefault(netloc, {})
        for name, morsel in cookie.items():
            if morsel.value and morsel["max-age"] != "0":
                own[name] = morsel.coded_value
            else:
                own.pop(name, None)


def connect(parts: urllib.parse.SplitResult, *, timeout_s: float) -> http.client.HTTPConnection:
    """Return a connection to the origin of `parts`; TLS is not verified: the certificate was made for this run."""
    assert parts.hostname is not None
    if parts.scheme == "https":
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout_s, context=trusting())
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)


def trusting() -> ssl.SSLContext:
    """Return a client context that accepts any certificate; it only ever meets this run's programs on loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
