"""`gateway policy schema`: JSON Schemas of our files, for editors that complete and check while one types."""

from __future__ import annotations

import json
from typing import Any, Final

import click

from gateway.cli.invocation import current
from gateway.policy.schema import schema_of
from gateway.server.settings_schema import settings_schema

KINDS: Final = ("policy", "cases", "gateway")


def schema_text(kind: str) -> str:
    """Write the schema of a kind of file, as a file of its own."""
    return json.dumps(_schema(kind), indent=2, ensure_ascii=False) + "\n"


def _schema(kind: str) -> dict[str, Any]:
    if kind == "gateway":
        return settings_schema()
    return schema_of("cases" if kind == "cases" else "policy")


@click.command()
@click.argument("kind", type=click.Choice(KINDS), default="policy")
def schema(kind: str) -> None:
    """Print the JSON Schema (2020-12) of policy files, case files or gateway.yaml."""
    current().answer(_schema(kind), schema_text(kind).rstrip("\n"))
