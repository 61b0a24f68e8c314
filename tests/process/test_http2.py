"""HTTP/2 as other programs speak it: curl, nghttp and h2load of nghttp2."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(180)  # whole processes on a busy machine


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def curl(gateway: Any, *arguments: str) -> str:
    return run(
        "curl", "--silent", "--show-error", "--http2", "--cacert", str(gateway.directory / "config" / "tls" / "cert.pem"), *arguments
    )  # fmt: skip


def counted(report: str) -> dict[str, int]:
    """What h2load says became of its requests."""
    (line,) = re.findall(r"(?m)^requests: (.*)$", report)
    (codes,) = re.findall(r"(?m)^status codes: (.*)$", report)
    return {name: int(number) for number, name in re.findall(r"(\d+) (\w+)", f"{line}, {codes}")}


@pytest.fixture
def gateway(make_gateway: Any) -> Any:
    made = make_gateway(workers=1)
    text = made.config.read_text()
    assert "client:" in text
    made.config.write_text(re.sub(r"(?m)^  client: .*$", "  client: {rate: 100000/s, burst: 100000, per: ip}", text))
    made.start()
    return made


@pytest.fixture
def cookie(gateway: Any, make_browser: Any) -> str:
    browser = make_browser(gateway)
    browser.sign_in()
    return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


def test_curl_reaches_the_portal_by_http_2(gateway: Any, cookie: str) -> None:
    said = curl(
        gateway, "--cookie", cookie, "--write-out", "\n%{http_version} %{http_code}", f"{gateway.public_url}/invoices/7"
    )
    body, _, last = said.rpartition("\n")
    assert last == "2 200"
    assert '"x-gateway-user": "alice"' in body
    assert '"via": "2 gateway"' in body
    assert "__Host-gw" not in body
    assert gateway.metric("gateway_http2_requests_total") >= 1
    page = curl(gateway, "--head", "--header", "Sec-Fetch-Mode: navigate", f"{gateway.public_url}/invoices/7")
    assert page.startswith("HTTP/2 302")
    assert "location: /.gateway/login?" in page


def test_every_request_of_h2load_succeeds_and_a_reload_disturbs_none(gateway: Any, cookie: str) -> None:
    before = gateway.metric("gateway_http2_requests_total")
    command = ["h2load", "-n", "3000", "-c", "4", "-m", "10", "-H", f"cookie: {cookie}"]
    with subprocess.Popen([*command, f"{gateway.public_url}/invoices/7"], stdout=subprocess.PIPE, text=True) as load:
        try:
            gateway.wait_until(lambda: gateway.metric("gateway_http2_requests_total") > before + 100)
            assert gateway.cli("reload").returncode == 0
            report, _ = load.communicate(timeout=60)
        finally:
            load.kill()
    counts = counted(report)
    assert (counts["succeeded"], counts["failed"], counts["2xx"]) == (3000, 0, 3000), report
    assert gateway.metric("gateway_http2_requests_total") == before + 3000
    gateway.wait_until(lambda: gateway.metric("gateway_http2_streams") == 0)
    assert gateway.stop() == 0
    assert gateway.cli("audit", "verify").returncode == 0


def test_nghttp_gets_a_page_with_its_assets_at_once(gateway: Any, cookie: str) -> None:
    urls = [f"{gateway.public_url}/invoices/{at}" for at in range(20)]
    report = run("nghttp", "--no-verify-peer", "--null-out", "--stat", "-H", f"cookie: {cookie}", *urls)
    assert len(re.findall(r"(?m) 200 +\w+ /invoices/\d+$", report)) == 20, report
