"""Tables of clips: names, recordings, speakers, splits and times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mesm.corpora.utterances import RawCorpus
from tests.mesm.corpora.table.tables import told_of_a_cell, wrong


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
    rows[0]["split"] = ""
    assert wrong(read, rows, split="column") == [
        "line 2, column split: it is empty; fill it, or leave the column out"
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


def test_clips_of_no_length_are_refused(read: Callable[..., RawCorpus]):
    (told,) = wrong(read, [{"video": "a.mp4", "emotion": "x", "start": "0.5", "end": "0.50001"}])
    assert told == "line 2, column end: the clip lasts 1e-05 s, wanted at least 0.1 s"


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ({"id": "x/y"}, "column id: id 'x/y' has a slash"),
        ({"id": ""}, "column id: it is empty; fill it, or leave the column out"),
        ({"id": "other"}, "column id: 'other' is also that of line 2"),
        ({"speaker": ""}, "column speaker: it is empty"),
        ({"group": "a/b"}, "column group: group 'a/b' has a slash"),
        ({"group": ""}, "column group: it is empty; fill it, or leave the column out"),
    ],
)
def test_a_name_that_is_wrong_is_told_with_line_and_column(
    read: Callable[..., RawCorpus], cell: dict[str, str], told: str
):
    told_of_a_cell(read, cell, told)
