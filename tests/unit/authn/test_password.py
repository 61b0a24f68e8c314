import argon2
import pytest
from argon2.low_level import Type

from gateway.authn.breached import BreachedList, make_list
from gateway.authn.password import (
    MAX_LENGTH,
    RFC_9106_LOW_MEMORY,
    Hasher,
    PasswordRefusedError,
    normalise,
    require_acceptable,
)

CHEAP = argon2.Parameters(type=Type.ID, version=19, salt_len=16, hash_len=32, time_cost=1, memory_cost=8, parallelism=1)
BREACHED = BreachedList(make_list(["sunshine", "correcthorse", "iloveyouforever", "Tr0ub4dor&3Tr0ub"]))
SALT = bytes(16)


def refusal(password: str, *context: str) -> str:
    with pytest.raises(PasswordRefusedError) as refused:
        require_acceptable(password, context=context, breached=BREACHED)
    assert password not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    "password",
    [
        "a fine long one",
        "correct horse battery staple",
        "\u05e1\u05d9\u05e1\u05de\u05d4 \u05d0\u05e8\u05d5\u05db\u05d4 \u05de\u05d0\u05d5\u05d3",
        "\U0001f511 keys under the mat",
        "alice is my name!",
        "x" * 8 + "yzab" + "q" * 8,
    ],
)
def test_a_long_password_of_any_script_is_accepted_without_composition_rules(password: str) -> None:
    require_acceptable(password, context=("alice", "alice@example.com", "acme"), breached=BREACHED)


def test_eleven_characters_are_too_few_and_twelve_enough() -> None:
    assert "at least 12" in refusal("abcdefghijk")
    require_acceptable("abcdefghijkl", context=(), breached=BREACHED)


def test_length_is_counted_in_characters_after_normalisation_not_in_bytes() -> None:
    assert "at least 12" in refusal("\u05e1\u05d9\u05e1\u05de\u05d4")
    assert "at most" in refusal("\ufdfa" * 20)


def test_more_than_the_longest_is_refused_rather_than_cut() -> None:
    require_acceptable("ab cd ef" * (MAX_LENGTH // 8), context=(), breached=None)
    assert "at most 128" in refusal("ab cd ef" * (MAX_LENGTH // 8) + "!")


def test_a_longer_minimum_is_honoured() -> None:
    with pytest.raises(PasswordRefusedError, match="at least 16"):
        require_acceptable("fifteen letters", context=(), breached=None, min_length=16)


def test_control_characters_are_refused() -> None:
    assert "control" in refusal("quite long\x00 enough")


def test_a_handful_of_repeated_characters_is_refused() -> None:
    refusal("aaaaaaaaaaaa")
    refusal("abababababababab")


@pytest.mark.parametrize("password", ["alice@example.com", "AliceAlice123", "ALICE@EXAMPLE.COM!", "AcmeAcme1234"])
def test_a_password_made_of_the_own_name_address_or_tenant_is_refused(password: str) -> None:
    assert "name or address" in refusal(password, "alice", "alice@example.com", "acme")


@pytest.mark.parametrize(
    "password",
    ["correcthorse", "CorrectHorse", "\uff43orrecthorse", "Sunshine2024!", "Tr0ub4dor&3Tr0ub", "iloveyouforever1"],
)
def test_a_breached_password_is_refused_also_in_capitals_and_with_digits_behind(password: str) -> None:
    assert "breach" in refusal(password)


def test_without_a_list_nothing_is_looked_up() -> None:
    require_acceptable("correcthorse", context=(), breached=None)


def test_the_right_password_matches_and_another_does_not() -> None:
    hasher = Hasher(CHEAP)
    phc = hasher.hash("a fine long one", salt=SALT)
    assert phc.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert hasher.matches(phc, "a fine long one")
    assert not hasher.matches(phc, "a fine long onE")


def test_composed_and_decomposed_spellings_are_one_password() -> None:
    hasher = Hasher(CHEAP)
    assert normalise("caf\u00e9") == normalise("cafe\u0301")
    assert hasher.matches(hasher.hash("caf\u00e9 noir au lait", salt=SALT), "cafe\u0301 noir au lait")


def test_an_unknown_person_never_matches_but_the_work_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []
    verify = argon2.PasswordHasher.verify

    def counting(self: argon2.PasswordHasher, phc: str, password: bytes) -> bool:
        verified.append(phc)
        return verify(self, phc, password)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", counting)
    hasher = Hasher(CHEAP)
    assert not hasher.matches(None, "anything at all")
    assert not hasher.matches(None, "")
    known = hasher.hash("a fine long one", salt=SALT)
    hasher.matches(known, "wrong")
    parameters = {phc.split("$")[3] for phc in verified}
    assert parameters == {"m=8,t=1,p=1"}
    assert len(verified) == 3


def test_a_megabyte_of_password_is_cut_before_it_is_hashed() -> None:
    hasher = Hasher(CHEAP)
    phc = hasher.hash("a fine long one", salt=SALT)
    assert not hasher.matches(phc, "a fine long one" * 100_000)
    assert not hasher.matches(phc, "a fine long one" + " " * 200)


def test_a_damaged_hash_is_an_error_and_not_a_wrong_password() -> None:
    with pytest.raises(ValueError, match="damaged"):
        Hasher(CHEAP).matches("$argon2id$v=19$garbage", "a fine long one")


def test_hashes_of_weaker_parameters_are_outdated() -> None:
    weak = Hasher(CHEAP)
    phc = weak.hash("a fine long one", salt=SALT)
    assert not weak.is_outdated(phc)
    assert Hasher(RFC_9106_LOW_MEMORY).is_outdated(phc)


def test_the_default_is_rfc_9106_with_64_mib() -> None:
    assert (RFC_9106_LOW_MEMORY.memory_cost, RFC_9106_LOW_MEMORY.time_cost, RFC_9106_LOW_MEMORY.type) == (
        65536,
        3,
        Type.ID,
    )
