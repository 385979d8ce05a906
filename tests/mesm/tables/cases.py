"""Manifests and scores that a test chooses, and the texts of a table."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mesm.corpora.registry import CORPORA
from mesm.tables.table import Table

Make = Callable[..., Path]


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.rows]


def manifest(corpus: str = "iemocap", data: bytes = b"", **facts: Any) -> dict[str, Any]:
    """A manifest of one Parquet file that holds `data`."""
    emotions = list(CORPORA[corpus].emotions)
    sizes = {"train": 14, "valid": 2, "test": 4}
    values = {
        "format": 1,
        "corpus": corpus,
        "emotions": emotions,
        "counts": {
            name: {"clips": size, "labels": {emotions[0]: size - 1}, "no_emotion": 1}
            for name, size in sizes.items()
        },
        "averages": {emotions[0]: {"words": 9.5, "seconds": 2.25}},
        "spectrogram_mean": 0.0,
        "spectrogram_std": 1.0,
        "faces": {"frames": 100, "found": 90, "clips_without": []},
        "skipped": [],
        "skipped_by_reason": {"no sound": 2},
        "other_labels": {},
        "unlisted": [],
        "missing": [],
        "notes": [],
        "options": {"split": "random", "seed": 0},
        "files": {"data/train.parquet": hashlib.sha256(data).hexdigest()},
        "synthetic": False,
    }
    return values | facts


def scores(
    corpus: str = "iemocap", f1: float = 0.5, accuracy: float = 0.75, **facts: Any
) -> dict[str, Any]:
    """Equal scores for all emotions, except that the last emotion's F1 is 0.1 more."""
    emotions = CORPORA[corpus].emotions
    one = {"accuracy": accuracy, "weighted_accuracy": accuracy / 2, "f1": f1, "f1_weighted": 0.9}
    return {
        "split": "test",
        "headline": "accuracy" if corpus == "iemocap" else "weighted_accuracy",
        "clips": 4,
        "threshold": {"policy": "0.5", "values": {}},
        "emotions": {name: dict(one) for name in emotions} | {emotions[-1]: one | {"f1": f1 + 0.1}},
        "average": one,
    } | facts


def single_scores(f1: float = 0.5, accuracy: float = 0.75, **facts: Any) -> dict[str, Any]:
    """Equal scores for all emotions of IEMOCAP, of exactly one emotion a clip."""
    emotions = CORPORA["iemocap"].emotions
    one = {"precision": 0.4, "recall": 0.3, "f1": f1, "positives": 1, "decided": 1}
    together = {"accuracy": accuracy, "weighted_f1": f1 + 0.1, "macro_f1": f1, "uar": 0.3}
    return {
        "task": "single_label",
        "split": "test",
        "headline": "accuracy",
        "clips": 4,
        "threshold": {"policy": "argmax"},
        "emotions": {name: dict(one) for name in emotions},
        "average": together,
        "confusion": [[1] * len(emotions)] * len(emotions),
    } | facts
