"""JSON Schemas (2020-12) of policy files and case files, for editors: keys, words and forms, with what each means.

Made of the tables the readers read by. A schema refuses nothing that the reader takes; what only shows when
all files are together is the reader's alone. The order of the keys here is the order in which `policy fmt` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from gateway.document.quantity import DURATION, RATE, SIZE
from gateway.document.source import Loc
from gateway.exchange.reason import Reason
from gateway.exchange.route import Action, Classification, Durability, LegalBasis
from gateway.exchange.step_up import Factor
from gateway.policy import cases
from gateway.policy.account import CHOSEN_STREAMS, PURPOSE, RESOURCE_TYPE
from gateway.policy.declaration import FILE_KEYS, METHODS, NAME, OPTIONAL, REQUIRED
from gateway.policy.entries import DENIAL_KEYS, GRANT_KEYS, MODES, SCOPE
from gateway.policy.obligations import MAX_BURST, MAX_FIELDS
from gateway.policy.options import PREFIX, REUSABLE
from gateway.policy.requirements import RUNGS
from gateway.policy.reuse import ENTRY_KEYS
from gateway.policy.reuse import NAME as REUSABLE_NAME

Kind = Literal["policy", "cases"]
Schema = dict[str, Any]
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_TEXT: Final[Schema] = {"type": "string", "pattern": r"\S"}
_FLAG: Final[Schema] = {"type": "boolean"}
_TRUE: Final[Schema] = {"const": True}


def schema_of(kind: Kind) -> Schema:
    """Return the schema of a kind of file."""
    return _policy() if kind == "policy" else _cases()


def kind_of(data: Any) -> Kind | None:
    """Tell a policy file and a case file apart by their keys; None for anything else."""
    if not isinstance(data, dict):
        return None
    if "cases" in data:
        return "cases"
    return "policy" if data.keys() & {*FILE_KEYS} else None


def key_order(schema: Schema, loc: Loc) -> Sequence[str]:
    """List the keys of the mapping at `loc` in the order of the schema; empty where any keys may stand, or none."""
    here: Schema = schema
    for part in loc:
        here = _below(_resolved(schema, here, is_list=isinstance(part, int)), part)
    return tuple(_resolved(schema, here, is_list=False).get("properties", ()))


def _below(schema: Schema, part: str | int) -> Schema:
    if isinstance(part, int):
        found = schema.get("items", {})
    else:
        found = schema.get("properties", {}).get(part) or schema.get("additionalProperties")
    return found if isinstance(found, dict) else {}


def _resolved(root: Schema, schema: Schema, *, is_list: bool) -> Schema:
    """Follow a reference, and take the choice that is a list, or the one that is a mapping."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    wanted = "array" if is_list else "object"
    return next((choice for choice in schema.get("anyOf", ()) if choice.get("type") == wanted), schema)


def _whole(pattern: re.Pattern[str]) -> str:
    return f"^(?:{pattern.pattern})$"


def _matching(pattern: re.Pattern[str]) -> Schema:
    return {"type": "string", "pattern": _whole(pattern)}


def _words(words: Iterable[str]) -> Schema:
    return {"enum": [str(word) for word in words]}


def _list(items: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "items": items}


def _mapping(properties: Mapping[str, Schema], required: Sequence[str] = (), *, least: int = 0) -> Schema:
    found: Schema = {"type": "object", "additionalProperties": False, "properties": dict(properties)}
    if required:
        found["required"] = list(required)
    if least:
        found["minProperties"] = least
    return found


def _named(values: Schema, name: re.Pattern[str]) -> Schema:
    return {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": _whole(name)},
        "additionalProperties": values,
    }


def _about(description: str, schema: Schema) -> Schema:
    return {"description": description, **schema}


def _only(keys: Collection[str]) -> dict[str, Schema]:
    """Pick keys, in the order of `_KEYS`."""
    return {key: schema for key, schema in _KEYS.items() if key in keys}


