"""The console in the pages: who comes in, what each may see, what each may do, and what attackers try."""

from __future__ import annotations

import csv
import re
from collections.abc import AsyncIterator
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.authn.assurance import FactorRule, Method, Required
from gateway.exchange.administration import Administrator, Listing, ReloadNote
from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.notice import Notice
from gateway.exchange.session import Session
from gateway.pages.console import policy as policy_pages
from gateway.pages.console.addresses import ADDRESSES
from gateway.pages.console.desk import Console, PagePolicy, ToldOfPages
from gateway.policy import PolicyTable, compile_policy
from gateway.server.evidence import EvidenceDesk
from gateway.session.life import Lifetimes
from gateway.session.rules import RuleBook, Rules, TenantRules
from gateway.store.administration import PeopleDesk
from gateway.store.executor import BoundedExecutor
from gateway.store.keyring import Keyring
from gateway.store.openings import Client, SignedIn
from gateway.store.state import Store
from tests.fakes.pages_site import Answer, Browser, Site
from tests.unit.pages.conftest import SiteMaker

ADMIN = "/.gateway/admin/"
HOSTS = {"portal.example.com": "acme", "shared.example.com": "", "globex.example.com": "globex"}
POLICY = """\
version: 1
roles:
  client: {}
  clerk: {includes: [client]}
  lead: {includes: [clerk]}
  auditor: {}
routes:
  - name: assets
    match: {path: "/static/**", methods: [GET]}
    upstream: portal
    public: true
  - name: invoice
    match: {path: "/invoices/{invoice_id}", methods: [GET]}
    upstream: portal
    allow:
      - roles: [client]
        when: session.tenant != "globex" || request.host == "globex.example.com"
    rate_limit: {rate: 60/m, burst: 20, per: user}
  - name: ledger
    match: {path: /ledger, methods: [GET, POST], hosts: [portal.example.com]}
    upstream: portal
    mfa_age: 15m
    allow: [{roles: [lead], tenants: [acme]}]
  - name: globex-secrets
    match: {path: /secrets, methods: [GET], hosts: [globex.example.com]}
    upstream: portal
    allow: [{roles: [client]}]
  - name: globex-audit
    match: {path: /audit, methods: [GET]}
    upstream: portal
    allow: [{roles: [auditor], tenants: [globex]}]
  - name: closed
    match: {path: /closed, methods: [GET]}
    upstream: portal
    deny: true
"""


def policy(text: str = POLICY) -> PolicyTable:
    table, _ = compile_policy(
        {"policies/portal.yaml": text},
        upstreams=["portal"],
        tenants=["acme", "globex"],
        hosts=list(HOSTS),
        mfa_required=True,
    )
    return table


TABLE = policy()


def nowhere(store: Store, executor: BoundedExecutor) -> EvidenceDesk:
    """The audit log without anybody who answers."""
    return EvidenceDesk(
        Path("/nonexistent/evidence.sock"), store, badge=bytes(16), executor=executor, seals=True, anonymous_s=86_400.0
    )


def console(store: Store, keyring: Keyring, executor: BoundedExecutor, tell: Any, **options: Any) -> Console:
    people = options.pop("people", None) or PeopleDesk(
        store, keyring=keyring, executor=executor, asking=executor, tell=tell
    )
    evidence = options.pop("evidence", None) or nowhere(store, executor)
    return Console(
        people=people,
        evidence=evidence,
        table=TABLE,
        hosts=HOSTS,
        warnings=("policies/portal.yaml:9:5: <b>strange</b>",),
        since=1_800_000_000.0,
        **options,
    )


async def staffed(make_site: SiteMaker, **options: Any) -> AsyncIterator[Site]:
    async with make_site(make_console=partial(console, **options)) as site:
        site.add_user("root", gateway_roles=("gateway.admin",))
        site.add_user("tina", gateway_roles=("gateway.tenant-admin",), roles=("lead",))
        site.add_user("alice")
        site.add_user("gwen", tenant="globex")
        site.add_user("gus", tenant="globex", gateway_roles=("gateway.tenant-admin",))
        yield site


@pytest.fixture
async def site(make_site: SiteMaker) -> AsyncIterator[Site]:
    """An operator, an administrator of each organisation, and one person of each."""
    async for site in staffed(make_site):
        yield site


async def signed_in(site: Site, name: str, **values: Any) -> Browser:
    browser = site.browser(**values)
    await browser.sign_in(name)
    return browser


def person(site: Site, name: str) -> str:
    user = site.store.user_named(name)
    assert user is not None
    return user.id


def page_of(site: Site, name: str) -> str:
    return f"{ADMIN}people/{person(site, name)}"


async def act(browser: Browser, page: str, act: str, **fields: str) -> Answer:
    """Open a person's page and send one of its forms."""
    shown = await browser.get(page)
    assert shown.status == 200
    return await browser.submit(shown, f"{page}/{act}", **fields)


READABLE = [
    ADMIN,
    *(
        f"{ADMIN}{path}"
        for path in (
            "export",
            "routes",
            "routes/invoice",
            "roles",
            "roles/client",
            "try",
            "people",
            "sessions",
            "evidence",
        )
    ),
]


# Who comes in


async def test_an_operator_sees_every_page(site: Site) -> None:
    browser = await signed_in(site, "root")
    for path in READABLE:
        answer = await browser.get(path)
        assert answer.status == 200, path
        assert [event.name for event in answer.events] == ["admin"]
        assert answer.events[0].operation
        assert answer.headers["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Frame-Options"] == "DENY"


async def test_to_somebody_without_the_role_a_page_is_an_unknown_address(site: Site) -> None:
    browser = await signed_in(site, "alice")
    unknown = await browser.get("/.gateway/admin/nowhere")
    for path in READABLE:
        answer = await browser.get(path)
        assert (answer.status, unknown.status) == (404, 404)
        assert answer.text == unknown.text
        (event,) = answer.events
        assert (event.name, event.outcome, event.reason) == ("admin", "failure", "role_missing")


