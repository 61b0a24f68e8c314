from __future__ import annotations

import os
from pathlib import Path

from gateway.ledger.disk import LocalDisk


def test_what_is_allocated_is_zeros_and_what_is_written_is_there(tmp_path: Path) -> None:
    disk = LocalDisk()
    path = tmp_path / "file"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    disk.allocate(fd, 100)
    disk.write(fd, b"abc", 10)
    disk.sync(fd)
    os.close(fd)
    assert path.read_bytes() == bytes(10) + b"abc" + bytes(87)
    space = disk.space(tmp_path)
    assert 0 < space.free_bytes <= space.total_bytes
