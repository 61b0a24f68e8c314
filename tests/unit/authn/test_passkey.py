import json
from dataclasses import dataclass
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.passkey import (
    MAX_ANSWER_CHARACTERS,
    AuthenticatorRule,
    Fault,
    PasskeyRefusedError,
    Proven,
    Registered,
    RelyingParty,
    UserVerification,
    creation_options,
    decode,
    encode,
    methods_of,
    read_presented,
    relying_party_id,
    request_options,
    verify_registration,
    verify_use,
)
from tests.fakes.authenticator import (
    AAGUID,
    BACKED_UP,
    EDDSA,
    ELIGIBLE,
    ES256,
    ES512,
    PRESENT,
    TRUTH,
    VERIFIED,
    Authenticator,
    Lies,
    Maker,
)

CHALLENGE = b"c" * 32
PORTAL = RelyingParty(id="portal.example.com", name="Portal", origin="https://portal.example.com")
ANY = AuthenticatorRule()
STRICT = AuthenticatorRule(user_verification="required")


def register(device: Authenticator, lies: Lies = TRUTH, rule: AuthenticatorRule = ANY) -> Registered:
    options = creation_options(PORTAL, challenge=CHALLENGE, handle=b"h" * 64, name="alice", existing=[], rule=rule)
    return verify_registration(device.create(options, lies), challenge=CHALLENGE, relying_party=PORTAL, rule=rule)


@dataclass
class Known:
    device: Authenticator
    passkey: Registered

    def use(self, lies: Lies = TRUTH, *, required: bool = False, sign_count: int | None = None) -> Proven:
        verification: UserVerification = "required" if required else "preferred"
        options = request_options(PORTAL, challenge=CHALLENGE, allowed=[], user_verification=verification)
        return verify_use(
            read_presented(self.device.get(options, lies)),
            challenge=CHALLENGE,
            relying_party=PORTAL,
            public_key=self.passkey.public_key,
            sign_count=self.passkey.sign_count if sign_count is None else sign_count,
            backup_eligible=self.passkey.backup_eligible,
            user_verification=verification,
        )


@pytest.fixture(params=[ES256, EDDSA], ids=["ES256", "EdDSA"])
def known(request: pytest.FixtureRequest) -> Known:
    device = Authenticator(algorithm=request.param)
    return Known(device, register(device))


def fault_of(error: pytest.ExceptionInfo[PasskeyRefusedError]) -> Fault:
    return error.value.fault


# Registration


def test_a_passkey_that_a_browser_made_is_known_by_its_key() -> None:
    made = register(Authenticator())
    assert made.id == b"\x01" * 32
    assert made.aaguid == AAGUID
    assert made.transports == ("hybrid", "internal")
    assert (made.user_verified, made.backup_eligible, made.backed_up) == (True, False, False)


def test_a_synchronised_passkey_is_told_from_one_of_a_single_device() -> None:
    made = register(Authenticator(flags=PRESENT | VERIFIED | ELIGIBLE | BACKED_UP))
    assert (made.backup_eligible, made.backed_up) == (True, True)


LIES = [
    (Lies(origin="https://portal.example.com.evil.example"), Fault.WRONG_ORIGIN),
    (Lies(origin="http://portal.example.com"), Fault.WRONG_ORIGIN),
    (Lies(origin="https://acme.portal.example.com"), Fault.WRONG_ORIGIN),
    (Lies(origin="https://portal.example.com:8443"), Fault.WRONG_ORIGIN),
    (Lies(relying_party="evil.example"), Fault.WRONG_HOST),
    (Lies(relying_party="example.com"), Fault.WRONG_HOST),
    (Lies(cross_origin=True), Fault.CROSS_ORIGIN),
    (Lies(top_origin="https://evil.example"), Fault.CROSS_ORIGIN),
    (Lies(challenge=b"another challenge"), Fault.WRONG_CHALLENGE),
    (Lies(flags=0), Fault.NOT_PRESENT),
    (Lies(flags=PRESENT | BACKED_UP), Fault.NOT_ACCEPTED),
]


@pytest.mark.parametrize(("lies", "fault"), LIES)
def test_a_registration_that_lies_is_refused(lies: Lies, fault: Fault) -> None:
    with pytest.raises(PasskeyRefusedError) as error:
        register(Authenticator(), lies)
    assert fault_of(error) is fault


def test_the_answer_to_one_ceremony_is_none_to_the_other() -> None:
    with pytest.raises(PasskeyRefusedError) as error:
        register(Authenticator(), Lies(kind="webauthn.get"))
    assert fault_of(error) is Fault.WRONG_CEREMONY


def test_an_algorithm_that_was_not_offered_is_refused() -> None:
    with pytest.raises(PasskeyRefusedError) as error:
        register(Authenticator(algorithm=ES512))
    assert fault_of(error) is Fault.NOT_ACCEPTED


def test_a_key_that_calls_itself_another_algorithm_is_refused_at_its_use() -> None:
    """attack: an EC key registered as EdDSA."""
    device = Authenticator()
    mislabelled = Known(device, register(device, Lies(algorithm=EDDSA)))
    with pytest.raises(PasskeyRefusedError):
        mislabelled.use()


