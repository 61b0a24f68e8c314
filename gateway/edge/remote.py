"""What waits for a store in the network: the exchanges of one worker, between the halves of the pipeline.

All questions of one tick of the loop go out together, and whoever asked goes on, in the order of asking, with the answers
in hand; nothing is remembered beyond that. Whether a request may pass is not decided here, and what does not come in time is
the store's failure: the request is refused, the cookie stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic, time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from gateway.authn.certificate import AmbiguousCertificateError
from gateway.edge.certified import certificate_entry
from gateway.edge.credential import Presented, presented
from gateway.edge.exchange import Exchange, Phase, Refusal
from gateway.edge.pipeline import STORE_RETRY_S
from gateway.edge.remote_limits import Owing, RemoteLimits
from gateway.edge.sessions import Sessions
from gateway.edge.snapshot import Snapshot
from gateway.exchange.reason import Reason
from gateway.exchange.session import Session
from gateway.session.token import is_token

if TYPE_CHECKING:
    from gateway.edge.metrics import EdgeMetrics

MAX_PARKED: Final = 16_384
"""Exchanges of one worker that may wait; more of them are refused at once."""
SESSION, PERSON, API_KEY = "session", "person", "api_key"
UNAVAILABLE: Final = Refusal("session", Reason.STORE_UNAVAILABLE, retry_after_s=STORE_RETRY_S)


class Want(NamedTuple):
    """One thing that a decision needs to know."""

    kind: str
    value: bytes
    """Of a session its token, of a person `tenant NUL name`, of an API key the key."""


class Answers(Sessions, Protocol):
    """What one question brought. Look-ups raise `StoreUnavailableError` for what it did not."""

    @property
    def why(self) -> str:
        """Why there is nothing; empty when the question was answered."""

    def missing(self) -> Sequence[tuple[str, bytes]]:
        """Hand over kind and value of what was looked up without having been asked for; nothing where asking is no use."""


class RemoteStore(Protocol):
    """A store that answers later."""

    def read(self, wants: Sequence[Want], answered: Callable[[Answers], None]) -> None:
        """Look all of them up at once, and call `answered` exactly once, within the store's time-out."""

    def unread(self) -> Answers:
        """Return what is known without a look-up: nothing."""


class RemoteState:
    """Everything of one worker that waits for the store."""

    def __init__(
        self,
        store: RemoteStore,
        limits: RemoteLimits,
        *,
        soon: Callable[[Callable[[], None]], None],
        metrics: EdgeMetrics,
    ) -> None:
        self.limits = limits
        self._store = store
        self._soon = soon
        self._metrics = metrics
        self.unread = store.unread()
        self._parked: list[Exchange] = []
        self._wants: list[Want] = []
        self.waiting = 0
        """Exchanges whose questions are not answered yet."""

    # before the decision

    def ask(self, x: Exchange, more: Sequence[Want] = ()) -> None:
        """Have what the decision about `x` needs read; its client's `decide_with` goes on."""
        wants = [*wanted(x, x.snapshot), *more]
        if not wants:
            x.client.decide_with(x, self.unread)
            return
        if self.waiting >= MAX_PARKED:
            x.client.go_on(x, UNAVAILABLE)
            return
        x.phase = Phase.PARKED
        x.stage, x.reason = UNAVAILABLE.stage, UNAVAILABLE.reason  # what its record says if its client does not wait
        self._park(x, wants)

    def ask_again(self, x: Exchange, current: Snapshot, more: Sequence[Want] = ()) -> None:
        """Have what another decision about `x`, which lasts, needs read; its client's `look_again` goes on."""
        wants = [*wanted(x, current), *more]
        if wants:
            self._park(x, wants)
        else:
            self._look_again(x, self.unread)

    def _look_again(self, x: Exchange, answers: Answers) -> None:
        x.client.look_again(x, answers, time())
        more = unasked(answers)
        x.asked, was_asked = bool(more), x.asked
        if more and not was_asked and x.phase is Phase.RELEASED:
            self._park(x, [*wanted(x, x.snapshot), *more])

    def _park(self, x: Exchange, wants: list[Want]) -> None:
        if not self._parked:
            self._soon(self._read)
        self.waiting += 1
        self._parked.append(x)
        self._wants.extend(wants)

    def _read(self) -> None:
        """Everything of this tick has asked."""
        parked, self._parked = self._parked, []
        wants, self._wants = self._wants, []
        self._metrics.store_batches.inc(("sessions",))
        self._metrics.store_requests.inc(("sessions",), len(parked))
        self._store.read(wants, partial(self._answered, parked, monotonic()))

    def _answered(self, parked: list[Exchange], asked: float, answers: Answers) -> None:
        self.waiting -= len(parked)
        if answers.why:
            self._metrics.store_unanswered.inc(("sessions",))
        self._metrics.store_operations.observe(monotonic() - asked, ("redis", "sessions"))
        for x in parked:
            try:
                if x.phase is Phase.PARKED:
                    x.phase = Phase.DECIDING
                    x.client.decide_with(x, answers)
                elif x.phase is Phase.RELEASED:
                    self._look_again(x, answers)
            except Exception:  # noqa: BLE001 - one exchange must not keep the others waiting
                x.failed()

    # after the decision

    def settle(self, x: Exchange, owed: list[Owing]) -> None:
        """Have what an allowed `x` owes to limits counted; its client's `go_on` goes on."""
        x.phase = Phase.PARKED  # nobody takes its body: it is not allowed until it is counted
        self.waiting += 1
        reason = Reason.TOO_MANY_ATTEMPTS if x.stage == "pages" else Reason.RATE_LIMITED
        self.limits.settle(owed, reason, partial(self._settled, x))

    def _settled(self, x: Exchange, refusal: Refusal | None) -> None:
        self.waiting -= 1
        if x.phase is not Phase.PARKED:
            return
        x.phase = Phase.DECIDING
        try:
            x.client.go_on(x, refusal)
        except Exception:  # noqa: BLE001 - one exchange must not keep the others waiting
            x.failed()


def wanted(x: Exchange, s: Snapshot) -> list[Want]:
    """List what a decision about `x` is about to look up."""
    fields = x.fields
    wants = [Want(SESSION, token) for token in (fields.secure_token, fields.plain_token) if token and is_token(token)]
    if x.peer.certificate is not None:
        try:
            certified = certificate_entry(x.peer, s, x.started)
        except AmbiguousCertificateError:
            certified = None  # refused by the decision
        if certified is not None:
            wants.append(person(certified.session))
    match = x.resolution.match if x.resolution is not None else None
    if match is not None and match.rule.takes_fields:
        shown = presented(x, s.credentials)
        if isinstance(shown, Presented) and shown.key:
            wants.append(Want(API_KEY, shown.key))
        elif isinstance(shown, Presented):
            bearer = s.credentials.bearers.recall(shown.token, s.credentials.issuers, x.started)
            if bearer is not None:
                wants.append(person(bearer.session))
    return wants


def unasked(answers: Answers) -> list[Want]:
    """List what only showed while it was decided: whom a token names that was never seen before."""
    return [Want(kind, value) for kind, value in answers.missing()]


def person(session: Session) -> Want:
    """Want to know whether the account of a session is disabled."""
    return Want(PERSON, f"{session.tenant}\0{session.user}".encode())
