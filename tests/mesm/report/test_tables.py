"""Tables say what they are given: every cell against a figure worked out by hand."""

from typing import Any

import pytest

from mesm.config.experiment import ExperimentConfig
from mesm.config.files import parse_config
from mesm.corpora.manifest import Averages, FaceCounts, Manifest, SplitCounts
from mesm.corpora.utterances import SkippedClip
from mesm.report.tables import corpus_table, results_table, score_tables, sweep_tables
from mesm.tables.table import Table


def config(name: str, **model: Any) -> ExperimentConfig:
    return parse_config({"corpus": "somewhere", "model": {"name": name, **model}}, "test")


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.rows]


def manifest(**facts: Any) -> Manifest:
    values: dict[str, Any] = {
        "format": 1,
        "corpus": "iemocap",
        "emotions": ["angry", "sad"],
        "counts": {
            "train": SplitCounts(clips=30, labels={"angry": 20, "sad": 10}, no_emotion=0),
            "valid": SplitCounts(clips=5, labels={"angry": 5}, no_emotion=0),
            "test": SplitCounts(clips=7, labels={"angry": 4, "sad": 3}, no_emotion=0),
        },
        "averages": {
            "angry": Averages(words=12.346, seconds=4.5),
            "all": Averages(words=11.0, seconds=4.006),
        },
        "spectrogram_mean": 0.0,
        "spectrogram_std": 1.0,
        "faces": FaceCounts(frames=200, found=150, clips_without=[]),
        "skipped": [SkippedClip(clip_id="a", reason="no sound", file="a.wav")],
        "skipped_by_reason": {},
        "other_labels": {},
        "unlisted": [],
        "missing": [],
        "notes": [],
        "options": {},
        "files": {},
    }
    return Manifest(**(values | facts))


def test_corpus_lengths_and_sizes_per_emotion_and_of_all() -> None:
    found = corpus_table(manifest())
    table = found["table"]
    assert list(table.head) == ["", "words", "seconds", "train", "valid", "test"]
    # No clip of the validation split is sad, and no average was kept for it.
    assert texts(table)[:2] == [
        ["angry", "12.35", "4.50", "20", "5", "4"],
        ["sad", "–", "–", "10", "0", "3"],
    ]
    assert texts(table)[2:] == [
        ["no emotion", "–", "–", "0", "0", "0"],
        ["all clips", "11.00", "4.01", "30", "5", "7"],
    ]
    assert found["sentence"] == (
        "42 clips; a face was found in 150 of 200 sampled frames (75.0 %)."
    )
    assert found["skipped"] == ["skipped a: no sound: a.wav"]


def test_corpus_without_any_frame() -> None:
    faces = FaceCounts(frames=0, found=0, clips_without=["a"])
    found = corpus_table(manifest(faces=faces, averages={}, skipped=[]))
    assert "0 of 0 sampled frames (0.0 %)" in found["sentence"]
    assert [cells[1:3] for cells in texts(found["table"])] == [["–", "–"]] * 4
    assert found["skipped"] == []


def values(accuracy: float, weighted: float, f1: float) -> dict[str, float]:
    return {"accuracy": accuracy, "weighted_accuracy": weighted, "f1": f1}


def scores(headline: str = "accuracy", policy: str = "0.5", emotions: int = 2) -> dict[str, Any]:
    return {
        "split": "valid",
        "headline": headline,
        "clips": 42,
        "threshold": {"policy": policy},
        "emotions": {f"e{n}": values(0.5 + n / 10, 0.3, 0.25) for n in range(emotions)},
        "average": values(0.55, 0.3, 0.4),
    }


@pytest.mark.parametrize(
    ("headline", "short", "cells"),
    [
        ("accuracy", "Acc", ["50.0", "25.0", "60.0", "25.0", "55.0", "40.0"]),
        ("weighted_accuracy", "WAcc", ["30.0", "25.0", "30.0", "25.0", "30.0", "40.0"]),
    ],
)
def test_results_per_emotion_and_average(headline: str, short: str, cells: list[str]) -> None:
    runs = [
        (config("fe2e"), scores(headline), 17.304e9),
        (config("mesm", p=0.5), scores(headline), None),
    ]
    table = results_table(runs, "iemocap", synthetic=True)
    assert list(table.head) == ["", "GFLOPs"] + [short, "F1"] * 3
    assert list(table.groups) == [("", 2), ("e0", 2), ("e1", 2), ("average", 2)]
    assert texts(table) == [["FE2E", "17.30", *cells], ["MESM (p = 0.5)", "–", *cells]]
    assert [row.kind for row in table.rows] == ["fe2e", "mesm"]


