"""Two runs on the same clips: how much the first scores above the second, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mesm.config.experiment import F1Variant, ThresholdPolicy
from mesm.evaluation.bootstrap import Bootstrap, paired_differences
from mesm.evaluation.run import Run
from mesm.evaluation.score_table import format_differences
from mesm.evaluation.task import MULTI_LABEL


def compare_runs(
    run: Path,
    against: Path,
    split: str = "test",
    *,
    threshold: ThresholdPolicy | None = None,
    f1: F1Variant | None = None,
    bootstrap: Bootstrap | None = None,
    fresh: bool = False,
    corpus: Path | None = None,
) -> dict[str, Any]:
    """Print by how much a run scores above another, by a paired bootstrap; keeps no scores.

    Tuned thresholds are each run's own, found on its validation predictions.

    Args:
        run: folder of a trained run.
        against: folder of the run whose scores are subtracted.
        split: which one.
        threshold: for both runs, other than their own.
        f1: likewise.
        bootstrap: draws, level, seed and cluster; None: 1,000 draws over clips, 95 %.
        fresh: predict anew, whatever is kept.
        corpus: where the corpus of both lies; None: where each finds its own.

    Returns:
        The result of `mesm.evaluation.bootstrap.paired_differences`, with split, clips, headline,
        F1 variant, threshold policy, and both runs' models, thresholds and weights.

    Raises:
        ValueError: a folder is no run; or the runs were not scored alike: other tasks, corpora,
            splits, clips, labels, threshold policies or F1 variants.
    """
    ours, theirs = (
        Run.open(folder, threshold=threshold, f1=f1, fresh=fresh, corpus=corpus)
        for folder in (run, against)
    )
    _check_alike(ours, theirs, split)
    first, second = ours.predictions(split), theirs.predictions(split)
    thresholds = (ours.thresholds(), theirs.thresholds())
    labels = first.labels.bool()
    if first.clip_ids != second.clip_ids or not torch.equal(first.labels, second.labels):
        raise ValueError(f"{against}: was not scored on the clips and labels of {run}")
    found = paired_differences(
        thresholds[0].decide(first.logits),
        thresholds[1].decide(second.logits),
        labels,
        first.dialogs,
        first.emotions,
        bootstrap or Bootstrap(),
        ours.task.measures,
    )
    differences = {
        "split": split,
        "clips": len(labels),
        "headline": ours.accuracy_name,
        "threshold": {"policy": thresholds[0].policy},
        **ours.task.facts(ours.scoring.f1),
        "runs": [
            {
                "run": str(scored.folder.path),
                "model": scored.config.model.name,
                "thresholds": values.facts(scored.emotions).get("values", {}),
                "weights": scored.origin["weights"],
            }
            for scored, values in zip((ours, theirs), thresholds, strict=True)
        ],
        **found,
    }
    print(f"{run} minus {against}, {split} split, {len(labels)} clips, percentage points")
    print(format_differences(differences, ours.accuracy_name))
    return differences


def _check_alike(first: Run, second: Run, split: str) -> None:
    """Refuse before anything is predicted."""
    runs = f"{first.folder.path} and {second.folder.path}"
    if first.task is not second.task:
        raise ValueError(
            f"{runs} have different tasks, {first.task.title} and {second.task.title} "
            "(training.loss): such numbers cannot be compared"
        )
    for name, flag in (("threshold", "--threshold"), ("f1", "--f1")):
        ours, theirs = getattr(first.scoring, name), getattr(second.scoring, name)
        if ours != theirs and first.task is MULTI_LABEL:
            raise ValueError(
                f"{runs} are scored by different settings, evaluation.{name} {ours} and {theirs}: "
                f"such numbers cannot be compared; give {flag} for both"
            )
    one, two = first.corpus.manifest, second.corpus.manifest
    if (one.corpus, one.emotions) != (two.corpus, two.emotions):
        raise ValueError(
            f"{runs} are of different corpora: {one.corpus} ({', '.join(one.emotions)}) and "
            f"{two.corpus} ({', '.join(two.emotions)})"
        )
    ids, other_ids = first.corpus.split(split).clip_ids, second.corpus.split(split).clip_ids
    if ids != other_ids:
        lone = sorted(set(ids) ^ set(other_ids))
        example = f", such as {lone[0]}" if lone else ", in another order"
        raise ValueError(
            f"{runs} have other clips in the {split} split: {len(ids)} and {len(other_ids)}, "
            f"{len(lone)} of them in one only{example}; both must be trained with the same splits"
        )
    fold = first.fold or second.fold  # whose clips may lie in any file
    files = [
        {
            name: value
            for name, value in manifest.files.items()
            if fold is not None or Path(name).name.startswith(f"{split}-")
        }
        for manifest in (one, two)
    ]
    if files[0] != files[1]:
        raise ValueError(
            f"{runs} have the {split} clips prepared differently ({first.corpus.path} and "
            f"{second.corpus.path}); train both on one prepared corpus"
        )
