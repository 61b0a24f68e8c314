"""Why an upload does not reach the portal: one closed list, and what is told about where.

The same word stands in the audit record, the metric label, the documentation and the test. Neither a
name that a client chose nor a byte of a file is in it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class Objection(StrEnum):
    """What is wrong. Extend the list; never reuse a word for something else."""

    # the form as a whole
    FORM_AMBIGUOUS = "form_ambiguous"
    """Not the one form that every parser reads: boundary, preamble, headers, parameters, end (RFC 7578)."""
    FORM_TOO_LARGE = "form_too_large"
    """More parts, or more bytes in fields that are no files, than a form has."""
    FILE_TOO_LARGE = "file_too_large"
    TOO_MANY_FILES = "too_many_files"
    # the name
    NAME_AMBIGUOUS = "name_ambiguous"
    """`filename` and `filename*` say two things, or a quote is escaped in a way that not everybody reads."""
    NAME_MISSING = "name_missing"
    NAME_TOO_LONG = "name_too_long"
    NAME_PATH = "name_path"
    """Leads somewhere: a separator, a drive, a dot segment, however it is written."""
    NAME_CONTROL = "name_control"
    """Control characters, NUL among them."""
    NAME_DISGUISED = "name_disguised"
    """Is displayed as another one: overrides of the writing direction, invisible characters, blanks before the end."""
    NAME_RESERVED = "name_reserved"
    """Means a device to Windows, or a setting to a web server."""
    NAME_EXECUTABLE = "name_executable"
    """Some extension of it is run by servers or desktops."""
    # the type
    TYPE_NOT_ALLOWED = "type_not_allowed"
    TYPE_DISGUISED = "type_disguised"
    """Content, extension and declared type do not tell of one type."""
    TYPE_EXECUTABLE = "type_executable"
    CONTENT_BROKEN = "content_broken"
    """Does not have the structure of its type: cut, overlapping, self-contradicting."""
    POLYGLOT = "polyglot"
    """Is a second thing as well, or has one behind its end."""
    # what a type can do
    ACTIVE_CONTENT = "active_content"
    """Macros, scripts, actions, templates or objects from elsewhere."""
    ENCRYPTED = "encrypted"
    """Cannot be looked into."""
    # archives
    ARCHIVE_DEPTH = "archive_depth"
    ARCHIVE_ENTRIES = "archive_entries"
    ARCHIVE_RATIO = "archive_ratio"
    ARCHIVE_SIZE = "archive_size"
    ARCHIVE_NAME = "archive_name"
    """A member's name leads out of where it is unpacked, or means two things."""
    ARCHIVE_LINK = "archive_link"
    """A member is a link or a device."""
    TOO_COMPLEX = "too_complex"
    """Looking into it costs more than a file may."""
    # the antivirus
    INFECTED = "infected"
    UNSCANNED = "unscanned"
    """The antivirus could not be asked, or did not look at all of it."""


SUSPECT: Final = frozenset(
    (
        Objection.NAME_PATH,
        Objection.NAME_DISGUISED,
        Objection.NAME_EXECUTABLE,
        Objection.TYPE_DISGUISED,
        Objection.TYPE_EXECUTABLE,
        Objection.POLYGLOT,
        Objection.ACTIVE_CONTENT,
        Objection.ARCHIVE_RATIO,
        Objection.ARCHIVE_NAME,
        Objection.ARCHIVE_LINK,
        Objection.INFECTED,
    )
)
"""What somebody should be able to look at afterwards. What is merely too large, not wanted or unreadable is not kept: it is a customer's."""


class UploadRefusedError(ValueError):
    """Raised inside this package where something cannot go on; becomes a `Complaint`."""

    def __init__(self, objection: Objection) -> None:
        super().__init__(objection.value)
        self.objection = objection


class Complaint(NamedTuple):
    """An objection, and what it is about."""

    objection: Objection
    part: int = -1
    """Number of the part of the form, from 0; -1 = the body as a whole."""
    signature: str = ""
    """What the antivirus calls it."""