def test_a_registration_without_verification_is_refused_where_it_is_required() -> None:
    with pytest.raises(PasskeyRefusedError) as error:
        register(Authenticator(flags=PRESENT), rule=STRICT)
    assert fault_of(error) is Fault.NOT_VERIFIED


@pytest.mark.parametrize("identifier", [b"", b"x" * 1024])
def test_an_id_of_no_or_too_many_bytes_is_refused(identifier: bytes) -> None:
    with pytest.raises(PasskeyRefusedError):
        register(Authenticator(), Lies(identifier=identifier))


def test_an_oversized_answer_is_refused_unread() -> None:
    with pytest.raises(PasskeyRefusedError) as error:
        register(Authenticator(), Lies(stuffing=bytes(MAX_ANSWER_CHARACTERS)))
    assert fault_of(error) is Fault.TOO_LARGE


@pytest.mark.parametrize(
    "attestation",
    [
        b"",
        b"\xff",
        b"\x9f" * 20_000,
        b"\x81" * 20_000,
        b"\xbf" * 9_000,
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x5b\x00\x00\x00\x7f\xff\xff\xff\xff",
        cbor2.dumps({"fmt": "none", "attStmt": {}}),
        cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": b"x" * 36}),
        cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": "text"}),
        cbor2.dumps({"fmt": "fido-u2f", "attStmt": {}, "authData": b"\0" * 200}),
        cbor2.dumps([1, 2, 3]),
    ],
)
def test_cbor_that_is_broken_nested_or_endless_is_refused(attestation: bytes) -> None:
    client = {"type": "webauthn.create", "challenge": encode(CHALLENGE), "origin": PORTAL.origin}
    answer = {
        "id": "AQ",
        "rawId": "AQ",
        "type": "public-key",
        "response": {
            "clientDataJSON": encode(json.dumps(client).encode()),
            "attestationObject": encode(attestation),
        },
    }
    with pytest.raises(PasskeyRefusedError):
        verify_registration(json.dumps(answer), challenge=CHALLENGE, relying_party=PORTAL, rule=AuthenticatorRule())


# Makers


def test_a_make_on_the_list_of_the_denied_is_refused() -> None:
    with pytest.raises(PasskeyRefusedError) as error:
        register(Authenticator(), rule=AuthenticatorRule(denied=frozenset({AAGUID})))
    assert fault_of(error) is Fault.AUTHENTICATOR


def test_an_allowed_make_that_a_known_maker_vouches_for_is_accepted() -> None:
    maker = Maker()
    rule = AuthenticatorRule(attestation="direct", allowed=frozenset({AAGUID}), roots=(maker.root_pem,))
    assert register(Authenticator(maker=maker), rule=rule).aaguid == AAGUID


def test_an_allowed_make_that_nobody_vouches_for_is_refused() -> None:
    """attack: anybody can write an AAGUID."""
    rule = AuthenticatorRule(attestation="direct", allowed=frozenset({AAGUID}), roots=(Maker().root_pem,))
    with pytest.raises(PasskeyRefusedError) as error:
        register(Authenticator(), rule=rule)
    assert fault_of(error) is Fault.AUTHENTICATOR


def test_a_make_that_another_maker_vouches_for_is_refused() -> None:
    rule = AuthenticatorRule(attestation="direct", allowed=frozenset({AAGUID}), roots=(Maker().root_pem,))
    with pytest.raises(PasskeyRefusedError) as error:
        register(Authenticator(maker=Maker()), rule=rule)
    assert fault_of(error) is Fault.NOT_ACCEPTED


def test_a_make_that_is_not_on_the_list_of_the_allowed_is_refused() -> None:
    maker = Maker()
    rule = AuthenticatorRule(attestation="direct", allowed=frozenset({"other"}), roots=(maker.root_pem,))
    with pytest.raises(PasskeyRefusedError) as error:
        register(Authenticator(maker=maker), rule=rule)
    assert fault_of(error) is Fault.AUTHENTICATOR


# Use


def test_a_passkey_proves_its_use(known: Known) -> None:
    proven = known.use(required=True)
    assert proven == Proven(sign_count=1, user_verified=True, backed_up=False, copied=False)
    assert methods_of(proven, backup_eligible=False) == ("hwk", "user")


def test_a_synchronised_passkey_without_verification_is_a_software_key_and_no_more() -> None:
    device = Authenticator(flags=PRESENT | ELIGIBLE, counts=False)
    assert methods_of(Known(device, register(device)).use(), backup_eligible=True) == ("swk",)


@pytest.mark.parametrize(("lies", "fault"), LIES)
def test_a_use_that_lies_is_refused(known: Known, lies: Lies, fault: Fault) -> None:
    with pytest.raises(PasskeyRefusedError) as error:
        known.use(lies)
    assert fault_of(error) is fault


def test_a_registration_is_no_use(known: Known) -> None:
    with pytest.raises(PasskeyRefusedError) as error:
        known.use(Lies(kind="webauthn.create"))
    assert fault_of(error) is Fault.WRONG_CEREMONY


