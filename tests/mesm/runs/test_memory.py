"""Freed pages stay, in a process of its own: the setting holds for the whole of it."""

from __future__ import annotations

import platform
import subprocess
import sys

from mesm.runs.memory import memory_there_is

PROGRAM = """
import ctypes, resource
from mesm.runs.memory import keep_freed_pages

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]

def faults(size=24 * 2**20, rounds=8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        # Two blocks, so that their space is more than glibc would keep.
        blocks = [libc.malloc(size), libc.malloc(size), libc.malloc(size)]
        for block in blocks:
            ctypes.memset(block, 1, size)
        for block in blocks:
            libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

default = faults()
took = keep_freed_pages()
faults(rounds=1)
print(took, default, faults())
"""


def test_freed_pages_are_kept() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    took, default, kept = done.stdout.split()
    if platform.libc_ver()[0] == "glibc":
        assert took == "True"
        assert int(kept) * 10 < int(default)
    else:
        assert took == "False"


def test_there_is_memory():
    assert 2**28 < memory_there_is() < 2**50
