"""Scoring runs as the paper's tables do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mesm.config.experiment import F1Variant, ThresholdPolicy
from mesm.evaluation.bootstrap import Bootstrap, intervals
from mesm.evaluation.calibration import calibration_of
from mesm.evaluation.metrics import score
from mesm.evaluation.predictions import Predictions
from mesm.evaluation.run import Run
from mesm.evaluation.score_table import format_branches, format_calibration, format_table
from mesm.runs.files import one_at_a_time


def score_run(run: Run, split: str, bootstrap: Bootstrap) -> dict[str, Any]:
    """The scores of a split with their intervals; see `evaluate_run`. Keeps predictions alone."""
    thresholds, found = run.thresholds(), run.predictions(split)
    decisions, labels = thresholds.decide(found.logits), found.labels.bool()
    return {
        "split": split,
        "model": run.config.model.name,
        "headline": run.accuracy_name,
        **run.feed.facts(),
        **score(found.logits, found.labels, thresholds, run.emotions, run.scoring.f1),
        "intervals": intervals(decisions, labels, found.dialogs, run.emotions, bootstrap),
        **_branches(run, found),
        "calibration": calibration_of(found.logits, found.labels, run.emotions, run.temperatures),
        "weights": {"file": run.folder.best.name, "sha256": run.origin["weights"]},
    }


def _branches(run: Run, found: Predictions) -> dict[str, Any]:
    """Under "branches" the average scores of each branch's own logits; empty: there are none."""
    own = found.branches
    # Predictions of before hold no branches, and the validation split's may still be such.
    if run.scoring.threshold != "0.5" and own:
        own = {name: own[name] for name in own if name in run.predictions("valid").branches}
    scores = {
        name: score(logits, found.labels, run.thresholds(name), run.emotions, run.scoring.f1)
        for name, logits in own.items()
    }
    shown = ("threshold", "average")
    return {"branches": {n: {k: s[k] for k in shown} for n, s in scores.items()}} if scores else {}


@one_at_a_time("evaluation.json", "scoring into")
def evaluate_run(
    run: Path,
    split: str = "test",
    *,
    threshold: ThresholdPolicy | None = None,
    f1: F1Variant | None = None,
    bootstrap: Bootstrap | None = None,
    fresh: bool = False,
) -> dict[str, Any]:
    """Score a run on a split, print the table, and keep it in RUN/evaluation.json.

    The file holds one entry per split that was scored; scores by other than the run's own settings
    stand apart, in "variants" by split and by name. The logits are kept in RUN/predictions, and
    used again while weights, settings, subwords and corpus are the same.

    Args:
        run: its folder.
        split: which one.
        threshold: other than the run's own, which stays as it is.
        f1: likewise.
        bootstrap: how intervals are made; None: 1,000 draws over clips, 95 %.
        fresh: predict anew, whatever is kept.

    Returns:
        The entry: what `mesm.evaluation.metrics.score` gives, "intervals"
        (`mesm.evaluation.bootstrap.intervals`), "weights", the file that was scored and its
        SHA-256, "calibration" (`mesm.evaluation.calibration.calibration_of`), and where the system
        has several branches "branches": per branch the "average" of its own logits' scores and
        their "threshold". Predictions that a version without branches kept are scored without;
        `fresh` makes them anew.

    Raises:
        ValueError: see `mesm.evaluation.run.Run.open`; or a threshold or F1 that there is not.
    """
    opened = Run.open(run, threshold=threshold, f1=f1, fresh=fresh)
    folder, scoring = opened.folder, opened.scoring
    kept = dict(opened.evaluation)  # read, and refused if damaged, before the work
    scores = score_run(opened, split, bootstrap or Bootstrap())
    if scoring == opened.config.evaluation:
        kept[split] = scores
    else:
        variants = kept.setdefault("variants", {}).setdefault(split, {})
        variants[f"threshold={scoring.threshold} f1={scoring.f1}"] = scores
    folder.write_json(folder.evaluation, kept)
    print(f"{folder.path}: {opened.config.model.name} on the {split} split")
    print(format_table(scores, opened.accuracy_name))
    if "branches" in scores:
        print(format_branches(scores, opened.accuracy_name))
    print(format_calibration(scores["calibration"]))
    for name, fact in opened.feed.facts().items():
        print(f"{name}: {fact}")
    return scores
