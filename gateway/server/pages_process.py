"""The pages as a child process: the aiohttp application over accounts in the state store.

It accepts on the Unix socket that the supervisor keeps, from processes of our own user alone, and
looks after the store once a minute. What a page does is `pages`' business.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from gateway.authn.password import Hasher
from gateway.exchange.errors import ConfigurationError, StoreUnavailableError
from gateway.exchange.inquiry import SOCKET_NAME
from gateway.exchange.metrics import Registry
from gateway.exchange.notice import Circumstances, Notice
from gateway.federation.sign_in import Providers
from gateway.pages.app import Dependencies, create_app
from gateway.pages.branding import Branding
from gateway.pages.console.desk import Console
from gateway.pages.look import Look
from gateway.pages.serve import accept, make_runner
from gateway.policy.roles import Roles
from gateway.post.postman import MailMetrics
from gateway.server.abuse import AbuseRules, abuse_rules
from gateway.server.bundle import Bundle, brand_of
from gateway.server.control import Boot, Dumped
from gateway.server.emergencies import EmergencyKeeper
from gateway.server.evidence import EvidenceDesk
from gateway.server.factor_rule import factor_rule, tenant_rules
from gateway.server.federation import build_providers
from gateway.server.issuer_keeper import IssuerKeeper, IssuerMetrics
from gateway.server.mailing import Mailing, build_mailing
from gateway.server.page_desk import PageDesk
from gateway.server.passwords import breach_service, password_rules
from gateway.server.portals import PortalDesk, needs_desk
from gateway.server.reload_note import read_reload_note
from gateway.server.second_factors import build_second_factors
from gateway.server.session_rules import rule_book
from gateway.server.settings import Settings
from gateway.server.state import open_state, redis_options
from gateway.server.validate import Validated, validate
from gateway.server.watch_tower import AbuseMetrics, WatchTower
from gateway.store.account_options import AccountOptions
from gateway.store.accounts import Accounts
from gateway.store.administration import PeopleDesk, console_executor
from gateway.store.breached import LocalBreachedPasswords
from gateway.store.confirmations import Confirmations
from gateway.store.executor import OverloadedError, hashing_executor, store_executor
from gateway.store.issuer_keys import IssuerKeyStore
from gateway.store.kept import KeptForms
from gateway.store.keyring import Keyring
from gateway.store.openings import Client
from gateway.store.page_counts import PageCounts
from gateway.store.places import open_places
from gateway.store.resets import Resets
from gateway.store.state import Store
from gateway.store.strays import Strays
from gateway.store.subject_events import SubjectEvents

_PROBE_S: Final = 2.0
_UPKEEP_S: Final = 60.0
_NO_ROW: Final = bytes(32)
_log = structlog.get_logger()


class _Site:
    """The application built from one bundle, with its own connection to the store."""

    def __init__(
        self,
        store: Store,
        runner: web.AppRunner,
        providers: Providers[Client] | None,
        mailing: Mailing | None,
        issuers: IssuerKeeper,
        *,
        seals: bool,
        abuse: AbuseRules,
    ) -> None:
        self.store = store
        self.seals = seals
        """Records name people under keys of their own."""
        self.abuse = abuse
        self._issuers = issuers
        self._keeping: asyncio.Task[None] | None = None
        self._providers = providers
        self.runner = runner
        self._mailing = mailing
        self._strays = Strays(store.rows, store.sealer)
        self._delivering: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Deliver mail and keep the keys of issuers from now on: requests are for this site."""
        if self._issuers.is_needed:
            self._keeping = asyncio.get_running_loop().create_task(self._issuers.keep(), name="pages.issuers")
        if self._mailing is not None:
            self._delivering = asyncio.get_running_loop().create_task(self._mailing.postman.run(), name="pages.post")

    def tell_owners(self, now: float) -> None:
        """Have people told whose sessions were tried elsewhere; runs in a thread."""
        for stray in self._strays.take(now):
            if self._mailing is not None:
                where = Circumstances(address=stray.address)
                self._mailing.tell(stray.user_id, Notice.SESSION_ELSEWHERE, where)

    async def end(self) -> None:
        """Finish what is under way and let go."""
        for task in (self._delivering, self._keeping):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        await self.runner.cleanup()
        if self._providers is not None:
            await self._providers.close()
        self.store.close()


