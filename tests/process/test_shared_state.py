"""Two gateways in front of one portal, with their state in one Redis that comes and goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.store.redis_probe import acl_rules
from tests.fakes.redis_servers import PASSWORD as REDIS_PASSWORD
from tests.fakes.redis_servers import Server, standalone

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def redis() -> Iterator[Server]:
    with standalone(f"user gateway on >{REDIS_PASSWORD} {acl_rules('gateway')}") as server:
        yield server


def use(gateway: Any, redis: Server) -> None:
    """Keep the state of a gateway in Redis."""
    lines = [line for line in gateway.config.read_text().splitlines() if not line.startswith("state:")]
    password = gateway.directory / "redis-password"
    password.write_text(REDIS_PASSWORD)
    password.chmod(0o600)
    address = f"redis://gateway@127.0.0.1:{redis.port}"
    lines.append(f"state: {{url: '{address}', password: {{file: redis-password}}, timeout: 2s}}")
    gateway.config.write_text("\n".join(lines) + "\n")


def test_gateways_share_people_and_sessions_and_a_sign_out_holds_on_all_of_them(
    make_gateway: Any, make_browser: Any, redis: Server
) -> None:
    here, there = make_gateway("here"), make_gateway("there")
    use(here, redis)
    use(there, redis)
    there.add_user("alice")
    here.start()
    there.start()
    mine, roaming = make_browser(here), make_browser(there)
    mine.sign_in()
    roaming.cookies = dict(mine.cookies)
    assert mine.get("/invoices/1").status == 200
    assert roaming.get("/invoices/1").json["headers"]["x-gateway-user"] == "alice"

    redis.stop()
    for gateway, browser in ((here, mine), (there, roaming)):
        gateway.wait_until(lambda browser=browser: browser.get("/invoices/2").status == 503)
        answer = browser.get("/invoices/2")
        assert int(answer.headers["retry-after"]) >= 1
        assert "set-cookie" not in answer.headers, "nobody is signed out"
    redis.start()
    for gateway, browser in ((here, mine), (there, roaming)):
        gateway.wait_until(lambda browser=browser: browser.get("/invoices/3").status == 200)
        gateway.wait_until(lambda gateway=gateway: gateway.ready()[0] == 200)

    assert there.cli("session", "revoke", "--user", "alice").returncode == 0
    for browser in (mine, roaming):
        for _ in range(8):
            assert browser.get("/invoices/4").status in {302, 303}, "at the next request, on every worker"
    assert REDIS_PASSWORD not in here.log.read_text() + there.log.read_text()
    assert here.metric('gateway_store_operation_duration_seconds_count{operation="change",store="redis"}') > 0


def test_a_gateway_whose_redis_refuses_it_does_not_start_and_says_why(make_gateway: Any, redis: Server) -> None:
    gateway = make_gateway()
    use(gateway, redis)
    redis.ask("ACL", "SETUSER", "gateway", "-zadd")
    done = gateway.cli("run")
    assert done.returncode != 0
    assert "'zadd'" in done.stderr
    assert not list((gateway.directory / "state").glob("run/*.sock"))
