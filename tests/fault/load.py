"""People who keep using the gateway whatever happens to it, and note every answer they receive.

An answer counts as received when its head was read. Connection errors are no answers: whoever is cut
off asks again on a new connection.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Self

PAUSE_S = 0.004
TURNED_AWAY_S = 0.1
"""Pause after a 503; its Retry-After asks for more, but kills come faster."""
_NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


class Received(NamedTuple):
    """An answer that a client received."""

    request_id: str
    method: str
    path: str
    status: int
    reason: str
    """Of the gateway's own answers in JSON."""
    is_whole: bool
    at: float


class Load:
    """Clients in threads, between `with`'s two ends."""

    def __init__(
        self,
        gateway: Any,
        cookies: Mapping[str, str],
        *,
        clients: int = 3,
        strangers: int = 0,
        seed: int = 0,
        connect: Callable[[], http.client.HTTPSConnection] | None = None,
    ) -> None:
        """Of `clients`, as many as there are `strangers` open a new connection for each request."""
        self._connect = connect or gateway.connect
        self._cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
        self.answers: list[Received] = []
        """All of them; append only, so that it can be read at any time."""
        self.errors: Counter[str] = Counter()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._run, args=(random.Random(seed * 1000 + number), number < strangers), daemon=True
            )
            for number in range(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)
            assert not thread.is_alive(), "a client hangs"

    def count(self, status: int = 200) -> int:
        """Count the answers of a status so far."""
        return sum(answer.status == status for answer in list(self.answers))

    def wait_for_progress(self, timeout_s: float = 60.0) -> float:
        """Wait until somebody receives a 200 to a request that begins now or later; returns the seconds that took."""
        began, seen = time.monotonic(), len(self.answers)
        while time.monotonic() - began < timeout_s:
            fresh = self.answers[seen:]
            if any(answer.status == 200 for answer in fresh):
                return time.monotonic() - began
            seen += len(fresh)
            time.sleep(0.01)
        raise AssertionError(f"nobody is served: {self.statuses()}, {dict(self.errors)}")

    def statuses(self) -> Counter[tuple[int, str]]:
        """Count answers by status and reason."""
        return Counter((answer.status, answer.reason) for answer in list(self.answers))

    def _run(self, chance: random.Random, is_stranger: bool) -> None:
        connection: http.client.HTTPConnection | None = None
        number = 0
        while not self._stop.is_set():
            number += 1
            try:
                if connection is None:
                    connection = self._connect()
                self._ask(connection, chance, number)
                if is_stranger:
                    connection.close()
            except (OSError, http.client.HTTPException) as error:
                self.errors[type(error).__name__] += 1
                if connection is not None:
                    with suppress(OSError):
                        connection.close()
                connection = None
                time.sleep(0.02)
            time.sleep(PAUSE_S)
        if connection is not None:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection, chance: random.Random, number: int) -> None:
        fields = {"Cookie": self._cookie}
        method, path, body = "GET", f"/invoices/{number}", None
        kind = chance.random()
        if kind < 0.3:
            method, path, body = chance.choice(("POST", "PUT")), f"/orders/{number}", b"x" * chance.randrange(1, 4000)
        elif kind < 0.4:
            path = f"/zeros/{chance.randrange(1, 400_000)}"
        elif kind < 0.45:
            path, fields = "/.gateway/login", {**_NAVIGATION}
        elif kind < 0.5:
            path, fields = "/invoices/0", {}
        connection.request(method, path, body, fields)
        response = connection.getresponse()
        request_id = response.headers["X-Request-Id"] or ""
        reason, is_whole = "", False
        try:
            data = response.read()
            is_whole = True
            if response.headers["Content-Type"] == "application/problem+json":
                reason = json.loads(data)["reason"]
        finally:
            self.answers.append(Received(request_id, method, path, response.status, reason, is_whole, time.monotonic()))
        if response.will_close:
            connection.close()
        if response.status == 503:
            time.sleep(TURNED_AWAY_S)
