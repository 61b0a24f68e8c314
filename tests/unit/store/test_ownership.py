import os
from pathlib import Path

import pytest

from gateway.store.ownership import hand_over, make_directory

OTHER = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


def test_directories_are_made_with_their_parents_for_the_owner_alone(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "a", tmp_path / "a" / "b")} == {0o700}


def test_what_is_no_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        make_directory(tmp_path / "file" / "b")


@as_root
def test_what_root_makes_belongs_to_the_owner_of_what_was_there(tmp_path: Path) -> None:
    os.chown(tmp_path, OTHER, OTHER)
    make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_uid == OTHER
    with (tmp_path / "file").open("wb") as file:
        hand_over(file.fileno(), tmp_path)
    assert (tmp_path / "file").stat().st_gid == OTHER


@as_root
def test_a_keyring_that_root_rotates_stays_the_gateways(tmp_path: Path) -> None:
    from gateway.store.keyring import Keyring

    path = tmp_path / "keyring.json"
    keyring = Keyring.generate(os.urandom, 0)
    keyring.create(path)
    os.chown(path, OTHER, OTHER)
    keyring.rotate(os.urandom, 1).replace(path)
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (OTHER, 0o600)
