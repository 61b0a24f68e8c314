"""A value that stands in a file of its own, so that gateway.yaml can be shown to anybody.

Which files there are is read off the settings, so that no section can forget to have its own read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, PlainValidator, model_validator

from gateway.server.fields import Location
from gateway.server.sections.section import Section

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def _variable(value: Any) -> str:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise ValueError("write the name of an environment variable")
    return value


class SecretFile(Section):
    """`{file: PATH}`: the content is the secret, less one line end. Only its owner and group may read it."""

    file: Location


class SecretSource(Section):
    """`{file: PATH}` or `{env: NAME}`: a secret in a file, or in a variable of the supervisor's environment."""

    file: Location | None = None
    env: Annotated[str, PlainValidator(_variable)] | None = None

    @model_validator(mode="after")
    def _is_in_one_place(self) -> Self:
        if (self.file is None) == (self.env is None):
            raise ValueError("write file or env: where the secret is, never the secret itself")
        return self


def secret_files(section: BaseModel, place: str = "") -> Iterator[tuple[str, SecretFile | SecretSource]]:
    """List each `{file: …}` and `{env: …}` below a section with its dotted key, such as `mail.smtp.password`."""
    for name in type(section).model_fields:
        yield from _within(getattr(section, name), f"{place}.{name}" if place else name)


def _within(value: object, place: str) -> Iterator[tuple[str, SecretFile | SecretSource]]:
    if isinstance(value, SecretFile | SecretSource):
        yield place, value
    elif isinstance(value, BaseModel):
        yield from secret_files(value, place)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _within(inner, f"{place}.{key}")
    elif isinstance(value, tuple):
        for index, inner in enumerate(value):
            yield from _within(inner, f"{place}[{index}]")
