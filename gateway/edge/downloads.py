"""Somebody takes more records than their role needs: counted by what a route and the portal name, and answered.

A record that the path names is counted before the portal is asked; what the portal names beside it (`X-Audit-Resource`), before
the answer leaves. Where the bound is binding, what is refused is not counted: what somebody has seen, they may see again.
"""

from __future__ import annotations

from typing import Final

from gateway.audit.resource import Named, own_resource
from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.withheld import WithheldError
from gateway.exchange.errors import GatewayError
from gateway.exchange.reason import Reason
from gateway.exchange.route import Action
from gateway.inspection.leak.distinct import PANES
from gateway.wire.response import ResponseHead

HOARDED_EVENT: Final = "data.hoarded"
_TAKING: Final = frozenset((Action.VIEW, Action.DOWNLOAD, Action.EXPORT))


def judge_taking(x: Exchange) -> Refusal | None:
    """Judge the record that the path names."""
    match = x.resolution.match if x.resolution is not None else None
    named = own_resource(x.route, match.resource_id()) if match is not None else None
    return _judge(x, () if named is None else (named,))


def open_taking(x: Exchange, head: ResponseHead) -> None:
    """Judge what the portal names in its answer.

    Raises:
        WithheldError: it is too much.

    """
    if x.told is not None and 200 <= head.status < 300:
        refusal = _judge(x, x.told.resources)
        if refusal is not None:
            raise WithheldError(refusal)


def _judge(x: Exchange, named: tuple[Named, ...]) -> Refusal | None:
    rules = x.inspection.downloads if x.inspection is not None else None
    records = [(one.type, one.uid) for one in named if one.uid]
    if rules is None or x.entry is None or not records or x.route.action_of(x.method.decode("ascii")) not in _TAKING:
        return None
    session = x.entry.session
    allowance = rules.allowance_for(session.roles)
    if allowance is None:
        return None
    takings = x.client.takings
    if takings is None:
        raise GatewayError("nothing here counts records")
    person = f"{session.tenant}\0{session.user_id}"
    if rules.answer == "step_up":  # a fresh proof opens a new count
        person += f"\0{session.mfa_time}"
    is_bound = rules.answer != "alert"
    before, after = takings.take(person, records, allowance, x.started, is_bound=is_bound)
    if after <= allowance.records or after == before:
        return None
    if before <= allowance.records or is_bound:
        told = {"outcome": rules.answer, "records": after, "most": allowance.records, "period_s": allowance.period_s}
        x.noticed["downloads"] = told
        x.client.metrics.hoarding.inc((x.route.name, rules.answer))
        if HOARDED_EVENT not in x.detections:
            x.detections.append(HOARDED_EVENT)
    match rules.answer:
        case "alert":
            return None
        case "step_up":
            return Refusal("assurance", Reason.STEP_UP_REQUIRED)
        case "block":  # by then a fifth of what was counted is forgotten
            return Refusal("inspection", Reason.TOO_MUCH_DATA, retry_after_s=allowance.period_s / PANES)
