"""Records, sealed segments and checkpoints as objects of an S3-compatible store, which nobody may write twice.

Each object is put with `If-None-Match: *` under a name that says what is in it (range and SHA-256), so that one
that is there already was delivered before; under Object Lock it stays until the retention of its newest record
ends. A checkpoint's name says origin and size alone: another one under that name is another history, and said.
Needs `gateway[s3]`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Any, Final, Literal

import boto3
import msgspec
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    SSLError,
)

from gateway.audit.delivery import NDJSON, Batch
from gateway.custody.sinks.sink import Fault, NotDeliveredError
from gateway.custody.sinks.thread import SinkThreads

_MOST_CALLS: Final = 6
_DIGITS: Final = 20
_THERE_ALREADY: Final = frozenset({"PreconditionFailed", "412"})
_UNAUTHORIZED: Final = frozenset(
    {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "401", "403"}
)
_MISCONFIGURED: Final = frozenset(
    {
        "NoSuchBucket",
        "404",
        "InvalidRequest",
        "InvalidBucketName",
        "PermanentRedirect",
        "ObjectLockConfigurationNotFoundError",
    }
)
_BUSY: Final = frozenset(
    {"SlowDown", "ServiceUnavailable", "ConditionalRequestConflict", "429", "503", "RequestTimeout"}
)
_SKEW: Final = "RequestTimeTooSkewed"


class Lock(msgspec.Struct, frozen=True, kw_only=True):
    """How long an object can neither be changed nor deleted."""

    mode: Literal["COMPLIANCE", "GOVERNANCE"]
    retain_s: float
    """From the time of its newest record on."""


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """Where objects go, and what proves who we are. Not to be printed."""

    bucket: str
    prefix: str = ""
    """Before every name; ends in a slash unless it is empty."""
    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = None
    """None: whatever boto3 finds, such as the role of the machine."""
    secret_key: str | None = None
    path_style: bool = False
    authorities: str | None = None
    """Path of a file with the authorities of the endpoint's certificate; None: those of the system."""
    lock: Lock | None = None
    timeout_s: float = 30.0

    def __repr__(self) -> str:  # secrets: the generated one would print the key
        return f"Bucket(bucket={self.bucket!r}, prefix={self.prefix!r})"


class S3Sink:
    """Puts objects into one bucket."""

    def __init__(self, bucket: Bucket, *, clock: Callable[[], float], content_type: str = NDJSON) -> None:
        self._bucket = bucket
        self._clock = clock
        self._content_type = content_type
        self._threads = SinkThreads("sink-s3", _MOST_CALLS)
        self._client: Any = None

    async def deliver(self, batch: Batch) -> None:
        """Put a batch as one object. Raises NotDeliveredError."""
        body = batch.body()
        name = f"records/{batch.origin}/{batch.first:0{_DIGITS}d}-{batch.last:0{_DIGITS}d}-{sha256(body).hexdigest()}.ndjson"
        newest_ns = max(delivery.time_ns for delivery in batch.deliveries)
        await self.put(name, body, content_type=self._content_type, newest_ns=newest_ns)

    async def put(self, name: str, body: bytes, *, content_type: str, newest_ns: int) -> bool:
        """Put an object that nobody has put before; returns False when one of that name is there. Raises NotDeliveredError."""
        return bool(await self._call(partial(self._put, name, body, content_type, newest_ns)))

    async def fetch(self, name: str) -> bytes:
        """Return an object's content. Raises NotDeliveredError."""
        content: bytes = await self._call(partial(self._get, name))
        return content

    async def probe(self) -> None:
        """See that the bucket is there, is ours, and locks objects if it is to. Raises NotDeliveredError."""
        await self._call(self._look)

    async def close(self) -> None:
        """Close the connections that are idle."""
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _call(self, work: Callable[[], Any]) -> Any:
        if self._client is None:
            self._client = await self._threads(self._connect)
        try:
            async with asyncio.timeout(self._bucket.timeout_s):
                return await self._threads(work)
        except TimeoutError:
            raise NotDeliveredError(Fault.TIMED_OUT, f"after {self._bucket.timeout_s:g} s") from None

    def _connect(self) -> Any:
        bucket = self._bucket
        config = Config(
            connect_timeout=bucket.timeout_s,
            read_timeout=bucket.timeout_s,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path" if bucket.path_style else "auto"},
            user_agent_extra="gateway-audit",
        )
        return boto3.session.Session(
            aws_access_key_id=bucket.access_key, aws_secret_access_key=bucket.secret_key, region_name=bucket.region
        ).client("s3", endpoint_url=bucket.endpoint, verify=bucket.authorities or True, config=config)

    def _put(self, name: str, body: bytes, content_type: str, newest_ns: int) -> bool:
        lock = self._bucket.lock
        until = newest_ns / 1e9 + lock.retain_s if lock else 0.0
        locked: dict[str, Any] = {}
        if lock and until > self._clock():  # what was to be kept until yesterday is kept no longer
            locked = {
                "ObjectLockMode": lock.mode,
                "ObjectLockRetainUntilDate": datetime.fromtimestamp(int(until) + 1, UTC),
            }
        try:
            self._client.put_object(
                Bucket=self._bucket.bucket,
                Key=self._bucket.prefix + name,
                Body=body,
                ContentType=content_type,
                ChecksumAlgorithm="SHA256",
                IfNoneMatch="*",
                **locked,
            )
        except ClientError as exc:
            if _code(exc) in _THERE_ALREADY:
                return False
            raise _fault_of(exc) from exc
        except BotoCoreError as exc:
            raise _fault_of(exc) from exc
        return True

    def _get(self, name: str) -> bytes:
        try:
            found = self._client.get_object(Bucket=self._bucket.bucket, Key=self._bucket.prefix + name)
            content: bytes = found["Body"].read()
        except (ClientError, BotoCoreError) as exc:
            raise _fault_of(exc) from exc
        return content

    def _look(self) -> None:
        bucket = self._bucket
        try:
            self._client.head_bucket(Bucket=bucket.bucket)
            if bucket.lock is None:
                return
            found = self._client.get_object_lock_configuration(Bucket=bucket.bucket)
        except (ClientError, BotoCoreError) as exc:
            raise _fault_of(exc) from exc
        if found.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            raise NotDeliveredError(Fault.MISCONFIGURED, "the bucket has no Object Lock")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _fault_of(error: ClientError | BotoCoreError) -> NotDeliveredError:
    if isinstance(error, ClientError):
        code = _code(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        detail = f"it answered {status} ({code})"
        if code in _UNAUTHORIZED:
            return NotDeliveredError(Fault.UNAUTHORIZED, detail)
        if code in _MISCONFIGURED:
            return NotDeliveredError(Fault.MISCONFIGURED, detail)
        if code == _SKEW:
            return NotDeliveredError(Fault.MISCONFIGURED, f"{detail}; set the clock of this machine")
        return NotDeliveredError(Fault.BUSY if code in _BUSY or status in (429, 503) else Fault.BROKEN, detail)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return NotDeliveredError(Fault.UNAUTHORIZED, "there are no credentials; see access_key and secret_key")
    if isinstance(error, ConnectTimeoutError | ReadTimeoutError):
        return NotDeliveredError(Fault.TIMED_OUT, type(error).__name__)
    if isinstance(error, SSLError):
        return NotDeliveredError(Fault.TLS, type(error).__name__)
    fault = Fault.UNREACHABLE if isinstance(error, EndpointConnectionError) else Fault.BROKEN
    return NotDeliveredError(fault, type(error).__name__)
