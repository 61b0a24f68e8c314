"""What one edge worker asks of the state: sessions and API keys, each from its own cache."""

from __future__ import annotations

from gateway.store.api_key_cache import ApiKeyCache
from gateway.store.sessions import SessionCache


class WorkerState:
    """The caches of one worker behind one seam. `flush` may run in another thread than the rest."""

    __slots__ = ("_keys", "_sessions", "api_key", "astray", "is_disabled", "lookup", "touch", "touch_key")

    def __init__(self, sessions: SessionCache, keys: ApiKeyCache) -> None:
        self._sessions = sessions
        self._keys = keys
        # asked on every request: without a call in between
        self.lookup, self.touch, self.is_disabled = sessions.lookup, sessions.touch, sessions.is_disabled
        self.api_key, self.touch_key = keys.lookup, keys.touch
        self.astray = sessions.astray

    def flush(self) -> int:
        """Write what was touched since the last flush; return how many sessions and keys. Call once a second.

        Raises:
            StoreUnavailableError: nothing is lost; the next flush tries again.

        """
        return self._sessions.flush() + self._keys.flush()
