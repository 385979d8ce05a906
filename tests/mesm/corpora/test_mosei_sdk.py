"""CMU-MOSEI's labels in the SDK's file, alone and beside the CSV files."""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from mesm.corpora.mosei import read_mosei
from mesm.corpora.mosei_sdk import COLUMNS, SdkLabels, Segment
from tests.mesm.corpora.damages import damage, read_damaged
from tests.mesm.corpora.test_mosei import build

# As in the CSV files of `build`, sentiment first: happy, sad, anger, surprise, disgust, fear.
SEGMENTS = {
    "-6rXp3zJ3kc": [
        ((20.25, 22.0), (0.5, 0, 0, 0, 0, 0, 0)),
        ((12.5, 20.25), (-1, 2 / 3, 0, 1 / 3, 0, 0, 0)),
    ],
    "_a_b": [((0.0, 3.5), (0, 3, 0, 0, 1, 1, 0))],
}


def write_sdk(file: Path, segments=SEGMENTS, names=COLUMNS) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w") as content:
        for video, parts in segments.items():
            group = content.create_group(f"All Labels/data/{video}")
            group["features"] = np.array([values for _, values in parts], np.float32)
            group["intervals"] = np.array([times for times, _ in parts], np.float64)
        told = content.create_dataset(
            "All Labels/metadata/dimension names", (1,), dtype=h5py.special_dtype(vlen=str)
        )
        told[0] = json.dumps(list(names))
    return file


def test_either_gives_the_same_corpus(tmp_path: Path) -> None:
    wanted = read_mosei(build(tmp_path)).utterances
    write_sdk(tmp_path / "Labels" / "CMU_MOSEI_Labels.csd")
    both = read_mosei(tmp_path)
    for file in (tmp_path / "Labels").glob("*.csv"):
        file.unlink()
    alone = read_mosei(tmp_path)
    assert both.utterances == alone.utterances == wanted
    assert [corpus.notes + corpus.skipped for corpus in (both, alone)] == [[], []]


@pytest.mark.parametrize(
    "place", ["labels/CMU_MOSEI_Labels.csd", "CMU_MOSEI_Labels.csd", "CMU_MOSEI_All_Labels.csd"]
)
def test_where_the_file_may_lie(tmp_path: Path, place: str) -> None:
    build(tmp_path)
    shutil.rmtree(tmp_path / "Labels")
    write_sdk(tmp_path / place, names=["sentiment", "happiness", *COLUMNS[2:]])
    assert len(read_mosei(tmp_path).utterances) == 3


def test_csv_files_count_where_the_two_differ(tmp_path: Path) -> None:
    build(tmp_path)
    (tmp_path / "Labels" / "second.csv").unlink()
    segments = {
        "-6rXp3zJ3kc": [((12.499, 20.251), (0, 0, 0, 0, 0, 2, 0)), ((90, 91), (0,) * 7)],
        "_a_b": SEGMENTS["_a_b"],
    }
    write_sdk(tmp_path / "Labels" / "x.csd", segments)
    corpus = read_mosei(tmp_path)
    # The first CSV file says happy of clip 3, and nothing of the others.
    assert {u.clip_id: u.labels for u in corpus.utterances} == {
        "-6rXp3zJ3kc_3": (0, 0, 0, 1, 0, 0),
        "_a_b_0": (0, 1, 0, 1, 0, 1),
    }
    assert [(s.clip_id, s.reason) for s in corpus.skipped] == [("-6rXp3zJ3kc_4", "no label")]
    assert corpus.notes == [
        "Labels/x.csd says other emotions than the CSV files of 1 clips; the CSV files count: "
        "-6rXp3zJ3kc_3",
        "1 segments of Labels/x.csd have no transcript: -6rXp3zJ3kc 90.00 s",
    ]


