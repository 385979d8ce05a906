"""Ways to damage a file, each with what may be different afterwards."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SOUND = frozenset({"spectrogram", "spectrogram_columns"})
FACES = frozenset({"faces", "face_found", "face_boxes"})
ANY = frozenset(
    {*SOUND, *FACES, "face_times", "text", "labels", "start", "end", "speaker", "dialog"}
)
NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Damage:
    """Some damage.

    Args:
        what: in words.
        may_change: columns of a prepared row that may be other ones; a clip may always be left out
            instead, with a word.
        harmless: nothing at all may be different.
    """

    what: str
    may_change: frozenset[str] = NOTHING
    harmless: bool = False


# Flips and cuts are what is hardest to notice.
BYTES = (
    *("flip", "flip", "flip", "truncate", "truncate", "zeros", "garbage", "append"),
    *("empty", "delete", "folder", "loop", "fifo", "swap", "head"),
)
# Commands ask whether a path is a file; readers, called on a pipe, wait for its other end.
NO_PIPE = tuple(kind for kind in BYTES if kind != "fifo")


def bytes_of(
    file: Path, rng: random.Random, may_change: frozenset[str], kinds: Sequence[str] = BYTES
) -> Damage:
    """Damage a file as a disk or a broken transfer would, or put something else in its place."""
    data = bytearray(file.read_bytes())
    size = max(1, len(data))
    kind = rng.choice(kinds)
    what = f"{file.name}: {kind}"
    if kind == "flip":
        for _ in range(rng.choice((1, 1, 8, 64))):
            data[rng.randrange(size)] ^= 1 << rng.randrange(8)
    elif kind == "truncate":
        del data[rng.randrange(size) :]
    elif kind in ("zeros", "garbage"):
        start = rng.randrange(size)
        length = min(len(data) - start, rng.choice((16, 400, 10_000)))
        filling = bytes(length) if kind == "zeros" else rng.randbytes(length)
        data[start : start + length] = filling
    elif kind == "append":
        data += rng.randbytes(rng.choice((1, 1000)))
    elif kind == "empty":
        data.clear()
    elif kind == "head":
        data[: min(32, size)] = rng.randbytes(min(32, size))
    elif kind == "swap":
        data[:] = rng.choice((b"{}", b"[]", b"null", b"\x89PNG\r\n\x1a\n", b"version https://git"))
    else:
        file.unlink()
        if kind == "folder":
            file.mkdir()
        elif kind == "loop":
            file.symlink_to(file.name)
        elif kind == "fifo":
            os.mkfifo(file)
        return Damage(what, may_change)
    file.write_bytes(data)
    return Damage(what, may_change)


def wav(file: Path, rng: random.Random, kinds: Sequence[str] = BYTES) -> Damage:
    """Write a sound with samples or a format that no clip can be made of; or its bytes damaged."""
    import soundfile

    kind = rng.choice(("nan", "inf", "huge", "hertz", "mono", "silence", "float", "bytes", "bytes"))
    if kind == "bytes":
        return bytes_of(file, rng, SOUND, kinds)
    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    place = rng.randrange(len(samples))
    stretch = slice(place, place + rng.choice((1, 10, 4000)))
    subtype, changes, harmless = "FLOAT", NOTHING, False
    if kind == "nan":
        samples[stretch] = np.nan
    elif kind == "inf":
        samples[stretch] = rng.choice((np.inf, -np.inf))
    elif kind == "huge":
        samples[stretch] = rng.choice((1e30, -3e38, 1e19))
    elif kind == "hertz":
        rate, subtype = rng.choice((1, 2, 100)), "PCM_16"
    elif kind == "mono":
        if samples.shape[1] == 1:  # already: a whole copy of it is the same sound
            samples = np.repeat(samples, 2, axis=1)
            harmless = True
        else:
            samples = samples.mean(1, keepdims=True)
        subtype = "PCM_16"
    elif kind == "silence":
        samples[stretch] = 0
        subtype, changes = "PCM_16", SOUND
    else:
        harmless = True  # 16-bit samples are exact as floats
    soundfile.write(file, samples, rate, subtype=subtype)
    return Damage(f"{file.name}: {kind} at sample {place}", changes, harmless)


UNUSABLE = ("nan", "NaN", "-999", "inf", "-inf", "1e400", "0x10", "--", "1,5;")
IDS = (
    "../../../../esc/x",
    "a/b",
    "..",
    "a\\b",
    "a\x00b",
    "a\nb",
    "x" * 300,
    "-rf",
    "ü",
    "a b",
    ".",
    "\u202e",
)


def harmless_text(file: Path, rng: random.Random) -> Damage:
    """Change a text file such that it says the same."""
    text = file.read_bytes().decode()
    kind = rng.choice(("crlf", "bom", "trailing lines", "no last line end"))
    if kind == "crlf":
        text = text.replace("\r\n", "\n").replace("\n", "\r\n")
    elif kind == "bom":
        text = "\ufeff" + text
    elif kind == "trailing lines":
        text = text.rstrip("\r\n") + "\n\n\n"
    else:
        text = text.rstrip("\r\n")
    file.write_bytes(text.encode())
    return Damage(f"{file.name}: {kind}", harmless=True)


def lines_of(
    file: Path, rng: random.Random, number: re.Pattern[str], kinds: Sequence[str] = BYTES
) -> Damage:
    """Damage a text file of labels or transcripts, line by line.

    Args:
        file: the text.
        rng: chooses.
        number: matches the numbers that may be made unusable.
        kinds: of damage to its bytes.
    """
    kind = rng.choice(
        [
            "number",
            "number",
            "number",
            "twice",
            "delete",
            "quote",
            "delimiter",
            "utf16",
            "latin1",
            "long",
            "id",
            "nul",
            "bytes",
        ]
    )
    if kind == "bytes":
        return bytes_of(file, rng, ANY, kinds)
    text = file.read_bytes().decode()
    lines = text.split("\n")
    found = [i for i, line in enumerate(lines) if number.search(line)]
    place = rng.choice(found) if found else 0
    line = lines[place]
    changes = ANY
    what = f"{file.name}:{place + 1}: {kind}"
    if kind == "number":
        match = rng.choice(list(number.finditer(line)))
        value = rng.choice(UNUSABLE)
        lines[place] = line[: match.start()] + value + line[match.end() :]
        what += f" {value}"
        changes = NOTHING
    elif kind == "twice":
        lines.insert(place, line)
        changes = frozenset({"labels"}) if file.suffix == ".csv" else NOTHING
    elif kind == "delete":
        del lines[place]
    elif kind == "quote":
        at = rng.randrange(len(line) + 1)
        if file.suffix == ".csv":  # where a field begins, there a quote means something
            at = rng.choice([0, *(m.end() for m in re.finditer(",", line))])
        lines[place] = line[:at] + '"' + line[at:]
    elif kind == "delimiter":
        lines[place] = line.replace(",", ";").replace("___", "__").replace("\t", " ")
    elif kind == "long":
        lines[place] = line + "x" * 200_000
    elif kind == "nul":
        lines[place] = line[: len(line) // 2] + "\0" + line[len(line) // 2 :]
    elif kind == "id":
        new = rng.choice(IDS)
        name = re.search(r"_[FM]\d\d\d|(?<=,)\w{11}(?=,)|___\d+(?=___)", line)
        if name:
            lines[place] = line[: name.start()] + name[0][:3] + new + line[name.end() :]
        what += f" {new[:30]!r}"
    text = "\n".join(lines)
    encoding = {"utf16": "utf-16", "latin1": "latin-1"}.get(kind, "utf-8")
    file.write_bytes(text.encode(encoding, errors="replace"))
    return Damage(what, changes)


def folder_tricks(folder: Path, rng: random.Random) -> Damage:
    """Put a file where a folder was, a loop, a stranger's files, or take the folder away."""
    inner = sorted(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())
    place = rng.choice(inner)
    kind = rng.choice(("delete", "file", "loop", "hidden", "strangers", "link"))
    if kind == "delete":
        shutil.rmtree(place)
    elif kind == "file":
        shutil.rmtree(place)
        place.write_text("a file")
    elif kind == "loop":
        (place / "again").symlink_to(place)
        return Damage(f"{place.name}: a link to itself inside", harmless=True)
    elif kind == "hidden":
        for name in (".DS_Store", "._x.txt", "._x.csv", "Thumbs.db"):
            (place / name).write_bytes(rng.randbytes(200))
        return Damage(f"{place.name}: an operating system's own files inside", harmless=True)
    elif kind == "strangers":
        for name in ("zz.csv", "zz.txt"):
            (place / name).mkdir()
        return Damage(f"{place.name}: folders named as files inside", harmless=True)
    else:
        moved = place.with_name(place.name + ".moved")
        place.rename(moved)
        place.symlink_to(moved.name)
        return Damage(f"{place.name}: a link to the folder", ANY)
    return Damage(f"{place.name}: {kind}", ANY)


