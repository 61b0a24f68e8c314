from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway.document.diagnostic import DocumentError
from gateway.document.source import load
from gateway.server.settings import Settings, load_settings
from gateway.server.settings_schema import settings_schema

SCHEMA = settings_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
ROOT = Path(__file__).parents[3]
SMALL = """version: 1
public_url: https://portal.example.com
listen: [{address: 127.0.0.1:8443, tls: {certificate: cert.pem, key: key.pem}}]
upstreams: {portal: {servers: ["http://127.0.0.1:3000"]}}
"""


def refused(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(load(text, "gateway.yaml").data)]


def examples() -> list[Any]:
    """Find what the documentation writes into gateway.yaml: whole sections, of which the reader knows each."""
    found = []
    for path in sorted((ROOT / "docs").glob("*.md")):
        for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text("utf-8"), re.DOTALL)):
            try:
                data = load(text, path.name).data
            except DocumentError:
                continue
            if isinstance(data, dict) and data.keys() <= Settings.model_fields.keys() - {"version"}:
                found.append(pytest.param(data, id=f"{path.name}-{number}"))
    return found


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_the_configuration_that_ships_is_valid() -> None:
    assert refused((ROOT / "gateway.yaml").read_text("utf-8")) == []


def test_the_smallest_configuration_is_valid() -> None:
    load_settings(SMALL, "gateway.yaml")
    assert refused(SMALL) == []


@pytest.mark.parametrize("data", examples())
def test_what_the_documentation_writes_is_valid(data: dict[str, Any]) -> None:
    validator = Draft202012Validator({key: value for key, value in SCHEMA.items() if key != "required"})
    assert [error.message for error in validator.iter_errors(data)] == []


def test_the_documentation_has_examples() -> None:
    assert len(examples()) >= 5


@pytest.mark.parametrize(
    "line",
    [
        "stat: sqlite",
        "admin: {adress: 127.0.0.1:9090}",
        "mfa: {required: sometimes}",
        "http: {max_fields: 0}",
        "tenants: {acme: {hosst: []}}",
        "sessions: {idel: 5m}",
        "logging: {level: loud}",
    ],
)
def test_what_the_schema_refuses_the_reader_refuses(line: str) -> None:
    assert refused(SMALL + line + "\n")
    with pytest.raises(DocumentError):
        load_settings(SMALL + line + "\n", "gateway.yaml")


def test_every_key_of_the_file_is_in_the_schema() -> None:
    names = {field.alias or name for name, field in Settings.model_fields.items()}
    assert SCHEMA["properties"].keys() == names
