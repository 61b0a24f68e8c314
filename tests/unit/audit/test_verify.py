from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit.frame import END, MAGIC
from gateway.audit.intent import correlation_uid, note_intent
from gateway.audit.verify import DECLARED, Finding, Kind, Verdict, Verifier
from gateway.audit.walk import is_zero

Forge = Any
"""The fixture of conftest.py; test folders are not packages."""

FILES = [[[b'{"a":1}', b'{"a":2}'], [b'{"a":3}']], [[b'{"a":4}', b'{"a":5}'], [b'{"a":6}']]]


def kinds(verdict: Verdict) -> set[Kind]:
    return {finding.kind for finding in verdict.findings}


def test_an_intact_log_with_keys_and_a_checkpoint_is_proven(forge: Forge) -> None:
    files = forge.build(FILES)
    verdict = forge.verify(files, checkpoint=forge.checkpoints[-1])
    assert verdict.findings == ()
    assert (verdict.exit_code, verdict.size, verdict.proven, verdict.files) == (0, 6, 6, 2)
    assert verdict.tail == "checkpoint at 6 entries"
    assert forge.verify(files, checkpoint=forge.checkpoints[-1], pinned=False).exit_code == 0


def test_without_keys_or_without_a_checkpoint_nothing_is_called_intact(forge: Forge) -> None:
    files = forge.build(FILES)
    assert forge.verify(files, keys=False, checkpoint=forge.checkpoints[-1]).exit_code == 3
    assert forge.verify(files).exit_code == 3
    assert forge.verify(files, keys=False).exit_code == 3


def test_a_live_log_is_longer_than_its_last_checkpoint(forge: Forge) -> None:
    files = forge.build(FILES)
    for checkpoint, size in zip(forge.checkpoints, (2, 3, 5, 6), strict=True):
        verdict = forge.verify(files, checkpoint=checkpoint)
        assert (verdict.exit_code, verdict.tail) == (0, f"checkpoint at {size} entries")


