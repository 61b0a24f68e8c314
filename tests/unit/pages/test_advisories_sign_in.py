"""What went wrong with sign-in pages in comparable software, tried on ours (docs/advisories.md)."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit

import pyotp

from gateway.pages.return_to import safe_return
from tests.fakes.pages_site import SECRET, Browser, Site

ADDRESSES = Path(__file__).parents[2] / "corpora" / "return_addresses.txt"
EXPANSIONS = ("{{7*7}}", "{% debug %}", "${7*7}", "{env.HOME}", "{0}", "%(name)s", "%s", "{{ self.__init__ }}")
"""Of templates, of catalogues of texts, of format strings."""


def addresses() -> list[str]:
    """Read the corpus: one address a line, escaped as Python writes bytes of a text."""
    lines = ADDRESSES.read_text(encoding="ascii").splitlines()
    return [line.encode("ascii").decode("unicode_escape") for line in lines if line and not line.startswith("# ")]


def as_browsers_read(address: str) -> str:
    """Do what browsers do before they parse an address (WHATWG URL): other readers are laxer nowhere."""
    return re.sub(r"[\t\n\r]", "", address.strip("".join(map(chr, range(33))))).replace("\\", "/")


def origin_of(address: str) -> tuple[str, str]:
    parts = urlsplit(urljoin("https://portal.example.com/.gateway/login", as_browsers_read(address)))
    return parts.scheme, parts.netloc


def test_the_corpus_of_return_addresses_leaves_the_origin_unless_it_is_judged() -> None:
    """What the corpus is worth: a gateway that believed it would send people away."""
    hostile = addresses()
    assert len(hostile) == len(set(hostile)) >= 200
    away = [address for address in hostile if origin_of(address) != ("https", "portal.example.com")]
    assert len(away) >= 100


def test_cve_2020_4037_11053_5233_cve_2017_1000070_cve_2021_21291_no_return_address_leaves_the_origin() -> None:
    """And GHSA-j7px, GHSA-qqxw, CVE-2022-23527, CVE-2019-14857, CVE-2019-20479, CVE-2021-32786, CVE-2021-29456."""
    for address in addresses():
        for written in (address, unquote(address), quote(address, safe="/:?#@"), "/" + address, " " + address):
            result = safe_return(written)
            assert origin_of(result) == ("https", "portal.example.com"), written
            assert re.fullmatch(r"/(?![/\\])[!-~]*", result), written
        assert safe_return(address) == "/", address


async def test_cve_2020_4037_no_page_sends_anybody_to_an_address_of_the_corpus(site: Site) -> None:
    """The pages on the way, with a sign-in that is whole: what was put into a form or a query leads nowhere."""
    browser = site.browser()
    await browser.sign_in()
    for address in addresses():
        encoded = quote(address, safe="", errors="surrogatepass")
        if len(encoded) > 6000:
            continue
        for page in ("/.gateway/login", "/.gateway/mfa"):
            answer = await browser.get(f"{page}?return_to={encoded}")
            assert origin_of(answer.location) == ("https", "portal.example.com"), address
            assert "evil" not in answer.location, address
            assert not re.search(r'(?:href|action|value)="[^"]*evil', answer.text), address


async def test_cve_2024_21500_the_sixth_code_is_not_looked_at_though_it_is_right(site: Site) -> None:
    """Nor in a new session, by another browser, from another network: the person is counted, not the session."""
    browser = site.browser()
    await browser.give_password()
    answers = [(await browser.give_code(code="000000")).status for _ in range(5)]
    assert answers[0] == 401
    right = pyotp.TOTP(SECRET).at(int(site.now))
    assert (await browser.give_code(code=right)).status == 429
    other = site.browser(ip="198.51.100.9", user_agent="Mozilla/5.0 Another")
    await other.give_password()
    assert (await other.give_code(code=right)).status == 429
    assert not (await other.get("/.gateway/account")).text.count("Sign out")
    page = await other.get("/.gateway/mfa?method=recovery")
    recovery = await other.submit(page, "/.gateway/mfa", code="aaaa-bbbb-cccc-dddd")
    assert recovery.status == 429, "no other form has tries of its own"


async def test_cve_2023_52430_cve_2024_21496_nothing_of_a_request_becomes_markup(browser: Browser) -> None:
    """caddy-security wrote the path and `Referer` into its pages."""
    attack = '"><script>alert(1)</script>'
    clean = re.findall(r"<[a-z/]+", (await browser.get("/.gateway/login")).text)
    for answer in (
        await browser.get(f"/.gateway/login?return_to=/{quote(attack)}"),
        await browser.get(f"/.gateway/login?reason={quote(attack)}"),
        await browser.get(f"/.gateway/login?{quote(attack)}=1"),
        await browser.get("/.gateway/login", Referer=f"https://evil.example/{attack}"),
        await browser.get("/.gateway/login", Accept_Language=attack),
        await browser.get("/.gateway/login", X_Forwarded_Host=attack),
    ):
        assert re.findall(r"<[a-z/]+", answer.text) == clean
        assert "alert(1)" not in re.sub(r'value="[^"]*"', "", answer.text)
    missing = await browser.get(f"/.gateway/{quote(attack)}")
    assert missing.status == 404
    assert "alert(1)" not in missing.text


async def test_cve_2024_21498_21499_no_field_of_a_client_names_host_or_scheme_of_an_address(browser: Browser) -> None:
    """caddy-security built addresses from `X-Forwarded-Host` and `X-Forwarded-Proto`."""
    fields = {"X_Forwarded_Host": "evil.example", "X_Forwarded_Proto": "javascript", "Forwarded": "host=evil.example"}
    for target in ("/.gateway/login", "/.gateway/account", "/.gateway/mfa", "/.gateway/logout"):
        answer = await browser.get(target, **fields)
        for text in (answer.location, answer.text, *answer.cookies.values()):
            assert "evil.example" not in text
            assert "javascript:" not in text


async def test_cve_2026_30852_what_a_client_sent_is_never_expanded(site: Site) -> None:
    """Caddy filled in what stood in a value that it had filled in: `{env.…}` of a client told the environment."""
    for text in EXPANSIONS:
        browser = site.browser(user_agent=text)
        page = await browser.get("/.gateway/login")
        answer = await browser.submit(page, "/.gateway/login", username=text, password=text)
        assert answer.status == 401, text
        (shown,) = re.findall(r'name="username"[^>]*value="([^"]*)"', answer.text)
        assert unescape(shown) == text
    told = "{{7*7}} ${7*7} %(name)s %s {0} {env.HOME}"
    site.places["203.0.113.7"] = told
    browser = site.browser()
    await browser.sign_in()
    assert told in (await browser.get("/.gateway/account")).text
