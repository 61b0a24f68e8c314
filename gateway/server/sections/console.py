"""Whether administrators have pages of their own on the public listener, and from where."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, StrictBool, model_validator

from gateway.server.fields import Network, Period
from gateway.server.sections.section import Section

LONGEST_FACTOR_AGE_S: Final = 12 * 3600.0  # SP 800-63B-4 (2023 draft) section 4.2.3


class Console(Section):
    """The console at `/.gateway/admin/`. Without this section there is none: to everybody it is an address like any unknown one."""

    enabled: StrictBool
    networks: Annotated[tuple[Network, ...], Field(min_length=1)] | None = None
    """Where it may be opened from; from elsewhere it does not exist. None = from everywhere."""
    mfa_age: Period = 900.0
    """How long ago the second factor may have been proven for an act; an older one is asked for again."""

    @model_validator(mode="after")
    def _is_fresh(self) -> Self:
        if self.mfa_age > LONGEST_FACTOR_AGE_S:
            raise ValueError("mfa_age: more than 12h proves nothing any more")
        return self
