"""Who stands for a log beside its own key: applies a trust policy to the tree heads that the log agrees with."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.audit.checkpoint import CheckpointError, Vkey
from gateway.audit.finding import Finding, Kind
from gateway.audit.trust import TrustPolicy, choose
from gateway.audit.verdict import Verdict, Vouched

STALE_S = 900
"""Witnesses are asked each second; a log that goes on for so long after they signed last is not vouched for."""


def apply_policy(verdict: Verdict, policies: Sequence[TrustPolicy]) -> Verdict:
    """Return the verdict with the witnesses of its tree heads, and with what the policy still lacks.

    A signature that says it is of a witness of the policy and is not is a finding.
    """
    policy = choose(policies, verdict.origin)
    if policy is None:
        return msgspec.structs.replace(verdict, lacks=f"no policy names the log {verdict.origin}")
    vouched: list[Vouched] = []
    findings: list[Finding] = []
    lacks = "no tree head was given that the log agrees with"
    for one in verdict.vouched:
        if one.size == 0 and verdict.size:
            continue
        try:
            judged = policy.judge(one.note, log=Vkey.parse(verdict.vkey))
        except CheckpointError as exc:
            findings.append(Finding(kind=Kind.BAD_SIGNATURE, file=one.name, message=str(exc)))
            continue
        if judged.is_met:
            names = tuple(name for name, _ in judged.cosigned)
            vouched.append(Vouched(one.size, one.name, names, judged.time_s, one.note))
        else:
            vouched.append(one)
            lacks = judged.missing
    witnessed = max((one for one in vouched if one.witnesses), default=None)
    if witnessed is not None and witnessed.size < verdict.size:
        # attack: what witnesses signed years ago, for a log that was written anew since
        behind_s = verdict.last_ns // 1_000_000_000 - witnessed.time_s
        if behind_s > STALE_S:
            lacks = (
                f"the witnesses cosigned {witnessed.size} of {verdict.size} entries, and nothing of the {behind_s // 60} "
                "minutes until the last was taken in"
            )
            return msgspec.structs.replace(
                verdict, vouched=tuple(sorted(vouched)), findings=(*verdict.findings, *findings), lacks=lacks
            )
    is_met = witnessed is not None or (policy.quorum == "none" and bool(vouched))
    return msgspec.structs.replace(
        verdict,
        vouched=tuple(sorted(vouched)),
        findings=(*verdict.findings, *findings),
        lacks="" if is_met else lacks,
    )
