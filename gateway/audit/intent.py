"""Which requests have said what they are about to do, and not yet what came of it.

Looks for two members of a record by their bytes: inside a JSON string a quotation mark is escaped,
so no value can imitate them. Whoever announced a request says what came of it, or the daemon does for it: what another
producer says about it counts for nothing here.
"""

from __future__ import annotations

from collections import Counter

from gateway.audit.protocol import DAEMON_SLOT

PHASE_MARK = b'"phase":"'
INTENT = b'intent"'
CORRELATION_MARK = b'"correlation_uid":"'
MAX_UID_BYTES = 64
"""Requests are numbered with 36: a longer uid is somebody's nonsense, and every file's head repeats what is open."""
MAX_OPEN = 32_768
"""More requests than a node ever has under way; beyond it the older half of whoever announced most is not followed any more."""


def note_intent(intents: dict[str, int], slot: int, payload: bytes) -> None:
    """Follow one record: an intent is open until another record of its request says more."""
    # keys are sorted, so it stands near the end: searching from there costs a third
    at = payload.rfind(PHASE_MARK) + len(PHASE_MARK)
    if payload.startswith(INTENT, at):
        announce(intents, slot, correlation_uid(payload))
    elif intents:
        conclude(intents, slot, correlation_uid(payload))


def follows(payload: bytes, uid: str) -> bool:
    """Tell whether `note_intent` takes a record for the announcement of that request."""
    at = payload.rfind(PHASE_MARK) + len(PHASE_MARK)
    return payload.startswith(INTENT, at) and correlation_uid(payload) == uid


def announce(intents: dict[str, int], slot: int, uid: str) -> None:
    """A producer said what it is about to do; a request of that name that another has announced stays that one's."""
    if uid and intents.setdefault(uid, slot) == slot and len(intents) > MAX_OPEN:
        # attack: announcements without end, and those of others are not followed any more
        [(most, count)] = Counter(intents.values()).most_common(1)
        for old in [each for each, owner in intents.items() if owner == most][: (count + 1) // 2]:
            del intents[old]


def conclude(intents: dict[str, int], slot: int, uid: str) -> None:
    """A producer said more of a request."""
    if intents.get(uid) == slot or slot == DAEMON_SLOT:
        intents.pop(uid, None)


def correlation_uid(payload: bytes) -> str:
    """Return `metadata.correlation_uid` of a record, empty when it has none or an impossible one."""
    at = payload.find(CORRELATION_MARK)
    if at < 0:
        return ""
    at += len(CORRELATION_MARK)
    end = payload.find(b'"', at, at + MAX_UID_BYTES + 1)
    return payload[at:end].decode("utf-8", "replace") if end >= 0 else ""
