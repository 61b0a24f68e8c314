from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.checkpoint import CheckpointError, Signer, split_note
from gateway.audit.cosignature import Cosigner
from gateway.audit.trust import MAX_DEFINITIONS, TrustError, TrustPolicy, choose

LOG = Signer("gateway/node/security", b"s" * 32)
NOTE = LOG.checkpoint(7, b"r" * 32)
TEXT = split_note(NOTE)[0]
COSIGNERS = {
    name: Cosigner(f"witness.example/{name}", 4, name.encode() * 16) for name in ("x1", "x2", "x3", "y1", "y2")
}
TWO_LEVELS = (
    "\n".join(
        [
            f"log {LOG.vkey}",
            "",
            *(f"witness {name} {COSIGNERS[name].key}" for name in ("x1", "x2", "x3")),
            "group X-witnesses 2 x1 x2 x3",
            "# the other organisation",
            *(f"witness {name} {COSIGNERS[name].key}" for name in ("y1", "y2")),
            "group Y-witnesses any y1 y2",
            "group X-and-Y all X-witnesses Y-witnesses",
            "quorum X-and-Y",
        ]
    )
    + "\n"
)
"""The example of the specification, with keys."""
W1 = f"witness w1 {COSIGNERS['x1'].key}\n"
W2 = f"witness w2 {COSIGNERS['x2'].key}\n"


def cosigned(*names: str) -> bytes:
    return NOTE + b"".join(COSIGNERS[name].cosign(TEXT, 1000 + i) for i, name in enumerate(names))


def policy(text: str) -> TrustPolicy:
    return TrustPolicy.parse(text.encode())


@pytest.mark.parametrize(
    ("names", "is_met"),
    [
        ((), False),
        (("x1", "x2"), False),
        (("x1", "y1"), False),
        (("y1", "y2"), False),
        (("x1", "x2", "y1"), True),
        (("x2", "x3", "y2"), True),
        (("x1", "x2", "x3", "y1", "y2"), True),
        (("x1", "x1", "y1"), False),
    ],
)
def test_a_quorum_of_groups_is_counted_as_the_specification_says(names: tuple[str, ...], is_met: bool) -> None:
    judged = policy(TWO_LEVELS).judge(cosigned(*names))
    assert judged.is_met is is_met
    assert bool(judged.missing) is not is_met
    assert {name for name, _ in judged.cosigned} == set(names)
    assert (judged.checkpoint.size, judged.log) == (7, LOG.vkey)


def test_what_a_quorum_lacks_is_said() -> None:
    assert "X-and-Y has 1 of the 2" in policy(TWO_LEVELS).judge(cosigned("x1", "x2")).missing
    assert "w1 has not cosigned" in policy(f"log {LOG.vkey}\n{W1}quorum w1\n").judge(NOTE).missing


def test_the_latest_cosignature_says_when() -> None:
    assert policy(TWO_LEVELS).judge(cosigned("x1", "x2", "y1")).time_s == 1002
    assert policy(TWO_LEVELS).judge(NOTE).time_s == 0


def test_no_witness_is_needed_when_the_policy_says_so() -> None:
    assert policy(f"log {LOG.vkey}\nquorum none\n").judge(NOTE).is_met


def test_a_checkpoint_of_a_log_that_the_policy_does_not_name_is_refused() -> None:
    other = Signer("gateway/other/security", b"s" * 32).checkpoint(7, b"r" * 32)
    with pytest.raises(CheckpointError, match="does not name the log gateway/other"):
        policy(TWO_LEVELS).judge(other)


def test_the_right_name_with_another_key_is_refused() -> None:
    forged = Signer(LOG.vkey.name, b"t" * 32).checkpoint(7, b"r" * 32)
    with pytest.raises(CheckpointError, match="not signed by"):
        policy(TWO_LEVELS).judge(forged)