async def test_every_form_and_every_method_is_hidden_from_others(site: Site) -> None:
    browser = await signed_in(site, "alice")
    for address in ADDRESSES:
        path = re.sub(r"\{person:.*\}\}", person(site, "gwen"), address.path)
        path = re.sub(r"\{name:.*\}\}", "invoice", path)
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
            answer = await browser.send(method, path, b"" if method == "POST" else None)
            assert answer.status == 404, (method, path)
            assert "Allow" not in answer.headers


async def test_the_account_page_shows_the_way_to_those_who_may_go(make_site: SiteMaker) -> None:
    async for site in staffed(make_site, networks=(ip_network("203.0.113.0/24"),)):
        link = 'href="/.gateway/admin/"'
        assert link in (await (await signed_in(site, "root")).get("/.gateway/account")).text
        assert link not in (await (await signed_in(site, "alice")).get("/.gateway/account")).text
        assert link not in (await (await signed_in(site, "root", ip="198.51.100.1")).get("/.gateway/account")).text


async def test_without_a_section_there_is_no_console(make_site: SiteMaker) -> None:
    async with make_site() as site:
        site.add_user("root", gateway_roles=("gateway.admin",))
        browser = await signed_in(site, "root")
        assert (await browser.get(ADMIN)).status == 404
        assert (await site.browser().get(ADMIN)).status == 404


async def test_from_another_network_there_is_no_console(make_site: SiteMaker) -> None:
    async for site in staffed(make_site, networks=(ip_network("10.0.0.0/8"),)):
        outside = await signed_in(site, "root", ip="203.0.113.7")
        answer = await outside.get(ADMIN)
        assert answer.status == 404
        assert [(event.name, event.outcome, event.reason) for event in answer.events] == [
            ("admin", "failure", "network_refused")
        ]
        assert (await site.browser(ip="203.0.113.7").get(ADMIN)).status == 404
        inside = await signed_in(site, "root", ip="10.1.2.3")
        assert (await inside.get(ADMIN)).status == 200


async def test_whoever_is_not_signed_in_is_asked_to_and_comes_back(site: Site) -> None:
    browser = site.browser()
    assert (await browser.get(f"{ADMIN}routes")).location == "/.gateway/login"
    await browser.give_password("root")
    assert (await browser.give_code("root")).location == f"{ADMIN}routes"


async def test_a_password_alone_opens_nothing(site: Site) -> None:
    browser = site.browser()
    await browser.give_password("root")
    assert (await browser.get(ADMIN)).location == "/.gateway/mfa"


async def test_a_second_factor_that_nobody_asked_for_is_asked_for_here(make_site: SiteMaker) -> None:
    async with make_site(make_console=console, mfa_always=False) as site:
        site.add_user("root", totp=False, gateway_roles=("gateway.admin",))
        browser = site.browser()
        answer = await browser.give_password("root")
        assert answer.location == "/"
        answer = await browser.get(ADMIN)
        assert answer.location == "/.gateway/mfa?step_up=mfa_age&return_to=/.gateway/admin/"


LONG = RuleBook(general=TenantRules(rules=Rules(lifetimes=Lifetimes(idle_s=86_400.0, absolute_s=86_400.0))))


async def test_an_old_second_factor_shows_nothing_and_a_fresh_one_leads_back(make_site: SiteMaker) -> None:
    async with make_site(make_console=console, rules=LONG) as site:
        site.add_user("root", gateway_roles=("gateway.admin",))
        browser = await signed_in(site, "root")
        site.now += 12 * 3600
        assert (await browser.get(f"{ADMIN}roles")).status == 200
        site.now += 1
        answer = await browser.get(f"{ADMIN}roles")
        assert answer.location == "/.gateway/mfa?step_up=mfa_age&return_to=/.gateway/admin/roles"
        page = await browser.get(answer.location)
        answer = await browser.submit(page, "/.gateway/mfa", code=site.code("root"))
        assert answer.location == f"{ADMIN}roles"
        assert (await browser.get(answer.location)).status == 200


async def test_a_device_that_was_remembered_proves_nothing_here(make_site: SiteMaker) -> None:
    rule = FactorRule(required=Required.ENROLLED, methods=frozenset(Method), remember_s=30 * 86_400.0)
    async with make_site(make_console=console, factor_rule=rule) as site:
        site.add_user("root", gateway_roles=("gateway.admin",))
        browser = site.browser()
        await browser.give_password("root")
        page = await browser.get("/.gateway/mfa")
        await browser.submit(page, "/.gateway/mfa", code=site.code("root"), remember="1")
        del browser.jar["__Host-gw"]
        site.now += 60
        assert (await browser.give_password("root")).location == "/"
        assert (await browser.get(ADMIN)).location == "/.gateway/mfa?step_up=mfa_age&return_to=/.gateway/admin/"


async def test_a_device_that_was_remembered_proves_nothing_though_the_provider_saw_the_person_before(
    make_site: SiteMaker,
) -> None:
    """attack: a browser that is remembered, and a session at a provider that began before it was."""
    rule = FactorRule(required=Required.ENROLLED, methods=frozenset(Method), remember_s=30 * 86_400.0)
    async with make_site(make_console=console, factor_rule=rule) as site:
        site.add_user("root", gateway_roles=("gateway.admin",))
        began = site.now
        browser = await federated(site, "root")
        page = await browser.get("/.gateway/mfa")
        await browser.submit(page, "/.gateway/mfa", code=site.code("root"), remember="1")
        assert (await browser.get(ADMIN)).status == 200
        (device,) = (value for name, value in browser.jar.items() if "device" in name)
        site.now += 60
        again = await federated(site, "root", auth_time=began, device=device.encode())
        (stored,) = site.store.sessions(now=site.now)
        assert (stored.session.owes, stored.session.mfa_time > stored.session.auth_time) == ("", True)
        assert "mfa" not in stored.session.amr
        assert (await again.get(ADMIN)).location == "/.gateway/mfa?step_up=mfa_age&return_to=/.gateway/admin/"