def test_a_use_without_verification_is_refused_where_it_is_the_only_factor(known: Known) -> None:
    assert not known.use(Lies(flags=PRESENT)).user_verified
    with pytest.raises(PasskeyRefusedError) as error:
        known.use(Lies(flags=PRESENT), required=True)
    assert fault_of(error) is Fault.NOT_VERIFIED


def test_a_signature_by_another_key_is_refused(known: Known) -> None:
    with pytest.raises(PasskeyRefusedError) as error:
        known.use(Lies(key=Authenticator(algorithm=known.device.algorithm).key))
    assert fault_of(error) is Fault.NOT_ACCEPTED


def test_a_counter_that_does_not_grow_means_a_copy(known: Known) -> None:
    known.passkey = register(known.device)
    assert known.use(sign_count=0).copied is False
    assert known.use(sign_count=2).copied is True
    assert known.use(Lies(sign_count=0), sign_count=2).copied is True


def test_a_counter_of_a_wrong_signature_says_nothing(known: Known) -> None:
    """attack: else anybody could have somebody else's passkey taken for a copy."""
    with pytest.raises(PasskeyRefusedError) as error:
        known.use(Lies(sign_count=0, key=Authenticator(algorithm=known.device.algorithm).key), sign_count=5)
    assert fault_of(error) is Fault.NOT_ACCEPTED


def test_an_authenticator_that_does_not_count_is_no_copy() -> None:
    device = Authenticator(counts=False)
    assert Known(device, register(device)).use().copied is False


def test_a_passkey_that_was_bound_to_one_device_does_not_become_one_that_is_not(known: Known) -> None:
    with pytest.raises(PasskeyRefusedError) as error:
        known.use(Lies(flags=PRESENT | VERIFIED | ELIGIBLE))
    assert fault_of(error) is Fault.NOT_ACCEPTED


@pytest.mark.parametrize(
    "answer",
    ["", "{}", "[]", "null", '{"id":"AQ","rawId":"AQ","type":"public-key"}', '{"id":"AQ","rawId":"Ag","type":"public-key","response":{}}',
     '{"id":"AQ==","rawId":"AQ==","type":"public-key","response":{}}', '{"id":"AR","rawId":"AR","type":"public-key","response":{}}',
     '{"id":"","rawId":"","type":"public-key","response":{}}', '{"id":"AQ","rawId":"AQ","type":"password","response":{}}',
     '{"id":"AQ","rawId":"AQ","type":"public-key","response":{"userHandle":7}}', "[" * 30_000, "\ud800"],
)  # fmt: skip
def test_what_is_no_answer_is_refused(answer: str) -> None:
    with pytest.raises(PasskeyRefusedError) as error:
        read_presented(answer)
    assert fault_of(error) is Fault.MALFORMED


@given(
    answer=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=40),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "id",
                        "rawId",
                        "type",
                        "response",
                        "clientDataJSON",
                        "authenticatorData",
                        "signature",
                        "userHandle",
                    ]
                ),
                inner | st.sampled_from(["AQ", "public-key", encode(b'{"type":"webauthn.get"}')]),
                max_size=6,
            )
        ),
        max_leaves=20,
    )
)
def test_no_answer_does_more_than_be_refused(answer: Any) -> None:
    text = json.dumps(answer)
    for read in (
        lambda: verify_registration(text, challenge=CHALLENGE, relying_party=PORTAL, rule=AuthenticatorRule()),
        lambda: verify_use(
            read_presented(text),
            challenge=CHALLENGE,
            relying_party=PORTAL,
            public_key=b"",
            sign_count=0,
            backup_eligible=False,
            user_verification="preferred",
        ),
    ):
        with pytest.raises(PasskeyRefusedError):
            read()


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_flipped_bit_breaks_a_use(position: int, bit: int) -> None:
    device = Authenticator()
    passkey = register(device)
    options = request_options(PORTAL, challenge=CHALLENGE, allowed=[], user_verification="preferred")
    answer = json.loads(device.get(options))
    field = ("authenticatorData", "clientDataJSON")[position % 2]
    raw = bytearray(decode(answer["response"][field]))
    raw[position % len(raw)] ^= 1 << bit
    answer["response"][field] = encode(bytes(raw))
    with pytest.raises(PasskeyRefusedError):
        verify_use(
            read_presented(json.dumps(answer)),
            challenge=CHALLENGE,
            relying_party=PORTAL,
            public_key=passkey.public_key,
            sign_count=0,
            backup_eligible=False,
            user_verification="preferred",
        )


# Hosts


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("portal.example.com", "portal.example.com"),
        ("acme.portal.example.com", "portal.example.com"),
        ("portal.example.com.evil.example", "portal.example.com.evil.example"),
        ("evilportal.example.com", "evilportal.example.com"),
        ("other.example", "other.example"),
        ("localhost", "localhost"),
        ("127.0.0.1", ""),
        ("::1", ""),
    ],
)
def test_passkeys_are_bound_to_the_gateways_host_where_the_page_is_under_it(host: str, expected: str) -> None:
    assert relying_party_id(host, "portal.example.com") == expected
