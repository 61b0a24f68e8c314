"""deploy/receipts: what a portal behind the gateway refuses."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from gateway.audit.receipt import line_digest, sign_receipt
from tests.fakes.receipts import ReceiptError, Receipts, RequireReceipt

KEY, OLD = b"k" * 32, b"o" * 32
UID = "01890a5d-ac96-774b-8aaa-0242ac130002"
SALT = bytes(range(16))
NOW = 0x01890A5DAC96 / 1000


def receipt(
    target: bytes = b"/a?b=1", *, method: bytes = b"GET", uid: str = UID, index: int = 7, key: bytes = KEY
) -> str:
    line = line_digest(SALT, method, target)
    made = sign_receipt(key, origin="gateway/n/1/access", index=index, request_uid=uid, line=line)
    return f"{made.decode()} {SALT.hex()}"


class Application:
    """Remembers whom it served."""

    def __init__(self) -> None:
        self.served: list[str] = []

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        self.served.append(scope.get("audit_record", ""))
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})


def asked(portal: Any, *fields: tuple[bytes, bytes], kind: str = "http", **changes: Any) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    scope = {"type": kind, "method": "GET", "path": "/a", "raw_path": b"/a", "query_string": b"b=1", "headers": fields}
    if kind != "http":
        del scope["method"]

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(portal(scope | changes, None, send))
    return sent


def proof(text: str, uid: str = UID) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    return (b"x-audit-receipt", text.encode("latin-1")), (b"x-request-id", uid.encode())


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
def portal(application: Application) -> Any:
    return RequireReceipt(application, Receipts([KEY, OLD], clock=lambda: NOW), exempt={"/health"})


def test_a_request_with_its_receipt_is_served_and_knows_its_record(application: Application, portal: Any) -> None:
    assert asked(portal, *proof(receipt()))[0]["status"] == 200
    assert application.served == ["gateway/n/1/access#7"]


def test_while_a_key_is_changed_both_are_taken(application: Application, portal: Any) -> None:
    asked(portal, *proof(receipt(key=OLD)))
    assert len(application.served) == 1
    only_new = RequireReceipt(application, Receipts([KEY], clock=lambda: NOW))
    assert asked(only_new, *proof(receipt(key=OLD)))[0]["status"] == 403


@pytest.mark.parametrize(
    "fields",
    [
        (),
        proof(receipt())[:1],
        proof(receipt())[1:],
        (*proof(receipt()), proof(receipt())[0]),
        (*proof(receipt()), proof(receipt())[1]),
        proof(receipt(b"/other")),
        proof(receipt(b"/a?b=2")),
        proof(receipt(method=b"POST")),
        proof(receipt(key=b"f" * 32)),
        proof(receipt(), UID[:-1] + "3"),
        proof(receipt().replace("#7", "#8")),
        proof(receipt().replace("/n/", "/m/")),
        proof(receipt().replace("= ", "A= ")),
        proof(receipt().replace(SALT.hex(), bytes(16).hex())),
        proof(receipt().removesuffix(f" {SALT.hex()}")),
        proof("gateway/n/1/access#7 "),
        proof("ä"),
        proof(receipt() + "\n"),
        proof(receipt(uid="x"), "x"),
    ],
)
def test_a_request_without_a_receipt_of_its_own_does_not_reach_the_portal(
    application: Application, portal: Any, fields: tuple[tuple[bytes, bytes], ...]
) -> None:
    """Attack: forged, of another request line, of another request, borrowed, twice."""
    start, body = asked(portal, *fields)
    assert start["status"] == 403
    assert KEY not in body["body"]
    assert application.served == []


def test_a_receipt_counts_once(application: Application, portal: Any) -> None:
    asked(portal, *proof(receipt()))
    assert asked(portal, *proof(receipt()))[1]["body"] == b"the receipt was used before\n"
    assert len(application.served) == 1


@pytest.mark.parametrize("now", [NOW + 61, NOW - 11])
def test_a_receipt_of_another_time_does_not_count(now: float) -> None:
    with pytest.raises(ReceiptError, match="another time"):
        Receipts([KEY], clock=lambda: now).verify(b"GET /a?b=1 HTTP/1.1", UID, receipt())


def test_what_is_too_old_to_count_is_not_remembered() -> None:
    now = [NOW]
    receipts = Receipts([KEY], clock=lambda: now[0])
    receipts.verify(b"GET /a?b=1 HTTP/1.1", UID, receipt())
    now[0] += 71
    uid = f"{int(now[0] * 1000):012x}"
    uid = f"{uid[:8]}-{uid[8:]}{UID[13:]}"
    receipts.verify(b"GET /a?b=1 HTTP/1.1", uid, receipt(uid=uid, index=8))
    assert list(receipts._seen) == ["gateway/n/1/access#8"]


@pytest.mark.parametrize("target", [b"/a", b"/a?"])
def test_a_question_mark_that_asgi_does_not_show_stops_no_request(
    application: Application, portal: Any, target: bytes
) -> None:
    """A form without fields asks for `/a?`."""
    assert asked(portal, *proof(receipt(target)), query_string=b"")[0]["status"] == 200
    assert asked(portal, *proof(receipt(target)), query_string=b"")[0]["status"] == 403
    assert asked(portal, *proof(receipt(b"/a?b", index=8)), query_string=b"")[0]["status"] == 403
    assert len(application.served) == 1


@pytest.mark.parametrize("keys", [[], [b""], [KEY, b""], [b"short"]])
def test_what_is_no_key_is_refused(keys: list[bytes]) -> None:
    """Attack: the variable is empty, and anybody can make receipts for an empty key."""
    with pytest.raises(ValueError, match="32 bytes"):
        Receipts(keys)


def test_a_clock_that_is_put_back_fills_nothing() -> None:
    """Attack: what was remembered before stays for an hour, and the portal refuses everybody."""
    now = [NOW]
    receipts = Receipts([KEY], max_remembered=20, clock=lambda: now[0])

    def use(index: int) -> None:
        uid = f"{int(now[0] * 1000):012x}"
        uid = f"{uid[:8]}-{uid[8:]}{UID[13:]}"
        receipts.verify(b"GET /a?b=1 HTTP/1.1", uid, receipt(uid=uid, index=index))

    for index in range(8):
        use(index)
    now[0] -= 3600
    use(8)
    with pytest.raises(ReceiptError, match="used before"):
        use(7)
    for index in range(9, 30):
        now[0] += 10
        use(index)


def test_more_than_can_be_remembered_is_refused() -> None:
    receipts = Receipts([KEY], max_remembered=1, clock=lambda: NOW)
    receipts.verify(b"GET /a?b=1 HTTP/1.1", UID, receipt())
    with pytest.raises(ReceiptError, match="more requests"):
        receipts.verify(b"GET /a?b=1 HTTP/1.1", UID, receipt(index=8))


def test_a_websocket_is_closed_before_it_opens(application: Application, portal: Any) -> None:
    assert asked(portal, kind="websocket")[0]["type"] == "websocket.close"
    asked(portal, *proof(receipt()), kind="websocket")
    assert application.served == ["gateway/n/1/access#7"]


def test_checks_of_health_and_the_life_of_the_portal_need_none(application: Application, portal: Any) -> None:
    asked(portal, path="/health", raw_path=b"/health")
    asked(portal, kind="lifespan")
    assert application.served == ["", ""]
