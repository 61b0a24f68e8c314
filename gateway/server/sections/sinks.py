"""`audit.sinks`: where the audit trail is delivered, to whom it must be, and in which words.

One section for all types; which key belongs to which is a table, and what does not fit is said at its key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PlainValidator, StrictBool, StrictStr

from gateway.document.source import did_you_mean
from gateway.exchange.stream import STREAMS, Stream
from gateway.server.fields import Duration, Location, Name, Period, Size, parse_host, parse_port
from gateway.server.sections.secret import SecretFile
from gateway.server.sections.section import Section, not_yet
from gateway.server.unbuilt import Place

SinkType = Literal["file", "stdout", "webhook", "syslog", "kafka", "s3", "elasticsearch"]
Format = Literal["ocsf", "ecs", "cef"]

STREAM_WORD: Final = "{stream}"
_SYSLOG_TLS_PORT: Final = 6514  # RFC 5425 section 4.1
_KAFKA_PORT: Final = 9092
_MOST_RECORDS: Final = 10_000
_LARGEST_BATCH: Final = 16 << 20
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,200}")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX: Final = re.compile(r"(?:[A-Za-z0-9!_.*'()-]{1,100}/){0,10}")
_UNACKNOWLEDGED: Final = frozenset({"syslog", "stdout"})
"""Types whose receivers never say that they have something."""


class Server(NamedTuple):
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _server(default_port: int) -> PlainValidator:
    def read(value: Any) -> Server:
        if isinstance(value, Server):
            return value
        if not isinstance(value, str) or not value:
            raise ValueError("write a host, with a port where it is not the usual one, such as logs.example.com:6514")
        host, colon, port = value.rpartition(":")
        if not colon or value.endswith("]"):
            host, port = value, str(default_port)
        return Server(parse_host(host), parse_port(port))

    return PlainValidator(read)


def _url(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    parts = urlsplit(text)
    if not text.isascii() or not text.isprintable() or " " in text or parts.scheme not in {"http", "https"}:
        raise ValueError("write an address such as https://siem.example.com/audit")
    if "@" in parts.netloc:
        raise ValueError("credentials do not belong in an address; use authorization: {file: …}")
    if "#" in text:
        raise ValueError("a fragment is not sent; leave out what begins with #")
    host, port = parts.hostname or "", parts.netloc.rpartition("]")[2]
    parse_host(f"[{host}]" if ":" in host else host)
    if ":" in port:
        parse_port(port.rpartition(":")[2])
    return text


def _named(pattern: re.Pattern[str], sentence: str, *, templated: bool = False) -> BeforeValidator:
    def read(value: Any) -> Any:
        text = value if isinstance(value, str) else ""
        if not pattern.fullmatch(text.replace(STREAM_WORD, "stream") if templated else text):
            raise ValueError(sentence)
        return text

    return BeforeValidator(read)


class SinkBatch(Section):
    """How much is sent at a time."""

    records: Annotated[int, Field(strict=True, ge=1, le=_MOST_RECORDS)] = 500
    size: Annotated[Size, Field(le=_LARGEST_BATCH)] = 1 << 20
    linger: Annotated[Duration, Field(le=300.0)] | None = None
    """How long a record waits for company; None = 10 s for s3, not at all otherwise."""


class SinkRetry(Section):
    """How long a batch waits after a failure: up to a bound that doubles from `first` to `longest`."""

    first: Annotated[Period, Field(le=60.0)] = 1.0
    longest: Annotated[Period, Field(le=3600.0)] = 60.0


class SASL(Section):
    """Who we are to Kafka, beside a certificate or instead of one."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: Annotated[StrictStr, Field(min_length=1)]
    password: SecretFile


class ObjectLock(Section):
    """That no object can be changed or deleted before its time (S3 Object Lock)."""

    mode: Literal["compliance", "governance"] = "compliance"
    retain: Annotated[Period, Field(ge=86_400.0)]
    """From the time of an object's newest record on."""


