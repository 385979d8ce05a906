import math
import pickle
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mesm.corpora import assembly
from mesm.corpora.parts import write_part
from mesm.corpora.prepared import SCHEMA
from mesm.corpora.utterances import SkippedClip
from mesm.runs.hashes import sha256

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


def assembled(folder, dialogs, splits, out, progress=lambda n: None, each=assembly.one_by_one):
    rows, _ = assembly.collect(parts(folder, *dialogs))
    return assembly.assemble(rows, splits, EMOTIONS, out, progress, each)


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
    files, _ = assembled(tmp_path, dialogs, splits, out, seen.append)
    files = list(files)
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
    files, _ = assembled(tmp_path, [rows], splits, out)
    assert sorted(files) == sorted(out.iterdir())
    assert [pq.read_metadata(file).num_rows for file in files] == [4, 4, 0, 0]


def test_parts_keep_what_was_left_out(tmp_path):
    left_out = SkippedClip(clip_id="a9", reason="no sound file", file="a.wav")
    write_part(tmp_path / "a.parquet", pa.Table.from_pylist([row("a0")], schema=SCHEMA), [left_out])
    write_part(tmp_path / "b.parquet", pa.Table.from_pylist([], schema=SCHEMA), [left_out])
    rows, skipped = assembly.collect([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    assert rows == [(tmp_path / "a.parquet", ["a0"]), (tmp_path / "b.parquet", [])]
    assert skipped == [left_out, left_out]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_files_and_figures_are_the_same_whoever_writes_them_and_when(tmp_path, out, monkeypatch):
    monkeypatch.setattr(assembly, "CLIPS_PER_FILE", 4)
    monkeypatch.setattr(assembly, "CLIPS_PER_GROUP", 3)
    rng = np.random.default_rng(5)
    # Sums of such sizes differ in their last bits with the order.
    dialogs = [
        [
            row(f"{d}{i}", seconds=rng.uniform(0, 1e3), columns=int(rng.integers(1, 9)))
            for i in range(7)
        ]
        for d in "abc"
    ]
    everything = list(chain(*dialogs))
    splits = {r["clip_id"]: "test" if r["clip_id"][1] in "25" else "train" for r in everything}

    def backwards(work, shards):
        for shard in reversed(shards):
            yield pickle.loads(pickle.dumps((shard, work(shard))))

    files, figures = assembled(tmp_path, dialogs, splits, out)
    other = tmp_path / "other"
    other.mkdir()
    again, same = assembled(tmp_path, dialogs, splits, other, each=backwards)
    assert [file.name for file in files] == [file.name for file in again]
    assert list(files.values()) == list(again.values()) == [sha256(file) for file in again]
    assert same.mean_and_std() == figures.mean_and_std()
    # As one process adds them up, clip by clip.
    seconds, total, squares, count = 0.0, 0.0, 0.0, 0
    for made in everything:
        seconds += made["end"] - made["start"]
        if splits[made["clip_id"]] == "train":
            values = made["spectrogram"].astype(np.float64)
            total += float(values.sum())
            squares += float(np.square(values).sum())
            count += values.size
    assert figures.seconds[-1] == same.seconds[-1] == seconds
    mean = total / count
    assert figures.mean_and_std() == (mean, math.sqrt(squares / count - mean * mean))


def test_of_a_part_only_the_rows_wanted_are_read(tmp_path, out, monkeypatch):
    made = [row(f"a{i}") for i in range(6)]
    read = []

    class Watched(pq.ParquetFile):
        def read_row_groups(self, groups, **how):
            read.append(groups)
            return super().read_row_groups(groups, **how)

        def read(self, columns=None, **how):
            assert columns == ["clip_id"]
            return super().read(columns, **how)

    monkeypatch.setattr(assembly.pq, "ParquetFile", Watched)
    splits = {r["clip_id"]: "test" if r["clip_id"] == "a3" else "train" for r in made}
    assembled(tmp_path, [made], splits, out)
    assert read == [[0, 1, 2, 4, 5], [3]]


def test_parts_of_a_version_before_are_read_as_well(tmp_path, out):
    made = [row(f"a{i}") for i in range(6)]
    (part,) = parts(tmp_path, made)
    table = pq.read_table(part, partitioning=None)
    pq.write_table(table, part, compression="none")
    assert pq.read_metadata(part).num_row_groups == 1
    splits = {r["clip_id"]: "test" if r["clip_id"] in ("a1", "a3") else "train" for r in made}
    files, _ = assembly.assemble(assembly.collect([part])[0], splits, EMOTIONS, out, lambda n: None)
    other = tmp_path / "other"
    other.mkdir()
    assert list(files.values()) == list(assembled(tmp_path, [made], splits, other)[0].values())
