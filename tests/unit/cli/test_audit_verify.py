"""`gateway audit verify` as an auditor uses it: on archives, with policies, fleets and witnesses."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.audit.cosignature import Cosigner
from gateway.audit.delivery import deliver_entry
from gateway.audit.witness import Submission
from gateway.cli import program
from gateway.custody.sinks import cursor as cursor_module
from gateway.custody.sinks.cursor import Cursor, CursorFile, DeadLetter
from gateway.exchange.metrics import Registry
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.log import open_log
from gateway.ledger.reader import MAX_FILE_BYTES
from gateway.ledger.spool import SpoolReader
from gateway.server.fields import Address
from gateway.server.listeners import bind
from gateway.server.sinks import CURSORS
from gateway.witness.listener import WitnessListener
from gateway.witness.service import ServiceMetrics, Witness
from gateway.witness.store import WitnessStore

YAML = """version: 1
public_url: http://localhost:8000
listen:
  - {address: 127.0.0.1:8000, unsafe_plaintext: true}
state_dir: state
upstreams:
  portal: {servers: ["http://127.0.0.1:3000"]}
"""


class Site:
    """A gateway's directory with two logs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.layout = Layout(directory / "state")
        self.config = directory / "gateway.yaml"
        self.config.write_text(YAML)
        (directory / "config").mkdir()
        self.keys = AuditKeys.generate(origin="gateway/node", created="x", random=os.urandom)
        self.keys.create(directory / "config" / "audit-keys.json")
        for stream in STREAMS[:2]:
            self.append(stream, 1, 5)

    def append(self, stream: Stream, first: int, count: int) -> None:
        log = open_log(self.layout.state_dir, self.keys, stream, boot="b", capacity=1 << 16)
        log.append([(1, range(first, first + count), [b"{}"] * count)], is_safe=True, now_ns=10**18 + first)
        log.close()

    def note(self, stream: Stream) -> bytes:
        return self.layout.checkpoint(stream).read_bytes()

    def vkey(self, stream: Stream) -> str:
        return str(self.keys.vkey(self.note(stream).partition(b"\n")[0].decode()))

    def file(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text)
        return str(path)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


