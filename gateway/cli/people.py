"""Seals whom a record of an operator's act names, under the key of that person."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from gateway.audit.record import Stamp
from gateway.audit.subject import CHANGED_NAME, CHANGED_UID, RESOURCE_UID, Sealing, seal_fields
from gateway.ledger.producer import Build
from gateway.store.state import Store

PEOPLE: Final = frozenset(("user", "owner"))
"""Types of resources whose uid is a person's id."""


class Discretion:
    """Wraps the builders of records so that they name people under their keys alone. Raises `StoreUnavailableError`."""

    def __init__(self, store: Store, now: float) -> None:
        self._store = store
        self._now = now

    def account(self, build: Build, user_id: str, tenant: str) -> Build:
        """Seal the account that a record is about."""
        sealing = self._of(user_id, tenant)
        return partial(_sealed, build, {CHANGED_UID: sealing, CHANGED_NAME: sealing})

    def resources(self, build: Build, resources: Sequence[tuple[str, str]], tenant: str) -> Build:
        """Seal the ids of people among what a record is about."""
        people = {uid: self._of(uid, tenant) for kind, uid in resources if kind in PEOPLE}
        return partial(_sealed_people, build, people) if people else build

    def _of(self, user_id: str, tenant: str) -> Sealing:
        user = self._store.user(user_id)
        subject = self._store.subjects.of(user_id, tenant if user is None else user.tenant, now=self._now)
        return Sealing(subject, os.urandom)


def _sealed(build: Build, fields: Mapping[str, Sealing], stamp: Stamp) -> dict[str, Any]:
    return seal_fields(build(stamp), fields)


def _sealed_people(build: Build, people: Mapping[str, Sealing], stamp: Stamp) -> dict[str, Any]:
    record = dict(build(stamp))
    record["resources"] = [_sealed_person(resource, people) for resource in record.get("resources", [])]
    return record


def _sealed_person(resource: Mapping[str, Any], people: Mapping[str, Sealing]) -> dict[str, Any]:
    sealing = people.get(resource.get("uid", "")) if resource.get("type") in PEOPLE else None
    return dict(resource) if sealing is None else {**resource, "uid": sealing.value(RESOURCE_UID, resource["uid"])}
