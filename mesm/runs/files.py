"""Files that no kill leaves half written, and folders with one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_beside(file: Path, content: str | bytes) -> None:
    """Write beside the place, then rename: readers see the old file or the new one."""
    beside = file.with_name(f".{file.name}.partial")
    beside.write_bytes(content.encode() if isinstance(content, str) else content)
    beside.replace(file)


@contextmanager
def locked(folder: Path, doing: str) -> Iterator[None]:
    """Keep a second process out of a folder; the lock goes with the process, however it ends.

    Args:
        folder: is there.
        doing: what is being done there, e.g. "training in".

    Raises:
        ValueError: another process has the lock.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"another process is {doing} {folder}: wait for it") from error
        yield
    finally:
        os.close(handle)
