"""Hashes of files compared with those written down, and remembered while the files stay.

A JSON file that names other files' hashes can carry its own.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from mesm.runs.files import read_json, write_beside
from mesm.runs.ordinary import not_a_file, ordinary

MEMORY = ".verified.json"
# Bytes; hashing less takes some milliseconds, so nothing is written into the folder for it.
WORTH_REMEMBERING = 16 << 20
# Bytes of a memory that is read, tens of thousands of files: the folder may be anybody's.
MOST_MEMORY = 16 << 20
# Seconds; a file system's clock is coarse, and a file changed twice in one tick looks unchanged.
SETTLED = 0.1

# Size, times of change in nanoseconds, and inode of a file.
_Stamp = tuple[int, int, int, int]


def sha256(file: Path) -> str:
    """Hash a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Add to the content of a JSON file its own hash, as "digest"."""
    return {**values, "digest": content_hash(values)}


def check_seal(values: Mapping[str, Any]) -> None:
    """Refuse, with a ValueError, the content of a JSON file that is not as `sealed` made it.

    Content without a digest, from before there was one, is taken.
    """
    if values.get("digest") not in (None, content_hash(values)):
        raise ValueError("is not as it was written: its digest differs")


def read_sealed(file: Path, kind: Any, mend: str) -> Any:
    """As `mesm.runs.files.read_json`, of a file that `sealed` made; None: there is no file.

    Args:
        file: JSON.
        kind: what it must hold.
        mend: what is to be done where it is damaged.

    Raises:
        ValueError: it is damaged; names it.
    """
    found = read_json(file, kind)
    if found is not None:
        try:
            check_seal(found)
        except ValueError as error:
            raise ValueError(f"{file}: {error}; {mend}") from error
    return found


def content_hash(values: Mapping[str, Any]) -> str:
    """Hash JSON values, a "digest" among them apart; the order of keys does not matter."""
    rest = {key: value for key, value in values.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def check_files(folder: Path, hashes: Mapping[str, str], mend: str, *, anew: bool = False) -> None:
    """Compare files with the hashes that were written down when they were made.

    A hash found right is remembered in `folder`, with the file's size, times of change and inode,
    and is not computed again while those stay. Folders that cannot be written to are fine.

    Args:
        folder: where the files lie.
        hashes: SHA-256 of each, by its path in `folder`.
        mend: how to make the files again, for the message.
        anew: compute every hash, whatever is remembered.

    Raises:
        ValueError: a file is missing or is not as it was written, or a path leads out of `folder`;
            names the file and the mend.
    """
    memory = _remembered(folder)
    known = {} if anew else memory
    found: dict[str, tuple[str, _Stamp]] = {}
    computed = 0
    for name, wanted in hashes.items():
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name:
            raise ValueError(f"{folder} names a file outside of it, {name!r}; {mend}")
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{folder} is not whole: {name} {not_a_file(file)}; {mend}")
        stamp = _stamp(file)
        if known.get(name) != (wanted, stamp):
            computed += stamp[0]
            if sha256(file) != wanted:
                raise ValueError(f"{file} is not as it was written: its hash differs; {mend}")
        found[name] = (wanted, stamp)
    if computed < WORTH_REMEMBERING:
        return
    settled = {name: entry for name, entry in found.items() if _is_settled(entry[1])}
    if settled and settled != {name: memory.get(name) for name in settled}:
        with suppress(OSError):
            write_beside(folder / MEMORY, json.dumps({**memory, **settled}))


def _stamp(file: Path) -> _Stamp:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _is_settled(stamp: _Stamp) -> bool:
    return max(stamp[1], stamp[2]) < time.time_ns() - SETTLED * 1e9


def _remembered(folder: Path) -> dict[str, tuple[str, _Stamp]]:
    """The memory of a folder; one that cannot be read as such, or is large, remembers nothing."""
    try:
        with ordinary(folder / MEMORY).open("rb") as stream:
            data = stream.read(MOST_MEMORY + 1)
        if len(data) > MOST_MEMORY:
            return {}
        entries = json.loads(data.decode("utf-8")).items()
        return {
            str(name): (str(value), (int(a), int(b), int(c), int(d)))
            for name, (value, (a, b, c, d)) in entries
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
