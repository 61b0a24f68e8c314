"""Copies of logs, wherever and however they were kept, have the verdict that the logs have (T-33)."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from backports.zstd import ZstdFile

from gateway.audit.cosignature import Cosigner
from gateway.audit.delivery import Format, deliver_entry
from gateway.audit.entry import pack_entry
from gateway.audit.finding import Kind
from gateway.audit.segment import seal
from gateway.audit.trust import TrustPolicy
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.copy import find_logs, opened
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.log import open_log
from gateway.ledger.reader import UnreadableLogError
from gateway.ledger.verification import OWN_CHECKPOINT, Question, Report, published, verify_own, verify_trees

NOW_NS = 10**18


class Node:
    """A node with three streams of three files each, two of them sealed."""

    def __init__(self, directory: Path, origin: str = "gateway/node") -> None:
        self.layout = Layout(directory / "state")
        self.keys = AuditKeys.generate(origin=origin, created="x", random=os.urandom)
        self.lines: dict[Stream, list[bytes]] = {}
        for stream in STREAMS:
            for number in range(3):
                log = open_log(directory / "state", self.keys, stream, boot=f"b{number}", capacity=1 << 16)
                first = log.taken.get(1, 0) + 1
                log.append([(1, range(first, first + 4), [_payload(first + i) for i in range(4)])], is_safe=True, now_ns=NOW_NS + first)  # fmt: skip
                log.close()
            self.seal(stream, 1)
            self.seal(stream, 2)

    def seal(self, stream: Stream, number: int) -> None:
        found = next(log for log in find_logs(self.layout.directory).logs if log.stream is stream)
        file, following = (f for f in found.files if f.number in {number, number + 1})
        assert file.head is not None
        assert following.head is not None
        data = file.path.read_bytes()
        made = seal(data, following.head, self.keys.open(file.head), self.keys.public, salt=os.urandom(6))
        file.path.with_suffix(".seg").write_bytes(made)
        file.path.unlink()

    def question(self, **given: Any) -> Question:
        published = tuple((stream, OWN_CHECKPOINT, self.note(stream)) for stream in STREAMS)
        return msgspec.structs.replace(Question(keys=self.keys, published=published), **given)

    def note(self, stream: Stream) -> bytes:
        return self.layout.checkpoint(stream).read_bytes()

    def origin(self, stream: Stream) -> str:
        return self.note(stream).partition(b"\n")[0].decode()

    def deliver(self, path: Path, *streams: Stream) -> None:
        """Write the records of these streams as a sink does."""
        lines = []
        for stream in streams:
            for index in range(12):
                entry = self._entry(stream, index)
                lines.append(deliver_entry(entry, origin=self.origin(stream), index=index).line)
        path.write_bytes(b"".join(line + b"\n" for line in lines))

    def _entry(self, stream: Stream, index: int) -> bytes:
        from gateway.audit.segment import entries_of, parse_segment

        if not self.lines.get(stream):
            found = next(log for log in find_logs(self.layout.directory).logs if log.stream is stream)
            entries: list[bytes] = []
            for file in found.files:
                assert file.head is not None
                data = file.path.read_bytes()
                if not file.is_sealed:
                    data = _sealed_alone(self, data, stream)
                entries += entries_of(parse_segment(data), self.keys.open(file.head))
            self.lines[stream] = entries
        return self.lines[stream][index]


def _sealed_alone(node: Node, data: bytes, stream: Stream) -> bytes:
    """Seal the newest file of a stream: after another was begun behind it, in a copy."""
    scratch = node.layout.state_dir.parent / f"scratch-{stream}"
    shutil.copytree(node.layout.state_dir, scratch)
    log = open_log(scratch, node.keys, stream, boot="scratch", capacity=1 << 16)
    log.append([(1, [99], [_payload(99)])], is_safe=True, now_ns=NOW_NS + 99)
    log.close()
    files = next(log for log in find_logs(scratch / "audit").logs if log.stream is stream).files
    head, following = files[-2].head, files[-1].head
    assert head is not None
    assert following is not None
    return seal(data, following, node.keys.open(head), node.keys.public, salt=bytes(6))


def _payload(n: int) -> bytes:
    record = {"class_uid": 6003, "metadata": {"sequence": n}, "unmapped": {"gw": {"phase": "single"}}}
    return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "node")


def kinds(report: Report) -> set[Kind]:
    found = [finding for _, verdict in report.verdicts for finding in verdict.findings]
    return {finding.kind for finding in (*found, *report.findings)}


def summary(report: Report) -> list[tuple[Any, ...]]:
    return sorted(
        (verdict.origin, verdict.exit_code, verdict.size, verdict.proven, verdict.root, verdict.segments)
        for _, verdict in report.verdicts
    )


def test_all_streams_of_a_live_directory_are_intact_with_segments_beside_log_files(node: Node) -> None:
    report = verify_trees([node.layout.directory], node.question(is_live=True))
    assert (report.exit_code, kinds(report)) == (0, set())
    assert [(verdict.stream, verdict.proven, verdict.segments) for _, verdict in report.verdicts] == [
        (stream, 12, 2) for stream in STREAMS
    ]


def test_a_log_that_begins_while_it_is_looked_at_is_judged_by_its_first_checkpoint(node: Node) -> None:
    """Its first file stands there for up to a second before a checkpoint says how long it is."""
    checkpoint = node.layout.checkpoint(Stream.TRAFFIC)
    note = checkpoint.read_bytes()
    checkpoint.unlink()
    question = Question(keys=node.keys, published=tuple(published(node.layout)), is_live=True)
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            checkpoint.write_bytes(note)

    report = verify_own(node.layout, question, pause=pause)
    assert (report.exit_code, kinds(report), len(waited)) == (0, set(), 3)
    checkpoint.unlink()
    assert verify_own(node.layout, question, pause=lambda _: None).exit_code == 3


def _archive(mode: str) -> Callable[[Path, Path], Path]:
    def make(state: Path, to: Path) -> Path:
        path = to / f"copy.tar.{mode}" if mode else to / "copy.tar"
        if mode == "zst":
            with ZstdFile(path, "w") as plain, tarfile.open(fileobj=plain, mode="w|") as archive:
                archive.add(state, "state")
        else:
            with tarfile.open(path, "w:gz" if mode else "w:") as archive:
                archive.add(state, "state")
        return path

    return make


def _bucket(state: Path, to: Path) -> Path:
    """Lay files out as objects in a store: under names that the gateway does not give."""
    for i, path in enumerate(sorted((state / "audit").iterdir())):
        place = to / "bucket" / path.name.split("-")[0] / f"{i:020d}-object"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    return to / "bucket"


def _state(state: Path, to: Path) -> Path:
    return shutil.copytree(state, to / "copied")


@pytest.mark.parametrize("form", [_state, _archive(""), _archive("gz"), _archive("zst"), _bucket])
def test_t33_a_copy_in_any_form_has_the_verdict_of_the_log(
    node: Node, tmp_path: Path, form: Callable[[Path, Path], Path]
) -> None:
    expected = summary(verify_trees([node.layout.directory], node.question(is_live=True)))
    with opened(form(node.layout.state_dir, tmp_path)) as root:
        report = verify_trees([root], node.question())
    assert (report.exit_code, kinds(report), summary(report)) == (0, set(), expected)


@pytest.mark.parametrize("bit", [0, 100, 1000])
def test_t10_a_damaged_checkpoint_in_a_copy_is_a_finding(node: Node, tmp_path: Path, bit: int) -> None:
    path = node.layout.checkpoint(Stream.ACCESS)
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(data))
    report = verify_trees([_state(node.layout.state_dir, tmp_path)], Question(keys=node.keys))
    assert (report.exit_code, kinds(report)) == (1, {Kind.BAD_SIGNATURE})


@pytest.mark.parametrize("form", [_state, _archive("gz"), _bucket])
def test_t33_a_damaged_copy_in_any_form_is_found(
    node: Node, tmp_path: Path, form: Callable[[Path, Path], Path]
) -> None:
    path = sorted(node.layout.directory.glob("access-*.seg"))[1]
    data = bytearray(path.read_bytes())
    data[-100] ^= 4
    path.write_bytes(bytes(data))
    with opened(form(node.layout.state_dir, tmp_path)) as root:
        report = verify_trees([root], node.question())
    assert (report.exit_code, kinds(report)) == (1, {Kind.BITFLIP})


def test_a_copy_without_keys_is_covered_by_its_own_checkpoints_and_not_called_intact(
    node: Node, tmp_path: Path
) -> None:
    report = verify_trees([_state(node.layout.state_dir, tmp_path)], Question())
    assert (report.exit_code, kinds(report)) == (3, set())
    assert all("covered by" in verdict.sentence() for _, verdict in report.verdicts)


def test_a_file_that_is_no_archive_cannot_be_unpacked_and_one_never_leaves_its_directory(tmp_path: Path) -> None:
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(b"no archive")
    with pytest.raises(UnreadableLogError, match="cannot be unpacked"), opened(bad):
        pass
    evil = tmp_path / "evil.tar"
    with tarfile.open(evil, "w") as archive:
        member = tarfile.TarInfo("../outside")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(UnreadableLogError, match="cannot be unpacked"), opened(evil):
        pass
    assert not (tmp_path / "outside").exists()


def test_an_archive_with_a_link_is_refused_wherever_the_link_leads(tmp_path: Path) -> None:
    """Long names through links lead out of the directory past the filter of some Pythons (CVE-2025-4517)."""
    path, outside = tmp_path / "evil.tar", tmp_path / "outside"
    outside.mkdir()
    long, steps, place = "d" * 247, "abcdefghijklmnop", ""
    with tarfile.open(path, "w") as archive:

        def add(name: str, link: str = "", data: bytes = b"") -> None:
            member = tarfile.TarInfo(name)
            member.type = tarfile.SYMTYPE if link else tarfile.REGTYPE if data else tarfile.DIRTYPE
            member.linkname, member.size = link, len(data)
            archive.addfile(member, io.BytesIO(data))

        for step in steps:
            add(f"{place}{long}")
            add(f"{place}{step}", link=long)
            place += f"{long}/"
        add(f"{'/'.join(steps)}/{'l' * 254}", link="../" * len(steps))
        add("escape", link=f"{'/'.join(steps)}/{'l' * 254}/..{outside}")
        add("escape/owned", data=b"x")
    with pytest.raises(UnreadableLogError, match="neither a file nor a directory"), opened(path):
        pass
    assert list(outside.iterdir()) == []
    hard = tmp_path / "hard.tar"
    with tarfile.open(hard, "w") as archive:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = tarfile.LNKTYPE, str(path)
        archive.addfile(member)
    with pytest.raises(UnreadableLogError, match="neither a file nor a directory"), opened(hard):
        pass


def test_a_small_archive_that_would_fill_the_disk_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("audit/access-000000000001.log")
        member.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 60)}
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    assert path.stat().st_size < 20_000
    with pytest.raises(UnreadableLogError, match="more than there is room for"), opened(path):
        pass


def test_what_is_no_file_in_a_copy_is_named_and_not_waited_for(node: Node, tmp_path: Path) -> None:
    copy = _state(node.layout.state_dir, tmp_path)
    os.mkfifo(copy / "audit" / "access-000000000004.log")
    report = verify_trees([copy], Question(keys=node.keys))
    assert (report.exit_code, kinds(report)) == (1, {Kind.INSERTED})


def test_several_processes_come_to_the_same_verdict(node: Node) -> None:
    path = node.layout.directory / "access-000000000002.seg"
    alone = verify_trees([node.layout.directory], node.question(is_live=True))
    assert verify_trees([node.layout.directory], node.question(is_live=True, jobs=2)) == alone
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(bytes(data))
    alone = verify_trees([node.layout.directory], node.question(is_live=True))
    assert alone.exit_code == 1
    assert verify_trees([node.layout.directory], node.question(is_live=True, jobs=2)) == alone


def test_a_log_file_beside_its_segment_is_no_finding_and_another_one_is(node: Node, tmp_path: Path) -> None:
    other = Node(tmp_path / "other")
    name = "security-000000000003.log"
    data = (node.layout.directory / name).read_bytes()
    log = open_log(node.layout.state_dir, node.keys, Stream.SECURITY, boot="b4", capacity=1 << 16)
    log.append([(1, [13], [_payload(13)])], is_safe=True, now_ns=NOW_NS + 20)
    log.close()
    node.seal(Stream.SECURITY, 3)
    (node.layout.directory / name).write_bytes(data)
    assert kinds(verify_trees([node.layout.directory], node.question(is_live=True))) == set()
    shutil.copy(other.layout.directory / name, node.layout.directory / name)
    report = verify_trees([node.layout.directory], node.question(is_live=True))
    assert {Kind.FORK, Kind.INSERTED} <= kinds(report)


def test_a_stream_that_is_gone_is_truncated_or_missing(node: Node, tmp_path: Path) -> None:
    kept = ("kept.txt", node.note(Stream.TRAFFIC))
    for path in node.layout.directory.glob("traffic-*"):
        path.unlink()
    assert kinds(verify_trees([node.layout.directory], node.question(is_live=True))) == {Kind.TRUNCATED}
    bare = verify_trees([node.layout.directory], Question(trusted=(kept,)))
    assert (bare.exit_code, kinds(bare)) == (1, {Kind.MISSING_ORIGIN})
    copy = _state(node.layout.state_dir, tmp_path)
    assert kinds(verify_trees([copy], Question())) == {Kind.MISSING_ORIGIN}, "its checkpoint is there, it is not"


def test_a_fleet_without_one_of_its_nodes_is_missing_an_origin(node: Node, tmp_path: Path) -> None:
    other = Node(tmp_path / "other", "gateway/other")
    fleet = tuple(each.keys.vkey(each.origin(stream)) for each in (node, other) for stream in STREAMS)
    both = [node.layout.state_dir, other.layout.state_dir]
    assert kinds(verify_trees(both, Question(fleet=fleet))) == set()
    assert len(verify_trees(both, Question(fleet=fleet)).verdicts) == 6
    alone = verify_trees(both[:1], Question(fleet=fleet))
    assert (alone.exit_code, kinds(alone)) == (1, {Kind.MISSING_ORIGIN})


def test_t14_segments_that_two_nodes_exchanged_are_found_in_both(node: Node, tmp_path: Path) -> None:
    other = Node(tmp_path / "other", "gateway/other")
    name = "access-000000000002.seg"
    mine, theirs = node.layout.directory / name, other.layout.directory / name
    data = mine.read_bytes()
    shutil.copy(theirs, mine)
    theirs.write_bytes(data)
    for each in (node, other):
        report = verify_trees([each.layout.directory], each.question(is_live=True))
        assert {Kind.BAD_SIGNATURE, Kind.WRONG_KEY_RANGE} <= kinds(report)
    bare = verify_trees([node.layout.state_dir, other.layout.state_dir], Question())
    assert bare.exit_code == 1


def test_a_file_that_is_sealed_while_the_log_is_read_is_found_where_it_went(node: Node) -> None:
    log = open_log(node.layout.state_dir, node.keys, Stream.SECURITY, boot="b4", capacity=1 << 16)
    log.append([(1, [13], [_payload(13)])], is_safe=True, now_ns=NOW_NS + 20)
    log.close()
    question = node.question(is_live=True, streams=(Stream.SECURITY,))

    def told(_name: str, _done: int, _total: int) -> None:
        if (node.layout.directory / "security-000000000003.log").exists():
            node.seal(Stream.SECURITY, 3)

    report = verify_trees([node.layout.directory], question, told)
    assert (report.exit_code, kinds(report)) == (0, set())
    assert node.layout.directory.joinpath("security-000000000003.seg").exists()


def test_a_file_that_is_sealed_while_the_directory_is_listed_is_not_missed(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large directory the system shows one part after the other: neither the log file nor its segment may be in any."""
    looks = 0
    listdir = os.listdir

    def in_parts(folder: Path) -> list[str]:
        nonlocal looks
        looks += 1
        return [name for name in listdir(folder) if looks > 1 or not name.startswith("access-000000000002")]

    monkeypatch.setattr(os, "listdir", in_parts)
    report = verify_trees([node.layout.directory], node.question(is_live=True))
    assert (report.exit_code, kinds(report), looks) == (0, set(), 3)


