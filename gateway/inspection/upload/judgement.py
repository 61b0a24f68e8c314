"""One file: whether its name, its declared type and its content tell of one harmless thing that the route takes.

A straight line: the name, the type, then what the type can do. Files within archives go the same way, one deeper.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from gateway.inspection.upload import content, sealed_archive, tape, zip_archive
from gateway.inspection.upload.compressed import expand
from gateway.inspection.upload.examination import DEEP_BYTES, Examination, broken
from gateway.inspection.upload.file_name import extension, objection_to
from gateway.inspection.upload.film import examine_film
from gateway.inspection.upload.image import examine_image
from gateway.inspection.upload.kinds import (
    ARCHIVES,
    BY_EXTENSION,
    GENERIC,
    KINDS,
    OFFICE_ZIP,
    OPEN_DOCUMENT,
    WITH_MACROS,
    Kind,
)
from gateway.inspection.upload.mail import attachments
from gateway.inspection.upload.markup import examine_markup
from gateway.inspection.upload.objection import Objection, UploadRefusedError
from gateway.inspection.upload.office import examine_office, kind_of_zip
from gateway.inspection.upload.ole import Attached, examine_compound
from gateway.inspection.upload.pdf import examine_pdf
from gateway.inspection.upload.policy import UploadPolicy
from gateway.inspection.upload.rich_text import examine_rich_text
from gateway.inspection.upload.source import Held, Source
from gateway.inspection.upload.text import examine_text

_TEXTS: Final = frozenset((content.TEXT, "xml", "svg", "script"))
_UNNAMED: Final = frozenset((content.UNKNOWN, content.TEXT, content.EMPTY, "xml", "ole"))
_LIKE_MARKUP: Final = {
    "svg": frozenset(("svg",)),
    "xml": frozenset(("xml", content.TEXT)),
    "html": frozenset(("page", "xml", content.TEXT, content.EMPTY)),
}
"""What the content of markup is called; the parser has the last word."""
_FILMS: Final = frozenset(("mp4", "mov", "m4a", "3gp"))
_SAME: Final = tuple(map(frozenset, (_FILMS, ("heic", "avif"))))
"""Kinds of one container that programs name for one another."""
_IMAGES: Final = frozenset(("png", "jpeg", "gif", "webp", "bmp", "tiff", "ico", "heic", "avif"))
_SOUNDS: Final = frozenset(("webm", "avi", "wav", "mp3", "ogg", "flac"))
_OLE: Final = frozenset(("doc", "xls", "ppt", "msg"))
_MARKUP: Final = frozenset(("svg", "xml", "html"))
_ACTIVE_MEDIA: Final = frozenset(
    (
        "text/html",
        "text/xsl",
        "text/javascript",
        "text/ecmascript",
        "text/x-component",
        "text/cache-manifest",
        "text/vbscript",
    )
)
_ACTIVE_WORDS: Final = (
    "xml",
    "html",
    "javascript",
    "ecmascript",
    "x-httpd",
    "x-php",
    "x-sh",
    "java-",
    "x-java",
    "x-msdownload",
    "x-ms",
    "flash",
)
_BUNDLES: Final = frozenset(("app", "workflow", "action", "pkg", "mpkg"))
"""Directories that macOS runs; others may be called `www.example.com`."""
_OF_MACOS: Final = b"\x00\x05\x16\x07"
_OF_FINDER: Final = b"\x00\x00\x00\x01Bud1"
_OF_EXPLORER: Final = frozenset(("thumbs.db", "desktop.ini"))


class Offered(NamedTuple):
    """A file as it was sent. An empty name is that of a body that is the file itself."""

    name: str
    declared: str
    content: Source


def examine(file: Offered, policy: UploadPolicy) -> str:
    """Judge one file; return its kind, for the record. Raises `UploadRefusedError`."""
    if file.name:
        objection = objection_to(file.name)
        if objection is not None:
            raise UploadRefusedError(objection)
    return _Judgement(policy).of(file, depth=0)


class _Judgement:
    """Judges a file and what is in it, with one budget."""

    def __init__(self, policy: UploadPolicy) -> None:
        self._policy = policy
        self._examination = Examination(policy)

    def of(self, file: Offered, depth: int) -> str:
        source = file.content
        found = content.kind_of(source)
        if found in {content.EXECUTABLE, "flash"}:
            raise UploadRefusedError(Objection.TYPE_EXECUTABLE)
        members: list[zip_archive.Member] = []
        attached: list[Attached] = []
        if found == "zip":
            self._examination.descend(depth + 1)
            members = zip_archive.read_directory(source, self._examination)
            found = kind_of_zip(source, members, self._examination)
        elif found == "ole":
            found, attached = examine_compound(source, self._examination)
        kind = self._settle(file, found)
        self._require_allowed(kind)
        name = kind.name if kind is not None else found
        if found == "zip":
            self._each(self._of_zip(source, members), depth)
        elif name in OFFICE_ZIP or name in OPEN_DOCUMENT or name == "epub":
            examine_office(source, members, self._examination, lambda name, part: self._embedded(name, part, depth))
        elif name in ARCHIVES:
            self._of_archive(name, file, depth)
        else:
            self._examine(name, source)
        if name == "eml":
            for attachment in attachments(source, self._examination):
                last = self._check_member_name(attachment.name or "blob")
                self._embedded(last, attachment.content, depth)
        for one in attached:
            self._member(one.name or "blob", Held(one.data), depth + 1)
        return name

    def _settle(self, file: Offered, found: str) -> Kind | None:
        """Compare the three words about the type; None = a kind that is not known, by a name that is not known."""
        ending = extension(file.name)
        named = BY_EXTENSION.get(ending)
        if named is None:
            named = self._unnamed(found, file.declared) if not ending else KINDS.get(found)
        if not _agrees(named, found):
            raise UploadRefusedError(Objection.CONTENT_BROKEN if found == content.EMPTY else Objection.TYPE_DISGUISED)
        if not _is_declared(named, file.declared):
            raise UploadRefusedError(Objection.TYPE_DISGUISED)
        if named is not None and ending and ending not in named.extensions:
            self._require_unlisted()
        return named

    def _unnamed(self, found: str, declared: str) -> Kind | None:
        """Name the kind of what has no extension: `blob`, a body that is a file."""
        if found in KINDS and found != "xml":
            return KINDS[found]
        if found == "page":
            return KINDS["html"]
        if found in _TEXTS or found == content.EMPTY:
            said = next((kind for kind in KINDS.values() if kind.is_text and kind.media[0] == declared), None)
            return said or KINDS["txt"]
        return None

    def _require_unlisted(self) -> None:
        """An extension that is not known is not on any list."""
        if self._policy.types is not None:
            raise UploadRefusedError(Objection.TYPE_NOT_ALLOWED)

    def _require_allowed(self, kind: Kind | None) -> None:
        allowed = self._policy.types
        if allowed is not None and (kind is None or kind.name not in allowed):
            raise UploadRefusedError(Objection.TYPE_NOT_ALLOWED)
        if kind is not None and kind.name in WITH_MACROS and (allowed is None or kind.name not in allowed):
            self._examination.active()

    def _examine(self, name: str, source: Source) -> None:
        if name in _IMAGES:
            examine_image(name, source, self._examination)
        elif name == "pdf":
            examine_pdf(source, self._examination)
        elif name == "rtf":
            examine_rich_text(source, self._examination)
        elif name in _FILMS or name in _SOUNDS:
            examine_film(name, source)
        elif name in _MARKUP:
            examine_markup(name, source, self._examination)
        elif name in KINDS and KINDS[name].is_text:
            examine_text(name, source, self._examination)

    # archives

    def _of_archive(self, kind: str, file: Offered, depth: int) -> None:
        self._examination.descend(depth + 1)
        source = file.content
        if kind == "tar":
            self._each(((member.name, member.content) for member in tape.members(source, self._examination)), depth)
        elif kind == "7z":
            sealed_archive.examine_7z(source, self._examination)
        elif kind == "rar":
            for name in sealed_archive.rar_names(source, self._examination):
                self._check_member_name(name.replace("\\", "/"))
        else:
            self._of_stream(kind, file, depth)

    def _of_stream(self, kind: str, file: Offered, depth: int) -> None:
        """Judge what was compressed: a tar as what it is, anything else under the name without its last extension."""
        inside = expand(kind, file.content, self._examination)
        if content.kind_of(inside) == "tar":
            self._each(((member.name, member.content) for member in tape.members(inside, self._examination)), depth)
            return
        if extension(file.name) in {"tgz", "tbz2", "txz"}:
            raise UploadRefusedError(Objection.TYPE_DISGUISED)
        self._member(file.name.rpartition(".")[0] or "blob", inside, depth + 1)

    def _of_zip(self, source: Source, members: list[zip_archive.Member]) -> Iterator[tuple[str, Source]]:
        for member in members:
            if member.is_link:
                raise UploadRefusedError(Objection.ARCHIVE_LINK)
            if member.other_name:
                last = self._check_member_name(member.other_name)
                if extension(last) != extension(member.name):  # judged as one type, opened as another
                    raise UploadRefusedError(Objection.ARCHIVE_NAME)
            if member.is_encrypted:
                self._check_member_name(member.name)
                self._examination.encrypted()
            elif member.is_directory:
                yield member.name, Held(b"")
            else:
                if member.size > DEEP_BYTES:
                    raise UploadRefusedError(Objection.TOO_COMPLEX)
                yield member.name, Held(b"".join(zip_archive.unpacked(source, member, self._examination)))

    def _each(self, members: Iterator[tuple[str, Source]], depth: int) -> None:
        for name, inside in members:
            self._member(name, inside, depth + 1)

    def _member(self, name: str, inside: Source, depth: int) -> None:
        last = self._check_member_name(name)
        if not last and inside.size:  # a directory has no content to anybody who makes one of it
            raise broken()
        if last and not _is_left_by_a_desktop(name, last, inside):
            self.of(Offered(last, "", inside), depth)

    def _embedded(self, name: str, inside: Source, depth: int) -> None:
        """Judge a document within a document: its parts count, the list of types does not."""
        nested = _Judgement(_without_list(self._policy))
        nested._examination = self._examination
        nested.of(Offered(name.rpartition("/")[2], "", inside), depth + 1)

    def _check_member_name(self, name: str) -> str:
        """Refuse a name that leads elsewhere; return its last part, empty for a directory."""
        is_directory = name.endswith("/")
        parts = name.removesuffix("/").split("/")
        while len(parts) > 1 and parts[0] == ".":  # as `tar -C directory .` writes them
            del parts[0]
        if is_directory and parts == ["."]:
            return ""
        for number, part in enumerate(parts, 1):
            is_file = number == len(parts) and not is_directory
            objection = objection_to(part if is_file else part.rstrip(". ") or part)  # `Meier & Co.` hides nothing
            if objection is Objection.NAME_EXECUTABLE:
                if self._examination.refuses_active and (is_file or extension(part) in _BUNDLES):
                    raise UploadRefusedError(Objection.NAME_EXECUTABLE)
            elif objection is not None and not (objection is Objection.NAME_RESERVED and part.startswith(".")):
                raise UploadRefusedError(Objection.ARCHIVE_NAME)
        return "" if is_directory else parts[-1]


def _without_list(policy: UploadPolicy) -> UploadPolicy:
    return UploadPolicy(archives=policy.archives, active_content=policy.active_content)


def _agrees(named: Kind | None, found: str) -> bool:
    """Whether the content may have the name."""
    if named is None:
        return found in _UNNAMED
    if named.name in _LIKE_MARKUP:
        return found in _LIKE_MARKUP[named.name]
    if named.is_text:
        return found in _TEXTS or found == content.EMPTY
    if found == "encrypted":
        return named.content == "ole" or named.name in OFFICE_ZIP
    return found == named.name or any(named.name in same and found in same for same in _SAME)


def _is_declared(named: Kind | None, declared: str) -> bool:
    """Whether the declared type may stand for the kind; what a browser would run may stand for nothing else."""
    if declared in GENERIC or (named is not None and declared in named.media):
        return True
    family, _, sub = declared.partition("/")
    if declared in _ACTIVE_MEDIA or family in {"multipart", "message"} or any(word in sub for word in _ACTIVE_WORDS):
        return False
    if any(declared in kind.media for kind in KINDS.values()):
        return named is not None and any(
            named.name in same and declared in KINDS[name].media for same in _SAME for name in same
        )
    if named is None:
        return True
    return family == named.media[0].partition("/")[0] or family == "application" or (named.is_text and family == "text")


def _is_left_by_a_desktop(name: str, last: str, inside: Source) -> bool:
    """What macOS and Windows put into every archive without being asked; it must be what it is called."""
    if last.startswith("._") and (name.startswith("__MACOSX/") or "/" not in name):
        return inside.read(0, 4) == _OF_MACOS
    if last == ".DS_Store":
        return inside.read(0, 8) == _OF_FINDER
    return last.lower() in _OF_EXPLORER and content.kind_of(inside) in {"ole", content.TEXT}
