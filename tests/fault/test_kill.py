"""`kill -9` at random points under load: no answer without its record, no effect without its announcement, nobody signed out.

T-01, T-02 and T-06 of the study. Two dozen kills run with every other test; GATEWAY_SOAK=1 makes them a thousand. GATEWAY_SOAK_SEED repeats a run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from tests.fault.evidence import Evidence
from tests.fault.load import Load
from tests.machine import lives

pytestmark = pytest.mark.fault

SOAK = bool(os.environ.get("GATEWAY_SOAK"))
KILLS = 1000 if SOAK else 24
VICTIMS = (
    ("edge",) * 8 + ("audit",) * 5 + ("custodian",) * 2 + ("pages",) * 3 + ("supervisor",) * 2 + ("everything",) * 2
)


@pytest.mark.timeout(9000 if SOAK else 240)
def test_after_any_number_of_kills_every_answer_is_in_the_log_and_everybody_still_signed_in(
    gateway: Any, browser: Any, upstream: Any
) -> None:
    seed = int(os.environ.get("GATEWAY_SOAK_SEED", time.time_ns() % 1_000_000))
    chance = random.Random(seed)
    kills: Counter[str] = Counter()
    pauses: list[float] = []
    with Load(gateway, browser.cookies, seed=seed) as load:
        load.wait_for_progress()
        while kills.total() < KILLS:
            if chance.random() < 0.8:  # the others hit a gateway that is not back yet
                pauses.append(load.wait_for_progress())
            time.sleep(chance.random() * 0.4)
            victim = VICTIMS[kills.total() % len(VICTIMS)] if not SOAK else chance.choice(VICTIMS)
            if kill(gateway, victim, chance):
                kills[victim] += 1
        load.wait_for_progress()
        gateway.wait_until(lambda: gateway.ready()[0] == 200)
        assert browser.get("/").status == 200
    assert gateway.stop() == 0
    verified = gateway.cli("audit", "verify", "--json")
    assert verified.returncode == 0, verified.stdout
    evidence = Evidence(gateway.directory)
    evidence.assert_numbers_are_unique()
    unrecorded = evidence.assert_answers_are_recorded(load.answers)
    evidence.assert_effects_were_announced(upstream.effects)
    answered = {answer.request_id for answer in load.answers}
    assert len(answered) == len(load.answers), "a request id was used twice"
    statuses = load.statuses()
    signed_out = [
        answer for answer in load.answers if answer.status in {302, 401, 403} and answer.path != "/invoices/0"
    ]
    assert not signed_out, signed_out[:3]
    figures = {
        "seed": seed, "kills": dict(kills), "answers": len(load.answers), "statuses": {f"{status} {reason}".strip(): n for (status, reason), n in statuses.items()},
        "effects": sum(effect.method != "GET" for effect in upstream.effects), "connection_errors": dict(load.errors),
        "unrecorded_503": unrecorded, "longest_pause_s": round(max(pauses), 2), "records": json.loads(verified.stdout)["size"],
        "declared": Counter(found["kind"] for log in json.loads(verified.stdout)["streams"].values() for found in log["declared"]),
    }  # fmt: skip
    print(json.dumps(figures))
    assert load.count(200) > 5 * KILLS
    assert statuses.total() - load.count(200) - load.count(401) < load.count(200) / 5, figures
    own = {reason for (status, reason), _ in statuses.items() if status >= 500}
    assert own <= {
        "audit_unavailable",
        "upstream_unreachable",
        "upstream_closed",
        "upstream_timeout",
        "draining",
        "store_unavailable",
        "",
    }, figures


def kill(gateway: Any, victim: str, chance: random.Random) -> bool:
    """Kill a process that lives; what takes the supervisor with it is started again at once. False when there is none."""
    if victim in {"edge", "audit", "custodian", "pages"}:
        living = gateway.children(victim)
        if not living:
            return False
        with suppress(ProcessLookupError):
            os.kill(chance.choice(living), signal.SIGKILL)
            return True
        return False
    children = gateway.children()
    if victim == "everything":
        for pid in (gateway.process.pid, *children):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert gateway.stop(signal.SIGKILL) == -signal.SIGKILL
    deadline = time.monotonic() + 15
    while any(lives(pid) for pid in children):
        assert time.monotonic() < deadline, "a process outlives its supervisor"
        time.sleep(0.01)
    revive(gateway)
    return True


def revive(gateway: Any) -> None:
    """Start it as a service manager would: again when a machine that is too busy made it give up."""
    for attempt in range(5):
        try:
            gateway.start()
        except AssertionError:
            if attempt == 4 or gateway.process.poll() is None:
                raise
        else:
            return
