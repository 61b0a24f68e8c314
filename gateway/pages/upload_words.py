"""What a person is told about a file that was not taken: what is wrong with it, and what to send instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.inspection.upload.objection import Objection
from gateway.pages.texts import Texts, marked

_NAME: Final = marked("The name of the file cannot be accepted. Please give it a simple name and send it again.")
_PROGRAM: Final = marked("Programs, and files that look like programs, are not accepted.")
_ARCHIVE: Final = marked(
    "Too much is packed in the file, or it is packed in an unusual way. Please send the files themselves."
)

_WORDS: Final[Mapping[str, str]] = {
    Objection.FORM_AMBIGUOUS: marked("The form did not arrive as browsers send it. Please try another browser."),
    Objection.FORM_TOO_LARGE: marked("What was filled in beside the files is too much."),
    Objection.FILE_TOO_LARGE: marked("A file is too large."),
    Objection.TOO_MANY_FILES: marked("These are too many files at once."),
    Objection.NAME_AMBIGUOUS: _NAME,
    Objection.NAME_MISSING: _NAME,
    Objection.NAME_TOO_LONG: _NAME,
    Objection.NAME_PATH: _NAME,
    Objection.NAME_CONTROL: _NAME,
    Objection.NAME_DISGUISED: _NAME,
    Objection.NAME_RESERVED: _NAME,
    Objection.NAME_EXECUTABLE: _PROGRAM,
    Objection.TYPE_NOT_ALLOWED: marked("Files of this kind are not accepted here."),
    Objection.TYPE_DISGUISED: marked(
        "The file is of another kind than its name says. Please save it anew in the right format."
    ),
    Objection.TYPE_EXECUTABLE: _PROGRAM,
    Objection.CONTENT_BROKEN: marked(
        "The file is damaged or incomplete. Please check that it opens, save it anew and send that."
    ),
    Objection.POLYGLOT: marked(
        "Something else is attached to the file or hidden in it. Please save it anew and send that."
    ),
    Objection.ACTIVE_CONTENT: marked(
        "The file contains macros, scripts or something else that acts by itself. Please send it without, for example printed as a PDF."
    ),
    Objection.ENCRYPTED: marked(
        "The file is protected by a password, so it cannot be checked. Please send it without."
    ),
    Objection.ARCHIVE_DEPTH: _ARCHIVE,
    Objection.ARCHIVE_ENTRIES: _ARCHIVE,
    Objection.ARCHIVE_RATIO: _ARCHIVE,
    Objection.ARCHIVE_SIZE: _ARCHIVE,
    Objection.ARCHIVE_NAME: _ARCHIVE,
    Objection.ARCHIVE_LINK: _ARCHIVE,
    Objection.TOO_COMPLEX: marked("The file is too large or too intricate to be checked. Please send it in parts."),
}
"""What the reason's own sentence says already (a virus, a scanner that is away) is not here."""

_BOUNDS: Final[Mapping[str, str]] = {
    Objection.FILE_TOO_LARGE: marked("A file may have %(bound)s at most."),
    Objection.TOO_MANY_FILES: marked("At most %(bound)s may be sent at once."),
    Objection.TYPE_NOT_ALLOWED: marked("Accepted are: %(bound)s."),
}


def told_of_upload(objection: str, bound: str, texts: Texts) -> str:
    """Say in a person's language what an objection means, and the bound (`PDF, PNG`) where there is one; empty = nothing to say."""
    words = _WORDS.get(objection)
    if words is None:
        return ""
    told = texts.gettext(words)
    if bound and objection in _BOUNDS:
        told += " " + texts.gettext(_BOUNDS[objection]) % {"bound": bound}
    return told