class Sink(Section):
    """One receiver of the audit trail."""

    name: Name
    type: SinkType
    streams: Annotated[tuple[Stream, ...], Field(min_length=1)] = STREAMS
    required: StrictBool = False
    """Local records are kept until it has them."""
    content: Annotated[Literal["sealed", "revealed"], not_yet("revealed", what="content:")] = "sealed"
    """Personal fields go as ciphertext, or opened."""
    format: Format | None = None
    """None = ecs for elasticsearch, ocsf otherwise."""
    batch: SinkBatch = SinkBatch()
    timeout: Annotated[Period, Field(le=600.0)] = 30.0
    """Of one delivery, seconds."""
    retry: SinkRetry = SinkRetry()
    path: Location | None = None
    url: Annotated[str, PlainValidator(_url)] | None = None
    secret: SecretFile | None = None
    """Signs each batch."""
    authorization: SecretFile | None = None
    """The whole value of the field `Authorization`: `Bearer …`, `ApiKey …`, `Splunk …`."""
    server: Annotated[Server, _server(_SYSLOG_TLS_PORT)] | None = None
    facility: Annotated[int, Field(strict=True, ge=0, le=23)] = 13
    """RFC 5424 section 6.2.1; 13 = log audit."""
    enterprise: Annotated[int, Field(strict=True, ge=1, le=4_294_967_295)] = 32473
    """Private enterprise number in the name of the structured data; 32473 is RFC 5612's for examples."""
    servers: tuple[Annotated[Server, _server(_KAFKA_PORT)], ...] = ()
    topic: (
        Annotated[
            str,
            _named(
                _TOPIC, "write a topic of letters, digits, - _ . and {stream}, such as audit-{stream}", templated=True
            ),
        ]
        | None
    ) = None
    sasl: SASL | None = None
    bucket: (
        Annotated[str, _named(_BUCKET, "a bucket is 3 to 63 lower-case letters, digits, dots and hyphens")] | None
    ) = None
    prefix: Annotated[str, _named(_PREFIX, "write path segments that each end in a slash, such as gateway/audit/")] = ""
    endpoint: Annotated[str, PlainValidator(_url)] | None = None
    """Of a store that is not Amazon's."""
    region: Annotated[StrictStr, Field(min_length=1, max_length=64)] | None = None
    access_key: Annotated[StrictStr, Field(min_length=1, max_length=128)] | None = None
    secret_key: SecretFile | None = None
    path_style: StrictBool = False
    """The bucket is named in the path and not in the host."""
    object_lock: ObjectLock | None = None
    index: (
        Annotated[
            str,
            _named(
                _TOPIC, "write an index of letters, digits, - _ . and {stream}, such as audit-{stream}", templated=True
            ),
        ]
        | None
    ) = None
    ca: Location | None = None
    """Authorities of the receiver's certificate, PEM; None = those of the system."""
    certificate: Location | None = None
    """What we show to the receiver, the leaf first, PEM."""
    key: Location | None = None
    unsafe_plaintext: StrictBool = False
    """Send in the clear: everybody on the way reads and changes records."""

    def files(self) -> Iterator[tuple[str, Path, bool]]:
        """List each key that names a file to be read, with the file and whether it is a secret."""
        for key, location, is_secret in (
            ("ca", self.ca, False),
            ("certificate", self.certificate, False),
            ("key", self.key, True),
        ):
            if location is not None:
                yield key, location, is_secret

    @property
    def is_acknowledging(self) -> bool:
        """Whether the receiver says that it has something."""
        return self.type not in _UNACKNOWLEDGED

    @property
    def linger_s(self) -> float:
        """How long a record waits for company."""
        if self.batch.linger is not None:
            return self.batch.linger
        return 10.0 if self.type == "s3" else 0.0

    @property
    def format_in_use(self) -> Format:
        """In which words records go."""
        return self.format or ("ecs" if self.type == "elasticsearch" else "ocsf")

    @property
    def is_plaintext(self) -> bool:
        """Whether what is sent can be read on the way."""
        match self.type:
            case "webhook" | "elasticsearch":
                return (self.url or "").startswith("http:")
            case "s3":
                return (self.endpoint or "").startswith("http:")
            case "syslog" | "kafka":
                return self.unsafe_plaintext
            case "file" | "stdout":
                return False


