"""A content security policy: its directives, read strictly and written for one answer (W3C CSP3 §2, §6).

Reads what an operator wrote; what a browser would silently ignore is an error here, for a misspelt directive protects
nobody. Says nothing about which scripts are approved: those are `scripts`'.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Mode = Literal["off", "report", "enforce"]

FETCH_DIRECTIVES: Final = frozenset(
    ("child-src", "connect-src", "default-src", "font-src", "frame-src", "img-src", "manifest-src", "media-src",
     "object-src", "script-src", "script-src-attr", "script-src-elem", "style-src", "style-src-attr",
     "style-src-elem", "worker-src"),
)  # fmt: skip
_SOURCE_LISTS: Final = FETCH_DIRECTIVES | {"base-uri", "form-action", "frame-ancestors"}
_FLAGS: Final = frozenset(("upgrade-insecure-requests",))
_WORD_LISTS: Final = {
    "sandbox": re.compile(r"allow-[a-z-]{1,40}"),
    "require-trusted-types-for": re.compile(r"'script'"),
    "trusted-types": re.compile(r"'none'|'allow-duplicates'|\*|[A-Za-z0-9#=_/@.%-]{1,64}"),
}
DIRECTIVES: Final = _SOURCE_LISTS | _FLAGS | frozenset(_WORD_LISTS)
"""Every directive that may stand in a policy. Where reports go is the gateway's to say."""
_SCRIPT_LISTS: Final = ("script-src", "script-src-elem")
_KEYWORDS: Final = frozenset(
    ("'none'", "'self'", "'unsafe-inline'", "'unsafe-eval'", "'wasm-unsafe-eval'", "'strict-dynamic'",
     "'unsafe-hashes'", "'report-sample'"),
)  # fmt: skip
_ANCESTOR_KEYWORDS: Final = frozenset(("'none'", "'self'"))
_HASH: Final = re.compile(r"'sha(?:256-[A-Za-z0-9+/_-]{43}=|384-[A-Za-z0-9+/_-]{64}|512-[A-Za-z0-9+/_-]{86}==)'")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]{0,30}:")
_HOST: Final = re.compile(
    r"(?:\*|(?:[a-z][a-z0-9+.-]{0,30}://)?(?:\*\.)?[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,20}(?::(?:\*|[0-9]{1,5}))?"
    r"(?:/[A-Za-z0-9._~!$&'()*+=:@%/-]{0,256})?)"
)
_HOST_OF_WILDCARD: Final = re.compile(r"(?:https?|wss?)://\*(?::\*)?")
MAX_SOURCES: Final = 128
NONCE_BYTES: Final = 16
"""128 bits, as CSP3 §7.1 demands at least."""

Directives = tuple[tuple[str, tuple[str, ...]], ...]

STRICT: Final[Directives] = (
    ("script-src", ("'strict-dynamic'",)),
    ("object-src", ("'none'",)),
    ("base-uri", ("'self'",)),
)
"""What holds where the operator says nothing else: scripts that carry the nonce, and what they load."""


class PolicyError(ValueError):
    """A directive that no browser would follow as it is written; the text is a sentence for the operator."""

    def __init__(self, directive: str, sentence: str) -> None:
        super().__init__(sentence)
        self.directive = directive


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy of one route, ready to be written."""

    mode: Mode
    directives: Directives = STRICT
    nonces: bool = True
    """Approved scripts of each answer get a nonce."""
    hashes: tuple[str, ...] = ()
    """`sha256-…` of approved scripts; they stand in the header where no nonces do."""
    report_sample: bool = False

    @property
    def field(self) -> bytes:
        """The name of the field that carries it."""
        return b"content-security-policy" if self.mode == "enforce" else b"content-security-policy-report-only"

    @property
    def ancestors(self) -> tuple[str, ...] | None:
        """Who may frame the route's pages, by a policy in force; None = it does not say."""
        return dict(self.directives).get("frame-ancestors") if self.mode == "enforce" else None

    def write(self, nonce: str, report_uri: str) -> bytes:
        """Write the value for one answer; without a nonce (empty) no script can carry one."""
        parts = []
        for name, sources in self.directives:
            words = list(sources)
            if name in _SCRIPT_LISTS:
                if nonce:
                    words.insert(0, f"'nonce-{nonce}'")
                elif not self.nonces:
                    words[:0] = [f"'{value}'" for value in self.hashes]
                if self.report_sample and "'report-sample'" not in words:
                    words.append("'report-sample'")
                if len(words) > 1 and "'none'" in words:
                    words.remove("'none'")
            parts.append(" ".join((name, *words)))
        if report_uri:
            # report-to, which browsers prefer, needs an endpoint by an absolute URL: one more field on every answer.
            parts.append(f"report-uri {report_uri}")
        return "; ".join(parts).encode("ascii")


def read_directives(written: Mapping[str, str | list[str]]) -> Directives:
    """Read the directives of an operator; the strict ones that are not named stay.

    Raises:
        PolicyError: with the directive and what is wrong with it.

    """
    found = dict(STRICT)
    for name, value in written.items():
        if name not in DIRECTIVES:
            raise PolicyError(name, f"{name!r} is no directive of a content security policy")
        words = tuple(value.split()) if isinstance(value, str) else tuple(value)
        _check(name, words)
        found[name] = words
    return tuple(found.items())


def _check(name: str, words: tuple[str, ...]) -> None:
    if name in _FLAGS:
        if words:
            raise PolicyError(name, f"{name} stands alone; write an empty list")
        return
    if name == "sandbox" and not words:
        return
    if not words:
        raise PolicyError(name, f"{name} is empty; write 'none' to allow nothing")
    if len(words) > MAX_SOURCES:
        raise PolicyError(name, f"{name} has more than {MAX_SOURCES} sources")
    if len(set(words)) < len(words):
        raise PolicyError(name, f"{name} names a source twice")
    pattern = _WORD_LISTS.get(name)
    for word in words:
        if pattern is not None:
            if pattern.fullmatch(word) is None:
                raise PolicyError(name, f"{word!r} is no word of {name}")
        else:
            _check_source(name, word)
    if "'none'" in words and len(words) > 1:
        raise PolicyError(name, f"{name}: 'none' beside other sources is ignored by browsers; remove one of them")


def _check_source(name: str, word: str) -> None:
    """CSP3 §2.3.1: a keyword, a hash, a scheme or a host; nonces are the gateway's to make."""
    bare = f"'{word}'"
    if bare in _KEYWORDS or _HASH.fullmatch(bare):
        raise PolicyError(name, f'{word} needs single quotes inside the text: "{bare}"')
    if word.startswith("'nonce-"):
        raise PolicyError(
            name, f"{name}: a nonce that stands in a file is known to everybody; the gateway makes one for each answer"
        )
    if name == "frame-ancestors" and word.startswith("'") and word not in _ANCESTOR_KEYWORDS:
        raise PolicyError(name, f"{word} has no effect in frame-ancestors")
    if word in _KEYWORDS or _HASH.fullmatch(word):
        return
    if _SCHEME.fullmatch(word) or _HOST.fullmatch(word) or _HOST_OF_WILDCARD.fullmatch(word):
        return
    raise PolicyError(
        name, f"{word!r} is no source: a keyword in single quotes, a hash, a scheme such as https:, or a host"
    )