def test_caption_names_split_size_and_every_policy_once() -> None:
    runs = [
        (config("fe2e"), scores(policy="tuned on validation F1"), None),
        (config("mesm"), scores(policy="0.5"), None),
        (config("mesm", p=0.7), scores(policy="0.5"), None),
    ]
    caption = results_table(runs, "iemocap", synthetic=True).caption
    assert caption == (
        "Percent on the valid split, 42 clips. Threshold per emotion: 0.5; tuned on validation F1. "
        "Acc: share of right decisions per emotion, one against the rest. "
        "F1: binary, 2·TP / (2·TP + FP + FN) per emotion; averages are over the emotions. "
        "GFLOPs: feature extraction per clip, 2 per multiply–accumulate. "
        "–: mesm sweep measures them, of FE2E and MESM. "
        "The paper's figures are left out: a synthetic corpus cannot be compared with them."
    )


@pytest.mark.parametrize(
    ("corpus", "dense", "sparse"),
    [
        ("iemocap", ("FE2E, the paper", "17.30", "88.7"), ("MESM (p = 0.7), the paper", "10.36")),
        ("mosei", ("FE2E, the paper", "17.30", "67.0"), ("MESM (p = 0.5), the paper", "8.68")),
    ],
)
def test_a_real_corpus_stands_above_the_papers_line_of_its_system(
    corpus: str, dense: tuple[str, ...], sparse: tuple[str, ...]
) -> None:
    """The paper counts a multiply-accumulate as 1; beside figures that count 2 its are doubled."""
    runs = [(config("mesm"), scores(emotions=6), None)]
    table = results_table(runs, corpus, synthetic=False)
    assert [row.kind for row in table.rows] == [*["paper"] * 5, "mesm", "paper"]
    assert tuple(texts(table)[4][:3]) == dense
    assert tuple(texts(table)[6][:2]) == sparse
    assert "the paper counts 1, so its figures are doubled here." in table.notes[-3]
    assert "Table 3" in table.notes[-1] or corpus == "mosei"
    assert "Table 4" in table.notes[-1] or corpus == "iemocap"


def point(p: float, flops: float, ms: float) -> dict[str, Any]:
    return {
        "p": p,
        "threshold": {"policy": "tuned on validation F1"},
        "average": values(0.8, 0.7, 0.6),
        "flops_per_clip": {"total": flops, "attention": flops / 8},
        "latency_ms_per_clip": {"model": ms, "extraction": ms / 2},
        "active_sites": {"face": [p, p / 2], "audio": [p / 4]},
    }


def sweep(**facts: Any) -> dict[str, Any]:
    setting = {"repeats": 5, "batch_size": 8, "device": "cpu", "threads": 1, "dtype": "float32"}
    return {
        "metric": "accuracy",
        "points": [point(0.5, 2e9, 10.0), point(1.0, 6e9, 30.0)],
        "baseline": point(0.0, 8e9, 25.0),
        "latency_setting": setting,
    } | facts


def test_sweep_has_one_line_per_p_below_the_baseline() -> None:
    costs, _ = sweep_tables(sweep())
    assert texts(costs) == [
        ["FE2E", "80.0", "60.0", "8.000", "100.0", "–", "25.0", "1.00", "12.5"],
        ["p = 0.5", "80.0", "60.0", "2.000", "25.0", "12.5", "10.0", "2.50", "5.0"],
        ["p = 1", "80.0", "60.0", "6.000", "75.0", "12.5", "30.0", "0.83", "15.0"],
    ]
    assert [row.kind for row in costs.rows] == ["fe2e", "mesm", "mesm"]
    assert costs.head[:3] == ("", "Acc", "F1")


