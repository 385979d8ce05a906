"""Files that no kill leaves half written, and folders with one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_beside(file: Path, content: str | bytes) -> None:
    """Write beside the place, then rename: readers see the old file or the new one."""
    beside = file.with_name(f".{file.name}.partial")
    beside.write_bytes(content.encode() if isinstance(content, str) else content)
    beside.replace(file)


def read_json(file: Path) -> Any:
    """A JSON file; None if it is not there.

    Raises:
        ValueError: it is not JSON.
    """
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: not JSON ({error}); delete it and make it again") from error


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