async def test_a_second_factor_that_is_not_fresh_changes_nothing(make_site: SiteMaker) -> None:
    async for site in staffed(make_site, mfa_age_s=300.0):
        await _change_with_an_old_factor(site)


async def _change_with_an_old_factor(site: Site) -> None:
    browser = await signed_in(site, "root")
    page = page_of(site, "alice")
    shown = await browser.get(page)
    site.now += 301
    answer = await browser.submit(shown, f"{page}/disable")
    assert answer.location == f"/.gateway/mfa?step_up=mfa_age&return_to={page}"
    (event,) = answer.events
    assert (event.name, event.outcome, event.reason) == ("admin", "failure", "step_up_required")
    user = site.store.user_named("alice")
    assert user is not None
    assert not user.disabled
    asked = await browser.get(answer.location)
    answer = await browser.submit(asked, "/.gateway/mfa", code=site.code("root"))
    assert answer.location == page
    assert (await act(browser, page, "disable")).names() == ["user.disabled"]


async def test_a_role_that_was_taken_opens_nothing_at_once(site: Site) -> None:
    browser = await signed_in(site, "root")
    user = site.store.user_named("root")
    assert user is not None
    # Without ending the session, which the verb does too: the session itself carries no role.
    site.store.rows.transact(
        lambda tx: site.store.people.put_in(tx, msgspec.structs.replace(user, gateway_roles=()), now=site.now)
    )
    assert (await browser.get(ADMIN)).status == 404


async def test_a_role_of_a_policy_with_that_name_opens_nothing(site: Site) -> None:
    site.add_user("mallory", roles=("gateway.admin", "client"))
    assert (await (await signed_in(site, "mallory")).get(ADMIN)).status == 404


async def test_a_tenant_administrator_who_moved_administers_nothing(site: Site) -> None:
    user = site.store.user_named("gus")
    assert user is not None
    assert site.store.change_user(user, msgspec.structs.replace(user, tenant="acme"), now=site.now)
    assert (await (await signed_in(site, "gus")).get(ADMIN)).status == 404


async def test_a_session_of_another_host_opens_nothing(site: Site) -> None:
    browser = await signed_in(site, "root")
    browser.host = "shared.example.com"
    browser.tenant = ""
    assert (await browser.get(ADMIN)).location == "/.gateway/login?reason=session_expired"


async def test_a_page_is_neither_framed_nor_read_by_a_script(site: Site) -> None:
    browser = await signed_in(site, "root")
    for destination in ("iframe", "empty", "script"):
        answer = await browser.get(ADMIN, Sec_Fetch_Dest=destination)
        assert (answer.status, answer.names(), answer.events[0].outcome) == (403, ["admin"], "failure")


async def test_the_store_being_away_shows_nothing_and_signs_nobody_out(make_site: SiteMaker) -> None:
    class Away:
        async def administrator(self, session: Session) -> Administrator | None:
            raise StoreUnavailableError(session.handle)

    async with make_site(make_console=partial(console, people=Away())) as site:
        site.add_user("root", gateway_roles=("gateway.admin",))
        browser = await signed_in(site, "root")
        answer = await browser.get(ADMIN)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
        assert "__Host-gw" in browser.jar


async def test_a_console_that_is_busy_keeps_nobody_from_their_account_and_knows_a_stranger(
    make_site: SiteMaker,
) -> None:
    """attack: a long list, or a flood of the addresses of the console, fills the few places that it has."""

    def busy(store: Store, keyring: Keyring, executor: BoundedExecutor, tell: Any) -> Console:
        full = BoundedExecutor("full", threads=1, waiting=-1)
        people = PeopleDesk(store, keyring=keyring, executor=full, asking=executor, tell=tell)
        return Console(people=people, evidence=nowhere(store, full), table=TABLE, hosts=HOSTS)

    async with make_site(make_console=busy) as site:
        site.add_user("root", gateway_roles=("gateway.admin",))
        site.add_user("alice")
        alice, root = await signed_in(site, "alice"), await signed_in(site, "root")
        assert (await alice.get("/.gateway/account")).status == 200
        assert (await alice.get(f"{ADMIN}people")).status == 404
        assert (await root.get(ADMIN)).status == 200
        assert (await root.get(f"{ADMIN}people")).status == 503
        assert (await act(root, page_of(site, "alice"), "disable")).names()[0] == "user.disabled"


async def federated(
    site: Site, name: str, *, mfa_time: float = 0.0, auth_time: float | None = None, device: bytes = b""
) -> Browser:
    """Somebody for whom an identity provider vouched, signed in there at `auth_time`."""
    user = site.store.user_named(name)
    assert user is not None
    there = msgspec.structs.replace(user, provider="okta", issuer="https://okta.example", subject=name, password="")
    changed = site.store.change_user(user, there, now=site.now)
    assert changed is not None
    when = site.now if auth_time is None else auth_time
    client = Client(ip="203.0.113.7", host="portal.example.com", secure=True, tenant="acme", device=device)
    opened = site.accounts.openings.open(
        changed[0],
        amr=("federated", *(("mfa",) if mfa_time else ())),
        client=client,
        now=site.now,
        provider="okta",
        auth_time=when,
        second_factor_done=bool(mfa_time),
    )
    assert isinstance(opened, SignedIn)
    browser = site.browser()
    browser.jar["__Host-gw"] = opened.token.decode()
    return browser


async def test_somebody_of_a_provider_comes_in_where_it_proves_a_second_factor(make_site: SiteMaker) -> None:
    async with make_site(make_console=console, mfa_always=False) as site:
        site.add_user("root", totp=False, gateway_roles=("gateway.admin",))
        browser = await federated(site, "root", mfa_time=site.now)
        assert (await browser.get(ADMIN)).status == 200


