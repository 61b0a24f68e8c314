"""What the pages need to know of accounts, declared here because they are the consumer.

The pages decide nothing about passwords, codes or sessions: every method below decides whole
(throttling, hashing, rotation) and returns what happened. All methods raise
`StoreUnavailableError` or another `GatewayError` when they could not decide; nobody is signed out
by that. These Protocols say nothing about durability: the edge holds the answer back until the
audit record of its events is safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar, runtime_checkable

from gateway.exchange.envelope import Event
from gateway.exchange.reason import Reason
from gateway.exchange.session import Session

ClientT = TypeVar("ClientT")
ClientT_co = TypeVar("ClientT_co", covariant=True)
ClientT_contra = TypeVar("ClientT_contra", contravariant=True)


class ClientMaker(Protocol[ClientT_co]):
    """Makes the accounts' own word for where a request came from."""

    def __call__(
        self,
        *,
        ip: str,
        host: str,
        secure: bool,
        tenant: str,
        user_agent: str,
        certificate: str,
        device: bytes,
        language: str,
    ) -> ClientT_co:
        """Make it; all values are the edge's, except the client's `user_agent`, cookie of its `device` and `language`."""
        ...


@runtime_checkable
class Happened(Protocol):
    """Anything that was decided and must be in the audit record."""

    @property
    def events(self) -> tuple[Event, ...]:
        """What the record must say."""
        ...


@runtime_checkable
class Refusal(Happened, Protocol):
    """No, and why."""

    @property
    def reason(self) -> Reason:
        """Safe to show."""
        ...

    @property
    def retry_after_s(self) -> int:
        """Seconds to wait; 0 = unsaid."""
        ...

    @property
    def problem(self) -> str:
        """For PASSWORD_REFUSED one sentence for the person."""
        ...


class SignedIn(Happened, Protocol):
    """A new token for the cookie; the one that came along is dead."""

    @property
    def token(self) -> bytes:
        """The cookie's value."""
        ...

    @property
    def session(self) -> Session:
        """`owes` says what the next page is."""
        ...

    @property
    def device(self) -> bytes:
        """The device cookie from now on; empty = the browser keeps the one it has."""
        ...


class Enrolment(Protocol):
    """A TOTP secret that waits for its first code."""

    @property
    def secret(self) -> str:
        """Base32 without padding."""
        ...

    @property
    def uri(self) -> str:
        """`otpauth://totp/…`."""
        ...


class Enrolled(SignedIn, Protocol):
    """The factor is active."""

    @property
    def recovery_codes(self) -> tuple[str, ...]:
        """Shown once."""
        ...


class RecoveryCodes(Happened, Protocol):
    """A fresh set; every earlier code is void."""

    @property
    def codes(self) -> tuple[str, ...]:
        """Shown once."""
        ...


class Done(Happened, Protocol):
    """It happened, to `count` sessions."""

    @property
    def count(self) -> int:
        """How many sessions ended."""
        ...


class Device(Protocol):
    """One session in the list. Times are unix seconds."""

    @property
    def handle(self) -> str:
        """Public name of the session."""
        ...

    @property
    def current(self) -> bool:
        """It is the session that asks."""
        ...

    @property
    def created(self) -> float:
        """When the person signed in."""
        ...

    @property
    def seen(self) -> float:
        """When it was last used."""
        ...

    @property
    def client_ip(self) -> str:
        """Where it signed in from."""
        ...

    @property
    def user_agent(self) -> str:
        """What the browser called itself."""
        ...


class AccountView(Protocol):
    """What the account page shows."""

    @property
    def session(self) -> Session:
        """The session that asks."""
        ...

    @property
    def has_totp(self) -> bool:
        """An authenticator app is set up."""
        ...

    @property
    def recovery_codes_left(self) -> int:
        """Unused ones."""
        ...

    @property
    def password_changed(self) -> float:
        """Unix seconds; 0 = never."""
        ...

    @property
    def remembered_devices(self) -> int:
        """How many browsers are not asked for a second factor."""
        ...

    @property
    def devices(self) -> Sequence[Device]:
        """Current session first."""
        ...


class Accounts(Protocol[ClientT_contra]):
    """Everything a person can do with an account. `token` is the cookie's value, `now` unix seconds."""

    async def identify(self, token: bytes, *, client: ClientT_contra, now: float) -> Session | None:
        """Find the live session of a cookie value on this host and scheme."""
        ...

    async def sign_in(
        self, name: str, password: str, *, client: ClientT_contra, now: float, replaces: bytes = b""
    ) -> SignedIn | Refusal:
        """Check a name and a password; the session of `replaces` ends."""
        ...

    async def verify_code(
        self, token: bytes, code: str, *, client: ClientT_contra, now: float, remember: bool = False
    ) -> SignedIn | Refusal:
        """Take a TOTP or recovery code; the session is rotated. `remember`: not to be asked on this device for a while."""
        ...

    async def begin_enrolment(
        self, token: bytes, *, client: ClientT_contra, now: float, code: str = ""
    ) -> Enrolment | Refusal:
        """Make, or show again, the secret; a person who has a factor gives its code first (FRESH_SIGN_IN_REQUIRED)."""
        ...

    async def confirm_enrolment(
        self, token: bytes, code: str, *, client: ClientT_contra, now: float
    ) -> Enrolled | Refusal:
        """Activate the secret by its first code; the session is rotated, the others end."""
        ...

    async def account(self, token: bytes, *, client: ClientT_contra, now: float) -> AccountView | Refusal:
        """Read what the account page shows."""
        ...

    async def change_password(
        self, token: bytes, current: str, new: str, *, client: ClientT_contra, now: float, code: str = ""
    ) -> SignedIn | Refusal:
        """Replace the password; the session is rotated, the others end."""
        ...

    async def replace_recovery_codes(
        self, token: bytes, code: str, *, client: ClientT_contra, now: float
    ) -> RecoveryCodes | Refusal:
        """Make ten new codes against a fresh code."""
        ...

    async def waiting_for(self, token: bytes, *, client: ClientT_contra, now: float) -> Sequence[Device] | Refusal:
        """List the whole sessions of the person whose session waits until one of them has ended."""
        ...

    async def make_room(self, token: bytes, handle: str, *, client: ClientT_contra, now: float) -> SignedIn | Refusal:
        """End a session of the person so that the one that waits goes on; TOO_MANY_SESSIONS while it cannot."""
        ...

    async def revoke_session(self, token: bytes, handle: str, *, client: ClientT_contra, now: float) -> Done | Refusal:
        """End one session of the same person."""
        ...

    async def revoke_others(self, token: bytes, *, client: ClientT_contra, now: float) -> Done | Refusal:
        """End every session of the person but this one."""
        ...

    async def forget_devices(self, token: bytes, *, client: ClientT_contra, now: float) -> Done | Refusal:
        """Remember no device of the person any more."""
        ...

    async def sign_out(self, token: bytes, *, client: ClientT_contra, now: float) -> Done:
        """End the session of the token."""
        ...
