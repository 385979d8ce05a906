import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mesm.corpora import assembly
from mesm.corpora.parts import write_part
from mesm.corpora.prepared import SCHEMA
from mesm.corpora.utterances import SkippedClip

EMOTIONS = ("angry", "happy")


def row(clip_id, labels=(1, 0), text="two words", seconds=2.0, columns=3, found=(True,)):
    rng = np.random.default_rng(len(clip_id) + sum(map(ord, clip_id)))
    return {
        "clip_id": clip_id,
        "text": text,
        "speaker": "s" + clip_id[0],
        "dialog": clip_id[0],
        "start": 1.0,
        "end": 1.0 + seconds,
        "labels": list(labels),
        "faces": [b"png"] * len(found),
        "face_found": list(found),
        "face_boxes": [[0.0, 1.0, 2.0, 3.0]] * len(found),
        "face_times": [1.0] * len(found),
        "spectrogram": rng.normal(-8, 3, 128 * columns).astype(np.float32),
        "spectrogram_columns": columns,
    }


def parts(folder, *dialogs):
    paths = []
    for rows in dialogs:
        paths.append(folder / f"{rows[0]['dialog']}.parquet")
        write_part(paths[-1], pa.Table.from_pylist(rows, schema=SCHEMA), [])
    return paths


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_rows_spread_over_files_and_groups_in_order(tmp_path, out, monkeypatch):
    monkeypatch.setattr(assembly, "CLIPS_PER_FILE", 4)
    monkeypatch.setattr(assembly, "CLIPS_PER_GROUP", 2)
    dialogs = [[row(f"{d}{i}") for i in range(5)] for d in "ab"]
    splits = {r["clip_id"]: "train" for rows in dialogs for r in rows}
    splits["a1"] = "test"
    seen = []
    files, _ = assembly.assemble(parts(tmp_path, *dialogs), splits, EMOTIONS, out, seen.append)
    assert sum(seen) == 10
    assert [file.name for file in files] == [
        "train-00000-of-00003.parquet",
        "train-00001-of-00003.parquet",
        "train-00002-of-00003.parquet",
        "valid-00000-of-00001.parquet",
        "test-00000-of-00001.parquet",
    ]
    assert sorted(files) == sorted(out.iterdir())
    ids = [pq.read_table(file)["clip_id"].to_pylist() for file in files]
    assert ids == [["a0", "a2", "a3", "a4"], ["b0", "b1", "b2", "b3"], ["b4"], [], ["a1"]]
    assert pq.ParquetFile(files[0]).metadata.num_row_groups == 2
    assert pq.read_schema(files[3]) == SCHEMA


def test_a_split_that_fills_its_files_exactly(tmp_path, out, monkeypatch):
    monkeypatch.setattr(assembly, "CLIPS_PER_FILE", 4)
    monkeypatch.setattr(assembly, "CLIPS_PER_GROUP", 2)
    rows = [row(f"a{i}") for i in range(8)]
    splits = {r["clip_id"]: "train" for r in rows}
    files, _ = assembly.assemble(parts(tmp_path, rows), splits, EMOTIONS, out, lambda n: None)
    assert sorted(files) == sorted(out.iterdir())
    assert [pq.read_metadata(file).num_rows for file in files] == [4, 4, 0, 0]


def test_figures(tmp_path, out):
    rows = [
        row("a0", (1, 1), "one", 1.0),
        row("a1", (0, 1), "one two three", 3.0, columns=9, found=(False, False)),
        row("a2", (0, 0), "one two", 5.0, found=(True, False)),
    ]
    splits = {"a0": "train", "a1": "train", "a2": "valid"}
    _, figures = assembly.assemble(parts(tmp_path, rows), splits, EMOTIONS, out, lambda n: None)
    counts = figures.counts()
    assert counts["train"].labels == {"angry": 1, "happy": 2}
    assert (counts["train"].clips, counts["valid"].clips, counts["test"].clips) == (2, 1, 0)
    assert counts["valid"].no_emotion == 1
    averages = figures.averages()
    assert (averages["angry"].words, averages["angry"].seconds) == (1, 1)
    assert (averages["happy"].words, averages["happy"].seconds) == (2, 2)
    assert (averages["all"].words, averages["all"].seconds) == (2, 3)
    faces = figures.faces()
    assert (faces.frames, faces.found, faces.clips_without) == (5, 2, ["a1"])
    values = np.concatenate([rows[0]["spectrogram"], rows[1]["spectrogram"]]).astype(np.float64)
    assert figures.mean_and_std() == pytest.approx((values.mean(), values.std()))


def test_parts_keep_what_was_left_out(tmp_path):
    left_out = SkippedClip(clip_id="a9", reason="no sound file", file="a.wav")
    write_part(tmp_path / "a.parquet", pa.Table.from_pylist([row("a0")], schema=SCHEMA), [left_out])
    write_part(tmp_path / "b.parquet", pa.Table.from_pylist([], schema=SCHEMA), [left_out])
    clips, skipped = assembly.collect([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    assert clips == {"a0"}
    assert skipped == [left_out, left_out]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_what_clips_lack_is_noted_and_what_the_training_split_has(tmp_path, out):
    rows = [
        row("a0", text=" "),
        row("a1", columns=0),
        row("a2", found=()),
        row("a3"),
    ]
    # Text is in the test split alone.
    splits = {"a0": "train", "a1": "test", "a2": "test", "a3": "test"}
    _, figures = assembly.assemble(parts(tmp_path, rows), splits, EMOTIONS, out, lambda n: None)
    assert figures.without == {"text": ["a0"], "sound": ["a1"], "pictures": ["a2"]}
    assert figures.modalities == "av"
    assert figures.faces().clips_without == []


def test_a_training_split_without_sound_has_no_figures_of_it(tmp_path, out):
    rows = [row("a0", columns=0), row("a1")]
    splits = {"a0": "train", "a1": "valid"}
    _, figures = assembly.assemble(parts(tmp_path, rows), splits, EMOTIONS, out, lambda n: None)
    assert figures.mean_and_std() == (0.0, 1.0)
    assert figures.modalities == "tv"
