"""How large and how intricate a body may be, and what is said of one that is more."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from gateway.inspection.decompress import Budget

DEEPEST: Final = 512
"""Of any limit on depth: a reader that recurses gets so far on any stack."""


class Bound(StrEnum):
    """A limit that a body can go beyond, or the rule of its format that it breaks."""

    BODY_BYTES = "body_bytes"
    ENCODING = "encoding"
    MALFORMED = "malformed"
    JSON_DEPTH = "json_depth"
    JSON_NAMES = "json_names"
    JSON_VALUES = "json_values"
    JSON_DIGITS = "json_digits"
    JSON_DUPLICATE = "json_duplicate"
    XML_DOCTYPE = "xml_doctype"
    XML_ENTITY = "xml_entity"
    XML_DEPTH = "xml_depth"
    XML_ELEMENTS = "xml_elements"
    XML_ATTRIBUTES = "xml_attributes"
    XML_NAME = "xml_name"
    FORM_FIELDS = "form_fields"
    FORM_NAME = "form_name"
    FORM_VALUE = "form_value"
    PARTS = "parts"
    PART_FIELDS = "part_fields"
    PART_HEAD = "part_head"


UNREADABLE: Final = frozenset({Bound.ENCODING, Bound.MALFORMED})
"""The body is not what it is declared as; every other bound is one that it is too much for."""


class ShapeError(ValueError):
    """A body that is not read. Names the bound and the place, never what stands there."""

    def __init__(self, bound: Bound, offset: int) -> None:
        super().__init__(f"{bound.value} at byte {offset}")
        self.bound = bound
        self.offset = offset
        """In bytes of the body, decoded from its content coding; of the first byte that is too much."""

    @property
    def is_too_complex(self) -> bool:
        """Whether the body is well built, but too large or too intricate."""
        return self.bound not in UNREADABLE


class JsonLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of one JSON text (RFC 8259)."""

    depth: int = 64
    names: int = 100_000
    """Members of all objects together."""
    values: int = 200_000
    """Members, elements and containers together."""
    digits: int = 1_000
    """Of one number: some readers take quadratic time for them."""
    refuse_duplicates: bool = False
    """A name twice in one object: one reader takes the first, another the last (RFC 8259 section 4)."""


class XmlLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of one XML document. Declarations of entities are always refused."""

    depth: int = 64
    elements: int = 50_000
    attributes: int = 64
    """Of one element."""
    name_bytes: int = 1_024
    """Of an element or attribute."""
    allow_doctype: bool = False
    """`<!DOCTYPE svg PUBLIC ...>`; one with an internal subset is refused whatever this says."""


class FormLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of one `application/x-www-form-urlencoded` body; lengths as sent."""

    fields: int = 1_000
    name_bytes: int = 1_024
    value_bytes: int = 1 << 20


class MultipartLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of one multipart body (RFC 2046 section 5.1)."""

    parts: int = 200
    fields: int = 16
    """Header lines of one part."""
    head_bytes: int = 8_192
    """Of the header of one part."""


class BodyLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of the bodies of a route."""

    most_bytes: int = 1 << 20
    """Of a form, JSON or XML that is inspected whole, decoded from its content coding."""
    json: JsonLimits = JsonLimits()
    xml: XmlLimits = XmlLimits()
    form: FormLimits = FormLimits()
    multipart: MultipartLimits = MultipartLimits()
    decompress_most_bytes: int = 10 << 20
    decompress_ratio: int = 100

    @property
    def budget(self) -> Budget:
        """How much a request's body may grow to when it is decoded."""
        return Budget(self.decompress_most_bytes, self.decompress_ratio)