class RunningWitness:
    """A witness that listens, in a thread of its own."""

    def __init__(self, directory: Path, site: Site, *streams: Stream) -> None:
        cosigner = Cosigner("witness.example/w1", 4, b"w" * 32)
        self.key = cosigner.key
        vkeys = [site.keys.vkey(site.note(stream).partition(b"\n")[0].decode()) for stream in streams]
        store = WitnessStore(directory / "witness", cosigner.key)
        self._witness = Witness(cosigner, vkeys, store, lambda: 1_790_000_000.5, ServiceMetrics(Registry()))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._thread.start()
        assert self._ready.wait(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self) -> None:
        self._witness.start()
        sock = bind("listen", Address("127.0.0.1", self.port))
        sock.setblocking(False)
        listener = WitnessListener(self._witness, sock, None, rate_per_s=100.0, burst=100, clock=lambda: 1.0)
        await listener.start()
        self._ready.set()
        await self._over.wait()
        await listener.stop()
        self._witness.stop()

    def see(self, note: bytes) -> None:
        from http.client import HTTPConnection

        connection = HTTPConnection("127.0.0.1", self.port)
        connection.request("POST", "/add-checkpoint", Submission(0, (), note).dump())
        assert connection.getresponse().status == 200
        connection.close()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def witness(tmp_path: Path, site: Site) -> Iterator[RunningWitness]:
    made = RunningWitness(tmp_path, site, *STREAMS[:2])
    yield made
    made.end()


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(program, ["audit", "verify", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_each_stream_has_a_sentence_and_the_worst_decides(site: Site) -> None:
    result = run("-c", str(site.config))
    assert (result.exit_code, result.output.count(": intact: entries 0 to 4")) == (0, 2)
    path = next(site.layout.directory.glob("access-*"))
    path.write_bytes(path.read_bytes()[:-1])
    result = run("-c", str(site.config), "--json")
    answer = json.loads(result.output)
    assert (result.exit_code, answer["exit_code"], answer["size"]) == (1, 1, 5)
    assert {name: value["exit_code"] for name, value in answer["streams"].items()} == {"security": 0, "access": 1}
    assert run("-c", str(site.config), "--stream", "security").exit_code == 0


def test_a_stream_of_which_no_head_can_be_read_or_no_file_is_there_is_called_by_its_name(site: Site) -> None:
    path = next(site.layout.directory.glob("access-*"))
    data = path.read_bytes()
    path.write_bytes(data[:9] + bytes([data[9] ^ 1]) + data[10:])
    answer = json.loads(run("-c", str(site.config), "--json").output)
    assert {name: value["exit_code"] for name, value in answer["streams"].items()} == {"security": 0, "access": 1}
    assert "the log access: NOT INTACT" in run("-c", str(site.config)).output
    path.unlink()
    answer = json.loads(run("-c", str(site.config), "--json").output)
    assert {name: value["exit_code"] for name, value in answer["streams"].items()} == {"security": 0, "access": 1}
    next(site.layout.directory.iterdir()).unlink()
    answer = json.loads(run("-c", str(site.config), "--json").output)
    assert {name: value["exit_code"] for name, value in answer["streams"].items()} == {"security": 1, "access": 1}


def test_a_tarball_is_verified_like_the_directory(site: Site) -> None:
    path = site.directory / "copy.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(site.layout.state_dir, "state")
    assert run(str(path), "-c", str(site.config), "--jobs", "2").exit_code == 0
    bare = run(str(path))
    assert (bare.exit_code, bare.output.count("covered by the checkpoint state/checkpoints/")) == (3, 2)
    bad = site.directory / "bad.tar"
    bad.write_bytes(b"x")
    result = run(str(bad))
    assert (result.exit_code, "cannot be unpacked" in result.output) == (2, True)


def test_parts_structure_and_nonsense(site: Site) -> None:
    assert run("-c", str(site.config), "--from", "1", "--to", "2").exit_code == 0
    assert run("-c", str(site.config), "--from", "3", "--to", "2").exit_code == 2
    structural = run("-c", str(site.config), "--structural")
    assert (structural.exit_code, "not decrypted" in structural.output) == (3, True)


def test_a_fleet_lists_the_logs_that_there_must_be(site: Site) -> None:
    lines = "# node\n" + "".join(f"log {site.vkey(stream)}\n" for stream in STREAMS[:2])
    copy = str(site.layout.directory)
    assert run(copy, "--fleet", site.file("fleet", lines + "quorum none\n")).exit_code == 3
    lost = run(copy, "--fleet", site.file("fleet", lines + f"log {site.keys.vkey('gateway/other/1/access')}\n"))
    assert (lost.exit_code, "MISSING_ORIGIN" in lost.output) == (1, True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "does not end with a line end"),
        ("# nothing\n", "names no log"),
        ("log\n", "line 1: write: log VKEY"),
        ("\nlogs x\n", "line 2: write: log VKEY"),
        ("log junk\n", "line 1: a verifier key"),
        ("log {0}\nlog {0}\n", "line 2: the log"),
    ],
)
def test_a_fleet_that_is_none_names_its_line(site: Site, text: str, sentence: str) -> None:
    result = run(str(site.layout.directory), "--fleet", site.file("fleet", text.format(site.vkey(Stream.ACCESS))))
    assert (result.exit_code, sentence in result.output) == (2, True)


def test_a_fleet_may_be_several_files_or_directories_of_policies(site: Site) -> None:
    copy = str(site.layout.directory)
    policies = site.directory / "trust" / "node-a"
    made = CliRunner().invoke(program, ["audit", "trust", "-o", str(policies), "-c", str(site.config)])
    assert made.exit_code == 0, made.output
    assert run(copy, "--fleet", str(policies.parent)).exit_code == 3
    other = site.file("others.txt", f"{site.keys.vkey('gateway/other/1/access')}\n")
    lost = run(copy, "--fleet", str(policies.parent), "--fleet", other)
    assert (lost.exit_code, lost.output.count("MISSING_ORIGIN")) == (1, 1)
    assert "gateway/other/1/access" in lost.output
    (policies / "note.txt").write_text("two words\n")
    wrong = run(copy, "--fleet", str(policies.parent))
    assert (wrong.exit_code, f"{policies}/note.txt: line 1: write: log VKEY" in wrong.output) == (2, True)
    empty = site.directory / "empty"
    empty.mkdir()
    assert "holds no file" in run(copy, "--fleet", str(empty)).output


