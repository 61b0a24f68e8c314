"""Documents that customers upload and download, one folder for each customer. No one is asked whose folder it is."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from aiohttp import BodyPartReader, web

from gateway.demo.invoices import CUSTOMERS
from gateway.demo.screen import screen, see_other

MAX_UPLOAD_BYTES = 25 * 1024 * 1024
MAX_DOCUMENTS = 50
CHUNK_BYTES = 64 * 1024
FOLDER = web.AppKey("documents", Path)

_NAME = re.compile(r"[^A-Za-z0-9 ._()-]")


class Document(msgspec.Struct, frozen=True):
    """One uploaded file. It is stored under its number; the name is only shown."""

    number: int
    name: str
    size: int


def _folder(request: web.Request) -> Path:
    tenant = request.match_info["tenant"]
    if tenant not in CUSTOMERS:
        raise web.HTTPNotFound
    folder = request.app[FOLDER] / tenant
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def documents_in(folder: Path) -> list[Document]:
    """List the folder's documents, oldest first; files are called `NUMBER name`."""
    found = ((*path.name.partition(" "), path.stat().st_size) for path in folder.glob("[0-9]*"))
    return sorted(
        (Document(int(number), name, size) for number, _, name, size in found), key=lambda document: document.number
    )


def shown_name(filename: str) -> str:
    """Reduce what a browser calls a file to a name that is safe in a folder and in a header field."""
    last = filename.replace("\\", "/").rpartition("/")[2]
    return _NAME.sub("_", last)[:80].strip(" .") or "unnamed"


async def listing(request: web.Request) -> web.Response:
    """List a customer's documents, with a form for one more."""
    tenant = request.match_info["tenant"]
    documents = documents_in(_folder(request))
    return screen(
        request,
        "documents.html",
        tenant=tenant,
        customer=CUSTOMERS[tenant],
        documents=documents,
        full=len(documents) >= MAX_DOCUMENTS,
    )


async def upload(request: web.Request) -> web.Response:
    """Store the file of a multipart form as it streams in; an upload cut short leaves nothing."""
    folder = _folder(request)
    stored = documents_in(folder)
    if len(stored) >= MAX_DOCUMENTS:
        raise web.HTTPConflict(text="The folder is full.")
    if not request.content_type.startswith("multipart/"):
        raise web.HTTPUnsupportedMediaType
    number = stored[-1].number + 1 if stored else 1
    async for part in await request.multipart():
        if isinstance(part, BodyPartReader) and part.name == "file" and part.filename:
            await _store(part, folder / f"{number} {shown_name(part.filename)}")
            return see_other(request, request.path)
    raise web.HTTPBadRequest(text="Please choose a file first.")


async def _store(part: BodyPartReader, target: Path) -> None:
    partial = target.with_name(f".{target.name}")
    size = 0
    try:
        with partial.open("wb") as file:
            while chunk := await part.read_chunk(CHUNK_BYTES):
                size += len(chunk)
                if size > MAX_UPLOAD_BYTES:
                    raise web.HTTPRequestEntityTooLarge(max_size=MAX_UPLOAD_BYTES, actual_size=size)
                file.write(chunk)
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)


async def download(request: web.Request) -> web.FileResponse:
    """Hand out one document."""
    folder, number = _folder(request), int(request.match_info["number"])
    for document in documents_in(folder):
        if document.number == number:
            disposition = f'attachment; filename="{document.name}"'
            return web.FileResponse(folder / f"{number} {document.name}", headers={"Content-Disposition": disposition})
    raise web.HTTPNotFound


ROUTES = (
    web.get("/customers/{tenant}/documents", listing),
    web.post("/customers/{tenant}/documents", upload),
    web.get(r"/customers/{tenant}/documents/{number:\d{1,9}}", download),
)
