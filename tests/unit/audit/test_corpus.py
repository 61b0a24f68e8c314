"""What somebody can do to a log, and the finding that each has: the negative corpus of verification.

Numbers in names are those of the failure tests that the guarantees of the log are proven by.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit.checkpoint import Signer
from gateway.audit.file_check import read_head
from gateway.audit.filehead import FileHead, FileHeadError, parse_head
from gateway.audit.finding import Kind
from gateway.audit.frame import TAG_BYTES, parse_frame, seal_frame
from gateway.audit.merkle import Tree
from gateway.audit.segment import seal
from gateway.audit.tally import Prune
from gateway.audit.verdict import Verdict
from gateway.audit.verify import Verifier

Forge = Any
"""The fixture of conftest.py; test folders are not packages."""
Files = Sequence[tuple[str, bytes]]

RECORDS = [[[b'{"n":%d}' % (10 * f + 2 * b + r) for r in range(2)] for b in range(2)] for f in range(3)]
"""Three files of two frames of two records."""
SIZE = 12


def kinds(verdict: Verdict) -> set[Kind]:
    return {finding.kind for finding in verdict.findings}


def sealed(forge: Forge, files: Files, count: int = 2) -> list[tuple[str, bytes]]:
    """Make segments of the first files."""
    out = list(files)
    for i in range(count):
        name, data = files[i]
        head, following = read_head(data), read_head(files[i + 1][1])
        assert head is not None
        assert following is not None
        out[i] = (
            name.replace(".log", ".seg"),
            seal(data, following, forge.opener.open(head), forge.signer.vkey.public, salt=b"saltsa"),
        )
    return out


def flipped(data: bytes, bit: int) -> bytes:
    at = bit // 8
    return data[:at] + bytes([data[at] ^ (1 << bit % 8)]) + data[at + 1 :]


# segments


def test_segments_and_log_files_together_prove_the_same_as_log_files_alone(forge: Forge) -> None:
    files = forge.build(RECORDS)
    checkpoint = forge.checkpoints[-1]
    plain = forge.verify(files, checkpoint=checkpoint)
    for count in (1, 2):
        verdict = forge.verify(sealed(forge, files, count), checkpoint=checkpoint)
        assert (verdict.exit_code, verdict.findings) == (0, ())
        assert (verdict.proven, verdict.root, verdict.segments) == (SIZE, plain.root, count)
        assert (verdict.first_ns, verdict.last_ns) == (plain.first_ns, plain.last_ns)


def test_segments_without_keys_are_held_together_by_their_signatures(forge: Forge) -> None:
    files = sealed(forge, forge.build(RECORDS))
    verdict = forge.verify(files, keys=False, checkpoint=forge.checkpoints[-1])
    assert (verdict.exit_code, verdict.findings, verdict.size) == (3, (), SIZE)


def test_an_older_checkpoint_inside_a_segment_is_met_only_where_its_last_tree_head_is(forge: Forge) -> None:
    files = sealed(forge, forge.build(RECORDS))
    assert forge.verify(files, checkpoint=forge.checkpoints[1]).exit_code == 0, "the end of the first segment"


# T-10


@pytest.mark.parametrize("part", range(8))
def test_t10_every_bit_of_a_small_segment_is_a_finding_with_keys(forge: Forge, part: int) -> None:
    files = sealed(forge, forge.build([[[b"{}"]], [[b"[]"]]]), 1)
    name, data = files[0]
    for bit in range(part, 8 * len(data), 8):
        verdict = forge.verify([(name, flipped(data, bit)), files[1]], checkpoint=forge.checkpoints[-1])
        assert verdict.exit_code == 1, bit
        assert any(finding.file for finding in verdict.failures), bit


@pytest.mark.parametrize("part", range(4))
def test_t10_bits_of_every_file_are_findings_without_keys(forge: Forge, part: int) -> None:
    files = sealed(forge, forge.build(RECORDS))
    for i, (name, data) in enumerate(files):
        for bit in range(part, 8 * len(data.rstrip(b"\0")), 4 * 37):
            damaged = [*files[:i], (name, flipped(data, bit)), *files[i + 1 :]]
            assert forge.verify(damaged, keys=False, pinned=False).exit_code == 1, (name, bit)


def test_t10_every_bit_of_the_checkpoint_is_a_finding(forge: Forge) -> None:
    files = forge.build([[[b"{}"]]])
    note = forge.checkpoints[-1]
    for bit in range(8 * len(note)):
        assert forge.verify(files, checkpoint=flipped(note, bit)).exit_code == 1, bit


# T-11


@pytest.mark.parametrize("keys", [True, False])
@pytest.mark.parametrize("victim", range(6))
def test_t11_a_record_deleted_by_somebody_with_the_file_key_is_found(forge: Forge, victim: int, keys: bool) -> None:
    """The frame is sealed again under the known data key, with a right SHA-256, and the chain after it is mended."""
    records = [[[b"%d" % (2 * b + r) for r in range(2)] for b in range(3)]]
    files = forge.build(records)
    name, data = files[0]
    frames = forge.frames[0]
    cipher = forge.opener.open(read_head(data))
    out = forge.heads[0]
    last = b"\0" * 32
    at = 0
    for i, raw in enumerate(frames):
        frame = parse_frame(raw, 0)
        bundle = cipher.decrypt(frame.header.frame_no.to_bytes(12, "little"), bytes(frame.blob), bytes(frame.head))
        count = frame.header.count
        if i == victim // 2:
            half = 2 + int.from_bytes(bundle[:2], "little")
            bundle = bundle[half:] if victim % 2 == 0 else bundle[:half]
            count -= 1
        header = type(frame.header)(
            frame.header.frame_no, at, count, len(bundle) + TAG_BYTES, last, frame.header.key_id
        )
        sealed_frame, last = seal_frame(cipher, header, bundle, bytes(frame.note))
        out += sealed_frame
        at += count
    forged = out + bytes(len(data) - len(out))
    verdict = forge.verify([(name, forged)], keys=keys, checkpoint=forge.checkpoints[-1])
    assert verdict.exit_code == 1
    assert kinds(verdict) & {Kind.INSERTED, Kind.FORK, Kind.TRUNCATED}
    assert verdict.proven <= victim


# T-12


def test_t12_a_cut_at_any_frame_boundary_is_truncated_or_unproven_never_intact(forge: Forge) -> None:
    files = forge.build(RECORDS)
    older = forge.checkpoints[0]
    for i, (name, _) in enumerate(files):
        for frames in range(3):
            cut = forge.heads[i] + b"".join(forge.frames[i][:frames])
            left = [*files[:i], (name, cut)]
            if (i, frames) == (2, 2):
                continue
            assert Kind.TRUNCATED in kinds(forge.verify(left, checkpoint=forge.checkpoints[-1]))
            assert forge.verify(left).exit_code == 3
            if i or frames:
                verdict = forge.verify(left, checkpoint=older)
                assert (verdict.exit_code, verdict.vouched[-1].size) == (0, 2), "proven as far as the older one goes"


def test_t12_a_cut_inside_any_frame_is_found_without_anything_else(forge: Forge) -> None:
    files = forge.build(RECORDS)
    name, data = files[2]
    start = len(forge.heads[2])
    for length in range(start + 1, len(data.rstrip(b"\0")), 3):
        if length == start + len(forge.frames[2][0]):
            continue
        assert forge.verify([*files[:2], (name, data[:length])], keys=False, pinned=False).exit_code == 1, length


def test_t12_a_segment_cut_anywhere_is_found(forge: Forge) -> None:
    files = sealed(forge, forge.build(RECORDS))
    name, data = files[1]
    for length in range(0, len(data), 7):
        assert forge.verify([files[0], (name, data[:length]), files[2]], keys=False).exit_code == 1, length


# T-14


def test_t14_records_swapped_inside_a_frame_by_somebody_with_the_file_key_are_a_fork(forge: Forge) -> None:
    files = forge.build([[[b"1", b"2"]]])
    name, data = files[0]
    raw = forge.frames[0][0]
    frame = parse_frame(raw, 0)
    cipher = forge.opener.open(read_head(data))
    bundle = cipher.decrypt(frame.header.frame_no.to_bytes(12, "little"), bytes(frame.blob), bytes(frame.head))
    half = len(bundle) // 2
    for forged in (bundle[half:] + bundle[:half], bundle[:half] * 2):
        again, _ = seal_frame(cipher, frame.header, forged, bytes(frame.note))
        verdict = forge.verify([(name, data.replace(raw, again))])
        assert {Kind.FORK, Kind.DUPLICATE} <= kinds(verdict)


def test_t14_a_segment_moved_to_another_place_or_there_twice_is_found(forge: Forge) -> None:
    files = sealed(forge, forge.build(RECORDS))
    checkpoint = forge.checkpoints[-1]
    assert forge.verify([files[1], files[0], files[2]], checkpoint=checkpoint).exit_code == 1
    assert forge.verify([files[0], files[0], files[2]], checkpoint=checkpoint).exit_code == 1
    assert Kind.MISSING in kinds(forge.verify([files[0], files[2]], checkpoint=checkpoint))


def test_t14_the_segments_of_two_nodes_cannot_stand_for_each_other(forge: Forge, other_forge: Forge) -> None:
    mine, theirs = sealed(forge, forge.build(RECORDS)), sealed(other_forge, other_forge.build(RECORDS))
    for i in range(2):
        mixed = [*mine[:i], theirs[i], *mine[i + 1 :]]
        for keys in (True, False):
            verdict = forge.verify(mixed, keys=keys, checkpoint=forge.checkpoints[-1])
            assert {Kind.WRONG_KEY_RANGE, Kind.BAD_SIGNATURE} <= kinds(verdict), (i, keys)


def test_t14_a_record_of_another_stream_is_refused(forge: Forge) -> None:
    signer, forge.signer = forge.signer, Signer("gateway/node/0a0b0c0d/access", b"s" * 32)
    files = forge.build([[[b"{}"]]])
    verifier = Verifier(vkey=signer.vkey, opener=forge.opener)
    verifier.file(*files[0])
    assert {Kind.BAD_SIGNATURE, Kind.BITFLIP} & kinds(verifier.finish())


def test_t14_a_segment_that_differs_from_the_log_file_beside_it_is_a_fork(forge: Forge, other_forge: Forge) -> None:
    files = forge.build(RECORDS)
    segment = sealed(forge, files, 1)[0]
    other = type(forge)().build([[[b"x", b"y"], *RECORDS[0][1:]], *RECORDS[1:]])
    for (name, data), is_same in ((files[0], True), (other[0], False)):
        verifier = Verifier(vkey=forge.signer.vkey, opener=forge.opener)
        verifier.file(*segment)
        beside = Verifier(vkey=forge.signer.vkey, opener=forge.opener)
        beside.learn(read_head(data))
        from gateway.audit.file_check import check_file
        from gateway.audit.passage import Position

        verifier.absorb_twin(
            check_file(
                name, data, beside.trust, opener=forge.opener, before=Position(), next_head=read_head(files[1][1])
            )
        )
        verifier.file(files[1][0], files[1][1], read_head(files[2][1]))
        verifier.file(*files[2])
        assert (Kind.FORK not in kinds(verifier.finish())) is is_same


# T-15


def test_t15_a_log_rewritten_and_signed_with_the_stolen_key_forks_from_what_was_kept(forge: Forge) -> None:
    forge.build(RECORDS)
    kept = list(forge.checkpoints)
    rewritten = type(forge)()
    changed = [*RECORDS[:2], [RECORDS[2][0], [b'{"n":"other"}', *RECORDS[2][1][1:]]]]
    files = rewritten.build(changed)
    assert rewritten.verify(files, checkpoint=rewritten.checkpoints[-1]).exit_code == 0, (
        "the thief's own checkpoint fits"
    )
    for form in (files, sealed(rewritten, files)):
        assert kinds(forge.verify(form, checkpoint=kept[-1])) == {Kind.FORK}
        assert forge.verify(form, checkpoint=kept[-3]).exit_code == 0, "only what was kept before the change is proven"


# T-30, T-31


def test_t30_a_frame_without_its_signature_is_found(forge: Forge) -> None:
    files = forge.build([[[b"{}"]]])
    name, data = files[0]
    raw = forge.frames[0][0]
    frame = parse_frame(raw, 0)
    cipher = forge.opener.open(read_head(data))
    bundle = cipher.decrypt(frame.header.frame_no.to_bytes(12, "little"), bytes(frame.blob), bytes(frame.head))
    text = bytes(frame.note).split(b"\n\n")[0] + b"\n"
    notes = (
        b"",
        text,
        text + b"\n",
        bytes(frame.note).replace(b"\n", b"\r\n"),
        bytes(frame.note) * 2,
        text + b"\n" + b"\xe2\x80\x94 gateway/other AAAAAAAA\n",
    )
    for note in notes:
        again, _ = seal_frame(cipher, frame.header, bundle, note)
        forged = data.replace(raw, again)
        for keys in (True, False):
            assert Kind.BAD_SIGNATURE in kinds(forge.verify([(name, forged)], keys=keys)), note


def test_t30_signatures_of_others_beside_the_logs_own_are_ignored(forge: Forge) -> None:
    files = forge.build(RECORDS)
    others = b"".join(b"\xe2\x80\x94 w%d %b\n" % (n, b64encode(b"%04d" % n + bytes(72))) for n in range(20))
    assert forge.verify(files, checkpoint=forge.checkpoints[-1] + others).exit_code == 0


def test_t31_a_file_signed_by_another_key_than_the_logs_is_outside_its_range(forge: Forge, other_forge: Forge) -> None:
    files = forge.build(RECORDS)
    stolen = other_forge.build(RECORDS)
    verdict = forge.verify([*files[:2], stolen[2]], checkpoint=forge.checkpoints[-1], pinned=False)
    assert Kind.WRONG_KEY_RANGE in kinds(verdict)
    assert verdict.proven == 8


# T-71


def prune_record(last: int, head_root: bytes, changes: dict[str, Any]) -> bytes:
    said = {
        "approver": "carol",
        "first_file": 1,
        "from": 0,
        "last_file": 1,
        "policy": "365d",
        "root": b64encode(head_root).decode(),
        "stream": "security",
        "to": last,
    } | changes
    return orjson.dumps({"unmapped": {"gw": {"event": "retention.prune", "prune": said}}}, option=orjson.OPT_SORT_KEYS)


def pruned(forge: Forge, slot: int = 1004, **changes: Any) -> list[tuple[str, bytes]]:
    """Return a log whose first file is gone, with a record in the last one that says so."""
    forge.build(RECORDS, slot=slot)
    frontier = parse_head(forge.heads[1])[0].frontier
    record = prune_record(3, Tree(4, frontier).root(), changes)
    again = type(forge)()
    files = again.build([*RECORDS[:2], [*RECORDS[2], [record]]], slot=slot)
    forge.checkpoints = again.checkpoints
    left: list[tuple[str, bytes]] = files[1:]
    return left


def test_t71_a_beginning_that_the_log_says_was_pruned_is_declared(forge: Forge) -> None:
    files = pruned(forge)
    verdict = forge.verify(files, checkpoint=forge.checkpoints[-1])
    assert [(f.kind, f.first_index, f.last_index) for f in verdict.findings] == [(Kind.PRUNED_OK, 0, 3)]
    assert (verdict.exit_code, verdict.first, verdict.proven) == (0, 4, SIZE + 1)
    assert "entries 4 to 12" in verdict.sentence()


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"stream": "access"}, Kind.MISSING),
        ({"to": 2}, Kind.MISSING),
        ({"from": 1}, Kind.MISSING),
        ({"to": "x"}, Kind.MISSING),
        ({"root": b64encode(bytes(32)).decode()}, Kind.FORK),
    ],
)
def test_t71_a_prune_record_that_does_not_cover_what_is_gone_excuses_nothing(
    forge: Forge, changes: dict[str, Any], found: Kind
) -> None:
    files = pruned(forge, **changes)
    verdict = forge.verify(files, checkpoint=forge.checkpoints[-1])
    assert (verdict.exit_code, kinds(verdict)) == (1, {found})


def test_t71_without_a_record_the_beginning_is_missing_and_without_keys_unproven(forge: Forge) -> None:
    files = forge.build(RECORDS)[1:]
    verdict = forge.verify(files, checkpoint=forge.checkpoints[-1])
    assert [(f.kind, f.first_index, f.last_index) for f in verdict.failures] == [(Kind.MISSING, 0, 3)]
    verdict = forge.verify(files, keys=False, checkpoint=forge.checkpoints[-1])
    assert (verdict.exit_code, kinds(verdict)) == (3, {Kind.UNDECRYPTABLE})


@pytest.mark.parametrize("slot", [7, 1000])
def test_t71_a_worker_cannot_excuse_a_missing_beginning(forge: Forge, slot: int) -> None:
    """A process that parses hostile input is not believed about what was pruned."""
    files = pruned(forge, slot=slot)
    assert kinds(forge.verify(files, checkpoint=forge.checkpoints[-1])) == {Kind.MISSING}


def test_t71_another_stream_is_excused_by_what_security_says(forge: Forge) -> None:
    files = forge.build(RECORDS)
    frontier = parse_head(forge.heads[1])[0].frontier
    root = b64encode(Tree(4, frontier).root()).decode()
    for prune, expected in (
        (Prune("security", 0, 3, root), {Kind.PRUNED_OK}),
        (Prune("security", 0, 1, ""), {Kind.MISSING}),
        (Prune("traffic", 0, 3, root), {Kind.MISSING}),
        (Prune("security", 0, 3, root, origin=forge.signer.vkey.name), {Kind.PRUNED_OK}),
        (Prune("security", 0, 9, root, origin="gateway/node/0ther10g/security"), {Kind.MISSING}),
    ):
        verifier = Verifier(vkey=forge.signer.vkey, opener=forge.opener)
        verifier.file(files[1][0], files[1][1], read_head(files[2][1]))
        verifier.file(*files[2])
        assert kinds(verifier.finish([prune])) == expected


def test_a_hole_in_the_middle_is_missing_whatever_a_record_says(forge: Forge) -> None:
    files = forge.build(RECORDS)
    verifier = Verifier(vkey=forge.signer.vkey, opener=forge.opener)
    verifier.file(*files[0])
    verifier.file(*files[2])
    assert Kind.MISSING in kinds(verifier.finish([Prune("security", 0, 11, "")]))


def test_a_hold_in_force_is_declared_until_it_is_released(forge: Forge) -> None:
    def event(name: str, case: str) -> bytes:
        return orjson.dumps({"unmapped": {"gw": {"event": name, "hold": {"case": case}}}}, option=orjson.OPT_SORT_KEYS)

    records = [event("hold.created", "A-1"), event("hold.created", "B-2"), event("hold.released", "A-1")]
    files = forge.build([[records]], slot=1002)
    verdict = forge.verify(files, checkpoint=forge.checkpoints[-1])
    assert [(f.kind, f.message, f.first_index) for f in verdict.findings] == [
        (Kind.HELD, "the legal hold B-2 is in force", 1)
    ]
    assert verdict.exit_code == 0


HOUR_NS = 3600 * 10**9


def hold_record(event: str, case: str, **said: Any) -> bytes:
    gw = {"event": f"hold.{event}", "hold": {"case": case, **said}}
    return orjson.dumps({"unmapped": {"gw": gw}}, option=orjson.OPT_SORT_KEYS)


def removal(**changes: Any) -> bytes:
    """The record of a removal of the access stream, of what was taken in from the second to the third hour."""
    said = {"stream": "access", "files": 2, "since_ns": str(2 * HOUR_NS), "until_ns": str(3 * HOUR_NS)}
    return prune_record(3, bytes(32), said | changes)


EVERYTHING = {"streams": ["security", "access", "traffic"], "since_ns": "0", "until_ns": "0"}
SECOND_HOUR = {"streams": ["access"], "since_ns": str(HOUR_NS), "until_ns": str(2 * HOUR_NS)}


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([hold_record("created", "A", **EVERYTHING), removal()], {Kind.PRUNED_HELD, Kind.HELD}),
        ([hold_record("created", "A"), removal()], {Kind.PRUNED_HELD, Kind.HELD}),
        ([hold_record("created", "A", **SECOND_HOUR), removal()], {Kind.PRUNED_HELD, Kind.HELD}),
        ([hold_record("created", "A", **SECOND_HOUR | {"streams": ["traffic"]}), removal()], {Kind.HELD}),
        ([hold_record("created", "A", **SECOND_HOUR), removal(since_ns=str(2 * HOUR_NS + 1))], {Kind.HELD}),
        ([hold_record("created", "A", **SECOND_HOUR), removal(until_ns=str(HOUR_NS - 1), since_ns="1")], {Kind.HELD}),
        ([removal(), hold_record("created", "A", **EVERYTHING)], {Kind.HELD}),
        ([hold_record("created", "A", **EVERYTHING), hold_record("released", "A"), removal()], set()),
        (
            [hold_record("created", "A", **EVERYTHING), hold_record("release_asked", "A"), removal()],
            {Kind.PRUNED_HELD, Kind.HELD},
        ),
        (
            [hold_record("created", "A", **EVERYTHING), removal(), hold_record("released", "A")],
            {Kind.PRUNED_HELD},
        ),
        (
            [hold_record("created", c, **EVERYTHING) for c in "AB"] + [hold_record("released", "A"), removal()],
            {Kind.PRUNED_HELD, Kind.HELD},
        ),
        ([hold_record("created", "A", **EVERYTHING), removal(files=0)], {Kind.HELD}),
        ([hold_record("created", "A", streams=7), removal()], {Kind.PRUNED_HELD, Kind.HELD}),
    ],
)
def test_what_was_removed_under_a_hold_is_a_finding_whatever_the_files_beside_the_log_say(
    forge: Forge, records: list[bytes], found: set[Kind]
) -> None:
    files = forge.build([[records]], slot=1004)
    verdict = forge.verify(files, checkpoint=forge.checkpoints[-1])
    assert (kinds(verdict), verdict.exit_code) == (found, int(Kind.PRUNED_HELD in found))


def test_a_removal_under_a_hold_is_named_with_its_record(forge: Forge) -> None:
    records = [hold_record("created", "A", **EVERYTHING), hold_record("created", "A", **SECOND_HOUR), removal()]
    verdict = forge.verify(forge.build([[records]], slot=1002), checkpoint=forge.checkpoints[-1])
    [failure] = verdict.failures
    assert (failure.first_index, failure.message) == (
        2,
        "entries of the access stream up to 3 were removed while the legal hold A was in force over them",
    )


def test_a_removal_that_does_not_say_of_when_it_was_is_not_held_against_a_hold_of_some_time(forge: Forge) -> None:
    records = [hold_record("created", "A", **SECOND_HOUR), removal(since_ns="", until_ns="")]
    verdict = forge.verify(forge.build([[records]], slot=1002), checkpoint=forge.checkpoints[-1])
    assert verdict.exit_code == 0
    assert any("cannot be told: the record of their removal has no times" in f.message for f in verdict.findings)


def test_without_keys_nothing_is_said_to_have_gone_under_a_hold(forge: Forge) -> None:
    files = forge.build([[[hold_record("created", "A", **EVERYTHING), removal()]]], slot=1002)
    verdict = forge.verify(files, keys=False, checkpoint=forge.checkpoints[-1])
    assert (verdict.exit_code, kinds(verdict)) == (3, set())
    beginning = forge.verify(forge.build(RECORDS)[1:], keys=False, checkpoint=forge.checkpoints[-1])
    assert "under no legal hold, can be read with the keys only" in beginning.findings[0].message


def test_with_one_file_that_does_not_open_a_removal_under_a_hold_is_not_claimed(forge: Forge) -> None:
    """What ended the hold may stand in it."""
    files = forge.build(
        [[[hold_record("created", "A", **EVERYTHING)]], [[hold_record("released", "A")]], [[removal()]]], slot=1002
    )
    closed = parse_head(files[1][1])[0].wrapped_key

    def open_some(head: FileHead) -> AESGCM:
        if head.wrapped_key == closed:
            raise FileHeadError("another key")
        cipher: AESGCM = forge.opener.open(head)
        return cipher

    verifier = Verifier(vkey=forge.signer.vkey, opener=SimpleNamespace(open=open_some))
    for i, (name, data) in enumerate(files):
        verifier.file(name, data, read_head(files[i + 1][1]) if i < 2 else None)
    verdict = verifier.finish()
    assert Kind.PRUNED_HELD not in kinds(verdict)
    assert any("removed, can be read with the keys only" in f.message for f in verdict.findings), verdict.findings


def test_without_the_security_stream_a_missing_beginning_says_what_it_cannot_tell(forge: Forge) -> None:
    files = forge.build(RECORDS)
    verifier = Verifier(vkey=forge.signer.vkey, opener=forge.opener)
    verifier.file(files[1][0], files[1][1], read_head(files[2][1]))
    verifier.file(*files[2])
    [finding] = verifier.finish(None).failures
    assert finding.message.endswith("nor whether a legal hold kept it can be told without the security stream")


# the clock and the silence


def test_a_run_that_was_silent_for_longer_than_its_heartbeats_is_declared(forge: Forge) -> None:
    base, hour = 10**18, 3600 * 10**9
    files = forge.build([[[b"{}"], [b"[]"]]], times_ns=[base, base + hour])
    verdict = forge.verify(files, checkpoint=forge.checkpoints[-1])
    assert (verdict.exit_code, kinds(verdict)) == (0, {Kind.STALE_HEARTBEAT})
    files = forge.build([[[b"{}"]], [[b"[]"]]], times_ns=[base, base + hour])
    assert forge.verify(files).findings == (), "the gateway was down between two files"


def test_a_clock_that_goes_back_between_two_files_is_declared(forge: Forge) -> None:
    base = 10**18
    files = forge.build([[[b"{}"]], [[b"[]"]]], times_ns=[base, base - 10**10])
    assert kinds(forge.verify(files)) == {Kind.CLOCK_JUMP}


def test_a_key_that_opens_nothing_is_a_finding_and_decrypts_nothing(forge: Forge) -> None:
    files = sealed(forge, forge.build(RECORDS))
    verifier = Verifier(vkey=forge.signer.vkey, opener=type(forge.opener)(AESGCM(b"z" * 32)))
    verifier.file(*files[0])
    verdict = verifier.finish()
    assert kinds(verdict) == {Kind.WRONG_KEY_RANGE}
    assert not verdict.has_contents
