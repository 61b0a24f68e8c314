"""What is inspected and what was found in it: words that every part of the inspection shares.

A finding never carries the payload: it names the place, the rule and a digest of the value.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Position(StrEnum):
    """Where in a request a value stands."""

    PATH = "path"
    QUERY_NAME = "query_name"
    QUERY = "query"
    COOKIE_NAME = "cookie_name"
    COOKIE = "cookie"
    HEADER = "header"
    FORM_NAME = "form_name"
    FORM = "form"
    JSON_NAME = "json_name"
    JSON = "json"
    XML = "xml"
    """A text, a comment or an attribute's value."""
    PART_NAME = "part_name"
    PART = "part"
    """The value of a part that is no file."""
    FILE_NAME = "file_name"
    BODY = "body"
    """A body that has no parts the gateway knows."""


@dataclass(frozen=True, slots=True)
class Value:
    """One text of a request, after the decoding that its place asks for."""

    position: Position
    name: str
    """Which parameter, cookie, field or member; empty for a path and for a body."""
    text: str
    """What the upstream gets after percent-decoding of a query or form, or as a JSON string, XML text or part."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that applied to one reading of one value."""

    rule: str
    attack: str
    """The class: `sqli`, `xss`, ..."""
    score: int
    position: Position
    name: str
    """Which parameter; empty for a path and for a body."""
    digest: str
    """16 hex digits that tell one value from another and neither of them to anybody."""
    start: int
    end: int
    """Offsets in the reading, in characters."""
    reading: str
    """How the value was read: `as sent`, `url`, `html`, `base64`, or several joined by ` > `."""
