"""The JSON Schema (2020-12) of a record: what each member is, and which are in every one.

Closed where OCSF's names stand, so that a member that nobody described is found; `unmapped.gw` is described and open,
because events bring members of their own. It describes records as they are stored: what names a person is a
text or is sealed under the person's key.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.audit.canonical import MAX_INTEGER
from gateway.exchange.reason import Reason
from gateway.exchange.route import Classification, LegalBasis
from gateway.exchange.stream import STREAMS

Schema = dict[str, Any]
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_TEXT: Final[Schema] = {"type": "string"}
_FLAG: Final[Schema] = {"type": "boolean"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER}
_PERSON: Final[Schema] = {"$ref": "#/$defs/person"}
_TEXTS: Final[Schema] = {"type": "array", "items": _TEXT}
_PORT: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": 65_535}
ACTIONS: Final = (
    "view", "download", "create", "edit", "delete", "share", "export", "login", "logout", "admin",
)  # fmt: skip
PHASES: Final = ("single", "intent", "opening", "closing", "outcome")
OUTCOMES: Final = ("completed", "blocked", "aborted_client", "upstream_error", "pending", "unknown")
CLASSES: Final = (2004, 3001, 3002, 4002, 6002, 6003)


def _object(properties: Schema, required: tuple[str, ...] = (), *, is_open: bool = False) -> Schema:
    found: Schema = {"type": "object", "properties": properties}
    if required:
        found["required"] = list(required)
    if not is_open:
        found["additionalProperties"] = False
    return found


def _about(description: str, schema: Schema) -> Schema:
    return {"description": description, **schema}


_USER: Final = _object(
    {"name": _PERSON, "type_id": {"enum": [1, 2, 3, 4]}, "uid": _PERSON, "email_addr": _PERSON}, ("type_id",)
)
_RESOURCE: Final = _object(
    {
        "data_classification": _object({"category_id": _COUNT, "confidentiality_id": _COUNT}, ("confidentiality_id",)),
        "name": _PERSON,
        "owner": _about("The data subject.", _object({"uid": _PERSON}, ("uid",))),
        "type": _TEXT,
        "uid": _PERSON,
    },
    ("type",),
)
_GW: Final = _object(
    {
        "action": _about("What was done, in one word.", {"enum": list(ACTIONS)}),
        "auth": _about(
            "How sure the session is of its person.",
            _object(
                {"aal": {"enum": [1, 2, 3]}, "acr": _TEXT, "auth_time": _COUNT, "step_up": _FLAG},
                ("aal", "acr", "auth_time", "step_up"),
            ),
        ),
        "boot_uid": _TEXT,
        "break_glass": _about(
            "The account was opened for an emergency, and ends then (milliseconds since 1970).",
            _object({"until": _COUNT}, ("until",), is_open=True),
        ),
        "candidate": _about("Version of the policy that was tried beside the live one.", _TEXT),
        "change": _about(
            "Names of the fields that were changed.", _object({"fields": _TEXTS}, ("fields",), is_open=True)
        ),
        "classification": {"enum": [kind.value for kind in Classification]},
        "coerced": _about("Values that canonical JSON cannot hold.", _COUNT),
        "decision_inputs": _about("What policy decided from.", {"type": "object"}),
        "event": _TEXT,
        "events": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        "inspection": _about("What inspection found: rules, places, counts and digests.", {"type": "object"}),
        "legal_basis": {"enum": [basis.value for basis in LegalBasis]},
        "mono_ns": _COUNT,
        "outcome": {"enum": list(OUTCOMES)},
        "phase": {"enum": list(PHASES)},
        "purpose": _TEXT,
        "reason": _about(f"Of a request one of {len(Reason)} values of `reason`.", _TEXT),
        "redactions": _about("Secrets that were taken out of texts.", _COUNT),
        "resource_faults": _about("What the portal said of its data and could not be read.", _TEXTS),
        "route": _TEXT,
        "sent": _about(
            "What goes upstream with a receipt: number of its key, SHA-256 of a salt that the upstream gets and the request line.",
            _object({"key": _COUNT, "line": {"type": "string", "pattern": "^[0-9a-f]{64}$"}}, ("key", "line")),
        ),
        "shadow": {"type": "object"},
        "via": {"const": "forward_auth"},
    },
    ("action", "boot_uid", "mono_ns", "outcome", "phase", "redactions"),
    is_open=True,
)
_PROPERTIES: Final[Schema] = {
    "action_id": _about("1 allowed, 2 denied, 3 observed.", {"enum": [1, 2, 3, 4]}),
    "activity_id": _COUNT,
    "actor": _object(
        {
            "app_name": _TEXT,
            "idp": _object({"name": _TEXT}, ("name",)),
            "session": _object(
                {"created_time": _COUNT, "expiration_reason": _TEXT, "is_mfa": _FLAG, "issuer": _TEXT, "uid": _TEXT}
            ),
            "user": _USER,
        }
    ),
    "api": _object({"operation": _TEXT, "service": _object({"name": _TEXT}, ("name",))}, ("operation", "service")),
    "app": _object({"name": _TEXT, "vendor_name": _TEXT, "version": _TEXT}),
    "attacks": {"type": "array", "items": _object({"technique": _object({"uid": _TEXT}, ("uid",))}, ("technique",))},
    "auth_factors": {"type": "array", "items": _object({"factor_type_id": _COUNT}, ("factor_type_id",))},
    "auth_protocol": _TEXT,
    "auth_protocol_id": _COUNT,
    "category_uid": _COUNT,
    "class_uid": {"enum": list(CLASSES)},
    "device": _about("The node that observed it.", _object({"hostname": _TEXT, "uid": _TEXT}, ("hostname",))),
    "disposition_id": _COUNT,
    "dst_endpoint": _object({"hostname": _TEXT, "port": _PORT, "svc_name": _TEXT}, ("hostname", "svc_name")),
    "finding_info": _object({"title": _TEXT, "uid": _TEXT}, ("title", "uid")),
    "http_request": _object(
        {
            "body_length": _COUNT,
            "http_method": _TEXT,
            "uid": _TEXT,
            "url": _object({"path": _TEXT}, ("path",)),
            "user_agent": _PERSON,
            "version": _TEXT,
        },
        ("body_length", "http_method", "uid", "url", "user_agent", "version"),
    ),
    "http_response": _object(
        {"code": _COUNT, "content_type": _TEXT, "latency": _about("Milliseconds.", _COUNT), "length": _COUNT},
        ("code", "latency", "length"),
    ),
    "is_mfa": _FLAG,
    "is_new_logon": _FLAG,
    "logon_type_id": _COUNT,
    "metadata": _object(
        {
            "correlation_uid": _about("The request id; joins the records of one request.", _TEXT),
            "is_truncated": _FLAG,
            "log_name": {"enum": [stream.value for stream in STREAMS]},
            "log_version": {"const": 2},
            "product": _object({"name": _TEXT, "vendor_name": _TEXT, "version": _TEXT}),
            "profiles": _TEXTS,
            "sequence": _COUNT,
            "tenant_uid": _TEXT,
            "uid": _about("UUID of the event.", _TEXT),
            "untruncated_size": _COUNT,
            "version": _about("Of OCSF.", _TEXT),
        },
        (
            "correlation_uid",
            "log_name",
            "log_version",
            "product",
            "profiles",
            "sequence",
            "tenant_uid",
            "uid",
            "version",
        ),
    ),
    "policy": _object({"uid": _TEXT, "version": _TEXT}, ("uid", "version")),
    "resources": {"type": "array", "items": _RESOURCE},
    "severity_id": {"type": "integer", "minimum": 1, "maximum": 6},
    "src_endpoint": _object(
        {"hostname": _TEXT, "intermediate_ips": _TEXTS, "ip": _PERSON, "port": _PORT, "uid": _PERSON}
    ),
    "status_code": _TEXT,
    "status_detail": _TEXT,
    "status_id": _about("1 success, 2 failure.", {"enum": [1, 2]}),
    "time": _about("Milliseconds since 1970: when it began.", _COUNT),
    "tls": _object({"cipher": _TEXT, "sni": _TEXT, "version": _TEXT}),
    "trace": _object(
        {
            "span": _object({"uid": {"type": "string", "pattern": "^[0-9a-f]{16}$"}}, ("uid",)),
            "uid": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        },
        ("span", "uid"),
    ),
    "type_uid": _COUNT,
    "unmapped": _object({"gw": _GW}, ("gw",)),
    "user": _about("Whom a sign-in or a change of an account is about.", _USER),
}
ALWAYS: Final = (
    "activity_id", "category_uid", "class_uid", "device", "metadata", "severity_id", "status_id", "time", "trace", "type_uid", "unmapped",
)  # fmt: skip
OF_REQUESTS: Final = (
    "action_id", "api", "disposition_id", "dst_endpoint", "http_response", "policy", "src_endpoint", "status_code", "status_detail",
)  # fmt: skip


def record_schema() -> Schema:
    """Return the schema of a record."""
    return {
        "$schema": DIALECT,
        "title": "A record of the gateway's audit trail",
        **_object(_PROPERTIES, ALWAYS),
        "dependentRequired": {"http_request": list(OF_REQUESTS)},
        "$defs": {
            "person": {
                "description": "A text, or the same sealed under the key of the person it names.",
                "anyOf": [
                    _TEXT,
                    _object(
                        {"c": _TEXT, "e": {"const": 1}, "t": {"type": "string", "pattern": "^[0-9a-f]{32}$"}},
                        ("c", "e", "t"),
                    ),
                ],
            }
        },
    }
