"""What the edge counts. Label values come from closed sets: route names, reasons, upstream names."""

from __future__ import annotations

from bisect import bisect_left

from gateway.audit.record import DETECTIONS
from gateway.edge.credential_rules import count_outcomes
from gateway.exchange.metrics import LATENCY_BUCKETS_S, Registry, Sample


class Finished:
    """Requests that ended alike: how many, how long they took, what they carried."""

    __slots__ = ("buckets", "received", "seconds", "sent")

    def __init__(self) -> None:
        self.buckets = [0] * (len(LATENCY_BUCKETS_S) + 1)
        self.seconds = 0.0
        self.received = 0
        self.sent = 0

    def add(self, seconds: float, received: int, sent: int) -> None:
        """Count one request."""
        self.buckets[bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        self.seconds += seconds
        self.received += received
        self.sent += sent


class EdgeMetrics:
    """The counters of one edge worker."""

    def __init__(self) -> None:
        self.registry = registry = Registry()
        self.finished: dict[tuple[str, str, int, str, str], Finished] = {}
        """By route, outcome, status, stage and reason: one look-up a request, spread over the metrics on scrape."""
        self._requests = registry.counter("gateway_requests_total", "Requests answered.", ("route", "outcome", "code"))
        self._duration = registry.histogram(
            "gateway_request_duration_seconds",
            "From the last byte of the head to the release of the answer.",
            ("route",),
        )
        self._decisions = registry.counter(
            "gateway_decisions_total", "Requests by the stage that decided and its reason.", ("stage", "reason")
        )
        self.connections = registry.gauge("gateway_client_connections", "Open client connections.")
        self.connections_refused = registry.counter(
            "gateway_connections_refused_total", "Connections that were turned away.", ("reason",)
        )
        self.connections_cut = registry.counter(
            "gateway_connections_cut_total", "Connections that gave way to another one.", ("reason",)
        )
        self.tunnels = registry.gauge("gateway_tunnels", "Open WebSocket tunnels.")
        self.streams = registry.gauge("gateway_streams", "Open event streams, and answers under way.", ("kind",))
        self.streams_closed = registry.counter(
            "gateway_streams_closed_total", "Tunnels, event streams and long answers that ended.", ("kind", "reason")
        )
        self.upstream_duration = registry.histogram(
            "gateway_upstream_request_duration_seconds", "From the request's head to the answer's head.", ("upstream",)
        )
        self.upstream_connections = registry.gauge(
            "gateway_upstream_connections", "Connections to upstreams.", ("upstream", "state")
        )
        self.upstream_failures = registry.counter(
            "gateway_upstream_failures_total", "Requests that an upstream failed.", ("upstream", "reason")
        )
        self.resource_faults = registry.counter(
            "gateway_audit_resource_faults_total",
            "Fields about the data in an answer, X-Audit-Resource and X-Audit-Change, that could not be read.",
            ("upstream", "fault"),
        )
        self.upstream_connect_failures = registry.counter(
            "gateway_upstream_connect_failures_total",
            "Connections that could not be made.",
            ("upstream", "server", "reason"),
        )
        self.upstream_servers = registry.gauge(
            "gateway_upstream_servers",
            "Workers that see a server in a state: in, trial, ejected, unhealthy.",
            ("upstream", "server", "state"),
        )
        self.upstream_ejections = registry.counter(
            "gateway_upstream_ejections_total",
            "Times a worker left a server out because requests failed.",
            ("upstream", "server"),
        )
        self.upstream_checks = registry.counter(
            "gateway_upstream_checks_total", "Health checks of servers.", ("upstream", "server", "result")
        )
        self.upstream_retries = registry.counter(
            "gateway_upstream_retries_total",
            "Requests that went to another server (reconnected), were sent again (resent), or were not for lack of budget (refused).",
            ("upstream", "result"),
        )
        self.upstream_breakers = registry.gauge(
            "gateway_upstream_breakers", "Workers whose circuit breaker is in a state.", ("upstream", "state")
        )
        self.upstream_breaker_opened = registry.counter(
            "gateway_upstream_breaker_opened_total", "Times a worker stopped asking an upstream.", ("upstream",)
        )
        self.upstream_queue = registry.gauge(
            "gateway_upstream_queue_requests", "Requests that wait for a connection.", ("upstream",)
        )
        self.upstream_queue_wait = registry.histogram(
            "gateway_upstream_queue_wait_seconds", "How long requests waited that got a connection.", ("upstream",)
        )
        self.upstream_queue_refused = registry.counter(
            "gateway_upstream_queue_refused_total",
            "Requests refused because too many waited (full) or they waited too long (timeout).",
            ("upstream", "reason"),
        )
        self.uploads_refused = registry.counter(
            "gateway_upstream_uploads_refused_total",
            "Requests refused because their client had too many under way whose bodies were unfinished.",
            ("upstream",),
        )
        self.cookies_dropped = registry.counter(
            "gateway_vault_cookies_dropped_total",
            "Cookies of a portal that went nowhere, because they were malformed or too_large, or gave way to others (too_many).",
            ("upstream", "reason"),
        )
        self.portal_sign_ons = registry.counter(
            "gateway_portal_sign_ons_wanted_total",
            "Answers by which a portal showed that it knows the person no more (lost) or refused what it was sent (refused).",
            ("upstream", "reason"),
        )
        self.inspection_findings = registry.counter(
            "gateway_inspection_findings_total",
            "Rules that applied to requests: blocked, detected (only recorded) or noted (below the threshold).",
            ("route", "class", "outcome"),
        )
        self.leaks = registry.counter(
            "gateway_inspection_leaks_total",
            "Card numbers, secrets and patterns of an operator that were sighted, by where, and by what was done.",
            ("route", "in", "kind", "action"),
        )
        self.hoarding = registry.counter(
            "gateway_inspection_downloads_total",
            "Times somebody took more records than their role needs, by what followed: alert (once), step_up or block.",
            ("route", "outcome"),
        )
        self.leaks_unread = registry.counter(
            "gateway_inspection_leaks_unread_total",
            "Texts that could not be looked through for card numbers and secrets.",
            ("route", "in"),
        )
        self.inspection_unread = registry.counter(
            "gateway_inspection_unread_total",
            "Bodies that could not be read as what they say they are.",
            ("route", "reason"),
        )
        self.uploads = registry.counter(
            "gateway_uploads_total",
            "Files that were uploaded, by what became of them: passed, unscanned (passed without the antivirus), or why not.",
            ("route", "outcome"),
        )
        self.uploads_waiting = registry.gauge("gateway_uploads_waiting", "Uploads that wait for their verdict.")
        self.upload_spool_bytes = registry.gauge(
            "gateway_upload_spool_bytes", "Bytes of uploads on disk, sealed, until their verdict."
        )
        self.quarantined = registry.counter(
            "gateway_quarantine_files_total",
            "Refused files by whether the quarantine has them: kept, too_large, or failed.",
            ("result",),
        )
        self.crs = registry.counter(
            "gateway_crs_requests_total",
            "Requests by what the Core Rule Set says: passed, detected, blocked, or failed where it did not answer.",
            ("route", "outcome"),
        )
        self.crs_replaced = registry.counter(
            "gateway_crs_processes_replaced_total",
            "Processes of the Core Rule Set that ended or did not answer in time.",
        )
        self.http2_connections = registry.gauge("gateway_http2_connections", "Open client connections of HTTP/2.")
        self.http2_streams = registry.gauge("gateway_http2_streams", "Open streams of HTTP/2.")
        self.http2_requests = registry.counter("gateway_http2_requests_total", "Requests that came by HTTP/2.")
        self.http2_resets = registry.counter(
            "gateway_http2_resets_total", "Streams of HTTP/2 that ended before their end, by who ended them.", ("by",)
        )
        self.http2_ended = registry.counter(
            "gateway_http2_goaways_total", "Connections of HTTP/2 that the gateway ended.", ("code",)
        )
        self._received = registry.counter("gateway_received_bytes_total", "Body bytes received from clients.")
        self._sent = registry.counter("gateway_sent_bytes_total", "Body bytes sent to clients.")
        self.audit_unacked = registry.gauge(
            "gateway_audit_unacked_records", "Records handed to the audit daemon and not acknowledged yet."
        )
        self.audit_left_out = registry.counter(
            "gateway_audit_left_out_records_total",
            "Records that were not handed over for want of room while their requests went on.",
        )
        self.unrecorded = registry.counter(
            "gateway_answers_unrecorded_total", "Answers that became 503 because their record was not safe.", ("phase",)
        )
        self.sightings_dropped = registry.counter(
            "gateway_abuse_dropped_total", "Sightings for detectors of abuse that a worker had no room for."
        )
        self.limit_table_full = registry.counter(
            "gateway_limit_table_full_total", "Requests refused because the table of limits was full."
        )
        self.shadow = registry.counter(
            "gateway_policy_shadow_total",
            "Requests by what the candidate policy would have answered: same, would_allow, would_deny, unknown.",
            ("route", "outcome"),
        )
        self.findings = registry.counter(
            "gateway_findings_total", "What somebody should look at, by the event of the audit trail.", ("event",)
        )
        for event in DETECTIONS:  # a series that is not there at 0 does not rise when it happens first
            self.findings.inc((event,), 0)
        self.checks = registry.counter(
            "gateway_forward_auth_checks_total", "Requests that another proxy asked about.", ("outcome", "reason")
        )
        self.credentials = count_outcomes(registry)
        self.sessions_elsewhere = registry.counter(
            "gateway_sessions_elsewhere_total",
            "Requests whose session is bound to another device, network, country or certificate.",
            ("bond",),
        )
        self.subject_keys_unstored = registry.gauge(
            "gateway_audit_subject_keys_unstored",
            "Keys that records about people are sealed under and that the store does not have yet.",
        )
        self.csp_reports = registry.counter(
            "gateway_csp_reports_total",
            "Reports of browsers about what a content security policy stops, or would stop; `-` is the general one.",
            ("route", "directive"),
        )
        self.forged = registry.counter(
            "gateway_requests_forged_total",
            "Requests that change something and that no page of the portal sent.",
            ("route", "sender", "outcome"),
        )
        self.preflights = registry.counter(
            "gateway_cors_preflights_total", "Preflights that the gateway answered.", ("route", "outcome")
        )
        self.overshared = registry.counter(
            "gateway_cors_overshared_total",
            "Answers whose leave for scripts of other sites was taken out.",
            ("route", "excess"),
        )
        self.pages = registry.counter(
            "gateway_pages_rewritten_total",
            "Pages that nonces or form tokens are put into, by how far: whole, or why no further.",
            ("route", "outcome"),
        )

        self.store_operations = registry.histogram(
            "gateway_store_operation_duration_seconds",
            "From a question to a store in the network to its answer, or its time-out.",
            ("store", "operation"),
        )
        self.store_batches = registry.counter(
            "gateway_store_batches_total",
            "Questions to a store in the network: one for all that asked in one tick.",
            ("operation",),
        )
        self.store_requests = registry.counter(
            "gateway_store_batched_requests_total",
            "Requests whose questions went to a store in the network.",
            ("operation",),
        )
        self.store_unanswered = registry.counter(
            "gateway_store_unanswered_total",
            "Questions to a store in the network that got no answer, or one that refuses.",
            ("operation",),
        )
        self.parked = registry.gauge("gateway_requests_parked", "Requests that wait for a store in the network.")
        self.limit_leased = registry.counter(
            "gateway_limit_leased_total", "Requests that were reserved for a worker ahead of time."
        )
        self.tls_handshakes = registry.counter(
            "gateway_tls_handshakes_total", "TLS handshakes that succeeded.", ("version", "resumed")
        )
        self.tls_failures = registry.counter(
            "gateway_tls_handshake_failures_total", "TLS handshakes that failed.", ("reason",)
        )
        self.tls_handshakes_open = registry.gauge("gateway_tls_handshakes_open", "TLS handshakes under way.")

    def lasts(self, kind: str, by: int) -> None:
        """Count something that stays open in, or out."""
        if kind == "websocket":
            self.tunnels.inc(by=by)
        else:
            self.streams.inc((kind,), by=by)

    def dump(self) -> list[Sample]:
        """Everything counted so far."""
        for metric in (self._requests, self._decisions):
            metric.values.clear()
        self._duration.counts.clear()
        self._duration.sums.clear()
        received = sent = 0
        for (route, outcome, status, stage, reason), finished in self.finished.items():
            count = sum(finished.buckets)
            self._requests.inc((route, outcome, str(status)), count)
            self._decisions.inc((stage, reason), count)
            labels = (route,)
            known = self._duration.counts.get(labels, [0] * len(finished.buckets))
            self._duration.counts[labels] = [a + b for a, b in zip(known, finished.buckets, strict=True)]
            self._duration.sums[labels] = self._duration.sums.get(labels, 0.0) + finished.seconds
            received += finished.received
            sent += finished.sent
        self._received.values[()] = received
        self._sent.values[()] = sent
        return self.registry.dump()