_AGE: Final[Schema] = _matching(DURATION)
_TEXTS: Final = _list(_TEXT)
_NETWORKS: Final = _list(_TEXT)
_FIELDS: Final[Schema] = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": MAX_FIELDS,
    "additionalProperties": _TEXT,
}
_LIMIT: Final = _mapping(
    {
        "rate": _about("How many in which time, such as 60/m.", _matching(RATE)),
        "burst": _about("How many at once.", {"type": "integer", "minimum": 1, "maximum": MAX_BURST}),
        "per": _about("What is counted.", _words(("ip", "user", "tenant", "route", "key"))),
    },
    ("rate", "burst", "per"),
)
_REQUIREMENT: Final = {
    "factor": _about("By which kind of second factor the session was proven.", _words(Factor)),
    "mfa_age": _about("The second factor was proven at most so long ago.", _AGE),
    "auth_age": _about("The sign-in began at most so long ago.", _AGE),
    "acr": _about("How strong the sign-in is: two factors, or two of which one is a passkey.", _words(RUNGS)),
    "device": _about("The device has signed in before.", _words(("known",))),
    "network": _about("The client's address is in one of these networks, in CIDR notation or by name.", _NETWORKS),
}
_MATCH: Final = _mapping(
    {
        "path": _about("A template: literal segments, {name} or * for one, ** at the end for any rest.", _TEXT),
        "methods": _about("The methods, in capitals; GET brings HEAD with it.", _list(_words(METHODS))),
        "hosts": _about("Only on these hosts; on all when absent.", _TEXTS),
    },
    ("path", "methods"),
)
_TENANT: Final[Schema] = {
    "anyOf": [
        _TEXT,
        {
            **_mapping(
                {
                    "path": _about("The parameter of the path that names the tenant.", _TEXT),
                    "header": _about("The header field that names the tenant.", _TEXT),
                    "subdomain": _about("The domain below which the first label names the tenant.", _TEXT),
                },
                least=1,
            ),
            "maxProperties": 1,
        },
    ]
}

_KEYS: Final[dict[str, Schema]] = {
    "name": _about("Unique over all files; it stands in logs, metrics and audit records.", _matching(NAME)),
    "use": _about("The name of an entry of `entries:` whose keys count here, too.", _TEXT),
    "match": _about("Which requests the route takes.", _MATCH),
    "upstream": _about("An upstream of gateway.yaml.", _TEXT),
    "profile": _about("The name of a profile of `profiles:` whose options count here, too.", _TEXT),
    "mode": _about("enforce, or shadow: only counted, without effect.", _words(MODES)),
    "tenant": _about("Which tenant a request is about.", _TENANT),
    "action": _about("What the audit record says is done.", _words(Action)),
    "resource": _about(
        "What the audit record names.",
        _mapping(
            {
                "type": _matching(RESOURCE_TYPE),
                "id": _about("May use {parameters} of the path.", _TEXT),
                "owner": _about("Whom the data are about: self, or a text with {parameters} of the path.", _TEXT),
                "person": _about("The id is a person's.", _FLAG),
            },
            ("type",),
        ),
    ),
    "public": _about("Everybody, without signing in.", _TRUE),
    "roles": _about("The person holds at least one of them.", _TEXTS),
    "tenants": _about("The session belongs to one of them.", _TEXTS),
    "scopes": _about("An API key or a bearer token has all of them.", _list(_matching(SCOPE))),
    "when": _about("A condition in CEL.", _TEXT),
    "allow": _about("Who may: one entry must fit whole.", _list({"$ref": "#/$defs/grant"})),
    "deny": _about(
        "true: nobody may. A list: whom an entry fits may not, whatever `allow` says.",
        {"anyOf": [_TRUE, _list({"$ref": "#/$defs/denial"})]},
    ),
    "require": _about("What the session and the address must be, beyond roles.", _mapping(_REQUIREMENT, least=1)),
    "mfa_age": _REQUIREMENT["mfa_age"],
    "auth_age": _REQUIREMENT["auth_age"],
    "acr": _REQUIREMENT["acr"],
    "unsafe_without_mfa": _about("A password alone opens this route.", _FLAG),
    "client_certificate": _about("Whether a client certificate must be shown.", _words(("optional", "required"))),
    "credentials": _about("What may prove who asks.", _list(_words(("session", "api_key", "bearer")))),
    "authorization": _about("Whose the Authorization field of the client is.", _words(("gateway", "portal", "drop"))),
    "rate_limit": _about("How often.", _LIMIT),
    "headers": _about(
        "Fields to set on the way to the upstream and back.",
        _mapping({"request": _FIELDS, "response": _FIELDS}, least=1),
    ),
    "audit": _about(
        "What the record says, and how safe it is before the answer leaves.",
        _mapping(
            {
                "durability": _words(Durability),
                "purpose": _about("Why the data are processed.", _matching(PURPOSE)),
                "legal_basis": _about("The ground, GDPR Art. 6(1).", _words(LegalBasis)),
                "classification": _about("What kind of data it is.", _words(Classification)),
                "require_resource": _about("An answer that names no resource is not released.", _FLAG),
                "stream": _about("Where records of allowed requests go.", _words(CHOSEN_STREAMS)),
            },
            least=1,
        ),
    ),
    "cache": _about("Whose Cache-Control authenticated answers have.", _words(("no-store", "portal"))),
    "cookies": _about(
        "Which cookies of the portal stay with the gateway.",
        _mapping({"vault": _words(("none", "http_only", "all"))}, ("vault",)),
    ),
    "activity": _about("false: requests here keep no session from idling out.", _FLAG),
    "allow_encoded_slash": _about("%2F and %5C are allowed in the path.", _FLAG),
    "allow_suffix": _about("/admin.json here is not /admin.", _FLAG),
    "allow_service_worker": _about("The portal may register service workers here.", _FLAG),
    "max_body": _about(
        "The largest body, such as 25MiB.", {"anyOf": [{"type": "integer", "minimum": 1}, _matching(SIZE)]}
    ),
    "inspection": _about(
        "What is inspected here, laid over `inspection` of gateway.yaml key by key.",
        {"type": "object", "minProperties": 1},
    ),
    "timeout": _about(
        "How long to wait for the upstream.",
        _mapping({"response": _about("For the head.", _AGE), "idle": _about("For the next byte.", _AGE)}, least=1),
    ),
    "path": _about(
        "How the portal's path differs from the public one.",
        _mapping({"strip_prefix": _matching(PREFIX), "add_prefix": _matching(PREFIX)}, least=1),
    ),
}
"""Every key of routes and entries, in canonical order."""
_OF_ENTRY: Final[dict[str, Schema]] = {
    "audit": _about(
        "How safe the record of whom the entry lets in is.",
        _mapping({"durability": _words(Durability)}, ("durability",)),
    )
}


