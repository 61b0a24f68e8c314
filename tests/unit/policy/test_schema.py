from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.document.diagnostic import DocumentError
from gateway.document.source import load
from gateway.policy import PolicyTable, cases, compile_policy
from gateway.policy import declaration as policy
from gateway.policy.cases import load_cases
from gateway.policy.entries import DENIAL_KEYS, GRANT_KEYS
from gateway.policy.options import REUSABLE
from gateway.policy.requirements import KEYS
from gateway.policy.reuse import ENTRY_KEYS
from gateway.policy.roles import Roles
from gateway.policy.schema import key_order, kind_of, schema_of

POLICY = Draft202012Validator(schema_of("policy"))
CASES = Draft202012Validator(schema_of("cases"))
ROOT = Path(__file__).parents[3]
HOSTS = {"acme.example.com": "acme"}

WHOLE: dict[str, Any] = {
    "version": 1,
    "mode": "enforce",
    "networks": {"office": ["10.0.0.0/8"]},
    "profiles": {"sensitive": {"mfa_age": "5m", "timeout": {"idle": "1m"}}},
    "entries": {"staff": {"roles": ["staff"]}},
    "roles": {"staff": {"includes": ["client"]}, "client": {}},
    "defaults": {"upstream": "portal", "headers": {"request": {"X-A": "b"}}},
    "routes": [
        {
            "name": "a",
            "match": {"path": "/a/{id}", "methods": ["GET"], "hosts": ["acme.example.com"]},
            "profile": "sensitive",
            "tenant": {"path": "id"},
            "resource": {"type": "thing", "id": "{id}"},
            "allow": [{"use": "staff"}, {"roles": ["client"], "when": 'session.tenant == "acme"'}],
            "deny": [{"roles": ["client"], "tenants": ["acme"]}],
            "require": {"factor": "totp", "network": ["office"]},
            "rate_limit": {"rate": "60/m", "burst": 20, "per": "user"},
            "audit": {"durability": "strict"},
            "path": {"strip_prefix": "/a"},
            "cookies": {"vault": "all"},
        },
        {"name": "b", "match": {"path": "/b", "methods": ["GET"]}, "deny": True},
    ],
}
CASE: dict[str, Any] = {
    "name": "a case",
    "as": {"user": "alice", "tenant": "acme", "roles": []},
    "request": "GET https://acme.example.com/a/1",
    "from": {"ip": "10.0.0.1", "headers": {"X-Tenant": "acme"}},
    "expect": {"decision": "deny", "reason": "role_missing"},
}


def names_of(text: str) -> set[str]:
    """Name what the reader finds in a policy."""
    try:
        compile_policy({"p.yaml": text}, upstreams={"portal"}, tenants={"acme"}, hosts=HOSTS)
    except DocumentError as error:
        return {finding.name for finding in error.findings}
    return set()


def names_of_case(case: dict[str, Any]) -> set[str]:
    table = PolicyTable([], Roles({}), "")
    files = {"c.yaml": yaml.safe_dump({"cases": [case]})}
    try:
        load_cases(files, table=table, hosts=HOSTS, tenants=frozenset({"acme"}))
    except DocumentError as error:
        return {finding.name for finding in error.findings}
    return set()


