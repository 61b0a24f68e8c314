"""Every reason for which the gateway itself answers a request: one closed list.

The same value stands in the answer (`reason`), the audit record, the metric label and the test.
A reason carries its HTTP status and two texts: a title and one sentence for the person. Neither
ever holds request data.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Reason(StrEnum):
    """Why the gateway decided as it did. Extend the list; never reuse a value for another meaning."""

    ALLOWED = "allowed"
    PUBLIC = "public"

    # 1 framing and target
    MALFORMED_HEAD = "malformed_head"
    MALFORMED_BODY = "malformed_body"
    AMBIGUOUS_FRAMING = "ambiguous_framing"
    INVALID_TARGET = "invalid_target"
    AMBIGUOUS_PATH = "ambiguous_path"
    INVALID_HOST = "invalid_host"
    HEAD_TOO_LARGE = "head_too_large"
    TOO_MANY_FIELDS = "too_many_fields"
    TARGET_TOO_LONG = "target_too_long"
    BODY_TOO_LARGE = "body_too_large"
    METHOD_NOT_IMPLEMENTED = "method_not_implemented"
    CODING_NOT_IMPLEMENTED = "coding_not_implemented"
    VERSION_NOT_SUPPORTED = "version_not_supported"
    EXPECTATION_FAILED = "expectation_failed"
    WEBSOCKET_VERSION = "websocket_version"
    LOOP_DETECTED = "loop_detected"
    REQUEST_TIMEOUT = "request_timeout"
    # 2 client identity, 3 shed, 4 route
    INVALID_FORWARDED = "invalid_forwarded"
    INVALID_CHECK = "invalid_check"
    SHED = "shed"
    MISDIRECTED = "misdirected"
    SNI_MISMATCH = "sni_mismatch"
    NO_ROUTE = "no_route"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    HTTPS_REQUIRED = "https_required"
    # 5 session or credential, 6 assurance, 7 tenant
    CREDENTIALS_CONFLICT = "credentials_conflict"
    CERTIFICATE_REQUIRED = "certificate_required"
    CREDENTIAL_REQUIRED = "credential_required"
    CREDENTIAL_MALFORMED = "credential_malformed"
    API_KEY_REFUSED = "api_key_refused"
    API_KEY_NETWORK = "api_key_network"
    TOKEN_REFUSED = "token_refused"  # noqa: S105 - a reason, not a token
    ISSUER_UNAVAILABLE = "issuer_unavailable"
    SIGN_IN_REQUIRED = "sign_in_required"
    SESSION_EXPIRED = "session_expired"
    SESSION_REVOKED = "session_revoked"
    SESSION_ELSEWHERE = "session_elsewhere"
    TOO_MANY_SESSIONS = "too_many_sessions"
    DEVICE_UNCONFIRMED = "device_unconfirmed"
    MAIL_UNAVAILABLE = "mail_unavailable"
    MFA_REQUIRED = "mfa_required"
    MFA_ENROLMENT_REQUIRED = "mfa_enrolment_required"
    STEP_UP_REQUIRED = "step_up_required"
    DEVICE_UNKNOWN = "device_unknown"
    NETWORK_REFUSED = "network_refused"
    TENANT_MISMATCH = "tenant_mismatch"
    # 8 policy
    NO_RULE = "no_rule"
    DENIED = "denied"
    ROLE_MISSING = "role_missing"
    SCOPE_MISSING = "scope_missing"
    CONDITION_FALSE = "condition_false"
    CONDITION_FAILED = "condition_failed"
    CROSS_ORIGIN = "cross_origin"
    SERVICE_WORKER = "service_worker"
    # 10 inspection
    HOSTILE_INPUT = "hostile_input"
    BODY_UNREADABLE = "body_unreadable"
    BODY_TOO_COMPLEX = "body_too_complex"
    ENCODING_NOT_ACCEPTED = "encoding_not_accepted"
    UPLOAD_REFUSED = "upload_refused"
    UPLOAD_INFECTED = "upload_infected"
    UPLOADS_UNAVAILABLE = "uploads_unavailable"
    FORM_TOKEN_MISSING = "form_token_missing"  # noqa: S105 - a reason, not a token
    CORS_REFUSED = "cors_refused"
    DATA_REFUSED = "data_refused"
    DATA_WITHHELD = "data_withheld"
    TOO_MUCH_DATA = "too_much_data"
    ABUSE_BLOCKED = "abuse_blocked"
    ABUSE_SLOWED = "abuse_slowed"
    # 9 limits
    RATE_LIMITED = "rate_limited"
    TOO_MANY_OPEN = "too_many_open"
    TOO_MANY_UPLOADS = "too_many_uploads"
    # why something that was open ended
    IDENTITY_CHANGED = "identity_changed"
    TUNNEL_IDLE = "tunnel_idle"
    MALFORMED_FRAME = "malformed_frame"
    # 11 and 14 audit, state, capacity
    AUDIT_UNAVAILABLE = "audit_unavailable"
    STORE_UNAVAILABLE = "store_unavailable"
    OVERLOADED = "overloaded"
    DRAINING = "draining"
    # 12 upstream
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_DOWN = "upstream_down"
    UPSTREAM_UNTRUSTED = "upstream_untrusted"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_MALFORMED = "upstream_malformed"
    UPSTREAM_CLOSED = "upstream_closed"
    RESOURCE_UNNAMED = "resource_unnamed"
    INTERNAL_ERROR = "internal_error"
    # what the portal is told about a person, and how the person is known there
    IDENTITY_UNFIT = "identity_unfit"
    PORTAL_SIGN_ON = "portal_sign_on"
    PORTAL_REFUSED = "portal_refused"
    # our own pages
    FORM_EXPIRED = "form_expired"
    CREDENTIALS_REFUSED = "credentials_refused"
    CODE_REFUSED = "code_refused"
    PASSKEY_REFUSED = "passkey_refused"
    PASSKEY_NOT_ALLOWED = "passkey_not_allowed"
    LAST_FACTOR = "last_factor"
    TOO_MANY_ATTEMPTS = "too_many_attempts"
    PASSWORD_REFUSED = "password_refused"  # noqa: S105 - a reason, not a password
    FRESH_SIGN_IN_REQUIRED = "fresh_sign_in_required"
    SIGN_IN_LOOP = "sign_in_loop"
    # signing in at an identity provider
    SIGN_IN_EXPIRED = "sign_in_expired"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    PROVIDER_REFUSED = "provider_refused"
    PROVIDER_ANSWER_REFUSED = "provider_answer_refused"
    IDENTITY_REFUSED = "identity_refused"
    GROUPS_INCOMPLETE = "groups_incomplete"
    NAME_TAKEN = "name_taken"
    LOGOUT_REFUSED = "logout_refused"


class Answer(NamedTuple):
    """What a person is told: HTTP status, a title, one sentence."""

    status: int
    title: str
    sentence: str


ANSWERS: dict[Reason, Answer] = {
    Reason.ALLOWED: Answer(200, "Allowed", "The request is allowed."),
    Reason.PUBLIC: Answer(200, "Public", "The address is public."),
    Reason.MALFORMED_HEAD: Answer(400, "Malformed request", "The request does not follow HTTP's grammar."),
    Reason.MALFORMED_BODY: Answer(400, "Malformed request", "The body of the request does not follow HTTP's grammar."),
    Reason.AMBIGUOUS_FRAMING: Answer(400, "Ambiguous request", "It is not clear where the request ends."),
    Reason.INVALID_TARGET: Answer(400, "Invalid address", "The address holds characters that are not allowed in one."),
    Reason.AMBIGUOUS_PATH: Answer(400, "Ambiguous address", "The address can be read in more than one way."),
    Reason.INVALID_HOST: Answer(400, "Invalid host", "The request does not name exactly one valid host."),
    Reason.HEAD_TOO_LARGE: Answer(431, "Request header too large", "The header of the request is too large."),
    Reason.TOO_MANY_FIELDS: Answer(431, "Too many header fields", "The request has too many header fields."),
    Reason.TARGET_TOO_LONG: Answer(414, "Address too long", "The address is too long."),
    Reason.BODY_TOO_LARGE: Answer(413, "Too much data", "The request is larger than this address accepts."),
    Reason.METHOD_NOT_IMPLEMENTED: Answer(501, "Method not supported", "The gateway does not support this method."),
    Reason.CODING_NOT_IMPLEMENTED: Answer(
        501, "Coding not supported", "The gateway does not support this transfer coding."
    ),
    Reason.VERSION_NOT_SUPPORTED: Answer(
        505, "Version not supported", "The gateway speaks HTTP/1.0, HTTP/1.1, and HTTP/2 over TLS."
    ),
    Reason.EXPECTATION_FAILED: Answer(417, "Expectation failed", "The gateway cannot meet the request's expectation."),
    Reason.WEBSOCKET_VERSION: Answer(
        426, "Another version needed", "The gateway speaks version 13 of the WebSocket protocol."
    ),
    Reason.LOOP_DETECTED: Answer(508, "Loop detected", "The request came back to the gateway again and again."),
    Reason.REQUEST_TIMEOUT: Answer(408, "Request timed out", "The request took too long to arrive."),
    Reason.INVALID_FORWARDED: Answer(
        400, "Invalid forwarding header", "A proxy in front of the gateway sent a header it cannot read."
    ),
    Reason.INVALID_CHECK: Answer(
        400, "Unclear question", "The proxy in front of the gateway asked in a way that it cannot have been told to."
    ),
    Reason.SHED: Answer(429, "Too many requests", "Too many requests came from your network. Please wait a moment."),
    Reason.MISDIRECTED: Answer(421, "Wrong host", "This gateway does not answer for that host."),
    Reason.SNI_MISMATCH: Answer(421, "Wrong connection", "The connection was opened for another host."),
    Reason.NO_ROUTE: Answer(404, "Not found", "There is nothing at this address."),
    Reason.METHOD_NOT_ALLOWED: Answer(405, "Method not allowed", "This address does not accept that method."),
    Reason.HTTPS_REQUIRED: Answer(308, "Secure connection required", "This address is served over HTTPS only."),
    Reason.CREDENTIALS_CONFLICT: Answer(
        400, "More than one credential", "The request carries more than one credential."
    ),
    Reason.CERTIFICATE_REQUIRED: Answer(
        403, "Certificate needed", "This address is for devices and cards with a certificate that is known here."
    ),
    Reason.CREDENTIAL_REQUIRED: Answer(
        401, "Credential needed", "This address is for programs: it needs an API key or an access token."
    ),
    Reason.CREDENTIAL_MALFORMED: Answer(
        400, "Malformed credential", "The Authorization field holds something that is no credential."
    ),
    Reason.API_KEY_REFUSED: Answer(401, "API key refused", "The API key is not valid here."),
    Reason.API_KEY_NETWORK: Answer(403, "Not from here", "The API key may not be used from this network."),
    Reason.TOKEN_REFUSED: Answer(401, "Access token refused", "The access token is not valid here."),
    Reason.ISSUER_UNAVAILABLE: Answer(
        503, "Temporarily unavailable", "The access token cannot be checked right now. Please try again."
    ),
    Reason.SIGN_IN_REQUIRED: Answer(401, "Please sign in", "This address needs you to sign in."),
    Reason.SESSION_EXPIRED: Answer(401, "Your session has ended", "You were away for a while. Please sign in again."),
    Reason.SESSION_REVOKED: Answer(401, "Your session was ended", "Your session was ended. Please sign in again."),
    Reason.SESSION_ELSEWHERE: Answer(
        401, "Please sign in again", "Your session belongs to another browser, device or network. Please sign in here."
    ),
    Reason.TOO_MANY_SESSIONS: Answer(
        401, "Signed in too often", "You are signed in as often as you may be. End one of your sessions to go on here."
    ),
    Reason.DEVICE_UNCONFIRMED: Answer(
        401, "Please confirm this device", "This address needs the code that we mail you when a device is new."
    ),
    Reason.MAIL_UNAVAILABLE: Answer(
        503, "Mail cannot be sent right now", "Your code has not gone out yet. Please wait, or ask for another one."
    ),
    Reason.MFA_REQUIRED: Answer(401, "One more step", "This address needs your second factor."),
    Reason.MFA_ENROLMENT_REQUIRED: Answer(
        401, "Set up your second factor", "This address needs a second factor, and you have none yet."
    ),
    Reason.STEP_UP_REQUIRED: Answer(
        401, "Please confirm it is you", "This address needs a fresh proof that it is you."
    ),
    Reason.DEVICE_UNKNOWN: Answer(
        403,
        "Not on this device",
        "This address is for browsers that you signed in with before. Please use one of those.",
    ),
    Reason.NETWORK_REFUSED: Answer(403, "Not from here", "This address may not be used from this network."),
    Reason.TENANT_MISMATCH: Answer(
        403, "Not your organisation", "This address does not belong to the organisation that you are signed in to."
    ),
    Reason.NO_RULE: Answer(403, "Not allowed", "No rule allows this request."),
    Reason.DENIED: Answer(403, "Not allowed", "A rule denies this request."),
    Reason.ROLE_MISSING: Answer(403, "Not allowed", "Your roles do not allow this."),
    Reason.SCOPE_MISSING: Answer(403, "Not allowed", "The credential lacks a scope that this needs."),
    Reason.CONDITION_FALSE: Answer(403, "Not allowed", "The conditions for this are not met right now."),
    Reason.CONDITION_FAILED: Answer(403, "Not allowed", "The conditions for this could not be checked."),
    Reason.CROSS_ORIGIN: Answer(403, "Not allowed", "The request came from another site."),
    Reason.SERVICE_WORKER: Answer(403, "Not allowed", "Service workers are not allowed at this address."),
    Reason.HOSTILE_INPUT: Answer(
        403,
        "Stopped for safety",
        "Something in this request looks like an attack, so it was stopped. If you did nothing unusual, please say so and give the reference below.",
    ),
    Reason.BODY_UNREADABLE: Answer(415, "Cannot be read", "What was sent is not what it says it is."),
    Reason.BODY_TOO_COMPLEX: Answer(413, "Too complex", "What was sent has more parts than this address accepts."),
    Reason.ENCODING_NOT_ACCEPTED: Answer(
        415, "Cannot be unpacked", "What was sent is packed in a way that is not accepted."
    ),
    Reason.UPLOAD_REFUSED: Answer(
        415, "File not accepted", "This kind of file, its name or what is in it is not accepted here."
    ),
    Reason.UPLOAD_INFECTED: Answer(
        403, "File not accepted", "The check for harmful software found something in the file. It was not passed on."
    ),
    Reason.UPLOADS_UNAVAILABLE: Answer(
        503, "Files cannot be checked", "Files cannot be checked right now. Nothing was passed on; please try again."
    ),
    Reason.FORM_TOKEN_MISSING: Answer(
        403,
        "The form has expired",
        "The form did not come from a page of this session. Please open it again and repeat.",
    ),
    Reason.CORS_REFUSED: Answer(403, "Not allowed", "Pages of that site may not use this address."),
    Reason.DATA_REFUSED: Answer(
        403, "Not sent", "The request holds data that must not be sent here, such as a card number."
    ),
    Reason.DATA_WITHHELD: Answer(
        403, "Not shown", "The answer holds data that must not leave here, so it was withheld."
    ),
    Reason.TOO_MUCH_DATA: Answer(
        429, "Too many records", "You have opened very many records in a short time. Please wait, or ask for help."
    ),
    Reason.ABUSE_BLOCKED: Answer(
        403, "Blocked for a while", "Requests like yours were blocked for a while, because they looked like abuse."
    ),
    Reason.ABUSE_SLOWED: Answer(
        429, "Please slow down", "Too much is coming from you or your network. Please wait a moment."
    ),
    Reason.RATE_LIMITED: Answer(429, "Too many requests", "You are doing this too often. Please wait a moment."),
    Reason.TOO_MANY_OPEN: Answer(
        429, "Too many open connections", "Too many live connections are open. Close other tabs of this site first."
    ),
    Reason.TOO_MANY_UPLOADS: Answer(
        429, "Too many uploads", "Too many uploads from your network are under way. Please wait until they are done."
    ),
    Reason.IDENTITY_CHANGED: Answer(
        401, "Your rights changed", "Your rights were changed. Please load the page again."
    ),
    Reason.TUNNEL_IDLE: Answer(408, "Nothing was said", "The connection was silent for too long."),
    Reason.MALFORMED_FRAME: Answer(400, "Malformed frame", "The browser sent something that is no WebSocket frame."),
    Reason.AUDIT_UNAVAILABLE: Answer(
        503, "Temporarily unavailable", "The request cannot be recorded right now. Please try again."
    ),
    Reason.STORE_UNAVAILABLE: Answer(
        503,
        "Temporarily unavailable",
        "Your session cannot be checked right now. You are still signed in; please try again.",
    ),
    Reason.OVERLOADED: Answer(503, "Temporarily unavailable", "The gateway is busy. Please try again."),
    Reason.DRAINING: Answer(503, "Temporarily unavailable", "The gateway is restarting. Please try again."),
    Reason.UPSTREAM_UNREACHABLE: Answer(
        502, "The portal cannot be reached", "The portal does not answer. Please try again later."
    ),
    Reason.UPSTREAM_DOWN: Answer(
        503, "The portal is out of order", "The portal does not work right now. Please try again in a moment."
    ),
    Reason.UPSTREAM_UNTRUSTED: Answer(
        502, "The portal cannot be verified", "The gateway cannot be sure that this is the portal."
    ),
    Reason.UPSTREAM_TIMEOUT: Answer(
        504, "The portal took too long", "The portal did not answer in time. Please try again later."
    ),
    Reason.UPSTREAM_MALFORMED: Answer(
        502, "The portal's answer is invalid", "The portal sent an answer that cannot be passed on."
    ),
    Reason.UPSTREAM_CLOSED: Answer(502, "The portal broke off", "The portal broke off its answer. Please try again."),
    Reason.RESOURCE_UNNAMED: Answer(
        502, "The portal's answer is incomplete", "The portal did not say which data its answer holds, as it must here."
    ),
    Reason.IDENTITY_UNFIT: Answer(
        403, "Too much to tell the portal", "What is known about you does not fit into what the portal can be told."
    ),
    Reason.PORTAL_SIGN_ON: Answer(
        401, "One moment", "You are signed in here, and the portal does not know it yet. Please load the page again."
    ),
    Reason.PORTAL_REFUSED: Answer(
        403, "The portal does not know you", "The portal refused the name and password that it was given for you."
    ),
    Reason.INTERNAL_ERROR: Answer(500, "Something went wrong", "The gateway could not decide, so it refused."),
    Reason.FORM_EXPIRED: Answer(403, "The form has expired", "Please open the page again and repeat."),
    Reason.CREDENTIALS_REFUSED: Answer(401, "Sign-in failed", "The name or the password is not right."),
    Reason.CODE_REFUSED: Answer(401, "Code refused", "The code is not right, or it was used before."),
    Reason.PASSKEY_REFUSED: Answer(
        401, "Passkey not accepted", "That passkey was not accepted here. Please try again, or use another way."
    ),
    Reason.PASSKEY_NOT_ALLOWED: Answer(
        403,
        "Not this kind of passkey",
        "Passkeys of this make are not accepted here. Please use another device or key.",
    ),
    Reason.LAST_FACTOR: Answer(
        409, "Your only second factor", "You need a second factor here. Please set up another one first."
    ),
    Reason.TOO_MANY_ATTEMPTS: Answer(
        429, "Too many attempts", "Too many attempts failed. Please wait before you try again."
    ),
    Reason.PASSWORD_REFUSED: Answer(400, "Password not accepted", "Please choose another password."),
    Reason.SIGN_IN_LOOP: Answer(
        400, "Signing in does not last", "Your browser comes back from signing in without being signed in."
    ),
    Reason.SIGN_IN_EXPIRED: Answer(
        400, "Please sign in again", "You were away for too long while signing in, or you began in another browser."
    ),
    Reason.PROVIDER_UNAVAILABLE: Answer(
        503, "Sign-in is not possible right now", "The sign-in service of your organisation does not answer."
    ),
    Reason.PROVIDER_REFUSED: Answer(401, "You were not signed in", "The sign-in service did not sign you in."),
    Reason.PROVIDER_ANSWER_REFUSED: Answer(
        400, "You were not signed in", "What the sign-in service said about you cannot be relied upon."
    ),
    Reason.IDENTITY_REFUSED: Answer(
        403, "Your account has no access", "You signed in, but your account may not use this site."
    ),
    Reason.GROUPS_INCOMPLETE: Answer(
        403, "Your groups are not complete", "The sign-in service did not say which groups you are in, all of them."
    ),
    Reason.NAME_TAKEN: Answer(403, "Your name is taken", "Another account of this site has your user name already."),
    Reason.LOGOUT_REFUSED: Answer(400, "Logout refused", "The logout token cannot be relied upon."),
    Reason.FRESH_SIGN_IN_REQUIRED: Answer(401, "Please confirm it is you", "This change needs a fresh code."),
}
