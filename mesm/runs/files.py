"""One process at a time in a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
