"""What somebody tries who has a part of what opens an account: the password, a copied cookie, a device that is remembered."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pyotp
import pytest

from gateway.authn.assurance import FactorRule, Method, Required
from gateway.exchange.session import Owed
from gateway.session.life import Lifetimes
from gateway.session.rules import NewDevice, RuleBook, Rules, TenantRules
from tests.fakes.authenticator import Authenticator
from tests.fakes.pages_site import HOST, Answer, Browser, Site
from tests.unit.pages.conftest import SiteMaker
from tests.unit.pages.test_passkey import add_passkey

ENROL = "/.gateway/enrol"
ADD = "/.gateway/enrol/passkey"


def passkey(identifier: bytes = b"\x01") -> Authenticator:
    return Authenticator(relying_party=HOST, origin=f"https://{HOST}", identifier=identifier * 32)


async def enrol_app(browser: Browser, page: Answer) -> Answer:
    found = re.search(r"secret=([A-Z2-7]+)", page.text)
    assert found is not None
    return await browser.submit(page, ENROL, code=pyotp.TOTP(found[1]).at(int(browser.site.now)))


@pytest.fixture
async def site(make_site: SiteMaker) -> AsyncIterator[Site]:
    """The pages with bob, who has no second factor and owes one."""
    async with make_site() as site:
        site.add_user("bob", totp=False)
        yield site


@pytest.mark.parametrize("begun", ["before", "after"])
async def test_who_has_a_password_alone_sets_up_no_app_once_the_owner_has_a_passkey(site: Site, begun: str) -> None:
    """attack: a session that waits for a first factor is kept open until the owner has set one up, and adds another."""
    thief, owner = site.browser(ip="198.51.100.9"), site.browser()
    await thief.give_password("bob")
    page = await thief.get(ENROL) if begun == "before" else None
    await owner.give_password("bob")
    answer = await add_passkey(owner, passkey())
    assert "session.revoked" in answer.names()
    if page is not None:
        answer = await enrol_app(thief, page)
    else:
        answer = await thief.get(ENROL)
    assert (answer.status, answer.location) == (303, "/.gateway/login?reason=session_expired")
    (left,) = site.store.sessions(now=site.now)
    assert (left.session.client_ip, left.session.owes) == (owner.ip, Owed.NOTHING)


async def test_who_has_a_password_alone_adds_no_passkey_once_the_owner_has_one(site: Site) -> None:
    """attack: the same with a passkey of the thief's."""
    thief, owner = site.browser(ip="198.51.100.9"), site.browser()
    await thief.give_password("bob")
    page = await thief.get(ADD)
    await owner.give_password("bob")
    await add_passkey(owner, passkey())
    credential = passkey(b"\x02").create(_options(page))
    answer = await thief.submit(page, ADD, credential=credential, name="Mine")
    assert (answer.status, answer.location) == (303, "/.gateway/login?reason=session_expired")
    assert len(site.store.passkeys.of(site.store.users()[0].id)) == 1


async def test_device_that_waits_for_its_code_sets_up_no_factor_once_the_owner_has_one(make_site: SiteMaker) -> None:
    """attack: the same with a mailbox that is read as well: the new device is confirmed after the owner has a passkey."""
    confirm = RuleBook(general=TenantRules(rules=Rules(new_device=NewDevice.CONFIRM)))
    async with make_site(rules=confirm) as site:
        site.add_user("bob", totp=False)
        thief, owner = site.browser(ip="198.51.100.9"), site.browser()
        await thief.give_password("bob")
        await owner.give_password("bob")
        waiting, _ = site.store.sessions(now=site.now)
        assert (waiting.session.owes, waiting.session.owes_next) == (Owed.DEVICE, Owed.ENROLMENT)
        page = await owner.get("/.gateway/device")
        (letter,) = site.letters()
        answer = await owner.submit(page, "/.gateway/device", code=letter.code)
        assert answer.location == ENROL
        answer = await add_passkey(owner, passkey())
        assert "session.revoked" in answer.names()
        (left,) = site.store.sessions(now=site.now)
        assert left.session.client_ip == owner.ip


async def test_a_second_passkey_ends_no_session_that_is_whole(site: Site) -> None:
    first, second = site.browser(), site.browser()
    await first.give_password("bob")
    device = passkey()
    await add_passkey(first, device)
    await second.give_password("bob")
    page = await second.get("/.gateway/mfa")
    credential = device.get(_options(page))
    assert (await second.submit(page, "/.gateway/mfa/passkey", credential=credential)).location == "/"
    answer = await add_passkey(first, passkey(b"\x02"))
    assert answer.names() == ["factor.enrolled", "session.rotated"]
    assert len(site.store.sessions(now=site.now)) == 2


async def test_remembered_device_that_waits_for_room_sets_up_no_app_without_a_factor(make_site: SiteMaker) -> None:
    """attack: password and a borrowed computer: the session waits for room, and asks for a new app instead."""
    full = RuleBook(general=TenantRules(rules=Rules(lifetimes=Lifetimes(concurrent=1, when_full="refuse"))))
    methods = frozenset({Method.TOTP, Method.WEBAUTHN})
    rule = FactorRule(required=Required.ALWAYS, methods=methods, remember_s=86_400.0)
    async with make_site(rules=full, factor_rule=rule) as site:
        site.add_user("bob", totp=False)
        home = site.browser()
        await home.give_password("bob")
        device = passkey()
        await add_passkey(home, device)
        await home.post("/.gateway/logout", (await home.get("/.gateway/logout")).hidden())
        await home.give_password("bob")
        page = await home.get("/.gateway/mfa")
        credential = device.get(_options(page))
        await home.submit(page, "/.gateway/mfa/passkey", credential=credential, remember="1")
        borrowed = site.browser(jar={name: value for name, value in home.jar.items() if name.endswith("-device")})
        site.now += 3600  # nothing was proven lately
        await home.get("/.gateway/account")
        await home.give_password("bob")
        answer = await borrowed.give_password("bob")
        assert answer.location == "/.gateway/sessions"
        answer = await borrowed.get(ENROL)
        assert (answer.status, answer.location) == (303, "/.gateway/sessions")


def _options(page: Answer) -> str:
    from tests.unit.pages.test_passkey import options_of

    return options_of(page)
