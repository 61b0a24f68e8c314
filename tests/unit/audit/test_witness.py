from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.audit.checkpoint import Signer
from gateway.audit.cosignature import Cosigner
from gateway.audit.merkle import EMPTY_ROOT, hash_leaf
from gateway.audit.proof import LeafHashes, prove_consistency, tree_root
from gateway.audit.witness import (
    MAX_REQUEST_BYTES,
    Refusal,
    Seen,
    Sound,
    Submission,
    SubmissionError,
    judge_submission,
    origin_hash,
)

LOG = Signer("gateway/node/security", b"s" * 32)
STORE = LeafHashes([hash_leaf(bytes([i])) for i in range(20)])
OTHER = LeafHashes([hash_leaf(b"x" + bytes([i])) for i in range(20)])
LOGS = {LOG.vkey.name: [LOG.vkey]}
FIVE = {LOG.vkey.name: Seen(5, tree_root(STORE, 5))}
JUNK = b"j" * 32


def ask(
    size: int, *, old: int = 5, proof: Sequence[bytes] | None = None, store: LeafHashes = STORE, log: Signer = LOG
) -> Submission:
    made = prove_consistency(store, old, size) if proof is None else proof
    return Submission(old, tuple(made), log.checkpoint(size, tree_root(store, size)))


def refused(submission: Submission, seen: dict[str, Seen] = FIVE) -> Refusal:
    answer = judge_submission(submission, LOGS, seen)
    assert isinstance(answer, Refusal)
    return answer


def accepted(submission: Submission, seen: dict[str, Seen] = FIVE) -> Sound:
    answer = judge_submission(submission, LOGS, seen)
    assert isinstance(answer, Sound), answer
    return answer


def test_a_tree_that_continues_the_last_one_is_sound() -> None:
    for size in range(5, 21):
        assert accepted(ask(size)).checkpoint.size == size


def test_the_first_tree_needs_no_proof() -> None:
    found = accepted(ask(7, old=0), {})
    assert (found.checkpoint.size, found.checkpoint.root) == (7, tree_root(STORE, 7))
    assert found.text + b"\n" + found.signatures == LOG.checkpoint(7, tree_root(STORE, 7))


def test_an_empty_tree_is_sound_with_the_root_of_an_empty_tree_alone() -> None:
    assert accepted(Submission(0, (), LOG.checkpoint(0, EMPTY_ROOT)), {}).checkpoint.size == 0
    assert refused(Submission(0, (), LOG.checkpoint(0, JUNK)), {}).status == 422


def test_a_log_that_is_not_known_is_404_whoever_signed_it() -> None:
    stranger = Signer("gateway/other/security", b"s" * 32)
    assert refused(ask(7, log=stranger)).status == 404


def test_a_checkpoint_that_the_log_did_not_sign_is_403() -> None:
    other_key = Signer(LOG.vkey.name, b"t" * 32)
    assert refused(ask(7, log=other_key)).status == 403
    unsigned = LOG.checkpoint(7, tree_root(STORE, 7)).partition(b"\n\n")[0] + b"\n"
    assert refused(Submission(5, (), unsigned + b"\n")).status == 403


def test_a_wrong_signature_under_the_right_key_is_403_even_beside_a_right_one() -> None:
    note = LOG.checkpoint(7, tree_root(STORE, 7))
    wrong = "— gateway/node/security ".encode() + b64encode(LOG.vkey.key_id + bytes(64)) + b"\n"
    proof = tuple(prove_consistency(STORE, 5, 7))
    assert refused(Submission(5, proof, note + wrong)).status == 403
    assert refused(Submission(5, proof, note[:-3] + b"!=\n")).status == 403


def test_signatures_of_others_are_ignored_and_not_kept() -> None:
    note = LOG.checkpoint(7, tree_root(STORE, 7))
    text = note.partition(b"\n\n")[0] + b"\n"
    stranger = Cosigner("witness.example/w9", 4, b"w" * 32).cosign(text, 1)
    found = accepted(Submission(5, tuple(prove_consistency(STORE, 5, 7)), note + stranger * 17))
    assert found.signatures == note.partition(b"\n\n")[2]


def test_an_old_size_above_the_checkpoint_is_400_whatever_was_seen() -> None:
    assert refused(Submission(8, (), LOG.checkpoint(7, tree_root(STORE, 7)))).status == 400


@pytest.mark.parametrize("old", [0, 4, 6])
def test_another_old_size_than_the_last_is_409_with_the_last(old: int) -> None:
    answer = refused(ask(9, old=old))
    assert (answer.status, answer.size) == (409, 5)
    assert not answer.is_conflict


def test_what_has_not_been_seen_has_size_zero() -> None:
    assert refused(ask(9, old=3), {}).size == 0