def test_a_log_with_another_key_in_another_list_is_refused(site: Site) -> None:
    """Attack: a second list that brings a key of its own for the same log."""
    name = "gateway/node/1/access"
    stranger = AuditKeys.generate(origin="gateway/node", created="x", random=os.urandom)
    lists = [site.file("one", f"log {site.keys.vkey(name)}\n"), site.file("two", f"log {stranger.vkey(name)}\n")]
    result = run(str(site.layout.directory), "--fleet", lists[0], "--fleet", lists[1])
    assert (result.exit_code, f"the log {name} has another key in {lists[0]}" in result.output) == (2, True)


def test_verifier_keys_come_one_by_one_in_lines_or_in_a_file(site: Site) -> None:
    copy = str(site.layout.directory)
    keys = [site.vkey(stream) for stream in STREAMS[:2]]
    foreign = str(AuditKeys.generate(origin="gateway/node", created="x", random=os.urandom).vkey(keys[1].split("+")[0]))
    for good in (
        ["--vkey", keys[0], "--vkey", keys[1]],
        ["--vkey", "\n".join(keys)],
        ["--vkey", site.file("keys.txt", f"# of the node\n\n{keys[0]}\nlog {keys[1]}\n")],
    ):
        result = run(copy, *good)
        assert (result.exit_code, "BAD_SIGNATURE" in result.output) == (3, False), result.output
    bad = run(copy, "--vkey", site.file("keys.txt", f"{keys[0]}\n{foreign}\n"))
    assert (bad.exit_code, "BAD_SIGNATURE" in bad.output or "WRONG_KEY_RANGE" in bad.output) == (1, True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{0}\nlog junk\n", "keys.txt:2: a verifier key has the form name+hash+key"),
        ("{0} {0}\n", "keys.txt:1: write one verifier key on a line"),
        ("# none\n\n", "holds no verifier key"),
        ("\udcff", "is not UTF-8"),
    ],
)
def test_a_file_of_verifier_keys_that_is_none_names_its_line(site: Site, text: str, sentence: str) -> None:
    path = site.directory / "keys.txt"
    path.write_bytes(text.format(site.vkey(Stream.ACCESS)).encode("utf-8", "surrogateescape"))
    result = run(str(site.layout.directory), "--vkey", str(path))
    assert (result.exit_code, sentence in " ".join(result.output.split())) == (2, True), result.output


def test_what_is_neither_a_key_nor_a_file_is_said_so(site: Site) -> None:
    result = run(str(site.layout.directory), "--vkey", "no-such.vkey")
    assert (result.exit_code, "there is no file no-such.vkey either" in result.output) == (2, True)
    two = site.file("two", "".join(f"{site.vkey(stream)}\n" for stream in STREAMS[:2]))
    asked = ["--fleet", two, "--fleet-key", two]
    assert "holds 2 verifier keys; give one" in " ".join(run(str(site.layout.directory), *asked).output.split())


class Receiver:
    """What a file sink wrote, and its cursor."""

    def __init__(self, site: Site, *, more: str = "") -> None:
        self.site = site
        self.path = site.directory / "siem" / "audit.jsonl"
        self.path.parent.mkdir()
        site.config.write_text(
            f"{YAML}audit:\n  sinks:\n    - {{name: siem, type: file, path: {self.path}, streams: [access]}}\n{more}"
        )
        self.origin = site.note(Stream.ACCESS).partition(b"\n")[0].decode()
        (site.layout.state_dir / CURSORS).mkdir()
        self.cursors = CursorFile(site.layout.state_dir / CURSORS, "siem", Stream.ACCESS)

    def lines(self, *indexes: int) -> list[bytes]:
        reader = SpoolReader(self.site.layout.directory, self.site.keys, Stream.ACCESS, 0)
        raws = reader.read(100, max(indexes) + 1)
        reader.close()
        return [deliver_entry(raws[index], origin=self.origin, index=index).line for index in indexes]

    def write(self, *indexes: int, acknowledged: int, name: str = "audit.jsonl") -> None:
        data = b"".join(line + b"\n" for line in self.lines(*indexes))
        path = self.path.with_name(name)
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        self.cursors.store(Cursor(origin=self.origin, next_index=acknowledged))

    def compared(self, *more: str) -> Result:
        return run("-c", str(self.site.config), "--against-sink", *(more or ("siem",)))


