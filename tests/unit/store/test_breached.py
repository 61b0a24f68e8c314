import importlib
import io
from hashlib import sha1
from pathlib import Path

import pytest

from gateway.authn.breached import BreachedListError
from gateway.exchange.errors import StoreUnavailableError
from gateway.store.breached import IMPORTED_NAME, LocalBreachedPasswords, import_published, shipped_list


def published(*passwords: str) -> io.BytesIO:
    lines = sorted(sha1(password.encode()).hexdigest().upper() for password in passwords)
    return io.BytesIO("".join(f"{line}:3\r\n" for line in lines).encode())


def test_the_list_that_ships_has_at_least_twenty_thousand_entries() -> None:
    assert len(shipped_list()) >= 20_000


@pytest.mark.parametrize("password", ["123456", "password", "qwerty", "1q2w3e4r5t6y"])
def test_the_list_that_ships_knows_what_everybody_uses(password: str) -> None:
    assert password in shipped_list()
    assert password in LocalBreachedPasswords(Path("/nonexistent"))


def test_the_notice_names_source_and_licence() -> None:
    notice = (Path(__file__).parents[3] / "gateway" / "store" / "data" / "NOTICE").read_text()
    assert "zxcvbn" in notice
    assert "MIT License" in notice


def test_the_list_that_ships_is_what_the_tool_builds() -> None:
    passwords = importlib.import_module("zxcvbn.frequency_lists").FREQUENCY_LISTS["passwords"]
    listed = shipped_list()
    assert len(listed) == len(set(passwords))
    assert all(password in listed for password in passwords[::97])


def test_an_import_is_seen_at_the_next_look_and_replaced_by_the_next(tmp_path: Path) -> None:
    local = LocalBreachedPasswords(tmp_path)
    assert "a rare passphrase" not in local
    progress: list[int] = []
    assert import_published(published("a rare passphrase", "another"), tmp_path, progress=progress.append) == 2
    assert progress == [2 * 44]
    assert "a rare passphrase" in local
    assert "123456" in local
    assert (tmp_path / IMPORTED_NAME).stat().st_mode & 0o777 == 0o600
    import_published(published("another one"), tmp_path, progress=progress.append)
    assert "a rare passphrase" not in local
    assert "another one" in local


@pytest.mark.parametrize("text", [b"", b"\n\n", b"nonsense\n"])
def test_a_bad_file_changes_nothing(tmp_path: Path, text: bytes) -> None:
    import_published(published("a rare passphrase"), tmp_path, progress=lambda _: None)
    with pytest.raises(BreachedListError):
        import_published(io.BytesIO(text), tmp_path, progress=lambda _: None)
    assert "a rare passphrase" in LocalBreachedPasswords(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [IMPORTED_NAME]


@pytest.mark.parametrize("data", [b"", b"rubbish that is long enough to have a header"])
def test_a_damaged_import_refuses_instead_of_accepting_every_password(tmp_path: Path, data: bytes) -> None:
    (tmp_path / IMPORTED_NAME).write_bytes(data)
    with pytest.raises(StoreUnavailableError, match=IMPORTED_NAME):
        assert "a rare passphrase" in LocalBreachedPasswords(tmp_path)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailableError, match="cannot be written"):
        import_published(published("one"), tmp_path / "file" / "state", progress=lambda _: None)