@pytest.mark.parametrize("part", range(4))
def test_flipping_any_byte_of_any_file_is_found(forge: Forge, part: int) -> None:
    files = forge.build([[[b"{}"]], [[b"[]"]]])
    for i, (name, data) in enumerate(files):
        end = min(len(data.rstrip(b"\0")) + 40, len(data))
        for at in [*range(part, end, 4), *range(end + part, len(data), 400)]:
            damaged = list(files)
            flipped = data[:at] + bytes([data[at] ^ (1 << (at // 4 % 8))]) + data[at + 1 :]
            damaged[i] = (name, flipped)
            verdict = forge.verify(damaged, checkpoint=forge.checkpoints[-1])
            assert verdict.exit_code == 1, (name, at)


@pytest.mark.parametrize("bit", range(8))
def test_flipping_every_single_bit_of_a_small_log_is_found(forge: Forge, bit: int) -> None:
    name, data = forge.build([[[b"{}"]]])[0]
    for at in range(len(data.rstrip(b"\0")) + 40):
        flipped = data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]
        assert forge.verify([(name, flipped)], checkpoint=forge.checkpoints[-1]).exit_code == 1, at


@pytest.mark.parametrize("part", range(4))
def test_flipping_a_byte_is_found_without_keys_and_without_a_checkpoint(forge: Forge, part: int) -> None:
    files = forge.build(FILES)
    for i, (name, data) in enumerate(files):
        end = min(len(data.rstrip(b"\0")) + 8, len(data))
        for at in range(part, end, 12):
            damaged = list(files)
            flipped = data[:at] + bytes([data[at] ^ (1 << (at // 12 % 8))]) + data[at + 1 :]
            damaged[i] = (name, flipped)
            assert forge.verify(damaged, keys=False, pinned=False).exit_code == 1, (name, at)


def test_a_flip_in_one_frame_names_its_entries_and_leaves_the_rest_readable(forge: Forge) -> None:
    files = forge.build(FILES)
    name, data = files[0]
    at = len(forge.heads[0]) + 80
    files[0] = (name, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    verdict = forge.verify(files, checkpoint=forge.checkpoints[-1])
    assert [(f.kind, f.first_index, f.last_index) for f in verdict.failures] == [(Kind.BITFLIP, 0, 1)]
    assert verdict.proven == 0
    assert verdict.size == 6


def test_entries_before_the_first_finding_stay_proven(forge: Forge) -> None:
    files = forge.build(FILES)
    name, data = files[1]
    at = len(forge.heads[1]) + 80
    files[1] = (name, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    verdict = forge.verify(files, checkpoint=forge.checkpoints[-1])
    assert verdict.exit_code == 1
    assert verdict.proven == 3


def test_truncation_at_every_byte_of_the_newest_file_is_found(forge: Forge) -> None:
    files = forge.build(FILES)
    name, data = files[1]
    whole = len(data.rstrip(b"\0"))
    for length in [*range(0, whole, 5), whole + 1, len(data) - 1]:
        verdict = forge.verify([files[0], (name, data[:length])], checkpoint=forge.checkpoints[-1])
        assert verdict.exit_code == 1, length
    assert forge.verify([files[0], (name, data[:whole])], checkpoint=forge.checkpoints[-1]).exit_code == 0, (
        "a cleanly closed file has no padding"
    )


def test_a_clean_cut_at_a_frame_boundary_needs_a_checkpoint_to_be_seen(forge: Forge) -> None:
    files = forge.build(FILES)
    name, _ = files[1]
    cut = forge.heads[1] + forge.frames[1][0]
    verdict = forge.verify([files[0], (name, cut)], checkpoint=forge.checkpoints[-1])
    assert kinds(verdict) == {Kind.TRUNCATED}
    assert (verdict.failures[0].first_index, verdict.failures[0].last_index) == (5, 5)
    assert forge.verify([files[0], (name, cut)]).exit_code == 3, "never 0"
    padded = cut + bytes(len(files[1][1]) - len(cut))
    assert kinds(forge.verify([files[0], (name, padded)], checkpoint=forge.checkpoints[-1])) == {Kind.TRUNCATED}


def test_truncation_of_an_older_file_is_found_without_anything_else(forge: Forge) -> None:
    files = forge.build(FILES)
    name, data = files[0]
    for length in range(0, len(data), 11):
        assert forge.verify([(name, data[:length]), files[1]], keys=False, pinned=False).exit_code == 1, length


def test_a_removed_file_is_found_wherever_it_was(forge: Forge) -> None:
    files = forge.build([*FILES, [[b'{"a":7}']]])
    checkpoint = forge.checkpoints[-1]
    for i, kind in enumerate((Kind.MISSING, Kind.MISSING, Kind.TRUNCATED)):
        left = [file for j, file in enumerate(files) if j != i]
        assert kind in kinds(forge.verify(left, checkpoint=checkpoint)), i
    assert kinds(forge.verify([], checkpoint=checkpoint)) == {Kind.TRUNCATED}


@pytest.mark.parametrize("keys", [True, False])
def test_a_removed_frame_is_missing(forge: Forge, keys: bool) -> None:
    files = forge.build(FILES)
    name, data = files[0]
    frames = forge.frames[0]
    verdict = forge.verify([(name, data.replace(frames[1], b"")), files[1]], keys=keys)
    assert Kind.MISSING in kinds(verdict) or Kind.TRUNCATED in kinds(verdict)
    verdict = forge.verify([(name, data.replace(frames[0], b"")), files[1]], keys=keys)
    assert Kind.MISSING in kinds(verdict)


def test_swapped_repeated_and_inserted_frames_have_names(forge: Forge) -> None:
    files = forge.build([[[b"{}"], [b"[]"], [b"0"]]])
    name, data = files[0]
    a, b, c = forge.frames[0]
    head = forge.heads[0]
    rest = len(data) - len(head + a + b + c)
    swapped = forge.verify([(name, head + b + a + c + bytes(rest))])
    assert Kind.REORDERED in kinds(swapped)
    repeated = forge.verify([(name, head + a + b + b + c + bytes(rest - len(b)))])
    assert Kind.DUPLICATE in kinds(repeated)
    inserted = forge.verify([(name, head + a + b"junk" * 5 + b + c + bytes(rest - 20))])
    assert Kind.INSERTED in kinds(inserted)
    assert all(v.exit_code == 1 for v in (swapped, repeated, inserted))


def test_a_frame_of_another_log_is_refused_by_its_key_and_its_signature(forge: Forge, other_forge: Forge) -> None:
    files = forge.build([[[b"{}"], [b"[]"]]])
    other_forge.build([[[b"{}"], [b"[]"]]])
    name, data = files[0]
    stolen = data.replace(forge.frames[0][1], other_forge.frames[0][1])
    found = kinds(forge.verify([(name, stolen)]))
    assert Kind.BAD_SIGNATURE in found
    assert Kind.INSERTED in found


def test_a_whole_log_signed_by_another_key_is_refused_when_the_key_is_pinned(forge: Forge, other_forge: Forge) -> None:
    files = other_forge.build(FILES)
    verdict = forge.verify(files)
    assert {Kind.WRONG_KEY_RANGE, Kind.BAD_SIGNATURE} <= kinds(verdict)


def test_records_rewritten_with_the_stolen_key_are_a_fork_against_a_checkpoint(forge: Forge) -> None:
    """Full rewrite and re-signing with a stolen log key: only what was kept elsewhere shows it."""
    forge.build(FILES)
    kept = forge.checkpoints[-1]
    changed = [*FILES[:1], [[b'{"a":4}', b'{"a":5}'], [b'{"a":7}']]]
    rewritten = type(forge)().build(changed)
    assert kinds(forge.verify(rewritten, checkpoint=kept)) == {Kind.FORK}


def test_entries_that_do_not_give_the_signed_root_are_a_fork(forge: Forge) -> None:
    files = forge.build(FILES)
    other = type(forge)()
    other.build([[[b'{"a":1}', b'{"a":9}'], [b'{"a":3}']], *FILES[1:]])
    name, data = files[0]
    note_at = forge.frames[0][0].rindex(b"gateway/node")
    forged = other.frames[0][0]
    assert note_at
    verdict = forge.verify([(name, data.replace(forge.frames[0][0], forged)), files[1]])
    assert verdict.exit_code == 1, "the frame after it does not continue it"


def test_a_checkpoint_that_is_damaged_or_of_another_log_is_a_finding(forge: Forge, other_forge: Forge) -> None:
    files = forge.build(FILES)
    other_forge.build(FILES)
    assert kinds(forge.verify(files, checkpoint=other_forge.checkpoints[-1])) == {Kind.BAD_SIGNATURE}
    assert kinds(forge.verify(files, checkpoint=b"junk")) == {Kind.BAD_SIGNATURE}
    assert kinds(forge.verify([], checkpoint=b"junk")) == {Kind.BAD_SIGNATURE}
    inside = forge.signer.checkpoint(4, bytes(32))
    assert kinds(forge.verify(files, checkpoint=inside)) == {Kind.FORK}


def test_an_older_kept_checkpoint_beyond_the_log_is_a_rollback(forge: Forge) -> None:
    files = forge.build(FILES)
    verifier = Verifier(vkey=forge.signer.vkey, opener=forge.opener, checkpoints=[("kept.txt", forge.checkpoints[-1])])
    verifier.file("security-000000000001.log", files[0][1])
    assert Kind.ROLLBACK in kinds(verifier.finish())


def test_an_interrupted_write_at_the_very_end_is_declared_and_not_a_finding(forge: Forge) -> None:
    files = forge.build([[[b"{}"], [b"[]"]]])
    name, data = files[0]
    frame = forge.frames[0][1]
    start = data.index(frame)
    for kept in [1, 3, 10, 21, 30, 60, 67, 68, 70, len(frame) - 60, len(frame) - 5]:
        torn = data[: start + kept] + bytes(len(data) - start - kept)
        verdict = forge.verify([(name, torn)], checkpoint=forge.checkpoints[0])
        assert kinds(verdict) <= {Kind.INTERRUPTED}, kept
        assert verdict.exit_code == 0
        assert forge.verify([(name, torn)], checkpoint=forge.checkpoints[1]).exit_code == 1, "it was published"


def test_a_complete_but_damaged_frame_never_passes_for_an_interrupted_one(forge: Forge) -> None:
    files = forge.build([[[b"{}"], [b"[]"]]])
    name, data = files[0]
    frame = forge.frames[0][1]
    start = data.index(frame)
    for bit in range(8 * start, 8 * (start + len(frame)), 7):
        at = bit // 8
        damaged = data[:at] + bytes([data[at] ^ (1 << bit % 8)]) + data[at + 1 :]
        verdict = forge.verify([(name, damaged)], keys=False, checkpoint=forge.checkpoints[0])
        assert verdict.exit_code == 1, (at - start, bit % 8)


def test_bytes_that_nobody_signed_after_the_end_are_found(forge: Forge) -> None:
    files = forge.build([[[b"{}"]]])
    name, data = files[0]
    at = len(data.rstrip(b"\0"))
    verdict = forge.verify([(name, data[:at] + b"x" + data[at + 1 :])])
    assert kinds(verdict) == {Kind.UNSIGNED_TAIL}
    verdict = forge.verify([(name, data[:at] + MAGIC + b"x" * 40 + END + data[at + 48 :])])
    assert kinds(verdict) == {Kind.BITFLIP}


def test_what_a_recovery_discarded_is_declared_and_anything_else_there_is_found(forge: Forge) -> None:
    from hashlib import sha256

    torn = b"GWB1 torn"
    changes = {"file_no": 2, "prev_discarded": len(torn), "prev_discarded_sha256": sha256(torn).digest()}
    files = forge.build(FILES, changes=changes)
    checkpoint = forge.checkpoints[-1]
    name, data = files[0]
    for left in (b"", torn, torn + bytes(50), bytes(50)):
        verdict = forge.verify([(name, data + left), files[1]], checkpoint=checkpoint)
        assert kinds(verdict) == {Kind.RECOVERED}, left
        assert verdict.exit_code == 0
    for left in (b"x", torn + b"x", torn[:-1] + b"x"):
        assert Kind.INSERTED in kinds(forge.verify([(name, data + left), files[1]], checkpoint=checkpoint)), left


def test_a_file_sealed_under_another_key_encryption_key_cannot_be_read(forge: Forge, other_forge: Forge) -> None:
    files = forge.build(FILES)
    verifier = Verifier(vkey=forge.signer.vkey, opener=other_forge.opener)
    for i, (name, data) in enumerate(files):
        from gateway.audit.filehead import parse_head

        verifier.file(name, data, parse_head(files[1][1])[0] if i == 0 else None)
    verdict = verifier.finish()
    assert kinds(verdict) == {Kind.WRONG_KEY_RANGE}
    assert not verdict.has_contents


def test_a_log_of_another_base_origin_is_not_ours(forge: Forge) -> None:
    files = forge.build([[[b"{}"]]])
    verifier = Verifier(public=forge.signer.vkey.public, base_origin="gateway/other", opener=forge.opener)
    verifier.file(*files[0])
    assert kinds(verifier.finish()) == {Kind.INSERTED}


@pytest.mark.parametrize(
    "change",
    [
        {"first_index": 2, "frontier": (bytes(32),)},
        {"first_index": 4, "frontier": (bytes(32),)},
        {"first_frame": 9},
        {"prev_sha256": b"x" * 32},
        {"prev_tail": 3},
        {"prev_tail": 99999},
        {"frontier": (b"x" * 32, b"y" * 32)},
        {"frontier": ()},
        {"origin": "gateway/node/ffffffff"},
        {"public": b"p" * 32},
    ],
)
def test_a_head_that_does_not_continue_the_file_before_it_is_found(forge: Forge, change: dict[str, Any]) -> None:
    files = forge.build(FILES, changes={"file_no": 2, **change})
    assert forge.verify(files, checkpoint=forge.checkpoints[-1]).exit_code == 1


def test_a_clock_that_goes_back_is_declared(forge: Forge) -> None:
    base = 10**18
    files = forge.build([[[b"{}"], [b"[]"]]], times_ns=[base, base - 10 * 10**9])
    verdict = forge.verify(files, checkpoint=forge.checkpoints[-1])
    assert kinds(verdict) == {Kind.CLOCK_JUMP}
    assert verdict.exit_code == 0
    files = forge.build([[[b"{}"], [b"[]"]]], times_ns=[base, base - 10**8])
    assert forge.verify(files).findings == ()


def test_open_intents_and_gaps_are_declared(forge: Forge) -> None:
    intent = b'{"metadata":{"correlation_uid":"r1"},"unmapped":{"gw":{"phase":"intent"}}}'
    other = b'{"metadata":{"correlation_uid":"r2"},"unmapped":{"gw":{"phase":"intent"}}}'
    outcome = b'{"metadata":{"correlation_uid":"r1"},"unmapped":{"gw":{"phase":"outcome"}}}'
    gap = b'{"unmapped":{"gw":{"event":"audit.gap","gap":{"count":7,"first":1,"last":7,"slot":3},"reason":"refused"}}}'
    odd = b'{"unmapped":{"gw":{"event":"audit.gap"}}}'
    files = forge.build([[[intent, other, outcome, gap, odd]]], slot=1003)
    verdict = forge.verify(files, checkpoint=forge.checkpoints[-1])
    assert verdict.exit_code == 0
    assert next(str(f) for f in verdict.findings if f.kind is Kind.GAP_DECLARED).endswith(
        "7 records of producer 3 were not stored (refused)"
    )
    assert [f.message for f in verdict.findings if f.kind is Kind.OPEN_INTENT] == [
        "request r2 of producer 1003 has no outcome yet"
    ]


def test_no_value_of_a_record_can_imitate_an_intent() -> None:
    import orjson

    intents: dict[str, int] = {}
    hostile = '"phase":"intent"'
    payload = orjson.dumps({"metadata": {"correlation_uid": "x"}, "user_agent": hostile})
    note_intent(intents, 1, payload)
    assert intents == {}
    assert correlation_uid(b"{}") == ""
    note_intent(intents, 1, b'{"phase":"intent"}')
    assert intents == {}, "without a correlation uid nothing could close it"


def test_the_same_sequence_twice_is_a_duplicate(forge: Forge) -> None:
    files = forge.build(FILES, changes={"file_no": 2, "sequences": {1: 10**6}})
    verifier = Verifier(vkey=forge.signer.vkey, opener=forge.opener)
    from gateway.audit.filehead import parse_head

    verifier.resume(parse_head(files[1][1])[0])
    verifier.file(*files[1])
    assert kinds(verifier.finish()) == {Kind.DUPLICATE}


def test_a_verifier_can_begin_at_any_file_and_carries_its_state(forge: Forge) -> None:
    from gateway.audit.filehead import parse_head

    files = forge.build(FILES)
    verifier = Verifier(vkey=forge.signer.vkey, opener=forge.opener)
    verifier.resume(parse_head(files[1][1])[0])
    verifier.file(*files[1])
    assert verifier.findings == []
    assert verifier.tree is not None
    assert (verifier.tree.size, verifier.next_frame, verifier.sequences) == (6, 5, {1: 105})


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2000), st.integers(0, 60))
def test_arbitrary_damage_never_raises_and_never_passes(junk: bytes, at: int, cut: int) -> None:
    """Overwrite a stretch of a file with anything: a verdict, and it is 0 only when nothing changed."""
    forge = _forge()
    files = forge.build([[[b"{}"], [b"[]", b"0"]]])
    name, data = files[0]
    damaged = data[:at] + junk + data[at + cut :]
    verdict = forge.verify([(name, damaged)], checkpoint=forge.checkpoints[-1])
    if damaged != data:
        assert verdict.exit_code == 1 or damaged.rstrip(b"\0") == data.rstrip(b"\0")


def _forge() -> Forge:
    import importlib.util
    from pathlib import Path

    spec = importlib.util.spec_from_file_location("audit_conftest", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Forge()


def test_a_finding_says_kind_place_and_range() -> None:
    assert str(Finding(kind=Kind.MISSING, message="gone", file="f", offset=3, first_index=1, last_index=4)) == (
        "MISSING(1-4) f@3: gone"
    )
    assert str(Finding(kind=Kind.FORK, message="two")) == "FORK two"
    assert str(Finding(kind=Kind.BITFLIP, message="m", file="f", first_index=2)) == "BITFLIP(2) f: m"
    assert all(Finding(kind=kind, message="").is_failure != (kind in DECLARED) for kind in Kind)


def test_zeros_are_told_from_anything_else_at_any_length() -> None:
    assert is_zero(b"")
    assert is_zero(bytes((1 << 20) + 5))
    assert not is_zero(bytes(1 << 20) + b"\1")