def _policy() -> Schema:
    route = _mapping(_only((*REQUIRED, *OPTIONAL)), REQUIRED)
    route["anyOf"] = [{"required": [word]} for word in ("public", "allow", "deny")]
    options, entry = _mapping(_only(REUSABLE), least=1), _mapping(_only(ENTRY_KEYS) | _OF_ENTRY, least=1)
    role = _mapping({"includes": _about("Who holds the role holds these, too.", _TEXTS)})
    properties = {
        "version": _about("The version of this format.", {"const": 1}),
        "mode": _about("enforce, or shadow: nothing of this file has an effect, all of it is counted.", _words(MODES)),
        "networks": _about("Networks in CIDR notation, by name.", _named(_NETWORKS, REUSABLE_NAME)),
        "profiles": _about("Options of routes, by name.", _named(options, REUSABLE_NAME)),
        "entries": _about("Entries of allow and deny, by name.", _named(entry, REUSABLE_NAME)),
        "roles": _about("Roles and what they include.", _named(role, NAME)),
        "defaults": _about("Options of every route of this file.", options),
        "routes": _about("What may be asked for, and by whom.", _list(route)),
    }
    return {
        "$schema": DIALECT,
        "title": "A policy file of the gateway",
        **_mapping(properties, ("version",)),
        "$defs": {"grant": _mapping(_only(GRANT_KEYS) | _OF_ENTRY), "denial": _mapping(_only(DENIAL_KEYS))},
    }


_PERSON: Final[dict[str, Schema]] = {
    "user": _TEXT,
    "id": _TEXT,
    "email": _TEXT,
    "tenant": _TEXT,
    "roles": _about("May be empty.", {"type": "array", "items": _TEXT}),
    "provider": _about("The identity provider; local when absent.", _TEXT),
    "amr": _about("Methods used to sign in (RFC 8176).", _TEXTS),
    "mfa_age": _about(
        "Since the second factor; 0s when absent, never = not at all.", {"anyOf": [_words(("never",)), _AGE]}
    ),
    "auth_age": _about("Since the sign-in; 0s when absent.", _AGE),
    "credential": _about("What proves who asks.", _words(("session", "api_key", "bearer"))),
    "scopes": _about("Of an API key or a bearer token.", _TEXTS),
    "device": _about("Whether the device has signed in before.", _words(("known", "unknown"))),
    "country": _about("Of the client's address.", _TEXT),
}
_CASE: Final[dict[str, Schema]] = {
    "name": _about("Unique in its file.", _TEXT),
    "as": _about("Who asks; nobody is signed in when absent.", _mapping(_PERSON, cases.PERSON_REQUIRED)),
    "request": _about("Method and absolute URL.", {"type": "string", "pattern": f"^(?:{'|'.join(METHODS)}) "}),
    "from": _about(
        "What else is known about the request.",
        _mapping({"ip": _TEXT, "user_agent": _TEXT, "headers": {"type": "object", "additionalProperties": _TEXT}}),
    ),
    "at": _about("The time of the request, with its zone; now when absent.", _TEXT),
    "expect": _about(
        "What must come out.",
        _mapping({"decision": _words(("allow", "deny")), "route": _TEXT, "reason": _words(Reason)}, ("decision",)),
    ),
}


def _cases() -> Schema:
    case = _mapping(_CASE, cases.REQUIRED)
    return {
        "$schema": DIALECT,
        "title": "A case file of the gateway",
        **_mapping({"version": {"const": 1}, "cases": _list(case)}, ("cases",)),
    }
