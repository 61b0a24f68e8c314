"""What the pages ask the custodian about the audit log, and what it answers: the words of `state_dir/run/evidence.sock`.

The pages have no key of the log, the custodian has none of a person: questions carry people as pseudonyms, answers
carry records as they are stored. A connection is the badge of whoever may ask, one question and one answer, each
MessagePack behind four bytes of its length. Who may see what is decided by the custodian, from what the question says of who asks.
"""

from __future__ import annotations

from struct import Struct
from typing import Annotated, Final, Literal

import msgspec

from gateway.exchange.errors import GatewayError
from gateway.exchange.stream import STREAMS, Stream

SOCKET_NAME: Final = "evidence.sock"
BADGE_BYTES: Final = 16
MAX_QUESTION_BYTES: Final = 32 * 1024
MAX_ANSWER_BYTES: Final = 24 << 20
MAX_ROWS: Final = 10_000
"""Records of one export."""
MAX_START: Final = 2_000
"""Newest records that can be leafed through."""
LENGTH: Final = Struct(">I")

_Short = Annotated[str, msgspec.Meta(max_length=256)]
_Token = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]


class InquiryError(GatewayError):
    """Bytes that are no question, or no answer."""


class Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text under the key of a person, as it stands in records."""

    c: Annotated[str, msgspec.Meta(max_length=8192)]
    t: _Token
    e: Literal[1] = 1


Said = _Short | Sealed
"""How somebody is named in the record of a question."""


class Asker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who asks, as the state said at this request."""

    user_id: Said
    user: Said
    tenant: _Short
    is_operator: bool
    """Of every organisation; else of `tenant` alone."""
    session: _Short
    request_id: _Short
    """Of the page that is to show it."""


class Whom(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person or thing that is looked for."""

    said: Said
    names: Annotated[tuple[_Short, ...], msgspec.Meta(max_length=8)] = ()
    """Under which it stands in clear."""
    tokens: Annotated[tuple[_Token, ...], msgspec.Meta(max_length=64)] = ()
    """Under whose pseudonyms it may be sealed."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which records; what is empty asks for nothing."""

    since: float = 0.0
    """Unix seconds."""
    until: float = 0.0
    streams: tuple[Stream, ...] = STREAMS
    person: Whom | None = None
    resource_type: _Short = ""
    resource: Whom | None = None
    """The id of it; only with a type."""
    request_id: _Short = ""
    decision: Literal["", "allow", "deny"] = ""


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question."""

    about: Literal["search", "export", "record", "proof"]
    asker: Asker
    wanted: Wanted = Wanted()
    start: Annotated[int, msgspec.Meta(ge=0, le=MAX_START)] = 0
    """Of a search: how many of the newest are passed over."""
    size: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50
    stream: Stream = Stream.SECURITY
    """Of a record."""
    index: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] = 0


class Row(msgspec.Struct, frozen=True, array_like=True):
    """A record as it is stored, and where it stands."""

    stream: Stream
    index: int
    taken_in_ns: int
    payload: bytes


class Cosignature(msgspec.Struct, frozen=True):
    """A witness that cosigned."""

    name: str
    at: float
    """By its clock, unix seconds."""


class Lag(msgspec.Struct, frozen=True):
    """How far a sink has a stream."""

    sink: str
    waiting: int
    """Records that it does not have yet."""
    is_required: bool


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What can be proven of one stream, and by whom."""

    stream: Stream
    origin: str = ""
    """Empty = the log has not begun."""
    first: int = 0
    """Index of the oldest record that is kept."""
    size: int = 0
    root: str = ""
    """Base64."""
    checkpoint_at: float = 0.0
    """When the tree head was written, unix seconds."""
    segments: int = 0
    """Files that are closed and sealed."""
    open_files: int = 0
    cosigned_size: int = 0
    cosigned: tuple[Cosignature, ...] = ()
    """Who cosigned the published tree head; verified against the policy of the gateway."""
    lags: tuple[Lag, ...] = ()


Status = Literal["ok", "none", "unrecorded", "busy", "slow", "many", "failed"]
"""`none`: there is no such thing for who asks. `unrecorded`: the question could not be recorded, so nothing is answered.
`slow`, `many`: it would take too long, or be too much; nothing is cut silently."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the custodian says."""

    status: Status
    rows: tuple[Row, ...] = ()
    """Newest first."""
    more: bool = False
    """Older ones fit as well."""
    is_damaged: bool = False
    """Files could not be read; `gateway audit verify` says which."""
    origins: dict[str, str] = {}
    """Stream -> name of its log."""
    standings: tuple[Standing, ...] = ()
    is_witnessed: bool = False
    """The gateway has witnesses."""


_encoder = msgspec.msgpack.Encoder()
_questions = msgspec.msgpack.Decoder(Question)
_answers = msgspec.msgpack.Decoder(Answer)


def pack(message: Question | Answer) -> bytes:
    """Encode a message with its length."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body


def parse_question(body: bytes) -> Question:
    """Decode a question. Raises `InquiryError`."""
    try:
        return _questions.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InquiryError(f"no question: {error}") from error


def parse_answer(body: bytes) -> Answer:
    """Decode an answer. Raises `InquiryError`."""
    try:
        return _answers.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InquiryError(f"no answer: {error}") from error
