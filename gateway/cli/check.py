"""`gateway check`: whether gateway.yaml and every file it names may run, with all errors of one pass."""

from __future__ import annotations

import time

import click
import msgspec

from gateway.cli.invocation import current
from gateway.cli.policy.reading import count
from gateway.policy.proof.idle import FEW_QUESTIONS, find_idle
from gateway.policy.proof.space import World
from gateway.server.progress import Progress
from gateway.server.state import redis_options, try_redis
from gateway.server.tls import moment, shown_names
from gateway.server.validate import read_and_validate


@click.command(short_help="Check gateway.yaml and every file it names.")
@click.option("--offline", is_flag=True, help="Leave out what asks the network: whether Redis can hold the state.")
def check(*, offline: bool) -> None:
    """Check gateway.yaml, policies and their cases, certificates and keys, as `run` and `reload` do.

    Exit 0 when they may run, warnings or not; 2 when they may not, with every error on a line of its own.
    """
    invocation = current()
    with Progress("reading the configuration"):
        validated = read_and_validate(invocation.config)
    warnings = list(validated.warnings)
    settings, table = validated.settings, validated.table
    with Progress("looking for what decides nothing"):
        world = World(table, settings.hosts, tuple(settings.tenants))
        idle = find_idle(world, validated.bundle.policies, now=time.time(), most=FEW_QUESTIONS)
    warnings += [str(msgspec.structs.replace(finding, severity="error")) for finding in idle]
    redis = redis_options(validated.settings, validated.bundle.secrets)
    if redis is not None and not offline:
        with Progress("trying the state"):
            warnings += [f"state: {warning}" for warning in try_redis(redis)]
    lines = [f"warning: {warning}" for warning in warnings]
    for certificate in validated.certificates:
        which = " (default)" if certificate.is_default else ""
        lines.append(
            f"{certificate.listener}: {certificate.file}{which}: {shown_names(certificate)}; {certificate.key}; "
            f"ends {moment(certificate.not_after)}"
        )
    lines.append(
        f"{invocation.config}: fine: {count(len(validated.table.routes), 'route')}, "
        f"{count(len(validated.table.roles), 'role')}, "
        f"policy {validated.table.version}"
        + (f", candidate {validated.candidate.version}" if validated.candidate else "")
    )
    answer = {
        "ok": True,
        "warnings": warnings,
        "policy": validated.table.version,
        "candidate": validated.candidate.version if validated.candidate else None,
        "configuration": validated.bundle.digest,
        "routes": sorted(validated.table.routes),
        "certificates": [
            {
                "listener": certificate.listener,
                "file": certificate.file,
                "names": list(certificate.names),
                "key": certificate.key,
                "not_before": int(certificate.not_before),
                "not_after": int(certificate.not_after),
                "default": certificate.is_default,
            }
            for certificate in validated.certificates
        ],
    }
    invocation.answer(answer, "\n".join(lines))
