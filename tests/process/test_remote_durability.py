"""A whole gateway whose answers wait until a receiver elsewhere has their record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.log_receivers import Authority
from tests.process.test_sinks import ThreadedReceiver

AS_IT_IS = "audit: {durability: group, keys: config/audit-keys.json}\n"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ThreadedReceiver]:
    receiver = ThreadedReceiver(Authority(tmp_path / "authority"))
    receiver.start()
    yield receiver
    receiver.close()


def test_no_answer_leaves_before_a_required_sink_has_its_record(
    make_gateway: Callable[..., Any], make_browser: type[Any], receiver: ThreadedReceiver, tmp_path: Path
) -> None:
    gateway = make_gateway()
    alone = AS_IT_IS.replace("group", "strict+remote")
    gateway.edit((AS_IT_IS, alone))
    refused = gateway.cli("check")
    assert refused.returncode != 0
    assert "strict+remote needs a sink with required: true for each stream" in refused.stderr + refused.stdout
    secret = tmp_path / "webhook.secret"
    secret.write_text("a secret of thirty-two bytes ....\n")
    secret.chmod(0o600)
    sink = f"""audit:
  durability: strict+remote
  keys: config/audit-keys.json
  sinks:
    - {{name: siem, type: webhook, url: "https://127.0.0.1:{receiver.port}/audit", secret: {{file: {secret}}}, batch: {{linger: 0s}},
       ca: {tmp_path / "authority" / "ca.pem"}, required: true, timeout: 2s, retry: {{first: 50ms, longest: 200ms}}}}
"""
    gateway.edit((alone, sink))
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    assert browser.get("/").status == 200
    receiver.stop()
    assert browser.get("/").status == 503, "the record is here, and nowhere else"
    receiver.start()
    gateway.wait_until(lambda: browser.get("/").status == 200)
    verified = gateway.cli("audit", "verify")
    assert verified.returncode == 0, verified.stdout