def table_of_numbers(
    file: Path, rng: random.Random, separator: str, kinds: Sequence[str] = BYTES
) -> Damage:
    """Damage a file of numbers such as OpenFace's: a cell, a column, a row or its bytes."""
    kind = rng.choice(["cell", "cell", "cell", "cell", "column", "row", "bytes", "header"])
    if kind == "bytes":
        return bytes_of(file, rng, ANY, kinds)
    lines = file.read_text().split("\n")
    place = rng.randrange(1, max(2, len(lines) - 1))
    cells = lines[place].split(separator)
    column = rng.randrange(len(cells))
    what = f"{file.name}:{place + 1}: {kind} {column}"
    if kind == "cell":
        cells[column] = rng.choice(("1e300", "-1e300", "nan", "inf", "-inf", "x", "", "1e39", "-5"))
        what += f" {cells[column]}"
        lines[place] = separator.join(cells)
    elif kind == "column":
        lines = [
            separator.join(part for i, part in enumerate(line.split(separator)) if i != column)
            for line in lines
        ]
    elif kind == "row":
        lines.insert(place, rng.choice((lines[place], separator.join(cells[:-1]), "")))
    else:
        lines[0] = rng.choice(
            ("", lines[0].replace("AU", "au"), separator.join(["x"] * len(cells)))
        )
    file.write_text("\n".join(lines))
    return Damage(what, ANY)


