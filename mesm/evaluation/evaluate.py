"""Scoring runs as the paper's tables do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from mesm.config.experiment import F1Variant, ThresholdPolicy
from mesm.evaluation.bootstrap import Bootstrap, intervals, paired_differences
from mesm.evaluation.predictions import Predictions
from mesm.evaluation.run import Run
from mesm.evaluation.score_table import (
    format_branches,
    format_calibration,
    format_differences,
    format_table,
)
from mesm.runs.files import one_at_a_time


def score_run(
    run: Run, split: str, bootstrap: Bootstrap, found: Predictions | None = None
) -> dict[str, Any]:
    """The scores of a split with their intervals; see `evaluate_run`. Keeps predictions alone.

    Args:
        run: whose they are.
        split: which one.
        bootstrap: how intervals are made.
        found: predictions of the split to score; None: the run's own.
    """
    task, thresholds = run.task, run.thresholds()
    found = run.predictions(split) if found is None else found
    decisions, labels = thresholds.decide(found.logits), found.labels.bool()
    return {
        "split": split,
        "model": run.config.model.name,
        "headline": run.accuracy_name,
        **run.feed.facts(),
        **task.score(found.logits, found.labels, thresholds, run.emotions, run.scoring.f1),
        "intervals": intervals(
            decisions, labels, found.dialogs, run.emotions, bootstrap, task.measures
        ),
        **_branches(run, found),
        "calibration": task.calibration(found.logits, found.labels, run.emotions, run.temperatures),
        "weights": {"file": run.folder.best.name, "sha256": run.origin["weights"]},
    }


def score_other_query(run: Run, split: str, bootstrap: Bootstrap) -> dict[str, Any]:
    """As `score_run` where another clip's query asks each clip's attention.

    Returns:
        The scores, with "query" and, under "own_minus_other", by how much the run's own are above.
    """
    from mesm.evaluation.other_query import outputs_asked_by_others

    logits, labels, branches = outputs_asked_by_others(run, split)
    own, thresholds = run.predictions(split), run.thresholds()
    differences = paired_differences(
        *(thresholds.decide(own.logits), thresholds.decide(logits), labels.bool()),
        *(own.dialogs, run.emotions, bootstrap),
        measures=run.task.measures,
    )
    scores = score_run(run, split, bootstrap, replace(own, logits=logits, branches=branches))
    return scores | {"query": "other", "own_minus_other": differences}


def _branches(run: Run, found: Predictions) -> dict[str, Any]:
    """Under "branches" the average scores of each branch's own logits; empty: there are none."""
    own = found.branches
    # Earlier predictions hold no branches, and the validation split's may still be such.
    if run.task.needs_validation(run.scoring.threshold) and own:
        own = {name: own[name] for name in own if name in run.predictions("valid").branches}
    scores = {
        name: run.task.score(
            *(logits, found.labels, run.thresholds(name), run.emotions, run.scoring.f1)
        )
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
    query: Literal["own", "other"] = "own",
    corpus: Path | None = None,
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
        query: "other" lets another clip's query ask each clip's attention; the entry stands in
            "variants" then, and holds under "own_minus_other" by how much the own query scores
            above (`mesm.evaluation.bootstrap.paired_differences`).
        corpus: where its corpus lies; None: where the run finds it.

    Returns:
        The entry: what `mesm.evaluation.metrics.score` gives (of one emotion a clip
        `mesm.evaluation.single_label.score_single`), "intervals"
        (`mesm.evaluation.bootstrap.intervals`), "weights", the file that was scored and its
        SHA-256, "calibration" (`mesm.evaluation.calibration.calibration_of`, or
        `mesm.evaluation.softmax_calibration.softmax_calibration_of`), and where the system
        has several branches "branches": per branch the "average" of its own logits' scores and
        their "threshold". Predictions that a version without branches kept are scored without;
        `fresh` makes them anew.

    Raises:
        ValueError: see `mesm.evaluation.run.Run.open`; or a threshold or F1 that there is not, or
            another query for a run that is no MESM.
    """
    opened = Run.open(run, threshold=threshold, f1=f1, fresh=fresh, corpus=corpus)
    folder, scoring = opened.folder, opened.scoring
    kept = dict(opened.evaluation)  # read, and refused if damaged, before the work
    score_as_asked = score_run if query == "own" else score_other_query
    scores = score_as_asked(opened, split, bootstrap or Bootstrap())
    if scoring == opened.config.evaluation and query == "own":
        kept[split] = scores
    else:
        variants = kept.setdefault("variants", {}).setdefault(split, {})
        asked = "" if query == "own" else "query=other "
        variants[f"{asked}threshold={scoring.threshold} f1={scoring.f1}"] = scores
    folder.write_json(folder.evaluation, kept)
    asked = "" if query == "own" else ", asked by another clip's query"
    print(f"{folder.path}: {opened.config.model.name} on the {split} split{asked}")
    print(format_table(scores, opened.accuracy_name))
    if "branches" in scores:
        print(format_branches(scores, opened.accuracy_name))
    print(format_calibration(scores["calibration"]))
    if query == "other":
        print("own query minus another clip's, percentage points")
        print(format_differences({**scores, **scores["own_minus_other"]}, opened.accuracy_name))
    for name, fact in opened.feed.facts().items():
        print(f"{name}: {fact}")
    return scores
