from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import __version__
from gateway.audit import case, mapping, subject
from gateway.audit.case import CaseError, Manifest
from gateway.audit.case_judge import CaseVerdict, agrees, judge_case
from gateway.audit.checkpoint import Vkey
from gateway.audit.cosignature import ED25519_COSIGNATURE, Cosigner
from gateway.audit.finding import Kind
from gateway.audit.merkle import ProofError
from gateway.audit.subject import Sealing
from gateway.audit.trust import TrustedLog, TrustedWitness, TrustPolicy
from gateway.exchange.stream import Stream
from gateway.exchange.subject import SubjectKey
from gateway.ledger.case_file import collected, head_covering, is_case, prove, read_case, write_case
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.search import Filters, Search
from tests.fakes.evidence import access, make_keys, write

Files = dict[str, bytes]
WITNESS = Cosigner("witness.example/w1", ED25519_COSIGNATURE, bytes(range(32)))


class Site:
    """A log of two streams."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.layout = Layout(state_dir)
        self.keys: AuditKeys = make_keys()
        for stream in (Stream.SECURITY, Stream.ACCESS):
            for first in (0, 40):
                write(state_dir, self.keys, stream, map(access, range(first, first + 40)))

    def case(self, *indexes: int, streams: tuple[Stream, ...] = (Stream.SECURITY, Stream.ACCESS)) -> Path:
        search = Search(self.state_dir, self.keys, on_damage=pytest.fail)
        found = [each for each in search.find(Filters(streams=streams)) if each.index in indexes]
        origins = search.origins()
        files: Files = {}
        taken = []
        for stream in streams:
            head = head_covering(self.layout, self.keys, stream, max(indexes))
            files |= prove(self.layout, self.keys, stream, sorted(indexes), head)
            files[case.checkpoint_name(stream)] = head.note
            files[case.vkey_name(stream)] = f"{head.vkey}\n".encode()
            files[case.policy_name(stream)] = TrustPolicy((TrustedLog(head.vkey),), (), (), "none").dump()
            taken.append(collected(stream, head, len(indexes)))
        files[case.RECORDS] = b"".join(
            case.record_line(each.stream, origins[each.stream], each.index, each.stored.entry.time_ns, each.record)
            for each in found
        )
        rows = (mapping.to_row(each.record, mapping.Position(origins[each.stream], each.index)) for each in found)
        files[case.TABLE] = (mapping.csv_header() + "".join(map(mapping.csv_line, rows))).encode()
        manifest = Manifest(
            case="4711", made_at="2026-01-01T00:00:00Z", made_by="root", reason="court", gateway=__version__, asked={}, opened=False,
            streams=tuple(taken),
        )  # fmt: skip
        files[case.MANIFEST] = msgspec.json.encode(manifest)
        path = self.state_dir.parent / f"case{len(list(self.state_dir.parent.glob('*.tar')))}.tar"
        write_case(path, manifest, files, self.keys, made_at=1_700_000_000)
        return path

    def vkey(self) -> Vkey:
        return self.keys.vkey("anything")

    def resigned(self, files: Files) -> Files:
        """What whoever holds the log's key can do: list and sign again."""
        listed = {name: data for name, data in files.items() if name not in {case.SUMS, case.SIGNATURE}}
        sums = case.list_sums(listed)
        return {**listed, case.SUMS: sums, case.SIGNATURE: self.keys.signer("x").sign(case.SIGNATURE_CONTEXT, sums)}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "state")


def kinds(verdict: CaseVerdict) -> set[Kind]:
    return {finding.kind for finding in verdict.findings}


def test_a_case_proves_every_record_in_it(site: Site) -> None:
    path = site.case(3, 50, 79)
    assert is_case(path)
    verdict = judge_case(read_case(path), vkeys=[site.vkey()])
    assert (verdict.exit_code, verdict.records, verdict.findings) == (0, 6, ())
    assert verdict.sentence().startswith(
        "intact: case 4711, made at 2026-01-01T00:00:00Z by root: 6 records are in the log"
    )
    assert "by no witness" in verdict.sentence()


def test_without_a_key_from_elsewhere_the_case_is_its_own_word(site: Site) -> None:
    verdict = judge_case(read_case(site.case(3)))
    assert verdict.exit_code == 3
    assert "only the case itself says" in verdict.sentence()


