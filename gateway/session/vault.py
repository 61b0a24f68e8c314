"""Which cookies of a portal the gateway keeps for a session, and what goes back to the portal instead of the browser's.

Pure rules over `wire.set_cookie`. Where a vault is kept, and that it is safe before an answer leaves, is said elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from gateway.exchange.session import Session
from gateway.wire.set_cookie import (
    Cookie,
    Merged,
    cookie_field,
    folded_name,
    merge,
    read_set_cookie,
    returned,
    without_names,
)
from gateway.wire.set_cookie import only_names as pairs_named

Mode = Literal["none", "http_only", "all"]


class Vault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is kept for one session towards one upstream."""

    cookies: tuple[Cookie, ...] = ()
    signed_on: float = 0.0
    """When the person was last signed on there on their behalf; 0 = never."""


EMPTY_VAULT: Final = Vault()


class Owner(NamedTuple):
    """Whose vault, and towards whom."""

    token: bytes
    """Value of the session's cookie: without it a vault does not open."""
    session: Session
    upstream: str


class VaultRules(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an upstream's cookies."""

    mode: Mode
    passed: frozenset[bytes] = frozenset()
    """Names that go to the browser whatever they are, as spelled."""
    named: frozenset[bytes] = frozenset()
    """Folded names that never do."""
    max_count: int = 50
    max_bytes: int = 4096
    """Of one cookie, name and value."""


class Sorted(NamedTuple):
    """The Set-Cookie values of an answer, told apart."""

    kept: tuple[Cookie, ...]
    """For the vault; those that remove a cookie are expired."""
    passed: tuple[bytes, ...]
    """For the browser."""
    malformed: int
    """Values that no browser would take. They go nowhere."""
    too_large: int
    """Cookies that are larger than `max_bytes`. They go nowhere."""


def sort_cookies(
    values: Sequence[bytes], vault: Vault, rules: VaultRules, *, host: str, path: bytes, secure: bool, now: float
) -> Sorted:
    """Tell apart what stays here and what goes to the browser.

    A name that is in the vault stays in it until it is removed, so that one name never has two values.
    """
    kept: list[Cookie] = []
    passed: list[bytes] = []
    malformed = too_large = 0
    known = {cookie.name for cookie in vault.cookies}
    for value in values:
        cookie = read_set_cookie(value, host=host, path=path, secure=secure, now=now)
        if cookie is None:
            malformed += 1
        elif not _stays(cookie, known, rules):
            passed.append(value)
        elif len(cookie.name) + len(cookie.value) > rules.max_bytes:
            too_large += 1
        else:
            kept.append(cookie)
            known.add(cookie.name)
    return Sorted(tuple(kept), tuple(passed), malformed, too_large)


def _stays(cookie: Cookie, known: set[bytes], rules: VaultRules) -> bool:
    if cookie.name in rules.passed:
        return False
    if rules.mode == "all" or cookie.name in known or folded_name(cookie.name) in rules.named:
        return True
    return rules.mode == "http_only" and cookie.http_only


def changed_vault(vault: Vault, changes: Sequence[Cookie], rules: VaultRules, now: float) -> tuple[Vault, int]:
    """Merge changes into a vault; returns it, the same object where nothing changed, and how many cookies gave way."""
    merged: Merged = merge(vault.cookies, changes, max_count=rules.max_count, now=now)
    if merged.cookies == vault.cookies:
        return vault, merged.evicted
    return msgspec.structs.replace(vault, cookies=merged.cookies), merged.evicted


def cookies_for(
    vault: Vault,
    rules: VaultRules,
    browsers: bytes,
    *,
    host: str,
    path: bytes,
    secure: bool,
    cross_site: bool,
    now: float,
) -> bytes:
    """Compose the Cookie field for the portal out of the vault and of what the browser sent (`browsers`); empty = none.

    attack: session fixation. Whatever the browser sends under a name of the vault is left out, and of anything where
    all cookies are kept. Ours come first: an unbalanced quote of the browser's must not swallow them.
    """
    theirs = pairs_named(browsers, rules.passed) if rules.mode == "all" else browsers
    names = rules.named | {folded_name(cookie.name) for cookie in vault.cookies}
    if names and theirs:
        theirs = without_names(theirs, names)
    ours = cookie_field(returned(vault.cookies, host=host, path=path, secure=secure, cross_site=cross_site, now=now))
    return b"; ".join([part for part in (ours, theirs) if part])