@pytest.mark.parametrize(
    "submission",
    [
        pytest.param(ask(9, proof=()), id="no proof"),
        pytest.param(ask(9, proof=[*prove_consistency(STORE, 5, 9), JUNK]), id="a proof that is too long"),
        pytest.param(ask(9, proof=prove_consistency(STORE, 5, 9)[:-1]), id="a proof that is too short"),
        pytest.param(ask(9, proof=prove_consistency(STORE, 5, 8)), id="the proof for another size"),
        pytest.param(ask(9, store=OTHER), id="a log that was rewritten"),
        pytest.param(ask(5, store=OTHER), id="another root for the same size"),
    ],
)
def test_a_tree_that_does_not_continue_the_last_one_is_422(submission: Submission) -> None:
    answer = refused(submission)
    assert answer.status == 422
    assert answer.is_conflict


def test_a_proof_where_none_is_needed_is_422_and_accuses_nobody() -> None:
    """Everybody can have the last checkpoint of a witness, and send it with such a proof."""
    from_nothing = refused(Submission(0, (JUNK,), LOG.checkpoint(7, tree_root(STORE, 7))), {})
    for answer in (from_nothing, refused(ask(5, proof=[JUNK]))):
        assert (answer.status, answer.is_conflict) == (422, False)


def test_a_log_shortened_and_continued_is_noticed() -> None:
    """Attack: cut the log to 3, go on with other records, and say that the witness saw what is there now."""
    shortened = LeafHashes([*(hash_leaf(bytes([i])) for i in range(3)), *(hash_leaf(b"new") for _ in range(9))])
    assert refused(ask(4, old=3, store=shortened)).size == 5
    assert refused(ask(12, store=shortened)).status == 422


def test_extension_lines_are_accepted_and_stay_in_what_is_cosigned() -> None:
    text = LOG.checkpoint(5, tree_root(STORE, 5)).partition(b"\n\n")[0] + b"\nextension\n"
    line = "— gateway/node/security ".encode() + b64encode(LOG.vkey.key_id + LOG.sign(b"", text)) + b"\n"
    assert accepted(Submission(5, (), text + b"\n" + line)).text == text


@pytest.mark.parametrize("submission", [ask(9), ask(7, old=0), ask(5)])
def test_a_request_is_read_back_as_it_was_written(submission: Submission) -> None:
    assert Submission.parse(submission.dump()) == submission


def test_a_request_has_the_form_of_the_specification() -> None:
    body = ask(9).dump().decode()
    head, _, note = body.partition("\n\n")
    assert head.split("\n")[0] == "old 5"
    assert len(head.split("\n")) == 1 + len(prove_consistency(STORE, 5, 9))
    assert note.startswith("gateway/node/security\n9\n")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 5\n",
        b"old 5",
        ask(9).dump().replace(b"\n", b"\r\n"),
        ask(9).dump().replace(b"old 5", b"old 05"),
        ask(9).dump().replace(b"old 5", b"old -5"),
        ask(9).dump().replace(b"old 5", b"old  5"),
        ask(9).dump().replace(b"old 5", "old \N{ARABIC-INDIC DIGIT FIVE}".encode()),
        ask(9).dump().replace(b"old 5", b"Old 5"),
        ask(9).dump().replace(b"old 5", b"old 99999999999999999999"),
        ask(9, proof=[b"short"]).dump(),
        ask(9, proof=[JUNK] * 64).dump(),
        ask(9).dump().replace(b"old 5\n", b"old 5\n*\n"),
        b"old 5\n\n" + b"x" * MAX_REQUEST_BYTES,
    ],
)
def test_malformed_requests_are_refused(body: bytes) -> None:
    with pytest.raises(SubmissionError):
        Submission.parse(body)


@pytest.mark.parametrize("note", [b"", b"\n\n", b"no checkpoint\n\n", b"\xff\n5\nx\n\n", b"x\n5\n"])
def test_what_is_no_checkpoint_is_400(note: bytes) -> None:
    assert refused(Submission(5, (), note)).status == 400


def test_the_address_of_a_log_is_the_hash_of_its_origin() -> None:
    assert origin_hash("example.com/log") == "4d3203c8f35cdf600e475f55fede6081a703d3d322f208865fca2ec4f0e030f8"


@given(st.binary(max_size=400))
@example(b"old 5\n\n\n\n")
@example(b"old 0\n\ngateway/node/security\n0\n\n\n")
def test_no_bytes_from_the_network_make_more_than_a_refusal(data: bytes) -> None:
    try:
        answer = judge_submission(Submission.parse(data), LOGS, FIVE)
    except SubmissionError:
        return
    assert isinstance(answer, Refusal)


@given(st.integers(0, 400), st.binary(max_size=3))
def test_a_request_that_was_changed_anywhere_is_never_cosigned_as_another_log(at: int, change: bytes) -> None:
    body = ask(9).dump()
    changed = body[:at] + change + body[at + len(change) :]
    try:
        answer = judge_submission(Submission.parse(changed), LOGS, FIVE)
    except SubmissionError:
        return
    if isinstance(answer, Sound):
        assert (answer.checkpoint.size, answer.checkpoint.root) == (9, tree_root(STORE, 9))
