"""What a person can do with an account: sign in, prove a second factor, manage sessions and secrets.

The pages call this and nothing else of the store. Each method decides whole: throttling, hashing,
compare-and-set and session rotation happen here, so a page cannot forget one. It renders nothing,
sets no cookie and writes no audit record; each result carries the events that the record must say.
"""

from __future__ import annotations

import msgspec

from gateway.exchange.envelope import Event
from gateway.exchange.reason import Reason
from gateway.exchange.session import Session


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request to the pages came from, as the edge's envelope says."""

    ip: str
    host: str
    secure: bool
    """The browser speaks TLS to us (`scheme == "https"`)."""
    tenant: str = ""
    """Tenant of the host; empty when the host is shared."""
    user_agent: str = ""


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A new token for the cookie; whatever token came with the request is dead."""

    token: bytes
    session: Session
    """`session.owes` says what the next page is."""
    events: tuple[Event, ...]


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """No, and why. The reason is safe to show; the event may know more."""

    reason: Reason
    """CREDENTIALS_REFUSED, CODE_REFUSED, TOO_MANY_ATTEMPTS, PASSWORD_REFUSED, FRESH_SIGN_IN_REQUIRED,
    SESSION_EXPIRED (no live session for the token), MFA_REQUIRED (the session still owes its factor)."""
    retry_after_s: int = 0
    problem: str = ""
    """For PASSWORD_REFUSED one sentence for the person: what is wrong with the new password."""
    events: tuple[Event, ...] = ()


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """A TOTP secret waiting for its first code. Valid for ten minutes and for this session alone."""

    secret: str
    """Base32 without padding."""
    uri: str
    """`otpauth://totp/...` for the QR code."""
    expires: float


class Enrolled(msgspec.Struct, frozen=True, kw_only=True):
    """The factor is active; the codes are shown once and exist nowhere in the clear."""

    token: bytes
    session: Session
    recovery_codes: tuple[str, ...]
    events: tuple[Event, ...]


class RecoveryCodes(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh set; every earlier code is void."""

    codes: tuple[str, ...]
    events: tuple[Event, ...]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """It happened, to `count` sessions."""

    count: int
    events: tuple[Event, ...]


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One session of the person, for the account page."""

    handle: str
    current: bool
    created: float
    seen: float
    expires: float
    client_ip: str
    user_agent: str
    amr: tuple[str, ...]


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """What the account page shows."""

    session: Session
    has_totp: bool
    recovery_codes_left: int
    password_changed: float
    """Unix seconds."""
    devices: tuple[Device, ...]
    """Current session first, then by last seen, newest first."""


class Accounts:
    """All of it, for one process. Methods raise `StoreUnavailableError` (503, nobody is signed out) and `OverloadedError` (503)."""

    async def identify(self, token: bytes, *, client: Client, now: float) -> Session | None:
        """Find the live session of a cookie value, bound to `client.host` and to TLS or not."""
        raise NotImplementedError

    async def sign_in(
        self, name: str, password: str, *, client: Client, now: float, replaces: bytes = b""
    ) -> SignedIn | Refused:
        """Check a name and a password; `replaces` is the token of the cookie that came along: its session ends."""
        raise NotImplementedError

    async def verify_code(self, token: bytes, code: str, *, client: Client, now: float) -> SignedIn | Refused:
        """Take a TOTP or recovery code; the session is rotated and owes nothing any more. Also the step-up of a complete session."""
        raise NotImplementedError

    async def begin_enrolment(self, token: bytes, *, client: Client, now: float, code: str = "") -> Enrolment | Refused:
        """Make (or show again) the TOTP secret of this session's enrolment.

        A person who already has a factor gives its `code` (else FRESH_SIGN_IN_REQUIRED); showing again needs none.
        """
        raise NotImplementedError

    async def confirm_enrolment(self, token: bytes, code: str, *, client: Client, now: float) -> Enrolled | Refused:
        """Activate the secret by its first code: the session is rotated, every other session of the person ends."""
        raise NotImplementedError

    async def account(self, token: bytes, *, client: Client, now: float) -> AccountView | Refused:
        """Everything the account page shows; refuses a session that still owes a factor."""
        raise NotImplementedError

    async def change_password(
        self, token: bytes, current: str, new: str, *, client: Client, now: float, code: str = ""
    ) -> SignedIn | Refused:
        """Replace the password: needs the current one and, with a factor, a fresh code. Rotates this session, ends the others."""
        raise NotImplementedError

    async def replace_recovery_codes(
        self, token: bytes, code: str, *, client: Client, now: float
    ) -> RecoveryCodes | Refused:
        """Make ten new codes against a fresh code."""
        raise NotImplementedError

    async def revoke_session(self, token: bytes, handle: str, *, client: Client, now: float) -> Done | Refused:
        """End one session of the same person by its handle; unknown handles and other people's count as 0."""
        raise NotImplementedError

    async def revoke_others(self, token: bytes, *, client: Client, now: float) -> Done | Refused:
        """End every session of the person but this one."""
        raise NotImplementedError

    async def sign_out(self, token: bytes, *, client: Client, now: float) -> Done:
        """End the session of the token; no session counts as done."""
        raise NotImplementedError
