import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.name import MAX_NAME, InvalidNameError, canonical_name


@pytest.mark.parametrize(
    "spelling",
    [
        "alice",
        "Alice",
        "  ALICE\t",
        "\uff21\uff4c\uff49\uff43\uff45",  # full width
        "\u24d0\u24db\u24d8\u24d2\u24d4",  # circled
    ],
)
def test_every_spelling_of_a_name_is_one_account(spelling: str) -> None:
    assert canonical_name(spelling) == "alice"


def test_sharp_s_and_its_folding_are_one_account() -> None:
    assert canonical_name("stra\u00dfe") == canonical_name("STRASSE") == "strasse"


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "   ",
        "al ice",
        "al\u00a0ice",
        "al\nice",
        "al\x00ice",
        "al\u200bice",
        "al\u202eice",
        "al\ufeffice",
        "a" * (MAX_NAME + 1),
    ],
)
def test_names_with_nothing_white_space_or_invisible_characters_are_refused(raw: str) -> None:
    with pytest.raises(InvalidNameError):
        canonical_name(raw)


def test_the_refusal_never_quotes_the_name_because_people_type_passwords_there() -> None:
    with pytest.raises(InvalidNameError) as refused:
        canonical_name("my secret\x00passphrase")
    assert "secret" not in str(refused.value)


def test_a_name_that_expands_under_nfkc_is_measured_after_it() -> None:
    with pytest.raises(InvalidNameError):
        canonical_name("\ufdfa" * 20)  # one character, eighteen after NFKC


@given(st.text(max_size=40))
def test_canonical_form_is_idempotent(raw: str) -> None:
    try:
        name = canonical_name(raw)
    except InvalidNameError:
        return
    assert canonical_name(name) == name
    assert canonical_name(f" {name} ") == name
