"""The counts behind scores: what was measured apart is added up and scored as one.

Every metric is a function of an emotion's four counts, which are whole numbers, and an emotion's
scores give them back exactly. So scores of clips that are not kept can be pooled as if they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mesm.evaluation.metrics import Confusion
from mesm.evaluation.task import MULTI_LABEL, SINGLE_LABEL
from mesm.runs.scores import is_single_label

# Scores are float64 and counts far below 2^26, so rounding moves a score less than this.
CLOSE = 1e-9


def counts_of(scores: Mapping[str, Any], clips: int) -> Confusion:
    """The counts (E,) that some scores were made of, float64.

    Args:
        scores: "emotions" as `mesm.evaluation.metrics.score` or
            `mesm.evaluation.single_label.score_single` gives them, and the latter's "task".
        clips: how many were scored.

    Raises:
        ValueError: the scores are not of single emotions, or are those of no counts.
    """
    emotions = scores.get("emotions")
    if not emotions:
        raise ValueError("has no scores of single emotions")
    single = is_single_label(scores)
    names = ("recall", "positives", "decided") if single else ("accuracy", "f1", "positives")
    for emotion, values in emotions.items():
        lacking = [name for name in names if name not in values]
        if lacking:
            raise ValueError(f"has no {lacking[0]} of {emotion}")
    rows = [(_single if single else _several)(values, clips) for values in emotions.values()]
    found = Confusion.unstack(torch.tensor(rows, dtype=torch.float64).T)
    columns = (SINGLE_LABEL if single else MULTI_LABEL).measures.per_emotion(found)
    for place, (emotion, values) in enumerate(emotions.items()):
        right = min(rows[place]) >= 0 and all(
            abs(float(column[place]) - values[name]) <= CLOSE
            for name, column in columns.items()
            if name in values
        )
        if not right:
            raise ValueError(f"has scores of {emotion} that no {clips} clips have")
    return found


def _single(values: Mapping[str, Any], clips: int) -> tuple[int, int, int, int]:
    right = round(values["recall"] * values["positives"])
    wrong, missed = int(values["decided"]) - right, int(values["positives"]) - right
    return right, wrong, missed, clips - right - wrong - missed


def _several(values: Mapping[str, Any], clips: int) -> tuple[int, int, int, int]:
    # F1 is 2 TP / (2 TP + errors), and the accuracy says how many errors there are.
    errors, f1 = round((1 - values["accuracy"]) * clips), values["f1"]
    positives = int(values["positives"])
    right = positives
    if errors:
        right = 0 if f1 >= 1 else round(f1 * errors / (2 * (1 - f1)))
    missed = positives - right
    wrong = errors - missed
    return right, wrong, missed, clips - right - wrong - missed


def pooled_average(scores: Sequence[Mapping[str, Any]], clips: Sequence[int]) -> dict[str, float]:
    """The "average" that the clips of several scores have together.

    Args:
        scores: as of `counts_of`, of the same emotions and the same task.
        clips: of each.

    Raises:
        ValueError: see `counts_of`; or the scores are of other emotions or tasks.
    """
    first = scores[0]
    found = [counts_of(one, own).stack() for one, own in zip(scores, clips, strict=True)]
    for one in scores:
        if (list(one["emotions"]), is_single_label(one)) != (
            list(first["emotions"]),
            is_single_label(first),
        ):
            raise ValueError("scores of other emotions, or of one and of several emotions a clip")
    together = Confusion.unstack(torch.stack(found).sum(0))
    measures = (SINGLE_LABEL if is_single_label(first) else MULTI_LABEL).measures
    if measures.overall is not None:
        return {name: float(value) for name, value in measures.overall(together).items()}
    return {name: float(value.mean()) for name, value in measures.per_emotion(together).items()}
