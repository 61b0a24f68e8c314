"""Which requests have said what they are about to do, and not yet what came of it.

Looks for two members of a record by their bytes: inside a JSON string a quotation mark is escaped,
so no value can imitate them.
"""

from __future__ import annotations

PHASE_MARK = b'"phase":"'
INTENT = b'intent"'
CORRELATION_MARK = b'"correlation_uid":"'
MAX_UID_BYTES = 64
"""Requests are numbered with 36: a longer uid is somebody's nonsense, and every file's head repeats what is open."""
MAX_OPEN = 32_768
"""More requests than a node ever has under way; beyond it the one that was announced first is not followed any more."""


def note_intent(intents: dict[str, int], slot: int, payload: bytes) -> None:
    """Follow one record: an intent is open until another record of its request says more."""
    # keys are sorted, so it stands near the end: searching from there costs a third
    at = payload.rfind(PHASE_MARK) + len(PHASE_MARK)
    if payload.startswith(INTENT, at):
        uid = correlation_uid(payload)
        if uid:
            intents[uid] = slot
            if len(intents) > MAX_OPEN:
                del intents[next(iter(intents))]
    elif intents:
        intents.pop(correlation_uid(payload), None)


def correlation_uid(payload: bytes) -> str:
    """Return `metadata.correlation_uid` of a record, empty when it has none or an impossible one."""
    at = payload.find(CORRELATION_MARK)
    if at < 0:
        return ""
    at += len(CORRELATION_MARK)
    end = payload.find(b'"', at, at + MAX_UID_BYTES + 1)
    return payload[at:end].decode("utf-8", "replace") if end >= 0 else ""
