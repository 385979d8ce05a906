"""Tables of clips, column by column and format by format."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mesm.corpora.table.problems import MOST_SHOWN, TableError
from mesm.corpora.table.reader import own_split, read_table
from mesm.corpora.utterances import RawCorpus

Rows = list[dict[str, Any]]


def write_rows(file: Path, rows: Rows, delimiter: str = ",") -> Path:
    """Rows of the same keys as a table of the file's format."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns, delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    return file


@pytest.fixture
def read(media: Path, tmp_path: Path) -> Callable[..., RawCorpus]:
    """Read rows whose paths lead from a folder with the media."""
    folder = tmp_path / "own"
    folder.mkdir()
    for file in media.iterdir():
        (folder / file.name).symlink_to(file)

    def read_rows(rows: Rows | str, into: str = "clips.csv", **options: Any) -> RawCorpus:
        file = folder / into
        if isinstance(rows, str):
            file.write_text(rows, encoding="utf-8")
        else:
            write_rows(file, rows)
        return read_table(file, **options)

    return read_rows


def wrong(read: Callable[..., RawCorpus], rows: Rows | str, **options: Any) -> list[str]:
    """The lines of what is wrong."""
    with pytest.raises(TableError) as refused:
        read(rows, **options)
    assert str(refused.value).startswith(refused.value.head)
    return refused.value.lines


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


def test_splits_of_the_column_are_read_where_they_count(read: Callable[..., RawCorpus]):
    rows = [
        {"video": "a.mp4", "start": i / 4, "end": i / 4 + 0.2, "emotion": name, "split": split}
        for i, (name, split) in enumerate(
            (name, split) for name in ("happy", "sad") for split in ("train", "valid", "test")
        )
    ]
    corpus = read(rows, split="column")
    assert [u.split for u in corpus.utterances] == ["train", "valid", "test"] * 2
    assert {u.split for u in read(rows).utterances} == {None}
    assert corpus.single_label
    told = wrong(read, rows[:-1], split="column")
    assert told == [
        "column emotion: no clip of the test split is sad; move clips there in the column split, "
        "or leave the emotion out by --labels"
    ]
    rows[0]["split"] = "val"
    assert wrong(read, rows, split="column") == [
        "line 2, column split: wanted train, valid, test, got 'val'"
    ]
    assert "line" not in "".join(wrong(read, rows, split="speaker"))


def test_a_speaker_in_two_splits_is_told(read: Callable[..., RawCorpus]):
    rows = [
        {"video": "a.mp4", "start": i, "end": i + 1, "emotion": "sad", "split": s, "speaker": "x"}
        for i, s in enumerate(("train", "valid", "test"))
    ]
    told = wrong(read, rows, split="column")
    assert told[0].startswith("line 3, column speaker: 'x' is in valid here, and in train above;")
    assert told[1].startswith("line 4, column speaker: 'x' is in test here, and in valid above;")
    for row in rows:
        row["speaker"] = row["split"]
    assert wrong(read, rows, split="column")[0].startswith("column emotion: every clip is sad")


def test_names_speakers_groups_and_times_without_their_columns(read: Callable[..., RawCorpus]):
    rows = [
        {"video": "a.mp4", "start": "", "end": "1", "emotion": "sad"},
        {"video": "b.mp4", "start": "", "end": "", "emotion": "happy"},
        {"video": "a.mp4", "start": "1", "end": "", "emotion": "sad"},
        {"video": "live.mkv", "start": "", "end": "", "emotion": "sad"},
    ]
    found = {u.clip_id: u for u in read(rows).utterances}
    assert set(found) == {"a_1", "b", "a_2", "live"}
    assert {u.speaker for u in found.values()} == {u.dialog for u in found.values()}
    assert found["a_2"].dialog == "a"
    assert (found["a_1"].start, found["a_1"].end) == (0, 1)
    for name, start in (("b", 0), ("a_2", 1), ("live", 0)):
        assert found[name].start == start
        assert found[name].end == pytest.approx(3, abs=0.1)


