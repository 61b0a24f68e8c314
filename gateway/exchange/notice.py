"""What a person is told of by mail about their own account: one closed list, and the seam by which it is told."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec


class Notice(StrEnum):
    """Something that happened to an account and that its owner should hear of by another way than the browser."""

    NEW_DEVICE = "new_device"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a notice, not a password
    PASSWORD_RESET = "password_reset"  # noqa: S105 - a notice, not a password
    FACTOR_ADDED = "factor_added"
    FACTOR_REMOVED = "factor_removed"
    RECOVERY_USED = "recovery_used"
    RECOVERY_REPLACED = "recovery_replaced"
    SESSIONS_REVOKED = "sessions_revoked"
    SESSION_ELSEWHERE = "session_elsewhere"
    """Somebody has the cookie of a session and tried it elsewhere than where it is bound to."""
    API_KEY_CREATED = "api_key_created"


class Circumstances(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where something was done from, as far as it is known; what is empty is not told."""

    address: str = ""
    """Of the network."""
    place: str = ""
    """By the operator's database of places."""
    device: str = ""
    """What the browser calls itself; told as the account page describes it."""
    subject: str = ""
    """Name that the person gave to what it is about: a passkey, an API key. At most 64 characters are told."""
    language: str = ""
    """Language of the browser that did it, a tag of the catalogue; empty = the gateway's own."""


NOWHERE = Circumstances()


class Notices(Protocol):
    """Tells people what happened to their account. Not told is not undone: it never raises, and never refuses."""

    async def notify(self, user_id: str, notice: Notice, *, circumstances: Circumstances = NOWHERE) -> None:
        """Have the owner of an account told. Nothing is sent to an account without an e-mail address, or without `mail`."""
        ...


class SilentNotices:
    """Tells nobody: there is no `mail`, or `mail.notices` is false."""

    async def notify(self, user_id: str, notice: Notice, *, circumstances: Circumstances = NOWHERE) -> None:
        """Tell nobody."""
