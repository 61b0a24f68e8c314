"""An upload from its first byte to the verdict, and on to the portal as it came.

    reception = Reception(content_type, policy, room)
    reception.feed(piece) ...        # framing, sizes, counts; the bytes go into the room
    reception.finish()
    reception.fields, .file_names    # what the rules for values look at
    verdict = reception.judge(scan)  # in a thread: names, types, structure, archives, antivirus
    reception.pieces()               # the body, byte for byte
    reception.close()

What is not a form is one file: the body itself. Nothing is forwarded from here; whoever does asks the verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from typing import Final, Protocol

from gateway.inspection.upload.form import FormReader, Part
from gateway.inspection.upload.judgement import Offered, examine
from gateway.inspection.upload.media_type import MediaType, MediaTypeError, parse_media_type
from gateway.inspection.upload.objection import Complaint, Objection, UploadRefusedError
from gateway.inspection.upload.policy import UploadPolicy
from gateway.inspection.upload.scanning import Scan, ScanFailedError, ScanIncompleteError
from gateway.inspection.upload.source import Extract, Source, pieces
from gateway.inspection.upload.verdict import JudgedFile, Verdict

FORM: Final = "multipart/form-data"
_NO_UPLOAD: Final = frozenset(
    (
        "application/x-www-form-urlencoded",
        "application/json",
        "application/xml",
        "text/xml",
        "text/plain",
        "application/graphql",
    )
)
_NOBODY_WAITS: Final[AbstractContextManager[object]] = nullcontext()
_OF_VALUES: Final = ("+xml",)


class Room(Source, Protocol):
    """Where a body waits for its verdict. Nobody else can read it, and nothing of it outlives the process."""

    def append(self, data: bytes) -> None:
        """Add bytes at the end. Raises the room's own error where there is no space."""
        ...

    def close(self) -> None:
        """Forget everything; again does nothing."""
        ...


def is_upload(content_type: bytes) -> bool:
    """Tell a body with files from one of values (forms, JSON, XML, text), by the whole Content-Type of the request.

    What is declared badly or not at all is taken for a file: it is refused, or judged by its content.
    """
    try:
        name = parse_media_type(content_type.decode("latin-1")).name
    except MediaTypeError:
        return True
    if name.startswith("multipart/"):  # attack: `multipart/x+xml` is a form to portals that look at the first word
        return True
    return name not in _NO_UPLOAD and not name.endswith(_OF_VALUES) and "json" not in name


class Reception:
    """Takes one body. After a complaint it takes nothing more."""

    __slots__ = ("_complaint", "_declared", "_form", "_name", "_policy", "_room")

    def __init__(self, content_type: bytes, policy: UploadPolicy, room: Room, name: str = "") -> None:
        """Begin. `name` is what a body that is a file is called, where the request says that; empty = it does not."""
        self._policy, self._room, self._name = policy, room, name
        self._complaint: Complaint | None = None
        self._form: FormReader | None = None
        self._declared = ""
        try:
            self._begin(parse_media_type(content_type.decode("latin-1")))
        except MediaTypeError:
            self._complaint = Complaint(Objection.FORM_AMBIGUOUS)

    def _begin(self, media_type: MediaType) -> None:
        self._declared = media_type.name
        if media_type.name == FORM:
            if not media_type.is_utf8:
                raise MediaTypeError
            self._form = FormReader(
                media_type.boundary, max_size=self._policy.max_size, max_files=self._policy.max_files
            )
        elif media_type.name.startswith("multipart/"):
            raise MediaTypeError  # files in a frame that only some portals open

    @property
    def complaint(self) -> Complaint | None:
        """Why nothing more is taken; None = nothing is wrong so far."""
        return self._complaint

    @property
    def size(self) -> int:
        """Bytes that came so far."""
        return self._room.size

    def feed(self, data: bytes) -> Complaint | None:
        """Take more of the body; return why it is refused already, or None."""
        if self._complaint is not None:
            return self._complaint
        most = self._policy.max_body if self._form is not None else self._policy.max_size
        if self._room.size + len(data) > most:
            self._complaint = Complaint(Objection.FILE_TOO_LARGE, self._at())
            return self._complaint
        try:
            self._room.append(data)
            if self._form is not None:
                self._form.feed(data)
        except UploadRefusedError as refused:
            self._complaint = Complaint(refused.objection, self._at())
        return self._complaint

    def finish(self) -> Complaint | None:
        """The body is complete; return why it is refused already, or None."""
        if self._complaint is None and self._form is not None:
            try:
                self._form.finish()
            except UploadRefusedError as refused:
                self._complaint = Complaint(refused.objection, self._at())
        return self._complaint

    def _at(self) -> int:
        return len(self._form.parts) if self._form is not None else -1

    @property
    def fields(self) -> list[tuple[str, bytes]]:
        """Names and values of the parts that are no files."""
        parts = self._form.parts if self._form is not None else ()
        return [(part.name, part.value) for part in parts if part.file_name is None]

    @property
    def file_names(self) -> list[tuple[str, str]]:
        """Names of the parts that are files, and what the files are called."""
        return [(part.name, part.file_name or "") for _, part in self._files()]

    def _files(self) -> list[tuple[int, Part]]:
        if self._form is None:
            return [(-1, Part("", self._name, self._declared, 0, self._room.size, b""))] if self._room.size else []
        return [(number, part) for number, part in enumerate(self._form.parts) if part.file_name]

    @property
    def is_form(self) -> bool:
        """The body has parts."""
        return self._form is not None

    def outline(self) -> Iterator[bytes]:
        """Yield the body without the content of its files: names, fields and what frames them, byte for byte."""
        at = 0
        for _, part in self._files():
            yield self._room.read(at, part.start - at)
            at = part.start + part.length
        yield self._room.read(at, self._room.size - at)

    def judge(self, scan: Scan | None, turn: AbstractContextManager[object] = _NOBODY_WAITS) -> Verdict:
        """Judge every file; takes as long as looking at all of them does.

        `turn` is held while one is looked into, which is when it may take as much memory as comes out of it.

        Raises whatever the room raises that cannot be read.
        """
        if self._complaint is not None:
            return Verdict((), (self._complaint,))
        files: list[JudgedFile] = []
        complaints: list[Complaint] = []
        unscanned = 0
        for number, part in self._files():
            source = Extract(self._room, part.start, part.length)
            kind, objection, signature = "", None, ""
            try:
                with turn:
                    kind = examine(Offered(part.file_name or "", part.declared, source), self._policy)
                signature = scan(pieces(source)) if scan is not None else ""
                objection = Objection.INFECTED if signature else None
            except UploadRefusedError as refused:
                objection = refused.objection
            except ScanIncompleteError:
                objection = Objection.UNSCANNED
            except ScanFailedError:
                antivirus = self._policy.antivirus
                if antivirus is not None and antivirus.on_failure == "allow":
                    unscanned += 1
                else:
                    objection = Objection.UNSCANNED
            digest = sha256()
            for piece in pieces(source):
                digest.update(piece)
            name, declared = part.file_name or "", part.declared
            files.append(
                JudgedFile(number, part.name, name, declared, kind, part.start, part.length, digest.hexdigest())
            )
            if objection is not None:
                complaints.append(Complaint(objection, number, signature))
        return Verdict(tuple(files), tuple(complaints), unscanned)

    def pieces(self) -> Iterator[bytes]:
        """Read the body as it came."""
        return pieces(self._room)

    def piece_of(self, file: JudgedFile) -> Source:
        """Return one file of the verdict."""
        return Extract(self._room, file.start, file.size)

    def close(self) -> None:
        """Forget the body."""
        self._room.close()
