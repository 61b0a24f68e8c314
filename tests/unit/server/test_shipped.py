"""What ships as an example is what the gateway accepts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from gateway.policy import compile_policy
from gateway.policy.cases import load_cases, run_cases
from gateway.server.sections.section import Section
from gateway.server.settings import Settings, load_settings

ROOT = Path(__file__).parents[3]
BASE = """\
version: 1
public_url: https://portal.example.com
listen: [{address: "0.0.0.0:8443", tls: {certificate: c, key: k}}]
upstreams: {portal: {servers: ["http://127.0.0.1:3000"]}}
"""


def test_the_sample_configuration_and_the_sample_policies_fit_each_other() -> None:
    settings = load_settings((ROOT / "gateway.yaml").read_text(), ROOT / "gateway.yaml")
    policies = {str(path): path.read_text() for path in (ROOT / "policies").glob("*.yaml")}
    cases = {str(path): path.read_text() for path in (ROOT / "policies" / "tests").glob("*.yaml")}
    table, _ = compile_policy(policies, upstreams=settings.upstreams, tenants=settings.tenants, hosts=settings.hosts)
    found = load_cases(cases, table=table, hosts=settings.hosts, tenants=frozenset(settings.tenants))
    assert found
    assert all(result.passed for result in run_cases(found, table=table, hosts=settings.hosts, now=1e9))
    assert settings.warnings() == []


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_each_section_to_copy_is_accepted(path: Path) -> None:
    merged = yaml.safe_load(BASE) | yaml.safe_load(path.read_text())
    load_settings(yaml.safe_dump(merged), "gateway.yaml")
    assert path.name in (ROOT / "config" / "README.md").read_text()


def test_every_key_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    documented = set(re.findall(r"^\| `([a-z0-9_.\[\]]+)` \|", text, re.MULTILINE))
    assert documented == set(_keys(Settings, ""))


def _keys(section: type[Section], at: str) -> list[str]:
    """List every key of a section as docs/configuration.md writes it: `upstreams.name.servers`, `listen[].address`."""
    found = []
    for name, field in section.model_fields.items():
        word = field.alias or name
        inner, place = field.annotation, at + word
        for _ in range(3):
            arguments = [argument for argument in get_args(inner) if argument is not type(None)]
            if getattr(inner, "__origin__", None) is dict and isinstance(arguments[1], type):
                inner, place = arguments[1], f"{place}.name"
            elif arguments and isinstance(arguments[0], type):
                place += "[]" if getattr(inner, "__origin__", None) is tuple else ""
                inner = arguments[0]
        if isinstance(inner, type) and issubclass(inner, Section):
            found += _keys(inner, f"{place}.")
        else:
            found.append(at + word)
    return found
