"""Files that no kill leaves half written, and folders with one process at a time."""

from __future__ import annotations

import fcntl
import json
import math
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from pydantic import TypeAdapter, ValidationError

from mesm.runs.ordinary import not_a_file, ordinary

P = ParamSpec("P")
T = TypeVar("T")
LONGEST_NAME = 200  # bytes; file systems take 255, of which a hash and endings need a part


def write_beside(file: Path, content: str | bytes) -> None:
    """Write beside the place, then rename: readers see the old file or the new one.

    Where several processes write one file, each writes the whole, one after the other.
    """
    beside = file.with_name(f".{file.name}.partial")
    data = content.encode() if isinstance(content, str) else content
    try:
        with _alone(beside, fcntl.LOCK_EX) as handle:
            try:
                os.ftruncate(handle, 0)
                with open(handle, "wb", closefd=False) as stream:
                    stream.write(data)
                beside.replace(file)
            except BaseException:
                with suppress(OSError):
                    beside.unlink(missing_ok=True)
                raise
    except OSError as error:
        # A full disk is told by a number alone.
        raise OSError(error.errno, error.strerror or str(error), str(file)) from error


@contextmanager
def owned_file(file: Path, doing: str) -> Iterator[None]:
    """Be the only process that makes a file, from its inputs' reading to its end.

    Args:
        file: may be missing, as may its folder.
        doing: what is being done, e.g. "writing".

    Raises:
        ValueError: another process makes the file, and is named where the system tells; or `file`
            is a folder, a named pipe, a socket or a device.
        OSError: the file's folder cannot be made.
    """
    if file.is_dir():
        raise ValueError(f"{file} is a folder; name a file, for instance {file / 'page.html'}")
    if file.exists():
        ordinary(file)
    check_folder(file.parent)
    made = _make(file.parent)
    try:
        with _claimed(file, doing):
            yield
    finally:
        _remove_empty(made)


def one_at_a_time(
    name: str, doing: str
) -> Callable[[Callable[Concatenate[Path, P], T]], Callable[Concatenate[Path, P], T]]:
    """Decorate a function of a run's folder that writes there: one process at a time does.

    Args:
        name: of the file or folder that is written.
        doing: for the second process's ValueError, e.g. "sweeping into".
    """

    def decorate(work: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Path, P], T]:
        @wraps(work)
        def alone(run: Path, *args: P.args, **kwargs: P.kwargs) -> T:
            if not run.is_dir():
                return work(run, *args, **kwargs)  # which refuses it
            with _claimed(run / name, doing):
                return work(run, *args, **kwargs)

        return alone

    return decorate


@contextmanager
def _claimed(place: Path, doing: str) -> Iterator[None]:
    mark = place.with_name(f".{place.name}.owner.partial")
    with ExitStack() as stack:
        try:
            stack.enter_context(_alone(mark, fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise ValueError(
                f"another process is {doing} {place}{_holder(mark)}: wait for it"
            ) from error
        try:
            yield
        finally:
            mark.unlink(missing_ok=True)


def check_folder(folder: Path) -> None:
    """Refuse, with a ValueError, a path where, or above which, a file or a broken link stands."""
    for place in (folder, *folder.parents):
        if place.is_dir():
            return
        if place.exists():
            raise ValueError(f"{place} is a file, so {folder} cannot be a folder; name another one")
        if place.is_symlink():
            raise ValueError(f"{place} {not_a_file(place)}; name another folder")


@contextmanager
def _alone(file: Path, how: int) -> Iterator[int]:
    """Make a file if need be and lock it; the file is where it was when the lock is there."""
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, how)
            # Whoever had the lock may have renamed or removed the file.
            there = False
            with suppress(FileNotFoundError):
                there = os.path.samestat(os.fstat(handle), file.stat())
            if there:
                yield handle
                return
        finally:
            os.close(handle)


def read_json(file: Path, shape: Any = None) -> Any:
    """Read a JSON file; None if there is none.

    Args:
        file: UTF-8.
        shape: the type that the content must have, e.g. `dict[str, int]` or a TypedDict, of which
            further keys are taken as they are; None: any.

    Raises:
        ValueError: the file is not JSON, holds NaN or an infinity, or has another content; or it is
            no ordinary file.
        OSError: the file cannot be read.
    """
    if not file.exists():
        return None
    mend = "delete it and make it again"
    if not file.is_file():
        raise ValueError(f"{file} {not_a_file(file)}; {mend}")
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
    """Read JSON text.

    Raises:
        ValueError: it is not JSON, a number in it is not finite, or an object has a key twice, of
            which readers would choose one each in their own way.
    """
    return json.loads(
        text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_differing
    )


def _differing(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:40]!r} stands there twice")
    return found


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
                f"another process is {doing} {folder}{_holder(folder)}: wait for it, or choose "
                "another folder"
            ) from error
        yield
    finally:
        os.close(handle)


@contextmanager
def owned(folder: Path, doing: str, mode: int = 0o777) -> Iterator[None]:
    """Make a folder if need be, and be the only process that writes there.

    A folder that was made for this and is still empty in the end goes again.

    Args:
        folder: may be missing, as may its parents.
        doing: what is being done there, e.g. "training in".
        mode: of the folder if it is made; the process's umask is taken from that.

    Raises:
        ValueError: another process owns the folder; says which, where the system tells. Or a file
            stands there.
        OSError: the folder cannot be made.
    """
    check_folder(folder)
    made = _make(folder, mode)
    with ExitStack() as stack:
        stack.enter_context(locked(folder, doing))
        if not folder.exists():
            # The last owner made the folder, and removed it as empty just before the lock.
            stack.enter_context(owned(folder, doing, mode))
        try:
            yield
        finally:
            _remove_empty(made)  # before somebody else has the lock


def check_own(folder: Path, mend: str) -> None:
    """Refuse, with a ValueError, a folder in which another user may have put something.

    Args:
        folder: is there; its name can be guessed, and others may write into the folder above.
        mend: for the message.
    """
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise ValueError(f"{folder} is a link, which anybody may have put there: {mend}")
    if found.st_uid != os.geteuid():
        raise ValueError(f"{folder} belongs to another user (number {found.st_uid}): {mend}")


def _make(folder: Path, mode: int = 0o777) -> list[Path]:
    """Make a folder; gives it and those above it that were missing."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(mode, parents=True, exist_ok=True)
    return made


def _remove_empty(folders: list[Path]) -> None:
    for place in folders:
        with suppress(OSError):
            place.rmdir()  # fails where the folder holds something


def _holder(place: Path) -> str:
    """Who holds the lock on a file or folder, as " (process 12: mesm train ...)"; "" if unknown."""
    with suppress(OSError, ValueError):
        inode = place.stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()  # 1: FLOCK ADVISORY WRITE 10484 fe:00:2189693 0 EOF
            if fields[1] == "FLOCK" and int(fields[5].rpartition(":")[2]) == inode:
                process = int(fields[4])
                words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
                command = words.replace("\0", " ").strip()
                shown = command if len(command) <= 100 else f"{command[:97]}..."
                return f" (process {process}: {shown})"
    return ""
