"""What answers the console's questions about the audit log, put together: only where there is a console."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.audit.trust import TrustPolicy
from gateway.custody.duty import Duty
from gateway.custody.inquiry import InquiryDuty, InquiryMetrics
from gateway.custody.proof_state import ProofState, Receiver
from gateway.custody.station import Station
from gateway.server.bundle import Bundle
from gateway.server.settings import Settings
from gateway.server.sinks import CURSORS


def inquiry_duties(
    settings: Settings, bundle: Bundle, station: Station, metrics: InquiryMetrics, *, badge: bytes
) -> Sequence[Duty]:
    """Make the duty, if `admin.console` is enabled; `badge` is the pages'."""
    console = settings.admin.console
    if console is None or not console.enabled:
        return ()
    proof = ProofState(
        station,
        policy=None if settings.audit.witness.policy is None else TrustPolicy.parse(bundle.witness_files["policy"]),
        receivers=[
            Receiver(name=sink.name, streams=tuple(sink.streams), is_required=sink.required)
            for sink in settings.audit.sinks
        ],
        cursors=station.layout.state_dir / CURSORS,
    )
    return (InquiryDuty(station, proof, metrics, badge=badge),)