async def test_somebody_of_a_provider_that_proves_none_is_told_so_and_goes_in_no_circle(make_site: SiteMaker) -> None:
    async with make_site(make_console=console, mfa_always=False) as site:
        site.add_user("root", totp=False, gateway_roles=("gateway.admin",))
        browser = await federated(site, "root")
        answer = await browser.get(ADMIN)
        assert answer.status == 403
        assert "okta did not say that you used one" in answer.text
        site.now += 600
        assert (await browser.get(ADMIN)).location == "/.gateway/mfa?step_up=mfa_age&return_to=/.gateway/admin/"


async def test_no_session_carries_a_role_of_the_gateways_own(site: Site) -> None:
    """So no portal is told of one, no condition sees one, and no key is made from one."""
    await signed_in(site, "root")
    (stored,) = site.store.sessions(now=site.now, user_id=person(site, "root"))
    assert stored.session.roles == ("client",)
    assert b"gateway.admin" not in msgspec.json.encode(stored.session)


async def test_an_administrator_keeps_a_second_factor_where_nobody_else_needs_one(make_site: SiteMaker) -> None:
    """attack: whoever learns the password of an administrator without a factor sets up one of their own."""
    everybody = FactorRule(required=Required.ENROLLED, methods=frozenset(Method))
    theirs = {"globex": FactorRule(required=Required.ALWAYS, methods=frozenset(Method))}
    async with make_site(make_console=console, factor_rule=everybody, tenant_rules=theirs) as site:
        site.add_user("root", gateway_roles=("gateway.admin",))
        site.add_user("alice")
        site.add_user("gwen", tenant="globex")
        remove = "/.gateway/account/passkeys/remove"
        for name, tenant, keeps in (("root", "acme", True), ("alice", "acme", False), ("gwen", "globex", True)):
            page = await (await signed_in(site, name, tenant=tenant)).get("/.gateway/account/passkeys")
            assert (f'action="{remove}"' not in page.text) is keeps, name
        # A page that was opened before the role was given still has the form.
        browser = await signed_in(site, "alice")
        page = await browser.get("/.gateway/account/passkeys")
        user = site.store.user_named("alice")
        assert user is not None
        chief = msgspec.structs.replace(user, gateway_roles=("gateway.admin",))
        site.store.rows.transact(lambda tx: site.store.people.put_in(tx, chief, now=site.now))
        answer = await browser.submit(page, remove)
        assert (answer.status, answer.events[0].reason) == (409, "last_factor")
        assert site.store.factor(user.id) is not None


# What each may see


async def test_an_operator_sees_the_policy_its_warnings_and_the_last_reload(make_site: SiteMaker) -> None:
    note = ReloadNote(at=1_800_000_000.0, problems=("policies/portal.yaml:3:5: unknown role 'clark'",))
    async for site in staffed(make_site, last_reload=lambda: note):
        page = await (await signed_in(site, "root")).get(ADMIN)
        assert TABLE.version in page.text
        assert "policies/portal.yaml:3:5: unknown role &#39;clark&#39;" in page.text
        assert "&lt;b&gt;strange&lt;/b&gt;" in page.text
        page = await (await signed_in(site, "tina")).get(ADMIN)
        assert page.status == 200
        assert "clark" not in page.text
        assert "strange" not in page.text


async def test_routes_are_found_by_what_they_are(site: Site) -> None:
    browser = await signed_in(site, "root")
    everything = {"assets", "invoice", "ledger", "globex-secrets", "globex-audit", "closed"}
    for query, names in {
        "": everything,
        "?q=INVOICE": {"invoice"},
        "?q=policies/": everything,
        "?host=globex.example.com": everything - {"ledger"},
        "?method=POST": {"ledger"},
        "?method=HEAD": everything,
        "?role=lead": {"invoice", "ledger", "globex-secrets"},
        "?role=auditor": {"globex-audit"},
        "?tenant=acme": {"assets", "invoice", "ledger", "closed"},
        "?who=public": {"assets"},
        "?who=nobody": {"closed"},
        "?who=condition": {"invoice"},
        "?q=%3Cscript%3E": set(),
        "?page=99999999": everything,
    }.items():
        page = await browser.get(f"{ADMIN}routes{query}")
        assert set(re.findall(r'href="/\.gateway/admin/routes/([a-z-]+)"', page.text)) == names, query
        assert "<script>" not in page.text


async def test_a_long_list_has_pages_and_keeps_what_it_was_narrowed_by(make_site: SiteMaker) -> None:
    routes = "".join(
        f"  - {{name: r{number}, match: {{path: /r{number}, methods: [GET]}}, upstream: portal, allow: [{{roles: [client]}}]}}\n"
        for number in range(120)
    )
    table = policy(f"version: 1\nroles: {{client: {{}}}}\nroutes:\n{routes}")

    def many(store: Store, keyring: Keyring, executor: BoundedExecutor, tell: Any) -> Console:
        return Console(
            people=PeopleDesk(store, keyring=keyring, executor=executor, asking=executor, tell=tell),
            evidence=nowhere(store, executor),
            table=table,
            hosts=HOSTS,
        )

    async with make_site(make_console=many) as site:
        site.add_user("root", gateway_roles=("gateway.admin",))
        browser = await signed_in(site, "root")
        page = await browser.get(f"{ADMIN}routes?role=client")
        assert "Page 1 of 3" in page.text
        assert "?role=client&amp;page=2" in page.text
        page = await browser.get(f"{ADMIN}routes?role=client&page=3")
        assert len(re.findall(r'href="/\.gateway/admin/routes/r\d+"', page.text)) == 20


async def test_what_the_list_shows_is_handed_out_as_a_table(site: Site) -> None:
    browser = await signed_in(site, "root")
    answer = await browser.get(f"{ADMIN}export?role=lead")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="routes.csv"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    rows = list(csv.DictReader(answer.text.splitlines()))
    assert [row["route"] for row in rows] == ["globex-secrets", "invoice", "ledger"]
    assert (rows[1]["open to"], rows[1]["condition"], rows[1]["path"]) == ("client", "yes", "/invoices/{invoice_id}")
    assert answer.events[0].operation == "export routes"
    answer = await (await signed_in(site, "tina")).get(f"{ADMIN}export")
    assert "globex" not in answer.text
    assert "ledger" in answer.text


