import asyncio

import pytest

from gateway.federation.jwks import (
    MAX_STALE_S,
    MIN_INTERVAL_S,
    REFRESH_S,
    RETRY_S,
    DocumentUnavailableError,
    IssuerKeys,
    IssuerKeysUnavailableError,
)
from tests.fakes.jose import ec_key, jwk, jwks

ONE, TWO = (jwks(jwk(ec_key(which=which), kid=f"k{which}")) for which in (0, 1))
START = 1_800_000_000.0


class Issuer:
    """An issuer whose document and mood the test sets, and the clock."""

    def __init__(self) -> None:
        self.document = ONE
        self.is_down = False
        self.is_lost = False
        self.asked = 0
        self.now = START
        self.gate: asyncio.Event | None = None

    async def locate(self) -> str:
        if self.is_lost:
            raise DocumentUnavailableError("the metadata cannot be fetched")
        return "https://issuer.example/jwks.json"

    async def get(self, url: str, *, max_bytes: int) -> bytes:
        assert url == "https://issuer.example/jwks.json"
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.is_down:
            raise DocumentUnavailableError("the issuer does not answer")
        return self.document

    def keys(self, known: bytes = b"", fetched: float = 0.0) -> IssuerKeys:
        return IssuerKeys(self.locate, self, clock=lambda: self.now, known=known, fetched=fetched)


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


async def test_nothing_is_fetched_before_it_is_needed_and_then_once(issuer: Issuer) -> None:
    keys = issuer.keys()
    assert issuer.asked == 0
    first = await keys.get()
    assert [key.kid for key in first.keys] == ["k0"]
    assert await keys.get() is first
    assert issuer.asked == 1
    assert (keys.document, keys.fetched) == (ONE, START)


async def test_many_who_need_the_keys_at_once_make_one_request(issuer: Issuer) -> None:
    issuer.gate = asyncio.Event()
    keys = issuer.keys()
    tasks = [asyncio.create_task(keys.get()) for _ in range(20)]
    await asyncio.sleep(0)
    issuer.gate.set()
    found = await asyncio.gather(*tasks)
    assert issuer.asked == 1
    assert all(one is found[0] for one in found)


async def test_keys_are_fetched_anew_after_an_hour(issuer: Issuer) -> None:
    keys = issuer.keys()
    first = await keys.get()
    issuer.now += REFRESH_S - 1
    assert await keys.get() is first
    issuer.document = TWO
    issuer.now += 1
    assert [key.kid for key in (await keys.get()).keys] == ["k1"]


async def test_the_same_document_is_the_same_key_set(issuer: Issuer) -> None:
    """Whoever caches by the set need not forget."""
    keys = issuer.keys()
    first = await keys.get()
    issuer.now += REFRESH_S
    assert await keys.get() is first
    assert (issuer.asked, keys.fetched) == (2, START + REFRESH_S)


async def test_a_rotated_key_is_found_when_a_token_names_it(issuer: Issuer) -> None:
    keys = issuer.keys()
    first = await keys.get()
    issuer.document = TWO
    issuer.now += MIN_INTERVAL_S
    assert [key.kid for key in (await keys.newer_than(first)).keys] == ["k1"]


async def test_a_flood_of_unknown_key_ids_asks_the_issuer_once_a_minute(issuer: Issuer) -> None:
    keys = issuer.keys()
    first = await keys.get()
    for _ in range(600):
        issuer.now += 0.5
        await keys.newer_than(first)
    assert issuer.asked <= 1 + 300 / MIN_INTERVAL_S


async def test_who_waited_while_another_fetched_gets_its_keys(issuer: Issuer) -> None:
    keys = issuer.keys()
    first = await keys.get()
    issuer.document, issuer.gate = TWO, asyncio.Event()
    issuer.now += MIN_INTERVAL_S
    tasks = [asyncio.create_task(keys.newer_than(first)) for _ in range(5)]
    await asyncio.sleep(0)
    issuer.gate.set()
    assert {tuple(key.kid for key in one.keys) for one in await asyncio.gather(*tasks)} == {("k1",)}
    assert issuer.asked == 2


async def test_the_last_good_keys_hold_while_the_issuer_is_away(issuer: Issuer) -> None:
    keys = issuer.keys()
    first = await keys.get()
    issuer.is_down = True
    issuer.now += REFRESH_S
    assert await keys.get() is first
    assert keys.problem == "the issuer does not answer"
    assert await keys.newer_than(first) is first
    issuer.is_down = False
    issuer.now += MIN_INTERVAL_S
    assert await keys.get() is first
    assert keys.problem == ""


async def test_an_answer_that_is_no_key_set_does_not_replace_the_keys(issuer: Issuer) -> None:
    keys = issuer.keys()
    first = await keys.get()
    for document in (b"<html>maintenance</html>", b'{"keys": []}', b""):
        issuer.document = document
        issuer.now += REFRESH_S
        assert await keys.get() is first
        assert keys.problem
    assert keys.document == ONE


async def test_keys_that_could_not_be_fetched_for_a_week_hold_no_longer(issuer: Issuer) -> None:
    keys = issuer.keys()
    await keys.get()
    issuer.is_down = True
    issuer.now += MAX_STALE_S
    with pytest.raises(IssuerKeysUnavailableError, match="does not answer"):
        await keys.get()


async def test_an_issuer_that_never_answered_is_asked_again_ever_more_slowly(issuer: Issuer) -> None:
    issuer.is_down = True
    keys = issuer.keys()
    for _ in range(3):
        with pytest.raises(IssuerKeysUnavailableError):
            await keys.get()
    assert issuer.asked == 1
    for _ in range(240):
        issuer.now += 0.5
        with pytest.raises(IssuerKeysUnavailableError):
            await keys.get()
    assert issuer.asked == 1 + len(RETRY_S)
    issuer.is_down = False
    issuer.now += RETRY_S[-1]
    assert len(await keys.get()) == 1


async def test_metadata_that_cannot_be_had_is_no_other_outage(issuer: Issuer) -> None:
    issuer.is_lost = True
    keys = issuer.keys()
    with pytest.raises(IssuerKeysUnavailableError, match="metadata"):
        await keys.get()
    assert issuer.asked == 0


async def test_what_an_earlier_run_knew_serves_while_the_issuer_is_down_at_start(issuer: Issuer) -> None:
    issuer.is_down = True
    keys = issuer.keys(known=ONE, fetched=START - 2 * REFRESH_S)
    assert [key.kid for key in (await keys.get()).keys] == ["k0"]


async def test_what_an_earlier_run_left_broken_is_as_if_nothing_were_known(issuer: Issuer) -> None:
    keys = issuer.keys(known=b"{", fetched=START)
    assert len(await keys.get()) == 1
    assert issuer.asked == 1


async def test_a_clock_that_was_set_back_does_not_stop_the_fetching(issuer: Issuer) -> None:
    keys = issuer.keys()
    await keys.get()
    issuer.document = TWO
    issuer.now -= 86_400
    assert [key.kid for key in (await keys.get()).keys] == ["k1"]
