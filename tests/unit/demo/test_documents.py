from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData
from aiohttp.test_utils import TestClient

from gateway.demo import documents
from gateway.demo.documents import Document, documents_in

FOLDER = "/customers/acme/documents"


def form(content: bytes = b"some bytes", name: str = "logo.png", field: str = "file") -> FormData:
    data = FormData()
    data.add_field("comment", "before the file")
    data.add_field(field, content, filename=name, content_type="image/png")
    return data


async def test_an_upload_is_listed_and_downloads_byte_for_byte(client: TestClient[Any, Any], tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    answer = await client.post(FOLDER, data=form(content), allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (302, f"http://{client.host}:{client.port}{FOLDER}")
    assert "logo.png" in await (await client.get(FOLDER)).text()
    fetched = await client.get(f"{FOLDER}/1")
    assert await fetched.read() == content
    assert fetched.headers["Content-Disposition"] == 'attachment; filename="logo.png"'
    assert documents_in(tmp_path / "acme") == [Document(1, "logo.png", len(content))]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\offer.doc", "offer.doc"),
        ('a"; x="\r\nb', "a__ x____b"),
        ("..", "unnamed"),
        ("é" * 200, "_" * 80),
    ],
)
def test_a_file_name_never_leaves_the_folder_nor_the_header(sent: str, kept: str) -> None:
    assert documents.shown_name(sent) == kept


async def test_an_upload_that_is_too_large_leaves_nothing(
    client: TestClient[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MAX_UPLOAD_BYTES", 1000)
    assert (await client.post(FOLDER, data=form(b"x" * 1001))).status == 413
    assert list((tmp_path / "acme").iterdir()) == []


async def test_a_full_folder_takes_no_more(client: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_DOCUMENTS", 1)
    assert (await client.post(FOLDER, data=form())).status == 200
    assert (await client.post(FOLDER, data=form())).status == 409
    assert "The folder is full" in await (await client.get(FOLDER)).text()


async def test_a_form_without_a_file_is_refused(client: TestClient[Any, Any]) -> None:
    assert (await client.post(FOLDER, data=form(field="other"))).status == 400
    assert (await client.post(FOLDER, data={"file": "text"})).status == 415


@pytest.mark.parametrize(
    "path", ["/customers/acme/documents/7", "/customers/initech/documents", "/customers/..%2f/documents"]
)
async def test_what_is_not_there_is_not_found(client: TestClient[Any, Any], path: str) -> None:
    assert (await client.get(path)).status == 404
