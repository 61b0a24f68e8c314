"""Every table of the state, by name. Whoever remembers something new adds it here and to `TABLES`, nowhere else.

What stands in a row and how its look-up tokens are made is said by the module that owns the noun.
"""

from __future__ import annotations

from typing import Final

from gateway.store.rows import Table

MARKS: Final = Table(name="marks")
"""What the state says about itself: under which keyring it was written."""
USERS: Final = Table(name="users", indexes=("name", "tenant", "subject", "email"))
SESSIONS: Final = Table(name="sessions", indexes=("handle", "user", "tenant", "provider_session"), cached=True)
"""By the SHA-256 of the token."""
SEEN: Final = Table(name="seen", durable=False)
"""When a session was last seen, by the id of its row; a session without one fell silent."""
OWNERS: Final = Table(name="owners")
"""Whose session a cookie was, for half a day beyond its end: a form that it came with is that person's alone."""
FACTORS: Final = Table(name="factors")
RECOVERY: Final = Table(name="recovery")
ENROLMENTS: Final = Table(name="enrolments", indexes=("user",), durable=False)
ATTEMPTS: Final = Table(name="attempts", durable=False)
FORMS: Final = Table(name="forms", indexes=("person", "room"), durable=False)
OUTBOX: Final = Table(name="outbox", indexes=("box",))
"""Letters that wait to be sent."""
MAILED: Final = Table(name="mailed", durable=False)
"""Codes that were mailed, by the browser that asked."""
PASSKEYS: Final = Table(name="passkeys", indexes=("user",))
"""By a digest of what the authenticator calls it, so that no two people have the same."""
CHALLENGES: Final = Table(name="challenges", durable=False)
"""Those that were answered, until they would be refused by their age."""
STRAYS: Final = Table(name="strays", indexes=("state",), durable=False)
"""Sessions that came from elsewhere than where they are bound to, by a digest of the handle."""
DEVICES: Final = Table(name="devices", indexes=("user",))
"""Browsers that people signed in with before."""
PROVIDER_METADATA: Final = Table(name="provider_metadata")
"""What each identity provider last said of itself."""
PROVIDER_TOKENS: Final = Table(name="provider_tokens", indexes=("provider",))
"""What a provider gave for a session, by the session's handle; opens with the session's cookie alone."""
SPENT: Final = Table(name="spent", durable=False)
"""Answers of providers that were used, until they would be refused by their age."""
PROVIDER_SIGN_INS: Final = Table(name="provider_sign_ins", indexes=("provider",), durable=False)
"""The last sign-ins at each provider, for operators who ask what came of them."""
API_KEYS: Final = Table(name="api_keys", indexes=("handle", "owner", "tenant"), cached=True)
"""By the SHA-256 of the key."""
API_KEY_USE: Final = Table(name="api_key_use", durable=False)
"""When an API key was used last, by the id of its row."""
ISSUER_KEYS: Final = Table(name="issuer_keys")
"""The last good keys of the issuers of bearer tokens, by a digest of who they are."""
VAULTS: Final = Table(name="vaults", indexes=("session", "tenant"), cached=True)
"""Cookies of portals, one row for a session and an upstream."""
PORTAL_ACCOUNTS: Final = Table(name="portal_accounts", indexes=("person",))
"""Names and passwords of people at portals, and what became of the last attempt to use them."""
SUBJECT_KEYS: Final = Table(name="subject_keys", indexes=("subject",))
"""Under which personal fields of the audit trail are sealed, by their tokens; a row that is gone is a person who is erased."""
ERASURES: Final = Table(name="erasures")
"""Who was erased, by a look-up token: a state restored from a backup is erased again."""
STANDINGS: Final = Table(name="standings")
"""Answers of detectors of abuse that stand, by a digest of the rule and of whom they are about."""
ABUSE_MEMORY: Final = Table(name="abuse_memory", durable=False)
"""What the detectors of a node counted, over a restart."""
PAGE_COUNTS: Final = Table(name="page_counts", durable=False)
"""What browsers reported about policies and which scripts pages had that are not approved, by a digest of the route."""

TABLES: Final = (
    MARKS,
    USERS,
    SESSIONS,
    SEEN,
    OWNERS,
    FACTORS,
    RECOVERY,
    ENROLMENTS,
    ATTEMPTS,
    FORMS,
    OUTBOX,
    MAILED,
    PASSKEYS,
    CHALLENGES,
    DEVICES,
    STRAYS,
    VAULTS,
    PORTAL_ACCOUNTS,
    PROVIDER_METADATA,
    PROVIDER_TOKENS,
    SPENT,
    PROVIDER_SIGN_INS,
    API_KEYS,
    API_KEY_USE,
    ISSUER_KEYS,
    SUBJECT_KEYS,
    ERASURES,
    STANDINGS,
    ABUSE_MEMORY,
    PAGE_COUNTS,
)
