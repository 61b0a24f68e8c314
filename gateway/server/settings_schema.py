"""The JSON Schema (2020-12) of gateway.yaml, for editors: made of the very sections that read it.

It refuses nothing that the documentation writes: where a value is read from another form than the one it becomes, the
schema says nothing about the form. Defaults are left out, because they are values after reading and not what one writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from gateway.server.settings import Settings

_READ_WHEN_ABSENT: Final = ("audit",)
"""Sections that `load_settings` adds, because what they begin with depends on where the file stands."""
_NULL: Final = {"type": "null"}
_NOT_OF_JSON_SCHEMA: Final = frozenset(("title", "default", "ge", "le", "gt", "lt"))


class _Generator(GenerateJsonSchema):
    """What pydantic knows of the sections, as an editor needs it."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Leave the default out."""
        return self.generate_inner(schema["schema"])

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """Say nothing about the form of what a function reads, but which keys a section has."""
        inner = self.generate_inner(schema["schema"])
        return {"anyOf": [inner, {"not": {"type": "object"}}]} if "$ref" in inner or "properties" in inner else {}

    def function_wrap_schema(self, schema: core_schema.WrapValidatorFunctionSchema) -> JsonSchemaValue:
        """Say nothing about what a function reads in its own way."""
        return self.function_plain_schema(schema)

    def function_plain_schema(self, schema: Any) -> JsonSchemaValue:  # noqa: ARG002 - pydantic's signature
        """Say nothing about what a function reads."""
        return {}


def settings_schema() -> dict[str, Any]:
    """Return the schema of gateway.yaml."""
    made = Settings.model_json_schema(schema_generator=_Generator)
    made["required"] = [key for key in made["required"] if key not in _READ_WHEN_ABSENT]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gateway.yaml",
        **_pruned(made, in_properties=False),
    }


def _pruned(value: Any, *, in_properties: bool) -> Any:
    """Leave out titles, and the absence of a value, which the file writes by leaving the key out.

    In `properties` the keys are names, and each stays.
    """
    if isinstance(value, list):
        return [_pruned(item, in_properties=False) for item in value]
    if not isinstance(value, Mapping):
        return value
    kept = {
        key: _pruned(item, in_properties=not in_properties and key in {"properties", "$defs"})
        for key, item in value.items()
        if in_properties or key not in _NOT_OF_JSON_SCHEMA
    }
    choices = kept.get("anyOf")
    if not in_properties and isinstance(choices, list) and _NULL in choices:
        rest = [choice for choice in choices if choice != _NULL]
        kept.pop("anyOf")
        return {**kept, **rest[0]} if len(rest) == 1 else {**kept, "anyOf": rest}
    return kept