def test_a_sink_that_has_everything_is_said_to_also_where_its_file_was_rotated(site: Site) -> None:
    siem = Receiver(site)
    siem.write(0, 1, acknowledged=2, name="audit.jsonl.2.gz")
    siem.write(1, 2, 3, 4, acknowledged=5)
    result = siem.compared()
    assert (result.exit_code, f"siem: {siem.origin}: entries 0 to 4 are the same" in result.output) == (0, True)
    site.append(Stream.ACCESS, 6, 2)
    result = siem.compared()
    assert (result.exit_code, "entries 5 to 6 are not there yet" in result.output) == (0, True)
    siem.path.with_name("audit.jsonl.2.gz").unlink()
    result = siem.compared()
    assert (result.exit_code, "the copy begins at entry 1, the log at 0" in result.output) == (0, True)


def test_what_a_sink_acknowledged_and_does_not_have_is_missing(site: Site) -> None:
    siem = Receiver(site)
    siem.write(0, 3, acknowledged=5)
    result = siem.compared()
    assert result.exit_code == 1
    assert "MISSING(1-2) access: siem lacks these records" in result.output
    assert "MISSING(4) access: siem lacks these records" in result.output
    assert f"siem: {siem.origin}: NOT THE SAME: 2 findings in entries 0 to 4; 2 are the same" in result.output
    siem.cursors.bury([DeadLetter(origin=siem.origin, index=at, time=1, detail="400") for at in (1, 2, 4)])
    result = siem.compared()
    assert (result.exit_code, "3 of them refused for good" in result.output) == (0, True)


def test_a_record_that_is_another_there_is_a_fork(site: Site) -> None:
    """Attack: the log is rewritten with all of its keys, and its checkpoint with it."""
    siem = Receiver(site)
    siem.write(0, 1, 2, 3, 4, acknowledged=5)
    for path in [*site.layout.directory.glob("access-*"), site.layout.checkpoint(Stream.ACCESS)]:
        path.unlink()
    log = open_log(site.layout.state_dir, site.keys, Stream.ACCESS, boot="b", capacity=1 << 16)
    origin = site.layout.checkpoint(Stream.ACCESS)
    log.append([(1, range(1, 5), [b"{}"] * 3 + [b'{"a":1}'])], is_safe=True, now_ns=10**18)
    log.close()
    rewritten = origin.read_bytes().partition(b"\n")[0].decode()
    forged = siem.path.read_text().replace(siem.origin, rewritten)  # the same origin would take the head's random part
    siem.path.write_text(forged)
    siem.cursors.store(Cursor(origin=rewritten, next_index=5))
    result = siem.compared("siem", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)["sinks"][0]
    kinds = [finding["kind"] for finding in found["findings"]]
    assert kinds[0] == "ROLLBACK"
    assert kinds.count("FORK") == 4
    assert found["same"] == 0


def test_a_stream_that_was_removed_with_its_checkpoint_is_missed_where_a_sink_has_it(site: Site) -> None:
    """Attack: nothing is left of a log, so nothing of it is judged, and everything else is intact."""
    siem = Receiver(site)
    siem.write(0, 1, 2, 3, 4, acknowledged=5)
    for path in [*site.layout.directory.glob("access-*"), site.layout.checkpoint(Stream.ACCESS)]:
        path.unlink()
    assert run("-c", str(site.config)).exit_code == 0, "nothing on this machine can tell"
    sentence = "ROLLBACK(0-4) access: {} has 5 entries, and there is no such log here"
    for asked in ("siem", str(siem.path)):
        result = siem.compared(asked)
        assert (result.exit_code, sentence.format(asked) in result.output) == (1, True), result.output
    siem.path.unlink()
    result = siem.compared()
    assert (result.exit_code, sentence.format("siem") in result.output) == (1, True), "the cursor knows of it too"


