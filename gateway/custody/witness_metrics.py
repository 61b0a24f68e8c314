"""What the custodian counts about witnesses: declared in every custodian, whether one is asked or not."""

from __future__ import annotations

from gateway.exchange.metrics import Registry


class WitnessMetrics:
    """What is counted about witnesses, for all streams."""

    def __init__(self, registry: Registry) -> None:
        """Declare the metrics."""
        self.requests = registry.counter(
            "gateway_audit_witness_requests_total",
            "Checkpoints put before a witness, by the status of its answer, or unreachable.",
            ("witness", "status"),
        )
        self.age = registry.gauge(
            "gateway_audit_witness_age_seconds", "Time since the quorum of witnesses cosigned a stream.", ("stream",)
        )
        self.cosigned = registry.gauge(
            "gateway_audit_cosigned_entries",
            "Entries of a stream that the quorum of witnesses has cosigned.",
            ("stream",),
        )
        self.refused = registry.gauge(
            "gateway_audit_witness_refused",
            "1 while a witness says that a stream is not the log it has seen: rewritten or shortened.",
            ("stream", "witness"),
        )
