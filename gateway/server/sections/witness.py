"""`audit.witness:` and witness.yaml: who vouches for this node's logs, and for whose logs this machine vouches."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import Field, PlainValidator, StrictBool, model_validator

from gateway.audit.checkpoint import CheckpointError, Vkey
from gateway.server.fields import Bind, Count, Location, Period, Rate
from gateway.server.sections.section import Section

WITNESS_KEY: Final = "witness-key.json"
_SHORTEST_INTERVAL_S: Final = 0.1
_LONGEST_INTERVAL_S: Final = 60.0
_LONGEST_TIMEOUT_S: Final = 60.0


def _vkey(value: Any) -> Vkey:
    if not isinstance(value, str):
        raise ValueError("write the verifier key of a log; gateway audit trust --vkeys prints it")  # noqa: TRY004 - pydantic collects ValueError only
    try:
        return Vkey.parse(value)
    except CheckpointError as error:
        raise ValueError(f"{error}; gateway audit trust --vkeys prints it") from None


class WitnessTLS(Section):
    """The certificate chain of the witness, the leaf first, and its key, PEM."""

    certificate: Location
    key: Location


class WitnessServer(Section):
    """A witness for the logs of others."""

    listen: Bind
    tls: WitnessTLS | None = None
    unsafe_plaintext: StrictBool = False
    """Listen beyond loopback without TLS: checkpoints can be watched and held back on the way, not forged."""
    key: Location
    """Made by `gateway witness init`; never the key of a log."""
    logs: tuple[Annotated[Vkey, PlainValidator(_vkey)], ...] = ()
    """Verifier keys of the logs it knows; it answers 404 to every other."""
    rate: Rate = 20.0
    """Requests an address may make."""
    burst: Count = 100

    @model_validator(mode="after")
    def _protects_the_way(self) -> Self:
        if self.tls is None and not ip_address(self.listen.host).is_loopback and not self.unsafe_plaintext:
            raise ValueError(
                "beyond loopback a witness needs tls, or unsafe_plaintext: true behind a proxy that has it"
            )
        if self.tls is not None and self.unsafe_plaintext:
            raise ValueError("unsafe_plaintext and tls contradict each other")
        keys = [(vkey.name, vkey.public) for vkey in self.logs]
        if len(set(keys)) < len(keys):
            raise ValueError("a log is listed twice")
        return self


class WitnessClient(Section):
    """The witnesses that this node asks to cosign its checkpoints."""

    policy: Location | None = None
    """A C2SP tlog-policy file: witnesses with their addresses, and the quorum. Absent = nobody is asked."""
    interval: Annotated[Period, Field(ge=_SHORTEST_INTERVAL_S, le=_LONGEST_INTERVAL_S)] = 1.0
    """How often a log that grew is put before the witnesses."""
    timeout: Annotated[Period, Field(le=_LONGEST_TIMEOUT_S)] = 10.0
    """How long one answer may take."""
    ca: Location | None = None
    """Certificates, PEM, that vouch for the witnesses' own; absent = those of the system."""
    unsafe_plaintext: StrictBool = False
    """Speak plain HTTP to witnesses beyond loopback."""
    serve: WitnessServer | None = None
    """Be a witness for other nodes: a ring of peers needs no further machine."""

    def files(self) -> Iterator[tuple[str, Path, bool]]:
        """List the files that are named here: key below `audit.witness`, place, and whether only the owner may read it."""
        if self.policy is not None:
            yield "policy", self.policy, False
        if self.ca is not None:
            yield "ca", self.ca, False
        if self.serve is not None:
            yield "serve.key", self.serve.key, True
            if self.serve.tls is not None:
                yield "serve.tls.certificate", self.serve.tls.certificate, False
                yield "serve.tls.key", self.serve.tls.key, True