def test_a_spreadsheet_computes_nothing_of_a_table() -> None:
    assert [policy_pages._inert(cell) for cell in ("=1+1", "+1", "-1", "@x", "a=1", "")] == [
        "'=1+1",
        "'+1",
        "'-1",
        "'@x",
        "a=1",
        "",
    ]


async def test_a_route_shows_who_comes_by_which_role_and_where_that_is_written(site: Site) -> None:
    page = await (await signed_in(site, "root")).get(f"{ADMIN}routes/invoice")
    text = re.sub(r"<[^>]+>|\s+", " ", page.text)
    assert re.search(r"lead\s+includes\s+clerk\s+includes\s+client", text)
    assert "session.tenant != &#34;globex&#34;" in page.text
    assert "60/m, burst 20, per user" in page.text
    assert "policies/portal.yaml:14:9" in page.text or "policies/portal.yaml:" in page.text
    assert f'href="{page_of(site, "alice")}"' in page.text
    page = await (await signed_in(site, "root")).get(f"{ADMIN}routes/ledger")
    assert "<code>mfa_age</code>" in page.text
    assert "Only people of acme" in page.text


async def test_a_role_shows_what_it_includes_reaches_and_who_holds_it(site: Site) -> None:
    page = await (await signed_in(site, "root")).get(f"{ADMIN}roles/client")
    assert {"lead", "clerk"} <= set(re.findall(r'href="/\.gateway/admin/roles/([a-z]+)"', page.text))
    assert 'href="/.gateway/admin/routes/invoice"' in page.text
    assert f'href="{page_of(site, "tina")}"' in page.text, "who holds a role that includes it"
    assert f'href="{page_of(site, "gwen")}"' in page.text
    page = await (await signed_in(site, "root")).get(f"{ADMIN}roles/gateway.admin")
    assert f'href="{page_of(site, "root")}"' in page.text
    assert page_of(site, "alice") not in page.text


async def test_a_tenant_administrator_sees_nothing_of_another_organisation(site: Site) -> None:
    browser = await signed_in(site, "tina")
    for path in (*READABLE, f"{ADMIN}roles/gateway.tenant-admin", page_of(site, "alice")):
        answer = await browser.get(path)
        assert answer.status == 200, path
        assert "globex" not in answer.text, path
        assert "gwen" not in answer.text, path
        assert "gus" not in answer.text.replace("gust", ""), path
    assert {
        answer.status
        for answer in [await browser.get(f"{ADMIN}routes/{name}") for name in ("globex-secrets", "globex-audit")]
    } == {404}
    assert (await browser.get(f"{ADMIN}roles/auditor")).status == 404
    assert (await browser.get(page_of(site, "gwen"))).status == 404
    assert (await browser.get(page_of(site, "gwen"))).text == (await browser.get(f"{ADMIN}people/u_{'0' * 32}")).text
    page = await browser.get(f"{ADMIN}routes/invoice")
    assert "Only under a condition" in page.text


async def test_people_are_found_and_their_addresses_are_masked(site: Site) -> None:
    browser = await signed_in(site, "root")
    page = await browser.get(f"{ADMIN}people?q=GLOBEX")
    assert page.text.count('href="/.gateway/admin/people/u_') == 2
    assert "g…@acme.example" in page.text
    assert "gwen@acme.example" not in page.text
    page = await browser.get(f"{ADMIN}people?q=gwen@acme")
    assert page.text.count('href="/.gateway/admin/people/u_') == 1
    assert "gwen@acme.example" in (await browser.get(page_of(site, "gwen"))).text


async def test_sessions_are_listed_for_those_who_may_see_them(site: Site) -> None:
    gwen = await signed_in(site, "gwen", host="globex.example.com", tenant="globex", ip="198.51.100.9")
    page = await (await signed_in(site, "root")).get(f"{ADMIN}sessions")
    assert {"198.51.100.9", "globex.example.com"} <= set(re.findall(r"[a-z0-9.]+", page.text))
    page = await (await signed_in(site, "root")).get(f"{ADMIN}sessions?q=198.51.100")
    assert page.text.count('href="/.gateway/admin/people/u_') == 1
    page = await (await signed_in(site, "tina")).get(f"{ADMIN}sessions")
    assert "198.51.100.9" not in page.text
    assert (await gwen.get("/.gateway/account")).status == 200


async def test_what_a_stranger_chose_is_text_and_nothing_else(site: Site) -> None:
    """Stored cross-site scripting: a user agent, a search, an address that is tried."""
    mallory = site.browser(user_agent='<img src=x onerror="alert(1)">Firefox/1', ip="203.0.113.66")
    await mallory.sign_in("alice")
    browser = await signed_in(site, "root")
    for path in (
        f"{ADMIN}sessions",
        page_of(site, "alice"),
        f'{ADMIN}people?q="><script>',
        f"{ADMIN}routes?q='><script>",
    ):
        page = await browser.get(path)
        assert page.status == 200
        assert "<script" not in page.text
        assert "<img src=x" not in page.text
    answer = await trial(browser, url='https://portal.example.com/"><script>alert(1)</script>', who="<script>")
    assert "<script" not in answer.text


# Trying a request


async def trial(browser: Browser, **fields: str) -> Answer:
    page = await browser.get(f"{ADMIN}try")
    values = {"method": "GET", "url": "https://portal.example.com/invoices/42", "mfa_age": "0s"} | fields
    return await browser.submit(page, f"{ADMIN}try", **values)


