"""A forgotten password, page by page, over a real store."""

from __future__ import annotations

import msgspec
import pytest

from gateway.exchange.letter import Matter
from gateway.exchange.notice import Notice
from gateway.exchange.reason import Reason
from gateway.pages.flow import FlowSeal
from tests.fakes.pages_site import PASSWORD, Answer, Browser, Site
from tests.unit.pages.conftest import SiteMaker

NEW = "a wholly different thing"
RESET, CODE, SET = "/.gateway/reset", "/.gateway/reset/code", "/.gateway/reset/password"


async def ask(browser: Browser, name: str = "alice") -> Answer:
    return await browser.submit(await browser.get(RESET), RESET, username=name)


async def prove(browser: Browser, code: str) -> Answer:
    return await browser.submit(await browser.get(CODE), CODE, code=code)


async def set_password(browser: Browser, new: str = NEW, again: str = "") -> Answer:
    return await browser.submit(await browser.get(SET), SET, new_password=new, new_password_again=again or new)


async def code_of(site: Site, browser: Browser, name: str = "alice") -> str:
    assert (await ask(browser, name)).location == CODE
    (letter,) = site.letters()
    assert letter.matter is Matter.RESET_CODE
    return letter.code


async def test_a_forgotten_password_is_replaced_by_a_code_from_the_mail(site: Site, browser: Browser) -> None:
    earlier = site.browser()
    await earlier.sign_in()
    login = await browser.get("/.gateway/login")
    assert 'href="/.gateway/reset"' in login.text
    asked = await ask(browser)
    assert (asked.status, asked.location, asked.names()) == (303, CODE, ["password.reset_requested"])
    (letter,) = site.letters()
    assert (letter.to, letter.user, letter.host) == ("alice@acme.example", "alice", "portal.example.com")
    assert (await prove(browser, f"{letter.code[:4]} {letter.code[4:]}")).location == SET
    done = await set_password(browser)
    assert done.location == "/.gateway/login?reason=password_reset"
    assert done.names() == ["password.reset"]
    assert "Your new password is set" in (await browser.get(done.location)).text
    assert (await earlier.get("/.gateway/account")).location.startswith("/.gateway/login")
    assert site.notices.told == [("u_616c6963650000000000000000000000", Notice.PASSWORD_RESET, "")]
    assert (await browser.give_password()).status == 401
    assert site.counted("gateway_password_resets_total") == {
        ("asked", "answered"): 1,
        ("proven", "success"): 1,
        ("set", "success"): 1,
    }


async def test_a_reset_signs_nobody_in_and_the_second_factor_is_still_asked_for(site: Site, browser: Browser) -> None:
    await prove(browser, await code_of(site, browser))
    done = await set_password(browser)
    assert not [line for name, line in done.cookies.items() if name == browser.cookie_name]
    answer = await browser.give_password(password=NEW)
    assert answer.location == "/.gateway/mfa"
    assert (await browser.get("/.gateway/account")).location == "/.gateway/mfa"


async def test_strangers_who_ask_all_the_time_keep_nobody_from_a_letter_on_a_device_of_their_own(site: Site) -> None:
    """attack: every letter that the account may get is asked for from elsewhere, and its code is of no use to the owner."""
    home = site.browser()
    await home.sign_in()
    for number in range(12):
        await ask(site.browser(ip=f"198.51.100.{number}"))
    site.letters()
    await ask(site.browser(ip="192.0.2.9"))
    assert site.letters() == [], "the account is held for whoever comes from elsewhere"
    await home.post("/.gateway/logout", (await home.get("/.gateway/logout")).hidden())
    await prove(home, await code_of(site, home))
    assert (await set_password(home)).location == "/.gateway/login?reason=password_reset"
    for _ in range(8):
        await ask(home)
    assert len(site.letters()) <= 3, "a stolen browser fills no mailbox either"


@pytest.mark.parametrize("name", ["alice", "ALICE ", "alice@acme.example", "Alice@Acme.Example"])
async def test_a_person_is_found_by_any_spelling_of_name_or_address(site: Site, browser: Browser, name: str) -> None:
    await ask(browser, name)
    assert [letter.user for letter in site.letters()] == ["alice"]


def untold(answer: Answer) -> tuple[object, ...]:
    """Everything of an answer that a stranger sees and that does not differ between any two."""
    fields = sorted(
        (name, value)
        for name, value in answer.headers.items()
        if name not in {"Date", "Set-Cookie", "X-Gateway-Events"}
    )
    return answer.status, answer.text, fields, sorted(answer.cookies)


