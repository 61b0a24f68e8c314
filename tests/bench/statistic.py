"""Medians, ranges, percentiles and ratios: the arithmetic of the tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity over the rounds of a run."""

    median: float
    low: float
    high: float
    samples: tuple[float, ...]


def figure(samples: Sequence[float]) -> Figure:
    """Summarise the rounds. Raises ValueError without any: there is no figure where nothing was measured."""
    if not samples:
        raise ValueError("no samples")
    return Figure(median=statistics.median(samples), low=min(samples), high=max(samples), samples=tuple(samples))


def ratios(reference: dict[int, float], own: dict[int, float]) -> Figure | None:
    """Divide round by round (`reference / own`), so that drift of the machine cancels; None without a common round."""
    common = [reference[turn] / own[turn] for turn in sorted(reference.keys() & own.keys()) if own[turn] > 0]
    return figure(common) if common else None


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` (0 to 1) of the ascending values do not exceed (nearest rank)."""
    if not ordered:
        raise ValueError("no samples")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