def test_a_file_that_is_pruned_while_the_log_is_read_makes_it_look_again(node: Node) -> None:
    def told(_name: str, _done: int, _total: int) -> None:
        (node.layout.directory / "security-000000000002.seg").unlink(missing_ok=True)

    report = verify_trees([node.layout.directory], node.question(is_live=True), told)
    assert (report.exit_code, kinds(report)) == (1, {Kind.MISSING}), "nobody recorded that"


# parts


def test_a_part_of_a_log_is_proven_where_a_checkpoint_covers_it(node: Node) -> None:
    report = verify_trees([node.layout.directory], node.question(is_live=True, first=5, last=6))
    for _, verdict in report.verdicts:
        assert (verdict.exit_code, verdict.first, verdict.findings) == (0, 4, ())
    report = verify_trees([node.layout.directory], node.question(published=(), first=5, last=6))
    for _, verdict in report.verdicts:
        assert (verdict.exit_code, verdict.first, verdict.proven) == (3, 4, 8)
        assert "only a part" in verdict.sentence()


def test_damage_outside_the_part_is_not_looked_at(node: Node) -> None:
    (node.layout.directory / "security-000000000001.seg").write_bytes(b"GWS1")
    report = verify_trees(
        [node.layout.directory], node.question(is_live=True, first=9, last=10, streams=(Stream.SECURITY,))
    )
    assert kinds(report) <= {Kind.BITFLIP}
    assert verify_trees([node.layout.directory], node.question(is_live=True)).exit_code == 1


