"""`inspection.body`: how large and how complex a body may be that is read before it goes upstream."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.inspection.shape.limits import (
    DEEPEST,
    BodyLimits,
    FormLimits,
    JsonLimits,
    MultipartLimits,
    XmlLimits,
)
from gateway.server.fields import Count, Size
from gateway.server.sections.section import Section

Depth = Annotated[int, Field(strict=True, ge=1, le=DEEPEST)]
Answer = Literal["allow", "refuse"]
_JSON, _XML, _FORM, _PARTS, _BODY = JsonLimits(), XmlLimits(), FormLimits(), MultipartLimits(), BodyLimits()


class JsonRules(Section):
    """Of one JSON text."""

    depth: Depth = _JSON.depth
    names: Count = _JSON.names
    """Members of all objects together."""
    values: Count = _JSON.values
    digits: Count = _JSON.digits
    """Of one number."""
    duplicates: Answer = "allow"
    """What becomes of a name that stands twice in one object."""


class XmlRules(Section):
    """Of one XML document."""

    depth: Depth = _XML.depth
    elements: Count = _XML.elements
    attributes: Count = _XML.attributes
    """Of one element."""
    name: Size = _XML.name_bytes
    """Of an element or an attribute."""
    doctype: Answer = "refuse"
    """A document type; one with declarations is always refused."""


class FormRules(Section):
    """Of one urlencoded form."""

    fields: Count = _FORM.fields
    name: Size = _FORM.name_bytes
    value: Size = _FORM.value_bytes


class MultipartRules(Section):
    """Of one multipart body."""

    parts: Count = _PARTS.parts
    fields: Count = _PARTS.fields
    """Header lines of one part."""
    head: Size = _PARTS.head_bytes
    """Of the header of one part."""


class DecompressRules(Section):
    """Of a body that is compressed."""

    max: Size = _BODY.decompress_most_bytes
    """What a request's body may grow to."""
    ratio: Count = _BODY.decompress_ratio
    """Bytes that may come out for each that went in."""


class BodyRules(Section):
    """Bounds of what is read whole."""

    max: Size = _BODY.most_bytes
    """Bytes of a form, JSON or XML body that is held and read; a larger one is refused."""
    json_: Annotated[JsonRules, Field(alias="json")] = JsonRules()
    xml: XmlRules = XmlRules()
    form: FormRules = FormRules()
    multipart: MultipartRules = MultipartRules()
    decompress: DecompressRules = DecompressRules()

    def limits(self) -> BodyLimits:
        """Return the bounds as they are held against a body."""
        return BodyLimits(
            most_bytes=self.max,
            json=JsonLimits(
                depth=self.json_.depth,
                names=self.json_.names,
                values=self.json_.values,
                digits=self.json_.digits,
                refuse_duplicates=self.json_.duplicates == "refuse",
            ),
            xml=XmlLimits(
                depth=self.xml.depth,
                elements=self.xml.elements,
                attributes=self.xml.attributes,
                name_bytes=self.xml.name,
                allow_doctype=self.xml.doctype == "allow",
            ),
            form=FormLimits(fields=self.form.fields, name_bytes=self.form.name, value_bytes=self.form.value),
            multipart=MultipartLimits(
                parts=self.multipart.parts, fields=self.multipart.fields, head_bytes=self.multipart.head
            ),
            decompress_most_bytes=self.decompress.max,
            decompress_ratio=self.decompress.ratio,
        )