async def test_the_answer_is_the_same_whoever_is_meant(site: Site) -> None:
    for name in ("disabled", "federated", "nowhere", "elsewhere", "twin", "other"):
        site.add_user(name, tenant="globex" if name == "elsewhere" else "acme")
        user = site.store.user_named(name)
        assert user is not None
        changes: dict[str, dict[str, object]] = {
            "disabled": {"disabled": True},
            "federated": {"provider": "okta", "password": "", "issuer": "https://okta.example", "subject": "1"},
            "nowhere": {"email": ""},
            "twin": {"email": "shared@acme.example"},
            "other": {"email": "shared@acme.example"},
        }
        assert site.store.change_user(user, msgspec.structs.replace(user, **changes.get(name, {})), now=site.now)
    answers, told = {}, {}
    names = (
        "alice",
        "nobody",
        "disabled",
        "federated",
        "nowhere",
        "elsewhere",
        "shared@acme.example",
        "a@b@c",
        "x" * 254,
    )
    for number, name in enumerate(names):
        browser = site.browser(ip=f"203.0.113.{number}")
        page = await browser.get(RESET)
        answers[name] = untold(await browser.submit(page, RESET, username=name)), untold(await browser.get(CODE))
        told[name] = [(letter.matter, letter.to) for letter in site.letters()]
    first = answers["alice"][0]
    assert all(answer[0] == first for answer in answers.values())
    assert len({answer[1][0] for answer in answers.values()}) == 1
    assert told["alice"] == [(Matter.RESET_CODE, "alice@acme.example")]
    assert told["shared@acme.example"] == [(Matter.SEVERAL_ACCOUNTS, "shared@acme.example")]
    assert all(not letters for name, letters in told.items() if name not in {"alice", "shared@acme.example"})


async def test_a_wrong_code_is_told_no_more_than_a_code_for_nobody(site: Site, browser: Browser) -> None:
    await code_of(site, browser)
    wrong = await prove(browser, "00000000")
    nobody = site.browser()
    await ask(nobody, "nobody")
    other = await prove(nobody, "00000000")
    assert wrong.status == other.status == 401
    assert wrong.names() == other.names() == ["password.reset_failed"]
    assert wrong.events == other.events


async def test_five_wrong_codes_void_the_right_one(site: Site, browser: Browser) -> None:
    code = await code_of(site, browser)
    for _ in range(5):
        assert (await prove(browser, "00000000")).status == 401
    assert (await prove(browser, code)).status == 401


async def test_a_code_is_good_for_ten_minutes(site: Site, browser: Browser) -> None:
    code = await code_of(site, browser)
    site.now += 600
    assert (await prove(browser, code)).status == 401


async def test_a_code_is_good_once(site: Site, browser: Browser) -> None:
    code = await code_of(site, browser)
    assert (await prove(browser, code)).location == SET
    assert (await prove(browser, code)).status == 401
    await set_password(browser)
    assert (await browser.get(SET)).location == RESET


async def test_a_new_code_voids_the_one_before(site: Site, browser: Browser) -> None:
    first = await code_of(site, browser)
    await code_of(site, browser)
    assert (await prove(browser, first)).status == 401


async def test_a_code_is_nothing_in_another_browser(site: Site, browser: Browser) -> None:
    """Whoever reads the mail, or is told the code, cannot use it elsewhere."""
    code = await code_of(site, browser)
    thief = site.browser()
    await ask(thief, "nobody")
    assert (await prove(thief, code)).status == 401
    assert (await prove(browser, code)).location == SET


async def test_a_stranger_who_asks_voids_nobody_elses_code(site: Site, browser: Browser) -> None:
    code = await code_of(site, browser)
    await ask(site.browser(ip="198.51.100.9"))
    assert (await prove(browser, code)).location == SET


async def test_no_step_can_be_skipped(site: Site, browser: Browser) -> None:
    assert (await browser.get(CODE)).location == RESET
    assert (await browser.get(SET)).location == RESET
    await ask(browser)
    assert (await browser.get(SET)).location == RESET
    page = await browser.get(CODE)
    forged = page.hidden(CODE) | {"form": "reset-password", "new_password": NEW, "new_password_again": NEW}
    assert (await browser.post(SET, forged)).location == RESET
    assert (await browser.give_password()).location == "/.gateway/mfa"
    assert site.letters()


async def test_an_account_that_changes_meanwhile_keeps_its_password(site: Site, browser: Browser) -> None:
    await prove(browser, await code_of(site, browser))
    page = await browser.get(SET)
    user = site.store.user_named("alice")
    assert user is not None
    assert site.store.change_user(user, msgspec.structs.replace(user, disabled=True), now=site.now)
    answer = await browser.submit(page, SET, new_password=NEW, new_password_again=NEW)
    assert answer.status == 403
    after = site.store.user_named("alice")
    assert after is not None
    assert (after.password, after.disabled) == (user.password, True)


