"""`audit.sinks`: what contradicts itself is said at its key, and what fits becomes duties."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from gateway.audit.protocol import BADGE_BYTES
from gateway.custody.elsewhere import ElsewhereDuty
from gateway.custody.sinks.archive import ArchiveDuty, archive_cursor
from gateway.custody.sinks.cursor import Cursor, CursorFile
from gateway.custody.sinks.register import Register
from gateway.custody.sinks.shipping import Shipper
from gateway.custody.sinks.standing import ShippingMetrics
from gateway.custody.station import Station
from gateway.custody.trail import Trail
from gateway.document.source import DocumentError
from gateway.exchange.metrics import Registry
from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.retention import File
from gateway.server.bundle import Bundle, Kind
from gateway.server.retention import undelivered
from gateway.server.settings import Settings, load_settings
from gateway.server.sinks import CURSORS, sink_duties, sink_problems
from tests.fakes.log_receivers import Authority

BASE = """\
version: 1
public_url: https://portal.example.com
listen: [{address: "0.0.0.0:8443", tls: {certificate: c, key: k}}]
upstreams: {portal: {servers: ["http://127.0.0.1:3000"]}}
state_dir: /var/lib/gateway
audit:
  sinks:
"""
WEBHOOK = "name: a, type: webhook, url: 'https://siem.example.com/', secret: {file: s}"
S3 = "name: b, type: s3, bucket: evidence, object_lock: {retain: 30d}"
KAFKA = "name: c, type: kafka, servers: [k1.example.com], topic: 'audit-{stream}'"


def settings_of(*sinks: str) -> Settings:
    return load_settings(BASE + "".join(f"    - {{{sink}}}\n" for sink in sinks), "gateway.yaml")


@pytest.mark.parametrize(
    ("sinks", "place", "sentence"),
    [
        (["name: a, type: pigeon"], "8:23", "audit.sinks[0].type: write 'file', "),
        (["name: A, type: stdout"], "8:14", "audit.sinks[0].name: a name is"),
        (["name: a, type: file"], "8:7", "audit.sinks[0]: type: file needs the key path"),
        (["name: a, type: stdout, url: 'https://x'"], "8:", "audit.sinks[0].url: has no effect with type: stdout"),
        ([f"{WEBHOOK}, colour: red"], "8:", "audit.sinks[0].colour: unknown key"),
        (["name: a, type: webhook, url: 'http://x.example', secret: {file: s}"], "8:", "audit.sinks[0].url: is http: "),
        ([f"{WEBHOOK}, unsafe_plaintext: true"], "8:", "audit.sinks[0].unsafe_plaintext: has no effect: url is https"),
        (["name: a, type: webhook, url: 'https://u:p@x', secret: {file: s}"], "8:", "audit.sinks[0].url: credentials"),
        ([f"{WEBHOOK}, certificate: c"], "8:", "audit.sinks[0]: certificate and key belong together"),
        ([f"{WEBHOOK}, content: revealed"], "8:", "audit.sinks[0].content: content: revealed is not built yet"),
        ([f"{WEBHOOK}, streams: []"], "8:", "audit.sinks[0].streams: must not be empty"),
        ([f"{WEBHOOK}, streams: [access, access]"], "8:", "audit.sinks[0].streams: a stream is listed twice"),
        ([f"{WEBHOOK}, streams: [main]"], "8:", "audit.sinks[0].streams[0]: write 'security', 'access' or 'traffic'"),
        (
            [f"{WEBHOOK}, retry: {{first: 60s, longest: 1s}}"],
            "8:",
            "audit.sinks[0].retry: first is longer than longest",
        ),
        ([WEBHOOK, WEBHOOK], "9:", "audit.sinks[1].name: a is the name of another sink"),
        (
            ["name: a, type: file, path: /x/y", "name: b, type: file, path: /x/y"],
            "9:",
            "audit.sinks[1].path: is the file",
        ),
        (
            ["name: a, type: file, path: /var/lib/gateway/audit/x"],
            "8:",
            "audit.sinks[0].path: is in state_dir, where nothing but the gateway's own files may be",
        ),
        (
            ["name: a, type: syslog, server: logs.example.com, required: true"],
            "8:",
            "audit.sinks[0].required: type: syslog gives no acknowledgement, so it may not be the only required sink of security",
        ),
        (
            ["name: s, type: stdout, required: true", f"{WEBHOOK}, required: true, streams: [security]"],
            "8:",
            "audit.sinks[0].required: type: stdout gives no acknowledgement, so it may not be the only required sink of access",
        ),
        (["name: a, type: syslog, server: 'logs:x'"], "8:", "audit.sinks[0].server: 'x' is not a port"),
        (["name: a, type: s3, bucket: Evidence"], "8:", "audit.sinks[0].bucket: a bucket is"),
        (["name: a, type: s3, bucket: evidence, prefix: x"], "8:", "audit.sinks[0].prefix: write path segments"),
        (["name: a, type: s3, bucket: evidence, access_key: k"], "8:", "audit.sinks[0]: access_key and secret_key"),
        (
            [f"{KAFKA}, unsafe_plaintext: true, sasl: {{mechanism: PLAIN, username: u, password: {{file: p}}}}"],
            "8:",
            "audit.sinks[0].sasl.mechanism: PLAIN would send the password in the clear",
        ),
        ([f"{KAFKA}, unsafe_plaintext: true, ca: x"], "8:", "audit.sinks[0].ca: has no effect without TLS"),
        (["name: a, type: kafka, servers: [k], topic: 'a b'"], "8:", "audit.sinks[0].topic: write a topic"),
    ],
)
def test_what_contradicts_itself_is_said_at_its_key(sinks: list[str], place: str, sentence: str) -> None:
    with pytest.raises(DocumentError) as refused:
        settings_of(*sinks)
    said = [line for line in refused.value.diagnostics if sentence in line]
    assert said, refused.value.diagnostics
    assert said[0].startswith(f"gateway.yaml:{place}")


def test_syslog_may_be_required_beside_a_receiver_that_acknowledges() -> None:
    settings = settings_of(
        "name: s, type: syslog, server: logs.example.com, required: true", f"{WEBHOOK}, required: true"
    )
    assert settings.audit.sinks[0].server == ("logs.example.com", 6514)


def test_a_sink_in_the_clear_is_warned_of_at_each_start() -> None:
    settings = settings_of("name: a, type: syslog, server: logs.example.com, unsafe_plaintext: true")
    assert (
        "audit.sinks[0].unsafe_plaintext: everybody on the way to a can read and change records" in settings.warnings()
    )


def test_defaults_are_those_of_the_guide() -> None:
    webhook, archive = settings_of(WEBHOOK, S3).audit.sinks
    assert (webhook.content, webhook.format_in_use, webhook.linger_s, webhook.required) == (
        "sealed",
        "ocsf",
        0.0,
        False,
    )
    assert archive.linger_s == 10.0
    elastic = settings_of("name: e, type: elasticsearch, url: 'https://x', index: audit").audit.sinks[0]
    assert elastic.format_in_use == "ecs"


def bundle(**changes: object) -> Bundle:
    secrets = {"audit.sinks[0].secret": b"a secret of thirty-two bytes ...."}
    return msgspec.structs.replace(
        Bundle(path="gateway.yaml", settings="", policies={}, digest="", secrets=secrets), **changes
    )


@pytest.mark.parametrize(
    ("more", "files", "secrets", "sentence"),
    [
        ("", {}, {"audit.sinks[0].secret": b"short"}, "audit.sinks[0].secret: a signing secret has at least 24 bytes"),
        (", ca: ca", {"audit.sinks[0].ca": b"junk"}, None, "audit.sinks[0].ca: holds no certificate"),
        (
            ", certificate: c, key: k",
            {"audit.sinks[0].certificate": b"x", "audit.sinks[0].key": b"x"},
            None,
            "audit.sinks[0].key: is not a PEM private key",
        ),
        (
            ", authorization: {file: x}",
            {},
            {"audit.sinks[0].secret": b"x" * 32, "audit.sinks[0].authorization": b"a\nb"},
            "audit.sinks[0].authorization: is not one line of printable ASCII",
        ),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_said_without_its_content(
    more: str, files: dict[str, bytes], secrets: dict[str, bytes] | None, sentence: str
) -> None:
    narrowed = bundle(sink_files=files, secrets=secrets) if secrets else bundle(sink_files=files)
    [problem] = sink_problems(settings_of(WEBHOOK + more), narrowed)
    assert sentence in problem


def test_a_library_that_is_not_installed_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.server.sinks.find_spec", lambda _name: None)
    assert sink_problems(settings_of(KAFKA), bundle()) == [
        "audit.sinks[0].type: kafka needs a library that is not installed; run: pip install 'gateway[kafka]'"
    ]


async def test_each_sink_and_stream_is_a_duty_of_its_own(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    keys = AuditKeys.generate(origin="gateway/test", created="2026-01-01T00:00:00Z", random=random.randbytes)
    trail = Trail(layout, node="n", boot_uid="b", version="1")
    station = Station.open(layout, keys, trail, Registry())
    authority = Authority(tmp_path / "authority")
    settings = settings_of(f"{WEBHOOK}, ca: ca, required: true", f"{S3}, streams: [access]", KAFKA)
    files = {"audit.sinks[0].ca": authority.pem}
    assert sink_problems(settings, bundle(sink_files=files)) == []
    duties = sink_duties(
        settings, bundle(sink_files=files), station, ShippingMetrics(station.metrics), badge=bytes(BADGE_BYTES)
    )
    names = [duty.name for duty in duties]
    assert len(set(names)) == len(names)
    assert sum(isinstance(duty, Shipper) for duty in duties) == 7
    assert sum(isinstance(duty, ArchiveDuty) for duty in duties) == 1
    assert sum(isinstance(duty, Register) for duty in duties) == 1
    assert {duty.stream for duty in duties if isinstance(duty, Shipper) and duty.is_required} == {
        "security",
        "access",
        "traffic",
    }
    for duty in duties:
        duty.measure()
    station.close()


async def test_whoever_acknowledges_nothing_does_not_make_a_record_safe_elsewhere(tmp_path: Path) -> None:
    """attack: an answer under strict+remote that leaves when the one receiver is away, because syslog was handed a record."""
    layout = Layout(tmp_path)
    keys = AuditKeys.generate(origin="gateway/test", created="2026-01-01T00:00:00Z", random=random.randbytes)
    station = Station.open(layout, keys, Trail(layout, node="n", boot_uid="b", version="1"), Registry())
    settings = settings_of(
        f"{WEBHOOK}, required: true",
        "name: d, type: syslog, server: 'logs.example.com:6514', required: true",
        "name: e, type: stdout, required: true",
    )
    duties = sink_duties(settings, bundle(), station, ShippingMetrics(station.metrics), badge=bytes(BADGE_BYTES))
    [elsewhere] = [duty for duty in duties if isinstance(duty, ElsewhereDuty)]
    assert {shipper.sink_name for shipper in elsewhere._shippers} == {"a"}
    station.close()


def test_nothing_is_removed_before_a_required_archive_has_the_sealed_file(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    directory = tmp_path / CURSORS
    directory.mkdir()
    blocks = undelivered(settings_of(f"{S3}, streams: [access], required: true"), layout)
    origin = "gateway/test/1/access"
    file = File(
        number=2,
        first=5,
        last=9,
        created_ns=0,
        ended_ns=0,
        age_s=0.0,
        bytes=1,
        is_sealed=True,
        following=SimpleNamespace(origin=origin),  # type: ignore[arg-type]
    )
    assert blocks(Stream.ACCESS, file) == "b"
    assert blocks(Stream.TRAFFIC, file) == ""
    CursorFile(directory, "b", "access").store(Cursor(origin=origin, next_index=10))
    assert blocks(Stream.ACCESS, file) == "b", "it has the records, and not the segment that proves them"
    archive_cursor(directory, "b", Stream.ACCESS).store(Cursor(origin=origin, next_index=3))
    assert blocks(Stream.ACCESS, file) == ""
    archive_cursor(directory, "b", Stream.ACCESS).store(Cursor(origin="gateway/test/2/access", next_index=3))
    assert blocks(Stream.ACCESS, file) == "b", "that was another log"


def test_secrets_of_sinks_reach_the_custodian_alone() -> None:
    whole = bundle(sink_files={"audit.sinks[0].key": b"key"})
    kinds: tuple[Kind, ...] = ("edge", "pages", "audit")
    for kind in kinds:
        narrowed = whole.narrow(kind)
        assert narrowed.sink_files == {}
        assert not any(key.startswith("audit.") for key in narrowed.secrets)
    kept = whole.narrow("custodian")
    assert kept.sink_files
    assert "audit.sinks[0].secret" in kept.secrets
