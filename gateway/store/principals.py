"""Who is meant by what a person types where a name is asked for: a user name, or the e-mail address of an account.

Every spelling of one name is one principal (case, NFKC, spaces), and so is the address of the same account: what
is counted against one is counted against the other. An address that several accounts have names none of them, and
people whom an identity provider vouches for are not found by theirs. Known or not, the same look-ups are made.
"""

from __future__ import annotations

import msgspec

from gateway.authn.address import canonical_address
from gateway.authn.name import InvalidNameError, canonical_name
from gateway.store.people import People
from gateway.store.records import User

_NOBODY = "\0"
"""No account can have it: canonical names and addresses hold no controls."""
LOCAL = "local"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who is meant."""

    text: str
    """What was typed, in canonical form; empty when no account could be called that."""
    user: User | None
    several: tuple[User, ...] = ()
    """The accounts that have what was typed as their address, when they are more than one."""

    @property
    def name(self) -> str:
        """Under which attempts are counted: the name of the account, or what was typed."""
        return self.text if self.user is None else self.user.name


def find_principal(people: People, typed: str) -> Principal:
    """Find who is meant. A name comes before an address: nobody can take another's name by an address.

    Only that of a person of a provider does not: they type no password here, and choose their names elsewhere.
    """
    try:
        text = canonical_name(typed)
    except InvalidNameError:
        text = ""
    named = people.named(text or _NOBODY)
    addressed = [
        user for user in people.with_email(canonical_address(text or typed) or _NOBODY) if user.provider == LOCAL
    ]
    # attack: a person of a provider takes somebody's address for a name, and its owner cannot sign in by it any more
    if named is not None and (named.provider == LOCAL or not addressed):
        return Principal(text=text, user=named)
    if len(addressed) > 1:
        return Principal(text=text, user=None, several=tuple(addressed))
    return Principal(text=text, user=addressed[0] if addressed else None)
