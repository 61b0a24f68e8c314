"""What a new password must be, and how a forgotten one is replaced."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from gateway.server.fields import Period
from gateway.server.sections.section import Section

_RANGE_URL = re.compile(r"https://[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~-]{1,128}){0,8}/")


def _service(value: Any) -> Any:
    if not isinstance(value, str) or not _RANGE_URL.fullmatch(value):
        raise ValueError(
            "write an address that begins with https:// and ends with /; five hexadecimal digits follow it"
        )
    return value


class BreachService(Section):
    """The range API that `breach_check: online` asks."""

    url: Annotated[str, BeforeValidator(_service)] = "https://api.pwnedpasswords.com/range/"
    timeout: Annotated[Period, Field(le=30.0)] = 3.0
    on_failure: Literal["open", "closed"] = "closed"
    """`closed`: no password is taken that was not asked about; `open`: the lists on this machine decide alone."""


class Passwords(Section):
    """What a new password must be (NIST SP 800-63B-4 §3.1.1.2: length and a breach list, no composition, no forced rotation)."""

    min_length: Annotated[int, Field(strict=True, ge=12, le=128)] = 12
    """Characters, where a second factor stands beside it."""
    min_length_alone: Annotated[int, Field(strict=True, ge=15, le=128)] = 15
    """Characters, where the password is the only factor (SP 800-63B-4 §3.1.1.2)."""
    min_score: Annotated[int, Field(strict=True, ge=0, le=4)] = 2
    """Least estimate of the meter: 0 anything, 2 some effort to guess, 3 a lot, 4 more than anybody has."""
    history: Annotated[int, Field(strict=True, ge=0, le=24)] = 0
    """Earlier passwords that must not come back; 0 = none is remembered."""
    breach_check: Literal["offline", "online", "off"] = "offline"
    """`offline`: the lists on this machine; `online`: Have I Been Pwned too, five characters of a SHA-1; `off`: none."""
    breach_service: BreachService = BreachService()
    reset: Literal["mail", "operator"] | None = None
    """Who replaces a forgotten password: the person, by a code in a mail, or an operator. None = by mail where there is `mail`."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.min_length > self.min_length_alone:
            if "min_length_alone" in self.model_fields_set:
                raise ValueError("min_length_alone is less than min_length")
            object.__setattr__(self, "min_length_alone", self.min_length)
        if self.breach_check != "online" and "breach_service" in self.model_fields_set:
            raise ValueError("breach_service has no effect unless breach_check is online")
        return self
