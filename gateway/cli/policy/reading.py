"""What every verb of `gateway policy` begins with: gateway.yaml, the policies it names, and their case files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from gateway.cli.administration import read_settings
from gateway.cli.invocation import current
from gateway.document.source import Diagnostic
from gateway.exchange.errors import ConfigurationError
from gateway.policy import PolicyTable, compile_policy
from gateway.server.bundle import read_directory, read_text
from gateway.server.settings import Settings
from gateway.server.upstream import path_mappings
from gateway.wire.rewriting import PathMapping


@dataclass(frozen=True, slots=True)
class Source:
    """What a policy is compiled from: plain values, so that another process can compile it too."""

    files: Mapping[str, str]
    upstreams: tuple[str, ...]
    tenants: tuple[str, ...]
    hosts: Mapping[str, str]
    mfa_required: bool
    paths: Mapping[str, PathMapping]

    def compile(self) -> tuple[PolicyTable, list[Diagnostic]]:
        """Compile it; returns the warnings too. Raises DocumentError with every error of every file."""
        return compile_policy(
            self.files,
            upstreams=self.upstreams,
            tenants=self.tenants,
            hosts=self.hosts,
            mfa_required=self.mfa_required,
            paths=self.paths,
        )


@dataclass(frozen=True, slots=True)
class Policies:
    """The compiled policy and what the verbs need beside it."""

    settings: Settings
    base: Path
    source: Source
    table: PolicyTable
    warnings: list[Diagnostic]

    @property
    def hosts(self) -> Mapping[str, str]:
        """Each host and the tenant it belongs to."""
        return self.settings.hosts


def load_policies(directory: Path | None = None) -> Policies:
    """Read gateway.yaml and compile its policies, or those of another directory. Raises ConfigurationError with every error."""
    settings = read_settings()
    base = current().config.absolute().parent
    errors: list[str] = []
    files = (
        read_directory(settings.policies, base, errors)
        if directory is None
        else read_directory(directory, Path.cwd(), errors)
    )
    if errors:
        raise ConfigurationError(tuple(errors))
    source = Source(
        files=files,
        upstreams=tuple(settings.upstreams),
        tenants=tuple(settings.tenants),
        hosts=dict(settings.hosts),
        mfa_required=settings.mfa.required == "always",
        paths=dict(path_mappings(settings.upstreams)),
    )
    table, warnings = source.compile()
    return Policies(settings, base, source, table, warnings)


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
