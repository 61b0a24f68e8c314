"""Holds the findings about policy and case files and docs/diagnostics.md together, in both directions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from jsonschema import Draft202012Validator

from gateway.document.diagnostic import UNNAMED, Diagnostic, DocumentError
from gateway.document.source import MAX_BYTES, load
from gateway.policy import compile_policy
from gateway.policy.cases import load_cases
from gateway.policy.condition import MAX_LENGTH
from gateway.policy.proof.idle import find_idle
from gateway.policy.proof.space import World
from gateway.policy.schema import kind_of, schema_of

ROOT = Path(__file__).parents[3]
PACKAGES = ("gateway/document", "gateway/policy", "gateway/cli/policy")
HOSTS = {"portal.example.com": "", "acme.example.com": "acme", "zeta.example.com": "zeta"}
TENANTS = ("acme", "zeta")
SOUND = """version: 1
roles: {client: {}}
routes:
  - name: a
    match: {path: /a, methods: [GET]}
    upstream: portal
    allow: [{roles: [client]}]
"""
TOO_LONG_TO_PRINT: Final = {
    "too-large": SOUND + "#" * MAX_BYTES,
    "condition-too-long": SOUND.replace("[client]}]", f"[client], when: {'x' * (MAX_LENGTH + 1)}}}]"),
}
WITHOUT_EXAMPLE: Final = {UNNAMED, "not-laid-out"}
"""About gateway.yaml; and a guard that no file is known to reach."""

_NAME = re.compile(r"[a-z]+(?:-[a-z]+)*")
_NAME_OF_KINDS = re.compile(r"[a-z]+-")
_CALLS: Final = {"fail", "fail_inside", "warn", "text", "Diagnostic", "Problem", "TemplateError", "finding", "_known"}
"""What takes the name of a finding as `name=`."""
_LAST_IS_NAME: Final = {"_finding", "_report", "_Idle"}


class Documented(NamedTuple):
    name: str
    is_warning: bool
    example: str | None
    info: str


def documented() -> list[Documented]:
    text = (ROOT / "docs" / "diagnostics.md").read_text("utf-8")
    found = []
    for part in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        heading = re.match(r"`([a-z-]+)`( \(warning\))?\n", part)
        assert heading, part[:60]
        block = re.search(r"^```yaml ?(\w*)\n(.*?)^```$", part, re.DOTALL | re.MULTILINE)
        example = block[2] if block else TOO_LONG_TO_PRINT.get(heading[1])
        found.append(Documented(heading[1], bool(heading[2]), example, block[1] if block else ""))
    return found


def names_in(tree: ast.AST) -> Iterator[str]:
    """Yield every name that a module gives to a finding."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in _CALLS:
                yield from (name for word in node.keywords if word.arg == "name" for name in _told(word.value))
            elif function in _LAST_IS_NAME:
                yield from _told(node.args[-1])
        elif isinstance(node, ast.FunctionDef):
            defaults = zip(reversed(node.args.kwonlyargs), reversed(node.args.kw_defaults), strict=True)
            yield from (name for one, value in defaults if one.arg == "name" and value for name in _told(value))
            if node.name == "_sentence":
                returned = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Return)]
                yield from (
                    name for value in returned if isinstance(value, ast.Tuple) for name in _told(value.elts[-1])
                )


def _told(value: ast.expr) -> Iterator[str]:
    """Read a name: a constant, one of two, or `unknown-{kind}` of what has kinds."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str) and _NAME.fullmatch(value.value):
        yield value.value
    elif isinstance(value, ast.IfExp):
        yield from (*_told(value.body), *_told(value.orelse))
    elif isinstance(value, ast.JoinedStr):
        start = value.values[0]
        if isinstance(start, ast.Constant) and isinstance(start.value, str) and _NAME_OF_KINDS.fullmatch(start.value):
            yield from (f"{start.value}{kind}" for kind in ("profile", "entry"))


@lru_cache(maxsize=1)
def names_in_code() -> dict[str, str]:
    """Find each name and a module that gives it."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            found |= dict.fromkeys(names_in(ast.parse(path.read_text("utf-8"))), path.name)
    return found


def findings_of(text: str) -> list[Diagnostic]:
    """Check a policy, or a case file beside a sound one, as `gateway policy check` does; `---` parts the files of one example."""
    is_case_file = text.startswith("cases:")
    files = {"policies/a.yaml": SOUND if is_case_file else text}
    if text.count("\n---\n") and "mode: shadow" in text:
        files = {f"policies/{number}.yaml": part for number, part in enumerate(text.split("---\n"))}
    try:
        table, warnings = compile_policy(files, upstreams={"portal"}, tenants=TENANTS, hosts=HOSTS)
        if is_case_file:
            load_cases({"policies/tests/a.yaml": text}, table=table, hosts=HOSTS, tenants=frozenset(TENANTS))
    except DocumentError as error:
        return list(error.findings)
    return [*warnings, *find_idle(World(table, HOSTS, TENANTS), files, now=1_800_000_000.0)]


def test_every_finding_of_the_code_is_documented() -> None:
    known = {one.name for one in documented()}
    missing = {(name, module) for name, module in names_in_code().items() if name not in known}
    assert missing == set()


def test_every_documented_finding_is_one_of_the_code() -> None:
    assert {one.name for one in documented()} - names_in_code().keys() - {UNNAMED} == set()


def test_no_name_is_documented_twice() -> None:
    names = [one.name for one in documented()]
    assert len(names) == len(set(names))


def test_every_documented_finding_has_an_example() -> None:
    assert {one.name for one in documented() if one.example is None} == WITHOUT_EXAMPLE


@pytest.mark.parametrize("one", [one for one in documented() if one.example], ids=lambda one: one.name)
def test_each_documented_example_triggers_its_name(one: Documented) -> None:
    assert one.example is not None
    text = one.example.encode().decode("unicode_escape") if one.info == "escaped" else one.example
    found = [finding for finding in findings_of(text) if finding.name == one.name]
    assert found, findings_of(text)
    assert {finding.severity for finding in found} == {"warning" if one.is_warning else "error"}
    assert all(finding.excerpt or finding.name == "empty-file" for finding in found)


@pytest.mark.parametrize("one", [one for one in documented() if one.example], ids=lambda one: one.name)
def test_an_example_that_is_only_warned_about_is_valid_to_editors(one: Documented) -> None:
    if not one.is_warning:
        return
    data = load(one.example or "", "p.yaml").data
    schema = schema_of(kind_of(data) or "policy")
    assert [error.message for error in Draft202012Validator(schema).iter_errors(data)] == []


def test_the_examples_of_the_handbook_are_valid_to_editors() -> None:
    texts = re.findall(
        r"^```yaml\n(.*?)^```$", (ROOT / "docs" / "policies.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    seen = 0
    for text in texts:
        try:
            data = load(text, "p.yaml").data
        except DocumentError:
            continue  # a fragment
        if not isinstance(data, dict) or not ("cases" in data or "version" in data):
            continue
        seen += 1
        schema = schema_of(kind_of(data) or "policy")
        assert [error.message for error in Draft202012Validator(schema).iter_errors(data)] == [], text
    assert seen >= 2


def test_every_finding_about_a_policy_has_a_name() -> None:
    for one in documented():
        if one.example and one.info != "escaped":
            assert all(finding.name != UNNAMED for finding in findings_of(one.example)), one.name