def test_files_of_one_name_in_two_folders_are_told_apart(
    read: Callable[..., RawCorpus], tmp_path: Path, media: Path
):
    for folder in ("x", "y"):
        (tmp_path / "own" / folder).mkdir()
        copied = (media / "a.mp4").read_bytes()
        (tmp_path / "own" / folder / "a.mp4").write_bytes(copied)
    rows = [{"video": f"{folder}/a.mp4", "emotion": folder} for folder in ("x", "y")]
    assert [u.clip_id for u in read(rows).utterances] == ["x_a", "y_a"]
    rows = [{"video": "a.mp4", "audio": "", "emotion": "x"}]
    rows += [{"video": "./a.mp4", "audio": "", "emotion": "x"}]
    (told,) = wrong(read, [*rows, {"video": "b.mp4", "audio": "", "emotion": "y"}])
    assert told == "line 3: the same media and times as line 2; leave one of them out"


def test_a_link_is_the_file_it_leads_to(read: Callable[..., RawCorpus], tmp_path: Path):
    (tmp_path / "own" / "link.mp4").symlink_to(tmp_path / "own" / "a.mp4")
    rows = [{"video": name, "emotion": "x", "start": "0"} for name in ("a.mp4", "link.mp4")]
    (told,) = wrong(read, [*rows, {"video": "b.mp4", "emotion": "y", "start": "0"}])
    assert told == "line 3: the same media and times as line 2; leave one of them out"
    rows[1] |= {"start": "0.1", "emotion": "y"}
    assert {u.speaker for u in read(rows).utterances} == {"a"}


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


def test_clips_of_no_length_are_refused(read: Callable[..., RawCorpus]):
    (told,) = wrong(read, [{"video": "a.mp4", "emotion": "x", "start": "0.5", "end": "0.50001"}])
    assert told == "line 2, column end: the clip lasts 1e-05 s, wanted at least 0.1 s"


def test_a_whole_file_goes_as_far_as_both_of_its_streams(read: Callable[..., RawCorpus]):
    corpus = read([{"video": "uneven.mp4", "emotion": "sad"}, {"video": "a.mp4", "emotion": "x"}])
    uneven = next(u for u in corpus.utterances if u.clip_id == "uneven")
    assert uneven.end == pytest.approx(1.5, abs=0.1)
    (note,) = corpus.notes
    assert note.startswith("uneven goes to 1.5")


def test_clips_may_lack_text_pictures_or_sound(read: Callable[..., RawCorpus]):
    rows = [
        {"video": "mute.mp4", "audio": "", "text": "", "emotion": "sad"},
        {"video": "", "audio": "c.wav", "text": "", "emotion": "happy"},
        {"video": "", "audio": "b.mp4", "text": "", "emotion": "happy"},
        {"video": "", "audio": "", "text": "only words", "emotion": "happy"},
    ]
    found = {u.clip_id: u for u in read(rows).utterances}
    assert set(found) == {"mute", "c", "b", "clips_5"}
    assert (found["mute"].audio, found["c"].video, found["b"].video) == (None, None, None)
    words = found["clips_5"]
    assert (words.media, words.start, words.end) == ((None, None), 0, 0)
    rows[3]["text"] = ""
    assert wrong(read, rows) == ["line 5: it has neither pictures nor sound nor text"]


@pytest.mark.parametrize(
    ("yes", "no", "above"),
    [(1, 0, None), ("true", "False", None), ("1.0", "0", None), (2, 1, 1.5), ("-0.5", "-1", "-1")],
)
def test_a_column_per_emotion(read: Callable[..., RawCorpus], yes: Any, no: Any, above: Any):
    rows = [
        {"video": "a.mp4", "sad": no, "glad": yes, "note": "x"},
        {"video": "b.mp4", "sad": yes, "glad": no, "note": "y"},
    ]
    corpus = read(rows, labels="glad,sad", above=above)
    assert corpus.emotions == ("glad", "sad")
    assert [u.labels for u in corpus.utterances] == [(1, 0), (0, 1)]
    assert corpus.notes == ["passed over the column 'note'"]
    assert not corpus.single_label
    without = [{k: v for k, v in row.items() if k != "note"} for row in rows]
    assert read(without, above=above).emotions == ("sad", "glad")
    assert len(wrong(read, rows, above=above)) >= 2  # note is no emotion


