from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.exchange.metrics import Registry, Sample
from gateway.server.admin import AdminListener
from gateway.server.fields import Address
from gateway.server.listeners import bind
from gateway.server.settings import Admin


class Node:
    """A node in whatever state a test needs."""

    def __init__(self) -> None:
        self.wrong: dict[str, str] = {}
        self.out: dict[str, str] = {}
        self.registry = Registry()
        self.console_address = ""

    async def problems(self) -> dict[str, str]:
        return self.wrong

    def degraded(self) -> dict[str, str]:
        return self.out

    def console(self) -> str:
        return self.console_address

    async def samples(self) -> list[Sample]:
        return self.registry.dump()


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
async def base(node: Node) -> AsyncIterator[str]:
    sock = bind("admin.address", Address("127.0.0.1", 0))
    port = sock.getsockname()[1]
    listener = AdminListener(sock, Admin(address="127.0.0.1:9090", hosts=("metrics.internal",)), node)  # type: ignore[arg-type]  # as in the file
    await listener.start()
    yield f"http://127.0.0.1:{port}"
    await listener.stop()
    listener.close()


async def get(url: str, host: str | None = None) -> tuple[int, str, dict[str, str]]:
    async with aiohttp.ClientSession() as session, session.get(url, headers={"Host": host} if host else {}) as answer:
        return answer.status, await answer.text(), dict(answer.headers)


async def test_a_living_supervisor_says_so(base: str) -> None:
    assert (await get(f"{base}/livez"))[0] == 200


async def test_a_ready_gateway_is_200_and_a_troubled_one_503_with_the_trouble(base: str, node: Node) -> None:
    assert (await get(f"{base}/readyz"))[:2] == (
        200,
        '{"ready": true, "problems": {}, "degraded": {}}',
    )
    node.wrong = {"audit": "the disk of the audit log is full"}
    status, text, _ = await get(f"{base}/readyz")
    assert status == 503
    assert '"audit": "the disk of the audit log is full"' in text


async def test_a_portal_that_is_out_is_told_and_does_not_make_the_gateway_unready(base: str, node: Node) -> None:
    node.out = {"upstream portal": "edge-0: 2 of 2 servers out"}
    status, text, _ = await get(f"{base}/readyz")
    assert status == 200
    assert '"degraded": {"upstream portal": "edge-0: 2 of 2 servers out"}' in text


async def test_metrics_are_in_prometheus_text_format(base: str, node: Node) -> None:
    node.registry.counter("gateway_requests_total", "Requests.").inc()
    status, text, headers = await get(f"{base}/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "gateway_requests_total 1.0" in text


@pytest.mark.parametrize("host", ["evil.example.com", "localhost.evil.example.com", "127.0.0.1.evil.example.com:9090"])
async def test_a_foreign_host_name_is_refused_dns_rebinding(base: str, host: str) -> None:
    assert (await get(f"{base}/metrics", host))[0] == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:9090", "127.0.0.1:1", "[::1]:9090", "metrics.internal"])
async def test_our_own_names_are_answered(base: str, host: str) -> None:
    assert (await get(f"{base}/livez", host))[0] == 200


async def test_nothing_else_is_served_and_every_answer_is_hardened(base: str) -> None:
    status, _, headers = await get(f"{base}/admin/../etc")
    assert status == 404
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    async with aiohttp.ClientSession() as session, session.post(f"{base}/metrics") as answer:
        assert answer.status == 405


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"])
async def test_cve_2026_27589_nothing_can_be_changed_by_the_admin_listener_from_any_page(
    base: str, node: Node, method: str
) -> None:
    """Caddy's admin API took a form of any page; GHSA-gx7w, CVE-2026-45692: and its paths in other spellings."""
    fields = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}
    async with aiohttp.ClientSession() as session:
        for path in ("/livez", "/readyz", "/metrics", "/load", "/config/", "/stop", "/"):
            async with session.request(method, base + path, data=b"{}", headers=fields) as answer:
                assert answer.status in {404, 405}, path
                assert "Access-Control-Allow-Origin" not in answer.headers
    assert (await get(f"{base}/livez"))[0] == 200


@pytest.mark.parametrize(
    "path",
    ["/metricsx", "/metrics/", "/metrics/x", "/livez/../metrics/x", "/METRICS", "/debug/pprof/", "/debug", "/config", "/-/reload"],
)  # fmt: skip
async def test_ghsa_gx7w_cve_2026_55106_cve_2022_24797_only_three_paths_in_one_spelling_are_served(
    base: str, path: str
) -> None:
    """Caddy matched the beginning of a path; authentik and Pomerium left an address for debugging open."""
    assert (await get(base + path))[0] == 404


async def test_the_console_is_elsewhere_and_this_listener_says_where(base: str, node: Node) -> None:
    status, text, _ = await get(f"{base}/admin/")
    assert (status, "there is no console" in text) == (404, True)
    node.console_address = "https://portal.example.com/.gateway/admin/"
    for path in ("/admin", "/admin/"):
        status, text, fields = await get(base + path)
        assert (status, text) == (
            200,
            "the console is on the public listener: https://portal.example.com/.gateway/admin/\n",
        )
        assert fields["Cache-Control"] == "no-store"
