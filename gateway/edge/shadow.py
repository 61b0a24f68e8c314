"""Shadow mode: what a candidate policy would have answered to a request that the live policy has just decided.

The pipeline decides a second time, under the same configuration with the candidate in the policy's place. Nothing comes
of it but a count, and a note in the record where the answers differ or the candidate's is not known. Limits are not
compared: only one of the two counts. What cannot be found out without a cost that the live policy does not have is unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import orjson

from gateway.edge.bearer import Bearers
from gateway.edge.credential_rules import count_outcomes
from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.forward_auth import objection
from gateway.edge.metrics import EdgeMetrics
from gateway.edge.resolve import Resolver
from gateway.edge.second_look import UNLIMITED, decide_again
from gateway.edge.sessions import Sessions
from gateway.edge.snapshot import Snapshot
from gateway.exchange.metrics import Registry
from gateway.exchange.reason import Reason
from gateway.policy import PolicyTable
from gateway.ratelimit.gcra import Bucket

SAME: Final = "same"
WOULD_ALLOW: Final = "would_allow"
WOULD_DENY: Final = "would_deny"
UNKNOWN: Final = "unknown"

_UNDECIDED_STAGES: Final = frozenset(("shed", "limit", "pipeline"))
_UNDECIDED_REASONS: Final = frozenset((Reason.STORE_UNAVAILABLE, Reason.ISSUER_UNAVAILABLE))
_FAILED: Final = "candidate_failed"
"""In the place of a reason: the candidate raised an exception."""
_UNPROVEN: Final = "credential_unproven"
"""In the place of a reason: who shows the key or the token was not found out for the live policy."""


class Shadow:
    """The candidate of one configuration, beside what is live."""

    __slots__ = ("_has_failed", "_judged", "_live", "_metrics", "_report", "_sparing", "version")

    def __init__(
        self,
        live: Snapshot,
        candidate: PolicyTable,
        *,
        bearers: Bearers,
        metrics: EdgeMetrics,
        report: Callable[[str, str], None],
    ) -> None:
        """Put `candidate` in the place of the policy of `live`."""
        credentials = live.credentials.of_worker(bearers, count_outcomes(Registry()))
        self.version = candidate.version
        self._live = live
        self._judged = replace(
            live,
            policy=candidate,
            resolver=Resolver(candidate),
            limits_of=defaultdict(tuple),  # no route and no entry has one
            credentials=credentials,
            candidate=None,
        )
        self._sparing = _Sparing(credentials.unproven)
        self._metrics = metrics
        self._report = report
        self._has_failed = False

    def compare(self, x: Exchange, refusal: Refusal | None, sessions: Sessions) -> None:
        """Judge `x`, about which the live policy decided `refusal`; never raises, never changes what becomes of it."""
        resolution = x.resolution
        if x.snapshot is not self._live or (resolution is not None and resolution.internal) or _is_undecided(refusal):
            return
        try:
            self._compare(x, refusal, sessions)
        except Exception as error:  # noqa: BLE001 - a candidate that fails must not touch the request
            self._metrics.shadow.inc((x.route.name, UNKNOWN))
            self._note(x, UNKNOWN, _FAILED, x.route.name, "")
            if not self._has_failed:  # it would fail on every request alike
                self._has_failed = True
                self._report("policy.candidate_failed", f"{x.request_id.decode('ascii')} {type(error).__name__}")

    def _compare(self, x: Exchange, refusal: Refusal | None, sessions: Sessions) -> None:
        # attack: tokens that were never verified, sent to a route that takes none, would cost a signature each
        limits = UNLIMITED if _was_disproven(refusal) else self._sparing
        y, other = decide_again(x, self._judged, sessions, x.started, limits)
        if x.peer.via:  # forward-auth: these are part of the answer
            refusal = refusal or objection(x)
            other = other or objection(y)
        has_route = x.resolution is not None and x.resolution.match is not None
        route = x.route.name if has_route else y.route.name
        if other is not None and _is_undecided(other):
            outcome = UNKNOWN
            self._note(x, UNKNOWN, _UNPROVEN if other.stage == "limit" else other.reason, y.route.name, "")
        elif (refusal is None) is (other is None):
            outcome = SAME
        elif other is None:
            outcome = WOULD_ALLOW
            self._note(x, "allow", y.reason, y.route.name, y.rule)
        else:
            outcome = WOULD_DENY
            self._note(x, "deny", other.reason, y.route.name, other.rule or y.rule)
        self._metrics.shadow.inc((route, outcome))

    def _note(self, x: Exchange, decision: str, reason: str, route: str, rule: str) -> None:
        """Have the record of `x` say what the candidate would have answered."""
        said = {"decision": decision, "reason": reason, "route": route, "rule": rule, "version": self.version}
        x.shadow = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)


def _is_undecided(refusal: Refusal | None) -> bool:
    """Whether a refusal says nothing about the policy: a limit, a store that is away, a failure."""
    return refusal is not None and (refusal.stage in _UNDECIDED_STAGES or refusal.reason in _UNDECIDED_REASONS)


def _was_disproven(refusal: Refusal | None) -> bool:
    """Whether a key or token was looked at for the live policy, within its limit, and is nobody's: it is no other's."""
    if refusal is None:
        return False
    is_token = refusal.reason is Reason.TOKEN_REFUSED and refusal.rule != ""  # it says by whom and why
    return is_token or refusal.reason is Reason.API_KEY_REFUSED


class _Sparing:
    """Counts nothing, and verifies nothing for the first time."""

    __slots__ = ("_unproven",)

    def __init__(self, unproven: Bucket) -> None:
        self._unproven = unproven

    def take(self, bucket: Bucket, subject: str, now: float) -> float:  # noqa: ARG002 - the signature of a table
        """Let everything pass but what would have to be proven first."""
        return 1.0 if bucket is self._unproven else 0.0
