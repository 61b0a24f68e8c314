"""A mail before it is written: what it is about, and for whom. It waits in this form, so that little waits."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from gateway.exchange.notice import NOWHERE, Circumstances, Notice


class Matter(StrEnum):
    """What a letter is about."""

    NOTICE = "notice"
    RESET_CODE = "reset_code"
    SEVERAL_ACCOUNTS = "several_accounts"
    """Somebody asked for a new password by an address that several accounts have."""
    DEVICE_CODE = "device_code"
    SIGN_IN_CODE = "sign_in_code"
    TEST = "test"


class Letter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One mail to one person. A format on disk: fields are added with defaults, never renamed. Times are unix seconds."""

    id: str
    """32 hexadecimal digits: name in the queue, and in the Message-ID of every try."""
    matter: Matter
    notice: Notice | None = None
    to: str
    """One plain address. Empty = it is never sent: somebody asked for an account that cannot be told."""
    user: str = ""
    """Canonical name of the account."""
    user_id: str = ""
    tenant: str = ""
    host: str = ""
    """Host of the pages that the person uses."""
    code: str = ""
    """The one secret that a letter may hold."""
    circumstances: Circumstances = NOWHERE
    created: float
    expires: float
    """When it is given up."""
    due: float = 0.0
    """Not tried before."""
    tries: int = 0
