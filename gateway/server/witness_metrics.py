"""What a node counts as one that asks witnesses and is one: declared whether it does or not, without what does it."""

from __future__ import annotations

from gateway.custody.witness_metrics import WitnessMetrics
from gateway.exchange.metrics import Registry
from gateway.witness.service import ServiceMetrics


class NodeMetrics:
    """What both parts count; declared once in the life of a process."""

    def __init__(self, registry: Registry) -> None:
        """Declare the metrics."""
        self.asked = WitnessMetrics(registry)
        self.served = ServiceMetrics(registry)