def test_one_stream_alone_can_be_asked_about(node: Node) -> None:
    report = verify_trees([node.layout.directory], node.question(is_live=True, streams=(Stream.ACCESS,)))
    assert [verdict.stream for _, verdict in report.verdicts] == ["access"]


def test_a_structural_check_decrypts_nothing(node: Node) -> None:
    report = verify_trees([node.layout.directory], node.question(is_live=True, structural=True))
    assert (report.exit_code, kinds(report)) == (3, set())
    assert not any(verdict.has_contents for _, verdict in report.verdicts)


# witnesses


def policy(node: Node, cosigner: Cosigner, quorum: str = "w1") -> TrustPolicy:
    vkey = node.keys.vkey(node.origin(Stream.ACCESS))
    return TrustPolicy.parse(f"log {vkey}\nwitness w1 {cosigner.key}\nquorum {quorum}\n".encode())


def test_a_cosigned_tree_head_names_who_proves_how_much(node: Node) -> None:
    cosigner = Cosigner("witness.example/w1", 4, b"w" * 32)
    note = node.note(Stream.ACCESS)
    cosigned = note + cosigner.cosign(note.rpartition(b"\n\n")[0] + b"\n", 1_790_000_000)
    log = open_log(node.layout.state_dir, node.keys, Stream.ACCESS, boot="b4", capacity=1 << 16)
    log.append([(1, [13], [_payload(13)])], is_safe=True, now_ns=NOW_NS + 20)
    log.close()
    given = {"streams": (Stream.ACCESS,), "policies": (policy(node, cosigner),), "is_live": True}
    report = verify_trees([node.layout.directory], node.question(trusted=(("kept", cosigned),), **given))
    assert report.exit_code == 0
    sentence = report.verdicts[0][1].sentence()
    assert "entries 0 to 11 proven by w1 at 2026-09-21T" in sentence
    assert "entry 12 proven by the checkpoint of 13 entries (signed by the node, no witness)" in sentence
    report = verify_trees([node.layout.directory], node.question(**given))
    assert report.exit_code == 4
    assert "the witness w1 has not cosigned" in report.verdicts[0][1].sentence()
    demanding_nothing = {"own_policies": given.pop("policies")}
    report = verify_trees([node.layout.directory], node.question(**given, **demanding_nothing))
    assert report.exit_code == 0
    with_none = {"policies": (policy(node, cosigner, "none"),)}
    assert verify_trees([node.layout.directory], node.question(**given, **with_none)).exit_code == 0


