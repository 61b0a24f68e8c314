"""How many records somebody may take in which time, and what follows when it is more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Answer = Literal["alert", "step_up", "block"]


@dataclass(frozen=True, slots=True)
class Allowance:
    """So many different records in so much time."""

    records: int
    period_s: float

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.period_s


@dataclass(frozen=True, slots=True)
class DownloadRules:
    """What holds on a route; records are counted for a person over all routes."""

    general: Allowance
    answer: Answer = "alert"
    of_roles: Mapping[str, Allowance | None] = field(default_factory=dict)
    """None = as many as they like."""

    def allowance_for(self, roles: Sequence[str]) -> Allowance | None:
        """Return what somebody with these roles may take: the most that one of them allows; None = no bound."""
        told = [self.of_roles[role] for role in roles if role in self.of_roles]
        if not told:
            return self.general
        bounded = [allowance for allowance in told if allowance is not None]
        return max(bounded, key=lambda allowance: allowance.rate) if len(bounded) == len(told) else None
