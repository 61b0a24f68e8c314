"""What every section of gateway.yaml is: strict, closed, unchangeable."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Section(BaseModel):
    """A mapping of gateway.yaml: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def not_yet(*words: str, what: str) -> BeforeValidator:
    """Refuse words of a later version with a sentence."""

    def validate(value: Any) -> Any:
        if value in words:
            raise ValueError(f"{what} {value} is not built yet")
        return value

    return BeforeValidator(validate)
