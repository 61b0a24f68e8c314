"""Where escorts come from, for one worker: vaults, accounts at portals, tokens, without the loop waiting for any of them.

What is known and unchanged is there at once. What must be read from afar, or written, is done in a thread, and the exchange
goes on when it is done. An answer that sets a cookie we keep waits until the cookie is stored. What cannot be read or
stored refuses; what nobody may try twice is not tried.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Literal, Protocol

from gateway.edge.escort import Escort, EscortRules, SignOnRules
from gateway.edge.exchange import Exchange, Refusal
from gateway.exchange.errors import GatewayError
from gateway.exchange.reason import Reason
from gateway.exchange.session import Session
from gateway.session.vault import Owner, Vault, VaultRules
from gateway.wire.set_cookie import Cookie

MAX_WAITING: Final = 1024
"""Exchanges of one worker that may wait for a thread of one kind; more of them are refused at once."""
TRIAL_S: Final = 60.0
"""Longest time in which a name and password are on trial before another request may try them."""
RETRY_S: Final = 1.0
STAGE: Final = "portal"
_UNAVAILABLE: Final = Refusal(STAGE, Reason.STORE_UNAVAILABLE, retry_after_s=2.0)
_NEEDED: Final = Refusal(STAGE, Reason.PORTAL_SIGN_ON)
_REFUSED: Final = Refusal(STAGE, Reason.PORTAL_REFUSED)
_BUSY: Final = Refusal(STAGE, Reason.OVERLOADED, retry_after_s=RETRY_S)


class Vaults(Protocol):
    """Where cookies are kept. Methods raise `StoreUnavailableError`; all but `peek` may be called in any thread."""

    @property
    def is_local(self) -> bool:
        """`load` takes microseconds."""

    def peek(self, owner: Owner, now: float) -> Vault | None:
        """Return a vault that is known and unchanged."""

    def load(self, owner: Owner, now: float) -> Vault:
        """Read a vault."""

    def change(self, owner: Owner, changes: Sequence[Cookie], rules: VaultRules, now: float) -> int:
        """Merge cookies into a vault; returns how many gave way. They are safe when this returns."""


class Known(Protocol):
    """A person's name and password at a portal, and what became of them."""

    @property
    def username(self) -> str:
        """Name."""

    @property
    def password(self) -> str:
        """Password."""

    @property
    def digest(self) -> bytes:
        """Tells them from others."""

    @property
    def standing(self) -> Literal["accepted", "refused", "untried"]:
        """What the portal said to them."""


class Accounts(Protocol):
    """Accounts of people at portals. Methods raise `StoreUnavailableError` and may be called in any thread."""

    def known(self, user_id: str, upstream: str, *, username: str, password: str) -> Known | None:
        """Return what goes along: name and password as given, or as the person told them where they are empty."""

    def claim(
        self, user_id: str, upstream: str, credentials: bytes, *, now: float, until: float
    ) -> Literal["granted", "busy", "refused"]:
        """Announce one attempt."""

    def settle(self, user_id: str, upstream: str, credentials: bytes, *, accepted: bool | None, now: float) -> None:
        """Say what became of it."""


class Tokens(Protocol):
    """Tokens of identity providers. Raises `StoreUnavailableError`; may be called in any thread."""

    def token(self, kind: str, token: bytes, session: Session, now: float) -> str:
        """Return the `access` or `id` token of the session whose cookie's value is `token`; empty when there is none."""


