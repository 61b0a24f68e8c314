"""Every table of the state, by name. Whoever remembers something new adds it here and to `TABLES`, nowhere else.

What stands in a row and how its look-up tokens are made is said by the module that owns the noun.
"""

from __future__ import annotations

from typing import Final

from gateway.store.rows import Table

MARKS: Final = Table(name="marks")
"""What the state says about itself: under which keyring it was written."""
USERS: Final = Table(name="users", indexes=("name", "tenant", "subject", "email", "passkey_handle"))
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
DEVICES: Final = Table(name="devices", indexes=("user",))
"""Browsers that people signed in with before."""

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
)
