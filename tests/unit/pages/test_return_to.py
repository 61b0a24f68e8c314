from __future__ import annotations

from urllib.parse import quote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pages.return_to import is_own_page, safe_return

BASE = "https://portal.example.com/.gateway/login"

HARMLESS = [
    "/",
    "/invoices/42",
    "/invoices/42?page=2&sort=-date",
    "/search?q=a%20b&u=https://elsewhere.example/",
    "/doku.php?id=start&do=edit",
    "/docs/r%C3%A9sum%C3%A9.pdf",
    "/a;b=c/d",
    "/items[0]/{x}|y",
    "/files/a%2Fb",
    "/http://elsewhere.example/",
    "/~alice/",
    "/@team/!important",
    "/x?q=%0d%0aSet-Cookie:x",
    "/x?q[]=<b>\"'^`",
    "/gateway/login",
    "/.gatewayish",
    "/.gateway/account",
    "/.gateway/account/password",
    "/.gateway/enrol",
]

HARMFUL = [
    "",
    "invoices",
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "/\\evil.example",
    "\\/evil.example",
    "\\\\evil.example",
    "/\\/evil.example",
    "/%5cevil.example",
    "/%5Cevil.example",
    "/%255cevil.example",
    "/%2fevil.example",
    "/%2Fevil.example",
    "/%252fevil.example",
    "/%25252fevil.example",
    "/%2f%2fevil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "/ /evil.example",
    "/%09/evil.example",
    "/%0a/evil.example",
    "/%0d%0aLocation:%20https://evil.example",
    "/a%00b",
    "/\x00",
    "/\x7f",
    "/\x80",
    "/\u2028evil",
    "/\uff0fevil.example",
    "/%ef%bc%8fevil.example",
    "/%ef%bc%8e%ef%bc%8e/x",
    "https://evil.example",
    "HTTPS://evil.example/",
    "https:evil.example",
    "https:/evil.example",
    "http:///evil.example",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "blob:https://evil.example/x",
    "file:///etc/passwd",
    "evil.example",
    "@evil.example",
    ":80//evil.example",
    "?next=//evil.example",
    "#//evil.example",
    "/x#fragment",
    "/..//evil.example",
    "/../x",
    "/./x",
    "/a/../../x",
    "/%2e%2e/x",
    "/%2e%2e%2f%2e%2e/x",
    "/..;/x",
    "/..%3bx/y",
    "/;//../x",
    "/.gateway",
    "/.gateway/",
    "/.gateway/logout",
    "/.gateway/login",
    "/.gateway/mfa",
    "/.gateway/login?return_to=/.gateway/login",
    "/.gateway/account/revoke",
    "/.gateway/anything",
    "/.GATEWAY/logout",
    "/.Gateway/logout",
    "/%2egateway/logout",
    "/%2Egateway/logout",
    "/%252egateway/logout",
    "/.gatewa%79/logout",
    "/.gateway;x=y/logout",
    "/.gateway%3bx/logout",
    "/\uff0egateway/logout",
    "/%ef%bc%8egateway/logout",
    "/%e2%84%a6/../.gateway/logout",
    "/;/.gateway/logout",
    "/%20/.gateway/logout",
    "/ .gateway/logout",
    "/%20.gateway/logout",
    "/%c0%afevil.example",
    "/%ff",
    "/" + "a" * 2000,
]


@pytest.mark.parametrize("value", HARMLESS)
def test_a_path_of_the_portal_is_kept_to_the_byte(value: str) -> None:
    assert safe_return(value) == value


@pytest.mark.parametrize("value", HARMFUL)
def test_anything_that_some_parser_could_read_otherwise_falls_back_to_the_start_page(value: str) -> None:
    assert safe_return(value) == "/"


@pytest.mark.parametrize("value", HARMFUL)
def test_encoding_a_harmful_value_once_more_does_not_help(value: str) -> None:
    result = safe_return("/" + quote(value, safe=""))
    assert urlsplit(urljoin(BASE, result)).netloc == "portal.example.com"
    assert not result.lower().startswith(("/%2f", "/%5c", "/%252f"))


@given(st.one_of(st.text(), st.text(alphabet="/\\.%25fcCeE2;:@?#\t\n ag").map(lambda tail: "/" + tail)))
def test_no_value_leaves_the_origin_or_breaks_a_line(value: str) -> None:
    result = safe_return(value)
    assert result in {value, "/"}
    assert result.startswith("/")
    assert not result.startswith(("//", "/\\"))
    assert result.isascii()
    assert result.isprintable()
    assert "\\" not in result
    parts = urlsplit(urljoin(BASE, result))
    assert (parts.scheme, parts.netloc) == ("https", "portal.example.com")


@given(st.text(alphabet="/.%25gatewygATEWAY;lo ", max_size=40))
def test_judging_twice_changes_nothing(value: str) -> None:
    assert safe_return(safe_return(value)) == safe_return(value)


@pytest.mark.parametrize(
    "value",
    ["/.gateway/admin/", "/.gateway/admin/routes", "/.gateway/admin/people/u_0123", "/.gateway/admin/routes/a.b-c_d"],
)
def test_sign_in_leads_to_pages_of_the_console(value: str) -> None:
    assert safe_return(value) == value
    assert is_own_page(value)


@pytest.mark.parametrize(
    "value",
    [
        "/.gateway/admin",
        "/.gateway/admin/..",
        "/.gateway/admin/../login",
        "/.gateway/admin/%2e%2e/logout",
        "/.gateway/admin//evil.example",
        "/.gateway/admin/people/u_1/disable",
        "/.gateway/admin/routes;x",
        "/.gateway/administration",
    ],
)
def test_what_is_no_page_of_the_console_leads_nowhere(value: str) -> None:
    assert safe_return(value) == "/"