def test_a_wrong_cosignature_of_a_known_witness_refuses_the_whole_note() -> None:
    line = COSIGNERS["x1"].cosign(TEXT, 1)
    raw = bytearray(b64decode(line.split(b" ")[2]))
    raw[-1] ^= 1
    wrong = line.rpartition(b" ")[0] + b" " + b64encode(bytes(raw)) + b"\n"
    with pytest.raises(CheckpointError, match="is wrong"):
        policy(TWO_LEVELS).judge(cosigned("x2", "x3", "y1") + wrong)


def test_a_log_may_have_an_old_key_and_a_new_one() -> None:
    new = Signer(LOG.vkey.name, b"n" * 32)
    both = policy(f"log {LOG.vkey}\nlog {new.vkey}\nquorum none\n")
    assert both.judge(NOTE).log == LOG.vkey
    assert both.judge(new.checkpoint(7, b"r" * 32)).log == new.vkey


def test_a_policy_without_logs_needs_to_be_told_whose_checkpoint_it_is() -> None:
    bare = policy(f"{W1}quorum w1\n")
    with pytest.raises(CheckpointError, match="names no log"):
        bare.judge(cosigned("x1"))
    assert bare.judge(cosigned("x1"), log=LOG.vkey).is_met
    with pytest.raises(CheckpointError, match=r"is of the log|not signed by"):
        bare.judge(cosigned("x1"), log=Signer("gateway/other", b"s" * 32).vkey)


def test_whoever_asks_cannot_add_a_log_to_a_policy_that_names_some() -> None:
    stranger = Signer("gateway/other/security", b"o" * 32)
    with pytest.raises(CheckpointError, match="does not name"):
        policy(TWO_LEVELS).judge(stranger.checkpoint(7, b"r" * 32), log=stranger.vkey)


def test_the_policy_of_a_log_is_chosen_by_its_origin() -> None:
    other = policy(f"log {Signer('gateway/other', b'o' * 32).vkey}\nquorum none\n")
    bare = policy("quorum none\n")
    assert choose([other, bare, policy(TWO_LEVELS)], LOG.vkey.name) == policy(TWO_LEVELS)
    assert choose([other, bare], LOG.vkey.name) == bare
    assert choose([other], LOG.vkey.name) is None


def test_a_policy_is_read_back_as_it_was_written() -> None:
    read = policy(TWO_LEVELS)
    assert TrustPolicy.parse(read.dump()) == read


def test_spaces_tabs_comments_and_addresses_are_allowed() -> None:
    read = policy(
        f"\n \t\n  # comment\nlog\t{LOG.vkey}  https://log.example/ \n {W1.strip()}\thttps://w.example/x \n\t quorum\t w1\n"
    )
    assert read.logs[0].url == "https://log.example/"
    assert read.witnesses[0].url == "https://w.example/x"


