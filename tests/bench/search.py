"""How long questions to a large audit log take: `python -m tests.bench.search [--records 1000000]`.

Writes the log of a month as the audit daemon writes one, makes the index, then asks `gateway audit query` as an operator does,
and prints seconds, CPU time and the most memory of each question. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.log import open_log
from gateway.ledger.search import Search

SETTINGS = """version: 1
public_url: https://portal.example.com
listen: [{address: 127.0.0.1:8443, tls: {certificate: cert.pem, key: key.pem}}]
state_dir: state
upstreams: {portal: {servers: ["http://127.0.0.1:3000"]}}
"""
MONTH_S = 30 * 86_400
BATCH = 50
"""Records of a frame, as the daemon has them under load."""
RECORD = (
    b'{"action_id":%d,"activity_id":2,"actor":{"session":{"created_time":1700000000000,"is_mfa":true,"uid":"%016x"},"user":{"name":"person%d","type_id":1,"uid":"%024x"}},'
    b'"api":{"operation":"GET /area%d/items/{id}","service":{"name":"portal"}},"category_uid":6,"class_uid":6003,"device":{"hostname":"node-a"},'
    b'"dst_endpoint":{"hostname":"acme.example.com","svc_name":"portal"},"http_request":{"body_length":0,"http_method":"GET","uid":"%026x","url":{"path":"/area%d/items/%d"},'
    b'"user_agent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36","version":"1.1"},'
    b'"http_response":{"code":%d,"latency":%d,"length":%d},"metadata":{"correlation_uid":"%026x","log_name":"access","log_version":1,'
    b'"product":{"name":"gateway","vendor_name":"gateway","version":"0.1.0"},"profiles":["host","security_control"],"sequence":%d,"tenant_uid":"acme","uid":"%032x","version":"1.8.0"},'
    b'"policy":{"uid":"portal.yaml:%d","version":"0123456789abcdef"},"resources":[{"type":"item","uid":"%d"}],"severity_id":1,"src_endpoint":{"ip":"10.%d.%d.7","port":50000},'
    b'"status_code":"%d","status_detail":"%b","status_id":1,"time":%d,"tls":{"cipher":"TLS_AES_256_GCM_SHA384","version":"TLSv1.3"},"type_uid":600302,"unmapped":{"gw":{"action":"view",'
    b'"boot_uid":"boot","decision_inputs":{"amr":["pwd","otp","mfa"],"auth_time":1700000000,"host":"acme.example.com","mfa_time":1700000000,"roles":["client"],"secure":true,"tenant":"acme"},'
    b'"mono_ns":%d,"outcome":"completed","phase":"single","reason":"%b","redactions":0,"route":"area%d"}}}'
)


def records(count: int, since_ms: int) -> Iterator[bytes]:
    """Make records: 5,000 people, some much busier than others, and 200 routes."""
    choose = random.Random(7)
    for n in range(count):
        person = min(int(choose.expovariate(6 / 5000)), 4999)
        route = min(int(choose.expovariate(12 / 200)), 199)
        allowed = choose.random() > 0.02
        item = choose.randrange(100_000)
        request = choose.getrandbits(100)
        status, reason = (200, b"allowed") if allowed else (403, b"role_missing")
        now = since_ms + n * MONTH_S * 1000 // count
        yield RECORD % (
            1 if allowed else 2, person * 7919, person, person, route, request, route, item, status, choose.randrange(900),
            choose.randrange(50_000), request, n + 1, choose.getrandbits(120), route, item, person % 200, person // 200, status,
            reason, now, now * 1_000_000, reason, route,
        )  # fmt: skip


def prepare(directory: Path, count: int) -> None:
    """Write gateway.yaml, keys and the log."""
    (directory / "gateway.yaml").write_text(SETTINGS, "utf-8")
    (directory / "config").mkdir()
    keys = AuditKeys.generate(origin="gateway/node-a", created="2026-01-01T00:00:00Z", random=os.urandom)
    keys.create(directory / "config" / "audit-keys.json")
    since_ms = int((time.time() - MONTH_S) * 1000)
    log = open_log(directory / "state", keys, Stream.ACCESS, boot="boot")
    batch: list[bytes] = []
    for n, payload in enumerate(records(count, since_ms), 1):
        batch.append(payload)
        if len(batch) == BATCH or n == count:
            now_ns = (since_ms + n * MONTH_S * 1000 // count) * 1_000_000
            log.append([(1, range(n - len(batch) + 1, n + 1), batch)], is_safe=False, now_ns=now_ns)
            batch = []
    log.settle()
    log.close()


def write_and_index(directory: Path, count: int) -> None:
    """Write everything that is not there yet."""
    if not (directory / "gateway.yaml").exists():
        began = time.monotonic()
        prepare(directory, count)
        sys.stdout.write(f"wrote {count:,} records in {time.monotonic() - began:.0f} s\n")
    keys = AuditKeys.load(directory / "config" / "audit-keys.json")
    began, cpu = time.monotonic(), time.process_time()
    made = Search(directory / "state", keys, on_damage=sys.exit).index()
    size = sum(path.stat().st_size for path in (directory / "state" / "index").iterdir())
    sys.stdout.write(
        f"made {made} indexes in {time.monotonic() - began:.1f} s, {time.process_time() - cpu:.1f} s of CPU; {size / 1e6:.0f} MB in all\n"
    )


def measure(directory: Path, what: str, *arguments: str) -> None:
    """Run a query in a process of its own and print what it took."""
    verb = [str(Path(sys.executable).with_name("gateway")), "audit", "query", "-c", str(directory / "gateway.yaml")]
    began = time.monotonic()
    process = subprocess.Popen([*verb, *arguments], stdout=subprocess.PIPE)
    output = process.stdout.read() if process.stdout is not None else b""
    if process.stdout is not None:
        process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{what}: exit {process.returncode}")
    lines = len(output.splitlines())
    sys.stdout.write(
        f"{what}: {time.monotonic() - began:.2f} s, {usage.ru_utime + usage.ru_stime:.2f} s of CPU, "
        f"{usage.ru_maxrss / 1024:.0f} MiB, {lines} lines\n"
    )


def main() -> None:
    """Write a log, make its index, and ask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--directory", type=Path, help="Where to write, and leave, everything.")
    parser.add_argument("--prepare", action="store_true", help="Write the log and its index, and ask nothing.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = asked.directory or Path(temporary)
        directory.mkdir(exist_ok=True)
        if asked.prepare:
            write_and_index(directory, asked.records)
            return
        # In a process of its own: the most memory of a child counts from that of whoever began it.
        verb = [sys.executable, "-m", "tests.bench.search", "--prepare", "--directory", str(directory)]
        subprocess.run([*verb, "--records", str(asked.records)], check=True)
        record = next(islice(records(asked.records, 0), asked.records // 2, None))
        request = record[record.index(b'"correlation_uid":"') + 19 :][:26].decode()
        measure(directory, "one request", "--request-id", request)
        measure(directory, "one item", "--resource", "item/4711")
        measure(directory, "one quiet person", "--user", "person4321")
        measure(directory, "one busy person, newest 100", "--user", "person1")
        measure(directory, "refusals of an hour", "--decision", "deny", "--since", "361h", "--until", "360h")
        measure(directory, "SQL: count", "--sql", "SELECT count(*) FROM records")
        measure(
            directory,
            "SQL: refusals by route",
            "--sql",
            "SELECT route, count(*) FROM records WHERE decision = 'deny' GROUP BY 1 ORDER BY 2 DESC",
        )
        measure(
            directory,
            "SQL: people by day",
            "--sql",
            "SELECT time::DATE, count(DISTINCT actor_id) FROM records GROUP BY 1 ORDER BY 1",
        )
        measure(directory, "SQL: everything of one person", "--user", "person4321", "--sql", "SELECT * FROM records")


if __name__ == "__main__":
    main()
