"""What the audit daemon counts and measures."""

from __future__ import annotations

from gateway.exchange.metrics import Registry

COMMIT_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class DaemonMetrics:
    """All of them, in a registry of their own."""

    def __init__(self) -> None:
        """Declare them."""
        self.registry = registry = Registry()
        self.records = registry.counter(
            "gateway_audit_records_total", "Records that were taken into the audit log.", ("stream",)
        )
        self.batches = registry.counter("gateway_audit_batches_total", "Batches that were written to the audit log.")
        self.commit = registry.histogram(
            "gateway_audit_commit_seconds", "Time to write a batch and make it safe.", (), COMMIT_BUCKETS_S
        )
        self.refused = registry.counter(
            "gateway_audit_refused_total", "Records that could not be stored, by reason.", ("reason",)
        )
        self.gaps = registry.counter("gateway_audit_gap_records_total", "Records that the log says it lacks.")
        self.dropped = registry.counter(
            "gateway_audit_dropped_records_total",
            "Records left out for want of room while their requests went on, by stream.",
            ("stream",),
        )
        self.level = registry.gauge(
            "gateway_audit_disk_level", "How short the disk is: 0 normal, 1 warn, 2 high, 3 critical, 4 full."
        )
        self.clock_jumps = registry.counter(
            "gateway_audit_clock_jumps_total", "How often the clock was set while the daemon ran."
        )
        self.clock_offset = registry.gauge(
            "gateway_audit_clock_offset_seconds", "How far the clock was set since the daemon started, in all."
        )
        self.receipts = registry.counter(
            "gateway_audit_receipts_total", "Receipts for upstreams that were asked for, by result.", ("result",)
        )
        self.jumps = registry.counter("gateway_audit_producer_jump_total", "Jumps in a producer's sequence.")
        self.rejected = registry.counter(
            "gateway_audit_producers_rejected_total", "Connections closed because they did not speak the protocol."
        )
        self.errors = registry.counter("gateway_audit_fsync_errors_total", "Log files given up after an I/O error.")
        self.entries = registry.gauge("gateway_audit_log_entries", "Records in the audit log.", ("stream",))
        self.unsafe = registry.gauge("gateway_audit_queue_entries", "Records taken in and not yet on stable storage.")
        self.intents = registry.gauge("gateway_audit_open_intents", "Requests announced in the log without an outcome.")
        self.age = registry.gauge("gateway_audit_checkpoint_age_seconds", "Age of the published checkpoint.")
        self.free = registry.gauge("gateway_audit_disk_free_bytes", "Bytes left on the audit log's file system.")
        self.ballast = registry.gauge("gateway_audit_ballast_bytes", "Bytes kept for administrators' records.")
