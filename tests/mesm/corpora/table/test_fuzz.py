"""Two hundred damaged tables: each is refused where it is wrong, or read as it is meant.

The expectation is computed from the rows before they are written, by this file alone.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mesm.corpora.table.problems import TableError
from mesm.corpora.table.reader import own_split, read_table

TABLES = 200
EMOTIONS = ("glad", "calm", "angry")
SPLITS = ("train", "valid", "test")
FORMATS = ("csv", "tsv", "semicolons", "jsonl", "parquet")
# Seconds of the media that rows may name.
SECONDS = {"a.mp4": 3.0, "b.mp4": 3.0, "c.wav": 2.0, "d.wav": 2.0}
Expected = dict[str, tuple[Any, ...]]


@dataclass
class Draft:
    """A table while it is drawn, and what must be told of it: a line or None, a column or None."""

    kind: str
    columns: list[str]
    rows: list[dict[str, str]]
    faults: list[tuple[int | None, str | None]] = field(default_factory=list)
    whole: bool = False  # a fault that hides all others
    data: bytes = b""

    def line(self, row: int) -> int:
        return row + (1 if self.kind in ("jsonl", "parquet") else 2)


def draw(seed: random.Random) -> Draft:
    """A table without a fault: nine clips, each emotion in each split, of two recordings."""
    per_emotion = seed.random() < 0.4
    columns = ["video", "start", "end"]
    columns += [name for name in ("audio", "text", "id", "speaker", "group") if seed.random() < 0.5]
    columns += ["split"] if seed.random() < 0.5 else []
    columns += list(EMOTIONS) if per_emotion else ["emotion"]
    seed.shuffle(columns)
    rows = []
    for place in range(9):
        emotion, split = EMOTIONS[place % 3], SPLITS[place // 3]
        start = place * 0.2
        clock = seed.random() < 0.3
        row = {
            "video": seed.choice(["a.mp4", "b.mp4"]),
            "audio": seed.choice(["c.wav", "d.wav"]),
            "start": f"0:00:0{start:.1f}" if clock else f"{start:.1f}",
            "end": f"{start + 0.2:.2f}" if seed.random() < 0.8 else "",
            "text": seed.choice(["", "so; then", "a, b", 'he said "no"', "zwölf\nLinien"]),
            "id": f"clip {place}",
            "speaker": f"s{place // 3}",
            "group": f"g{place // 2}",
            "split": split,
            "emotion": emotion,
        }
        row |= {
            name: seed.choice(["1", "true"] if name == emotion else ["0", "FALSE"])
            for name in EMOTIONS
        }
        rows.append({name: row[name] for name in columns})
    return Draft(seed.choice(FORMATS), columns, rows)


def expected(draft: Draft) -> Expected:
    """The rows' meaning, by all that names them: media, times and text."""
    found: Expected = {}
    for row in draft.rows:
        start = float(row["start"].rpartition(":")[2])
        files = [row["video"], row.get("audio", row["video"])]
        end = float(row["end"]) if row["end"] else min(SECONDS[file] for file in files)
        emotion = row.get("emotion") or next(n for n in EMOTIONS if row[n] in ("1", "true"))
        # Without --labels names are sorted, and columns are as they stand.
        names = [n for n in draft.columns if n in EMOTIONS] or sorted(EMOTIONS)
        stem = row["video"].removesuffix(".mp4")
        found[f"{files} {start:.2f}"] = (
            round(end, 1),
            row.get("text", ""),
            row.get("id"),
            row.get("speaker", stem),
            row.get("group", stem),
            row.get("split"),
            tuple(int(name == emotion) for name in names),
        )
    return found


def write(draft: Draft, folder: Path) -> Path:
    """The table as a file, with its data replaced where a damage made its own."""
    ending = {"semicolons": "csv"}.get(draft.kind, draft.kind)
    file = folder / f"clips.{ending}"
    if draft.data:
        file.write_bytes(draft.data)
    elif draft.kind == "parquet":
        table = {name: [row.get(name) for row in draft.rows] for name in draft.columns}
        pq.write_table(pa.table(table), file)
    else:
        file.write_bytes(text_of(draft).encode("utf-8", "surrogatepass"))
    return file