def test_sweep_by_weighted_accuracy() -> None:
    costs, _ = sweep_tables(sweep(metric="weighted_accuracy"))
    assert costs.head[1] == "WAcc"
    assert {cells[1] for cells in texts(costs)} == {"70.0"}


def test_sweep_without_a_baseline_compares_with_nothing() -> None:
    costs, _ = sweep_tables(sweep(baseline=None))
    assert [(cells[0], cells[4], cells[7]) for cells in texts(costs)] == [
        ("p = 0.5", "–", "–"),
        ("p = 1", "–", "–"),
    ]


@pytest.mark.parametrize(("threads", "words"), [(1, "1 thread,"), (2, "2 threads,")])
def test_sweep_says_how_it_was_timed(threads: int, words: str) -> None:
    found = sweep()
    found["latency_setting"]["threads"] = threads
    caption = sweep_tables(found)[0].caption
    assert "median of 5 forward passes over 8 clips at once, cpu," in caption
    assert words in caption
    assert caption.endswith("Threshold: tuned on validation F1, anew at every p.")


def test_sweep_with_a_fixed_threshold_does_not_speak_of_tuning() -> None:
    found = sweep()
    for one in found["points"]:
        one["threshold"] = {"policy": "0.5"}
    assert sweep_tables(found)[0].caption.endswith("Threshold: 0.5.")


def test_active_sites_per_modality_and_block() -> None:
    _, active = sweep_tables(sweep())
    assert list(active.groups) == [("", 1), ("faces", 2), ("spectrogram chunks", 1)]
    assert list(active.head) == ["", "block 1", "block 2", "block 1"]
    assert texts(active) == [
        ["p = 0.5", "50.0", "25.0", "12.5"],
        ["p = 1", "100.0", "50.0", "25.0"],
    ]


def rate(hit: float, chance: float) -> dict[str, Any]:
    ratio = hit / chance
    return {"hit": hit, "chance": chance, "ratio": ratio, "interval": [ratio - 0.5, ratio + 0.25]}


def entry(block: int | str, size: int, **rates: Any) -> dict[str, Any]:
    counts = {"clips": 4, "frames": 12, "kept_sites": 100 * size}
    return {"block": block, "height": size, "width": 2 * size, **counts, **rates}


def attention() -> dict[str, Any]:
    full = {
        "sites": rate(0.5, 0.25),
        "among_candidates": rate(0.6, 0.2),
        "by_area": rate(0.4, 0.1),
        "by_attention_mass": rate(0.9, 0.6),
        "other_clips_sites": rate(0.5, 0.4),
    }
    blocks = [entry(1, 24, **full), entry(2, 12, sites=rate(0.75, 0.25))]
    group = {"blocks": blocks, "final": entry("final", 48, sites=rate(0.3, 0.1))}
    return {"split": "test", "p": 0.5, "face": {"all": group}, "audio": {}}


def test_hit_rates_per_block_and_of_the_final_sites() -> None:
    (table,) = score_tables(attention())
    assert table.groups[0] == ("Faces: planted action units", 3)
    assert list(table.head)[-4:] == ["candidates", "area", "mass", "habit"]
    assert texts(table) == [
        [
            *("attention 1", "24×48", "2400", "50.0", "25.0", "2.00", "1.50–2.25"),
            *("3.00", "4.00", "1.50", "1.25"),
        ],
        [
            *("attention 2", "12×24", "1200", "75.0", "25.0", "3.00", "2.50–3.25"),
            *("–", "–", "–", "–"),
        ],
        [
            *("all three, in pixels", "48×96", "4800", "30.0", "10.0", "3.00", "2.50–3.25"),
            *("–", "–", "–", "–"),
        ],
    ]
    assert table.caption.startswith("12 frames of 4 clips of the test split, p = 0.5;")


def test_hit_rates_of_sound_come_second_and_of_nothing_not_at_all() -> None:
    found = attention()
    found["audio"] = found["face"]
    titles = [table.groups[0][0] for table in score_tables(found)]
    assert titles == ["Faces: planted action units", "Sound: planted cues"]
    assert score_tables({"split": "test", "p": 0.5}) == []
