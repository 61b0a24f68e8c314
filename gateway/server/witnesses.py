"""`audit.witness` of a node put together: the policy it asks witnesses by, and the witness it is for others.

Says what is wrong with the files before anything runs on them. Both parts are duties of the custodian;
neither is on the way of a request.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from gateway.audit.trust import NONE, TrustError, TrustPolicy
from gateway.custody.duty import Duty
from gateway.custody.station import Station
from gateway.custody.witness_client import WitnessClient, client_context, is_protected
from gateway.custody.witnesses import Witnesses
from gateway.exchange.errors import KeyringError
from gateway.exchange.stream import STREAMS
from gateway.server.bundle import Bundle
from gateway.server.settings import Settings
from gateway.server.witness_metrics import NodeMetrics
from gateway.server.witness_process import WitnessService, tls_context
from gateway.witness.keys import parse

STATE: Final = "witness"
"""Below `state_dir`: what this node saw last of the logs of others."""


def witness_problems(settings: Settings, bundle: Bundle) -> list[str]:
    """Say what is wrong with the files of `audit.witness`."""
    asked, files = settings.audit.witness, bundle.witness_files
    found: list[str] = []
    if asked.policy is not None and "policy" in files:
        try:
            found += _policy_problems(TrustPolicy.parse(files["policy"]), unsafe_plaintext=asked.unsafe_plaintext)
        except TrustError as error:
            found.append(f"audit.witness.policy: {asked.policy.name}: {error}")
    if "ca" in files:
        try:
            client_context(files["ca"])
        except ValueError as error:
            found.append(f"audit.witness.ca: {error}")
    if asked.serve is not None and "serve.key" in files:
        try:
            parse(files["serve.key"], asked.serve.key.name)
        except KeyringError as error:
            found.append(f"audit.witness.serve.key: {error}")
    if asked.serve is not None and {"serve.tls.certificate", "serve.tls.key"} <= files.keys():
        try:
            tls_context(files["serve.tls.certificate"], files["serve.tls.key"])
        except ValueError as error:
            found.append(f"audit.witness.serve.tls: {error}")
    return found


def _policy_problems(policy: TrustPolicy, *, unsafe_plaintext: bool) -> list[str]:
    if policy.quorum == NONE:
        return ["audit.witness.policy: its quorum is none, so that nobody would be asked; leave the key away then"]
    reachable = [witness for witness in policy.witnesses if witness.url]
    found = [
        f"audit.witness.policy: the witness {witness.name} is reached without TLS; use https, or unsafe_plaintext: true"
        for witness in reachable
        if not is_protected(witness.url) and not unsafe_plaintext
    ]
    is_met, lack = policy.is_met_by({witness.name for witness in reachable})
    if not is_met:
        found.append(f"audit.witness.policy: even if all witnesses with an address cosign, {lack}")
    return found


def witness_duties(settings: Settings, bundle: Bundle, station: Station, metrics: NodeMetrics) -> list[Duty]:
    """Return what the custodian does for `audit.witness`: one duty a stream, and one for the logs of others."""
    asked, files = settings.audit.witness, bundle.witness_files
    duties: list[Duty] = []
    if asked.policy is not None:
        policy = TrustPolicy.parse(files["policy"])

        def client() -> WitnessClient:
            return WitnessClient(timeout_s=asked.timeout, ca=files.get("ca"))

        duties += [
            Witnesses(
                station,
                stream,
                policy=policy,
                client=client,
                metrics=metrics.asked,
                clock=time.time,
                interval_s=asked.interval,
            )
            for stream in STREAMS
        ]
    if asked.serve is not None:
        tls = tls_context(files["serve.tls.certificate"], files["serve.tls.key"]) if asked.serve.tls else None
        cosigner = parse(files["serve.key"], asked.serve.key.name)
        service = WitnessService(
            asked.serve, station.layout.state_dir / STATE, cosigner=cosigner, tls=tls, metrics=metrics.served
        )
        duties.append(PeerWitness(service))
    return duties


class PeerWitness:
    """The duty of being a witness for the logs of other nodes."""

    name = "peer-witness"

    def __init__(self, service: WitnessService) -> None:
        self._service = service

    async def run(self) -> None:
        """Answer until cancelled. Raises `GatewayError` when it cannot begin; it is tried again."""
        await self._service.start()
        try:
            await asyncio.Event().wait()
        finally:
            await self._service.stop()

    def measure(self) -> None:
        """Bring the gauges up to date."""
        self._service.witness.measure()
