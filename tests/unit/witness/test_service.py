from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
import structlog

from gateway.audit.checkpoint import Vkey, split_note
from gateway.audit.cosignature import Cosigner, cosignatures
from gateway.audit.merkle import EMPTY_ROOT
from gateway.audit.witness import Submission
from gateway.exchange.metrics import Registry, Sample
from gateway.witness.service import ServiceMetrics, Witness, describe
from gateway.witness.store import WitnessStore
from tests.unit.witness.conftest import GrowingLog


def value(samples: list[Sample], name: str, *labels: str) -> float:
    return next(dict(sample.values)[labels] for sample in samples if sample.name == name)


def test_a_cosignature_is_over_the_checkpoint_and_says_when(
    witness: Witness, log: GrowingLog, cosigner: Cosigner
) -> None:
    body = log.submit(0, 7)
    answer = witness.add(body)
    assert answer.status == 200
    found = cosignatures(Submission.parse(body).note + answer.body, [cosigner.key])
    assert [item.time_s for item in found] == [1_790_000_000]


def test_the_last_checkpoint_is_served_with_both_signatures(
    witness: Witness, log: GrowingLog, cosigner: Cosigner
) -> None:
    hashed = sha256(log.vkey.name.encode()).hexdigest()
    assert witness.checkpoint(hashed).status == 404
    witness.add(log.submit(0, 7))
    witness.add(log.submit(7, 9))
    answer = witness.checkpoint(hashed)
    text, signatures = split_note(answer.body)
    assert text.split(b"\n")[1] == b"9"
    assert [name for name, _, _ in signatures] == [log.vkey.name, cosigner.key.name]
    assert witness.checkpoint("0" * 64).status == 404


def test_an_older_size_is_answered_with_the_size_that_was_seen(witness: Witness, log: GrowingLog) -> None:
    witness.add(log.submit(0, 7))
    answer = witness.add(log.submit(5, 9))
    assert (answer.status, answer.body, answer.content_type) == (409, b"7\n", "text/x.tlog.size")


def test_a_rewritten_log_is_refused_counted_and_said(witness: Witness, log: GrowingLog, registry: Registry) -> None:
    witness.add(log.submit(0, 7))
    with structlog.testing.capture_logs() as lines:
        assert witness.add(log.submit(7, 9, forked=True)).status == 422
    assert [(line["event"], line["log"]) for line in lines] == [("witness.conflict", log.vkey.name)]
    assert "gateway/node/security\n9\n" in lines[0]["checkpoint"]
    witness.measure()
    samples = registry.dump()
    assert value(samples, "gateway_witness_conflicts_total", log.vkey.name) == 1
    assert value(samples, "gateway_witness_requests_total", "422") == 1
    assert value(samples, "gateway_witness_log_entries", log.vkey.name) == 7
    assert value(samples, "gateway_witness_cosigned_age_seconds", log.vkey.name) == 0.5


def test_on_a_full_disk_nothing_is_cosigned_and_what_was_kept_stays(
    witness: Witness, log: GrowingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-41: who cosigned what it does not keep could cosign a shorter log afterwards."""
    hashed = sha256(log.vkey.name.encode()).hexdigest()
    witness.add(log.submit(0, 7))
    before = witness.checkpoint(hashed).body

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        answer = witness.add(log.submit(7, 9))
    assert (answer.status, answer.retry_after_s) == (503, 1)
    assert b"cannot keep" in answer.body
    assert witness.checkpoint(hashed).body == before
    assert witness.add(log.submit(7, 11)).status == 200


def test_requests_at_once_never_take_a_log_back(witness: Witness, log: GrowingLog) -> None:
    """The race of the specification: both are sound on their own, and one of them has to come second."""
    witness.add(log.submit(0, 5))
    for old in range(5, 50, 5):
        bodies = [log.submit(old, old + ahead) for ahead in (1, 2, 3, 4, 5)]
        with ThreadPoolExecutor(5) as pool:
            answers = list(pool.map(witness.add, bodies))
        assert sorted(answer.status for answer in answers) == [200, 409, 409, 409, 409]
        won = next(old + i + 1 for i, answer in enumerate(answers) if answer.status == 200)
        assert {answer.body for answer in answers if answer.status == 409} == {b"%d\n" % won}
        if won < old + 5:
            assert witness.add(log.submit(won, old + 5)).status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"old 0\n\n", 400),
        (b"old 0\n\nunknown.example/log\n1\n" + b"A" * 43 + b"=\n\n", 404),
    ],
)
def test_what_is_no_request_of_a_known_log_is_refused(witness: Witness, body: bytes, status: int) -> None:
    assert witness.add(body).status == status


def test_a_checkpoint_of_an_empty_log_can_be_cosigned(witness: Witness, log: GrowingLog) -> None:
    assert witness.add(Submission(0, (), log.signer.checkpoint(0, EMPTY_ROOT)).dump()).status == 200
    assert witness.add(log.submit(0, 3)).status == 200


def test_a_log_may_sign_with_an_old_key_or_a_new_one(tmp_path: Path, log: GrowingLog, cosigner: Cosigner) -> None:
    new = Vkey(log.vkey.name, b"n" * 32)
    made = Witness(
        cosigner, [new, log.vkey], WitnessStore(tmp_path / "s", cosigner.key), lambda: 1.0, ServiceMetrics(Registry())
    )
    made.start()
    assert made.add(log.submit(0, 3)).status == 200
    made.stop()


def test_an_origin_that_the_kind_of_signature_cannot_hold_is_refused_and_not_kept(tmp_path: Path) -> None:
    from gateway.audit.checkpoint import Signer

    cosigner = Cosigner("w", 6, b"w" * 32)
    signer = Signer("o" * 300, b"s" * 32)
    made = Witness(
        cosigner, [signer.vkey], WitnessStore(tmp_path / "s", cosigner.key), lambda: 1.0, ServiceMetrics(Registry())
    )
    made.start()
    assert made.add(Submission(0, (), signer.checkpoint(1, b"r" * 32)).dump()).status == 400
    made.stop()


def test_a_log_that_is_no_longer_known_is_said_and_not_served(
    witness: Witness, log: GrowingLog, store: WitnessStore, cosigner: Cosigner
) -> None:
    witness.add(log.submit(0, 3))
    witness.stop()
    again = Witness(cosigner, [], WitnessStore(store.directory, cosigner.key), lambda: 1.0, ServiceMetrics(Registry()))
    with structlog.testing.capture_logs() as lines:
        again.start()
    assert [line["event"] for line in lines] == ["witness.log_unknown"]
    assert again.add(log.submit(3, 4)).status == 404
    assert again.checkpoint(sha256(log.vkey.name.encode()).hexdigest()).status == 404
    again.stop()
    other = Vkey("gateway/other", b"o" * 32)
    assert [(name, kept is None) for name, kept in describe(store.read(), [other])] == [
        ("gateway/other", True),
        (log.vkey.name, False),
    ]
