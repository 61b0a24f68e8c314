"""Whether a bundle may run: everything in it built once, every error of every file in one answer.

The supervisor, `gateway check` and the children judge by this one function, so that nothing passes
one of them and fails another. It builds values and opens no socket; reading files is `bundle`'s.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509

from gateway.document.source import DocumentError, did_you_mean, load
from gateway.edge.tls import ListenerTLS
from gateway.exchange.errors import ConfigurationError, KeyringError
from gateway.exchange.route import Durability
from gateway.exchange.stream import STREAMS
from gateway.ledger.keys import AuditKeys
from gateway.pages.texts import Texts, load_texts
from gateway.policy import PolicyTable, compile_policy
from gateway.policy.cases import load_cases, run_cases
from gateway.policy.roles import Roles
from gateway.server import factor_rule
from gateway.server import upstream as upstreams
from gateway.server.bundle import Bundle, read_bundle, read_directory, read_text
from gateway.server.fields import parse_host, parse_origin
from gateway.server.inspection import InspectedRoute, read_inspections
from gateway.server.issuers import issuer_problems
from gateway.server.sections.identity import unknown_roles as unknown_roles_of_providers
from gateway.server.sections.programs import unknown_roles as unknown_roles_of_issuers
from gateway.server.sections.tenants import unknown_roles as unknown_roles_of_tenants
from gateway.server.session_rules import unknown_roles
from gateway.server.settings import Settings, dotted, load_settings
from gateway.server.tenancy import field_conflicts
from gateway.server.tls import Certificate, build_tls, certificate_warnings
from gateway.store.keyring import Keyring

_READINGS: Final = 5


class Validated(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that may run. Parts that were narrowed away are None."""

    bundle: Bundle
    settings: Settings
    table: PolicyTable
    candidate: PolicyTable | None = None
    """What is tried beside it without effect (ADR 0021)."""
    cases: int = 0
    """Cases that held."""
    keyring: Keyring | None
    audit_keys: AuditKeys | None
    tls: dict[str, ListenerTLS]
    """Address of a TLS listener -> how it speaks TLS."""
    certificates: tuple[Certificate, ...]
    crl_ends: dict[str, float]
    """Address of a listener -> when the first of its revocation lists ends, unix seconds."""
    warnings: tuple[str, ...]
    texts: dict[str, Texts]
    """What our pages say, by language."""
    inspections: dict[str, InspectedRoute] = {}
    """What is inspected, by route."""


