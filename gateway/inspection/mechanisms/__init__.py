"""The mechanisms, in the order in which they are asked: each judges what one kind of parser would do with a text."""

from __future__ import annotations

from typing import Final

from gateway.inspection.mechanisms import (
    code,
    crlf,
    deserialisation,
    html,
    include,
    ldap,
    lookup,
    nosql,
    path,
    protocol,
    prototype,
    script,
    shell,
    sql,
    ssrf,
    template,
    xpath,
    xxe,
)
from gateway.inspection.sign import Mechanism

MECHANISMS: Final[tuple[Mechanism, ...]] = (
    html,
    script,
    template,
    include,
    prototype,
    crlf,
    code,
    deserialisation,
    lookup,
    path,
    protocol,
    shell,
    ssrf,
    xxe,
    sql,
    nosql,
    ldap,
    xpath,
)
"""One line for each module of this package."""
