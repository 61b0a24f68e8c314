"""Secrets as they come in requests: a text, and what of it may stand in no artefact of the gateway."""

from __future__ import annotations

from typing import Final

_JWT: Final = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"

SECRETS: Final = (
    ("4111111111111111", "4111111111111111"),
    ("4111 1111 1111 1111", "1111 1111"),
    ("4111-1111-1111-1111", "1111-1111"),
    ("5500/0000/0000/0004", "0000/0000"),
    ("3782.822463.10005", "822463"),
    ("378282246310005", "378282246310005"),
    ("%34111111111111111", "4111111111111111"),
    ("4111%201111%201111%201111", "1111%201111"),
    ("password=correct-horse-battery", "correct-horse-battery"),
    ("PASSWD=correct-horse-battery", "correct-horse-battery"),
    ("access_token=abcdefghijklmnop", "abcdefghijklmnop"),
    ("api_key=abcdefghijklmnop", "abcdefghijklmnop"),
    ("client_secret%3Dabcdefghijklmnop", "abcdefghijklmnop"),
    ("SAMLResponse=PHNhbWxwOlJlc3BvbnNl", "PHNhbWxwOlJlc3BvbnNl"),
    ("Bearer abcdefghijklmnop", "abcdefghijklmnop"),
    (_JWT, "dozjgNryP4J3jVmNHl0w5N"),
    (f"token={_JWT}", "dozjgNryP4J3jVmNHl0w5N"),
    ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
    ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
    ("xoxb-123456789012-abcdefghijkl", "xoxb-123456789012-abcdefghijkl"),
    ("sk_live_abcdefghijklmnop", "sk_live_abcdefghijklmnop"),
    ("cvv=987654", "987654"),
    ("sid=0123456789abcdef0123", "0123456789abcdef0123"),
)