VALUES: tuple[str, ...] = (
    "null",
    "[]",
    "{}",
    '""',
    "NaN",
    "-1",
    "true",
    '"x"',
    "1e999",
    "Infinity",
)


def json_value(file: Path, rng: random.Random) -> Damage:
    """Put something of another type in the place of a value of a JSON file, or damage its bytes."""
    text = file.read_text()
    places = list(re.finditer(r'(?<=: )("[^"\n]*"|-?[\d.e+-]+|true|false|null)', text))
    kind = rng.choice(("value", "value", "value", "whole", "key", "bytes"))
    if kind == "bytes" or not places:
        return structure(file, rng)
    if kind == "whole":
        new = rng.choice(VALUES)
        file.write_text(new)
        return Damage(f"{file.name}: the whole is {new}")
    place = rng.choice(places)
    if kind == "key":
        keys = list(re.finditer(r'"(\w+)"(?=:)', text))
        key = rng.choice(keys)
        new = rng.choice(("zzz", ""))
        file.write_text(text[: key.start()] + f'"{new}"' + text[key.end() :])
        return Damage(f"{file.name}: key {key[1]} is {new!r}")
    new = rng.choice([value for value in VALUES if value != place[0]])
    file.write_text(text[: place.start()] + new + text[place.end() :])
    line = text.count("\n", 0, place.start()) + 1
    return Damage(f"{file.name}:{line}: {place[0][:20]} is {new}")


def structure(file: Path, rng: random.Random) -> Damage:
    """Damage a file such that nobody can take it for a whole one."""
    data = file.read_bytes()
    kind = rng.choice(("truncate", "truncate", "empty", "head", "folder", "loop", "swap", "utf16"))
    if kind == "truncate":
        file.write_bytes(data[: rng.randrange(max(1, len(data) - 2))])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "head":
        file.write_bytes(rng.randbytes(16) + data[16:])
    elif kind == "swap":
        file.write_bytes(
            rng.choice((b"{}", b"[]", b"null", b"\x89PNG\r\n", b"version https://git"))
        )
    elif kind == "utf16":
        file.write_bytes(data.decode("latin-1").encode("utf-16"))
    else:
        file.unlink()
        file.mkdir() if kind == "folder" else file.symlink_to(file.name)
    return Damage(f"{file.name}: {kind}")
