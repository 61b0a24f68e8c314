"""Header fields that policy sets on the way to an upstream and on the way back."""

from __future__ import annotations

import msgspec


class FieldRules(msgspec.Struct, frozen=True, kw_only=True):
    """Names in lower case, and values. A field of the same name from elsewhere never passes beside one of these."""

    request: tuple[tuple[bytes, bytes], ...] = ()
    """For the upstream."""
    response: tuple[tuple[bytes, bytes], ...] = ()
    """For the client."""
