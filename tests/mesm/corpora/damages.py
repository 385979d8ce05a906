"""Random damages of the files of a raw corpus, such as disks, downloads and editors do."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from mesm.corpora.utterances import RawCorpus

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:9269ed\nsize 414429\n"


def damage(root: Path, rng: random.Random) -> str:
    """Damage a file at or below a folder; say how."""
    files = sorted(file for file in root.rglob("*") if file.is_file())
    # One label file stands for many clips, so it is damaged as often as all others together.
    tables = [file for file in files if file.suffix == ".csv"]
    file = rng.choice(tables if tables and rng.random() < 0.5 else files)
    kinds = [*_WHOLE, *(_LINES if file.suffix == ".csv" else [_overwrite])]
    kind = rng.choice(kinds)
    kind(file, rng)
    return f"{kind.__name__} of {file.relative_to(root)}"


def read_damaged(read: Callable[[Path], RawCorpus], raw: Path, done: str) -> RawCorpus | None:
    """Read a damaged corpus; None: it was refused, by its name."""
    try:
        return read(raw)
    except ValueError as error:
        if str(raw) not in str(error):
            raise AssertionError(f"refused without its name after {done}") from error
        return None


def _cut(file: Path, rng: random.Random) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: rng.randrange(len(data))])


def _empty(file: Path, rng: random.Random) -> None:
    file.write_bytes(b"")


def _delete(file: Path, rng: random.Random) -> None:
    file.unlink()


def _folder(file: Path, rng: random.Random) -> None:
    file.unlink()
    file.mkdir()


def _pipe(file: Path, rng: random.Random) -> None:
    file.unlink()
    os.mkfifo(file)


def _dangling(file: Path, rng: random.Random) -> None:
    file.unlink()
    file.symlink_to(file.with_name("nowhere"))


def _loop(file: Path, rng: random.Random) -> None:
    (file.parent / "again").symlink_to(file.parent.parent)


def _rubbish(file: Path, rng: random.Random) -> None:
    file.write_bytes(rng.randbytes(3000))


def _pointer(file: Path, rng: random.Random) -> None:
    file.write_text(POINTER)


def _rename(file: Path, rng: random.Random) -> None:
    file.rename(file.with_name(rng.choice(["._", "copy of ", "final_videos_test"]) + file.name))


def _copy(file: Path, rng: random.Random) -> None:
    (file.parent / "copies").mkdir()
    shutil.copy(file, file.parent / "copies")


def _overwrite(file: Path, rng: random.Random) -> None:
    data = bytearray(file.read_bytes())
    first = rng.randrange(len(data))
    last = min(len(data), first + rng.randint(1, 400))
    data[first:last] = rng.randbytes(last - first)
    file.write_bytes(data)


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines(keepends=True)


def _drop_line(file: Path, rng: random.Random) -> None:
    lines = _lines(file)
    del lines[rng.randrange(len(lines))]
    file.write_text("".join(lines), encoding="utf-8")


def _double_line(file: Path, rng: random.Random) -> None:
    lines = _lines(file)
    lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    file.write_text("".join(lines), encoding="utf-8")


def _change_line(file: Path, rng: random.Random, change: str) -> None:
    lines = _lines(file)
    row = rng.randrange(len(lines))
    place = rng.choice([i for i, letter in enumerate(lines[row]) if letter == ","])
    lines[row] = lines[row][:place] + change + lines[row][place + 1 :]
    file.write_text("".join(lines), encoding="utf-8")


def _lose_comma(file: Path, rng: random.Random) -> None:
    _change_line(file, rng, "")


def _add_quote(file: Path, rng: random.Random) -> None:
    _change_line(file, rng, ',"')


def _add_cells(file: Path, rng: random.Random) -> None:
    _change_line(file, rng, ",x,y,")


def _break_line(file: Path, rng: random.Random) -> None:
    _change_line(file, rng, ",\n")


_WHOLE = [
    *(_cut, _empty, _delete, _folder, _pipe, _dangling, _loop, _rubbish, _pointer, _rename, _copy),
]
_LINES = [_drop_line, _double_line, _lose_comma, _add_quote, _add_cells, _break_line]
