"""Buffers of TLS connections stay off the heap, whatever was freed before."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import ctypes
from pathlib import Path
from gateway.server.allocator import TLS_BUFFER_BYTES, keep_tls_buffers_apart
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def is_on_heap(size):
    libc.free(libc.malloc(4 * size))  # from here on glibc would take as much from the heap
    address = libc.malloc(size)
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(part, 16) for part in line.split()[0].split("-"))
        if first <= address < last:
            return line.endswith("[heap]")

before = is_on_heap(TLS_BUFFER_BYTES)
print(keep_tls_buffers_apart(), before, is_on_heap(TLS_BUFFER_BYTES), is_on_heap(TLS_BUFFER_BYTES - 4096))
"""


def test_a_buffer_of_tls_is_mapped_by_itself_and_what_is_smaller_is_not() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["True", "True", "False", "True"], done.stderr