def test_a_log_that_was_begun_anew_is_not_taken_for_the_one_that_a_sink_has(site: Site) -> None:
    """Attack: the log is removed and the gateway started again; what the sink has is of another log, and was passed over."""
    siem = Receiver(site)
    siem.write(0, 1, 2, 3, 4, acknowledged=5)
    for path in [*site.layout.directory.glob("access-*"), site.layout.checkpoint(Stream.ACCESS)]:
        path.unlink()
    site.append(Stream.ACCESS, 1, 2)
    for asked in ("siem", str(siem.path)):
        result = siem.compared(asked)
        assert (result.exit_code, f"records of {siem.origin} too, which is not the log here" in result.output) == (
            3,
            True,
        )
    found = json.loads(siem.compared("siem", "--json").stdout)["sinks"][0]
    assert found["not_here"] == [siem.origin]
    node = siem.origin.split("/")[1]
    siem.path.write_text(siem.path.read_text().replace(f"gateway/{node}/", "gateway/another/"))
    result = siem.compared(str(siem.path))
    assert (result.exit_code, "too, which is" in result.output) == (0, False), "a copy may have those of other nodes"


def test_more_dead_letters_than_are_listed_are_no_missing_records(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    siem = Receiver(site)
    siem.write(0, acknowledged=5)
    monkeypatch.setattr(cursor_module, "MOST_BURIED", 1)
    siem.cursors.bury([DeadLetter(origin=siem.origin, index=at, time=1, detail="400") for at in (1, 2, 3)])
    result = siem.compared()
    assert (result.exit_code, "MISSING(4) access" in result.output) == (1, True), result.output
    siem.cursors.bury([DeadLetter(origin=siem.origin, index=4, time=1, detail="400")])
    result = siem.compared()
    assert (result.exit_code, "4 of them refused for good" in result.output) == (0, True), result.output


def test_a_line_that_a_sink_is_writing_is_no_damage(site: Site) -> None:
    siem = Receiver(site)
    siem.write(0, 1, acknowledged=2)
    written = siem.path.read_bytes()
    siem.path.write_bytes(written + siem.lines(2)[0][:100])
    assert siem.compared().exit_code == 0
    siem.path.write_bytes(written[:50] + b"\n" + written[50:])
    assert siem.compared().exit_code == 1


def test_a_directory_of_records_is_compared_like_a_sink(site: Site) -> None:
    siem = Receiver(site)
    siem.write(0, 1, 2, acknowledged=3, name="records-1.ndjson")
    result = siem.compared(str(siem.path.parent))
    assert (result.exit_code, "entries 3 to 4 are not there yet" in result.output) == (0, True)
    changed = siem.path.with_name("records-1.ndjson")
    first, second, third = changed.read_bytes().splitlines(keepends=True)
    changed.write_bytes(first + second.replace(b'"raw_b64":"e30="', b'"raw_b64":"e10="') + third)
    result = siem.compared(str(siem.path.parent))
    assert result.exit_code == 1
    assert "BITFLIP records-1.ndjson:2" in result.output
    assert "MISSING(1)" in result.output
    changed.unlink()
    assert "holds no records of a sink" in siem.compared(str(siem.path.parent)).output


def test_what_cannot_be_compared_is_said(site: Site) -> None:
    far = "    - {name: far, type: webhook, url: 'https://siem.example.com/', secret: {file: s}}\n"
    siem = Receiver(site, more=far)
    (site.directory / "s").write_text("x" * 40)
    (site.directory / "s").chmod(0o600)
    assert "what a sink of type webhook has cannot be read from here" in siem.compared("far").output
    assert "is no sink of gateway.yaml and no file" in siem.compared("sien").output
    assert siem.compared("siem", "--structural").exit_code == 2
    assert run(str(site.layout.directory), "--against-sink", "siem").exit_code == 2
    siem.path.write_text("CEF:0|x\n")
    siem.cursors.store(Cursor(origin=siem.origin, next_index=1))
    result = siem.compared()
    assert (result.exit_code, "only records in OCSF can be compared" in result.output) == (2, True)
    siem.path.unlink()
    result = siem.compared()
    assert (result.exit_code, "MISSING(0)" in result.output) == (1, True)


def test_when_the_log_was_intact_last_is_written_down_and_stays_when_it_is_not(site: Site) -> None:
    path = site.directory / "verify.prom"

    def metrics() -> dict[str, float]:
        lines = [line.split(" ") for line in path.read_text().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    asked = ["-c", str(site.config), "--metrics", str(path)]
    assert run(*asked).exit_code == 0
    intact = metrics()
    assert intact["gateway_audit_verify_last_ok_timestamp_seconds"] == intact["gateway_audit_verify_timestamp_seconds"]
    file = next(site.layout.directory.glob("access-*.log"))
    data = file.read_bytes()
    file.write_bytes(data[:900] + b"?" + data[901:])
    assert run(*asked).exit_code == 1
    damaged = metrics()
    assert damaged["gateway_audit_verify_exit_code"] == 1
    last_ok = "gateway_audit_verify_last_ok_timestamp_seconds"
    assert damaged[last_ok] == intact[last_ok] < damaged["gateway_audit_verify_timestamp_seconds"]
    path.unlink()
    run(*asked)
    assert metrics()[last_ok] == 0, "it never was, as far as is known"
    assert run(*asked, "--stream", "access").exit_code == 2, "a part that is intact is not the log"
    assert "cannot be written" in run("-c", str(site.config), "--metrics", "/proc/no/x.prom").output


def test_a_line_that_was_taken_out_of_a_signed_fleet_is_found(site: Site) -> None:
    other = site.keys.vkey("gateway/node/00000000/traffic")
    lines = "".join(f"log {vkey}\n" for vkey in (site.vkey(Stream.ACCESS), other))
    inventory = site.file("inventory", f"# all nodes\n\n{lines}")
    made = CliRunner().invoke(program, ["audit", "trust", "--sign-fleet", inventory, "-c", str(site.config)])
    key = made.stderr.removeprefix("signed by ").strip()
    fleet = site.file("fleet", made.stdout)
    asked = ["-c", str(site.config), "--fleet-key", key, "--fleet"]
    assert "MISSING_ORIGIN" in run(*asked, fleet).output
    short = site.file("short", made.stdout.replace(f"log {other}\n", ""))
    assert (run(*asked, short).exit_code, "is wrong" in run(*asked, short).output) == (2, True)
    assert "is not signed" in run(*asked, inventory).output
    assert "--fleet-key" in run("-c", str(site.config), "--fleet", fleet).output, "nor is it believed unchecked"
    assert run("-c", str(site.config), "--fleet-key", key).exit_code == 2
    bad = CliRunner().invoke(program, ["audit", "trust", "--sign-fleet", short, "-c", str(site.config)])
    assert bad.exit_code == 2


def test_a_policy_that_is_not_met_exits_4_and_one_that_is_none_2(site: Site) -> None:
    cosigner = Cosigner("witness.example/w1", 4, b"w" * 32)
    policy = site.file("trust.policy", f"witness w1 {cosigner.key}\nquorum w1\n")
    result = run("-c", str(site.config), "--policy", policy)
    assert (result.exit_code, "the witness w1 has not cosigned" in result.output) == (4, True)
    kept = []
    for stream in STREAMS[:2]:
        note = site.note(stream)
        line = cosigner.cosign(note.rpartition(b"\n\n")[0] + b"\n", 1_790_000_000)
        (site.directory / f"{stream}.note").write_bytes(note + line)
        kept += ["--trusted-checkpoint", str(site.directory / f"{stream}.note")]
    result = run("-c", str(site.config), "--policy", policy, *kept)
    assert (result.exit_code, result.output.count("proven by w1 at 2026-09-21T14:13:20Z")) == (0, 2), result.output
    assert run("-c", str(site.config), "--policy", site.file("bad", "quorum\n")).exit_code == 2


def test_a_witness_is_asked_what_it_saw_last(site: Site, witness: RunningWitness) -> None:
    policy = site.file("trust.policy", f"witness w1 {witness.key} {witness.url}\nquorum w1\n")
    unseen = run("-c", str(site.config), "--policy", policy, "--against-witness")
    assert (unseen.exit_code, "has never seen" in unseen.output) == (4, True)
    for stream in STREAMS[:2]:
        witness.see(site.note(stream))
    result = run("-c", str(site.config), "--policy", policy, "--against-witness")
    assert (result.exit_code, result.output.count("entries 0 to 4 proven by w1")) == (0, 2), result.output


def test_t12_a_log_that_was_rolled_back_with_its_checkpoint_is_shown_by_the_witness(
    site: Site, witness: RunningWitness, tmp_path: Path
) -> None:
    """Root can put an older log and its older checkpoint back; only the witness remembers."""
    import shutil

    shutil.copytree(site.layout.state_dir, tmp_path / "older")
    site.append(Stream.ACCESS, 6, 3)
    witness.see(site.note(Stream.ACCESS))
    witness.see(site.note(Stream.SECURITY))
    shutil.rmtree(site.layout.state_dir)
    shutil.copytree(tmp_path / "older", site.layout.state_dir)
    policy = site.file("trust.policy", f"witness w1 {witness.key} {witness.url}\nquorum w1\n")
    assert run("-c", str(site.config)).exit_code == 0, "nothing on this machine can tell"
    result = run("-c", str(site.config), "--policy", policy, "--against-witness")
    assert (result.exit_code, "ROLLBACK(5-7) witness w1" in result.output) == (1, True), result.output


def test_a_witness_that_is_away_leaves_the_evidence_incomplete(site: Site) -> None:
    cosigner = Cosigner("witness.example/w1", 4, b"w" * 32)
    policy = site.file("trust.policy", f"witness w1 {cosigner.key} http://127.0.0.1:1\nquorum none\n")
    result = run("-c", str(site.config), "--policy", policy, "--against-witness")
    assert (result.exit_code, "was not heard" in result.output) == (3, True)
    assert json.loads(run("-c", str(site.config), "--policy", policy, "--against-witness", "--json").output)[
        "not_heard"
    ]


def test_an_answer_for_a_witness_that_the_witness_did_not_sign_vouches_for_nothing(site: Site) -> None:
    """Whoever sits between answers with an older tree head, which the node did sign."""
    from http.server import BaseHTTPRequestHandler, HTTPServer

    note = site.note(Stream.ACCESS)

    class Between(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(note)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Between) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        key = Cosigner("witness.example/w1", 4, b"w" * 32).key
        policy = site.file("trust.policy", f"witness w1 {key} http://127.0.0.1:{server.server_port}\nquorum none\n")
        result = run("-c", str(site.config), "--policy", policy, "--against-witness")
        server.shutdown()
        thread.join()
    assert (result.exit_code, result.output.count("is no word of its own")) == (3, 2), result.output


def test_nobody_to_ask_is_said(site: Site) -> None:
    result = run("-c", str(site.config), "--against-witness")
    assert (result.exit_code, "no policy has a witness" in result.output) == (2, True)


def test_the_policy_of_the_gateway_names_the_witnesses_and_demands_nothing(site: Site) -> None:
    cosigner = Cosigner("witness.example/w1", 4, b"w" * 32)
    site.file("trust.policy", f"witness w1 {cosigner.key} https://w1.example\nquorum w1\n")
    site.config.write_text(YAML + "audit:\n  witness: {policy: trust.policy}\n")
    assert run("-c", str(site.config)).exit_code == 0
    path = site.layout.cosigned(Stream.ACCESS)
    path.parent.mkdir()
    note = site.note(Stream.ACCESS)
    path.write_bytes(note + cosigner.cosign(note.rpartition(b"\n\n")[0] + b"\n", 1_790_000_000))
    result = run("-c", str(site.config))
    assert (result.exit_code, "entries 0 to 4 proven by w1" in result.output) == (0, True), result.output


@pytest.mark.parametrize("is_newest", [True, False])
def test_a_file_that_no_memory_holds_is_refused_and_not_read(site: Site, *, is_newest: bool) -> None:
    """Attack: a copy with one file of many gigabytes, most of it holes."""
    site.append(Stream.ACCESS, 6, 1)
    files = sorted(site.layout.directory.glob("access-*.log"))
    os.truncate(files[-1 if is_newest else 0], MAX_FILE_BYTES + 1)
    result = run(str(site.layout.directory))
    assert (result.exit_code, "is larger than any file of a log" in result.output) == (2, True)
