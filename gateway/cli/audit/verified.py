"""Writes down when the log was verified and when it was intact last, for Prometheus's textfile collector.

What verifies is a job of its own, by a timer: it needs minutes of a processor, and must not depend on the gateway that it judges.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from gateway.exchange.errors import ConfigurationError
from gateway.exchange.metrics import Registry
from gateway.server.telemetry import render

_LAST_OK: Final = re.compile(r"^gateway_audit_verify_last_ok_timestamp_seconds ([0-9.e+]{1,40})$", re.MULTILINE)


def write_verified(path: Path, exit_code: int, now: float) -> None:
    """Replace the file of metrics; a run that did not find everything intact leaves the time of the last that did.

    `now` is unix seconds. Raises `ConfigurationError`.
    """
    registry = Registry()
    registry.gauge("gateway_audit_verify_timestamp_seconds", "When the log was verified last.").set(now)
    registry.gauge("gateway_audit_verify_exit_code", "What came of it: 0 is intact.").set(exit_code)
    fresh = path.with_name(f"{path.name}.new")
    try:
        last_ok = now if exit_code == 0 else _known(path)
        registry.gauge(
            "gateway_audit_verify_last_ok_timestamp_seconds", "When the log was found intact last; 0 = never."
        ).set(last_ok)
        fresh.write_bytes(render(registry.dump()))
        fresh.replace(path)
    except OSError as exc:
        raise ConfigurationError((f"{path}: cannot be written: {os.strerror(exc.errno or 0).lower()}",)) from exc


def _known(path: Path) -> float:
    try:
        found = _LAST_OK.search(path.read_text("ascii", "replace"))
    except FileNotFoundError:
        return 0.0
    try:
        return float(found[1]) if found is not None else 0.0
    except ValueError:
        return 0.0