def mappings(schema: dict[str, Any], root: dict[str, Any], where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every mapping with keys of its own, by a path into `WHOLE`."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "properties" in schema:
        yield where
    for key, inner in schema.get("properties", {}).items():
        yield from mappings(inner, root, (*where, key))
    if isinstance(schema.get("additionalProperties"), dict):
        yield from mappings(schema["additionalProperties"], root, (*where, "*"))
    for inner in (schema.get("items"), *schema.get("anyOf", ())):
        if isinstance(inner, dict):
            yield from mappings(inner, root, (*where, 0) if inner is schema.get("items") else where)


def at(data: Any, where: tuple[Any, ...]) -> Any:
    for part in where:
        if part == "*":
            data = next(iter(data.values()))
        elif isinstance(part, int):
            data = data[part]
        else:
            data = data.get(part)
        if data is None:
            return None
    return data


def test_the_schemas_are_schemas() -> None:
    for schema in (schema_of("policy"), schema_of("cases")):
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", sorted((ROOT / "policies").rglob("*.yaml")), ids=str)
def test_the_sample_policies_are_valid(path: Path) -> None:
    data = load(path.read_text("utf-8"), path.name).data
    validator = CASES if kind_of(data) == "cases" else POLICY
    assert [error.message for error in validator.iter_errors(data)] == []


def test_what_uses_every_form_is_valid() -> None:
    assert [error.message for error in POLICY.iter_errors(WHOLE)] == []
    assert [error.message for error in CASES.iter_errors({"cases": [CASE]})] == []


def test_the_schema_has_the_keys_of_the_reader_and_no_others() -> None:
    root = schema_of("policy")
    route = root["properties"]["routes"]["items"]
    assert route["properties"].keys() == {*policy.REQUIRED, *policy.OPTIONAL}
    assert set(route["required"]) == {*policy.REQUIRED}
    assert root["properties"].keys() == {"version", *policy.FILE_KEYS}
    assert root["$defs"]["grant"]["properties"].keys() == {*GRANT_KEYS}
    assert root["$defs"]["denial"]["properties"].keys() == {*DENIAL_KEYS}
    assert root["properties"]["defaults"]["properties"].keys() == {*REUSABLE}
    assert root["properties"]["entries"]["additionalProperties"]["properties"].keys() == {*ENTRY_KEYS}
    assert route["properties"]["require"]["properties"].keys() == {*KEYS}
    case = schema_of("cases")["properties"]["cases"]["items"]
    assert case["properties"].keys() == {*cases.REQUIRED, *cases.OPTIONAL}
    assert case["properties"]["as"]["properties"].keys() == {*cases.PERSON_REQUIRED, *cases.PERSON_OPTIONAL}
    assert case["properties"]["from"]["properties"].keys() == {*cases.SENDER_KEYS}
    assert case["properties"]["expect"]["properties"].keys() == {"decision", *cases.EXPECTATION_OPTIONAL}


PLACES = [
    where
    for where in dict.fromkeys(mappings(schema_of("policy"), schema_of("policy")))
    if isinstance(at(WHOLE, where), dict)
]
"""Every mapping that `WHOLE` has."""


@pytest.mark.parametrize("where", PLACES, ids=str)
def test_a_key_that_the_schema_does_not_know_is_unknown_to_the_reader(where: tuple[Any, ...]) -> None:
    data = deepcopy(WHOLE)
    at(data, where)["zzz"] = "x"
    assert not POLICY.is_valid(data)
    assert "unknown-key" in names_of(yaml.safe_dump(data, sort_keys=False))


@pytest.mark.parametrize("where", PLACES, ids=str)
def test_a_key_that_the_schema_requires_is_missed_by_the_reader(where: tuple[Any, ...]) -> None:
    for key in list(at(WHOLE, where)):
        data = deepcopy(WHOLE)
        del at(data, where)[key]
        if not POLICY.is_valid(data):
            assert names_of(yaml.safe_dump(data, sort_keys=False)), key


@pytest.mark.parametrize("where", [(), ("as",), ("from",), ("expect",)], ids=str)
def test_keys_of_cases_are_those_of_their_reader(where: tuple[str, ...]) -> None:
    for key in ("zzz", *at(CASE, where)):
        data = deepcopy(CASE)
        if key in at(data, where):
            del at(data, where)[key]
        else:
            at(data, where)[key] = "x"
        if not CASES.is_valid({"cases": [data]}):
            assert names_of_case(data) & {"unknown-key", "missing-key"}, key


VALUES = st.sampled_from(
    ["", " ", "x", "15m", "60/m", 0, 1, -1, 1.5, True, False, [], ["x"], ["GET"], [""], [1], {}, {"x": "y"}, "shadow",
     "aal2", "strict", "/a", "25MiB", "known", "all", [{"roles": ["client"]}], ["session"], "portal", "required"]
)  # fmt: skip


@settings(max_examples=60)
@given(st.sampled_from([where for where in PLACES if at(WHOLE, where)]), st.data())
def test_what_the_schema_refuses_the_reader_refuses(where: tuple[Any, ...], data: st.DataObject) -> None:
    changed = deepcopy(WHOLE)
    place = at(changed, where)
    key = data.draw(st.sampled_from(sorted(place)))
    place[key] = data.draw(VALUES)
    if not POLICY.is_valid(changed):
        assert names_of(yaml.safe_dump(changed, sort_keys=False))


def test_keys_have_an_order_wherever_they_stand() -> None:
    schema = schema_of("policy")
    assert key_order(schema, ())[0] == "version"
    assert key_order(schema, ("routes", 3))[:3] == ("name", "match", "upstream")
    assert key_order(schema, ("routes", 0, "match")) == ("path", "methods", "hosts")
    assert key_order(schema, ("routes", 0, "deny", 1)) == ("use", "mode", "roles", "tenants", "when")
    assert key_order(schema, ("profiles", "x", "timeout")) == ("response", "idle")
    assert key_order(schema, ("routes", 0, "tenant")) == ("path", "header", "subdomain")
    assert key_order(schema, ("roles",)) == ()
    assert key_order(schema, ("nothing", 1, "like", "this")) == ()
    assert key_order(schema_of("cases"), ("cases", 0)) == ("name", "as", "request", "from", "at", "expect")


def test_files_are_told_apart_by_their_keys() -> None:
    assert (kind_of({"cases": []}), kind_of({"version": 1, "roles": {}}), kind_of({"listen": []}), kind_of([])) == (
        "cases",
        "policy",
        None,
        None,
    )
