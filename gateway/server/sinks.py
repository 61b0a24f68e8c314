"""`audit.sinks` put together: receivers out of settings and files, a shipper for each of their streams.

Says what is wrong with the files before anything runs on them. It opens no connection: the custodian's duties do.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from gateway.audit.delivery import NDJSON, Format
from gateway.audit.webhook import read_secret
from gateway.custody.duty import Duty
from gateway.custody.elsewhere import ElsewhereDuty
from gateway.custody.sinks.archive import ArchiveDuty, archive_cursor
from gateway.custody.sinks.cursor import CursorFile
from gateway.custody.sinks.file import FileSink, StandardOutputSink, unwritable_because
from gateway.custody.sinks.register import Register
from gateway.custody.sinks.shipping import Limits, Shipper
from gateway.custody.sinks.sink import NotDeliveredError, Sink
from gateway.custody.sinks.standing import Retry, ShippingMetrics
from gateway.custody.sinks.syslog import Collector, SyslogSink
from gateway.custody.station import Station
from gateway.custody.threads import in_thread
from gateway.server.bundle import Bundle, CertificateBytes
from gateway.server.own_certificate import install_certificate
from gateway.server.sections.section import Section
from gateway.server.sections.sinks import Server
from gateway.server.sections.sinks import Sink as Asked
from gateway.server.settings import Settings
from gateway.server.unbuilt import Place

if TYPE_CHECKING:
    from gateway.custody.sinks.http import Endpoint

_PROBE_S: Final = 10.0
CURSORS: Final = "cursors"
"""Below `state_dir`."""
_EXTRAS: Final[Mapping[str, tuple[str, str]]] = {
    "kafka": ("aiokafka", "gateway[kafka]"),
    "s3": ("boto3", "gateway[s3]"),
}
_PLAIN_TEXT: Final = "text/plain; charset=utf-8"
_TRANSFER_SHARE: Final = 1.25
"""Of `timeout`, after which a delivery is given up even by a sink that does not keep to it."""


def sink_problems(settings: Settings, bundle: Bundle) -> list[str]:
    """Say what is wrong with the files of `audit.sinks`, and what this installation lacks for them."""
    found = []
    for number, asked in enumerate(settings.audit.sinks):
        place = f"audit.sinks[{number}]"
        module, extra = _EXTRAS.get(asked.type, ("", ""))
        if module and find_spec(module) is None:
            found.append(
                f"{place}.type: {asked.type} needs a library that is not installed; run: pip install '{extra}'"
            )
            continue
        if {key for key, _, _ in asked.files()} - {
            key.rpartition(".")[2] for key in bundle.sink_files if key.startswith(place + ".")
        }:
            continue  # narrowed away, or a file could not be read, which `bundle` has said
        try:
            build_sink(asked, place, bundle)
        except ValueError as error:
            found.append(f"{place}.{error}")
    return found


def unwritable(sinks: Sequence[Asked]) -> Iterator[tuple[Place, str]]:
    """Say which files nothing can be written to now: the gateway starts all the same, as with any receiver that is away."""
    for number, asked in enumerate(sinks):
        if asked.path is None:
            continue
        sentence = unwritable_because(asked.path)
        if sentence:
            yield ("audit", "sinks", number, "path"), sentence


def build_sink(asked: Asked, place: str, bundle: Bundle) -> Sink:
    """Make what speaks to a receiver. Raises ValueError with the key that is wrong and a sentence without a secret."""
    match asked.type:
        case "file":
            return FileSink(asked.path or Path())
        case "stdout":
            return StandardOutputSink()
        case "webhook":
            from gateway.custody.sinks.webhook import WebhookSink  # noqa: PLC0415 - aiohttp, for those who use it

            content_type = _PLAIN_TEXT if asked.format_in_use == "cef" else NDJSON
            try:
                secret = read_secret(bundle.secrets.get(f"{place}.secret", b"-" * 32))
            except ValueError as error:
                raise ValueError(f"secret: {error}") from None
            return WebhookSink(
                _endpoint(asked, place, bundle), secret=secret, content_type=content_type, clock=time.time
            )
        case "elasticsearch":
            from gateway.custody.sinks.elasticsearch import ElasticsearchSink  # noqa: PLC0415 - aiohttp

            return ElasticsearchSink(_endpoint(asked, place, bundle), index=asked.index or "")
        case "syslog":
            host, port = asked.server or ("", 0)
            return SyslogSink(
                Collector(
                    host=host,
                    port=port,
                    tls=_context(asked, place, bundle),
                    facility=asked.facility,
                    enterprise=asked.enterprise,
                    timeout_s=asked.timeout,
                )
            )
        case "kafka":
            return _kafka(asked, place, bundle)
        case "s3":
            return _s3(asked, place, bundle)


def _kafka(asked: Asked, place: str, bundle: Bundle) -> Sink:
    from gateway.custody.sinks.kafka import Cluster, KafkaSink  # noqa: PLC0415 - an extra

    return KafkaSink(
        Cluster(
            servers=tuple(map(str, asked.servers)),
            topic=asked.topic or "",
            tls=_context(asked, place, bundle),
            mechanism=asked.sasl.mechanism if asked.sasl else "",
            username=asked.sasl.username if asked.sasl else "",
            password=_text(bundle, f"{place}.sasl.password") if asked.sasl else "",
            timeout_s=asked.timeout,
        )
    )


def _s3(asked: Asked, place: str, bundle: Bundle) -> Sink:
    from gateway.custody.sinks.s3 import Bucket, Lock, S3Sink  # noqa: PLC0415 - an extra

    lock = asked.object_lock
    _context(asked, place, bundle)  # says what is wrong with `ca`
    return S3Sink(
        Bucket(
            bucket=asked.bucket or "",
            prefix=asked.prefix,
            endpoint=asked.endpoint,
            region=asked.region,
            access_key=asked.access_key,
            secret_key=_text(bundle, f"{place}.secret_key") if asked.secret_key else None,
            path_style=asked.path_style,
            authorities=str(asked.ca) if asked.ca else None,
            lock=Lock(mode="COMPLIANCE" if lock.mode == "compliance" else "GOVERNANCE", retain_s=lock.retain)
            if lock
            else None,
            timeout_s=asked.timeout,
        ),
        clock=time.time,
    )


def sink_duties(
    settings: Settings, bundle: Bundle, station: Station, metrics: ShippingMetrics, *, badge: bytes
) -> list[Duty]:
    """Make every duty of `audit.sinks`."""
    directory = station.layout.state_dir / CURSORS
    shared: dict[str, Any] = {"recorder": station.trail.record, "threads": in_thread}
    remote: list[Shipper] = []
    duties: list[Duty] = [Register(directory, _described(settings.audit.sinks), **shared)]
    for number, asked in enumerate(settings.audit.sinks):
        sink = build_sink(asked, f"audit.sinks[{number}]", bundle)
        retry = Retry(first_s=asked.retry.first, longest_s=asked.retry.longest)
        for stream in asked.streams:
            shipper = Shipper(
                sink,
                station.tails[stream],
                CursorFile(directory, asked.name, stream),
                is_required=asked.required,
                form=Format(asked.format_in_use),
                limits=Limits(records=asked.batch.records, bytes=asked.batch.size, linger_s=asked.linger_s),
                retry=retry,
                timeout_s=asked.timeout * _TRANSFER_SHARE,
                metrics=metrics,
                clock=time.time,
                random=random.SystemRandom().random,
                **shared,
            )
            duties.append(shipper)
            if asked.is_acknowledging:  # whoever says nothing does not say that a record is safe with it
                remote.append(shipper)
            if asked.type == "s3":
                duties.append(
                    ArchiveDuty(
                        cast("Any", sink),  # only S3's is asked for objects
                        station.tails[stream],
                        station.layout.directory,
                        archive_cursor(directory, asked.name, stream),
                        stream=stream,
                        retry=retry,
                        metrics=metrics,
                        clock=time.time,
                        random=random.SystemRandom().random,
                        **shared,
                    )
                )
    if any(shipper.is_required for shipper in remote):
        duties.append(ElsewhereDuty(station.layout.socket, remote, station.tails, badge=badge))
    return duties


async def probe_sinks(settings: Settings, bundle: Bundle) -> dict[str, str]:
    """Ask each receiver whether it could be delivered to now; returns the names of those that could not, and why."""

    async def probe(number: int, asked: Asked) -> tuple[str, str]:
        sink = build_sink(asked, f"audit.sinks[{number}]", bundle)
        try:
            async with asyncio.timeout(min(asked.timeout, _PROBE_S)):
                await sink.probe()
        except NotDeliveredError as error:
            return asked.name, str(error)
        except TimeoutError:
            return asked.name, "the receiver did not answer in time"
        finally:
            await sink.close()
        return asked.name, ""

    answers = await asyncio.gather(*(probe(number, asked) for number, asked in enumerate(settings.audit.sinks)))
    return {name: sentence for name, sentence in answers if sentence}


def _described(sinks: Sequence[Asked]) -> dict[str, dict[str, Any]]:
    """Return what the log says of each sink: where, what and to whom; paths of secrets, never secrets."""
    return {asked.name: _plain(asked) for asked in sinks}


def _plain(value: Any) -> Any:
    """Turn what was given in a section into JSON."""
    if isinstance(value, Section):
        return {name: _plain(getattr(value, name)) for name in sorted(value.model_fields_set)}
    if isinstance(value, list | tuple) and not isinstance(value, Server):
        return [_plain(member) for member in value]
    return value if isinstance(value, bool | int) else str(value)


def _endpoint(asked: Asked, place: str, bundle: Bundle) -> Endpoint:
    from gateway.custody.sinks.http import Endpoint  # noqa: PLC0415 - aiohttp

    authorization = _text(bundle, f"{place}.authorization") if asked.authorization else ""
    if not authorization.isprintable() or not authorization.isascii():
        raise ValueError("authorization: is not one line of printable ASCII")
    return Endpoint(
        url=(asked.url or "").rstrip("/") if asked.type == "elasticsearch" else asked.url or "",
        tls=_context(asked, place, bundle),
        authorization=authorization,
        timeout_s=asked.timeout,
    )


def _text(bundle: Bundle, place: str) -> str:
    try:
        return bundle.secrets.get(place, b"").decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{place.rpartition('.')[2]}: the file is not UTF-8") from None


def _context(asked: Asked, place: str, bundle: Bundle) -> ssl.SSLContext | None:
    """Build the client side of TLS, 1.2 or later; None where there is none."""
    if asked.is_plaintext:
        return None
    authorities = bundle.sink_files.get(f"{place}.ca")
    try:
        context = ssl.create_default_context(cadata=authorities.decode("ascii") if authorities else None)
    except (ValueError, ssl.SSLError):
        raise ValueError("ca: holds no certificate that can be read (PEM)") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    chain, key = bundle.sink_files.get(f"{place}.certificate"), bundle.sink_files.get(f"{place}.key")
    if chain is not None and key is not None:
        try:
            install_certificate(context, CertificateBytes(name=f"{place}.certificate", chain=chain, key=key))
        except ValueError as error:
            raise ValueError(str(error).removeprefix("tls.")) from None
    return context