def text_of(draft: Draft) -> str:
    if draft.kind == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in draft.rows)
    stream = io.StringIO()
    delimiter = {"csv": ",", "tsv": "\t", "semicolons": ";"}[draft.kind]
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    writer.writerow(draft.columns)
    writer.writerows([[row[name] for name in draft.columns] for row in draft.rows])
    return stream.getvalue()


def cell(column: str, *values: str) -> Callable[[Draft, random.Random], bool]:
    """A damage of one cell, where there is the column."""

    def damage(draft: Draft, seed: random.Random) -> bool:
        # The first three rows bring every emotion, which later ones may then misspell.
        row = seed.randrange(3, 9)
        touched = {line for line, _ in draft.faults}
        if column not in draft.columns or draft.line(row) in touched:
            return False
        draft.rows[row][column] = seed.choice(values)
        draft.faults.append((draft.line(row), column))
        return True

    return damage


def same_id(draft: Draft, seed: random.Random) -> bool:
    if "id" not in draft.columns or draft.faults:
        return False
    draft.rows[7]["id"] = draft.rows[2]["id"]
    draft.faults.append((draft.line(7), "id"))
    return True


def same_clip(draft: Draft, seed: random.Random) -> bool:
    if draft.faults or "speaker" in draft.columns:
        return False
    media = {k: v for k, v in draft.rows[1].items() if k in ("video", "audio", "start", "end")}
    draft.rows[8].update(media)
    draft.faults.append((draft.line(8), None))
    return True


def two_splits(draft: Draft, seed: random.Random) -> bool:
    if draft.faults or not {"speaker", "split"} <= set(draft.columns):
        return False
    draft.rows[8]["speaker"] = draft.rows[0]["speaker"]
    draft.faults.append((draft.line(8), "speaker"))
    return True


def header(draft: Draft, seed: random.Random) -> bool:
    if draft.faults:
        return False
    old = seed.choice([name for name in draft.columns if name not in EMOTIONS and len(name) > 3])
    new = seed.choice([old.upper(), old[:-1], old + "s", old[0] + old[2] + old[1] + old[3:]])
    draft.columns = [new if name == old else name for name in draft.columns]
    draft.rows = [{new if k == old else k: v for k, v in row.items()} for row in draft.rows]
    draft.faults.append((None if draft.kind in ("jsonl", "parquet") else 1, new))
    draft.whole = True
    return True


def structure(draft: Draft, seed: random.Random) -> bool:
    """A line that is cut, or has a cell too many."""
    if draft.faults or draft.kind == "parquet" or "text" in draft.columns:
        return False
    lines = text_of(draft).splitlines()
    row = seed.randrange(3, 9)
    number = draft.line(row)
    if draft.kind == "jsonl":
        lines[number - 1] = lines[number - 1][: seed.randrange(1, len(lines[number - 1]))]
    else:
        delimiter = {"csv": ",", "tsv": "\t", "semicolons": ";"}[draft.kind]
        lines[number - 1] = seed.choice(
            [lines[number - 1] + delimiter, lines[number - 1].rpartition(delimiter)[0]]
        )
    draft.data = ("\n".join(lines) + "\n").encode()
    draft.faults.append((number, None))
    draft.whole = True
    return True


def bytes_of_another_encoding(draft: Draft, seed: random.Random) -> bool:
    if draft.faults or draft.kind == "parquet" or "speaker" not in draft.columns:
        return False
    if "text" in draft.columns:
        return False
    draft.rows[5]["speaker"] = "Jürgen"
    draft.data = text_of(draft).encode("latin-1")
    draft.faults.append((draft.line(5), "speaker"))
    draft.whole = True
    return True


def another_encoding(draft: Draft, seed: random.Random) -> bool:
    if draft.faults or draft.kind == "parquet":
        return False
    draft.data = text_of(draft).encode("utf-16")
    draft.faults.append((1, None))
    draft.whole = True
    return True


