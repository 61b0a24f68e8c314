"""What goes along with a person's request to a portal, beside who it is: kept cookies, a name and password, tokens.

An `Escort` belongs to one exchange. It says which cookies the portal gets instead of the browser's, which of the portal's
the browser never sees, and whether the portal has lost the person. Where these things are kept, and when, is
`escorts`' business; signing on by a form is the pages'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from gateway.session.vault import EMPTY_VAULT, Owner, Vault, VaultRules, cookies_for, sort_cookies
from gateway.wire.response import ResponseHead
from gateway.wire.rewriting import Places
from gateway.wire.set_cookie import Cookie

MAX_SEARCHED_BYTES: Final = 64 * 1024
"""Of a page, for what says that the portal knows nobody."""
_COOKIE: Final = b"\r\ncookie: "
_SAME_SITE: Final = (b"", b"same-origin", b"same-site", b"none")


@dataclass(frozen=True, slots=True)
class DetectRules:
    """How an answer shows that the portal does not know the person any more."""

    statuses: frozenset[int]
    location: bytes
    body: bytes
    every_s: float
    """For so long after a sign-on nothing shows it."""


@dataclass(frozen=True, slots=True)
class SignOnRules:
    """How people are signed on."""

    kind: Literal["form", "basic"]
    username: str
    """Template with `{user}`, `{email}`, `{tenant}`; empty = the person's own."""
    password: str = field(repr=False)
    """For everybody; empty = the person's own."""
    detect: DetectRules | None = None


@dataclass(frozen=True, slots=True)
class EscortRules:
    """What goes along to one upstream."""

    vault: VaultRules | None = None
    modes: Mapping[str, VaultRules] = field(default_factory=dict)
    """The same by what a route says about it."""
    sign_on: SignOnRules | None = None
    tokens: tuple[tuple[str, bytes], ...] = ()
    """Kind of token and field name."""


class Escort:
    """What goes along with one request, and what came back."""

    __slots__ = (
        "authorizes",
        "changes",
        "credentials",
        "fields",
        "is_lost",
        "is_trial",
        "owner",
        "rules",
        "search_until",
        "searches",
        "vault",
        "vault_rules",
    )

    def __init__(
        self, owner: Owner, rules: EscortRules, vault_rules: VaultRules | None, vault: Vault = EMPTY_VAULT
    ) -> None:
        self.owner = owner
        self.rules = rules.sign_on
        self.vault_rules = vault_rules
        self.vault = vault
        self.fields = b""
        """Field lines for the portal."""
        self.authorizes = False
        """`fields` has an Authorization: the client's own stays behind."""
        self.credentials = b""
        """Digest of name and password that go along; empty = none do."""
        self.is_trial = False
        """They never worked so far."""
        self.changes: tuple[Cookie, ...] = ()
        """What must be kept before the answer leaves."""
        self.searches = False
        """The answer is a page that may show it."""
        self.search_until = 0.0
        """When what there is of the page must do, monotonic."""
        self.is_lost = False
        """The answer shows that the portal does not know the person any more."""

    def client_fields(
        self, forward: bytes, *, host: str, path: bytes, secure: bool, own_origin: bytes, now: float
    ) -> bytes:
        """The client's fields with the cookies that the portal gets instead of the browser's."""
        plain = forward
        if self.rules is not None and self.rules.detect is not None and self.rules.detect.body:
            plain = _without(plain, b"accept-encoding")  # a compressed page cannot be searched
        if self.vault_rules is None:
            return plain
        rest, browsers = _cookies_apart(plain)
        field_value = cookies_for(
            self.vault,
            self.vault_rules,
            browsers,
            host=host,
            path=path,
            secure=secure,
            cross_site=_is_cross_site(forward, own_origin),
            now=now,
        )
        return rest + b"cookie: %b\r\n" % field_value if field_value else rest

    def take_cookies(
        self, head: ResponseHead, places: Places, *, host: str, path: bytes, secure: bool, now: float
    ) -> tuple[ResponseHead, int, int]:
        """Take out of an answer the cookies that stay here; returns the rest of it, and how many were no cookies or too large."""
        rules = self.vault_rules
        if rules is None:
            return head, 0, 0
        values = [
            places.cookie(value) if places.mapping is not None or b"domain" in value.lower() else value
            for name, value in head.weighed
            if name == b"set-cookie"
        ]
        if not values:
            return head, 0, 0
        found = sort_cookies(values, self.vault, rules, host=host, path=path, secure=secure, now=now)
        self.changes = found.kept
        others = tuple(pair for pair in head.weighed if pair[0] != b"set-cookie")
        passed = tuple((b"set-cookie", value) for value in found.passed)
        return replace(head, weighed=others + passed, hardened={}), found.malformed, found.too_large

    def look_for_person(self, head: ResponseHead, now: float) -> None:
        """Notice whether status or place of an answer show that the portal lost the person."""
        detect = self._detect(now)
        if detect is None:
            return
        self.searches = (
            bool(detect.body)
            and head.status < 500
            and head.content_type[:9].lower() == b"text/html"
            and b"content-encoding:" not in head.forward.lower()
        )
        if head.status in detect.statuses:
            self.is_lost = True
        elif detect.location and 300 <= head.status < 400:
            places = [value for name, value in head.weighed if name == b"location"]
            self.is_lost = any(_leads_to(place, detect.location) for place in places)

    def look_into_page(self, pieces: Sequence[bytes]) -> None:
        """Notice whether the first part of a page shows it."""
        self.searches = False
        detect = self.rules.detect if self.rules is not None else None
        if detect is not None and detect.body in b"".join(pieces)[:MAX_SEARCHED_BYTES]:
            self.is_lost = True

    def _detect(self, now: float) -> DetectRules | None:
        """Return what shows it, unless the person was signed on a moment ago: nothing is tried over and over."""
        detect = self.rules.detect if self.rules is not None else None
        return detect if detect is not None and now - self.vault.signed_on >= detect.every_s else None

    def needs_sign_on(self) -> bool:
        """Whether the person must be signed on before anything goes there."""
        return self.rules is not None and self.rules.kind == "form" and not self.vault.signed_on