def validate(bundle: Bundle, *, now: float) -> Validated:
    """Build everything the bundle says.

    Raises:
        ConfigurationError: with every error that can be told.

    """
    settings = load_settings(bundle.settings, bundle.path)
    errors: list[str] = []
    warnings = settings.warnings()
    table, candidate, cases = PolicyTable([], Roles({}), ""), None, 0
    inspections: dict[str, InspectedRoute] = {}
    if bundle.policies:
        try:
            table, found = _compile(bundle.policies, settings)
            warnings += found
            failed, cases = _failed_cases(bundle.cases, settings, table, now)
            errors += failed
            errors += _disagreements(bundle, settings, table)
            inspected = read_inspections(bundle, table, bundle.policies, now)
            inspections, errors = inspected.routes, errors + inspected.errors
            warnings += inspected.warnings
        except DocumentError as error:
            errors += error.diagnostics
        try:
            candidate, found, failed = _candidate(bundle, settings, table, now)
            warnings += [sentence for sentence in found if sentence not in warnings]
            errors += [sentence for sentence in failed if sentence not in errors]
        except DocumentError as error:
            errors += [sentence for sentence in error.diagnostics if sentence not in errors]
    if bundle.passkey_roots is not None:
        try:
            x509.load_pem_x509_certificates(bundle.passkey_roots)
        except ValueError:
            errors.append("mfa.passkeys.roots: holds no certificate in PEM, or a broken one")
    for name, tenant_logo in bundle.tenant_logos.items():
        try:
            settings.branding_of(name).values(tenant_logo or b"\n")
        except ValueError as error:
            key, _, sentence = str(error).partition(" ")
            errors.append(f"tenants.{name}.branding.{key}: {sentence}")
    if bundle.logo is not None:
        try:
            settings.branding.values(bundle.logo or b"\n")  # an empty file is no logo, and not the absence of one
        except ValueError as error:
            key, _, sentence = str(error).partition(" ")
            errors.append(f"branding.{key}: {sentence}")
    texts: dict[str, Texts] = {}
    try:
        texts = load_texts(bundle.catalogues)
        narrowed = settings.texts.catalogues is not None and not bundle.catalogues
        if settings.texts.language not in texts and not narrowed:
            offered = ", ".join(sorted(texts))
            errors.append(f"texts.language: there is no catalogue for {settings.texts.language}; there are {offered}")
    except ValueError as error:
        errors.append(f"texts.catalogues: {error}")
    errors += issuer_problems(settings, bundle)
    errors += _problems_of_the_optional(bundle, settings, table)
    keyring = audit_keys = None
    if bundle.keyring is not None:
        try:
            keyring = Keyring.parse(bundle.keyring)
        except KeyringError as error:
            errors.append(f"{settings.keyring.name}: {str(error).removeprefix('keyring: ')}")
    if bundle.audit_keys is not None:
        try:
            audit_keys = AuditKeys.parse(bundle.audit_keys, settings.audit.keys.name)
        except KeyringError as error:
            errors.append(str(error))
    if settings.mail is not None and not errors:
        from gateway.server.mailing import build_submission  # noqa: PLC0415 - see `_problems_of_the_optional`

        try:
            build_submission(settings.mail, bundle)
        except ValueError as error:
            errors.append(f"mail.smtp.{error}")
    tls: dict[str, ListenerTLS] = {}
    certificates: list[Certificate] = []
    crl_ends: dict[str, float] = {}
    for index, listener in enumerate(settings.listen):
        address = str(listener.address)
        files = bundle.certificates.get(address)
        if not files or (listener.asks_clients and address not in bundle.client_authorities):
            continue  # narrowed away, or a file could not be read, which `bundle` has said
        try:
            built = build_tls(listener, files, bundle.client_authorities.get(address), now=now)
        except ValueError as error:
            errors += [f"listen[{index}].tls: {line}" for line in str(error).splitlines()]
        else:
            tls[address] = built.tls
            certificates += built.certificates
            if built.crl_ends is not None:
                crl_ends[address] = built.crl_ends
            warnings += built.warnings
    warnings += certificate_warnings(certificates, list(settings.hosts), now)
    for name, upstream in settings.upstreams.items():
        if upstream.servers[0].url.scheme == "http":
            continue
        try:
            upstreams.client_context(upstream, bundle.authorities.get(name), bundle.upstream_certificates.get(name))
        except ValueError as error:
            errors.append(f"upstreams.{name}.{error}")
    if errors:
        raise ConfigurationError(tuple(errors))
    warnings += upstreams.certificate_warnings(bundle.upstream_certificates, now)
    return Validated(
        bundle=bundle,
        settings=settings,
        table=table,
        candidate=candidate,
        cases=cases,
        keyring=keyring,
        audit_keys=audit_keys,
        tls=tls,
        certificates=tuple(certificates),
        crl_ends=crl_ends,
        warnings=tuple(warnings),
        texts=texts,
        inspections=inspections,
    )


def _problems_of_the_optional(bundle: Bundle, settings: Settings, table: PolicyTable) -> Iterator[str]:
    """Judge the sections that most gateways do not have, by modules that every process would have to load for them."""
    if settings.identity.providers:
        from gateway.server.federation import provider_problems  # noqa: PLC0415

        yield from provider_problems(settings, bundle)
    if (
        settings.audit.witness.policy is not None
        or settings.audit.witness.ca
        or settings.audit.witness.serve is not None
    ):
        from gateway.server.witnesses import witness_problems  # noqa: PLC0415

        yield from witness_problems(settings, bundle)
    if settings.audit.sinks:
        from gateway.server.sinks import sink_problems  # noqa: PLC0415

        yield from sink_problems(settings, bundle)
    yield from _remote_problems(settings, table.durabilities)


