"""Policies of any size, as a portal with many applications would have them, and requests that fit them.

Every tenth route is another kind: literals, parameters, several methods in several routes of one template, rests, hosts,
public pages. Who may take them are roles that include one another; some routes refuse somebody first. With conditions,
each route that asks for a role asks for something about the request or the person too, one in four a text of its own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

FAMILIES = 8
"""Families of roles; each is a chain in which the higher ones include the lower."""
CHAIN = ("reader", "writer", "owner", "admin")
HOSTS = {"portal.example.com": "", "acme.example.com": "acme", "globex.example.com": "globex"}
TENANTS = ("acme", "globex")
ROUTES_PER_FILE = 1000
ROUTES_PER_APPLICATION = 20
_CONDITIONS = (
    'session.mfa_age < duration("12h")',
    'network.is_in("10.0.0.0/8")',
    'request.scheme == "https" && session.amr.exists(method, method == "otp")',
)


class Request(NamedTuple):
    """One request: where it goes, and the roles of the person who sends it."""

    host: str
    method: bytes
    path: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """What every tenth route looks like; `{}` in a path stands for a segment that requests fill in."""

    path: str
    methods: str = "GET"
    host: str = ""
    public: bool = False


KINDS = (
    Kind("/{{app}}/{{route}}"),
    Kind("/{{app}}/{{route}}/{id}"),
    Kind("/{{app}}/{{before}}/{id}", "POST, PUT, DELETE"),
    Kind("/{{app}}/{{route}}/{id}/files/**", "GET, PUT"),
    Kind("/{{app}}/{{route}}/{id}/items/{item}", "GET, POST"),
    Kind("/{{app}}/{{route}}/{id}/items/{item}", host="acme.example.com"),
    Kind("/{{app}}/{{route}}/*/history"),
    Kind("/{{app}}/{{route}}/assets/**", public=True),
    Kind("/{{app}}/settings/{{route}}/members", "GET, POST"),
    Kind("/{{app}}/{{route}}/reports/2026/**"),
)


def role(number: int) -> str:
    """Name the role that a route asks for."""
    return f"{CHAIN[number % 3]}-{number // 7 % FAMILIES}"


def path_of(number: int) -> str:
    """Write the template of a route."""
    path = KINDS[number % len(KINDS)].path
    names = {"app": f"app{number // ROUTES_PER_APPLICATION}", "route": f"r{number}", "before": f"r{number - 1}"}
    for name, text in names.items():
        path = path.replace("{{" + name + "}}", text)
    return path


def _condition(number: int) -> str:
    return f'request.query != "q={number}"' if number % 4 == 3 else _CONDITIONS[number % 4]


def _route(number: int, *, conditions: bool) -> str:
    kind = KINDS[number % len(KINDS)]
    lines = [
        f"  - name: route-{number}",
        f'    match: {{path: "{path_of(number)}", methods: [{kind.methods}]'
        + (f", hosts: [{kind.host}]}}" if kind.host else "}"),
        "    upstream: portal",
    ]
    if kind.public:
        return "\n".join([*lines, "    public: true"])
    when = f", when: '{_condition(number)}'" if conditions else ""
    lines.append(f"    allow:\n      - {{roles: [{role(number)}]{when}}}")
    if number % 3 == 0:
        lines.append(f"      - {{roles: [{role(number + 7)}], tenants: [acme]{when}}}")
    if number % 5 == 1:
        lines.append("    deny: [{roles: [suspended]}]")
    return "\n".join(lines)


def policy(routes: int, *, conditions: bool) -> dict[str, str]:
    """Write a policy of so many routes, in files of a thousand."""
    roles = ["  suspended: {}"]
    for family in range(FAMILIES):
        below = ""
        for name in CHAIN:
            roles.append(f"  {name}-{family}: {{{below}}}")
            below = f"includes: [{name}-{family}]"
    files = {}
    for first in range(0, routes, ROUTES_PER_FILE):
        lines = ["version: 1", *(["roles:", *roles] if first == 0 else []), "routes:"]
        lines += [
            _route(number, conditions=conditions) for number in range(first, min(routes, first + ROUTES_PER_FILE))
        ]
        files[f"policies/{first // ROUTES_PER_FILE:04}.yaml"] = "\n".join(lines) + "\n"
    return files


def requests(routes: int, count: int, choose: random.Random) -> list[Request]:
    """Draw requests for routes at random, most of them by somebody who may; no two have the same path but for literal ones."""
    found = []
    for _ in range(count):
        number = choose.randrange(routes)
        kind = KINDS[number % len(KINDS)]
        path = path_of(number).replace("{id}", str(choose.randrange(10**8))).replace("*/h", f"{choose.randrange(99)}/h")
        path = path.replace("{item}", f"item-{choose.randrange(10**6)}")
        path = path.replace("**", f"part-{choose.randrange(10**4)}/page")
        method = choose.choice(kind.methods.split(", ")).encode()
        family = number // 7 % FAMILIES
        roles = choose.choice(((f"admin-{family}",), (role(number),), (role(number), "suspended"), ("reader-0",)))
        found.append(Request(kind.host or choose.choice(tuple(HOSTS)), method, path, roles))
    return found