def judgement(head: ResponseHead) -> bool | None:
    """Say what an answer makes of the name and password that went along; None = nothing.

    A 401 that asks for other schemes than Basic alone speaks of another proof; 429 and 5xx speak of the portal.
    """
    if head.status == 401:
        lines = [line for line in head.forward.lower().split(b"\r\n") if line.startswith(b"www-authenticate:")]
        return None if lines and not any(b"basic" in line for line in lines) else False
    return True if head.status < 500 and head.status != 429 else None


def _leads_to(location: bytes, start: bytes) -> bool:
    """Tell whether a Location begins so, or its path does when it is absolute."""
    if location.startswith(start):
        return True
    scheme, separator, rest = location.partition(b"://")
    return (
        bool(separator) and scheme.lower() in (b"http", b"https") and (b"/" + rest.partition(b"/")[2]).startswith(start)
    )


def _cookies_apart(forward: bytes) -> tuple[bytes, bytes]:
    """Split the client's fields into all but Cookie, and its value. There is one at most: the parse joins them."""
    start = (b"\r\n" + forward).find(_COOKIE)
    if start < 0:
        return forward, b""
    end = forward.index(b"\r\n", start) + 2
    return forward[:start] + forward[end:], forward[start + len(_COOKIE) - 2 : end - 2]


def _without(forward: bytes, name: bytes) -> bytes:
    """The client's fields without those of one name."""
    start = b"%b: " % name
    return b"".join([line + b"\r\n" for line in forward.split(b"\r\n") if line and not line.startswith(start)])


def _is_cross_site(forward: bytes, own_origin: bytes) -> bool:
    """Whether another site caused the request: Fetch Metadata says so, or Origin where there is none."""
    block = b"\r\n" + forward
    site = _value(block, b"sec-fetch-site")
    if site not in _SAME_SITE:
        return True
    return not site and _value(block, b"origin") not in (b"", own_origin)


def _value(block: bytes, name: bytes) -> bytes:
    start = block.find(b"\r\n%b: " % name)
    if start < 0:
        return b""
    start += len(name) + 4
    return block[start : block.index(b"\r\n", start)].lower()
