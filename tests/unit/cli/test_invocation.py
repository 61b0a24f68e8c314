from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import gateway.cli
from gateway.cli import program
from gateway.cli.invocation import current, share_options

CONTRACT_VERBS = [
    "init",
    "check",
    "run",
    "reload",
    "demo",
    "doctor",
    "user",
    "session",
    "apikey",
    "policy",
    "audit",
    "keys",
    "backup",
    "incident",
    "privacy",
    "compliance",
    "probe",
]


@pytest.fixture
def group() -> click.Group:
    @click.group()
    def outer() -> None:
        pass

    @outer.command()
    def inner() -> None:
        current().answer({"config": str(current().config)}, str(current().config))

    share_options(outer)
    return outer


@pytest.mark.parametrize(
    "arguments", [["-c", "x.yaml", "inner"], ["inner", "-c", "x.yaml"], ["inner", "--config=x.yaml"]]
)
def test_the_configuration_may_stand_before_or_after_the_verb(group: click.Group, arguments: list[str]) -> None:
    assert CliRunner().invoke(group, arguments).output == "x.yaml\n"


@pytest.mark.parametrize("arguments", [["--json", "inner"], ["inner", "--json"]])
def test_json_may_stand_before_or_after_the_verb(group: click.Group, arguments: list[str]) -> None:
    assert json.loads(CliRunner().invoke(group, arguments).output) == {"config": "gateway.yaml"}


def test_a_verb_with_options_of_its_own_keeps_them() -> None:
    @click.command()
    @click.option("--json", "own", is_flag=True)
    def verb(*, own: bool) -> None:
        click.echo(str(own))

    assert CliRunner().invoke(share_options(verb), ["--json"]).output == "True\n"


def test_every_verb_of_the_contract_exists() -> None:
    with program.make_context("gateway", ["--help"], resilient_parsing=True) as context:
        assert set(CONTRACT_VERBS) <= set(program.list_commands(context))


@pytest.mark.parametrize("verb", ["backup", "incident", "compliance", "probe"])
def test_a_verb_that_is_not_built_exits_2_with_a_sentence(verb: str) -> None:
    done = CliRunner().invoke(program, [verb, "create", "--whatever", "x"])
    assert done.exit_code == 2
    assert "not built yet" in done.output


def test_an_unknown_verb_exits_2() -> None:
    assert CliRunner().invoke(program, ["bakup"]).exit_code == 2


def test_an_error_of_the_gateway_is_a_sentence_and_never_a_traceback(tmp_path: Path) -> None:
    done = CliRunner().invoke(program, ["user", "list", "-c", str(tmp_path / "gateway.yaml")])
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)


def test_the_list_of_verbs_loads_none_of_them() -> None:
    """Starting fast: pydantic, aiohttp and the policy compiler come with the verb that needs them."""
    program = "import sys, gateway.cli; gateway.cli.program.main(['--help'], standalone_mode=False); print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(gateway.cli.__file__).parents[2],
    )
    for heavy in ("pydantic", "aiohttp", "cel_expr_python", "cryptography"):
        assert f"'{heavy}'" not in done.stdout
