"""What gateway.yaml asks of the detectors of abuse, for the process that watches and for those that see."""

from __future__ import annotations

import msgspec

from gateway.edge.lookout import WatchRules
from gateway.inspection.abuse.rule import Answer, Detector
from gateway.inspection.abuse.sighting import KEY_PURPOSE, digest
from gateway.inspection.abuse.spared import Spared
from gateway.server.sections.inspection.detectors import spared_of, tuned_detectors
from gateway.server.settings import Settings
from gateway.store.keyring import Keyring
from gateway.store.places import open_places


class AbuseRules(msgspec.Struct, frozen=True, kw_only=True):
    """What gateway.yaml asks of the detectors."""

    detectors: tuple[Detector, ...]
    spared: Spared
    key: bytes
    """Of the digests."""
    seals: bool
    """Records name people under keys of their own."""
    anonymous_s: float
    """How long after its day a key of strangers is kept."""


def abuse_rules(settings: Settings, keyring: Keyring) -> AbuseRules:
    """Put together what the detectors go by."""
    key = keyring.derive(KEY_PURPOSE)
    asked = settings.inspection.detectors
    watched = {each: [digest(key, "owner", owner) for owner in rules.watched] for each, rules in asked.items()}
    return AbuseRules(
        detectors=tuned_detectors(asked, watched),
        spared=spared_of(settings.inspection.spared),
        key=key,
        seals=settings.audit.privacy.subject_keys,
        anonymous_s=settings.audit.privacy.anonymous,
    )


def watch_rules(settings: Settings, keyring: Keyring) -> WatchRules | None:
    """Say how an edge sees; None where nobody looks."""
    asked = settings.inspection.detectors
    if all(detector.answer is Answer.OFF for detector in tuned_detectors(asked, {})):
        return None
    geo = settings.geo.database
    return WatchRules(key=keyring.derive(KEY_PURPOSE), country=open_places(geo).country if geo else None)
