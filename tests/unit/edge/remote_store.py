"""A store that answers when the test says so, for the edge's own tests; the real one has its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gateway.edge.remote import Want
from gateway.edge.remote_limits import Charge, Grant
from gateway.exchange.errors import StoreUnavailableError
from gateway.session.binding import Bond
from gateway.session.token import is_token


class MemoryAnswers:
    """What one question brought, out of a dict of entries."""

    def __init__(self, store: MemoryStore, asked: set[tuple[str, bytes]], why: str = "") -> None:
        self._store = store
        self._asked = asked
        self._missing: list[tuple[str, bytes]] = []
        self.why = why

    def missing(self) -> Sequence[tuple[str, bytes]]:
        missing, self._missing = self._missing, []
        return [] if self.why else missing

    def lookup(self, token: bytes, now: float) -> Any:
        if not is_token(token):
            return None
        self._require("session", token)
        return self._store.entries.get(token)

    def api_key(self, key: bytes, now: float) -> Any:
        self._require("api_key", key)
        return None

    def is_disabled(self, user: str, tenant: str) -> bool:
        self._require("person", f"{tenant}\0{user}".encode())
        return (user, tenant) in self._store.disabled

    def touch(self, entry: Any, now: float) -> None:
        entry.seen = now
        self._store.touched.append(entry)

    def touch_key(self, entry: Any, now: float) -> None:
        self.touch(entry, now)

    def astray(self, entry: Any, bond: Bond, address: str, now: float) -> None:
        self._store.strayed.append((entry, bond))

    def _require(self, kind: str, value: bytes) -> None:
        if self.why:
            raise StoreUnavailableError(self.why)
        if (kind, value) not in self._asked:
            self._missing.append((kind, value))
            raise StoreUnavailableError("it was not asked for")


class MemoryStore:
    """Holds questions back while `holds`, fails them while `is_away`."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Any] = {}
        self.disabled: set[tuple[str, str]] = set()
        self.touched: list[Any] = []
        self.strayed: list[Any] = []
        self.questions: list[list[Want]] = []
        self.charges: list[list[Charge]] = []
        self.grants: dict[str, Grant] = {}
        """By name of a limit; whatever is wanted where there is none."""
        self.holds = False
        self.is_away = False
        self._held: list[Callable[[], None]] = []

    def read(self, wants: Sequence[Want], answered: Callable[[MemoryAnswers], None]) -> None:
        self.questions.append(list(wants))
        asked = {(want.kind, want.value) for want in wants}

        def answer() -> None:
            answered(MemoryAnswers(self, asked, "away" if self.is_away else ""))

        self._later(answer)

    def unread(self) -> MemoryAnswers:
        return MemoryAnswers(self, set())

    def charge(self, charges: Sequence[Charge], answered: Callable[[Sequence[Grant] | None], None]) -> None:
        self.charges.append(list(charges))
        grants = [self.grants.get(charge.limit, (charge.wanted, charge.reserve, 0.0)) for charge in charges]

        def answer() -> None:
            answered(None if self.is_away else grants)

        self._later(answer)

    def release(self) -> None:
        """Answer everything that was held."""
        self.holds = False
        held, self._held = self._held, []
        for answer in held:
            answer()

    def _later(self, answer: Callable[[], None]) -> None:
        if self.holds:
            self._held.append(answer)
        else:
            answer()
