"""What people bring along to portals, put together for the pages out of the state and gateway.yaml."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final

import structlog

from gateway.edge.escorts import filled
from gateway.exchange.errors import GatewayError
from gateway.exchange.session import Session
from gateway.pages.portal_form import Client, FormRules, Outcome, PortalServer, sign_on_by_form, sign_out_there
from gateway.pages.portal_seams import Attempted, Portal, Standing
from gateway.server.bundle import Bundle
from gateway.server.fields import UnixSocket
from gateway.server.sections.portal import VAULTED
from gateway.server.settings import Settings
from gateway.server.settings import Upstream as UpstreamSettings
from gateway.server.upstream import client_context, path_mappings, shared_password, vault_rules
from gateway.server.validate import Validated
from gateway.session.vault import Owner, VaultRules
from gateway.store.executor import BoundedExecutor
from gateway.store.keyring import Keyring
from gateway.store.portal_accounts import Known, PortalAccounts
from gateway.store.state import Store
from gateway.store.vaults import Vaults
from gateway.wire.rewriting import PathMapping, Places
from gateway.wire.set_cookie import Cookie, read_set_cookie

CLAIM_S: Final = 30.0
"""An attempt is over by then: a sign-on takes 25 s at most."""
BUSY_WAIT_S: Final = 8.0
"""How long a second tab waits for the attempt of the first."""
_POLL_S: Final = 0.2
_MOMENT_S: Final = 60.0
"""A person who was signed on so long ago is not signed on again."""
_log = structlog.get_logger()


class _Site:
    """One portal as the pages speak to it."""

    def __init__(self, name: str, own: UpstreamSettings, bundle: Bundle, mapping: PathMapping | None) -> None:
        sign_on = own.sign_on
        assert sign_on is not None  # noqa: S101 - asked only for those
        self.portal = Portal(name, asks_username=sign_on.username == VAULTED, asks_password=sign_on.password is None)
        self.username = "" if sign_on.username == VAULTED else sign_on.username
        self.password = shared_password(name, bundle)
        self.vault_rules: VaultRules = vault_rules(own, "all")
        self.every_s = sign_on.detect.at_most_every if sign_on.detect is not None else _MOMENT_S
        self.mapping = mapping
        self.form = _form_rules(name, own, bundle) if sign_on.type == "form" else None

    def cookies(self, set_cookies: tuple[tuple[str, str], ...], client: Client, now: float) -> list[Cookie]:
        """Read what the portal set, by the names under which the browser would have got it."""
        places = Places(
            scheme=client.scheme.encode("ascii"),
            authority=client.authority.encode("ascii"),
            upstream_authorities=frozenset(server.authority.encode("ascii") for server in self.form.servers)
            if self.form is not None
            else frozenset(),
            mapping=self.mapping,
        )
        found = []
        for target, value in set_cookies:
            path = self.mapping.public(target.partition("?")[0]) if self.mapping is not None else target
            cookie = read_set_cookie(
                places.cookie(value.encode("utf-8", "surrogateescape")),
                host=client.host,
                path=path.encode("utf-8"),
                secure=client.scheme == "https",
                now=now,
            )
            if cookie is not None:
                found.append(cookie)
        return found


def _form_rules(name: str, own: UpstreamSettings, bundle: Bundle) -> FormRules:
    sign_on = own.sign_on
    assert sign_on is not None  # noqa: S101 - asked only for those
    literal = own.host if own.host not in ("preserve", "rewrite") else ""
    is_tls = own.servers[0].url.scheme == "https"
    fields: dict[str, str] = {word: field for field, word in sign_on.fields.items()}
    success = sign_on.success
    return FormRules(
        servers=tuple(
            PortalServer("http", "", 0, str(server.url.path), literal or server.url.authority)
            if isinstance(server.url, UnixSocket)
            else PortalServer(server.url.scheme, server.url.host, server.url.port, "", literal or server.url.authority)
            for server in own.servers
        ),
        preserve_host=own.host == "preserve",
        page=sign_on.page or "/",
        form=sign_on.form or "",
        fields=fields,
        values=dict(sign_on.values),
        statuses=success.status,
        location=success.location or "",
        not_location=success.not_location or "",
        cookie=success.cookie or "",
        sign_out=sign_on.sign_out or "",
        timeout_s=sign_on.timeout,
        tls=client_context(own, bundle.authorities.get(name), bundle.upstream_certificates.get(name))
        if is_tls
        else None,
        server_name=own.tls.server_name or "",
    )


def needs_desk(validated: Validated) -> bool:
    """Whether anything is kept for people at portals that the pages must know of."""
    return any(
        own.sign_on is not None or own.cookies.vault != "none" for own in validated.settings.upstreams.values()
    ) or any(route.vault not in ("", "none") for route in validated.table.routes.values())


class PortalDesk:
    """The `Portals` of the pages. Belongs to one event loop."""

    def __init__(
        self, settings: Settings, bundle: Bundle, store: Store, keyring: Keyring, executor: BoundedExecutor
    ) -> None:
        mappings = path_mappings(settings.upstreams)
        self._sites: Mapping[str, _Site] = {
            name: _Site(name, own, bundle, mappings.get(name))
            for name, own in settings.upstreams.items()
            if own.sign_on is not None
        }
        self._vaults = Vaults(store.rows, store.sealer, keyring)
        self._accounts = PortalAccounts(store.rows, store.sealer)
        self._run = executor.run
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    def portal(self, name: str) -> Portal | None:
        """Return a portal that people are signed on to."""
        site = self._sites.get(name)
        return site.portal if site is not None else None

    async def sign_on(self, name: str, token: bytes, session: Session, client: Client, *, now: float) -> Attempted:
        """Sign a person on, unless they are, or must not be tried."""
        site = self._sites[name]
        key = (session.user_id, name)
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                return await self._sign_on(site, Owner(token, session, name), client, now)
        finally:
            if not lock.locked():
                self._locks.pop(key, None)

    async def _sign_on(self, site: _Site, owner: Owner, client: Client, now: float) -> Attempted:
        session, name = owner.session, owner.upstream
        vault = await self._run(partial(self._vaults.read, owner, now=now))
        if site.form is not None and now - vault.signed_on < site.every_s:
            return Attempted(Standing.KNOWN)  # another tab was faster
        known = await self._run(
            partial(
                self._accounts.known,
                session.user_id,
                name,
                username=filled(site.username, session),
                password=site.password,
            )
        )
        if known is None:
            return Attempted(Standing.UNTOLD)
        if known.standing == "refused":
            return Attempted(Standing.REFUSED)
        if site.form is None:
            return Attempted(Standing.KNOWN)  # name and password go along with each request
        return await self._attempt(site, owner, client, known, now)

    async def _attempt(self, site: _Site, owner: Owner, client: Client, known: Known, now: float) -> Attempted:
        session, name = owner.session, owner.upstream
        assert site.form is not None  # noqa: S101 - asked by the caller
        claim = partial(self._accounts.claim, session.user_id, name, known.digest)
        verdict = await self._run(partial(claim, now=now, until=now + CLAIM_S))
        waited = 0.0
        while verdict == "busy" and waited < BUSY_WAIT_S:  # another session of the person, or another node
            await asyncio.sleep(_POLL_S)
            waited += _POLL_S
            verdict = await self._run(partial(claim, now=now + waited, until=now + waited + CLAIM_S))
        if verdict != "granted":
            return Attempted(Standing.BUSY if verdict == "busy" else Standing.REFUSED)
        answered = await sign_on_by_form(site.form, client, username=known.username, password=known.password, now=now)
        if answered.outcome is Outcome.UNKNOWN:  # not settled: the store counts how often that may happen
            return Attempted(Standing.UNAVAILABLE, was_tried=True)
        accepted = {Outcome.ACCEPTED: True, Outcome.REFUSED: False}.get(answered.outcome)
        if accepted:
            cookies = site.cookies(answered.set_cookies, client, now)
            await self._run(partial(self._vaults.change, owner, cookies, site.vault_rules, now=now, signed_on=now))
        settle = partial(self._accounts.settle, session.user_id, name, known.digest, accepted=accepted, now=now)
        await self._run(settle)
        if answered.outcome is Outcome.NO_FORM:
            _log.warning("portal.no_form", upstream=name, page=site.form.page)
        if accepted is None:
            return Attempted(Standing.UNAVAILABLE, was_tried=True)
        return Attempted(Standing.KNOWN if accepted else Standing.REFUSED, was_tried=True)

    async def tell(self, name: str, session: Session, *, username: str, password: str, now: float) -> None:
        """Keep what a person is signed on with."""
        await self._run(
            partial(self._accounts.set, session.user_id, name, username=username, password=password, now=now)
        )

    async def forget(self, name: str, session: Session) -> bool:
        """Forget it; False when there was nothing."""
        return await self._run(partial(self._accounts.delete, session.user_id, name))

    async def sign_out(self, token: bytes, session: Session, client: Client, *, now: float) -> None:
        """End the person's sessions at the portals that say how. What a portal answers is its own business."""
        try:
            async with asyncio.TaskGroup() as group:
                for name, site in self._sites.items():
                    if site.form is not None and site.form.sign_out:
                        group.create_task(self._sign_out(site.form, Owner(token, session, name), client, now))
        except* GatewayError as errors:
            _log.warning("portal.not_signed_out", session=session.handle, reason=str(errors.exceptions[0]))

    async def _sign_out(self, rules: FormRules, owner: Owner, client: Client, now: float) -> None:
        vault = await self._run(partial(self._vaults.read, owner, now=now))
        if vault.signed_on and not await sign_out_there(rules, client, vault, now=now):
            _log.warning("portal.not_signed_out", session=owner.session.handle, upstream=owner.upstream)

    async def carry(self, old: bytes, new: bytes, *, now: float) -> None:
        """Take what is kept along to the session's new cookie value."""
        await self._run(partial(self._vaults.move, old, new, now=now))