def cut_short(draft: Draft, seed: random.Random) -> bool:
    if draft.faults or draft.kind != "parquet":
        return False
    table = {name: [row[name] for row in draft.rows] for name in draft.columns}
    stream = io.BytesIO()
    pq.write_table(pa.table(table), stream)
    data = stream.getvalue()
    draft.data = data[: seed.randrange(4, len(data))]
    draft.faults.append((None, None))
    draft.whole = True
    return True


DAMAGES = [
    cell("video", "nowhere.mp4", "text.mp4", "folder.mp4", "c.wav", "../a.mp4"),
    cell("audio", "nowhere.wav", "text.wav", "mute.mp4"),
    cell("start", "abc", "-1", "1,5", "1:99", "inf", "9", "1e-3", "0x1", "2.9.1"),
    cell("end", "zwei", "0", "-0.2", "77", "1:00:00", "NaN", "4 s"),
    cell("id", "", "a/b", ".", "x" * 300),
    cell("speaker", ""),
    cell("group", "", "a\\b"),
    cell("split", "", "val", "Train", "0"),
    cell("emotion", "glda", "Calm", "a n g r y", "calm;;glad", "calm;calm", "all", "a|b", "x" * 50),
    cell("glad", "", "yes", "2", "0.5", "nan"),
    cell("text", "half \ufffd", "zero \0"),
    *(same_id, same_clip, two_splits, header, structure),
    *(bytes_of_another_encoding, another_encoding, cut_short),
]


@pytest.fixture(scope="module")
def folder(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tables") / "deep"
    made.mkdir()
    for file in media.iterdir():
        (made / file.name).symlink_to(file)
    return made


def test_damaged_tables_are_refused_where_they_are_wrong(folder: Path) -> None:
    damaged = dict.fromkeys(range(len(DAMAGES)), 0)
    for number in range(TABLES):
        seed = random.Random(number)
        draft = draw(seed)
        # Each damage has its turn; a second one may join it.
        wanted = [number % len(DAMAGES), *([seed.randrange(len(DAMAGES))] if number % 3 else [])]
        for which in wanted:
            if not draft.whole and DAMAGES[which](draft, seed):
                damaged[which] += 1
        check(draft, folder, number)
    assert min(damaged.values()) >= 2, damaged


def check(draft: Draft, folder: Path, number: int) -> None:
    meant = None if draft.faults else expected(draft)
    file = write(draft, folder)
    split = "column" if own_split(file) == "column" else None
    found, refused = None, None
    try:
        found = read_table(file, split=split)
    except TableError as error:
        refused = error
    file.unlink()
    if found is None:
        assert refused is not None
        assert draft.faults, f"{number}: {draft.kind} was refused for nothing: {refused}"
        shift = shifts(draft)
        unit = "row" if draft.kind == "parquet" else "line"
        for line, column in draft.faults:
            place = "" if line is None else f"{unit} {shift(line)}"
            place += "" if column is None else f", column {column}" if place else f"column {column}"
            told = [one for one in refused.lines if one.startswith(f"{place}:") or not place]
            assert told, f"{number}: {draft.kind}: nothing about {place}: {refused}"
        return
    assert not draft.faults, f"{number}: {draft.kind}: {draft.faults} was not noticed"
    read = {}
    for clip in found.utterances:
        assert clip.video is not None
        assert clip.audio is not None
        own_id = clip.clip_id if "id" in draft.columns else None
        read[f"{[clip.video.name, clip.audio.name]} {clip.start:.2f}"] = (
            round(clip.end, 1),
            *(clip.text, own_id, clip.speaker, clip.dialog, clip.split, clip.labels),
        )
    assert read == meant, number


def shifts(draft: Draft) -> Callable[[int], int]:
    """Line breaks inside of texts move the lines of CSV."""
    if draft.kind in ("jsonl", "parquet"):
        return lambda line: line
    texts = [row.get("text", "") for row in draft.rows]
    return lambda line: line + sum(text.count("\n") for text in texts[: max(0, line - 2)])