def test_json_and_parquet_have_truths_of_their_own(read: Callable[..., RawCorpus]):
    rows = [
        {"video": "a.mp4", "sad": True, "glad": False},
        {"video": "b.mp4", "sad": False, "glad": True},
    ]
    for name in ("clips.jsonl", "clips.parquet"):
        assert [u.labels for u in read(rows, name).utterances] == [(1, 0), (0, 1)]


def test_labels_fix_names_and_order_and_leave_others_out(read: Callable[..., RawCorpus]):
    rows = [
        {"video": "a.mp4", "emotion": "sad"},
        {"video": "b.mp4", "emotion": "happy"},
        {"video": "mute.mp4", "emotion": "bored"},
    ]
    corpus = read(rows, labels="sad, happy")
    assert corpus.emotions == ("sad", "happy")
    assert dict(corpus.other_labels) == {"bored": 1}
    assert len(corpus.utterances) == 2
    rows[2]["emotion"] = "hapyp"
    assert wrong(read, rows, labels="sad,happy") == [
        "line 4, column emotion: 'hapyp' is nearly 'happy' of --labels; write it so, or name "
        "both there"
    ]
    assert len(read(rows, labels="sad,happy,hapyp").utterances) == 3
    (told,) = wrong(read, rows)
    assert told.startswith("line 4, column emotion: 'hapyp' is nearly 'happy'; write one as")


@pytest.mark.parametrize("second", ["Happy", "happyy", "hap py", "hppy "])
def test_emotions_that_are_nearly_others(read: Callable[..., RawCorpus], second: str):
    rows = [{"video": "a.mp4", "emotion": "happy"}, {"video": "b.mp4", "emotion": second}]
    assert wrong(read, rows)[0].startswith(f"line 3, column emotion: {second.strip()!r} is nearly")


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ({"video": "nowhere.mp4"}, "column video: nowhere.mp4 is not there"),
        ({"video": "text.mp4"}, "text.mp4 cannot be opened as a video"),
        ({"video": "folder.mp4"}, "column video: folder.mp4 is a folder"),
        ({"video": "c.wav"}, "c.wav has no pictures"),
        ({"video": "a\n.mp4"}, "is not there"),
        ({"video": "x" * 5000}, "cannot be read (File name too long)"),
        ({"audio": "text.wav"}, "text.wav cannot be read as sound"),
        ({"audio": "mute.mp4"}, "mute.mp4 has no sound"),
        ({"audio": "nowhere.wav"}, "column audio: nowhere.wav is not there"),
        ({"start": "abc"}, "column start: wanted seconds such as 75.5, or h:m:s"),
        ({"start": "-1"}, "got '-1'"),
        ({"start": "1,5"}, "got '1,5'"),
        ({"start": "0:75"}, "got '0:75'"),
        ({"start": "nan"}, "got 'nan'"),
        ({"start": "1e0"}, "got '1e0'"),
        ({"start": "\u0661"}, "column start: wanted seconds"),
        ({"start": "4", "end": "5"}, "column start: 4 s is not before the recording's end, 3.0"),
        ({"end": "3.7"}, "column end: 3.7 s is after the recording's end, 3.0"),
        ({"start": "2", "end": "1"}, "column end: 1 s is not after its start, 2 s"),
        ({"start": "1", "end": "1"}, "column end: 1 s is not after its start, 1 s"),
        ({"id": "x/y"}, "column id: id 'x/y' has a slash"),
        ({"id": ""}, "column id: id '' names no file"),
        ({"id": "other"}, "column id: 'other' is also that of line 2"),
        ({"speaker": ""}, "column speaker: it is empty"),
        ({"group": "a/b"}, "column group: group 'a/b' has a slash"),
        ({"emotion": "sad;;glad"}, "column emotion: the emotion's name '' is empty"),
        ({"emotion": "sad;sad"}, "column emotion: it names 'sad' twice"),
        ({"emotion": "all"}, "the emotion's name 'all' has a meaning of its own in tables"),
        ({"emotion": "a|b"}, "the emotion's name 'a|b' has one of"),
        ({"emotion": "x" * 41}, "is longer than 40 letters"),
        ({"text": "a\0b"}, "column text: it holds a zero byte"),
        ({"text": "a\ufffdb"}, "column text: it is not UTF-8"),
    ],
)
def test_a_cell_that_is_wrong_is_told_with_line_and_column(
    read: Callable[..., RawCorpus], cell: dict[str, str], told: str
):
    row = {"video": "a.mp4", "audio": "", "start": "0", "end": "", "text": "", "id": "mine"}
    row |= {"speaker": "s", "group": "g", "emotion": "sad"}
    other = row | {"video": "b.mp4", "id": "other", "emotion": "glad"}
    (line,) = wrong(read, [other, row | cell])
    assert line.startswith("line 3, column ")
    assert told in line


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
        ("vidoe,emotion\na.mp4,sad\n", "line 1, column vidoe: did you mean video?"),
        ("Video,emotion\na.mp4,sad\n", "line 1, column Video: did you mean video?"),
        ("video,emotion,speakers\na.mp4,sad,x\n", "column speakers: did you mean speaker?"),
        ("speaker,emotion\nx,sad\n", "line 1: there is no column video, audio or text"),
        ("video,text\na.mp4,x\n", "there is no column emotion, and no column per emotion"),
        ("video,sad,Sad\na.mp4,1,0\n", "line 1, column Sad: 'Sad' is nearly 'sad'"),
        ("video,sad\na.mp4,2\n", "line 2, column sad: wanted 0, 1, true or false, got '2'"),
        ("video,sad\na.mp4,\n", "line 2, column sad: wanted 0, 1, true or false, got None"),
        ("video,sad,all\na.mp4,1,1\n", "line 1, column all: the emotion's name 'all'"),
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


