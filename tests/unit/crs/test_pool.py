"""The second engine in its processes, with the library and rules of our own; the whole rule set is a whole-program test's."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.crs.pool import Pool, try_rules
from gateway.crs.process import Rules
from gateway.crs.rules import RulesError
from gateway.crs.talk import framed
from gateway.exchange.opinion import Opinion, Question

RULES = """
SecRule ARGS "@rx (?i)union\\s+select|<script" "id:942100,phase:2,block,severity:'CRITICAL',msg:'attack',setvar:'tx.score=+5'"
SecRule TX:score "@ge %{tx.inbound_anomaly_score_threshold}" "id:949110,phase:2,deny,status:403"
"""


def rules(directory: Path, text: str = RULES, **levels: int) -> Rules:
    (directory / "a.conf").write_text(text)
    return Rules(directory=str(directory), **levels)  # type: ignore[arg-type]


def asked(target: bytes, body: bytes = b"", kind: bytes = b"application/x-www-form-urlencoded") -> Question:
    fields = [(b"host", b"portal.example.com")]
    if body:
        fields += [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    return Question("POST" if body else "GET", target, "1.1", "192.0.2.1", fields, body)


async def verdict(pool: Pool, question: Question) -> Opinion | None:
    answer: asyncio.Future[Opinion | None] = asyncio.get_running_loop().create_future()
    pool.ask(question, answer.set_result)
    return await asyncio.wait_for(answer, 30)


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[Pool]:
    pool = Pool(rules(tmp_path), processes=2, timeout_s=10.0)
    await asyncio.to_thread(pool.start)
    pool.open()
    yield pool
    pool.close()
    while pool.available:
        await asyncio.sleep(0.01)


async def test_an_attack_is_stopped_and_an_honest_request_is_not(pool: Pool) -> None:
    hostile = await verdict(pool, asked(b"/?q=1+union+select+2"))
    honest = await verdict(pool, asked(b"/?q=hello"))
    assert hostile is not None
    assert hostile.is_hostile
    assert [match.rule for match in hostile.matches] == [942100]
    assert honest is not None
    assert not honest.is_hostile
    assert honest.matches == []


async def test_what_matched_is_named_by_its_place_and_never_by_its_value(pool: Pool) -> None:
    found = await verdict(pool, asked(b"/?q=1+union+select+secretcolumn"))
    assert found is not None
    assert found.matches[0].place == "ARGS:q"
    assert "secretcolumn" not in repr(found)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"application/x-www-form-urlencoded", b"q=1+union+select+2"),
        (b"application/json", b'{"a":{"q":"1 union select 2"}}'),
        (b"application/vnd.api+json; charset=utf-8", b'{"q":"1 union select 2"}'),
        (b"multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="q"\r\n\r\n1 union select 2\r\n--x--\r\n'),
    ],
)  # fmt: skip
async def test_bodies_are_read_by_their_type(pool: Pool, kind: bytes, body: bytes) -> None:
    found = await verdict(pool, asked(b"/", body, kind))
    assert found is not None
    assert found.is_hostile


async def test_a_body_that_cannot_be_read_is_stopped(pool: Pool) -> None:
    found = await verdict(pool, asked(b"/", b'{"q": ', b"application/json"))
    assert found is not None
    assert found.is_hostile


async def test_a_text_on_which_a_rule_gives_up_is_stopped(tmp_path: Path) -> None:
    slow = 'SecRule ARGS:r "@rx ^(a+)+union" "id:11,phase:2,deny"'
    pool = Pool(rules(tmp_path, RULES + "\n\n" + slow), processes=1, timeout_s=10.0)
    await asyncio.to_thread(pool.start)
    pool.open()
    hostile = await verdict(pool, asked(b"/?r=" + b"a" * 40 + b"x" + b"aunion"))
    honest = await verdict(pool, asked(b"/?r=" + b"a" * 10))
    assert hostile is not None
    assert [match.rule for match in hostile.matches] == [200005]
    assert hostile.is_hostile
    assert honest is not None
    assert not honest.is_hostile
    await ended(pool)


async def test_many_questions_at_once_are_all_answered(pool: Pool) -> None:
    found = await asyncio.gather(*(verdict(pool, asked(b"/?q=%d" % number)) for number in range(40)))
    assert all(judged is not None and not judged.is_hostile for judged in found)


async def test_a_killed_process_is_replaced_and_its_question_is_answered_with_none(pool: Pool) -> None:
    while pool.available < 2:
        await asyncio.sleep(0.01)
    children = [process._child.pid for process in pool._processes]
    for child in children:
        os.kill(child, signal.SIGSTOP)
    question = asyncio.ensure_future(verdict(pool, asked(b"/?q=hello")))
    await asyncio.sleep(0.05)
    for child in children:
        os.kill(child, signal.SIGKILL)
    assert await question is None
    while pool.available < 2:
        await asyncio.sleep(0.01)
    after = await verdict(pool, asked(b"/?q=hello"))
    assert after is not None
    assert pool.replaced == 2


async def test_a_process_that_does_not_answer_in_time_is_killed(tmp_path: Path) -> None:
    pool = Pool(rules(tmp_path), processes=1, timeout_s=0.2)
    await asyncio.to_thread(pool.start)
    pool.open()
    while pool.available < 1:
        await asyncio.sleep(0.01)
    (child,) = (process._child.pid for process in pool._processes)
    os.kill(child, signal.SIGSTOP)
    first, second = await asyncio.gather(verdict(pool, asked(b"/")), verdict(pool, asked(b"/")))
    assert first is None
    assert second is None
    while pool.available < 1:
        await asyncio.sleep(0.01)
    pool.close()
    while pool.available:
        await asyncio.sleep(0.01)
    assert await verdict(pool, asked(b"/")) is None


async def opened(directory: Path, timeout_s: float) -> tuple[Pool, int]:
    """Open a pool of one process; with that process's number."""
    pool = Pool(rules(directory), processes=1, timeout_s=timeout_s)
    await asyncio.to_thread(pool.start)
    pool.open()
    while pool.available < 1:
        await asyncio.sleep(0.01)
    (child,) = (process._child.pid for process in pool._processes)
    return pool, child


