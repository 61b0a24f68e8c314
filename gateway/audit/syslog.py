"""A delivered record as a syslog message: RFC 5424, framed by octet counting as RFC 5425 asks.

Decides severity, message id and structured data. It opens no connection and reads no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from gateway.audit.delivery import Delivery

LOG_AUDIT: Final = 13
"""Facility `log audit` (RFC 5424 section 6.2.1)."""
DOCUMENTATION_ENTERPRISE: Final = 32473
"""The enterprise number of RFC 5612, which is nobody's."""
_VERSION: Final = 1
_NIL: Final = "-"
_LONGEST_HOST: Final = 255
_LONGEST_MESSAGE_ID: Final = 32
_SEVERITIES: Final[Mapping[int, int]] = {1: 6, 2: 5, 3: 4, 4: 3, 5: 2, 6: 1}
"""OCSF `severity_id` -> syslog: informational, notice, warning, error, critical, alert."""
_NOTICE: Final = 5


def frame(message: bytes) -> bytes:
    """Put the length before a message: `MSG-LEN SP SYSLOG-MSG` (RFC 5425 section 4.3)."""
    return b"%d %b" % (len(message), message)


def write_message(delivery: Delivery, *, origin: str, facility: int = LOG_AUDIT, enterprise: int) -> bytes:
    """Write one record as a SYSLOG-MSG. The message itself has no byte order mark: it is JSON or CEF."""
    record = delivery.record
    level = record.get("severity_id", 1)
    severity = _SEVERITIES.get(level, _NOTICE) if isinstance(level, int) else _NOTICE  # attack: a list, unhashable
    device = record.get("device")
    host = _printable(device.get("hostname") if isinstance(device, dict) else None, _LONGEST_HOST)
    moment = datetime.fromtimestamp(delivery.time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    micros = delivery.time_ns // 1_000 % 1_000_000
    head = (
        f"<{facility * 8 + severity}>{_VERSION} {moment}.{micros:06d}Z {host} gateway {_NIL} {_message_id(record)} "
        f'[audit@{enterprise} origin="{_value(origin)}" index="{delivery.index}"] '
    )
    return head.encode("utf-8") + delivery.line


def _message_id(record: Mapping[str, Any]) -> str:
    """Name the kind of record: its event where it has one, the number of its OCSF type otherwise."""
    unmapped = record.get("unmapped")
    gw = unmapped.get("gw") if isinstance(unmapped, dict) else None
    event = gw.get("event") if isinstance(gw, dict) else None
    return _printable(
        event if isinstance(event, str) and event else str(record.get("type_uid", "")), _LONGEST_MESSAGE_ID
    )


def _printable(value: object, longest: int) -> str:
    """Keep what RFC 5424 allows in a header field: printable US-ASCII without spaces (attack: a forged field)."""
    text = value if isinstance(value, str) else ""
    return "".join(c for c in text[:longest] if "!" <= c <= "~") or _NIL


def _value(text: str) -> str:
    """Escape a PARAM-VALUE (RFC 5424 section 6.3.3)."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
