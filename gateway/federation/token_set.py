"""The tokens of a person as the state keeps them. Says whether they are fresh; asks nobody for others."""

from __future__ import annotations

from typing import Final

import msgspec

MARGIN_S: Final = 30.0
"""A token that ends sooner is not fresh."""


class TokenSet(msgspec.Struct, frozen=True, kw_only=True):
    """What the token endpoint gave. Secret as a whole."""

    id_token: str = ""
    access_token: str = ""
    refresh_token: str = ""
    expires: float | None = None
    """When the access token ends, unix seconds; None = unsaid."""
    scope: str = ""

    def __repr__(self) -> str:
        return "TokenSet()"


def is_fresh(tokens: TokenSet, now: float) -> bool:
    """Tell whether the access token is good for a while; one that never said when it ends is taken as it is."""
    return bool(tokens.access_token) and (tokens.expires is None or now < tokens.expires - MARGIN_S)
