"""LDAP filter injection: a value that closes its assertion and adds another (RFC 4515, CWE-90, ASVS 5.0 1.2.6).

A value stands in `(attribute=VALUE)`. It leaves that place at a parenthesis which it closes without having opened it, and what follows
must be a filter again. A value that is a whole filter is judged, too: applications join them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.sign import Sign

CLASS: Final = "ldap"
SIGNS: Final[Mapping[str, str]] = {
    "ldap.assertion": "The value closes its assertion and adds another.",
    "ldap.filter": "The value is a filter of its own.",
    "ldap.matching_rule": "The value names an attribute with a matching rule, as filters do.",
    "ldap.cut": "The value closes its filter and cuts off the rest with a NUL.",
    "ldap.fragment": "A whole filter stands in a text.",
}

_ATTRIBUTES: Final = (
    r"(?:uid|cn|sn|ou|dc|mail|objectclass|objectcategory|userpassword|password|unicodepwd|givenname|displayname|member(?:of)?|uniquemember|"
    r"samaccountname|samaccounttype|userprincipalname|useraccountcontrol|department|telephonenumber|employee(?:number|type|id)|gidnumber|"
    r"uidnumber|homedirectory|loginshell|distinguishedname|description|manager|title|roomnumber|name|user|username|login|role|admin\w{0,10})"
)
_OPERATOR: Final = r"(?:=|~=|>=|<=|:=)"
_EXTENSIBLE: Final = r"(?::[\w.-]{1,64}){0,2}"
_ADDED: Final = re.compile(
    rf"\)(?:[&|!]?\(){{1,8}}\s{{0,4}}(?:[&|!]|[&|!]?[\w;.-]{{1,64}}{_EXTENSIBLE}{_OPERATOR})"
    rf"|\)\s{{0,8}}\(\s{{0,8}}(?:[&|]|!\s{{0,4}}\(|\(?{_ATTRIBUTES}{_EXTENSIBLE}\s{{0,4}}{_OPERATOR})",
    re.IGNORECASE,
)
"""Behind the parenthesis: operators and the next assertion; with white space between only what prose cannot mean."""
_WHOLE: Final = re.compile(
    rf"\s*\*?\(\s{{0,4}}(?:[&|!]\s{{0,4}}\(\s{{0,4}}(?:[&|!(\s]{{0,16}}[\w;.-]{{1,64}}{_EXTENSIBLE}\s{{0,4}}{_OPERATOR})"
    rf"|{_ATTRIBUTES}{_EXTENSIBLE}{_OPERATOR}[^()]{{0,256}}\)\s*\Z)",
    re.IGNORECASE,
)
_MATCHING_RULE: Final = re.compile(
    r"(?<![\w.])[a-z][\w;-]{0,63}(?::dn)?:(?:\d{1,10}(?:\.\d{1,10}){2,20}|[a-z]{4,32}Match):=", re.IGNORECASE
)
_FRAGMENT: Final = re.compile(
    rf"\([&|!]\s{{0,4}}\(\s{{0,4}}[\w;.-]{{1,64}}{_EXTENSIBLE}\s{{0,4}}{_OPERATOR}", re.IGNORECASE
)
_NUL: Final = re.compile(r"\)\s{0,4}(?:\x00|\\00)")


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether a parenthesis, or the operator of a matching rule, stands in the text."""
    return (")" in specials or "(" in specials or ":=" in lowered) and not specials.isdisjoint("=&|!\0\\")


def signs(text: str, position: Position) -> Iterable[Sign]:
    """Find an assertion behind the first parenthesis that closes what the text has not opened, or a whole filter."""
    del position
    for sign in _found(text):
        return [sign]
    fragment = _FRAGMENT.search(text) if "(&" in text or "(|" in text or "(!" in text else None
    return [Sign("ldap.fragment", *fragment.span())] if fragment else []


def _found(text: str) -> Iterator[Sign]:
    """Find what would change a filter."""
    start = _unopened(text)
    if start >= 0:
        # A value may close several: `x))(|(uid=*`.
        last = start
        while text.startswith(")", last + 1):
            last += 1
        added = _ADDED.match(text, last)
        # `')(mail=*' . $x`: a program's literal.
        if added and text[start - 1 : start] not in ("'", '"'):
            yield Sign("ldap.assertion", start, added.end())
        nul = _NUL.match(text, last)
        if nul:
            yield Sign("ldap.cut", start, nul.end())
    whole = _WHOLE.match(text)
    if whole:
        yield Sign("ldap.filter", *whole.span())
    rule = _MATCHING_RULE.search(text) if ":=" in text else None
    if rule:
        yield Sign("ldap.matching_rule", *rule.span())


def _unopened(text: str) -> int:
    """Return where the first parenthesis stands that closes what the text has not opened; -1 when none does."""
    opened = 0
    for mark in _PARENTHESIS.finditer(text):
        opened += 1 if mark.group() == "(" else -1
        if opened < 0:
            return mark.start()
    return -1


_PARENTHESIS: Final = re.compile(r"[()]")
