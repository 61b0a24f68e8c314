"""A value that stands in a file of its own, so that gateway.yaml can be shown to anybody.

Which files there are is read off the settings, so that no section can forget to have its own read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from gateway.server.fields import Location
from gateway.server.sections.section import Section


class SecretFile(Section):
    """`{file: PATH}`: the content is the secret, less one line end. Only its owner and group may read it."""

    file: Location


def secret_files(section: BaseModel, place: str = "") -> Iterator[tuple[str, SecretFile]]:
    """List each `{file: …}` below a section with its dotted key, such as `mail.smtp.password`."""
    for name in type(section).model_fields:
        yield from _within(getattr(section, name), f"{place}.{name}" if place else name)


def _within(value: object, place: str) -> Iterator[tuple[str, SecretFile]]:
    if isinstance(value, SecretFile):
        yield place, value
    elif isinstance(value, BaseModel):
        yield from secret_files(value, place)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _within(inner, f"{place}.{key}")
    elif isinstance(value, tuple):
        for index, inner in enumerate(value):
            yield from _within(inner, f"{place}[{index}]")