class PagesProcess:
    """A `child.Worker` that serves the pages."""

    def __init__(self, boot: Boot) -> None:
        self._boot = boot
        self._listener = socket.socket(fileno=boot.listeners[0].fd)
        self._registry = Registry()
        self._issuer_metrics = IssuerMetrics(self._registry)
        self._upkeep_expired = self._registry.counter(
            "gateway_sessions_expired_total", "Sessions removed because they were over."
        )
        self._store_failures = self._registry.counter(
            "gateway_store_failures_total", "Times the state store could not be used by its caretaker."
        )
        self._store_operations = self._registry.histogram(
            "gateway_store_operation_duration_seconds", "Time that the state store took.", ("store", "operation")
        )
        self._mail_metrics = MailMetrics(self._registry)
        self._hashing = hashing_executor()
        self._storing = store_executor()
        self._administering = console_executor()
        self._hasher = Hasher()
        self._emergencies = EmergencyKeeper(boot, self._storing)
        self._tower = WatchTower(boot, self._storing, AbuseMetrics(self._registry))
        self._look: tuple[tuple[Branding, str, dict[str, bytes]], Look] | None = None
        self._site: _Site | None = None
        self._prepared: _Site | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._store_problem = ""
        self._next_upkeep = 0.0

    async def start(self) -> None:
        """Open the store and begin to accept. Raises ConfigurationError, StoreUnavailableError, KeyringError."""
        self._loop = asyncio.get_running_loop()
        self._site = self._build(self._boot.bundle)
        await self._site.runner.setup()
        self._site.begin()
        self._tower.adopt(self._site.store, self._site.abuse)
        self._spawn(self._tower.run(), "pages.watch")
        self._spawn(accept(self._listener, self._server), "pages.accept")
        self._spawn(self._care(), "pages.care")

    def prepare(self, bundle: Bundle) -> None:
        """Build another application beside the serving one; runs in a thread."""
        if self._loop is None:
            raise ConfigurationError(("pages: not started",))
        site = self._build(bundle)
        asyncio.run_coroutine_threadsafe(site.runner.setup(), self._loop).result()
        if self._prepared:  # an earlier reload that another process refused
            asyncio.run_coroutine_threadsafe(self._prepared.end(), self._loop).result()
        self._prepared = site

    def commit(self) -> None:
        """Send new connections to the prepared application; the old one finishes what it has.

        Raises ConfigurationError when nothing was prepared.
        """
        if self._prepared is None or self._site is None:
            raise ConfigurationError(("nothing was prepared",))
        self._spawn(self._site.end(), "pages.end")
        self._site, self._prepared = self._prepared, None
        self._site.begin()
        self._tower.adopt(self._site.store, self._site.abuse)

    def dump(self) -> Dumped:
        """Tell what was counted and whether the store can be used."""
        return Dumped(samples=self._registry.dump(), health={"store": self._store_problem})

    def hurry(self, seconds: float) -> None:
        """Take no longer than it was told at first: a moment."""

    async def serve(self) -> None:
        """Accept; nobody knew the socket before."""

    def share_limits(self, *, is_shared: bool) -> None:
        """Count no limits."""

    def last_requests(self) -> None:
        """Close no connection: the edges' requests come over these, to their end."""

    async def drain(self, seconds: float, *, keeps_idle: bool) -> None:  # noqa: ARG002 - the edges wait for nothing
        """Accept nothing new, finish what is under way."""
        for task in self._tasks:
            task.cancel()
        self._listener.close()
        with suppress(TimeoutError, StoreUnavailableError, OverloadedError):
            async with asyncio.timeout(seconds):
                await self._tower.remember()
        if self._site:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._site.end()

    def _build(self, bundle: Bundle) -> _Site:
        validated = validate(bundle, now=time.time())
        if validated.keyring is None:
            raise ConfigurationError(("pages: the keyring is missing",))
        redis = redis_options(validated.settings, bundle.secrets)
        observe = partial(self._observe, "redis" if redis else "sqlite")
        store = open_state(validated.settings, validated.keyring, redis, observe=observe)
        try:
            return self._site_over(store, validated, validated.keyring)
        except BaseException:
            store.close()
            raise

    def _site_over(self, store: Store, validated: Validated, keyring: Keyring) -> _Site:
        bundle = validated.bundle
        mailing = self._mailing(validated, store)
        accounts = self._accounts(validated, keyring, store, mailing)
        providers = build_providers(
            validated.settings,
            bundle,
            store=store,
            keyring=keyring,
            executor=self._storing,
            openings=accounts.openings,
            registry=self._registry,
        )
        application = self._application(validated, keyring, store, accounts, providers, mailing=mailing)
        issuers = IssuerKeeper(
            validated.settings,
            bundle,
            store=IssuerKeyStore(store.rows, store.sealer),
            executor=self._storing,
            metrics=self._issuer_metrics,
        )
        seals = validated.settings.audit.privacy.subject_keys
        abuse = abuse_rules(validated.settings, keyring)
        return _Site(store, make_runner(application), providers, mailing, issuers, seals=seals, abuse=abuse)

    def _mailing(self, validated: Validated, store: Store) -> Mailing | None:
        return build_mailing(
            validated.settings,
            validated.bundle,
            validated.texts,
            store=store,
            threads=self._storing.run,
            metrics=self._mail_metrics,
            place=_place(validated.settings),
        )

    def _resets(
        self, validated: Validated, keyring: Keyring, store: Store, accounts: Accounts, mailing: Mailing | None
    ) -> Resets | None:
        if mailing is None or not validated.settings.resets_by_mail:
            return None
        return Resets(
            store,
            options=accounts.options,
            keyring=keyring,
            outbox=mailing.outbox,
            passwords=accounts.passwords,
            tell=mailing.tell,
            store_executor=self._storing,
            holds=self._tower.holds,
        )

    def _confirmations(
        self, keyring: Keyring, store: Store, accounts: Accounts, mailing: Mailing | None
    ) -> Confirmations | None:
        if mailing is None:
            return None
        return Confirmations(
            store, accounts.openings, keyring=keyring, outbox=mailing.outbox, store_executor=self._storing
        )

    def _accounts(self, validated: Validated, keyring: Keyring, store: Store, mailing: Mailing | None) -> Accounts:
        settings = validated.settings
        return Accounts(
            store,
            options=account_options(settings, validated.table.closure),
            keyring=keyring,
            hasher=self._hasher,
            breached=None if settings.passwords.breach_check == "off" else LocalBreachedPasswords(settings.state_dir),
            online=breach_service(settings),
            country=_country(settings),
            tell=None if mailing is None else mailing.tell,
            store_executor=self._storing,
            hashing_executor=self._hashing,
            holds=self._tower.holds,
        )

    def _application(
        self,
        validated: Validated,
        keyring: Keyring,
        store: Store,
        accounts: Accounts,
        providers: Providers[Client] | None,
        *,
        mailing: Mailing | None,
    ) -> web.Application:
        settings, look = validated.settings, self._look_of(validated)
        return create_app(
            Dependencies(
                accounts=accounts,
                kept=KeptForms(store, keyring=keyring, executor=self._storing),
                client=Client,
                flow_key=keyring.derive("flow"),
                registry=self._registry,
                look=look,
                looks={
                    name: look.wearing(brand_of(validated.bundle, settings, name))
                    for name, tenant in settings.tenants.items()
                    if tenant.branding is not None
                },
                place=_place(settings),
                idle_warning_s=settings.sessions.warn,
                portals=PortalDesk(settings, validated.bundle, store, keyring, self._storing)
                if needs_desk(validated)
                else None,
                recovery_codes="recovery" in settings.mfa.methods,
                factors=build_second_factors(
                    validated,
                    keyring=keyring,
                    store=store,
                    accounts=accounts,
                    executor=self._storing,
                    tell=None if mailing is None else mailing.tell,
                ),
                totp="totp" in settings.mfa.methods,
                remember_device_s=settings.mfa.remember_device,
                offers_factor=settings.mfa.required == "offered",
                never_remembered=accounts.options.rule.never_remembered,
                min_password_characters=settings.passwords.min_length,
                min_password_characters_alone=password_rules(settings).least(alone=settings.mfa.required != "always"),
                resets=self._resets(validated, keyring, store, accounts, mailing),
                confirmations=self._confirmations(keyring, store, accounts, mailing),
                passwords=settings.identity.passwords,
                password_tenants=settings.identity.password_tenants,
                providers=providers,
                console=self._console(validated, keyring, store, mailing),
                watch=self._tower.take,
                seal_events=SubjectEvents(store.subjects, self._storing).seal
                if settings.audit.privacy.subject_keys
                else None,
            )
        )

    def _console(self, validated: Validated, keyring: Keyring, store: Store, mailing: Mailing | None) -> Console | None:
        """Make the console, where the operator wants one."""
        rules = validated.settings.admin.console
        if rules is None or not rules.enabled:
            return None
        return Console(
            people=PeopleDesk(
                store,
                keyring=keyring,
                executor=self._administering,
                asking=self._storing,
                tell=None if mailing is None else mailing.tell,
            ),
            evidence=EvidenceDesk(
                Path(self._boot.run_dir) / SOCKET_NAME,
                store,
                badge=self._boot.inquiry_badge,
                executor=self._administering,
                seals=validated.settings.audit.privacy.subject_keys,
                anonymous_s=validated.settings.audit.privacy.anonymous,
            ),
            table=validated.table,
            hosts=validated.settings.hosts,
            warnings=validated.warnings,
            networks=rules.networks,
            mfa_age_s=rules.mfa_age,
            since=time.time(),
            last_reload=partial(read_reload_note, Path(self._boot.run_dir)),
            pages=PageDesk(PageCounts(store.rows, store.sealer), validated.inspections, executor=self._administering),
            candidate=validated.candidate,
        )

    def _observe(self, store: str, seconds: float, operation: str) -> None:
        self._store_operations.observe(seconds, (store, operation))

    def _look_of(self, validated: Validated) -> Look:
        """Compile the templates, unless they look as before."""
        settings, catalogues = validated.settings, validated.bundle.catalogues
        branding, language = settings.branding.values(validated.bundle.logo or b""), settings.texts.language
        if self._look is None or self._look[0] != (branding, language, catalogues):
            self._look = (branding, language, catalogues), Look(branding, validated.texts, language)
        return self._look[1]

    def _server(self) -> web.Server | None:
        """Where new connections go."""
        return self._site.runner.server if self._site else None

    async def _care(self) -> None:
        """Look after the store, for ever: see whether it answers, remove what is over."""
        while True:
            if self._site:
                try:
                    await self._look_after(self._site, time.time())
                except StoreUnavailableError as error:
                    if not self._store_problem:
                        _log.error("store.degraded", reason=str(error))
                    self._store_problem = str(error)
                    self._store_failures.inc()
                except OverloadedError:
                    pass  # attack: a flood of sign-ins fills the queue; what is over is removed after it
                except Exception:  # noqa: BLE001 - a store that a reload closed; nobody else removes what is over
                    _log.exception("pages.care_failed")
                else:
                    if self._store_problem:
                        _log.info("store.recovered")
                    self._store_problem = ""
            await asyncio.sleep(_PROBE_S)

    async def _look_after(self, site: _Site, now: float) -> None:
        await self._storing.run(partial(site.store.session, _NO_ROW, now))
        if now >= self._next_upkeep:
            upkeep = await self._storing.run(partial(site.store.maintain, now=now))
            self._upkeep_expired.inc(by=upkeep.expired)
            self._next_upkeep = now + _UPKEEP_S
            # attack: a store that takes no change, and the log gets a record of each of these with every probe
            await self._emergencies.end_those_over(site.store, seals=site.seals, now=now)
        await self._storing.run(partial(site.tell_owners, now))

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _place(settings: Settings) -> Callable[[str], str] | None:
    """Open the operator's database of places, if there is one."""
    return open_places(settings.geo.database).name if settings.geo.database else None


def _country(settings: Settings) -> Callable[[str], str] | None:
    """Open it to tell countries, for sessions that remember theirs."""
    return open_places(settings.geo.database).country if settings.geo.database else None


def account_options(settings: Settings, roles: Roles) -> AccountOptions:
    """Say what gateway.yaml says about accounts, in the store's words."""
    return AccountOptions(
        issuer=settings.public_url.host,
        rules=rule_book(settings, roles),
        factor_rule=factor_rule(settings.mfa, roles),
        tenants=frozenset(settings.tenants),
        password_tenants=settings.identity.password_tenants,
        tenant_rules=tenant_rules(settings.tenants, settings.mfa, roles),
        mfa_always=settings.mfa.required == "always",
        recovery_codes="recovery" in settings.mfa.methods,
        passwords=password_rules(settings),
    )
