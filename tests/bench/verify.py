"""How fast a log is verified: `python -m tests.bench.verify [--records 1000000] [--jobs 1 2] [--rounds 3]`.

Writes a log of one stream as the audit daemon does under load, 64 records of about 1,300 bytes to a frame, and verifies
it twice with its keys: as log files, as a gateway leaves them that was stopped, and sealed into segments, as almost all of
every log is. Prints records a second of CPU time (of all processes: the figure to trust on a shared machine) and of the clock.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from gateway.audit.segment import seal
from gateway.exchange.stream import Stream
from gateway.ledger.copy import CopyFile, find_logs
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.log import open_log
from gateway.ledger.verification import OWN_CHECKPOINT, Question, verify_trees

STREAM = Stream.ACCESS
IN_A_FRAME = 64
STEP_NS = 100_000
"""Ten thousand records a second."""
WRITES = 20
"""One request in so many changes something, and has an intent before its outcome."""
_RECORD = (
    '{"action_id":1,"activity_id":2,"actor":{"session":{"is_mfa":true,"uid":"%(hash)s"},'
    '"user":{"name":"user-%(person)d","type_id":1,"uid":"u-%(person)08d"}},"api":{"operation":"GET /v1/accounts/{id}/invoices",'
    '"service":{"name":"portal"}},"category_uid":6,"class_uid":6003,"device":{"hostname":"gateway-1","uid":"0123456789abcdef"},'
    '"dst_endpoint":{"hostname":"portal.example.com"},"http_request":{"http_method":"GET",'
    '"uid":"%(uid)s","url":{"path":"/v1/accounts/%(person)d/invoices/%(n)d"},"user_agent":"Mozilla/5.0 (X11; Linux x86_64) '
    'Gecko/20100101 Firefox/131.0","version":"1.1"},"http_response":{"code":200,'
    '"length":%(length)d},"metadata":{"correlation_uid":"%(uid)s","log_name":"access","log_version":1,"product":{"name":"gateway",'
    '"version":"0"},"sequence":%(n)d,"tenant_uid":"acme","uid":"%(event)s","version":"1.8.0"},"policy":{"uid":"billing.yaml:12",'
    '"version":"5e884898da28"},"resources":[{"type":"invoice","uid":"%(n)d"}],"severity_id":1,"src_endpoint":{"ip":"203.0.113.%(host)d",'
    '"port":%(port)d},"status_id":1,"time":%(time)d,"trace":{"uid":"%(trace)s"},"type_uid":600302,"unmapped":{"gw":{"action":"view",'
    '"boot_uid":"b7e1","mono_ns":%(mono)d,"outcome":"completed","phase":"%(phase)s","reason":"allowed","redactions":0,"route":"invoice-%(route)d"}}}'
)


def record(n: int, choose: random.Random) -> bytes:
    """Make record number `n` as an edge worker does; numbers and names that differ keep zstd honest."""
    writes = n % WRITES
    request = n - (writes == 1)
    made = _RECORD % {
        "n": n,
        "hash": f"{choose.getrandbits(128):032x}",
        "event": f"0192f0c1-{request % 65536:04x}-7{n % 4096:03x}-8000-{choose.getrandbits(48):012x}",
        "person": choose.randrange(5000),
        "uid": f"01JD8Z{request:020d}",
        "trace": f"{choose.getrandbits(128):032x}",
        "length": choose.randrange(200_000),
        "host": choose.randrange(250),
        "port": choose.randrange(1024, 65536),
        "time": 1_790_000_000_000 + n // 10,
        "mono": n * STEP_NS,
        "phase": "intent" if writes == 0 else "outcome" if writes == 1 else "single",
        "route": choose.randrange(200),
    }
    return made.encode()


def write(state: Path, keys: AuditKeys, records: int) -> int:
    """Write the log; return how many bytes of records it has."""
    choose = random.Random(7)
    log = open_log(state, keys, STREAM, boot="bench")
    size = 0
    for first in range(1, records + 1, IN_A_FRAME):
        numbers = range(first, min(first + IN_A_FRAME, records + 1))
        payloads = [record(n, choose) for n in numbers]
        size += sum(map(len, payloads))
        log.append([(0, numbers, payloads)], is_safe=False, now_ns=10**18 + first * STEP_NS)
    log.close()
    return size


def files_of(state: Path) -> list[CopyFile]:
    """Return the files of the log, oldest first."""
    return find_logs(Layout(state).directory).logs[0].files


def seal_all(state: Path, keys: AuditKeys) -> None:
    """Turn every file but the newest into a segment."""
    files = files_of(state)
    for file, following in pairwise(files):
        if file.head is None or following.head is None:
            raise SystemExit(f"{file.path}: its head cannot be read")
        made = seal(file.path.read_bytes(), following.head, keys.open(file.head), keys.public, salt=os.urandom(6))
        file.path.with_suffix(".seg").write_bytes(made)
        file.path.unlink()


def cpu_s() -> float:
    """Return the CPU time of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def verify(state: Path, keys: AuditKeys, jobs: int, name: str, rounds: int) -> None:
    """Verify the log several times and say how fast the fastest was: what others do to a machine only adds."""
    times = [_verify(state, keys, jobs) for _ in range(rounds)]
    size = times[0][2]
    used, wall = min(each[0] for each in times), min(each[1] for each in times)
    print(
        f"{name}, {jobs} {'process' if jobs == 1 else 'processes'}: {1e6 * used / size:.2f} us of CPU a record "
        f"({size / used:,.0f}/s), {wall:.1f} s ({size / wall:,.0f}/s)"
    )


def _verify(state: Path, keys: AuditKeys, jobs: int) -> tuple[float, float, int]:
    """Return CPU time, time and records of one verification."""
    layout = Layout(state)
    question = Question(
        keys=keys,
        published=((STREAM, OWN_CHECKPOINT, layout.checkpoint(STREAM).read_bytes()),),
        jobs=jobs,
        is_live=True,
    )
    began, used = time.perf_counter(), cpu_s()
    report = verify_trees([layout.directory], question)
    wall, used = time.perf_counter() - began, cpu_s() - used
    if report.exit_code:
        raise SystemExit([str(finding) for _, verdict in report.verdicts for finding in verdict.failures[:3]])
    return used, wall, sum(verdict.size for _, verdict in report.verdicts)


def main() -> None:
    """Write, verify, seal, verify."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3, help="The fastest counts.")
    asked = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="audit-verify-"))
    try:
        keys = AuditKeys.generate(origin="gateway/bench", created="", random=os.urandom)
        print(f"writing {asked.records:,} records …", file=sys.stderr)
        size = write(place, keys, asked.records)
        print(f"{asked.records:,} records, {size / asked.records:,.0f} bytes each, {IN_A_FRAME} to a frame")
        for jobs in asked.jobs:
            verify(place, keys, jobs, "log files", asked.rounds)
        seal_all(place, keys)
        kept = sum(file.size for file in files_of(place))
        print(f"sealed: {kept / asked.records:,.0f} bytes a record on disk")
        for jobs in asked.jobs:
            verify(place, keys, jobs, "segments", asked.rounds)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
