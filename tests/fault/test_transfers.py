"""A gigabyte through the gateway at another's pace: no process keeps more of it than a buffer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.fault.memory import Watch

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

GIBIBYTE = 1 << 30
BOUND = 24 << 20
PAUSE_S = 1.5
"""Long enough for a side that does not wait to run hundreds of megabytes ahead."""
_BLOCK = 1 << 20


def test_a_gigabyte_download_to_a_reader_that_pauses_does_not_grow_memory(gateway: Any, browser: Any) -> None:
    browser.get("/zeros/2000000")
    gateway.settle()
    connection = gateway.connect()
    with Watch((gateway.process.pid, *gateway.children())) as watch:
        connection.request("GET", f"/zeros/{GIBIBYTE}", headers={"Cookie": cookie_of(browser)})
        response = connection.getresponse()
        assert response.status == 200
        assert response.headers["Content-Length"] == str(GIBIBYTE)
        taken, buffer = 0, bytearray(_BLOCK)
        while count := response.readinto(buffer):
            if taken // (GIBIBYTE // 3) != (taken + count) // (GIBIBYTE // 3):
                time.sleep(PAUSE_S)
            taken += count
    connection.close()
    assert taken == GIBIBYTE
    report("download", watch)
    assert max(watch.growth.values()) < BOUND, watch.growth


def test_a_gigabyte_upload_to_a_reader_that_pauses_does_not_grow_memory(
    make_gateway: Callable[..., Any], make_browser: type[Any], upstream: Any
) -> None:
    """The portal pauses for longer than a client may: it is not the client's silence."""
    gateway = make_gateway()
    gateway.edit(("response: 3s", "response: 60s"))
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    browser.post("/orders/1", {"a": "b" * 100_000})
    gateway.settle()
    connection = gateway.connect()
    upstream.taken = 0
    threading.Timer(2 * PAUSE_S, upstream.release.set).start()
    with Watch((gateway.process.pid, *gateway.children())) as watch:
        connection.putrequest("POST", "/sink/1")
        connection.putheader("Content-Length", str(GIBIBYTE))
        connection.putheader("Cookie", cookie_of(browser))
        connection.endheaders()
        zeros = bytes(_BLOCK)
        for _ in range(GIBIBYTE // _BLOCK):
            connection.send(zeros)
        response = connection.getresponse()
        assert response.status == 200
        assert int(response.read()) == GIBIBYTE
    connection.close()
    assert upstream.taken == GIBIBYTE
    report("upload", watch)
    assert max(watch.growth.values()) < BOUND, watch.growth


def cookie_of(browser: Any) -> str:
    return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


def report(what: str, watch: Watch) -> None:
    most = max(watch.growth, key=lambda pid: watch.growth[pid])
    print(
        f"{what} of 1 GiB: the process that grew most went from {watch.before[most] >> 20} to {watch.most[most] >> 20} MiB;"
        f" all together {sum(watch.before.values()) >> 20} to {sum(watch.most.values()) >> 20} MiB"
    )