def test_another_key_than_the_one_that_was_expected_is_a_finding(site: Site) -> None:
    verdict = judge_case(read_case(site.case(3)), vkeys=[make_keys().vkey("gateway/node")])
    assert verdict.exit_code == 1
    assert Kind.BAD_SIGNATURE in kinds(verdict)
    assert verdict.records == 0


def test_every_changed_byte_of_every_file_is_a_finding(site: Site) -> None:
    files = read_case(site.case(3, 50, streams=(Stream.ACCESS,)))
    for name, data in files.items():
        for at in {0, len(data) // 2, len(data) - 2}:
            changed = bytearray(data)
            changed[at] ^= 1
            verdict = judge_case({**files, name: bytes(changed)}, vkeys=[site.vkey()])
            assert verdict.exit_code == 1, (name, at)


def test_every_file_that_is_gone_or_added_is_a_finding(site: Site) -> None:
    files = read_case(site.case(3, 50, streams=(Stream.ACCESS,)))
    for name in files:
        verdict = judge_case({each: data for each, data in files.items() if each != name}, vkeys=[site.vkey()])
        assert verdict.exit_code == 1, name
    assert kinds(judge_case({**files, "more.txt": b""}, vkeys=[site.vkey()])) == {Kind.INSERTED}


def _change_record(files: Files) -> Files:
    return {**files, case.RECORDS: files[case.RECORDS].replace(b"person3", b"person4")}


def _drop_record(files: Files) -> Files:
    lines = files[case.RECORDS].splitlines(keepends=True)
    return {**files, case.RECORDS: b"".join(lines[1:])}


def _double_record(files: Files) -> Files:
    return {**files, case.RECORDS: files[case.RECORDS] + files[case.RECORDS].splitlines(keepends=True)[0]}


def _swap_proofs(files: Files) -> Files:
    first, second = case.proof_name("access", 3), case.proof_name("access", 50)
    return {**files, first: files[second], second: files[first]}


def _renumber(files: Files) -> Files:
    return {**files, case.RECORDS: files[case.RECORDS].replace(b'"index":3,', b'"index":4,')}


def _other_head(files: Files) -> Files:
    return {**files, case.checkpoint_name("access"): files[case.checkpoint_name("access")] + b"\n"}


def _no_stream(files: Files) -> Files:
    manifest = orjson.loads(files[case.MANIFEST])
    return {**files, case.MANIFEST: orjson.dumps({**manifest, "streams": []})}


def _opened_otherwise(files: Files) -> Files:
    manifest = orjson.loads(files[case.MANIFEST])
    told = files[case.RECORDS].replace(b"person3", b"mallory")
    return {**files, case.MANIFEST: orjson.dumps({**manifest, "opened": True}), case.OPENED: told}


def _another_hour(files: Files) -> Files:
    changed = re.sub(rb'"taken_in_ns":[0-9]', b'"taken_in_ns":9', files[case.RECORDS], count=1)
    return {**files, case.RECORDS: changed}


def _another_origin(files: Files) -> Files:
    return {**files, case.RECORDS: files[case.RECORDS].replace(b"gateway/", b"gatew4y/")}


def _table_of_another_story(files: Files) -> Files:
    return {**files, case.TABLE: files[case.TABLE].replace(b"person3", b"mallory")}


def _page_of_another_story(files: Files) -> Files:
    return {**files, case.README: files[case.README].replace(b"is unchanged since", b"is complete")}


def _opened_in_secret(files: Files) -> Files:
    return {**files, case.OPENED: files[case.RECORDS].replace(b"person3", b"mallory")}


def _another_key_for_other_programs(files: Files) -> Files:
    return {**files, case.KEY: b"-----BEGIN PUBLIC KEY-----\n"}


@pytest.mark.parametrize(
    ("forge", "kind"),
    [
        (_change_record, Kind.BITFLIP),
        (_another_hour, Kind.BITFLIP),
        (_another_origin, Kind.BITFLIP),
        (_table_of_another_story, Kind.BITFLIP),
        (_page_of_another_story, Kind.BITFLIP),
        (_opened_in_secret, Kind.INSERTED),
        (_another_key_for_other_programs, Kind.WRONG_KEY_RANGE),
        (_drop_record, Kind.MISSING),
        (_double_record, Kind.BITFLIP),
        (_swap_proofs, Kind.REORDERED),
        (_renumber, Kind.INSERTED),
        (_other_head, Kind.FORK),
        (_no_stream, Kind.BAD_SIGNATURE),
        (_opened_otherwise, Kind.INSERTED),
    ],
)
def test_whoever_holds_the_key_cannot_make_a_case_say_what_the_log_does_not(
    site: Site, forge: Callable[[Files], Files], kind: Kind
) -> None:
    files = read_case(site.case(3, 50, streams=(Stream.ACCESS,)))
    verdict = judge_case(site.resigned(forge(files)), vkeys=[site.vkey()])
    assert kind in kinds(verdict)
    assert verdict.exit_code == 1


def test_a_page_of_another_version_that_cannot_be_made_again_is_not_called_proven(site: Site) -> None:
    files = read_case(site.case(3, streams=(Stream.ACCESS,)))
    files[case.MANIFEST] = files[case.MANIFEST].replace(f'"gateway":"{__version__}"'.encode(), b'"gateway":"0.0.0"')
    verdict = judge_case(site.resigned(_table_of_another_story(files)), vkeys=[site.vkey()])
    assert (verdict.exit_code, verdict.findings, verdict.unread) == (3, (), (case.README, case.TABLE))
    assert "believe records.jsonl" in verdict.sentence()


def test_a_policy_of_witnesses_alone_leaves_the_log_to_the_key_that_was_given(site: Site) -> None:
    files = read_case(site.case(3, streams=(Stream.ACCESS,)))
    witnesses = TrustPolicy((), (TrustedWitness("w1", WITNESS.key),), (), "w1")
    assert judge_case(files, vkeys=[site.vkey()], policies=[witnesses]).exit_code == 4


def policy(site: Site, stream: Stream, quorum: str = "w1") -> TrustPolicy:
    head = head_covering(site.layout, site.keys, stream, 0)
    return TrustPolicy((TrustedLog(head.vkey),), (TrustedWitness("w1", WITNESS.key),), (), quorum)


def test_a_policy_that_asks_for_a_witness_is_met_or_not(site: Site) -> None:
    alone = read_case(site.case(3, streams=(Stream.ACCESS,)))
    verdict = judge_case(alone, policies=[policy(site, Stream.ACCESS)])
    assert (verdict.exit_code, verdict.findings) == (4, ())
    assert verdict.sentence().startswith("NOT ENOUGH")
    note = site.layout.checkpoint(Stream.ACCESS).read_bytes()
    text = note.partition(b"\n\n")[0] + b"\n"
    cosigned = site.layout.cosigned(Stream.ACCESS)
    cosigned.parent.mkdir()
    cosigned.write_bytes(note + WITNESS.cosign(text, 1_700_000_000))
    witnessed = read_case(site.case(3, streams=(Stream.ACCESS,)))
    verdict = judge_case(witnessed, policies=[policy(site, Stream.ACCESS)])
    assert (verdict.exit_code, verdict.witnesses) == (0, ("w1",))
    assert "cosigned by w1" in verdict.sentence()
    other = judge_case(witnessed, policies=[policy(site, Stream.SECURITY)])
    assert (other.exit_code, other.findings) == (4, ()), "a policy of another log vouches for nothing here"
    assert "no policy that was given names the log" in other.sentence()


def test_what_no_checkpoint_covers_is_not_proven(site: Site) -> None:
    pauses: list[float] = []
    with pytest.raises(ProofError, match="is not covered"):
        head_covering(site.layout, site.keys, Stream.ACCESS, 80, pause=pauses.append)
    assert pauses
    with pytest.raises(ProofError, match="is not covered"):
        head_covering(site.layout, site.keys, Stream.TRAFFIC, 0, pause=pauses.append)
    site.layout.checkpoint(Stream.ACCESS).write_bytes(b"junk")
    with pytest.raises(ProofError, match="run gateway audit verify"):
        head_covering(site.layout, site.keys, Stream.ACCESS, 0)


def test_opened_values_may_differ_only_where_something_is_sealed() -> None:
    sealed = Sealing(SubjectKey(os.urandom(16), os.urandom(32)), os.urandom).value(subject.USER_NAME, "alice")
    stored = {"actor": {"user": {"name": sealed}}, "list": [{"uid": sealed}], "n": 1}
    assert agrees(stored, {"actor": {"user": {"name": "alice"}}, "list": [{"uid": "(erased)"}], "n": 1})
    assert agrees(stored, stored)
    assert not agrees(stored, {"actor": {"user": {"name": "alice"}}, "list": [{"uid": "x"}], "n": 2})
    assert not agrees(stored, {"actor": {"user": {"name": {"x": 1}}}, "list": [{"uid": "x"}], "n": 1})
    assert not agrees(stored, {"actor": {"user": {"name": "alice"}}, "list": [], "n": 1})
    assert not agrees(stored, {"actor": {"user": {"name": "alice"}}, "list": [{"uid": "x"}]})


@pytest.mark.parametrize("name", ["../etc/passwd", "/etc/passwd", "a/../b", ".ssh/x", "a" * 300, "x\ny"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo(f"case-1/{case.MANIFEST}"))
        archive.addfile(tarfile.TarInfo(name if name.startswith("/") else f"case-1/{name}"))
    with pytest.raises(CaseError, match="no place in a case"):
        read_case(path)


def test_links_doubles_and_damage_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    link = tarfile.TarInfo("case-1/README.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    for second in (link, tarfile.TarInfo(f"case-1/{case.MANIFEST}")):
        with tarfile.open(path, "w") as archive:
            archive.addfile(tarfile.TarInfo(f"case-1/{case.MANIFEST}"))
            archive.addfile(second)
        with pytest.raises(CaseError):
            read_case(path)
    whole = tarfile.TarInfo(f"case-1/{case.MANIFEST}")
    whole.size = 100_000
    with tarfile.open(path, "w") as archive:
        archive.addfile(whole, io.BytesIO(bytes(100_000)))
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(CaseError):
        read_case(path)


def test_a_case_unpacks_into_one_directory_of_its_own(site: Site, tmp_path: Path) -> None:
    with tarfile.open(site.case(3)) as archive:
        assert {name.partition("/")[0] for name in archive.getnames()} == {"case-4711"}
    assert case.directory_name("Müller ./. ACME (2026/17)") == "case-M-ller-.-.-ACME-2026-17"
    assert case.directory_name("../..") == "case-unnamed"
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for name in (f"case-1/{case.MANIFEST}", "case-2/README.txt"):
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(CaseError, match="unpacks into 2 directories"):
        read_case(path)


@given(st.text(max_size=100))
def test_whatever_a_case_is_called_its_directory_can_be_read_back(name: str) -> None:
    assert re.fullmatch(r"case-[A-Za-z0-9][A-Za-z0-9._-]{0,60}", case.directory_name(name))


def test_a_case_is_judged_the_same_when_it_was_unpacked(site: Site, tmp_path: Path) -> None:
    path = site.case(3, 50)
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / "case-4711"
    assert is_case(unpacked)
    assert read_case(unpacked) == read_case(path)
    (unpacked / "added.txt").write_text("")
    assert kinds(judge_case(read_case(unpacked), vkeys=[site.vkey()])) == {Kind.INSERTED}
    (unpacked / "added.txt").unlink()
    (unpacked / "proofs" / "link").symlink_to("/etc")
    with pytest.raises(CaseError, match="no place in a case"):
        read_case(unpacked)


def test_what_is_no_case_is_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(b"no archive")
    assert not is_case(path)
    assert not is_case(tmp_path)
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("audit/security-000000000001.log"))
    assert not is_case(path)


def test_a_case_without_a_manifest_that_can_be_read_is_judged_as_that(site: Site) -> None:
    files = read_case(site.case(3))
    for manifest in (b"{", orjson.dumps({**orjson.loads(files[case.MANIFEST]), "version": 2})):
        verdict = judge_case({**files, case.MANIFEST: manifest}, vkeys=[site.vkey()])
        assert (verdict.exit_code, verdict.manifest) == (1, None)
        assert "NOT INTACT" in verdict.sentence()