def _remote_problems(settings: Settings, durabilities: Collection[Durability]) -> list[str]:
    """Say which streams no required sink takes, where some record has to be elsewhere before its answer leaves."""
    if Durability.REMOTE not in {settings.audit.durability, *durabilities}:
        return []
    taken = {
        stream for sink in settings.audit.sinks if sink.required and sink.is_acknowledging for stream in sink.streams
    }
    lacking = [stream.value for stream in STREAMS if stream not in taken]
    if not lacking:
        return []
    streams = " and ".join(lacking)
    return [
        f"audit.sinks: the durability strict+remote needs a sink with required: true for each stream; none takes {streams}"
    ]


def _compile(files: Mapping[str, str], settings: Settings, *, candidate: bool = False) -> tuple[PolicyTable, list[str]]:
    """Compile policy files against gateway.yaml; returns the warnings too. Raises DocumentError."""
    table, findings = compile_policy(
        files,
        upstreams=settings.upstreams.keys(),
        tenants=settings.tenants.keys(),
        hosts=settings.hosts,
        mfa_required=settings.mfa.required == "always",
        paths=upstreams.path_mappings(settings.upstreams),
        candidate=candidate,
    )
    return table, [f"{found.path}:{found.line}:{found.column}: {found.message} [{found.name}]" for found in findings]


def _candidate(
    bundle: Bundle, settings: Settings, live: PolicyTable, now: float
) -> tuple[PolicyTable | None, list[str], list[str]]:
    """Build what is tried beside the live policy; returns it with warnings and errors. Raises DocumentError.

    It is judged by all that a live policy is judged by, so that nothing new turns up on the day it becomes that.
    """
    if bundle.candidate:
        table, warnings = _compile(bundle.candidate, settings, candidate=True)
        if live.has_shadow:
            warnings.append(
                "candidate: names another policy, so that what the live files say in shadow mode is not tried"
            )
        errors, _ = _failed_cases(bundle.candidate_cases, settings, table, now)
    elif live.has_shadow and settings.candidate is None:
        table, warnings = _compile(bundle.policies, settings, candidate=True)
        failed, _ = _failed_cases(bundle.cases, settings, table, now)  # the cases are those of the live policy
        warnings += [f"{sentence} (if what is in shadow were in force)" for sentence in failed]
        errors = []
    else:
        return None, [], []
    disagreements = [f"{sentence} (in the candidate)" for sentence in _disagreements(bundle, settings, table)]
    errors += read_inspections(bundle, table, bundle.candidate or bundle.policies, now).errors
    return table, warnings, errors + disagreements


def _disagreements(bundle: Bundle, settings: Settings, table: PolicyTable) -> list[str]:
    """Find what gateway.yaml and a policy say and cannot both mean."""
    return [
        *_certificate_errors(settings, table),
        *_issuer_errors(settings, table),
        *_provider_errors(bundle, settings, table),
        *_unknown_factor_roles(bundle, settings, table),
        *unknown_roles(settings, table),
        *field_conflicts(settings, table),
    ]


def _certificate_errors(settings: Settings, table: PolicyTable) -> list[str]:
    """Find what policies and listeners say about client certificates and cannot both mean."""
    found = []
    for index, listener in enumerate(settings.listen):
        for number, item in enumerate(listener.client_certificates.map if listener.client_certificates else ()):
            found += [
                f"listen[{index}].client_certificates.map[{number}].roles: no policy declares the role {role}"
                + did_you_mean(role, table.roles)
                for role in item.roles
                if role not in table.roles
            ]
    if not any(listener.asks_clients for listener in settings.listen):
        found += [
            f"{route.source}: client_certificate: no listener has client_certificates, so nobody could show one"
            for route in table.routes.values()
            if route.client_certificate
        ]
    return found


def _issuer_errors(settings: Settings, table: PolicyTable) -> list[str]:
    """Find routes that take bearer tokens of nobody, and issuers whose tokens no route takes."""
    takers = [route for route in table.routes.values() if "bearer" in route.credentials]
    if not settings.identity.issuers:
        return [
            f"{route.source}: credentials: bearer: gateway.yaml names no issuer (identity.issuers), so no token could count"
            for route in takers
        ]
    return [] if takers else ["identity.issuers: no route takes bearer tokens (credentials), so they have no effect"]


def _unknown_factor_roles(bundle: Bundle, settings: Settings, table: PolicyTable) -> list[str]:
    """Find roles that the rule for second factors names and no policy declares."""
    document = load(bundle.settings, Path(bundle.path).name)
    return [
        str(document.finding(place, f"{dotted(place)}: {sentence}"))
        for place, sentence in (
            *factor_rule.unknown_roles(settings.mfa, table.roles),
            *unknown_roles_of_tenants(settings.tenants, table.roles),
        )
    ]


