"""What a route says about its data: which, whose, of what kind, why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.exchange.route import Classification, Durability, LegalBasis, Resource
from gateway.exchange.stream import Stream
from gateway.policy import PolicyTable
from gateway.policy.proof.meaning import options

Findings = Callable[[str], list[str]]
ROUTE = """
version: 1
roles: {client: {}}
routes:
  - name: chart
    match: {path: "/patients/{patient}/charts/{id}", methods: [GET]}
    upstream: portal
    %s
"""
WHOLE = (
    'resource: {type: chart, id: "{id}", owner: "{patient}", person: true}\n'
    "    audit: {durability: strict, purpose: treatment, legal_basis: contract, classification: phi, require_resource: true, stream: access}\n"
    "    allow: [{roles: [client]}]"
)


def test_everything_that_is_said_arrives(compiled: Callable[..., PolicyTable]) -> None:
    table = compiled(ROUTE % WHOLE)
    route = table.routes["chart"]
    assert route.resource == Resource(type="chart", id="{id}", owner="{patient}", is_person=True)
    assert (route.durability, route.purpose, route.legal_basis) == (
        Durability.STRICT,
        "treatment",
        LegalBasis.CONTRACT,
    )
    assert (route.classification, route.require_resource, route.stream) == (Classification.PHI, True, Stream.ACCESS)
    match = table.rules["chart"].matched("/patients/p%207/charts/9")
    assert (match.resource_id(), match.owner_id()) == ("9", "p 7")


def test_what_is_said_of_data_is_named_where_two_policies_differ(compiled: Callable[..., PolicyTable]) -> None:
    plain = compiled(ROUTE % "allow: [{roles: [client]}]").rules["chart"]
    found = {option.name: option.new for option in options(plain, compiled(ROUTE % WHOLE).rules["chart"])}
    assert found["audit.purpose"] == "treatment"
    assert found["audit.legal_basis"] == "contract"
    assert found["audit.classification"] == "phi"
    assert found["audit.require_resource"] == "true"
    assert found["audit.stream"] == "access"


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("audit: {}", "nothing is said; name a key, or remove this one"),
        ("audit: {purpose: ''}", "empty value; write one, or remove the key"),
        ('audit: {purpose: "a\\nb"}', "a purpose begins with a letter or digit and is one line"),
        ("audit: {legal_basis: because}", "'because' is not one of consent, contract, legal_obligation"),
        ("audit: {classification: secret}", "'secret' is not one of public, internal, pii, phi, chd"),
        ("audit: {stream: security}", "'security' is not one of access, traffic"),
        ("audit: {require_resource: sometimes}", "true or false"),
        ("audit: {reason: x}", "unknown key 'reason'"),
        ('resource: {type: chart, owner: "{doctor}"}', "the path has no parameter {doctor}"),
        ('resource: {type: chart, owner: "{patient"}', "a brace without its partner"),
        ("resource: {type: chart, person: true}", "without an id there is no person to protect"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(errors_of: Findings, option: str, sentence: str) -> None:
    found = errors_of(ROUTE % f"{option}\n    allow: [{{roles: [client]}}]")
    assert any(sentence in text for text in found), found


def test_a_public_route_has_no_owner_who_asks(errors_of: Findings) -> None:
    found = errors_of(ROUTE % "resource: {type: chart, owner: self}\n    public: true")
    assert any("a public route knows nobody whose the data could be" in text for text in found), found
