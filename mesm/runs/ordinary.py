"""Whether a path leads to an ordinary file, which can be opened and read to its end."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def ordinary(file: Path) -> Path:
    """Check that a path leads to a file with content of its own, before it is opened.

    Opening a named pipe would wait for whoever writes there, for ever if nobody does.

    Returns:
        The path.

    Raises:
        ValueError: it leads to a folder, a named pipe, a socket or a device, or is a link to what
            is not there.
        OSError: nothing is there, or it cannot be looked at.
    """
    if file.is_symlink() and not file.exists():
        raise ValueError(f"{file} {not_a_file(file)}; copy what it led to, as by cp -rL")
    if not stat.S_ISREG(file.stat().st_mode):
        raise ValueError(f"{file} {not_a_file(file)}")
    return file


def check_contents(folder: Path) -> None:
    """Refuse, as `ordinary` does, a folder that is to be read by others and holds what is no file.

    Folders in it are passed over.
    """
    for place in sorted(folder.iterdir()):
        if not place.is_dir():
            ordinary(place)


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Let an error of the system that names no file, as that of a full disk, name this one."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        # Errors of libraries that derive from the system's have names that cannot be set.
        raise OSError(error.errno, error.strerror, str(file)) from error


def not_a_file(place: Path) -> str:
    """Say what stands where a file is wanted, e.g. "is a folder, wanted a file"."""
    try:
        mode = place.stat().st_mode
    except OSError as error:
        if place.is_symlink():
            return f"is a link to {place.readlink()}, which is not there"
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return "is not there"
        return f"cannot be looked at ({error.strerror})"
    if stat.S_ISDIR(mode):
        return "is a folder, wanted a file"
    if stat.S_ISFIFO(mode):
        return "is a named pipe, wanted a file: copy what comes out of it into one"
    kind = "socket" if stat.S_ISSOCK(mode) else "device"
    return f"is a {kind}, wanted a file"
