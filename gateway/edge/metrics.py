"""What the edge counts. Label values come from closed sets: route names, reasons, upstream names."""

from __future__ import annotations

from gateway.exchange.metrics import Registry


class EdgeMetrics:
    """The counters of one edge worker."""

    def __init__(self) -> None:
        self.registry = registry = Registry()
        self.requests = registry.counter("gateway_requests_total", "Requests answered.", ("route", "outcome", "code"))
        self.duration = registry.histogram(
            "gateway_request_duration_seconds",
            "From the last byte of the head to the release of the answer.",
            ("route",),
        )
        self.decisions = registry.counter(
            "gateway_decisions_total", "Requests by the stage that decided and its reason.", ("stage", "reason")
        )
        self.connections = registry.gauge("gateway_client_connections", "Open client connections.")
        self.tunnels = registry.gauge("gateway_tunnels", "Open WebSocket tunnels.")
        self.upstream_duration = registry.histogram(
            "gateway_upstream_request_duration_seconds", "From the request's head to the answer's head.", ("upstream",)
        )
        self.upstream_connections = registry.gauge(
            "gateway_upstream_connections", "Connections to upstreams.", ("upstream", "state")
        )
        self.upstream_failures = registry.counter(
            "gateway_upstream_failures_total", "Requests that an upstream failed.", ("upstream", "reason")
        )
        self.received = registry.counter("gateway_received_bytes_total", "Body bytes received from clients.")
        self.sent = registry.counter("gateway_sent_bytes_total", "Body bytes sent to clients.")
        self.audit_unacked = registry.gauge(
            "gateway_audit_unacked_records", "Records handed to the audit daemon and not acknowledged yet."
        )
        self.audit_refused = registry.counter(
            "gateway_audit_refused_total", "Answers refused because their record was not safe.", ("reason",)
        )
        self.limit_table_full = registry.counter(
            "gateway_limit_table_full_total", "Requests refused because the table of limits was full."
        )
        self.csp_reports = registry.counter(
            "gateway_csp_reports_total", "Reports of browsers about content the report-only policy would block."
        )
