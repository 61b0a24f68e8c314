"""The options of one route, read word by word: everything but what it matches and whom it lets in.

A key stands on the route, in its profile or in the defaults of its file; `reuse` has chosen which of them is in force.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from gateway.document.place import Place
from gateway.document.quantity import duration, size
from gateway.exchange.route import DELEGATED, Action, InspectionText
from gateway.exchange.step_up import Network
from gateway.policy.account import read_account, read_resource
from gateway.policy.obligations import NOBODY_COUNTED, counts_nobody, positive, read_headers, read_limit
from gateway.policy.requirements import read_requirement
from gateway.policy.reuse import OF_ADMITTED, Gathered
from gateway.policy.template import Template
from gateway.policy.tenancy import read_tenant
from gateway.wire.target import remove_dot_segments

PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]{1,64}){1,16}")
PREFIX_SENTENCE: Final = "a prefix is a path such as /app: letters, digits, - . _ ~ and no slash at the end"

REUSABLE: Final = (
    "upstream", "deny", "action", "resource", "rate_limit", "audit", "authorization", "cache", "credentials", "activity",
    "allow_encoded_slash", "allow_suffix", "allow_service_worker", "client_certificate", "cookies", "max_body", "timeout",
    "path", "mfa_age", "auth_age", "acr", "require", "headers", "tenant", "inspection",
)  # fmt: skip
"""What profiles and defaults may say as well. Who is let in, and without a second factor, stands on the route itself."""
OPTIONS: Final = (*REUSABLE, "unsafe_without_mfa")


class Subject(NamedTuple):
    """The route whose options are read."""

    name: str
    template: Template | None
    """None = it could not be read, or there is none: nothing is said about parameters of the path."""
    public: bool
    closed: bool
    """It refuses everybody."""
    networks: Mapping[str, tuple[Network, ...]]
    all_files: bool


def read_options(gathered: Gathered, subject: Subject) -> dict[str, Any]:
    """Read the options of a route as fields of `Route`; what is wrong is reported and left out."""
    entries, template, public, closed = gathered.keys, subject.template, subject.public, subject.closed
    options: dict[str, Any] = {"public": public}
    if "action" in entries:
        word = entries["action"].one_of([action.value for action in Action])
        options["action"] = None if word is None else Action(word)
    if "resource" in entries:
        options["resource"] = read_resource(entries["resource"], template, public=public)
    if "rate_limit" in entries:
        options["limit"] = read_limit(entries["rate_limit"], f"route:{subject.name}", public=public)
    if "audit" in entries:
        options |= read_account(entries["audit"])
    for key, choices in (("authorization", ("gateway", "portal", "drop")), ("cache", ("no-store", "portal"))):
        if key in entries:
            options[key] = entries[key].one_of(choices) or choices[0]
    if public and "cache" in entries:
        entries["cache"].key().fail(
            "cache has no effect on a public route, whose answers keep the Cache-Control of the portal",
            name="no-effect",
        )
    options |= _read_credentials(entries, unasked=public or closed)
    if "limit" in options and counts_nobody(options["limit"], options.get("credentials", ())):
        entries["rate_limit"].key().fail(NOBODY_COUNTED, name="no-effect")
    if "cookies" in entries:
        inner = entries["cookies"].fields(("vault",))
        options["vault"] = (inner["vault"].one_of(("none", "http_only", "all")) or "") if inner else ""
    if "client_certificate" in entries:
        options["client_certificate"] = entries["client_certificate"].one_of(("optional", "required")) or "required"
    for key in ("allow_encoded_slash", "allow_suffix", "allow_service_worker"):
        if key in entries:
            options[key] = entries[key].flag() is True
    if "activity" in entries:
        options["activity"] = entries["activity"].flag() is not False
    if "max_body" in entries:
        options["max_body_bytes"] = positive(entries["max_body"], entries["max_body"].quantity(size))
    if "inspection" in entries and entries["inspection"].entries():
        place = entries["inspection"]
        options["inspection"] = InspectionText(
            json=msgspec.json.encode(place.value).decode(), path=place.document.path, loc=place.loc
        )
    if "timeout" in entries:
        options |= _read_timeout(entries["timeout"])
    if "path" in entries:
        options |= _read_rewrite(entries["path"])
    if "unsafe_without_mfa" in entries:
        place = entries["unsafe_without_mfa"]
        options["mfa"] = place.flag() is not True
        if place.value is False:
            place.fail("unsafe_without_mfa: false changes nothing; remove it", name="no-effect")
        if public or closed:
            place.key().fail("unsafe_without_mfa has no effect on a route that asks for no session", name="no-effect")
    if "tenant" in entries:
        options["tenant"] = read_tenant(entries["tenant"], template)
    options["requirement"] = read_requirement(
        gathered.requirement,
        subject.networks,
        public=public,
        closed=closed,
        without_mfa="unsafe_without_mfa" in entries,
        all_files=subject.all_files,
    )
    tenant = options.get("tenant")
    options["headers"] = read_headers(
        gathered.headers, bound=tenant.value if tenant is not None and tenant.by == "header" else ""
    )
    if closed:
        for place in (*(entries[key] for key in OF_ADMITTED if key in entries), *gathered.headers[:1]):
            place.key().fail(f"{place.loc[-1]} has no effect on a route that refuses everybody", name="no-effect")
    return options


def _read_credentials(entries: dict[str, Place], *, unasked: bool) -> dict[str, Any]:
    """Read what may prove who asks; a route that takes what comes in Authorization keeps that field for the gateway."""
    place = entries.get("credentials")
    if place is None:
        return {}
    if unasked:
        place.key().fail("credentials has no effect on a route that asks nobody who they are", name="no-effect")
    words = place.texts(_read_credential)
    if words is None:
        return {}
    kept = entries["authorization"].value if "authorization" in entries else "gateway"
    if "bearer" in words and kept != "gateway":
        entries["authorization"].fail(
            "bearer tokens come in Authorization; write gateway, or leave the key out", name="contradiction"
        )
    found: dict[str, Any] = {"credentials": tuple(words)}
    if not DELEGATED.isdisjoint(words):
        found["authorization"] = kept
    return found


def _read_credential(place: Place) -> str | None:
    if place.value == "certificate":
        place.fail("certificates are asked for by client_certificate: optional or required", name="unknown-word")
        return None
    return place.one_of(("session", "api_key", "bearer"))


def _read_timeout(place: Place) -> dict[str, Any]:
    """Read how long this route waits for its upstream, seconds."""
    entries = place.fields((), ("response", "idle"))
    if place.value == {}:
        place.fail("write response, idle or both, or remove the key", name="empty-value")
    return {f"{key}_timeout_s": positive(item, item.quantity(duration)) for key, item in (entries or {}).items()}


def _read_rewrite(place: Place) -> dict[str, Any]:
    """Read how the path for the upstream differs from the public one; it replaces what the upstream says."""
    entries = place.fields((), ("strip_prefix", "add_prefix"))
    if place.value == {}:
        place.fail("write strip_prefix, add_prefix or both, or remove the key", name="empty-value")
    found = {}
    for key, item in (entries or {}).items():
        text = item.text(PREFIX, PREFIX_SENTENCE)
        if text is not None and remove_dot_segments(text) != text:
            item.fail(f"{text!r}: {PREFIX_SENTENCE}", name="malformed-value")
        found[key] = text
    if found.get("strip_prefix") and found.get("strip_prefix") == found.get("add_prefix"):
        place.fail("what is stripped is added again; remove the key", name="no-effect")
    return found