async def test_a_request_is_answered_as_the_policy_would(site: Site) -> None:
    browser = await signed_in(site, "root")
    answer = await trial(browser, who="alice")
    assert answer.status == 200
    assert "<strong>Allowed</strong> <code>allowed</code>" in answer.text
    assert "holds client" in answer.text
    answer = await trial(browser, who="ALICE", url="https://portal.example.com/ledger")
    assert "<strong>Refused</strong> <code>role_missing</code>" in answer.text
    answer = await trial(browser, url="https://portal.example.com/ledger", roles="lead, clerk", mfa_age="20m")
    assert "<code>step_up_required</code>" in answer.text
    answer = await trial(browser, url="https://portal.example.com/ledger", roles="lead", mfa_age="never")
    assert "<code>mfa_required</code>" in answer.text
    answer = await trial(browser)
    assert "<code>sign_in_required</code>" in answer.text
    answer = await trial(browser, url="https://elsewhere.example/")
    assert "<code>misdirected</code>" in answer.text


async def test_a_trial_may_name_a_header_field_and_a_known_browser(make_site: SiteMaker) -> None:
    table = policy(
        """\
version: 1
roles: {client: {}}
routes:
  - name: desk
    match: {path: /desk, methods: [GET]}
    upstream: portal
    tenant: {header: X-Tenant}
    require: {device: known}
    allow: [{roles: [client]}]
"""
    )

    def other(store: Store, keyring: Keyring, executor: BoundedExecutor, tell: Any) -> Console:
        return Console(
            people=PeopleDesk(store, keyring=keyring, executor=executor, asking=executor, tell=tell),
            evidence=nowhere(store, executor),
            table=table,
            hosts=HOSTS,
        )

    async with make_site(make_console=other) as site:
        site.add_user("root", gateway_roles=("gateway.admin",))
        site.add_user("tina", gateway_roles=("gateway.tenant-admin",))
        browser = await signed_in(site, "root")
        there = {"url": "https://shared.example.com/desk", "roles": "client"}
        answer = await trial(browser, **there, header="X-Tenant: globex", known_device="1")
        assert "<strong>Allowed</strong>" in answer.text
        assert "somebody · globex · client" in answer.text
        answer = await trial(browser, **there, header="X-Tenant: globex")
        assert "<code>device_unknown</code>" in answer.text
        answer = await trial(browser, **there, header="X-Tenant: globex", tenant="acme", known_device="1")
        assert "<code>tenant_mismatch</code>" in answer.text
        browser = await signed_in(site, "tina")
        told = [
            re.sub(r"X-Tenant: \w+|value=\"[^\"]*\"|nonce=\"[^\"]*\"", "", answer.text)
            for answer in [
                await trial(browser, **there, header=f"X-Tenant: {tenant}", known_device="1")
                for tenant in ("globex", "nowhere")
            ]
        ]
        assert told[0] == told[1], "which organisations there are is not told"


async def test_a_trial_is_recorded_by_its_path_without_the_query(site: Site) -> None:
    answer = await trial(
        await signed_in(site, "root"), url="https://portal.example.com/invoices/42?token=hush", who="alice"
    )
    (event,) = answer.events
    assert (event.name, event.operation, event.path, event.user) == ("admin", "try", "/invoices/42", "alice")
    assert event.user_id == person(site, "alice")


async def test_whoever_does_not_exist_is_not_recorded(site: Site) -> None:
    """attack: the name of somebody else, or 16 kB, in a record that nobody can take back; people type passwords anywhere."""
    for who in ("alice", "\U0001f600" * 2048, "correct horse battery"):
        answer = await trial(await signed_in(site, "root"), url="https://portal.example.com/", who=who, roles="client")
        (event,) = answer.events
        assert (event.operation, event.user_id, event.user, event.tenant) == ("try", "", "", "")


WRONG: list[tuple[dict[str, str], str]] = [
    ({"url": "/relative"}, "url"),
    ({"url": "https://[::1"}, "url"),
    ({"url": "https://portal.example.com/%00"}, "url"),
    ({"method": "BREW"}, "method"),
    ({"mfa_age": "long ago"}, "mfa_age"),
    ({"auth_age": "-1h"}, "auth_age"),
    ({"ip": "somewhere"}, "ip"),
    ({"header": "no field"}, "header"),
    ({"who": "nobody-at-all"}, "who"),
    ({"who": "\u202e"}, "who"),
    ({"roles": "a b,<c>"}, "roles"),
    ({"roles": ",".join(f"r{number}" for number in range(40))}, "roles"),
]


async def test_a_question_that_cannot_be_asked_says_which_field_is_wrong(site: Site) -> None:
    browser = await signed_in(site, "root")
    for fields, wrong in WRONG:
        answer = await trial(browser, **fields)
        assert answer.status == 400, fields
        assert re.search(rf'<input[^>]*id="{wrong}"[^>]*aria-invalid="true"|<select[^>]*id="{wrong}"', answer.text), (
            fields
        )
        assert 'role="alert"' in answer.text


async def test_a_tenant_administrator_tries_only_what_is_theirs(site: Site) -> None:
    browser = await signed_in(site, "tina")
    assert (
        "<code>misdirected</code>"
        in (await trial(browser, url="https://globex.example.com/secrets", roles="client")).text
    )
    for fields in ({"who": "gwen"}, {"roles": "client", "tenant": "globex"}):
        answer = await trial(browser, **fields)
        assert answer.status == 400
        assert "globex.example.com" not in answer.text
    answer = await trial(browser, who="alice", url="https://shared.example.com/audit")
    assert "<code>role_missing</code>" in answer.text or "<code>tenant_mismatch</code>" in answer.text
    assert "globex" not in answer.text
    answer = await trial(browser, who="alice")
    assert "<strong>Allowed</strong>" in answer.text
    assert "globex" not in answer.text


async def test_a_method_that_nobody_takes_explains_no_route_of_others(site: Site) -> None:
    """attack: the template and the methods of a hidden route, asked for with another method."""
    asked = {"method": "POST", "url": "https://shared.example.com/audit", "roles": "client"}
    answer = await trial(await signed_in(site, "tina"), **asked)
    assert answer.status == 200
    assert "method_not_allowed" in answer.text
    assert "is not one of" not in answer.text
    assert "is /audit" not in answer.text
    answer = await trial(await signed_in(site, "root"), **asked)
    assert "POST is not one of GET" in answer.text


