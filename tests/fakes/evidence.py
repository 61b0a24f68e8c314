"""A log with records that a test can ask about, written as the audit daemon writes it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.log import open_log

BEGIN_S = 1_700_000_000


def access(n: int, **changes: Any) -> bytes:
    """Make the record of a request that somebody made in second `n`; `changes` replace its members."""
    made = {
        "action_id": 1,
        "actor": {"user": {"name": f"person{n % 7}", "uid": f"u-{n % 7}"}},
        "api": {"operation": "GET /invoices/{id}"},
        "http_request": {"http_method": "GET", "uid": f"req-{n}", "url": {"path": f"/invoices/{n}"}},
        "http_response": {"code": 200},
        "metadata": {"correlation_uid": f"req-{n}", "tenant_uid": "acme", "uid": f"e-{n}"},
        "resources": [{"owner": {"uid": f"c-{n % 3}"}, "type": "invoice", "uid": str(n)}],
        "src_endpoint": {"ip": f"10.0.0.{n % 5}"},
        "time": (BEGIN_S + n) * 1000,
        "unmapped": {"gw": {"action": "view", "phase": "single", "reason": "allowed", "route": "invoice"}},
        **changes,
    }
    return orjson.dumps(made, option=orjson.OPT_SORT_KEYS)


def make_keys() -> AuditKeys:
    """Make the keys of a log."""
    return AuditKeys.generate(origin="gateway/node", created="2026-01-01T00:00:00Z", random=os.urandom)


def write(
    state_dir: Path,
    keys: AuditKeys,
    stream: Stream,
    payloads: Iterable[bytes],
    *,
    begin_s: float = BEGIN_S,
    batch: int = 64,
    slot: int = 1,
) -> None:
    """Write one file of a stream; what is there already is closed by it. Entries are taken in one second apart."""
    log = open_log(state_dir, keys, stream, boot="boot", capacity=8 << 20)
    sequence = log.taken.get(slot, 0) + 1
    pending = list(payloads)
    for at in range(0, len(pending), batch):
        part = pending[at : at + batch]
        log.append(
            [(slot, range(sequence, sequence + len(part)), part)],
            is_safe=False,
            now_ns=int((begin_s + at) * 1e9) + 500_000_000,
        )
        sequence += len(part)
    log.close()