def test_the_first_are_shown_and_the_rest_counted(read: Callable[..., RawCorpus]):
    rows = [{"video": f"{place}.mp4", "emotion": "sad"} for place in range(50)]
    lines = wrong(read, rows)
    assert len(lines) == MOST_SHOWN + 1
    assert lines[0].startswith("line 2, ")
    assert lines[-1] == f"and {50 - MOST_SHOWN} more"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"labels": "sad,,glad"}, "--labels sad,,glad: the emotion's name '' is empty"),
        ({"labels": "sad,sad"}, "--labels sad,sad: sad is there twice"),
        ({"labels": "sad,text"}, "text is a column of its own kind"),
        ({"above": "x"}, "--above: wanted a number, got 'x'"),
        ({"above": "nan"}, "--above: wanted a number, got 'nan'"),
        ({"name": " "}, "--name: wanted a title"),
        ({"name": "a|b"}, "--name: wanted a title"),
        ({"above": "1"}, "line 1, column emotion: --above is for a column per emotion"),
    ],
)
def test_options(read: Callable[..., RawCorpus], options: dict[str, str], told: str):
    rows = [{"video": "a.mp4", "emotion": "sad"}, {"video": "b.mp4", "emotion": "glad"}]
    with pytest.raises(ValueError) as refused:
        read(rows, **options)
    assert told in str(refused.value)


def test_what_is_no_table(tmp_path: Path):
    with pytest.raises(ValueError, match=r"wanted a table that ends with \.csv, \.tsv"):
        read_table(tmp_path / "clips.xlsx")
    with pytest.raises(ValueError, match="is not there"):
        read_table(tmp_path / "clips.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        read_table(tmp_path / "folder.csv")
    assert own_split(tmp_path / "clips.csv") == "random"


def test_a_file_that_does_not_tell_its_length_needs_an_end(
    read: Callable[..., RawCorpus], tmp_path: Path
):
    film = tmp_path / "own" / "stream.mkv"
    with av.open(str(film), "w", options={"live": "1"}) as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(20):
            picture = np.zeros((48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    rows = [{"video": film.name, "end": "", "emotion": "sad"}]
    rows += [{"video": "a.mp4", "end": "1", "emotion": "glad"}]
    (told,) = wrong(read, rows)
    assert told.startswith("line 2, column end: the file does not tell how long it is; write the")
    rows[0]["end"] = "1.5"
    assert len(read(rows).utterances) == 2
