"""What sealing of people costs a request: `python -m tests.bench.sealing`.

Measures what a worker does more for a record with `audit.privacy.subject_keys` than without: once for a session that it knows (address and
browser were sealed before), once for one that it sees for the first time, and for strangers that each have an address of their own.
Written is CPU time of this thread, the least of several rounds: what is slower was disturbed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from gateway.edge.subjects import SubjectSeals
from gateway.exchange.session import Session
from gateway.exchange.subject import SubjectKey

CALLS: Final = 20_000
ROUNDS: Final = 9
AGENT: Final = b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


class Keys:
    """Keys that need no store."""

    def __init__(self) -> None:
        self._stranger = make_key()

    def person(self, user_id: str, tenant: str) -> SubjectKey:
        """Make one for whoever comes."""
        del user_id, tenant
        return make_key()

    def stranger(self, tenant: str, day: int) -> SubjectKey:
        """Return the key of the day."""
        del tenant, day
        return self._stranger


def make_key() -> SubjectKey:
    """Return a key."""
    return SubjectKey(os.urandom(16), os.urandom(32))


def request(session: Session | None, address: str, *, seals: bool) -> Any:
    """Return what sealing looks at of a request."""
    return SimpleNamespace(
        snapshot=SimpleNamespace(seals_subjects=seals),
        entry=None if session is None else SimpleNamespace(session=session),
        events=(),
        tenant="acme",
        started=1_800_000_000.0,
        client_ip=address,
    )


def session(number: int) -> Session:
    """Return a session with a key."""
    return Session(
        handle=f"s_{number}", user_id=f"u_{number}", user="alice", tenant="acme", roles=("client",), auth_time=0.0, created=0.0,
        expires=1e12, idle_s=900.0, host="portal.example.com", secure=True, subject=make_key(),
    )  # fmt: skip


def cost_ns(prepare: Callable[[], list[Any]]) -> float:
    """Return the nanoseconds that one of the prepared requests costs."""
    best = float("inf")
    for _ in range(ROUNDS):
        seals, requests = SubjectSeals(Keys()), prepare()
        began = time.thread_time_ns()
        for x in requests:
            sealing = seals.of(x)
            seals.client(sealing, x.client_ip, AGENT)
        best = min(best, (time.thread_time_ns() - began) / len(requests))
    return best


def main() -> None:
    """Measure and write."""
    known = session(0)
    plain = cost_ns(lambda: [request(known, "192.0.2.7", seals=False)] * CALLS)
    print(f"not sealed                                {plain:8.0f} ns")
    for name, prepare in (
        ("session that is known", lambda: [request(known, "192.0.2.7", seals=True)] * CALLS),
        (
            "session seen for the first time",
            lambda: [request(session(n), "192.0.2.7", seals=True) for n in range(CALLS)],
        ),
        (
            "strangers, each with its own address",
            lambda: [request(None, f"198.51.{n >> 8}.{n & 255}", seals=True) for n in range(CALLS)],
        ),
    ):
        print(f"{name:40}  {cost_ns(prepare) - plain:+8.0f} ns")


if __name__ == "__main__":
    main()