def _provider_errors(bundle: Bundle, settings: Settings, table: PolicyTable) -> list[str]:
    """Find roles that identity providers and issuers grant and no policy declares."""
    document = load(bundle.settings, Path(bundle.path).name)
    return [
        str(document.finding(place, f"{dotted(place)}: {sentence}"))
        for place, sentence in (
            *unknown_roles_of_providers(settings.identity, table.roles),
            *unknown_roles_of_issuers(settings.identity, table.roles),
        )
    ]


def _failed_cases(
    files: Mapping[str, str], settings: Settings, table: PolicyTable, now: float
) -> tuple[list[str], int]:
    """Run the policy's own cases: a policy that breaks its promises must not go live.

    Returns a sentence for each that does not hold, and the number of all. Raises DocumentError.
    """
    cases = load_cases(files, table=table, hosts=settings.hosts, tenants=frozenset(settings.tenants))
    results = run_cases(cases, table=table, hosts=settings.hosts, now=now)
    return [
        f"{result.case.source}: the case {result.case.name!r} fails: expected {result.expected}, got {result.actual}"
        for result in results
        if not result.passed
    ], len(results)


def read_and_validate(path: Path) -> Validated:
    """Read gateway.yaml and everything it names, and judge all of it.

    Raises:
        ConfigurationError: with every error of every file that could be read, and each that could not.

    """
    try:
        bundle, problems = _read_at_rest(path)
    except DocumentError as error:
        raise ConfigurationError((*error.diagnostics, *_policy_errors(path))) from None
    try:
        validated = validate(bundle, now=time.time())
    except ConfigurationError as error:
        raise ConfigurationError((*problems, *error.diagnostics)) from None
    if problems:
        raise ConfigurationError(tuple(problems))
    asked = [item.section.crs for item in validated.inspections.values() if item.section.crs is not None]
    if asked:
        from gateway.server.second_engines import rule_problems  # noqa: PLC0415 - see `_problems_of_the_optional`

        if problems := rule_problems(asked):
            raise ConfigurationError(tuple(problems))
    if any(sink.path is not None for sink in validated.settings.audit.sinks):
        from gateway.server.sinks import unwritable  # noqa: PLC0415 - see `_problems_of_the_optional`

        document = load(bundle.settings, Path(bundle.path).name)
        found = [
            str(document.finding(place, f"{dotted(place)}: {sentence}"))
            for place, sentence in unwritable(validated.settings.audit.sinks)
        ]
        validated = msgspec.structs.replace(validated, warnings=(*validated.warnings, *found))
    return validated


def _read_at_rest(path: Path) -> tuple[Bundle, list[str]]:
    """Read until two readings say the same: a directory that is swapped meanwhile would be half of each."""
    bundle, problems = read_bundle(path)
    for _ in range(_READINGS):
        again, of_again = read_bundle(path)
        if (again.digest, of_again) == (bundle.digest, problems):
            return bundle, problems
        bundle, problems = again, of_again
    raise ConfigurationError(
        (f"{path.name}: the files that it names change while they are read; wait until they rest",)
    )


def _policy_errors(path: Path) -> tuple[str, ...]:
    """Judge the policies beside a gateway.yaml that is wrong itself, as far as its names can be read.

    Returns nothing rather than an error that only follows from another one.
    """
    try:
        data = load(read_text(path, path.name, []) or "", path.name).data
        tenants = data.get("tenants", {})
        hosts = {parse_host(host) for tenant in tenants.values() for host in tenant["hosts"]}
        hosts.add(parse_origin(data["public_url"], "").host)
        upstreams = [str(name) for name in data["upstreams"]]
        directory = path.absolute().parent / data.get("policies", "policies")
        unread: list[str] = []
        files = read_directory(directory, directory.parent, unread)
        if files and not unread:
            compile_policy(files, upstreams=upstreams, tenants=list(tenants), hosts=hosts)
    except DocumentError as error:
        return error.diagnostics if error.findings[0].path != path.name else ()
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # names that cannot be read: nothing to judge by
        return ()
    return ()