def test_names_are_octets() -> None:
    """The letter K and the Kelvin sign are two names; bytes that are no UTF-8 are a name as well."""
    kelvin = W2.replace("w2", "\N{KELVIN SIGN}").encode()
    data = W1.replace("w1", "K").encode() + kelvin + b"group \xff all K \xe2\x84\xaa\nquorum \xff\n"
    read = TrustPolicy.parse(data)
    assert [group.threshold for group in read.groups] == [2]
    assert TrustPolicy.parse(read.dump()) == read


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "does not end with a line end"),
        ("quorum none", "does not end with a line end"),
        ("\n", "no quorum line"),
        (W1, "no quorum line"),
        ("quorum none\nquorum none\n", "line 2: the policy has a quorum already"),
        ("quorum w1\n" + W1, "line 1: 'w1' is not defined above"),
        (W1 + W2.replace("w2", "w1") + "quorum w1\n", "line 2: 'w1' is defined twice"),
        (W1 + W1.replace("witness w1", "witness w2") + "quorum w1\n", "line 2: the key of this witness stands"),
        (f"log {LOG.vkey}\nlog {Signer('other', b's' * 32).vkey}\nquorum none\n", "line 2: the key of this log stands"),
        (W1.replace("w1", "none") + "quorum none\n", "the name none is taken"),
        (W1 + "group none any w1\nquorum none\n", "the name none is taken"),
        (W1 + "group g any none\nquorum g\n", "'none' is not defined above"),
        (W1 + "group g any w1 w1\nquorum g\n", "'w1' is a member already"),
        (W1 + W2 + "group g any w1\ngroup h any w1 w2\nquorum h\n", "line 4: 'w1' is a member already"),
        (W1 + "group g any g\nquorum g\n", "'g' is not defined above"),
        (W1 + "group g 0 w1\nquorum g\n", "takes all, any or a number from 1 to 1"),
        (W1 + "group g 2 w1\nquorum g\n", "takes all, any or a number from 1 to 1"),
        (W1 + "group g -1 w1\nquorum g\n", "takes all, any or a number"),
        (W1 + "group g \N{ARABIC-INDIC DIGIT ONE} w1\nquorum g\n", "takes all, any or a number"),
        (W1 + "group g any\nquorum g\n", "write: group NAME"),
        ("log\nquorum none\n", "write: log VKEY"),
        ("log nonsense\nquorum none\n", "line 1: a verifier key has the form"),
        (f"log {COSIGNERS['x1'].key}\nquorum none\n", "line 1: not an Ed25519 verifier key"),
        (f"witness w {LOG.vkey}\nquorum w\n", "line 1: not a key of a witness"),
        (f"witness w {COSIGNERS['x1'].key} https://w.example/ # comment\nquorum w\n", "write: witness NAME"),
        ("quorum none none\n", "write: quorum NAME"),
        ("trust everybody\nquorum none\n", "line 1: a line begins with"),
        ("# x\r\nquorum none\n", "line 1: the byte 0x0D is not allowed"),
        ("# \x7f\nquorum none\n", "line 1: the byte 0x7F is not allowed"),
        ("# \0\nquorum none\n", "line 1: the byte 0x00 is not allowed"),
    ],
)
def test_a_policy_that_may_mean_something_else_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(TrustError) as caught:
        policy(text)
    assert sentence in str(caught.value)


def test_a_policy_has_bounds() -> None:
    with pytest.raises(TrustError, match="larger than 1 MiB"):
        TrustPolicy.parse(b"#" * (1 << 20) + b"\n")
    groups = "".join(
        f"witness w{i} {Cosigner(f'w{i}', 4, i.to_bytes(32, 'big')).key}\n" for i in range(MAX_DEFINITIONS + 1)
    )
    with pytest.raises(TrustError, match="definitions"):
        policy(groups + "quorum none\n")


def test_thirty_two_of_everything_are_accepted() -> None:
    """The specification recommends to support at least so many."""
    lines = [f"log {Signer(f'log{i}', bytes([i]) * 32).vkey}" for i in range(32)]
    lines += [f"witness w{i} {Cosigner(f'w{i}', 4, bytes([100 + i]) * 32).key}" for i in range(32)]
    lines += [f"group g{i} any w{i}" for i in range(32)]
    assert policy("\n".join([*lines, "quorum g31\n"])).quorum == "g31"


@given(
    st.one_of(st.binary(max_size=200), st.text(alphabet="loggroupquwitnes \t\n#any12", max_size=200).map(str.encode))
)
def test_no_bytes_are_more_than_refused_and_what_is_read_is_written_back(data: bytes) -> None:
    try:
        read = TrustPolicy.parse(data)
    except TrustError:
        return
    assert TrustPolicy.parse(read.dump()) == read


@given(st.sets(st.sampled_from(sorted(COSIGNERS))), st.sampled_from(sorted(COSIGNERS)))
def test_one_more_witness_never_breaks_a_quorum(names: set[str], more: str) -> None:
    asked = policy(TWO_LEVELS)
    if asked.is_met_by(names)[0]:
        assert asked.is_met_by(names | {more})[0]
