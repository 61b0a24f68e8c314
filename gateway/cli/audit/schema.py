"""`gateway audit schema`: the JSON Schema of a record, for whoever reads exported ones."""

from __future__ import annotations

import json

import click

from gateway.audit.schema import record_schema
from gateway.cli.invocation import current


@click.command("schema")
def schema_verb() -> None:
    """Print the JSON Schema (2020-12) of a record, as it is stored."""
    schema = record_schema()
    current().answer(schema, json.dumps(schema, indent=2))