async def ended(pool: Pool) -> None:
    pool.close()
    while pool.available or pool._starting:
        await asyncio.sleep(0.01)


async def test_a_process_is_not_killed_for_the_time_its_question_waited(tmp_path: Path) -> None:
    pool, child = await opened(tmp_path, 1.0)
    os.kill(child, signal.SIGSTOP)
    answers: list[Opinion | None] = []

    def first(opinion: Opinion | None) -> None:
        answers.append(opinion)
        os.kill(child, signal.SIGSTOP)  # before the second question reaches it

    pool.ask(asked(b"/?q=first"), first)
    second = asyncio.ensure_future(verdict(pool, asked(b"/?q=second")))
    await asyncio.sleep(0.5)
    os.kill(child, signal.SIGCONT)
    assert await second is None
    os.kill(child, signal.SIGCONT)
    third = await verdict(pool, asked(b"/?q=third"))
    assert answers[0] is not None
    assert third is not None
    assert pool.replaced == 0
    await ended(pool)


async def test_what_nobody_waits_for_any_more_is_not_kept(tmp_path: Path) -> None:
    pool, child = await opened(tmp_path, 0.2)
    os.kill(child, signal.SIGSTOP)
    found = await asyncio.gather(*(verdict(pool, asked(b"/", b"q=1")) for _ in range(5)))
    assert found == [None] * 5
    assert not pool._waiting
    await ended(pool)


async def test_a_question_that_is_too_large_costs_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.crs.pool.LARGEST", 1000)
    pool, _ = await opened(tmp_path, 10.0)
    assert await verdict(pool, asked(b"/", b"q=" + b"x" * 1000)) is None
    assert await verdict(pool, asked(b"/", b"q=1")) is not None
    assert pool.replaced == 0
    await ended(pool)


async def test_a_process_that_says_more_than_it_was_asked_is_replaced(tmp_path: Path) -> None:
    pool, child = await opened(tmp_path, 10.0)
    (process,) = pool._processes
    process.data_received(framed(Opinion(is_hostile=False, matches=[], micros=1)))
    while pool.available < 1 or not pool.replaced:
        await asyncio.sleep(0.01)
    (after,) = (process._child.pid for process in pool._processes)
    assert after != child
    assert len(pool._free) == 1
    await ended(pool)


async def test_a_process_has_none_of_our_secrets_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_KEYRING_PASSPHRASE", "correct horse")
    pool, child = await opened(tmp_path, 10.0)
    assert b"correct horse" not in Path(f"/proc/{child}/environ").read_bytes()
    await ended(pool)


def of_this_pool() -> list[int]:
    """List our children that judge by rules, the ended ones that nobody has waited for among them."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and (
                state == "Z" or b"gateway.crs" in status.with_name("cmdline").read_bytes()
            ):
                found.append(int(status.parent.name))
    return found


async def test_a_process_that_starts_while_its_pool_closes_is_ended_and_leaves_nothing_behind(tmp_path: Path) -> None:
    before = set(of_this_pool())
    pool, child = await opened(tmp_path, 10.0)
    os.kill(child, signal.SIGKILL)
    while not pool._starting:
        await asyncio.sleep(0.01)
    await ended(pool)
    assert set(of_this_pool()) <= before


def test_rules_that_cannot_be_loaded_are_an_error_and_never_an_engine_that_stops_nothing(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="cannot be loaded"):
        try_rules(rules(tmp_path, RULES + '\n\nSecRule NONSENSE "@rx x" "id:3"'))


def test_rules_that_see_no_attack_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="see nothing"):
        try_rules(rules(tmp_path, 'SecRule ARGS:z "@streq zz" "id:3,phase:2,deny"'))


def test_the_threshold_decides(tmp_path: Path) -> None:
    assert try_rules(rules(tmp_path, threshold=6)) > 0
