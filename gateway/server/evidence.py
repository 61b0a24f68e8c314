"""The audit log as the console sees it: questions go to the custodian, and what it answers is opened here.

The custodian decides which records leave and records every question; it has no key of a person. This process has no key of the log,
and opens what is sealed with the keys of people: for an administrator of one organisation with those of its people alone.
"""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import orjson
import structlog

from gateway.audit.subject import USER_NAME, USER_UID, Keys, Sealing, reveal
from gateway.authn.name import InvalidNameError, canonical_name
from gateway.exchange.administration import Administrator
from gateway.exchange.inquiry import (
    LENGTH,
    MAX_ANSWER_BYTES,
    Answer,
    Asker,
    InquiryError,
    Question,
    Row,
    Said,
    Sealed,
    Wanted,
    Whom,
    pack,
    parse_answer,
)
from gateway.exchange.stream import Stream
from gateway.exchange.subject import ERASED, RESTRICTED, SEALED, SubjectKey
from gateway.pages.console.desk import Findings, Found, Sought
from gateway.store.executor import BoundedExecutor
from gateway.store.records import User
from gateway.store.state import Store

CONNECT_S: Final = 2.0
LONGEST_S: Final = 60.0
"""The custodian ends every question before."""
_MOST_TOKENS: Final = 64
_QUERY: Final = "unmapped.gw.query"
_log = structlog.get_logger("gateway.audit")


