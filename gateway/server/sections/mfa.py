"""Whether sign-in needs a second factor, and which count."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from gateway.server.fields import Duration
from gateway.server.sections.section import Section, not_yet


def _never_remembered(value: float) -> float:
    if value:
        raise ValueError("remembered devices are not built yet; write 0s")
    return value


MFAMethod = Annotated[Literal["totp", "recovery"], not_yet("webauthn", what="the method")]


class MFA(Section):
    """Whether sign-in needs a second factor.

    `always` asks everybody, and sends people without a factor to enrol one. `enrolled` asks those
    who have a factor; it is what an absent section means.
    """

    required: Literal["always", "enrolled"] = "always"
    methods: Annotated[tuple[MFAMethod, ...], Field(min_length=1)] = ("totp", "recovery")
    remember_device: Annotated[Duration, AfterValidator(_never_remembered)] = 0.0

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        if len(set(self.methods)) < len(self.methods):
            raise ValueError("a method is listed twice")
        if "totp" not in self.methods:
            raise ValueError("methods needs totp: recovery codes alone cannot be enrolled")
        return self
