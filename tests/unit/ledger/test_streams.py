from __future__ import annotations

from typing import Any

import pytest

from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.errors import LogBusyError, LogTamperedError
from gateway.ledger.streams import close_logs, last_sequence, open_logs

Bench = Any


def test_each_stream_is_a_log_of_its_own_and_verifies_by_itself(bench: Bench) -> None:
    logs = open_logs(bench.state_dir, bench.keys, boot="b", capacity=1 << 16)
    for count, log in enumerate(logs.values(), 1):
        log.append([(1, [10 * count], [b'{"a":1}'] * 1)], is_safe=True, now_ns=count)
    assert last_sequence(logs, 1) == 30
    assert last_sequence(logs, 2) == 0
    close_logs(logs)
    for stream in STREAMS:
        verdict = bench.verify(stream=stream)
        assert (verdict.exit_code, verdict.size) == (0, 1)
        assert verdict.origin.endswith(f"/{stream}")
    assert [(stored.stream, stored.index) for stored in bench.stored()] == [(stream, 0) for stream in STREAMS]
    assert [stored.stream for stored in bench.stored(Stream.ACCESS)] == [Stream.ACCESS]


def test_nobody_holds_half_of_them(bench: Bench) -> None:
    busy = bench.open(stream=Stream.TRAFFIC)
    with pytest.raises(LogBusyError):
        open_logs(bench.state_dir, bench.keys, boot="b")
    busy.close()
    close_logs(open_logs(bench.state_dir, bench.keys, boot="b"))


def test_a_log_without_streams_is_not_passed_over_in_silence(bench: Bench) -> None:
    bench.layout.create()
    (bench.layout.directory / "main-000000000001.log").write_bytes(b"GWF1")
    with pytest.raises(LogTamperedError, match="an earlier gateway wrote"):
        open_logs(bench.state_dir, bench.keys, boot="b")
