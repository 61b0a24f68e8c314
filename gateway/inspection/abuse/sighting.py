"""One thing that happened and that a detector may count: who it came from, and what it was about.

Whatever somebody typed, and what says what somebody looked at (a name, a path, a resource, a browser), is a keyed digest, so that
a memory of sightings holds ids and addresses, and tells nobody the rest. It decides nothing.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b
from typing import Final

import msgspec

MAX_COUNT: Final = 1_000_000
"""Sightings that were alike and are told as one."""
MAX_VALUE: Final = 256
"""Characters of a value; whoever makes sightings cuts or digests what is longer."""


KEY_PURPOSE: Final = "abuse"
"""What the key of the digests is derived for."""
_DIGEST_BYTES: Final = 8


def digest(key: bytes, kind: str, text: str | bytes) -> str:
    """Return what stands for a text in a sighting; `kind` keeps the same text apart in different roles."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return blake2b(raw, digest_size=_DIGEST_BYTES, key=key, person=kind.encode("ascii")).hexdigest()


class What(StrEnum):
    """What happened: a closed list, the words of `of:` in detectors.yaml."""

    SIGN_IN_FAILED = "sign_in.failed"
    """A name and a password, a passkey or a provider's word that was refused."""
    SIGN_IN_SUCCEEDED = "sign_in.succeeded"
    SIGN_IN_LOCKED = "sign_in.locked"
    """An attempt that was not judged, because too many had failed before it."""
    FACTOR_ASKED = "factor.asked"
    """A code or a request to confirm went to the person, unasked by anything they see."""
    FACTOR_FAILED = "factor.failed"
    FACTOR_SUCCEEDED = "factor.succeeded"
    RESET_ASKED = "reset.asked"
    SESSION_USED = "session.used"
    """A session came with a browser and from a network; once for each of the three."""
    SESSION_ELSEWHERE = "session.elsewhere"
    """A session came from elsewhere than where it is bound to."""
    CREDENTIAL_REFUSED = "credential.refused"
    """An API key or an access token that is not valid here."""
    TAKEN = "taken"
    """A resource was shown, downloaded or exported."""
    MISSED = "missed"
    """A resource was asked for by its id, and is not there or not for whoever asked."""
    STRAYED = "strayed"
    """An address, of whatever kind, that is not there or not for whoever asked."""
    FAILED = "failed"
    """The portal answered with an error of its own (5xx)."""
    HOSTILE = "hostile"
    """The inspection refused it."""


class Sighting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One of them. What is not known is empty."""

    what: What
    at: float
    """Unix seconds."""
    count: int = 1
    """How many there were, all alike."""
    tenant: str = ""
    network: str = ""
    """An IPv4 address, or the /64 of an IPv6 one: see `wire.address.limiter_key`."""
    person: str = ""
    """Stable id of who is signed in, or of whose account was tried."""
    name: str = ""
    """The name that this person signs in with: what an operator reads in a finding. It is counted nowhere."""
    account: str = ""
    """Digest of the name that was tried, whether there is such an account or not."""
    key: str = ""
    """Handle of an API key, or what names an access token."""
    session: str = ""
    """Handle of the session."""
    agent: str = ""
    """Digest of the browser."""
    country: str = ""
    """ISO 3166-1 code, where the operator has a database of places."""
    route: str = ""
    item: str = ""
    """Digest of the resource, or of the address that was asked for."""
    owner: str = ""
    """Digest of whose data it is."""
    group: str = ""
    """With whom the person is compared: tenant and roles."""
    classified: bool = False
    """The route says that its data are personal, of health or of cards, or that they leave (`download`, `export`)."""
