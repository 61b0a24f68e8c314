"""How long a million requests take to be decided again: `python -m tests.bench.replay [--requests 1000000]`.

Writes a log of a week as the audit daemon writes one, then runs `gateway policy replay` on it with the policy it was made
by and with one that takes a role away, and prints seconds and records a second of each run, and the CPU time of all its processes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gateway.ledger.keys import AuditKeys
from gateway.policy import compile_policy
from tests.fakes.past import Recorder, days, write_log

HOSTS = {"portal.example.com": "", "acme.example.com": "acme"}
SETTINGS = """version: 1
public_url: https://portal.example.com
listen: [{address: 127.0.0.1:8443, tls: {certificate: cert.pem, key: key.pem}}]
state_dir: state
upstreams: {portal: {servers: ["http://127.0.0.1:3000"]}}
tenants: {acme: {hosts: [acme.example.com]}}
mfa: {required: always}
"""
ROUTES = 200
WEEK_S = 7 * 86_400.0


def policy() -> str:
    """Two hundred routes: most ask for a role, one in eight for a condition on time or address, one in twenty for nothing."""
    lines = [
        "version: 1",
        "roles: {client: {}, billing: {includes: [client]}, admin: {includes: [billing]}}",
        "routes:",
    ]
    for number in range(ROUTES):
        role = ("client", "client", "billing", "admin")[number % 4]
        path, name = f"/area{number}/items/{{id}}", f"area{number}"
        lines.append(f'  - name: {name}\n    match: {{path: "{path}", methods: [GET, POST]}}\n    upstream: portal')
        if number % 20 == 0:
            lines.append("    public: true")
        elif number % 16 == 1:
            lines.append(f"    allow: [{{roles: [{role}], when: 'session.mfa_age < duration(\"2h\")'}}]")
        elif number % 16 == 9:
            lines.append(f'    allow: [{{roles: [{role}], when: \'network.is_in("10.0.0.0/9") && path.id != "13"\'}}]')
        else:
            lines.append(f"    allow: [{{roles: [{role}]}}]")
    return "\n".join(lines) + "\n"


def addresses(choose: random.Random) -> tuple[str, str]:
    """Pick a method and a path; some routes are much busier than others."""
    number = min(int(choose.expovariate(12 / ROUTES)), ROUTES - 1)
    return ("POST" if choose.random() < 0.1 else "GET"), f"/area{number}/items/{choose.randrange(5000)}"


def roles_of(number: int) -> tuple[str, ...]:
    """Give most people one role."""
    return (("client",), ("client",), ("billing",), ("client", "billing"), ("admin",))[number % 5]


def prepare(directory: Path, requests: int) -> None:
    """Write gateway.yaml, two directories of policies, keys and the log."""
    text = policy()
    table, _ = compile_policy({"policies/portal.yaml": text}, upstreams=["portal"], tenants=["acme"], hosts=HOSTS)
    for name, content in (("policies", text), ("candidate", text.replace("roles: [billing]", "roles: [admin]", 3))):
        (directory / name).mkdir()
        (directory / name / "portal.yaml").write_text(content, "utf-8")
    (directory / "gateway.yaml").write_text(SETTINGS, "utf-8")
    (directory / "config").mkdir()
    keys = AuditKeys.generate(origin="gateway/node-a", created="2026-01-01T00:00:00Z", random=os.urandom)
    keys.create(directory / "config" / "audit-keys.json")
    recorder = Recorder(table, HOSTS)
    now = time.time()
    past = days(
        requests,
        since=now - WEEK_S + 60,
        until=now - 60,
        people=5000,
        roles_of=roles_of,
        host="acme.example.com",
        addresses=addresses,
    )
    write_log(directory / "state", keys, map(recorder.record, past))


def measure(directory: Path, *arguments: str) -> None:
    """Run the verb and print what it took."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    verb = [str(Path(sys.executable).with_name("gateway")), "policy", "replay", "--since", "7d", "--json", *arguments]
    done = subprocess.run([*verb, "-c", str(directory / "gateway.yaml")], capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        sys.exit(done.stderr)
    read = json.loads(done.stdout)
    requests = read["read"]["requests"]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    sys.stdout.write(
        f"{' '.join(arguments) or 'the same policy'}: exit {done.returncode}, {requests:,} requests in {seconds:.1f} s "
        f"({requests / seconds:,.0f}/s, {cpu:.1f} s of CPU): {read['same']:,} the same, {read['would_refuse']:,} would be refused, "
        f"{read['would_allow']:,} would be allowed, {read['unknown']:,} unknown\n"
    )


def main() -> None:
    """Write a log and replay it twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--directory", type=Path, help="Where to write, and leave, everything.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = asked.directory or Path(temporary)
        if not (directory / "gateway.yaml").exists():
            directory.mkdir(exist_ok=True)
            began = time.monotonic()
            prepare(directory, asked.requests)
            sys.stdout.write(f"wrote {asked.requests:,} records in {time.monotonic() - began:.0f} s\n")
        measure(directory)
        measure(directory, "--candidate", str(directory / "candidate"))


if __name__ == "__main__":
    main()