async def test_what_the_candidate_answers_otherwise_is_said(make_site: SiteMaker) -> None:
    candidate = policy(POLICY.replace("roles: [lead], tenants: [acme]", "roles: [client], tenants: [acme]"))
    async for site in staffed(make_site, candidate=candidate):
        browser = await signed_in(site, "root")
        answer = await trial(browser, who="alice", url="https://portal.example.com/ledger")
        assert re.search(r"The candidate says</th><td>allow \(allowed\)", answer.text)
        page = await browser.get(ADMIN)
        assert candidate.version in page.text
        assert 'href="/.gateway/admin/routes/ledger"' in page.text
        assert 'href="/.gateway/admin/routes/invoice"' not in page.text
        answer = await trial(browser, who="alice")
        assert "The candidate says" not in answer.text


# What each may do


async def test_an_account_is_disabled_and_its_sessions_end(site: Site) -> None:
    alice = await signed_in(site, "alice")
    browser = await signed_in(site, "root")
    answer = await act(browser, page_of(site, "alice"), "disable")
    assert (answer.status, answer.location) == (303, page_of(site, "alice"))
    assert answer.names() == ["user.disabled", "session.revoked"]
    assert (answer.events[0].user, answer.events[0].tenant) == ("alice", "acme")
    assert (await alice.get("/.gateway/account")).location == "/.gateway/login?reason=session_expired"
    page = await browser.get(answer.location)
    assert "The account is disabled" in page.text
    assert "The account is disabled" not in (await browser.get(answer.location)).text, "said once"
    assert (await act(browser, page_of(site, "alice"), "enable")).names() == ["user.enabled"]
    await alice.sign_in("alice")


async def test_one_session_ends_and_the_other_goes_on(site: Site) -> None:
    first, second = await signed_in(site, "alice"), await signed_in(site, "alice", ip="198.51.100.1")
    browser = await signed_in(site, "root")
    answer = await act(browser, page_of(site, "alice"), "end")  # the first form: the newest session
    assert answer.names() == ["session.revoked"]
    assert (await first.get("/.gateway/account")).status == 200
    assert (await second.get("/.gateway/account")).status == 303
    answer = await act(browser, page_of(site, "alice"), "end-all")
    assert answer.events[0].count == 1
    assert (await first.get("/.gateway/account")).status == 303
    assert [notice for _, notice, _ in site.notices.told] == [Notice.SESSIONS_REVOKED, Notice.SESSIONS_REVOKED]


async def test_second_factors_are_reset_and_the_owner_is_told(site: Site) -> None:
    browser = await signed_in(site, "root")
    answer = await act(browser, page_of(site, "alice"), "factors")
    assert answer.names() == ["factor.removed"]
    assert site.store.factor(person(site, "alice")) is None
    assert (person(site, "alice"), Notice.FACTOR_REMOVED, "") in site.notices.told
    other = site.browser()
    assert (await other.give_password("alice")).location == "/.gateway/enrol"


async def test_a_tenant_administrator_manages_their_own_people(site: Site) -> None:
    browser = await signed_in(site, "tina")
    assert (await act(browser, page_of(site, "alice"), "disable")).names() == ["user.disabled"]


ACTS = ("disable", "enable", "end", "end-all", "factors")


@pytest.mark.parametrize("what", ACTS)
@pytest.mark.parametrize("victim", ["gwen", "gus", "root"])
async def test_a_tenant_administrator_touches_neither_others_nor_operators(site: Site, what: str, victim: str) -> None:
    """Forced references: the form of somebody whom they may change, sent to the address of somebody else."""
    where = {"host": "globex.example.com", "tenant": "globex"} if victim != "root" else {}
    theirs = await signed_in(site, victim, **where)
    (stored,) = site.store.sessions(now=site.now, user_id=person(site, victim))
    before = site.store.user_named(victim)
    browser = await signed_in(site, "tina")
    await signed_in(site, "alice")
    fields = (await browser.get(page_of(site, "alice"))).hidden(
        f"{page_of(site, 'alice')}/{'disable' if what == 'enable' else what}"
    )
    if what == "enable":
        await act(browser, page_of(site, "alice"), "disable")
        fields = (await browser.get(page_of(site, "alice"))).hidden(f"{page_of(site, 'alice')}/enable")
    if what == "end":
        fields["handle"] = stored.session.handle
    answer = await browser.post(f"{page_of(site, victim)}/{what}", fields)
    assert "user.disabled" not in answer.names()
    assert all(event.outcome == "failure" for event in answer.events)
    assert (await browser.get(page_of(site, victim))).status == (200 if victim == "root" else 404)
    assert site.store.user_named(victim) == before
    assert site.store.factor(person(site, victim)) is not None
    assert (await theirs.get("/.gateway/account")).status == 200


async def test_a_session_of_another_is_not_ended_under_somebody_elses_name(site: Site) -> None:
    gwen = await signed_in(site, "gwen", host="globex.example.com", tenant="globex")
    (stored,) = site.store.sessions(now=site.now, user_id=person(site, "gwen"))
    await signed_in(site, "alice")
    browser = await signed_in(site, "tina")
    answer = await act(browser, page_of(site, "alice"), "end", handle=stored.session.handle)
    assert answer.events == []
    assert (await gwen.get("/.gateway/account")).status == 200
    assert "it was gone already" in (await browser.get(page_of(site, "alice"))).text


async def test_nobody_disables_themselves_or_takes_their_own_factor(site: Site) -> None:
    browser = await signed_in(site, "root")
    fields = await browser.get(page_of(site, "alice"))
    for what in ("disable", "factors"):
        sent = fields.hidden(f"{page_of(site, 'alice')}/{what}")
        await browser.post(f"{page_of(site, 'root')}/{what}", sent)
        user = site.store.user_named("root")
        assert user is not None
        assert not user.disabled
        assert site.store.factor(user.id) is not None
    page = await browser.get(page_of(site, "root"))
    assert "Your own password and factors are on" in page.text
    assert f"{page_of(site, 'root')}/disable" not in page.text


