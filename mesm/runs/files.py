"""Files that no kill leaves half written, and folders with one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

LONGEST_NAME = 200  # bytes; file systems take 255, of which a hash and endings need a part


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


def file_name(name: str, what: str) -> str:
    """Check a name out of somebody's file that is to become a name of files of ours.

    Args:
        name: for instance a clip's id.
        what: which name this is, for the message.

    Returns:
        The name.

    Raises:
        ValueError: as a file's name `name` would lead into another folder, or no file system takes
            it.
    """
    wrong = None
    if name in ("", ".", ".."):
        wrong = "names no file"
    elif any(letter in "/\\" or not letter.isprintable() for letter in name):
        wrong = "has a slash, a backslash or a character that cannot be printed"
    elif len(name.encode("utf-8", "surrogatepass")) > LONGEST_NAME:
        wrong = f"is longer than {LONGEST_NAME} bytes"
    if wrong is not None:
        raise ValueError(f"{what} {name[:80]!r} {wrong}, so it cannot name a file: rename it")
    return name


@contextmanager
def locked(folder: Path, doing: str) -> Iterator[None]:
    """Keep a second process out of a folder; the lock goes with the process, however it ends.

    Args:
        folder: is there.
        doing: what is being done there, e.g. "training in".

    Raises:
        ValueError: another process has the lock; says which, where the system tells.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"another process is {doing} {folder}{_holder(handle)}: wait for it, or choose "
                "another folder"
            ) from error
        yield
    finally:
        os.close(handle)


@contextmanager
def owned(folder: Path, doing: str) -> Iterator[None]:
    """Make a folder if need be, and be the only process that writes there.

    A folder that was made for this and is still empty in the end goes again.

    Args:
        folder: may be missing, as may its parents.
        doing: what is being done there, e.g. "training in".

    Raises:
        ValueError: another process owns the folder; says which, where the system tells.
        OSError: the folder cannot be made.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(locked(folder, doing))
        if not folder.exists():
            # The last owner made the folder, and removed it as empty just before the lock.
            stack.enter_context(owned(folder, doing))
        try:
            yield
        finally:
            if made:
                with suppress(OSError):
                    folder.rmdir()  # fails where the folder holds something


def _holder(handle: int) -> str:
    """Who holds the lock on an open folder, as " (process 12: mesm train ...)"; "" if unknown."""
    inode = os.fstat(handle).st_ino
    with suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()  # 1: FLOCK ADVISORY WRITE 10484 fe:00:2189693 0 EOF
            if fields[1] == "FLOCK" and int(fields[5].rpartition(":")[2]) == inode:
                process = int(fields[4])
                words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
                command = words.replace("\0", " ").strip()
                shown = command if len(command) <= 100 else f"{command[:97]}..."
                return f" (process {process}: {shown})"
    return ""
