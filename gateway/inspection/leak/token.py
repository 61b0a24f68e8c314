"""Tokens of known services: what their issuers made them begin with so that they can be found (and the checks that some carry).

One table. A token counts where it stands by itself and its letters are not those of an example (`ghp_xxxxxxxx`). Keys that are
made to stand in pages (Stripe's `pk_`, Google's for maps) are not secrets there.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from gateway.inspection.leak.reading import HOLD, Found, Reading, Skip, Text, beginnings, is_in_word
from gateway.inspection.leak.sighting import Kind
from gateway.inspection.leak.text_form import Markup

_WORD: Final = rb"[A-Za-z0-9_]"
_RUN: Final = re.compile(rb"[A-Za-z0-9_.=+/~:?&;%@-]*+")
_WORD_RUN: Final = re.compile(_WORD + rb"*+")
_LONGEST: Final = 600
"""Bytes that are read of any token."""
_FEWEST_LETTERS: Final = 6
"""Different ones in what follows a prefix: fewer are an example or a line."""
_PUBLIC_IN_PAGES: Final = frozenset({Markup.HTML, Markup.SCRIPT})


class _Shape(NamedTuple):
    prefix: bytes
    rest: re.Pattern[bytes]
    is_public_in_pages: bool = False


def _shape(prefix: bytes, rest: bytes, *, ends: bytes = _WORD, is_public_in_pages: bool = False) -> _Shape:
    """Describe a token; `ends` may not follow it."""
    return _Shape(prefix, re.compile(rb"(?:" + rest + rb")(?!" + ends + rb")"), is_public_in_pages)


_NAME: Final = rb"[A-Za-z0-9_-]"
_SHAPES: Final = (
    # Amazon Web Services: identifiers of keys, base 32
    *(_shape(prefix, rb"[A-Z2-7]{16}") for prefix in (b"AKIA", b"ASIA", b"ABIA", b"ACCA")),
    # GitHub: 30 characters and a CRC-32 of six, in base 62
    *(_shape(prefix, rb"[A-Za-z0-9]{36}") for prefix in (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_")),
    _shape(b"github_pat_", rb"[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    # GitLab
    *(
        _shape(b"gl" + kind + b"-", rb"[A-Za-z0-9_-]{20,300}(?:\.[0-9a-z]{2}\.[0-9a-z]{9})?", ends=_NAME)
        for kind in (b"pat", b"dt", b"rt", b"rtr", b"ptt", b"ft", b"imt", b"agent", b"oas", b"soat", b"cbt", b"ffct")
    ),
    # Google: OAuth tokens and secrets; keys of interfaces, which pages with maps show
    _shape(b"AIza", rb"[A-Za-z0-9_-]{35}", ends=_NAME, is_public_in_pages=True),
    _shape(b"GOCSPX-", rb"[A-Za-z0-9_-]{28}", ends=_NAME),
    _shape(b"ya29.", rb"[A-Za-z0-9_-]{20,500}"),
    # Microsoft Azure: keys of storage accounts and of service buses, secrets of applications
    _shape(b"AccountKey=", rb"[A-Za-z0-9+/]{86}==", ends=rb"[A-Za-z0-9+/=]"),
    _shape(b"SharedAccessKey=", rb"[A-Za-z0-9+/]{43}=", ends=rb"[A-Za-z0-9+/=]"),
    # Slack
    *(
        _shape(b"xox" + kind + b"-", rb"[A-Za-z0-9-]{10,250}", ends=_NAME)
        for kind in (b"a", b"b", b"c", b"d", b"e", b"o", b"p", b"r", b"s")
    ),
    _shape(b"xapp-", rb"[0-9]-[A-Za-z0-9-]{10,250}", ends=_NAME),
    _shape(b"hooks.slack.com/services/", rb"T[A-Z0-9]{8,12}/B[A-Z0-9]{8,12}/[A-Za-z0-9]{20,30}"),
    # Payment
    *(
        _shape(kind + mode, rb"[A-Za-z0-9]{16,250}")
        for kind in (b"sk_", b"rk_")
        for mode in (b"live_", b"test_")
    ),
    _shape(b"whsec_", rb"[A-Za-z0-9+/]{32,64}"),
    _shape(b"sq0csp-", rb"[A-Za-z0-9_-]{43}", ends=_NAME),
    *(_shape(prefix, rb"[a-fA-F0-9]{32}") for prefix in (b"shpat_", b"shpca_", b"shppa_", b"shpss_")),
    # Models
    *(
        _shape(prefix, rb"[A-Za-z0-9_-]{20,250}", ends=_NAME)
        for prefix in (b"sk-ant-", b"sk-proj-", b"sk-svcacct-", b"sk-admin-", b"sk-or-v1-")
    ),
    _shape(b"hf_", rb"[A-Za-z]{34}"),
    # Registries of packages and images
    _shape(b"npm_", rb"[A-Za-z0-9]{36}"),
    _shape(b"pypi-AgE", rb"[A-Za-z0-9_-]{50,500}", ends=_NAME),
    _shape(b"dckr_pat_", rb"[A-Za-z0-9_-]{27}", ends=_NAME),
    _shape(b"rubygems_", rb"[a-f0-9]{48}"),
    # Infrastructure and mail
    _shape(b"dop_v1_", rb"[a-f0-9]{64}"),
    _shape(b"hvs.", rb"[A-Za-z0-9_-]{24,300}", ends=_NAME),
    _shape(b"hvb.", rb"[A-Za-z0-9_-]{24,300}", ends=_NAME),
    _shape(b"glsa_", rb"[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}"),
    _shape(b"ATATT3", rb"[A-Za-z0-9_=-]{50,300}", ends=_NAME),
    _shape(b"PMAK-", rb"[a-f0-9]{24}-[a-f0-9]{34}"),
    _shape(b"lin_api_", rb"[A-Za-z0-9]{40}"),
    _shape(b"dapi", rb"[a-f0-9]{32}(?:-[0-9])?"),
    _shape(b"SG.", rb"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}", ends=_NAME),
    _shape(b"AGE-SECRET-KEY-1", rb"[02-9AC-HJ-NP-Z]{58}"),
    _shape(b"otpauth://", rb"[ht]otp/[^\s\"'<>\\]{0,200}[?&;]secret=[A-Z2-7a-z]{16,128}"),
)  # fmt: skip
_BY_PREFIX: Final = {shape.prefix: shape for shape in _SHAPES}

_PREFIXES: Final = b"|".join(re.escape(prefix) for prefix in sorted(_BY_PREFIX, key=len, reverse=True))
_REST: Final = 10
_LETTERS: Final = rb"[A-Za-z0-9_.=+/~:?&;%@-]"
TRIGGER: Final = rb"(?:" + _PREFIXES + rb")" + _LETTERS + b"{%d}" % _REST
OPENING: Final = beginnings(_BY_PREFIX) + rb"|(?:" + _PREFIXES + rb")" + _LETTERS + b"{0,%d}" % (_REST - 1)


def claims(trigger: bytes) -> bool:
    """Tell whether a trigger is one of this module's."""
    return trigger[:-_REST] in _BY_PREFIX


def read(text: Text, at: int, trigger: bytes) -> Reading:
    """Read on from the first byte of a prefix."""
    data = text.data
    run = _RUN.match(data, at, at + _LONGEST)
    if not text.is_whole and run is not None and run.end() == len(data) and run.end() - at < _LONGEST:
        return HOLD
    if is_in_word(data, at):  # and so is whatever begins in the rest of the word
        word = _WORD_RUN.match(data, at, at + _LONGEST)
        return Skip(at + 1 if word is None else word.end())
    shape = _BY_PREFIX[trigger[:-_REST]]
    start = at + len(shape.prefix)
    found = shape.rest.match(data, start)
    if (
        found is None
        or (shape.is_public_in_pages and text.markup in _PUBLIC_IN_PAGES)
        or len(set(found[0])) < _FEWEST_LETTERS
    ):
        return Skip(start)
    return Found(Kind.SECRETS, at, found.end(), data[at : found.end()], ((start, found.end()),))
