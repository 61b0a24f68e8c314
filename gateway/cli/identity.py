"""`gateway identity`: what a provider sent about a person, and what the gateway made of it.

Tokens are never kept, so none can be shown; claims that the mapping does not use are masked unless they are asked for
by name. `try` maps claims of a file and touches neither the state nor a provider.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from gateway.authn.claims import SENTENCES, ClaimTable, Mapped, MappingFault, Step, map_claims
from gateway.authn.name import InvalidNameError, canonical_name
from gateway.cli.administration import NO, administration, answer, moment, read_settings, refuse
from gateway.server.federation import claim_table, longest_session_s
from gateway.server.sections.identity import Provider
from gateway.server.settings import Settings
from gateway.store.executor import store_executor
from gateway.store.federated import FederatedStore, SignInNote

_MASK: Final = "(masked)"
_ALWAYS_SHOWN: Final = frozenset(
    {"iss", "sub", "aud", "azp", "iat", "exp", "auth_time", "acr", "amr", "email_verified", "hasgroups", "_claim_names"}
)
_LARGEST_FILE: Final = 1 << 20


@click.group()
def identity() -> None:
    """Show what identity providers sent, and what came of it."""


@identity.command()
@click.option("--provider", "provider_id", required=True, help="Id of the provider in gateway.yaml.")
@click.option("--user", "name", help="Only sign-ins of this person.")
@click.option("--count", default=5, show_default=True, type=click.IntRange(1, 100), help="How many, the latest first.")
@click.option("--reveal", multiple=True, metavar="CLAIM", help="Show this claim too; may be given more than once.")
def last(*, provider_id: str, name: str | None, count: int, reveal: tuple[str, ...]) -> None:
    """Show the last sign-ins at a provider: the claims as they came, each step of the mapping, and the outcome.

    Sign-ins are remembered for seven days, a hundred for each provider.
    """
    with administration() as act:
        rules = _require_provider(act.settings, provider_id)
        wanted = None if name is None else _canonical(name)
        resources = [("provider", provider_id), *(("claim", claim) for claim in reveal)]
        act.record_administration("identity last", action="view", resources=resources)
        storing = store_executor()
        try:
            federated = FederatedStore(
                act.store, keyring=act.keyring, executor=storing, longest_s=longest_session_s(act.settings)
            )
            found = federated.sign_ins(provider_id, now=act.now)
        finally:
            storing.close()
    shown = _shown_claims(claim_table(rules)) | set(reveal)
    notes = [note for note in found if wanted is None or wanted in {note.user, _claimed_name(note, rules)}][:count]
    answer(
        {"sign_ins": [_as_json(note, shown) for note in notes]},
        [line for note in notes for line in _as_lines(note, shown)]
        or ["Nobody signed in there in the last seven days."],
    )


@identity.command(name="try")
@click.option("--provider", "provider_id", required=True, help="Id of the provider in gateway.yaml.")
@click.option(
    "--claims",
    "path",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="JSON file with the claims of an ID token.",
)
def try_claims(*, provider_id: str, path: Path) -> None:
    """Map claims of a file as a sign-in would, and show each step. Exit 1 when nobody would be signed in."""
    settings = read_settings()
    rules = _require_provider(settings, provider_id)
    claims = _read_claims(path)
    claims = {"iss": rules.issuer_url, "sub": "(not in the file)", **claims}
    result = map_claims(claims, claim_table(rules))
    lines = _step_lines(result.steps)
    if isinstance(result, Mapped):
        said = {"user": result.user, "tenant": result.tenant, "roles": list(result.roles), "email": result.email}
        factor = "counts as the second factor" if result.second_factor else "does not count as a second factor"
        lines += [
            f"{result.user} of {result.tenant} signs in as {', '.join(result.roles)}; the provider's sign-in {factor}."
        ]
        answer({"ok": True, **said, "second_factor": result.second_factor, "steps": _step_values(result.steps)}, lines)
        return
    sentence = SENTENCES[result.fault]
    answer(
        {"ok": False, "fault": result.fault.value, "sentence": sentence, "steps": _step_values(result.steps)},
        [*lines, f"refused ({result.fault}): {sentence}"],
    )
    raise click.exceptions.Exit(NO)


def _require_provider(settings: Settings, provider_id: str) -> Provider:
    found = next((rules for rules in settings.identity.federated if rules.id == provider_id), None)
    if found is None:
        known = ", ".join(rules.id for rules in settings.identity.federated) or "none"
        refuse(f"there is no OpenID provider {provider_id!r} in gateway.yaml; there are: {known}")
    return found


def _canonical(name: str) -> str:
    try:
        return canonical_name(name)
    except InvalidNameError as error:
        raise click.UsageError(f"--user: {error}") from None


def _read_claims(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            claims = json.loads(file.read(_LARGEST_FILE))
    except OSError as error:
        raise click.UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise click.UsageError(f"{path}: is not JSON") from None
    if not isinstance(claims, dict):
        raise click.UsageError(f"{path}: is not a JSON object with claims")
    return claims


def _shown_claims(table: ClaimTable) -> set[str]:
    """Name the claims that the mapping reads: what they hold explains the outcome."""
    paths = (table.roles, table.tenant, table.user, table.email)
    return set(_ALWAYS_SHOWN) | {path[0] for path in paths if path}


def _claimed_name(note: SignInNote, rules: Provider) -> str:
    """Return the name a refused person came with, so that they can be found by it."""
    here: Any = note.claims
    for part in rules.user_claim:
        here = here.get(part) if isinstance(here, Mapping) else None
    try:
        return canonical_name(here) if isinstance(here, str) else ""
    except InvalidNameError:
        return ""


def _masked(claims: Mapping[str, Any], shown: set[str]) -> dict[str, Any]:
    return {name: value if name in shown else _MASK for name, value in sorted(claims.items())}


def _as_json(note: SignInNote, shown: set[str]) -> dict[str, Any]:
    return {
        "at": note.at,
        "request_id": note.request_id,
        "outcome": note.outcome,
        "fault": note.fault,
        "provider_error": note.error,
        "user": note.user,
        "user_id": note.user_id,
        "tenant": note.tenant,
        "roles": list(note.roles),
        "client_ip": note.client_ip,
        "user_agent": note.user_agent,
        "claims": _masked(note.claims, shown),
        "steps": _step_values(note.steps),
    }


def _as_lines(note: SignInNote, shown: set[str]) -> list[str]:
    who = f"{note.user} of {note.tenant}" if note.user else "nobody"
    head = f"{moment(note.at)}  {note.outcome}  {who}  from {note.client_ip}  request {note.request_id}"
    claims = [f"  claim {name} = {_plain(value)}" for name, value in _masked(note.claims, shown).items()]
    return [head, *_reason_lines(note), *claims, *(f"  {line}" for line in _step_lines(note.steps)), ""]


def _reason_lines(note: SignInNote) -> list[str]:
    if note.outcome == "signed_in":
        return [f"  roles: {', '.join(note.roles)}"]
    known = set(map(str, MappingFault))
    sentence = SENTENCES[MappingFault(note.fault)] if note.fault in known else ""
    said = f"; the provider said {note.error}" if note.error else ""
    return [f"  why: {note.fault or note.outcome}{said}" + (f". {sentence}" if sentence else "")]


def _plain(value: Any) -> str:
    """Write a value on one line that no terminal obeys."""
    return json.dumps(value, ensure_ascii=True)


def _step_lines(steps: Sequence[Step]) -> list[str]:
    return [
        f"{step.what}: {step.claim} = {_plain(step.value) if step.value else '(missing)'}"
        + (f" -> {step.result}" if step.result else " -> nothing" if step.what != "subject" else "")
        for step in steps
    ]


def _step_values(steps: Sequence[Step]) -> list[dict[str, str]]:
    return [{"what": s.what, "claim": s.claim, "value": s.value, "result": s.result} for s in steps]