def test_segments_that_cannot_be_used(tmp_path: Path) -> None:
    build(tmp_path)
    shutil.rmtree(tmp_path / "Labels")
    segments = {
        "-6rXp3zJ3kc": [
            ((12.5, 20.25), (0, 1, 0, 0, 0, 0, 0)),
            ((12.5, 20.25), (0, 0, 1, 0, 0, 0, 0)),
            ((20.25, 22), (0, float("nan"), 0, 0, 0, 0, 0)),
            ((float("inf"), 22), (0,) * 7),
        ],
    }
    file = write_sdk(tmp_path / "Labels" / "x.csd", segments)
    with h5py.File(file, "a") as content:
        content["All Labels/data/_a_b/features"] = np.zeros((2, 6))
        content["All Labels/data/_a_b/intervals"] = np.zeros((2, 2))
        content["All Labels/data/empty/features"] = np.zeros((2, 7))
        content["All Labels/data/odd"] = 1
    corpus = read_mosei(tmp_path)
    assert corpus.utterances == []
    assert [(s.clip_id, s.reason, s.file) for s in corpus.skipped] == [
        ("-6rXp3zJ3kc", "unreadable label", "Labels/x.csd"),
        ("-6rXp3zJ3kc", "unreadable label", "Labels/x.csd"),
        ("-6rXp3zJ3kc_3", "unreadable label", "Transcript/Combined/-6rXp3zJ3kc.txt:1"),
        ("-6rXp3zJ3kc_4", "no label", "Transcript/Combined/-6rXp3zJ3kc.txt:2"),
        ("_a_b", "unreadable label", "Labels/x.csd"),
        ("_a_b_0", "no label", "Transcript/Combined/_a_b.txt:1"),
        ("empty", "unreadable label", "Labels/x.csd"),
        ("odd", "unreadable label", "Labels/x.csd"),
    ]


def test_files_of_another_kind_are_passed_over(tmp_path: Path) -> None:
    build(tmp_path)
    labels = tmp_path / "Labels"
    (labels / "a.csd").write_text("no HDF5")
    with h5py.File(labels / "b.csd", "w") as content:
        content["glove_vectors/data"] = 1
    write_sdk(labels / "c.csd", names=[*COLUMNS[:5], "fear", "disgust"])
    assert [note[:28] for note in read_mosei(tmp_path).notes] == [
        f"passed over Labels/{name}.csd: {why}"
        for name, why in (("a", "Un"), ("b", "no"), ("c", "co"))
    ]
    write_sdk(labels / "d.csd")
    write_sdk(labels / "e.csd")
    assert read_mosei(tmp_path).notes[3:] == ["passed over Labels/e.csd: labels are read already"]
    for name in ("first.csv", "second.csv", "d.csd", "e.csd"):
        (labels / name).unlink()
    with pytest.raises(
        ValueError, match=r"no label file with .*, and no \.csd file with the label"
    ):
        read_mosei(tmp_path)


def test_without_h5py_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path)
    file = write_sdk(tmp_path / "Labels" / "x.csd")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"x\.csd cannot be read without h5py: pip install h5py"):
        read_mosei(tmp_path)
    file.unlink()
    assert len(read_mosei(tmp_path).utterances) == 3


def test_a_segment_is_found_by_its_times() -> None:
    segments = [Segment(1.0, 2.0, (1.0,) * 6), Segment(2.0, 3.0, (0.0,) * 6)]
    labels = SdkLabels(Path("x"), {"v": [*segments, segments[0]]})
    assert labels.find("v", 1.005, 1.995) == segments[0]
    assert labels.find("v", 2.0, 3.0) == segments[1]
    assert labels.find("v", 1.0, 2.5) is None
    assert labels.find("w", 1.0, 2.0) is None


@pytest.mark.parametrize("seed", range(60))
def test_no_damage_gives_wrong_clips(tmp_path: Path, seed: int) -> None:
    labels = tmp_path / "raw" / "Labels"
    build(tmp_path / "raw")
    for file in labels.glob("*.csv"):
        file.unlink()
    file = write_sdk(labels / "x.csd")
    whole = {u.clip_id: u.labels for u in read_mosei(tmp_path / "raw").utterances}
    # Values that a disk has changed to others cannot be told from true ones: only the structure.
    rng = random.Random(seed)
    data = file.read_bytes()
    while (done := damage(labels, rng)).startswith("_overwrite"):
        file.write_bytes(data)
    corpus = read_damaged(read_mosei, tmp_path / "raw", done)
    assert corpus is None or {u.clip_id: u.labels for u in corpus.utterances} == whole, done
