import numpy as np
import pyarrow as pa
import pytest

from mesm.corpora.figures import Figures, facts_of
from mesm.corpora.prepared import SCHEMA
from tests.mesm.corpora.test_assembly import EMOTIONS, row


def figures_of(rows, splits):
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    placed = [splits[made["clip_id"]] for made in rows]
    facts = [
        facts_of(table.slice(i, 1), len(EMOTIONS), split == "train")
        for i, split in enumerate(placed)
    ]
    names = [made["clip_id"] for made in rows]
    return Figures(EMOTIONS, names, placed, np.concatenate(facts))


def test_rows_have_the_same_facts_alone_and_together():
    rows = [row("a0"), row("a1", columns=0), row("a2", found=()), row("a3", columns=5)]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    together = facts_of(table, len(EMOTIONS), True)
    for i in range(len(rows)):
        assert facts_of(table.slice(i, 1), len(EMOTIONS), True) == together[i : i + 1]
    assert together["values"].tolist() == [3 * 128, 0, 3 * 128, 5 * 128]
    assert not facts_of(table, len(EMOTIONS), False)["values"].any()


def test_figures():
    rows = [
        row("a0", (1, 1), "one", 1.0),
        row("a1", (0, 1), "one two three", 3.0, columns=9, found=(False, False)),
        row("a2", (0, 0), "one two", 5.0, found=(True, False)),
    ]
    splits = {"a0": "train", "a1": "train", "a2": "valid"}
    figures = figures_of(rows, splits)
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


def test_what_clips_lack_is_noted_and_what_the_training_split_has():
    rows = [
        row("a0", text=" "),
        row("a1", columns=0),
        row("a2", found=()),
        row("a3"),
    ]
    # Text is in the test split alone.
    splits = {"a0": "train", "a1": "test", "a2": "test", "a3": "test"}
    figures = figures_of(rows, splits)
    assert figures.without == {"text": ["a0"], "sound": ["a1"], "pictures": ["a2"]}
    assert figures.modalities == "av"
    assert figures.faces().clips_without == []


def test_a_training_split_without_sound_has_no_figures_of_it():
    rows = [row("a0", columns=0), row("a1")]
    splits = {"a0": "train", "a1": "valid"}
    figures = figures_of(rows, splits)
    assert figures.mean_and_std() == (0.0, 1.0)
    assert figures.modalities == "tv"


def test_what_is_lacked_first_is_named_first():
    rows = [row("a0", columns=0), row("a1", text="", columns=0)]
    found = figures_of(rows, dict.fromkeys(["a0", "a1"], "train")).without
    assert list(found.items()) == [("sound", ["a0", "a1"]), ("text", ["a1"])]