_COMMON: Final = frozenset({"name", "type", "streams", "required", "content", "format", "batch", "timeout", "retry"})
_TLS: Final = frozenset({"ca", "certificate", "key", "unsafe_plaintext"})
_KEYS: Final[Mapping[SinkType, frozenset[str]]] = {
    "file": frozenset({"path"}),
    "stdout": frozenset(),
    "webhook": frozenset({"url", "secret", "authorization"}) | _TLS,
    "syslog": frozenset({"server", "facility", "enterprise"}) | _TLS,
    "kafka": frozenset({"servers", "topic", "sasl"}) | _TLS,
    "s3": frozenset(
        {
            "bucket", "prefix", "endpoint", "region", "access_key", "secret_key", "path_style", "object_lock", "ca",
            "unsafe_plaintext",
        }
    ),
    "elasticsearch": frozenset({"url", "index", "authorization"}) | _TLS,
}  # fmt: skip
_NEEDED: Final[Mapping[SinkType, tuple[str, ...]]] = {
    "file": ("path",),
    "stdout": (),
    "webhook": ("url", "secret"),
    "syslog": ("server",),
    "kafka": ("servers", "topic"),
    "s3": ("bucket",),
    "elasticsearch": ("url", "index"),
}


def contradictions(sinks: Sequence[Sink], state_dir: Path) -> Iterator[tuple[Place, str]]:
    """Find what is right in each key of `audit.sinks` and wrong together."""
    names: set[str] = set()
    paths: set[str] = set()
    for number, sink in enumerate(sinks):
        place: Place = ("audit", "sinks", number)
        if sink.name in names:
            yield (*place, "name"), f"{sink.name} is the name of another sink"
        names.add(sink.name)
        if sink.path is not None and str(sink.path) in paths:
            yield (*place, "path"), "is the file of another sink"
        if sink.path is not None:
            paths.add(str(sink.path))
            if sink.path.is_relative_to(state_dir):
                yield (*place, "path"), "is in state_dir, where nothing but the gateway's own files may be"
        yield from _of_one(place, sink)
    yield from _unproven(sinks)


def _of_one(place: Place, sink: Sink) -> Iterator[tuple[Place, str]]:
    given = sink.model_fields_set
    allowed = _KEYS[sink.type]
    for key in sorted(given - _COMMON - allowed):
        yield (*place, key), f"has no effect with type: {sink.type}" + did_you_mean(key, allowed)
    for key in _NEEDED[sink.type]:
        if not getattr(sink, key):
            yield place, f"type: {sink.type} needs the key {key}"
    if len(set(sink.streams)) < len(sink.streams):
        yield (*place, "streams"), "a stream is listed twice"
    if sink.retry.first > sink.retry.longest:
        yield (*place, "retry"), "first is longer than longest"
    if sink.linger_s >= 1 and sink.linger_s > sink.timeout * 10:
        yield (*place, "batch", "linger"), "is more than ten times timeout"
    if (sink.certificate is None) != (sink.key is None):
        yield place, "certificate and key belong together"
    if (sink.access_key is None) != (sink.secret_key is None):
        yield place, "access_key and secret_key belong together"
    yield from _of_transport(place, sink)


def _of_transport(place: Place, sink: Sink) -> Iterator[tuple[Place, str]]:
    if sink.type in {"webhook", "elasticsearch", "s3"}:
        key = "endpoint" if sink.type == "s3" else "url"
        if sink.is_plaintext and not sink.unsafe_plaintext:
            yield (
                (*place, key),
                "is http: records and credentials would travel in the clear; use https, or say unsafe_plaintext: true",
            )
        if sink.unsafe_plaintext and not sink.is_plaintext:
            yield (*place, "unsafe_plaintext"), f"has no effect: {key} is https"
    if sink.is_plaintext:
        for key in ("ca", "certificate"):
            if getattr(sink, key) is not None:
                yield (*place, key), "has no effect without TLS"
        if sink.sasl is not None and sink.sasl.mechanism == "PLAIN":
            yield (*place, "sasl", "mechanism"), "PLAIN would send the password in the clear"


def _unproven(sinks: Sequence[Sink]) -> Iterator[tuple[Place, str]]:
    """Find streams whose local records would wait for receivers that never say what they have."""
    for number, sink in enumerate(sinks):
        if not sink.required or sink.is_acknowledging:
            continue
        alone = [
            stream
            for stream in sink.streams
            if not any(other.required and other.is_acknowledging and stream in other.streams for other in sinks)
        ]
        if alone:
            yield (
                ("audit", "sinks", number, "required"),
                f"type: {sink.type} gives no acknowledgement, so it may not be the only required sink of {alone[0]}",
            )


def weakened(sinks: Sequence[Sink]) -> Iterator[tuple[Place, str]]:
    """Say which sinks send records in the clear."""
    for number, sink in enumerate(sinks):
        if sink.unsafe_plaintext:
            yield (
                ("audit", "sinks", number, "unsafe_plaintext"),
                f"everybody on the way to {sink.name} can read and change records",
            )