async def test_no_letter_opens_an_envelope_whose_emergency_is_over(site: Site, browser: Browser) -> None:
    """Attack: nobody closed it, and whoever reads its mail sets the password for the next time."""
    user = site.store.user_named("alice")
    assert user is not None
    opened = msgspec.structs.replace(user, until=site.now + 60)
    assert site.store.change_user(user, opened, now=site.now)
    await prove(browser, await code_of(site, browser))
    page = await browser.get(SET)
    site.now += 60
    answer = await browser.submit(page, SET, new_password=NEW, new_password_again=NEW)
    assert answer.status == 403
    after = site.store.user_named("alice")
    assert after is not None
    assert after.password == user.password
    await ask(site.browser(ip="198.51.100.9"))
    assert site.letters() == []


@pytest.mark.parametrize(
    ("new", "again", "words"),
    [
        ("short", "", "too short"),
        (NEW, NEW + "!", "not the same"),
        ("alice@acme.example", "", "name or address"),
        ("portal.example.com", "", "name of this site"),
        ("x" * 1025, "", "too long"),
        ("y" * 129 + NEW, "", "too long"),
        ("qwertyuiopasdfghjkl", "", "How hard it is to guess"),
    ],
)
async def test_a_password_that_will_not_do_is_refused_and_the_code_is_not_spent(
    site: Site, browser: Browser, new: str, again: str, words: str
) -> None:
    await prove(browser, await code_of(site, browser))
    refused = await set_password(browser, new, again)
    assert refused.status == 400
    assert words in refused.text
    assert f'value="{new}"' not in refused.text
    assert (await set_password(browser)).status == 303


async def test_an_empty_name_or_code_asks_again_and_costs_nothing(site: Site, browser: Browser) -> None:
    assert "Please enter your user name or your e-mail address" in (await ask(browser, "  ")).text
    assert (await ask(browser, "x" * 255)).status == 401
    assert site.letters() == []
    code = await code_of(site, browser)
    for _ in range(6):
        assert (await prove(browser, "  ")).status == 401
    assert (await prove(browser, code)).location == SET


async def test_a_network_that_asks_too_often_is_told_to_wait(site: Site) -> None:
    for number in range(11):
        assert (await ask(site.browser(), f"somebody{number}")).status == 303
    answer = await ask(site.browser(), "somebody12")
    assert answer.status == 429
    assert answer.headers["Retry-After"]
    assert (await ask(site.browser(ip="198.51.100.1"), "somebody12")).status == 303


async def test_strangers_fill_nobodys_mailbox_and_are_not_told_so(site: Site) -> None:
    sent = 0
    for network in range(20):
        for _ in range(4):
            answer = await ask(site.browser(ip=f"198.51.{network}.1"))
            assert (answer.status, answer.location) == (303, CODE)
        sent += len(site.letters())
    assert sent <= 12


async def test_strangers_cannot_keep_a_person_from_a_letter_for_more_than_ten_minutes(site: Site) -> None:
    for network in range(40):
        await ask(site.browser(ip=f"198.51.{network}.1"))
    site.letters()
    site.now += 600
    await ask(site.browser())
    assert [letter.to for letter in site.letters()] == ["alice@acme.example"]


async def test_a_reset_ends_a_lock_out(site: Site, browser: Browser) -> None:
    for _ in range(12):
        await site.browser(ip="198.51.100.3").give_password(password="wrong")
        site.now += 20
    assert (await browser.give_password()).status == 429
    await prove(browser, await code_of(site, browser))
    await set_password(browser)
    assert (await browser.give_password(password=NEW)).location == "/.gateway/mfa"


async def test_without_mail_no_page_speaks_of_it(make_site: SiteMaker) -> None:
    async with make_site(mail=False) as site:
        browser = site.browser()
        assert "reset" not in (await browser.get("/.gateway/login")).text
        assert (await browser.get(RESET)).status == 404
        assert (await browser.get(CODE)).status == 404


async def test_what_the_browser_holds_says_nothing_and_cannot_be_moved(site: Site, browser: Browser) -> None:
    """The cookie is sealed: neither the code nor whose it is can be read from it."""
    code = await code_of(site, browser)
    cookie = browser.jar["__Host-gw-flow"]
    flow = FlowSeal(site.keyring.derive("flow"), bytes).open(cookie, "https://portal.example.com", site.now)
    assert flow is not None
    assert len(flow.asked) == 32
    assert code.encode() not in msgspec.msgpack.encode(flow)
    assert b"alice" not in msgspec.msgpack.encode(flow)


async def test_a_full_queue_changes_no_answer(site: Site, browser: Browser) -> None:
    letter = None
    for number in range(100):
        await ask(site.browser(ip=f"192.0.2.{number}"), f"nobody{number}")
    answer = await ask(browser)
    assert (answer.status, answer.location) == (303, CODE)
    assert answer.events[0].outcome == "failure"
    letter = site.letters()
    assert letter == []


async def test_the_password_of_before_still_works_until_another_is_set(site: Site, browser: Browser) -> None:
    await prove(browser, await code_of(site, browser))
    answer = await site.browser().give_password(password=PASSWORD)
    assert answer.location == "/.gateway/mfa"
    assert Reason.CREDENTIALS_REFUSED not in [event.reason for event in answer.events]