class EvidenceDesk:
    """All of it, for one process. Methods raise `StoreUnavailableError` and `OverloadedError`."""

    __slots__ = ("_anonymous_s", "_badge", "_path", "_run", "_seals", "_store")

    def __init__(
        self,
        path: Path,
        store: Store,
        *,
        badge: bytes,
        executor: BoundedExecutor,
        seals: bool,
        anonymous_s: float,
    ) -> None:
        """Ask at the socket `path`.

        Args:
            path: of the custodian's socket.
            store: where the keys of people are.
            badge: what the custodian wants to see.
            executor: of threads that may wait for the store.
            seals: whether the log names people under their keys.
            anonymous_s: how long after its day the key of strangers is kept.

        """
        self._path = path
        self._badge = badge
        self._store = store
        self._run = executor.run
        self._seals = seals
        self._anonymous_s = anonymous_s

    async def search(self, asker: Administrator, request_id: str, sought: Sought, *, start: int, size: int) -> Findings:
        """Return the newest records that fit, but for the first `start`."""
        question = await self._run(partial(self._question, "search", asker, request_id, sought, start=start, size=size))
        return await self._ask(asker, question)

    async def export(self, asker: Administrator, request_id: str, sought: Sought) -> Findings:
        """Return every record that fits, or none where they are too many."""
        return await self._ask(asker, await self._run(partial(self._question, "export", asker, request_id, sought)))

    async def record(self, asker: Administrator, request_id: str, stream: Stream, index: int) -> Findings:
        """Return one record."""
        question = await self._run(
            partial(self._question, "record", asker, request_id, Sought(), stream=stream, index=index)
        )
        return await self._ask(asker, question)

    async def proof(self, asker: Administrator, request_id: str) -> Findings:
        """Say what can be proven of each stream."""
        return await self._ask(asker, await self._run(partial(self._question, "proof", asker, request_id, Sought())))

    async def _ask(self, asker: Administrator, question: Question) -> Findings:
        try:
            answer = await ask(self._path, question, badge=self._badge)
        except (OSError, TimeoutError, EOFError, InquiryError) as error:
            _log.warning("evidence.away", reason=str(error) or type(error).__name__)
            return Findings(status="away")
        found = await self._run(partial(self._opened, asker, answer)) if answer.rows else ()
        return Findings(
            status=answer.status,
            found=found,
            more=answer.more,
            is_damaged=answer.is_damaged,
            standings=answer.standings,
            is_witnessed=answer.is_witnessed,
        )

    # Everything below runs in the console's thread.

    def _question(
        self,
        about: Literal["search", "export", "record", "proof"],
        asker: Administrator,
        request_id: str,
        sought: Sought,
        **more: Any,
    ) -> Question:
        kind, _, uid = sought.resource.partition("/")
        wanted = Wanted(
            since=sought.since,
            until=sought.until,
            streams=sought.streams,
            person=self._whom(asker, sought.person, "user") if sought.person else None,
            resource_type=kind,
            resource=self._whom(asker, uid, "resource") if kind and uid else None,
            request_id=sought.request_id,
            decision=sought.decision,
        )
        return Question(about=about, asker=self._asker(asker, request_id), wanted=wanted, **more)

    def _asker(self, asker: Administrator, request_id: str) -> Asker:
        user_id: Said = asker.user_id
        user: Said = asker.user
        if self._seals:
            key = self._store.subjects.of(asker.user_id, asker.tenant, now=time.time())
            user_id, user = _sealed(key, USER_UID, asker.user_id), _sealed(key, USER_NAME, asker.user)
        return Asker(
            user_id=user_id,
            user=user,
            tenant=asker.tenant,
            is_operator=asker.is_operator,
            session=asker.handle,
            request_id=request_id,
        )

    def _whom(self, asker: Administrator, name: str, member: str) -> Whom:
        """Say under which names and pseudonyms records know somebody; people of others are nobody here."""
        user = self._account(name)
        if user is not None and not asker.sees(user.tenant):
            user = None
        names = (name,) if user is None else tuple(dict.fromkeys((name, user.id, user.name)))
        known = [
            stored for each in names for stored in self._store.subjects.of_person(each) if asker.sees(stored.tenant)
        ]
        said: Said = name
        if self._seals:
            key = known[0].subject if known else None
            if key is None and user is not None:
                key = self._store.subjects.of(user.id, user.tenant, now=time.time())
            if key is None and member == "user":  # a name that is nobody's was perhaps somebody's who is erased
                key = self._store.subjects.of_nobody(now=time.time(), kept_s=self._anonymous_s)
            said = name if key is None else _sealed(key, f"{_QUERY}.{member}", name)
        return Whom(said=said, names=names, tokens=tuple(stored.token.hex() for stored in known[:_MOST_TOKENS]))

    def _account(self, name: str) -> User | None:
        user = self._store.user(name)
        if user is None:
            try:
                user = self._store.user_named(canonical_name(name))
            except InvalidNameError:
                return None
        return user

    def _opened(self, asker: Administrator, answer: Answer) -> tuple[Found, ...]:
        keys = self._keys(asker)
        return tuple(
            Found(
                stream=row.stream,
                index=row.index,
                origin=answer.origins.get(row.stream.value, ""),
                taken_in_ns=row.taken_in_ns,
                record=reveal(_record_of(row), keys),
            )
            for row in answer.rows
        )

    def _keys(self, asker: Administrator) -> Keys:
        """Return what finds keys; those of another organisation's people stay where they are."""
        now = time.time()
        if asker.is_operator:
            return self._store.subjects.finder(now=now)
        known: dict[str, SubjectKey | str] = {}

        def find(token: str) -> SubjectKey | str:
            if token not in known:
                known[token] = self._seen(asker, token, now)
            return known[token]

        return find

    def _seen(self, asker: Administrator, token: str, now: float) -> SubjectKey | str:
        try:
            raw = bytes.fromhex(token)
        except ValueError:
            return ERASED
        stored = self._store.subjects.of_tokens((raw,), now=now).get(raw)
        if stored is None:
            return ERASED
        if not asker.sees(stored.tenant):
            return SEALED  # attack: a record of ours names somebody of theirs
        return RESTRICTED if stored.restricted else stored.subject


async def ask(path: Path, question: Question, *, badge: bytes) -> Answer:
    """Put a question to the custodian. Raises `OSError`, `TimeoutError`, `EOFError`, `InquiryError`."""
    async with asyncio.timeout(CONNECT_S):
        reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        async with asyncio.timeout(LONGEST_S):
            writer.write(badge + pack(question))
            await writer.drain()
            (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            if size > MAX_ANSWER_BYTES:
                raise InquiryError(f"an answer of {size} bytes")
            return parse_answer(await reader.readexactly(size))
    finally:
        writer.close()


def _sealed(key: SubjectKey, field: str, text: str) -> Sealed:
    value = Sealing(key, os.urandom).value(field, text)
    return Sealed(c=value["c"], t=value["t"])


def _record_of(row: Row) -> dict[str, Any]:
    try:
        read = orjson.loads(row.payload)
    except orjson.JSONDecodeError:
        read = None
    return read if isinstance(read, dict) else {"raw": row.payload.decode("utf-8", "backslashreplace")}