def test_a_forged_cosignature_is_a_finding_and_a_log_without_policy_is_not_vouched_for(node: Node) -> None:
    cosigner, thief = Cosigner("witness.example/w1", 4, b"w" * 32), Cosigner("witness.example/w1", 4, b"t" * 32)
    note = node.note(Stream.ACCESS)
    line = cosigner.cosign(note.rpartition(b"\n\n")[0] + b"\n", 1_790_000_000)
    forged = note + line.replace(b"A", b"B", 1) if b"A" in line else note + line.replace(b"a", b"b", 1)
    given = {"policies": (policy(node, cosigner),), "is_live": True}
    report = verify_trees([node.layout.directory], node.question(trusted=(("kept", forged),), **given))
    assert report.exit_code in {1, 4}
    stolen = note + thief.cosign(note.rpartition(b"\n\n")[0] + b"\n", 1_790_000_000)
    report = verify_trees([node.layout.directory], node.question(trusted=(("kept", stolen),), **given))
    assert report.exit_code == 4
    lacks = {verdict.stream: verdict.lacks for _, verdict in report.verdicts}
    assert "no policy names the log" in lacks["security"]


def test_t15_t12_a_witnessed_tree_head_shows_a_rollback_and_a_fork(node: Node, tmp_path: Path) -> None:
    seen = ("witness w1", node.note(Stream.ACCESS))
    (node.layout.directory / "access-000000000003.log").unlink()
    shutil.copy(node.layout.directory / "access-000000000002.seg", tmp_path / "last")
    given = {"streams": (Stream.ACCESS,), "is_live": True, "published": ()}
    report = verify_trees([node.layout.directory], node.question(trusted=(seen,), **given))
    assert kinds(report) == {Kind.ROLLBACK}
    other = node.keys.signer(node.origin(Stream.ACCESS)).checkpoint(8, bytes(32))
    report = verify_trees([node.layout.directory], node.question(trusted=(("witness w1", other),), **given))
    assert kinds(report) == {Kind.FORK}


