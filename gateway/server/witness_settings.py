"""What witness.yaml says: the configuration of `gateway witness run`, and nothing of a gateway's."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import ValidationError, model_validator

from gateway.document.source import DocumentError, load
from gateway.server.fields import Bind, Location
from gateway.server.sections.witness import WitnessServer
from gateway.server.settings import Logging, explain, finding_at

WITNESS_FILE: Final = "witness.yaml"


class WitnessSettings(WitnessServer):
    """A whole witness.yaml."""

    version: Literal[1]
    state_dir: Location
    """What was cosigned last of each log. Putting an older copy back makes the witness forget."""
    metrics: Bind | None = None
    """`/metrics` and `/livez` in plain HTTP, on loopback alone; absent = none."""
    logging: Logging = Logging()

    @model_validator(mode="after")
    def _tells_numbers_to_itself(self) -> Self:
        if self.metrics is not None and not ip_address(self.metrics.host).is_loopback:
            raise ValueError("metrics are told on loopback alone, such as 127.0.0.1:9091")
        return self


def load_witness_settings(text: str, path: Path) -> WitnessSettings:
    """Read the text of a witness.yaml that stands at `path`; relative paths in it start at its directory.

    Raises `ConfigurationError` with every error, each as `witness.yaml:12:5: sentence`.
    """
    document = load(text, path.name)
    if not isinstance(document.data, dict):
        raise DocumentError((document.finding((), "the file is not a mapping of keys to values"),))
    try:
        return WitnessSettings.model_validate(document.data, context={"base": path.resolve().parent})
    except ValidationError as error:
        found = [explain(item, WitnessSettings) for item in error.errors()]
        findings = sorted({finding_at(document, place, sentence) for place, sentence in found})
        raise DocumentError(tuple(findings)) from error
