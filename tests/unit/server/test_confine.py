from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.server.confine import landlock_version, readable_beside


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("state/audit", "config"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("state/state.sqlite3", "state/audit/main.log", "config/audit-keys.json", "config/keyring.json"):
        (tmp_path / name).write_text("old")
    return tmp_path


def test_everything_but_the_hidden_file_is_readable(tree: Path) -> None:
    trees = readable_beside([tree / "config" / "audit-keys.json"], root=tree)
    assert trees == [tree / "config" / "keyring.json", tree / "state"]


def test_a_symlink_does_not_lead_around_the_hidden_file(tree: Path) -> None:
    (tree / "link").symlink_to(tree / "config")
    trees = readable_beside([tree / "link" / "audit-keys.json"], root=tree)
    assert tree / "link" not in trees
    assert tree / "config" not in trees


def test_a_hardened_process_leaves_no_core_and_cannot_be_traced() -> None:
    program = """
import ctypes, resource
from gateway.server.confine import harden
harden()
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0  # PR_GET_DUMPABLE
assert ctypes.CDLL(None).prctl(39, 0, 0, 0, 0) == 1  # PR_GET_NO_NEW_PRIVS
"""
    assert run(program).returncode == 0


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    program = f"""
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
import sys, time
from gateway.server.confine import die_with_parent
die_with_parent()
print("ready", flush=True)
time.sleep(60)
'''], stdout=subprocess.PIPE)
child.stdout.readline()
open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
os.kill(os.getpid(), 9)
"""
    assert run(program).returncode == -9
    pid = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{pid}/stat")
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z":
        pass


@pytest.mark.skipif(not landlock_version(), reason="the kernel has no Landlock")
def test_a_confined_process_writes_its_own_file_alone_and_reads_no_audit_key(tree: Path) -> None:
    program = f"""
from pathlib import Path
from gateway.server.confine import confine
tree = Path({str(tree)!r})
assert confine(writable=[tree / "state" / "state.sqlite3", tree / "state" / "missing"], unreadable=[tree / "config" / "audit-keys.json"])
(tree / "state" / "state.sqlite3").write_text("new")
assert (tree / "config" / "keyring.json").read_text() == "old"
assert (tree / "state" / "audit" / "main.log").read_text() == "old"
Path("/dev/null").write_text("x")
def refused(act):
    try:
        act()
    except PermissionError:
        return
    raise SystemExit(f"not refused: {{act}}")
refused(lambda: (tree / "config" / "audit-keys.json").read_text())
refused(lambda: (tree / "state" / "audit" / "main.log").write_text("new"))
refused(lambda: (tree / "state" / "audit" / "main.log").unlink())
refused(lambda: (tree / "state" / "audit" / "other.log").write_text("new"))
refused(lambda: (tree / "state" / "audit" / "main.log").rename(tree / "moved"))
refused(lambda: (tree / "new").mkdir())
import json, colorsys  # modules still load
"""
    done = run(program)
    assert done.returncode == 0, done.stderr
    assert (tree / "state" / "audit" / "main.log").read_text() == "old"


@pytest.mark.skipif(not landlock_version(), reason="the kernel has no Landlock")
def test_a_confined_process_can_still_load_a_certificate_from_memory(directory: Path) -> None:
    """A reload brings new certificates to a worker that may not write a file."""
    program = f"""
from pathlib import Path
from gateway.server.confine import confine, harden
from gateway.server.validate import read_and_validate
harden()
confine(writable=[], unreadable=[Path({str(directory)!r}) / "nothing"])
assert read_and_validate(Path({str(directory)!r}) / "gateway.yaml").tls
"""
    done = run(program)
    assert done.returncode == 0, done.stderr
