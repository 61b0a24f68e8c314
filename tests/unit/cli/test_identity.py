"""`gateway identity` and what `doctor` says of providers."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gateway.authn.claims import map_claims
from gateway.server.federation import claim_table
from gateway.server.settings import load_settings
from gateway.store.executor import store_executor
from gateway.store.federated import FederatedStore, SignInNote
from gateway.store.keyring import Keyring
from tests.fakes.identity_provider import IdentityProvider, identity_provider
from tests.unit.cli.conftest import House

LOCAL = "    - {id: local, type: password}\n"
PROVIDER = """\
    - id: okta
      type: oidc
      issuer: %s
      client_id: portal
      client_secret: {file: config/okta}
      roles: {claim: groups, grant: {portal-users: client}}
      tenant: main
      email: {claim: email, require_verified: false}
"""
CLAIMS = {
    "iss": "https://acme.okta.com",
    "sub": "00u1",
    "preferred_username": "Carol",
    "groups": ["portal-users", "everybody"],
    "phone_number": "+1 555 0100",
}


@pytest.fixture
def federated(house: House) -> House:
    configure(house, "https://acme.okta.com")
    return house


def configure(house: House, issuer: str) -> None:
    path = house.directory / "gateway.yaml"
    path.write_text(path.read_text("utf-8").replace(LOCAL, LOCAL + PROVIDER % issuer), "utf-8")
    secret = house.directory / "config" / "okta"
    secret.write_text("the secret of the client\n", "utf-8")
    secret.chmod(0o600)


def note(house: House, outcome: str, **claims: Any) -> None:
    """Remember a sign-in as the gateway does."""
    house.run("user", "list")  # makes the state
    store = house.store()
    storing = store_executor()
    settings = load_settings((house.directory / "gateway.yaml").read_text("utf-8"), house.directory / "gateway.yaml")
    mapped = map_claims(CLAIMS | claims, claim_table(settings.identity.federated[0]))
    keyring = Keyring.load(house.directory / "config" / "keyring.json")
    federated = FederatedStore(store, keyring=keyring, executor=storing, longest_s=3600)
    said = SignInNote(
        provider="okta",
        at=time.time(),
        request_id="01REQUEST",
        outcome=outcome,
        fault=str(getattr(mapped, "fault", "")),
        user=getattr(mapped, "user", ""),
        tenant=getattr(mapped, "tenant", ""),
        roles=getattr(mapped, "roles", ()),
        claims=CLAIMS | claims,
        steps=mapped.steps,
        client_ip="203.0.113.7",
    )
    asyncio.run(federated.note(said))
    storing.close()
    store.close()


def test_last_sign_in_shows_claims_steps_and_outcome(federated: House) -> None:
    note(federated, "signed_in")
    text = federated.run("identity", "last", "--provider", "okta").output
    assert "signed_in  carol of main  from 203.0.113.7  request 01REQUEST" in text
    assert 'claim groups = ["portal-users", "everybody"]' in text
    assert 'role: groups = "portal-users" -> client' in text
    assert 'role: groups = "everybody" -> nothing' in text


def test_claims_that_decide_nothing_are_masked_unless_named(federated: House) -> None:
    note(federated, "signed_in")
    assert "555 0100" not in federated.run("identity", "last", "--provider", "okta").output
    shown = federated.value("identity", "last", "--provider", "okta", "--reveal", "phone_number")
    assert shown["sign_ins"][0]["claims"]["phone_number"] == "+1 555 0100"
    resources = [record["resources"] for name, record in federated.records() if name == "identity last"]
    assert "phone_number" in str(resources[-1])


def test_refused_person_is_found_by_the_name_they_came_with(federated: House) -> None:
    note(federated, "identity_refused", groups=["nobody"])
    note(federated, "signed_in", preferred_username="dave")
    found = federated.value("identity", "last", "--provider", "okta", "--user", "CAROL")["sign_ins"]
    assert [(item["outcome"], item["fault"]) for item in found] == [("identity_refused", "no_role")]
    text = federated.run("identity", "last", "--provider", "okta", "--user", "carol").output
    assert "why: no_role. No value of the claim is in roles.grant" in text


def test_claims_cannot_drive_a_terminal(federated: House) -> None:
    note(federated, "signed_in", groups=["portal-users", "\x1b[2J\u202eevil"])
    assert "\x1b" not in federated.run("identity", "last", "--provider", "okta").output


def test_nobody_yet_and_nobody_there(federated: House) -> None:
    assert "Nobody signed in there" in federated.run("identity", "last", "--provider", "okta").output
    result = federated.run("identity", "last", "--provider", "oktra")
    assert (result.exit_code, "there are: okta" in result.output) == (1, True)


def test_try_maps_a_file(federated: House) -> None:
    path = federated.directory / "claims.json"
    path.write_text(json.dumps(CLAIMS), "utf-8")
    result = federated.run("identity", "try", "--provider", "okta", "--claims", str(path))
    assert result.exit_code == 0
    assert "carol of main signs in as client" in result.output
    path.write_text(json.dumps(CLAIMS | {"groups": None, "hasgroups": True}), "utf-8")
    result = federated.run("identity", "try", "--provider", "okta", "--claims", str(path))
    assert result.exit_code == 1
    assert "refused (overage): The provider did not send all groups" in result.output
    assert federated.records() == []


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_try_refuses_what_is_no_claims(federated: House, text: str) -> None:
    path = federated.directory / "claims.json"
    path.write_text(text, "utf-8")
    assert federated.run("identity", "try", "--provider", "okta", "--claims", str(path)).exit_code == 2


@contextmanager
def served() -> Iterator[IdentityProvider]:
    """A provider in a loop of its own: the verbs run theirs."""
    ready, done, found = threading.Event(), threading.Event(), []

    async def serve() -> None:
        async with identity_provider(time.time) as provider:
            found.append(provider)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield found[0]
    finally:
        done.set()
        thread.join()


def findings(house: House) -> list[str]:
    result = house.run("doctor", "--json")
    return [
        f"{item['kind']}: {item['sentence']}"
        for item in json.loads(result.stdout)["findings"]
        if item["subject"] == "identity provider okta"
    ]


def test_doctor_asks_each_provider(house: House) -> None:
    with served() as provider:
        configure(house, provider.issuer)
        assert findings(house) == []
        provider.metadata = {
            "end_session_endpoint": None,
            "authorization_response_iss_parameter_supported": None,
            "backchannel_logout_supported": None,
        }
        assert [line.partition(":")[0] for line in findings(house)] == ["weak"] * 3
        provider.metadata = {"token_endpoint_auth_methods_supported": ["private_key_jwt"]}
        assert findings(house) == ["wrong: takes no client secret; use private_key_jwt"]
        provider.metadata = {"issuer": "https://evil.example"}
        assert "names another issuer" in findings(house)[0]
        provider.metadata = {}
        provider.published = []
        assert "holds no key" in findings(house)[0] or "keys" in findings(house)[0]
    assert "cannot be reached" in findings(house)[0]
