from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import structlog
from argon2.profiles import CHEAPEST

from gateway.authn.breached import BreachedList, make_list
from gateway.authn.password import Hasher
from gateway.store.breach_online import BreachServiceError, OnlineBreachedPasswords
from gateway.store.new_passwords import NewPasswords, PasswordRules
from gateway.store.records import User

HASHER = Hasher(CHEAPEST)
OLD, NEW = "the one of before", "a lamp by the harbour"
USER = User(
    id="u_1",
    stamp="1",
    name="alice",
    tenant="acme",
    roles=(),
    email="alice@example.com",
    password=HASHER.hash(OLD, salt=bytes(16)),
    password_changed=1.0,
    created=1.0,
)


async def at_once(work: Callable[[], Any]) -> Any:
    return work()


class Service(OnlineBreachedPasswords):
    """Says of one password that it is known, and of others nothing when it is away."""

    def __init__(self, known: str, *, away: bool = False) -> None:
        super().__init__()
        self.known = known
        self.away = away

    async def holds(self, password: str) -> bool:
        if self.away:
            raise BreachServiceError("away")
        return password == self.known


def judge(online: OnlineBreachedPasswords | None = None, **rules: Any) -> NewPasswords:
    return NewPasswords(
        PasswordRules(**rules),
        hasher=HASHER,
        breached=BreachedList(make_list(["a phrase from a breach"])),
        online=online,
        threads=at_once,
        random=bytes,
    )


async def sentence(passwords: NewPasswords, new: str, user: User = USER, *, alone: bool = False) -> str:
    found = await passwords.object(new, user, alone=alone)
    return "" if found is None else found.sentence


async def test_a_password_that_is_the_only_factor_has_fifteen_characters() -> None:
    assert await sentence(judge(), "lamp harbour w") == ""
    assert "too short" in await sentence(judge(), "lamp harbour w", alone=True)
    assert await sentence(judge(), "lamp harbour wa", alone=True) == ""
    assert "too short" in await sentence(judge(min_length=20), "lamp harbour water", alone=True)


async def test_a_weak_password_comes_back_with_its_score() -> None:
    found = await judge(min_score=3).object("qwertyuiopasdfgh", USER, alone=False)
    assert found is not None
    assert found.score is not None
    assert found.score < 3


async def test_the_words_of_the_place_are_no_password() -> None:
    assert "name of this site" in await sentence(judge(place=("Nordlicht", "nordlicht.example")), "nordlicht.example")


async def test_a_list_on_this_machine_and_the_service_both_count() -> None:
    assert "breaches" in await sentence(judge(), "a phrase from a breach")
    assert "breaches" in await sentence(judge(Service(NEW)), NEW)
    assert await sentence(judge(Service("another")), NEW) == ""


@pytest.mark.parametrize(("on_failure", "words"), [("closed", "cannot be checked right now"), ("open", "")])
async def test_what_a_service_that_is_away_means_is_the_operators_word(on_failure: str, words: str) -> None:
    with structlog.testing.capture_logs() as logs:
        said = await sentence(judge(Service(NEW, away=True), on_failure=on_failure), NEW)
    assert (words in said) if words else not said
    assert [(entry["event"], entry["on_failure"]) for entry in logs] == [("breach_service.failed", on_failure)]
    assert NEW not in str(logs)


async def test_history_keeps_back_exactly_as_many_as_it_says() -> None:
    passwords = judge(history=2)
    user = passwords.changed(USER, await passwords.hash("the second one here"), now=2.0)
    assert "had this password before" in await sentence(passwords, OLD, user)
    assert "had this password before" in await sentence(passwords, "the second one here", user)
    user = passwords.changed(user, await passwords.hash("and a third one now"), now=3.0)
    assert len(user.earlier_passwords) == 1
    assert await sentence(passwords, OLD, user) == ""
    assert "had this password before" in await sentence(passwords, "the second one here", user)


async def test_without_history_no_earlier_hash_is_kept() -> None:
    passwords = judge()
    user = passwords.changed(USER, "phc", now=9.0)
    assert (user.password, user.password_changed, user.earlier_passwords) == ("phc", 9.0, ())
    assert await sentence(passwords, OLD) == ""
