"""What was measured: one number for each candidate, quantity and round."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.statistic import Figure, figure, ratios


class Samples:
    """Numbers by candidate, quantity and round, and what went wrong."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str, dict[int, float]]] = {}
        self.faults: dict[str, list[str]] = {}
        self.missing: dict[str, str] = {}
        self.evidence: dict[str, str] = {}

    def record(self, candidate: str, quantity: str, turn: int, value: float) -> None:
        """Keep one number."""
        self._numbers.setdefault(candidate, {}).setdefault(quantity, {})[turn] = value

    def fault(self, candidate: str, text: str) -> None:
        """Keep what went wrong; it is printed with the tables."""
        self.faults.setdefault(candidate, []).append(text)

    def rounds(self, candidate: str, quantity: str) -> dict[int, float]:
        """Return the numbers of a quantity by round, empty when there are none."""
        return self._numbers.get(candidate, {}).get(quantity, {})

    def figure(self, candidate: str, quantity: str) -> Figure | None:
        """Summarise a quantity, None when it was not measured."""
        numbers = self.rounds(candidate, quantity)
        return figure(list(numbers.values())) if numbers else None

    def ratio(self, reference: str, candidate: str, quantity: str) -> Figure | None:
        """Summarise `reference / candidate`, round by round."""
        return ratios(self.rounds(reference, quantity), self.rounds(candidate, quantity))

    def quantities(self, candidate: str, prefix: str) -> Iterator[str]:
        """Give the quantities of a candidate that begin with `prefix`."""
        return (name for name in self._numbers.get(candidate, {}) if name.startswith(prefix))

    def plain(self) -> dict[str, dict[str, list[float]]]:
        """Return everything for JSON."""
        return {
            candidate: {quantity: list(numbers.values()) for quantity, numbers in quantities.items()}
            for candidate, quantities in self._numbers.items()
        }
