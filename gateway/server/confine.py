"""What a process of the gateway takes away from itself before it meets hostile bytes.

No core files, no tracing by its own user, no life after the supervisor, and, where the kernel has
Landlock (Linux 5.13), no writing outside its own files and no reading of the audit's signing key.
A kernel without it is reported as "not separated"; nothing here stops the gateway from starting.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from gateway.exchange.metrics import Sample

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
# The same numbers on every architecture: added after the system call tables were unified (Linux 5.13).
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_CREATE_RULESET_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1

_EXECUTE, _WRITE_FILE, _READ_FILE = 1 << 0, 1 << 1, 1 << 2  # landlock.h, ABI 1
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_CHAR, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = (1 << bit for bit in range(6, 13))
_REFER: Final = 1 << 13  # ABI 2
_TRUNCATE: Final = 1 << 14  # ABI 3
_CHANGES: Final = (
    _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_CHAR | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO | _MAKE_BLOCK
    | _MAKE_SYM | _REFER | _TRUNCATE
)  # fmt: skip
_ON_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
"""Rights that a rule on something else than a directory may carry."""
_KNOWN_SINCE: Final = ((1, (1 << 13) - 1), (2, _REFER), (3, _TRUNCATE))

_libc = ctypes.CDLL(None, use_errno=True)


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def harden() -> None:
    """Forbid core files, tracing by processes of the same user (keys live in this memory) and new privileges.

    Files that this process makes from now on are its owner's alone.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)


def die_with_parent() -> None:
    """End this process at once when the one that started it ends, however that happens."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def outlive_parent() -> None:
    """Go on when the one that started this process ends."""
    _prctl(_PR_SET_PDEATHSIG, 0)


def landlock_version() -> int:
    """Say which version of Landlock the kernel offers; 0 is none."""
    version: int = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_CREATE_RULESET_VERSION))
    return max(version, 0)


def confine(*, writable: Iterable[Path], unreadable: Sequence[Path]) -> bool:
    """Leave this process and its children only these files and directories to change, and hide `unreadable`.

    Paths in `writable` that do not exist yet are not covered: create them first. Returns False, and
    changes nothing, on a kernel without Landlock.

    Raises:
        OSError: the kernel has Landlock and refused a rule.

    """
    version = landlock_version()
    if not version:
        return False
    known = sum(rights for since, rights in _KNOWN_SINCE if since <= version)
    handled = (_CHANGES | (_READ_FILE if unreadable else 0)) & known
    ruleset = _ruleset(handled)
    try:
        for path in writable:
            _allow(ruleset, path, (_CHANGES | _READ_FILE) & handled & ~_REFER)
        _allow(ruleset, Path("/dev/null"), (_WRITE_FILE | _READ_FILE) & handled)
        if unreadable:
            for path in readable_beside(unreadable):
                _allow(ruleset, path, _READ_FILE & handled)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)  # the kernel demands it
        _check(_libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)))
    finally:
        os.close(ruleset)
    return True


def separation(process: str, *, separated: bool) -> Sample:
    """Tell as a metric whether `confine` had an effect on a process."""
    return Sample(
        name="gateway_process_separated",
        kind="gauge",
        help="1 where the kernel keeps a process to its own files.",
        labels=("process",),
        values=[((process,), float(separated))],
    )


def readable_beside(hidden: Sequence[Path], root: Path = Path("/")) -> list[Path]:
    """List the largest trees beneath `root` that together hold everything but the `hidden` paths.

    Landlock only allows; to forbid one file, all its neighbours on the way down are allowed.
    """
    kept = [path.resolve() for path in hidden]
    return list(_trees(root, kept))


def _trees(directory: Path, hidden: list[Path]) -> Iterable[Path]:
    try:
        entries = sorted(directory.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry in hidden:
            continue
        if any(path.is_relative_to(entry) for path in hidden):
            yield from _trees(entry, hidden)
        elif not entry.is_symlink():
            yield entry


def _ruleset(handled: int) -> int:
    attributes = _RulesetAttributes(handled_access_fs=handled)
    descriptor: int = _libc.syscall(
        _CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(ctypes.sizeof(attributes)), ctypes.c_uint32(0)
    )
    _check(descriptor)
    return descriptor


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _ON_FILES
        rule = _PathBeneath(allowed_access=rights, parent_fd=descriptor)
        if rights:
            _check(
                _libc.syscall(
                    _ADD_RULE,
                    ctypes.c_int(ruleset),
                    ctypes.c_int(_RULE_PATH_BENEATH),
                    ctypes.byref(rule),
                    ctypes.c_uint32(0),
                )
            )
    finally:
        os.close(descriptor)


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero))


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno() or errno.EPERM
        raise OSError(number, os.strerror(number))
