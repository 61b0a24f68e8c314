"""What every verb of `gateway policy` begins with: gateway.yaml, the policies it names, and their case files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from gateway.cli.administration import read_settings
from gateway.cli.invocation import current
from gateway.document.source import Diagnostic
from gateway.exchange.errors import ConfigurationError
from gateway.policy import PolicyTable, compile_policy
from gateway.server.bundle import read_directory, read_text
from gateway.server.settings import Settings
from gateway.server.upstream import path_mappings


@dataclass(frozen=True, slots=True)
class Policies:
    """The compiled policy and what the verbs need beside it."""

    settings: Settings
    base: Path
    table: PolicyTable
    warnings: list[Diagnostic]

    @property
    def hosts(self) -> Mapping[str, str]:
        """Each host and the tenant it belongs to."""
        return self.settings.hosts


def load_policies() -> Policies:
    """Read gateway.yaml and compile its policies. Raises ConfigurationError with every error."""
    settings = read_settings()
    base = current().config.absolute().parent
    errors: list[str] = []
    files = read_directory(settings.policies, base, errors)
    if errors:
        raise ConfigurationError(tuple(errors))
    table, warnings = compile_policy(
        files,
        upstreams=settings.upstreams.keys(),
        tenants=settings.tenants.keys(),
        hosts=settings.hosts.keys(),
        mfa_required=settings.mfa.required == "always",
        paths=path_mappings(settings.upstreams),
    )
    return Policies(settings, base, table, warnings)


def case_files(policies: Policies, named: tuple[Path, ...]) -> dict[str, str]:
    """Read the case files `named`, or those beside the policies when none is. Raises ConfigurationError."""
    errors: list[str] = []
    files: dict[str, str] = {}
    directory = policies.settings.policies / "tests"
    if not named and directory.is_dir():
        files = read_directory(directory, policies.base, errors)
    for path in named:
        if path.is_dir():
            files |= read_directory(path, Path.cwd(), errors)
        elif (text := read_text(path, str(path), errors)) is not None:
            files[str(path)] = text
    if errors:
        raise ConfigurationError(tuple(errors))
    return files


def refuse(sentence: str) -> NoReturn:
    """End the verb: the question is wrong."""
    raise ConfigurationError((sentence,))


def count(number: int, noun: str) -> str:
    """Write `1 route`, `2 routes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def finding_as_json(finding: Diagnostic) -> dict[str, Any]:
    """Write a finding as JSON's words."""
    return {"path": finding.path, "line": finding.line, "column": finding.column, "message": finding.message}
