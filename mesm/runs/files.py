"""Files that no kill leaves half written, and folders with one process at a time."""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

LONGEST_NAME = 200  # bytes; file systems take 255, of which a hash and endings need a part


def write_beside(file: Path, content: str | bytes) -> None:
    """Write beside the place, then rename: readers see the old file or the new one."""
    beside = file.with_name(f".{file.name}.partial")
    try:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        beside.replace(file)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        # A full disk is told by a number alone.
        raise OSError(error.errno, error.strerror or str(error), str(file)) from error


def read_json(file: Path, shape: Any = None) -> Any:
    """Read a JSON file; None if there is none.

    Args:
        file: UTF-8.
        shape: the type that the content must have, e.g. `dict[str, int]` or a TypedDict, of which
            further keys are taken as they are; None: any.

    Raises:
        ValueError: the file is not JSON, holds NaN or an infinity, or has another content.
        OSError: the file cannot be read.
    """
    if not file.exists():
        return None
    mend = "delete it and make it again"
    try:
        content = finite_json(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not JSON ({error}); {mend}") from error
    if shape is not None:
        try:
            _checker(shape).validate_python(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the whole"
            what = first["msg"][:1].lower() + first["msg"][1:]
            raise ValueError(f"{file}: damaged, at {place}: {what}; {mend}") from error
    return content


def finite_json(text: str) -> Any:
    """Read JSON text; a ValueError where the text is not JSON or a number in it is not finite."""
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is not finite")
    return value


@cache
def _checker(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


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