class _Threads:
    """Where one kind of waiting is done."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._threads = ThreadPoolExecutor(2, thread_name_prefix=name)
        self._waiting = 0
        self._closed = False

    def submit(self, x: Exchange, work: Callable[[], None]) -> bool:
        """Have something done that ends with `tell`; False: there is no room."""
        if self._waiting >= MAX_WAITING or self._closed:
            return False
        self._waiting += 1
        self._threads.submit(self._run, x, work)
        return True

    def tell(self, call: Callable[[], None]) -> None:
        """Say on the loop what came of it."""
        try:
            self._loop.call_soon_threadsafe(self._told, call)
        except RuntimeError:  # the loop ended first; so did the clients
            return

    def close(self) -> None:
        """Finish what is under way."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, x: Exchange, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001 - the root of what a thread does: nothing must keep an exchange waiting
            self.tell(partial(_fail, x))

    def _told(self, call: Callable[[], None]) -> None:
        self._waiting -= 1
        call()


class Escorts:
    """The escorts of one worker."""

    def __init__(
        self,
        vaults: Vaults,
        accounts: Accounts,
        tokens: Tokens | None,
        *,
        loop: asyncio.AbstractEventLoop,
        report: Callable[[str, str], None],
    ) -> None:
        self._vaults = vaults
        self._accounts = accounts
        self._tokens = tokens
        self._report = report
        self._store = _Threads("escort", loop)
        # attack: a provider that does not answer keeps everybody's cookies waiting
        self._providers = _Threads("escort tokens", loop)

    def find(self, x: Exchange, rules: EscortRules) -> Escort | Refusal | None:
        """Return what goes along with `x`, or why it must not go; None: its client is told later, by `escorted`."""
        session = x.entry.session if x.entry is not None else None
        assert session is not None  # noqa: S101 - nothing goes along for nobody
        token = (x.fields.secure_token if x.secure else x.fields.plain_token) or b""
        if session.credential != "cookie" or x.entry is x.peer.entry:
            token = b""  # a program keeps its own cookies: there is no secret of a session to seal them under
        owner = Owner(token, session, x.route.upstream)
        mode = x.route.vault
        vault_rules = rules.modes[mode] if mode else rules.vault
        escort = Escort(owner, rules, vault_rules if token else None)
        if not token and rules.sign_on is not None and rules.sign_on.kind == "form":
            escort.rules = None
        try:
            if self._fill(escort, rules, x.started, in_thread=False):
                return _judged(escort, x)
        except GatewayError:
            return _UNAVAILABLE
        except _NotNowError as refused:
            return refused.refusal
        threads = self._providers if rules.tokens else self._store
        return None if threads.submit(x, partial(self._fill_later, x, escort, rules, threads)) else _BUSY

    def keep(self, x: Exchange, escort: Escort, cookies: Sequence[Cookie]) -> bool:
        """Store the cookies that came with an answer; its client is told by `kept`. False: there is no room."""
        return self._store.submit(x, partial(self._keep, x, escort, cookies))

    def settle(self, x: Exchange, escort: Escort, *, accepted: bool | None) -> bool:
        """Store what the portal said to name and password; its client is told by `kept`. False: there is no room."""
        return self._store.submit(x, partial(self._settle, x, escort, accepted=accepted))

    def close(self) -> None:
        """Finish what is under way."""
        self._store.close()
        self._providers.close()

    # in a thread, or on the loop where nothing waits

    def _fill(self, escort: Escort, rules: EscortRules, now: float, *, in_thread: bool) -> bool:
        """Put in what goes along; False when that must be done in a thread."""
        owner = escort.owner
        if escort.vault_rules is not None:
            vault = self._vaults.peek(owner, now) if not in_thread else None
            if vault is None:
                if not in_thread and not self._vaults.is_local:
                    return False
                vault = self._vaults.load(owner, now)
            escort.vault = vault
        is_basic = rules.sign_on is not None and rules.sign_on.kind == "basic"
        if not in_thread and (rules.tokens or (is_basic and not self._vaults.is_local)):
            return False
        lines = []
        if rules.sign_on is not None and rules.sign_on.kind == "basic":
            line = self._basic(escort, rules.sign_on, now, in_thread=in_thread)
            if not line:
                return False
            lines.append(line)
        for kind, name in rules.tokens:
            lines.append(self._token_line(escort, kind, name, now))
        escort.fields = b"".join(lines)
        return True

    def _basic(self, escort: Escort, rules: SignOnRules, now: float, *, in_thread: bool) -> bytes:
        """Compose the Authorization of RFC 7617; empty when the trial must be announced first, in a thread."""
        session, upstream = escort.owner.session, escort.owner.upstream
        known = self._accounts.known(
            session.user_id, upstream, username=filled(rules.username, session), password=rules.password
        )
        if known is None:
            raise _NotNowError(_NEEDED)
        if known.standing == "refused" or ":" in known.username:  # RFC 7617 section 2: it would be another name
            raise _NotNowError(_REFUSED)
        if known.standing == "untried":
            if not in_thread:
                return b""
            verdict = self._accounts.claim(session.user_id, upstream, known.digest, now=now, until=now + TRIAL_S)
            if verdict != "granted":
                raise _NotNowError(_BUSY if verdict == "busy" else _REFUSED)
            escort.is_trial = True
        escort.credentials = known.digest
        escort.authorizes = True
        pair = f"{known.username}:{known.password}".encode()
        return b"authorization: Basic %b\r\n" % b64encode(pair)

    def _token_line(self, escort: Escort, kind: str, name: bytes, now: float) -> bytes:
        owner = escort.owner
        if self._tokens is None or not owner.token:
            return b""
        token = self._tokens.token(kind, owner.token, owner.session, now)
        if not token:
            return b""
        if not (token.isascii() and token.isprintable()) or " " in token:  # attack: a provider that ends lines
            self._report("portal.malformed_token", owner.upstream)
            return b""
        if name == b"authorization":
            escort.authorizes = True
            return b"authorization: Bearer %b\r\n" % token.encode("ascii")
        return b"%b: %b\r\n" % (name, token.encode("ascii"))

    # threads

    def _fill_later(self, x: Exchange, escort: Escort, rules: EscortRules, threads: _Threads) -> None:
        found: Escort | Refusal
        try:
            self._fill(escort, rules, x.started, in_thread=True)
            found = _judged(escort, x)
        except GatewayError:
            found = _UNAVAILABLE
        except _NotNowError as refused:
            found = refused.refusal
        threads.tell(partial(_escorted, x, found))

    def _keep(self, x: Exchange, escort: Escort, cookies: Sequence[Cookie]) -> None:
        assert escort.vault_rules is not None  # noqa: S101 - else nothing was taken
        try:
            evicted = self._vaults.change(escort.owner, cookies, escort.vault_rules, x.started)
        except GatewayError:
            self._store.tell(partial(_kept, x, -1))
        else:
            self._store.tell(partial(_kept, x, evicted))

    def _settle(self, x: Exchange, escort: Escort, *, accepted: bool | None) -> None:
        session = escort.owner.session
        try:
            self._accounts.settle(
                session.user_id, escort.owner.upstream, escort.credentials, accepted=accepted, now=x.started
            )
        except GatewayError:
            self._store.tell(partial(_kept, x, -1))
        else:
            self._store.tell(partial(_kept, x, 0))


class _NotNowError(Exception):
    """The request must not go."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


def filled(template: str, session: Session) -> str:
    """Put a person into a template such as `{user}`; each word once, so that no name is a template itself."""
    parts = template.replace("{", "\0{").replace("}", "}\0").split("\0")
    words = {"{user}": session.user, "{email}": session.email, "{tenant}": session.tenant}
    return "".join([words.get(part, part) for part in parts])


def _judged(escort: Escort, x: Exchange) -> Escort | Refusal:
    return _NEEDED if escort.needs_sign_on() and not x.route.public else escort


def _escorted(x: Exchange, found: Escort | Refusal) -> None:
    x.client.escorted(x, found)


def _kept(x: Exchange, evicted: int) -> None:
    x.client.kept(x, evicted)


def _fail(x: Exchange) -> None:
    x.client.broke(x)