def test_what_witnesses_signed_long_ago_does_not_vouch_for_a_log_that_went_on_since(node: Node) -> None:
    """Whoever holds the key writes everything after that anew, and shows the old cosignature."""
    cosigner = Cosigner("witness.example/w1", 4, b"w" * 32)
    note = node.note(Stream.ACCESS)
    cosigned = note + cosigner.cosign(note.rpartition(b"\n\n")[0] + b"\n", NOW_NS // 10**9 + 1)
    given: dict[str, Any] = {"streams": (Stream.ACCESS,), "is_live": True, "trusted": (("kept", cosigned),)}
    asked = {"policies": (policy(node, cosigner),)}
    sentence = ""
    for minutes, code in ((5, 0), (20, 4)):
        log = open_log(node.layout.state_dir, node.keys, Stream.ACCESS, boot="b4", capacity=1 << 16)
        sequence = log.taken[1] + 1
        now_ns = NOW_NS + minutes * 60 * 10**9
        log.append([(1, [sequence], [_payload(sequence)])], is_safe=True, now_ns=now_ns)
        log.close()
        report = verify_trees([node.layout.directory], node.question(**given, **asked))
        assert (report.exit_code, report.verdicts[0][1].lacks != "") == (code, code == 4)
        sentence = report.verdicts[0][1].sentence()
        assert "entries 0 to 11 proven by w1" in sentence
    assert "nothing of the 19 minutes" in sentence
    own = verify_trees([node.layout.directory], node.question(**given, own_policies=asked["policies"]))
    assert own.exit_code == 0, "it says who vouches for how much, and demands nothing"


def test_a_file_of_a_copy_cannot_borrow_the_witnesses_of_the_checkpoint_whose_name_it_has(
    node: Node, tmp_path: Path
) -> None:
    cosigner = Cosigner("witness.example/w1", 4, b"w" * 32)
    note = node.note(Stream.ACCESS)
    cosigned = note + cosigner.cosign(note.rpartition(b"\n\n")[0] + b"\n", 1_790_000_000)
    log = open_log(node.layout.state_dir, node.keys, Stream.ACCESS, boot="b4", capacity=1 << 16)
    log.append([(1, [13], [_payload(13)])], is_safe=True, now_ns=NOW_NS + 20)
    log.close()
    copy = _state(node.layout.state_dir, tmp_path)
    (copy / "from-the-witness.txt").write_bytes(node.note(Stream.ACCESS))
    for trusted in (
        (("from-the-witness.txt", cosigned),),
        (("one.txt", cosigned), ("one.txt", node.note(Stream.ACCESS))),
        (("one.txt", node.note(Stream.ACCESS)), ("one.txt", cosigned)),
    ):
        question = Question(
            keys=node.keys, trusted=trusted, policies=(policy(node, cosigner),), streams=(Stream.ACCESS,)
        )
        report = verify_trees([copy], question)
        assert (report.exit_code, kinds(report)) == (0, set()), "the other streams were not asked about"
        sentence = report.verdicts[0][1].sentence()
        assert "entries 0 to 11 proven by w1 at" in sentence
        assert "entry 12 proven by the" in sentence
        assert "no witness" in sentence


def test_a_log_that_was_left_out_is_missed_although_the_copy_has_a_file_of_its_checkpoints_name(
    node: Node, tmp_path: Path
) -> None:
    other = Node(tmp_path / "other", "gateway/other")
    copy = _state(node.layout.state_dir, tmp_path)
    (copy / "from-the-witness.txt").write_bytes(node.note(Stream.ACCESS))
    kept = ("from-the-witness.txt", other.note(Stream.ACCESS))
    report = verify_trees([copy], Question(keys=node.keys, trusted=(kept,)))
    assert (report.exit_code, kinds(report)) == (1, {Kind.MISSING_ORIGIN})


def test_the_checkpoint_of_an_empty_log_does_not_say_how_long_it_has_to_be(node: Node) -> None:
    from gateway.audit.merkle import EMPTY_ROOT

    empty = node.keys.signer(node.origin(Stream.ACCESS)).checkpoint(0, EMPTY_ROOT)
    given = {"published": (), "is_live": True, "streams": (Stream.ACCESS,)}
    report = verify_trees([node.layout.directory], node.question(trusted=(("kept", empty),), **given))
    assert (report.exit_code, kinds(report)) == (3, set())
    assert "its end may have been cut off" in report.verdicts[0][1].sentence()


def test_one_stream_of_a_copy_can_be_asked_about_without_the_others_being_missed(node: Node, tmp_path: Path) -> None:
    fleet = tuple(node.keys.vkey(node.origin(stream)) for stream in STREAMS)
    copy = _state(node.layout.state_dir, tmp_path)
    report = verify_trees([copy], Question(keys=node.keys, fleet=fleet, streams=(Stream.ACCESS,)))
    assert (report.exit_code, kinds(report)) == (0, set())


def test_a_checkpoint_for_a_size_inside_a_segment_is_compared_with_keys_and_doubted_without(node: Node) -> None:
    entries = [node._entry(Stream.ACCESS, index) for index in range(12)]
    from gateway.audit.merkle import Tree, hash_leaf

    tree = Tree()
    for entry in entries[:6]:
        tree.append(hash_leaf(entry))
    signer = node.keys.signer(node.origin(Stream.ACCESS))
    for root, found in ((tree.root(), set()), (bytes(32), {Kind.FORK})):
        kept = ("kept", signer.checkpoint(6, root))
        given = {"streams": (Stream.ACCESS,), "is_live": True, "trusted": (kept,)}
        report = verify_trees([node.layout.directory], node.question(**given))
        assert kinds(report) == found
        bare = verify_trees([node.layout.directory], node.question(**given, structural=True))
        assert (bare.exit_code, kinds(bare)) == (3, {Kind.UNDECRYPTABLE})


# tiles


def _with_tiles(node: Node) -> list[bytes]:
    """Let the access log grow past two full tiles, seal it, and write its tiles; return the leaf hashes."""
    from gateway.audit.merkle import HASH_BYTES, hash_leaf
    from gateway.audit.proof import LeafHashes
    from gateway.audit.segment import entries_of, parse_segment
    from gateway.audit.tiles import HEIGHT, tiles_of

    for boot, count in (("b4", 600), ("b5", 1)):
        log = open_log(node.layout.state_dir, node.keys, Stream.ACCESS, boot=boot, capacity=1 << 18)
        first = log.taken[1] + 1
        log.append(
            [(1, range(first, first + count), [_payload(first + i) for i in range(count)])],
            is_safe=True,
            now_ns=NOW_NS + first,
        )
        log.close()
    node.seal(Stream.ACCESS, 3)
    node.seal(Stream.ACCESS, 4)
    leaves: list[bytes] = []
    for file in next(log for log in find_logs(node.layout.directory).logs if log.stream is Stream.ACCESS).files:
        if file.is_sealed and file.head is not None:
            leaves += map(hash_leaf, entries_of(parse_segment(file.path.read_bytes()), node.keys.open(file.head)))
    hashes = LeafHashes(leaves)
    for tile in tiles_of(len(leaves)):
        path = node.layout.tiles / Stream.ACCESS / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        base = tile.number << HEIGHT
        path.write_bytes(b"".join(hashes.node(HEIGHT * tile.level, base + i) for i in range(tile.width)))
        assert path.stat().st_size == tile.width * HASH_BYTES
    return leaves


def test_tiles_prove_without_keys_that_a_tree_head_inside_a_sealed_file_fits(node: Node, tmp_path: Path) -> None:
    from gateway.audit.merkle import Tree

    leaves = _with_tiles(node)
    signer = node.keys.signer(node.origin(Stream.ACCESS))
    copy = _state(node.layout.state_dir, tmp_path)
    given: dict[str, Any] = {"streams": (Stream.ACCESS,)}
    tree = Tree()
    tree.extend(leaves[:300])
    right, wrong = signer.checkpoint(300, tree.root()), signer.checkpoint(300, bytes(32))
    report = verify_trees([copy], Question(trusted=(("kept", right),), **given))
    assert (report.exit_code, kinds(report)) == (3, set())
    assert 300 in {vouched.size for vouched in report.verdicts[0][1].vouched}
    assert kinds(verify_trees([copy], Question(trusted=(("kept", wrong),), **given))) == {Kind.FORK}
    bare = verify_trees([copy / "audit"], Question(trusted=(("kept", right),), **given))
    assert kinds(bare) == {Kind.UNDECRYPTABLE}, "its tiles were not given"


def test_t10_every_changed_tile_is_a_finding_and_proves_nothing(node: Node, tmp_path: Path) -> None:
    _with_tiles(node)
    tiles = node.layout.tiles / Stream.ACCESS
    signer = node.keys.signer(node.origin(Stream.ACCESS))
    kept = ("kept", signer.checkpoint(300, bytes(32)))
    for path in sorted(path for path in tiles.rglob("*") if path.is_file()):
        data = path.read_bytes()
        path.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
        question = node.question(is_live=True, structural=True, streams=(Stream.ACCESS,))
        report = verify_trees([node.layout.directory], question)
        assert (report.exit_code, kinds(report)) == (1, {Kind.BITFLIP}), path
        assert all(finding.file.startswith("tiles/access") for _, verdict in report.verdicts for finding in verdict.failures)  # fmt: skip
        report = verify_trees([node.layout.directory], msgspec.structs.replace(question, trusted=(kept,)))
        assert Kind.FORK not in kinds(report), "hashes that were changed accuse nobody"
        path.unlink()
        report = verify_trees([node.layout.directory], msgspec.structs.replace(question, structural=False))
        assert (report.exit_code, kinds(report)) == (0, set()), "they can be made again"
        path.write_bytes(data)


def _tiles_behind(node: Node) -> Path:
    """Let the custodian's tiles end between two files of the access log, made safe at one tree head and kept at the next."""
    from gateway.audit.merkle import Tree, hash_leaf
    from gateway.custody.tiling import TileWriter
    from gateway.ledger.spool import SpoolReader

    log = open_log(node.layout.state_dir, node.keys, Stream.ACCESS, boot="b4", capacity=1 << 18)
    first = log.taken[1] + 1
    for count in (300, 30, 3):
        log.append(
            [(1, range(first, first + count), [_payload(first + i) for i in range(count)])],
            is_safe=True,
            now_ns=NOW_NS + first,
        )
        first += count
    log.close()
    reader = SpoolReader(node.layout.directory, node.keys, Stream.ACCESS, 0)
    entries: list[bytes] = []
    while len(entries) < 342:
        entries += reader.read(342, 342)
    reader.close()
    writer = TileWriter(node.layout.tiles / Stream.ACCESS)
    tree = Tree()
    for begin, end, sync in ((0, 312, True), (312, 342, False)):
        writer.append(entries[begin:end])
        tree.extend([hash_leaf(entry) for entry in entries[begin:end]])
        writer.publish(node.origin(Stream.ACCESS), tree.root(), sync=sync)
    return writer.directory


def test_t10_a_changed_byte_is_found_in_tiles_that_end_between_two_files_of_the_log(node: Node) -> None:
    """The custodian stops before the daemon does: its tiles are never quite as long as the log."""
    tiles = _tiles_behind(node)
    question = node.question(is_live=True, streams=(Stream.ACCESS,))
    assert verify_trees([node.layout.directory], question).exit_code == 0
    files = sorted(path for path in (tiles / "tile").rglob("*") if path.is_file())
    assert [str(path.relative_to(tiles)) for path in files] == [
        "tile/0/000", "tile/0/001.p/56", "tile/0/001.p/86", "tile/1/000.p/1"
    ]  # fmt: skip
    for path in files:
        data = path.read_bytes()
        for at in (0, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            for structural in (True, False):
                report = verify_trees([node.layout.directory], msgspec.structs.replace(question, structural=structural))
                assert (report.exit_code, kinds(report)) == (1, {Kind.BITFLIP}), (path, at, structural)
                [found] = [finding for _, verdict in report.verdicts for finding in verdict.failures]
                assert found.file.startswith("tiles/access")
        path.write_bytes(data)


def test_t10_every_changed_byte_of_what_is_said_of_the_tiles_is_found_or_asks_for_more_than_there_is(
    node: Node,
) -> None:
    """What is not found is believed by nobody: the custodian goes on from a tree that was signed, or makes it again."""
    from gateway.custody.tail import Extent
    from gateway.custody.tiling import TileWriter
    from gateway.ledger.tile_check import KeptTiles, read_kept

    path = _tiles_behind(node) / "state.json"
    extent = Extent(origin=node.origin(Stream.ACCESS), first=0, size=345, note=node.note(Stream.ACCESS))
    question = node.question(is_live=True, streams=(Stream.ACCESS,))
    data = path.read_bytes()
    said = read_kept(path.parent)
    assert isinstance(said, KeptTiles)
    for at in range(len(data)):
        for mask in (0x01, 0x08):
            path.write_bytes(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
            report = verify_trees([node.layout.directory], question)
            failures = [finding for _, verdict in report.verdicts for finding in verdict.failures]
            if not failures:
                changed = read_kept(path.parent)
                assert isinstance(changed, KeptTiles)
                assert changed.size == said.size or changed.size > extent.size, changed
                assert changed.durable == said.durable or changed.durable > extent.size, changed
                assert (changed.origin, changed.root, changed.durable_root) == (
                    extent.origin,
                    said.root,
                    said.durable_root,
                )
                writer = TileWriter(path.parent)
                writer.resume(extent)
                assert writer.size == (342 if changed.size == said.size else 312)
                continue
            assert {(finding.kind, finding.file) for finding in failures} == {(Kind.BITFLIP, "tiles/access/state.json")}


def test_the_tiles_of_a_log_that_was_moved_away_say_nothing_of_the_one_after_it(node: Node, tmp_path: Path) -> None:
    tiles = _tiles_behind(node)
    other = Node(tmp_path / "other")
    shutil.copytree(tiles, other.layout.tiles / Stream.ACCESS)
    question = other.question(is_live=True, streams=(Stream.ACCESS,))
    report = verify_trees([other.layout.directory], question)
    assert (report.exit_code, kinds(report)) == (0, set())


def test_what_a_power_failure_left_of_what_is_said_of_the_tiles_is_no_finding(node: Node) -> None:
    path = _tiles_behind(node) / "state.json"
    question = node.question(is_live=True, streams=(Stream.ACCESS,))
    for left in (b"", bytes(200)):
        path.write_bytes(left)
        assert verify_trees([node.layout.directory], question).exit_code == 0


# what sinks kept


def test_t33_records_that_a_sink_kept_are_proven_by_a_tree_head_that_was_kept_beside_them(
    node: Node, tmp_path: Path
) -> None:
    dump = tmp_path / "records.ndjson"
    node.deliver(dump, *STREAMS)
    dump.write_bytes(dump.read_bytes() + dump.read_bytes().splitlines(keepends=True)[3])
    report = verify_trees([dump], node.question())
    assert (report.exit_code, kinds(report)) == (0, set())
    assert [(verdict.size, verdict.proven) for _, verdict in report.verdicts] == [(12, 12)] * 3
    vkeys = tuple(node.keys.vkey(node.origin(stream)) for stream in STREAMS)
    trusted = tuple((f"kept-{stream}", node.note(stream)) for stream in STREAMS)
    assert verify_trees([dump], Question(vkeys=vkeys, trusted=trusted)).exit_code == 0
    assert verify_trees([dump], Question(vkeys=vkeys)).exit_code == 3
    assert verify_trees([dump], Question()).exit_code == 3


def test_a_copy_that_a_sink_began_late_is_incomplete_and_not_called_changed(node: Node, tmp_path: Path) -> None:
    dump, far = tmp_path / "records.ndjson", 5_000_000
    lines = [
        deliver_entry(node._entry(Stream.ACCESS, i), origin=node.origin(Stream.ACCESS), index=far + i).line
        for i in (1, 0, 2, 5)
    ]
    dump.write_bytes(b"\n".join(lines) + b"\n")
    [(_, verdict)] = verify_trees([dump], node.question(published=())).verdicts
    assert (verdict.exit_code, verdict.first, verdict.size) == (1, far, far + 6)
    assert [(f.kind, f.first_index, f.last_index) for f in verdict.findings] == [(Kind.MISSING, far + 3, far + 4)]
    dump.write_bytes(b"\n".join(lines[:3]) + b"\n")
    [(_, verdict)] = verify_trees([dump], node.question(published=())).verdicts
    assert (verdict.exit_code, verdict.findings) == (3, ())
    assert f"the copy begins at entry {far}" in verdict.sentence()


@pytest.mark.parametrize("form", [Format.ECS, Format.CEF])
def test_records_in_another_form_are_not_called_changed(node: Node, tmp_path: Path, form: Format) -> None:
    dump = tmp_path / "records.ndjson"
    lines = [
        deliver_entry(node._entry(Stream.ACCESS, index), origin=node.origin(Stream.ACCESS), index=index, form=form).line
        for index in range(3)
    ]
    dump.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(UnreadableLogError, match="cannot be verified; use what an OCSF sink kept"):
        verify_trees([dump], node.question())


def _change(record: dict[str, Any]) -> None:
    record["class_uid"] = 6002


def _renumber(record: dict[str, Any]) -> None:
    record["unmapped"]["gw"]["log_index"] = 4


def _far(record: dict[str, Any]) -> None:
    record["unmapped"]["gw"]["log_index"] = 1 << 60


@pytest.mark.parametrize(
    ("change", "found"),
    [(_change, {Kind.BITFLIP, Kind.MISSING}), (_renumber, {Kind.FORK, Kind.MISSING}), (_far, {Kind.INSERTED})],
)
def test_a_record_that_a_sink_changed_renumbered_or_lost_is_found(
    node: Node, tmp_path: Path, change: Callable[[dict[str, Any]], None], found: set[Kind]
) -> None:
    dump = tmp_path / "records.ndjson"
    node.deliver(dump, Stream.ACCESS)
    lines = dump.read_bytes().splitlines()
    record = json.loads(lines[3])
    change(record)
    lines[3] = orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
    dump.write_bytes(b"\n".join(lines) + b"\n")
    report = verify_trees([dump], node.question(streams=(Stream.ACCESS,)))
    assert report.exit_code == 1
    assert found <= kinds(report)


def test_a_rewritten_record_with_a_fitting_fingerprint_is_a_fork(node: Node, tmp_path: Path) -> None:
    dump = tmp_path / "records.ndjson"
    node.deliver(dump, Stream.ACCESS)
    lines = dump.read_bytes().splitlines()
    forged = pack_entry(Stream.ACCESS, 1, NOW_NS, 4, bytes(16), _payload(4))
    lines[3] = deliver_entry(forged, origin=node.origin(Stream.ACCESS), index=3).line
    dump.write_bytes(b"\n".join(lines))
    assert Kind.FORK in kinds(verify_trees([dump], node.question(streams=(Stream.ACCESS,))))


def test_lines_that_are_no_records_are_findings(node: Node, tmp_path: Path) -> None:
    dump = tmp_path / "records.ndjson"
    dump.write_bytes(b"junk\n{}\n[]\n")
    report = verify_trees([dump], node.question(published=()))
    assert (report.exit_code, len(report.verdicts[0][1].failures)) == (1, 3)


def test_a_report_is_small_whoever_made_it(node: Node) -> None:
    """What travels between processes must not grow with the records."""
    report = verify_trees([node.layout.directory], node.question(is_live=True))
    assert len(msgspec.msgpack.encode(report.verdicts)) < 8192
