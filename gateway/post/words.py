"""What each letter says: subject, heading, sentences and advice, marked for the catalogue of texts.

Plain words for a customer. No letter asks for a password, and only a code asked for by the person is in one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from gateway.exchange.letter import Letter, Matter
from gateway.exchange.notice import Notice


def marked(text: str) -> str:
    """Mark a text for the catalogue where it is written; it is translated where the letter is."""
    return text


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """The text of one letter."""

    subject: str
    heading: str
    paragraphs: tuple[str, ...]
    advice: str
    """What to do, or that nothing need be done."""
    leads_to_account: bool = False
    """The advice is followed on the account page."""


_NOT_YOU: Final = marked(
    "If this was not you, change your password and sign out every other session on your account page:"
)

_MATTERS: Final = {
    Matter.RESET_CODE: Words(
        subject=marked("Your code to set a new password"),
        heading=marked("Set a new password"),
        paragraphs=(
            marked(
                "Somebody asked for a new password for the account %(user)s at %(host)s. Type this code into the page that asks for it:"
            ),
        ),
        advice=marked(
            "The code works once, for %(minutes)s minutes, and only in the browser that asked for it. If that was not you, do nothing: your password stays as it is. Give the code to nobody; we never ask for it by mail or telephone."
        ),
    ),
    Matter.SEVERAL_ACCOUNTS: Words(
        subject=marked("Several accounts have your address"),
        heading=marked("Please ask with your user name"),
        paragraphs=(
            marked(
                "Somebody asked for a new password at %(host)s with your e-mail address. More than one account has it, so we cannot tell which one is meant. Nothing was changed."
            ),
        ),
        advice=marked("If that was you, ask again with your user name. If not, do nothing."),
    ),
    Matter.DEVICE_CODE: Words(
        subject=marked("Your code to sign in on a new device"),
        heading=marked("Sign in on a new device"),
        paragraphs=(
            marked(
                "Somebody signs in as %(user)s at %(host)s on a device that we do not know yet. Type this code into the page that asks for it:"
            ),
        ),
        advice=marked(
            "The code works once, for %(minutes)s minutes, and only in the browser that asked for it. If that was not you, somebody knows your password: change it. Give the code to nobody; we never ask for it by mail or telephone."
        ),
    ),
    Matter.SIGN_IN_CODE: Words(
        subject=marked("Your code to sign in"),
        heading=marked("Your code to sign in"),
        paragraphs=(
            marked("Somebody signs in as %(user)s at %(host)s. Type this code into the page that asks for it:"),
        ),
        advice=marked(
            "The code works once, for %(minutes)s minutes, and only in the browser that asked for it. If that was not you, somebody knows your password: change it. Give the code to nobody; we never ask for it by mail or telephone."
        ),
    ),
    Matter.TEST: Words(
        subject=marked("A test of the gateway's mail"),
        heading=marked("The gateway can send mail"),
        paragraphs=(marked("An operator of %(host)s asked the gateway for this mail, to see that it arrives."),),
        advice=marked("Nothing need be done."),
    ),
}

_NOTICES: Final = {
    Notice.NEW_DEVICE: Words(
        subject=marked("A new device signed in to your account"),
        heading=marked("A new device signed in"),
        paragraphs=(marked("Somebody signed in as %(user)s at %(host)s on a device that was not used before."),),
        advice=_NOT_YOU,
        leads_to_account=True,
    ),
    Notice.PASSWORD_CHANGED: Words(
        subject=marked("Your password was changed"),
        heading=marked("Your password was changed"),
        paragraphs=(
            marked(
                "The password of the account %(user)s at %(host)s was changed, and every other session was signed out."
            ),
        ),
        advice=marked("If this was not you, ask those who run this site at once, and set a new password:"),
        leads_to_account=True,
    ),
    Notice.PASSWORD_RESET: Words(
        subject=marked("Your password was reset"),
        heading=marked("Your password was reset"),
        paragraphs=(
            marked(
                "A new password was set for the account %(user)s at %(host)s with a code from a mail, and every session was signed out."
            ),
        ),
        advice=marked("If this was not you, somebody reads your mail: ask those who run this site at once."),
    ),
    Notice.FACTOR_ADDED: Words(
        subject=marked("A way to sign in was added to your account"),
        heading=marked("A way to sign in was added"),
        paragraphs=(
            marked(
                "An authenticator app, a passkey or another second step was added to the account %(user)s at %(host)s."
            ),
        ),
        advice=marked("If this was not you, remove it on your account page and change your password:"),
        leads_to_account=True,
    ),
    Notice.FACTOR_REMOVED: Words(
        subject=marked("A way to sign in was removed from your account"),
        heading=marked("A way to sign in was removed"),
        paragraphs=(
            marked(
                "An authenticator app, a passkey or another second step was removed from the account %(user)s at %(host)s."
            ),
        ),
        advice=_NOT_YOU,
        leads_to_account=True,
    ),
    Notice.RECOVERY_USED: Words(
        subject=marked("A recovery code of your account was used"),
        heading=marked("A recovery code was used"),
        paragraphs=(
            marked(
                "Somebody signed in as %(user)s at %(host)s with one of your recovery codes. It cannot be used again."
            ),
        ),
        advice=_NOT_YOU,
        leads_to_account=True,
    ),
    Notice.RECOVERY_REPLACED: Words(
        subject=marked("You have new recovery codes"),
        heading=marked("Your recovery codes were replaced"),
        paragraphs=(
            marked(
                "New recovery codes were made for the account %(user)s at %(host)s. The earlier ones no longer work."
            ),
        ),
        advice=_NOT_YOU,
        leads_to_account=True,
    ),
    Notice.SESSIONS_REVOKED: Words(
        subject=marked("Your sessions were signed out"),
        heading=marked("Your sessions were signed out"),
        paragraphs=(
            marked("Sessions of the account %(user)s at %(host)s were ended. Whoever used them has to sign in again."),
        ),
        advice=_NOT_YOU,
        leads_to_account=True,
    ),
    Notice.SESSION_ELSEWHERE: Words(
        subject=marked("Somebody tried to use your session"),
        heading=marked("Your session was tried from elsewhere"),
        paragraphs=(
            marked(
                "Somebody tried to use a session of the account %(user)s at %(host)s on another device or in another network than the one you signed in on. They were refused."
            ),
        ),
        advice=marked(
            "If you changed networks yourself, do nothing. If not, somebody may have copied data from your browser: sign out every session on your account page, and look after your device:"
        ),
        leads_to_account=True,
    ),
    Notice.API_KEY_CREATED: Words(
        subject=marked("An API key was made for your account"),
        heading=marked("An API key was made"),
        paragraphs=(marked("A key with which programs act as %(user)s at %(host)s was made."),),
        advice=marked(
            "If you did not expect it, ask whoever runs the site to revoke it, and change your password on your account page:"
        ),
        leads_to_account=True,
    ),
}


def words_of(letter: Letter) -> Words:
    """Return what a letter says, not yet translated. Raises ValueError for a notice that names none."""
    if letter.matter is not Matter.NOTICE:
        return _MATTERS[letter.matter]
    if letter.notice is None:
        raise ValueError("a notice says of what")
    return _NOTICES[letter.notice]


def filled(words: Words, gettext: Callable[[str], str], values: dict[str, str]) -> Words:
    """Translate and fill in. The subject holds no value: nothing that a stranger chose stands in a header."""
    return Words(
        subject=gettext(words.subject),
        heading=gettext(words.heading),
        paragraphs=tuple(gettext(paragraph) % values for paragraph in words.paragraphs),
        advice=gettext(words.advice) % values,
        leads_to_account=words.leads_to_account,
    )
