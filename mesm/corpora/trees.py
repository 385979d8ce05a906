"""Files and folders anywhere below a folder: archives are unpacked in many ways."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Folders of Macs that repeat every file with a dot before its name.
PASSED_OVER = ("__MACOSX",)
# The first words of what Git leaves in a file's place until `git lfs pull` fetches it.
POINTER = b"version https://git-lfs.github.com/spec/"
# How many names a note lists.
LISTED = 5


def below(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder at and below a folder, with the names in it that are no folders.

    Nearer folders come first, then by path. Links to folders are followed, each folder is given
    once, and hidden names are passed over. Folders that may not be read are given without names.

    Args:
        root: where to begin.

    Yields:
        A folder and the sorted names in it.
    """
    seen = set()
    level = [root]
    while level:
        deeper = []
        for folder in level:
            real = folder.resolve()
            if real in seen:
                continue
            seen.add(real)
            names = []
            for name in _names(folder):
                if (folder / name).is_dir():
                    if name not in PASSED_OVER:
                        deeper.append(folder / name)
                else:
                    names.append(name)
            yield folder, names
        level = deeper


def is_pointer(file: Path) -> bool:
    """Tell whether Git has left a pointer in a file's place."""
    if not file.is_file() or file.stat().st_size > 1024:
        return False
    with file.open("rb") as content:
        return content.read(len(POINTER)) == POINTER


def some(names: list[str]) -> str:
    """The first few of a note's names, and that there are more."""
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208
    except OSError:
        return []
