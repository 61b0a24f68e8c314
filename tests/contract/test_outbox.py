"""Letters that wait and codes that were mailed, over each place that keeps rows."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from gateway.authn.mailed_code import GUESSES, LIFETIME_S, Purpose
from gateway.exchange.letter import Letter, Matter
from gateway.store.keyring import Keyring
from gateway.store.mailed import MailedCodes
from gateway.store.outbox import LINGER_S, Outbox
from gateway.store.rows import Backend
from gateway.store.sealing import Sealer
from gateway.store.tables import MAILED, OUTBOX
from tests.contract.conftest import NOW, OpenRows

LETTER = Letter(
    id="ab" * 16, matter=Matter.DEVICE_CODE, to="alice@example.com", code="12345678", created=NOW, expires=NOW + 600
)
BROWSER, OTHER = b"b" * 32, b"o" * 32


@pytest.fixture
def outbox(rows: Backend, sealer: Sealer) -> Outbox:
    return Outbox(rows, sealer, capacity=5)


@pytest.fixture
def codes(rows: Backend, sealer: Sealer, keyring: Keyring) -> MailedCodes:
    return MailedCodes(rows, sealer, keyring, os.urandom)


def numbered(number: int, **changes: object) -> Letter:
    return msgspec.structs.replace(LETTER, id=f"{number:02x}" * 16, **changes)


def issue(
    codes: MailedCodes, rows: Backend, *, browser: bytes = BROWSER, user_id: str = "u_1", now: float = NOW
) -> str:
    return rows.transact(
        lambda tx: codes.issue_in(tx, browser, Purpose.RESET, user_id=user_id, stamp="s", now=now), durable=False
    )


def test_a_letter_waits_until_it_is_removed(outbox: Outbox) -> None:
    assert outbox.put(LETTER, now=NOW)
    assert outbox.due(now=NOW, limit=10) == [LETTER]
    assert outbox.count(now=NOW) == 1
    assert outbox.remove(LETTER)
    assert not outbox.remove(LETTER)
    assert outbox.due(now=NOW, limit=10) == []


def test_those_that_wait_longest_come_first_and_no_more_than_asked_for(outbox: Outbox) -> None:
    for number in (3, 1, 2):
        assert outbox.put(numbered(number, created=NOW - number), now=NOW)
    assert [letter.created for letter in outbox.due(now=NOW, limit=2)] == [NOW - 3, NOW - 2]


def test_a_full_queue_takes_nothing(outbox: Outbox) -> None:
    assert all(outbox.put(numbered(number), now=NOW) for number in range(5))
    assert not outbox.put(numbered(9), now=NOW)
    assert outbox.count(now=NOW) == 5


def test_strangers_cannot_fill_the_queue_so_that_people_are_not_told(outbox: Outbox) -> None:
    """attack: a thousand requests for new passwords before an account is taken over, and its owner hears nothing."""
    taken = [outbox.put(numbered(number, matter=Matter.RESET_CODE), now=NOW) for number in range(1, 7)]
    assert taken == [True] * 4 + [False] * 2
    assert not outbox.put(numbered(7, matter=Matter.SEVERAL_ACCOUNTS), now=NOW)
    assert outbox.put(numbered(8, matter=Matter.NOTICE), now=NOW)
    assert not outbox.put(numbered(9, matter=Matter.NOTICE), now=NOW)


def test_a_claimed_letter_is_nobody_elses_until_its_time_is_over(outbox: Outbox) -> None:
    outbox.put(LETTER, now=NOW)
    claimed = outbox.claim(LETTER, now=NOW, until=NOW + 60)
    assert claimed is not None
    assert claimed.tries == 1
    assert outbox.claim(LETTER, now=NOW + 59, until=NOW + 120) is None
    assert outbox.due(now=NOW + 59, limit=10) == []
    again = outbox.claim(LETTER, now=NOW + 60, until=NOW + 120)
    assert again is not None
    assert again.tries == 2
    assert not outbox.defer(claimed, now=NOW + 61, due=NOW + 61), "whoever was too slow changes nothing"
    assert outbox.defer(again, now=NOW + 61, due=NOW + 70)
    assert [letter.tries for letter in outbox.due(now=NOW + 70, limit=10)] == [2]


def test_of_many_claims_exactly_one_is_granted(outbox: Outbox, open_rows: OpenRows, sealer: Sealer) -> None:
    outbox.put(LETTER, now=NOW)
    boxes = [Outbox(open_rows(), sealer, capacity=5) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        claims = list(pool.map(lambda box: box.claim(LETTER, now=NOW, until=NOW + 60), boxes))
    assert sum(claim is not None for claim in claims) == 1


def test_a_letter_that_nobody_gave_up_is_forgotten_in_the_end(outbox: Outbox) -> None:
    outbox.put(LETTER, now=NOW)
    assert outbox.count(now=NOW + 600 + LINGER_S - 1) == 1
    assert outbox.count(now=NOW + 600 + LINGER_S) == 0


def test_what_waits_can_be_read_by_nobody_who_has_the_rows_alone(outbox: Outbox, rows: Backend) -> None:
    outbox.put(LETTER, now=NOW)
    (row,) = rows.all(OUTBOX)
    for secret in (b"12345678", b"alice"):
        assert secret not in row.value
        assert all(secret not in token for token in row.tokens.values())


def test_a_code_is_right_once_for_the_browser_that_asked(codes: MailedCodes, rows: Backend) -> None:
    code = issue(codes, rows)
    assert codes.proven(BROWSER, Purpose.RESET, now=NOW) is None
    assert codes.prove(OTHER, Purpose.RESET, code, now=NOW) is None
    assert codes.prove(BROWSER, Purpose.DEVICE, code, now=NOW) is None
    proven = codes.prove(BROWSER, Purpose.RESET, f" {code[:4]}-{code[4:]} ", now=NOW)
    assert proven is not None
    assert proven.user_id == "u_1"
    assert codes.prove(BROWSER, Purpose.RESET, code, now=NOW) is None
    assert codes.proven(BROWSER, Purpose.RESET, now=NOW) == proven
    assert codes.take(BROWSER, Purpose.RESET, now=NOW) == proven
    assert codes.take(BROWSER, Purpose.RESET, now=NOW) is None


def test_guesses_are_counted_before_they_are_looked_at(codes: MailedCodes, rows: Backend) -> None:
    code = issue(codes, rows)
    wrong = "00000000" if code != "00000000" else "11111111"
    for _ in range(GUESSES):
        assert codes.prove(BROWSER, Purpose.RESET, wrong, now=NOW) is None
    assert codes.prove(BROWSER, Purpose.RESET, code, now=NOW) is None


def test_a_hundred_guesses_at_once_are_five(codes: MailedCodes, rows: Backend, open_rows: OpenRows) -> None:
    code = issue(codes, rows)
    with ThreadPoolExecutor(4) as pool:
        guesses = [f"{int(code) + 1 + number:08d}"[-8:] for number in range(20)]
        list(pool.map(lambda guess: codes.prove(BROWSER, Purpose.RESET, guess, now=NOW), guesses))
    assert codes.prove(BROWSER, Purpose.RESET, code, now=NOW) is None


def test_a_code_that_is_nobodys_is_never_right(codes: MailedCodes, rows: Backend) -> None:
    code = issue(codes, rows, user_id="")
    assert codes.prove(BROWSER, Purpose.RESET, code, now=NOW) is None
    assert codes.take(BROWSER, Purpose.RESET, now=NOW) is None


def test_a_code_ends_with_its_ten_minutes_also_when_it_was_given(codes: MailedCodes, rows: Backend) -> None:
    code = issue(codes, rows)
    assert codes.prove(BROWSER, Purpose.RESET, code, now=NOW + LIFETIME_S) is None
    assert codes.prove(BROWSER, Purpose.RESET, code, now=NOW + LIFETIME_S - 1) is not None
    assert codes.proven(BROWSER, Purpose.RESET, now=NOW + LIFETIME_S) is None
    assert codes.take(BROWSER, Purpose.RESET, now=NOW + LIFETIME_S) is None


def test_a_new_code_voids_the_one_before(codes: MailedCodes, rows: Backend) -> None:
    first, second = issue(codes, rows), issue(codes, rows)
    if first != second:
        assert codes.prove(BROWSER, Purpose.RESET, first, now=NOW) is None
    assert codes.prove(BROWSER, Purpose.RESET, second, now=NOW) is not None


def test_neither_the_code_nor_the_browsers_secret_stand_in_the_rows(codes: MailedCodes, rows: Backend) -> None:
    code = issue(codes, rows)
    (row,) = rows.all(MAILED)
    assert code.encode() not in row.value
    assert BROWSER not in row.value + row.id


@pytest.mark.parametrize(
    "code",
    ["", "1234567", "123456789", "\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18", "abcdefgh", "1234 567x", "\0" * 8],
)
def test_what_is_no_code_is_wrong(codes: MailedCodes, rows: Backend, code: str) -> None:
    issue(codes, rows)
    assert codes.prove(BROWSER, Purpose.RESET, code, now=NOW) is None


def test_a_letter_that_waits_is_found_and_taken_back(outbox: Outbox, rows: Backend) -> None:
    assert outbox.put(LETTER, now=NOW)
    assert outbox.find(LETTER.id, now=NOW) == LETTER
    assert rows.transact(lambda tx: outbox.withdraw_in(tx, LETTER.id))
    assert not rows.transact(lambda tx: outbox.withdraw_in(tx, LETTER.id))
    assert outbox.find(LETTER.id, now=NOW) is None
    assert outbox.count(now=NOW) == 0


def test_the_code_that_a_browser_asked_for_last_knows_its_letter(codes: MailedCodes, rows: Backend) -> None:
    for letter in ("ab" * 16, "cd" * 16):
        rows.transact(
            lambda tx, letter=letter: codes.issue_in(  # type: ignore[misc]
                tx, BROWSER, Purpose.DEVICE, user_id="u_1", stamp="s", now=NOW, letter=letter
            )
        )
    issued = codes.issued(BROWSER, Purpose.DEVICE, now=NOW)
    assert issued is not None
    assert issued.letter == "cd" * 16
    assert codes.issued(BROWSER, Purpose.RESET, now=NOW) is None
    assert codes.issued(OTHER, Purpose.DEVICE, now=NOW) is None
    assert codes.issued(BROWSER, Purpose.DEVICE, now=NOW + LIFETIME_S) is None
