from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.audit.cosignature import Cosigner
from gateway.exchange.metrics import Registry
from gateway.witness.service import ServiceMetrics, Witness
from gateway.witness.store import WitnessStateError, WitnessStore
from tests.unit.witness.conftest import GrowingLog


def test_what_was_kept_is_there_after_a_restart(
    witness: Witness, log: GrowingLog, store: WitnessStore, cosigner: Cosigner
) -> None:
    assert witness.add(log.submit(0, 7)).status == 200
    witness.stop()
    again = Witness(
        cosigner,
        [log.vkey],
        WitnessStore(store.directory, cosigner.key),
        lambda: 1_790_000_001.0,
        ServiceMetrics(Registry()),
    )
    again.start()
    assert again.add(log.submit(0, 9)).body == b"7\n"
    assert again.add(log.submit(7, 9)).status == 200
    again.stop()


def test_a_checkpoint_is_on_stable_storage_before_it_is_answered(
    witness: Witness, log: GrowingLog, store: WitnessStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file and the directory are flushed, in this order, and only then is there an answer."""
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def flush(descriptor: int) -> None:
        calls.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).suffix or 'directory'}")
        fsync(descriptor)

    def rename(path: Path, target: Path) -> Path:
        calls.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", rename)
    assert witness.add(log.submit(0, 7)).status == 200
    assert calls == ["fsync .new", "rename", "fsync directory"]


def test_what_cannot_be_kept_is_not_signed(
    witness: Witness, log: GrowingLog, store: WitnessStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    assert witness.add(log.submit(0, 7)).status == 200
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        answer = witness.add(log.submit(7, 9))
        assert (answer.status, answer.retry_after_s) == (503, 1)
        assert "—".encode() not in answer.body
    assert witness.add(log.submit(7, 9)).status == 200


def test_two_witnesses_cannot_share_a_state(witness: Witness, store: WitnessStore, cosigner: Cosigner) -> None:
    with pytest.raises(WitnessStateError, match="another witness runs"):
        WitnessStore(store.directory, cosigner.key).open()


def test_a_state_that_this_key_did_not_sign_is_not_believed(
    witness: Witness, log: GrowingLog, store: WitnessStore, cosigner: Cosigner
) -> None:
    """Attack: write a smaller size, signed by the log, into the state, so that a shortened log is cosigned again."""
    witness.add(log.submit(0, 9))
    witness.stop()
    (path,) = store.directory.glob("*.checkpoint")
    good = path.read_bytes()
    for bad in (
        good.replace(b"\n9\n", b"\n8\n"),
        log.signer.checkpoint(3, b"r" * 32),
        good[:-10],
        b"",
    ):
        path.write_bytes(bad)
        with pytest.raises(WitnessStateError):
            store.open()
    path.write_bytes(good)
    with pytest.raises(WitnessStateError, match="was not written by the witness"):
        WitnessStore(store.directory, Cosigner("witness.example/w1", 4, b"x" * 32).key).open()
    path.rename(path.with_name("0" * 64 + ".checkpoint"))
    with pytest.raises(WitnessStateError, match="was not written by"):
        store.open()


def test_a_half_written_file_of_a_crash_is_ignored(witness: Witness, log: GrowingLog, store: WitnessStore) -> None:
    witness.add(log.submit(0, 9))
    witness.stop()
    (path,) = store.directory.glob("*.checkpoint")
    path.with_suffix(".new").write_bytes(b"half")
    assert [kept.checkpoint.size for kept in store.open().values()] == [9]
    store.close()


def test_a_state_that_cannot_be_used_is_named(tmp_path: Path, cosigner: Cosigner) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WitnessStateError, match=r"file: cannot be used: file exists"):
        WitnessStore(tmp_path / "file", cosigner.key).open()