async def test_an_act_of_an_administrator_who_lost_the_role_meanwhile_does_nothing(site: Site) -> None:
    thread = BoundedExecutor("test", threads=1, waiting=4)
    desk = PeopleDesk(site.store, keyring=site.keyring, executor=thread, asking=thread)
    asker = Administrator(user_id=person(site, "alice"), user="alice", tenant="acme", handle="s_1", is_operator=True)
    for acted in (
        await desk.set_disabled(asker, person(site, "gwen"), disabled=True, now=site.now),
        await desk.end_sessions(asker, person(site, "gwen")),
        await desk.reset_factors(asker, person(site, "gwen"), now=site.now),
        await desk.end_session(asker, person(site, "gwen"), "s_" + "0" * 32),
    ):
        assert acted.outcome == "gone"
        assert acted.events[0].outcome == "failure"
    demoted = Administrator(user_id=person(site, "tina"), user="tina", tenant="acme", handle="s_1", is_operator=True)
    assert (await desk.end_sessions(demoted, person(site, "gwen"))).outcome == "gone"


# Forms


@pytest.mark.parametrize("what", ACTS)
async def test_a_form_without_its_proof_does_nothing(site: Site, what: str) -> None:
    browser = await signed_in(site, "root")
    page = page_of(site, "alice")
    before = site.store.user_named("alice")
    assert (await browser.post(f"{page}/{what}", {"form": f"console-{what}", "form_token": "A" * 43})).location == page
    other = (await browser.get("/.gateway/logout")).hidden()
    assert (await browser.post(f"{page}/{what}", other)).location == page
    assert "The form has expired" in (await browser.get(page)).text
    assert site.store.user_named("alice") == before


async def test_a_form_of_another_site_does_nothing(site: Site) -> None:
    browser = await signed_in(site, "root")
    page = page_of(site, "alice")
    fields = (await browser.get(page)).hidden(f"{page}/disable")
    for headers in (
        {"Origin": "https://evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Mode": "cors"},
        {"Sec_Fetch_Dest": "iframe"},
    ):
        answer = await browser.post(f"{page}/disable", fields, **headers)
        assert (answer.status, answer.names(), answer.events[0].outcome) == (403, ["admin"], "failure")
    user = site.store.user_named("alice")
    assert user is not None
    assert not user.disabled


async def test_a_form_gives_nobody_a_role(site: Site) -> None:
    """Mass assignment: fields that no form has."""
    browser = await signed_in(site, "tina")
    extra = {
        "roles": "lead",
        "gateway_roles": "gateway.admin",
        "administers": "globex",
        "tenant": "globex",
        "disabled": "false",
    }
    await act(browser, page_of(site, "alice"), "disable", **extra)
    user = site.store.user_named("alice")
    assert user is not None
    assert (user.roles, user.gateway_roles, user.tenant, user.disabled) == (("client",), (), "acme", True)


async def test_only_a_form_changes_something(site: Site) -> None:
    browser = await signed_in(site, "root")
    before = site.store.user_named("alice")
    for what in ACTS:
        for method in ("GET", "HEAD", "PUT"):
            assert (await browser.send(method, f"{page_of(site, 'alice')}/{what}")).status == 404
    assert site.store.user_named("alice") == before


@pytest.mark.parametrize(
    "target", ["//evil.example", "u_1/../..", "%2F%2Fevil.example", "https:%2f%2fevil.example", "u_%0d%0aLocation:x"]
)
async def test_no_address_of_a_person_leads_elsewhere(site: Site, target: str) -> None:
    browser = await signed_in(site, "root")
    fields = (await browser.get(page_of(site, "alice"))).hidden(f"{page_of(site, 'alice')}/disable")
    answer = await browser.post(f"{ADMIN}people/{target}/disable", fields)
    assert answer.status == 404
    assert answer.location == ""


async def test_the_visits_are_counted(site: Site) -> None:
    browser, _ = await signed_in(site, "root"), await signed_in(site, "alice")
    await act(browser, page_of(site, "alice"), "end-all")
    await (await signed_in(site, "alice")).get(ADMIN)
    counted = site.counted("gateway_console_requests_total")
    assert counted == {("view",): 1, ("act",): 1, ("refused",): 1}


async def test_a_list_is_cut_where_it_is_said(site: Site) -> None:
    thread = BoundedExecutor("test", threads=1, waiting=4)
    desk = PeopleDesk(site.store, keyring=site.keyring, executor=thread, asking=thread)
    root = Administrator(user_id=person(site, "root"), user="root", tenant="acme", handle="s_1", is_operator=True)
    listing = await desk.people(root, "", start=1, size=2)
    assert isinstance(listing, Listing)
    assert ([one.name for one in listing.people], listing.total) == (["gus", "gwen"], 5)


async def test_the_operator_sees_what_browsers_told_of_a_routes_pages_and_what_to_paste(make_site: SiteMaker) -> None:
    policy = PagePolicy(
        mode="report",
        told=(
            ToldOfPages(
                kind="reported", directive="img-src", what="https://pics.example", enforced=False, times=7, last=1.8e9
            ),
            ToldOfPages(kind="script", directive="", what="/<app>.js", enforced=False, times=3, last=1.8e9),
        ),
        more=2,
        suggestion="      csp:\n        mode: report\n",
    )

    class Told:
        async def of(self, route: str, *, now: float) -> PagePolicy | None:
            return policy if route == "invoice" else None

    async for site in staffed(make_site, pages=Told()):
        page = await (await signed_in(site, "root")).get(f"{ADMIN}routes/invoice")
        assert "https://pics.example" in page.text
        assert "/&lt;app&gt;.js" in page.text
        assert "        mode: report" in page.text
        assert "What its pages run" not in (await (await signed_in(site, "root")).get(f"{ADMIN}routes/ledger")).text
        assert "pics.example" not in (await (await signed_in(site, "tina")).get(f"{ADMIN}routes/invoice")).text
