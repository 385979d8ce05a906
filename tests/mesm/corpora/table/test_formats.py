"""Tables in every format: lines, delimiters, encodings, and types of cells."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from mesm.corpora.table.problems import TableError
from mesm.corpora.table.reader import own_split, read_table
from mesm.corpora.utterances import RawCorpus
from tests.mesm.corpora.table.tables import Rows, write_rows, wrong

WHOLE: Rows = [
    {
        "video": "a.mp4",
        "audio": "c.wav",
        "start": "0:00:00.5",
        "end": 1.5,
        "text": "Well, then; no",
        "id": "one",
        "speaker": "Ann",
        "group": "talk",
        "split": "train",
        "emotion": "happy;sad",
    },
    {
        "video": "b.mp4",
        "audio": "",
        "start": "1",
        "end": 2.0,
        "text": "",
        "id": "two",
        "speaker": "Bo",
        "group": "talk",
        "split": "test",
        "emotion": "",
    },
]


@pytest.mark.parametrize(
    "name", ["clips.csv", "clips.tsv", "clips.jsonl", "clips.parquet", "semicolons.csv"]
)
def test_every_column_in_every_format(read: Callable[..., RawCorpus], tmp_path: Path, name: str):
    folder = tmp_path / "own"
    delimiter = {"clips.tsv": "\t", "semicolons.csv": ";"}.get(name, ",")
    write_rows(folder / name, WHOLE, delimiter)
    corpus = read_table(folder / name, name="Mine")
    two, one = corpus.utterances
    assert (one.clip_id, one.speaker, one.dialog) == ("one", "Ann", "talk")
    assert (one.start, one.end, one.text) == (0.5, 1.5, "Well, then; no")
    assert (one.video, one.audio) == (folder / "a.mp4", folder / "c.wav")
    assert (two.video, two.audio, two.text) == (folder / "b.mp4", folder / "b.mp4", "")
    assert corpus.emotions == ("happy", "sad")
    assert (one.labels, two.labels) == ((1, 1), (0, 0))
    assert (corpus.title, corpus.single_label, corpus.root) == ("Mine", False, folder)
    assert own_split(folder / name) == "column"


def test_accents_are_one_letter_however_they_were_typed(read: Callable[..., RawCorpus]):
    rows = [{"video": "a.mp4", "emotion": name} for name in ("caf\u00e9", "cafe\u0301")]
    rows[1]["video"] = "b.mp4"
    rows.append({"video": "uneven.mp4", "emotion": "tea"})
    assert read(rows).emotions == ("caf\u00e9", "tea")


def test_empty_first_lines_long_cells_and_capitals(read: Callable[..., RawCorpus]):
    text = "\n\nvideo,text,emotion\na.mp4," + "a" * 200_000 + ",x\nb.mp4,,y\n"
    assert len(read(text).utterances[0].text) == 200_000
    (told,) = wrong(read, "Video,Emotion\na.mp4,x\n")
    assert told.endswith("did you mean emotion, video, in small letters?")


def test_numbers_of_parquet_and_types_that_are_none(read: Callable[..., RawCorpus]):
    rows = [{"video": "a.mp4", "emotion": "x", "start": Decimal("0.1"), "end": 0.7}]
    rows.append({"video": "b.mp4", "emotion": "y", "start": Decimal("0.0"), "end": 0.5})
    assert read(rows, "clips.parquet").utterances[0].start == pytest.approx(0.1)
    rows = [{"video": "a.mp4", "emotion": b"x"} for _ in range(5)]
    (told,) = wrong(read, rows, into="clips.parquet")
    assert told.startswith("row 1, column emotion: wanted a text")


def test_json_and_parquet_have_truths_of_their_own(read: Callable[..., RawCorpus]):
    rows = [
        {"video": "a.mp4", "sad": True, "glad": False},
        {"video": "b.mp4", "sad": False, "glad": True},
    ]
    for name in ("clips.jsonl", "clips.parquet"):
        assert [u.labels for u in read(rows, name).utterances] == [(1, 0), (0, 1)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: wanted columns among video, audio"),
        ("film,mood\na.mp4,sad\n", "line 1: wanted columns among video, audio"),
        ("video,emotion;id\na.mp4,sad;x\n", "line 1: wanted columns among video, audio"),
        ("video,emotion\n", "it has no clip; write one a line"),
        ("video,emotion\na.mp4,sad,x\n", "line 2: it has 3 cells, the first line 2"),
        ("video,emotion\na.mp4\n", "line 2: it has 1 cells, the first line 2"),
        ('video,emotion\n"a.mp4"x,sad\n', "line 2: it cannot be read as CSV"),
        ('video,emotion\na.mp4,"sad\n', "it cannot be read as CSV (unexpected end of data)"),
        ("video,video,emotion\na.mp4,b.mp4,sad\n", "line 1, column video: there are two"),
        ("video,,emotion\na.mp4,b.mp4,sad\n", "line 1, column 2: it has no name"),
    ],
)
def test_a_csv_that_is_wrong(read: Callable[..., RawCorpus], text: str, told: str):
    assert told in "\n".join(wrong(read, text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "line 1: it is not JSON"),
        ("\n[1]\n", "line 2: wanted an object such as"),
        ('{"video": "a.mp4", "video": "b.mp4", "emotion": "x"}', "it has 'video' twice"),
        ('{"video": "a.mp4", "emotion": NaN}', "NaN is no number"),
        ('{"video": "a.mp4", "emotion": ["sad"]}', "line 1, column emotion: wanted a text, a"),
        ('{"video": 1.5, "emotion": "sad"}', "column video: wanted a text, got 1.5; write it as"),
        ('{"video": "a.mp4", "emotion": true}', "column emotion: wanted a text, got True"),
        ('{"video": "a.mp4", "start": true, "emotion": "x"}', "column start: wanted seconds"),
        ('{"video": "\\ud800", "emotion": "x"}', "column video: it holds half a character"),
        ("[" * 100000, "line 1: it is not JSON"),
    ],
)
def test_json_lines_that_are_wrong(read: Callable[..., RawCorpus], text: str, told: str):
    assert told in "\n".join(wrong(read, text, into="clips.jsonl"))


def test_a_text_may_hold_other_line_ends_than_json_lines(read: Callable[..., RawCorpus]):
    row = '{"video": "a.mp4", "emotion": "x", "text": "one\u2028two"}\r\n'
    corpus = read(row + '{"video": "b.mp4", "emotion": "y"}', "clips.jsonl")
    assert sorted(u.text for u in corpus.utterances) == ["", "one\u2028two"]


def test_a_parquet_that_is_wrong(read: Callable[..., RawCorpus], tmp_path: Path):
    file = tmp_path / "own" / "clips.parquet"
    file.write_bytes(b"PAR1 and no more")
    with pytest.raises(TableError, match="it cannot be read as Parquet"):
        read_table(file)
    rows: Rows = [{"video": "a.mp4", "emotion": ["sad"]}]
    with pytest.raises(TableError, match="row 1, column emotion: wanted a text, a number"):
        read(rows, "clips.parquet")
    rows = [{"video": "a.mp4", "start": float("nan"), "emotion": "sad"}]
    rows += [{"video": "b.mp4", "start": 0.5, "emotion": "glad"}]
    assert [u.start for u in read(rows, "clips.parquet").utterances] == [0.0, 0.5]
    rows[1]["start"] = float("inf")
    with pytest.raises(TableError, match="row 2, column start: wanted seconds"):
        read(rows, "clips.parquet")


def test_encodings(read: Callable[..., RawCorpus], tmp_path: Path):
    file = tmp_path / "own" / "clips.csv"
    content = "video,text,emotion\na.mp4,f\u00fcr,sad\nb.mp4,dich,glad\n"
    file.write_bytes(content.encode("utf-8-sig"))
    assert [u.text for u in read_table(file).utterances] == ["f\u00fcr", "dich"]
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(TableError, match="line 2, column text: it is not UTF-8"):
        read_table(file)
    file.write_bytes(content.encode("utf-16"))
    with pytest.raises(TableError, match="line 1: it is UTF-16 or UTF-32; save it as UTF-8"):
        read_table(file)


def test_what_is_no_table(tmp_path: Path):
    with pytest.raises(ValueError, match=r"wanted a table that ends with \.csv, \.tsv"):
        read_table(tmp_path / "clips.xlsx")
    with pytest.raises(ValueError, match="is not there"):
        read_table(tmp_path / "clips.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        read_table(tmp_path / "folder.csv")
    assert own_split(tmp_path / "clips.csv") == "random"
