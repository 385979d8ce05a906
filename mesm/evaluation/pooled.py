"""The folds of one training scored together: every clip is tested once, by the run it is new to.

Pooled scores are those of all folds' test clips at once, each decided for by its own fold's
thresholds; beside them stand each fold's own scores, with their mean and sample deviation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from mesm.config.fold import FoldSettings
from mesm.corpora.folds import FoldedCorpus
from mesm.evaluation.bootstrap import Bootstrap, intervals
from mesm.evaluation.calibration import FoldTemperatures
from mesm.evaluation.metrics import SHORT_NAMES, emotion_columns, overall_columns
from mesm.evaluation.predictions import Predictions
from mesm.evaluation.run import Run
from mesm.runs.checkpoints import MEND
from mesm.runs.documents import FoldDocument
from mesm.runs.files import read_json
from mesm.runs.scores import is_single_label

SPLIT = "test"


def without_index(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a fold's run that all folds share.

    A teacher is another run in each fold: its own settings stand for it, or where they cannot be
    read its name without the fold's.

    Args:
        settings: of the run, as JSON values; they hold a fold.
    """
    fold = {key: value for key, value in settings["fold"].items() if key != "index"}
    shared = {**settings, "fold": fold}
    training = settings.get("training", {})
    if training.get("teacher") is not None:
        shared["training"] = {**training, "teacher": _teacher(Path(training["teacher"]))}
    return shared


def _teacher(run: Path) -> Any:
    try:
        settings = Run(run).settings
        return without_index(settings) if settings.get("fold") else settings
    except (ValueError, OSError):
        return re.sub(r"--fold-\d+", "", str(run))


def fold_sets(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs on folds, those together that differ in the fold alone; by ascending fold.

    The corpus may lie in other places, and other numbers of processes may have decoded.
    """
    sets: dict[str, list[Run]] = {}
    for run in runs:
        shared = without_index(run.settings)
        shared["corpus"] = None
        shared["training"] = {**shared.get("training", {}), "workers": None}
        sets.setdefault(json.dumps(shared, sort_keys=True), []).append(run)
    return [sorted(own, key=lambda run: _fold(run).index) for own in sets.values()]


def missing_folds(runs: Sequence[Run]) -> list[int]:
    """The folds that a set of `fold_sets` has no run for."""
    if not runs:
        return []
    wanted = range(1, kept_fold(runs[0])["folds"] + 1)
    return sorted(set(wanted) - {_fold(run).index for run in runs})


def check_each_fold(runs: Sequence[Run]) -> None:
    """Refuse, with a ValueError, a set of `fold_sets` that has not one run for each fold."""
    found = [_fold(run).index for run in runs]
    wanted = list(range(1, kept_fold(runs[0])["folds"] + 1))
    if found != wanted:
        raise ValueError(
            f"{runs[0].path} and {len(runs) - 1} more: wanted one run for each of the folds 1 to "
            f"{wanted[-1]}, got {', '.join(map(str, found))}"
        )


def kept_fold(run: Run) -> FoldDocument:
    """The content of a run's fold.json; a ValueError where there is none."""
    found: FoldDocument | None = read_json(run.folder.fold, FoldDocument)
    if found is None:
        raise ValueError(
            f"{run.path}: is of a fold, and has no {run.folder.fold.name}, which says how many "
            f"there are; {MEND}"
        )
    return found


def pool(runs: Sequence[Run], bootstrap: Bootstrap | None = None) -> dict[str, Any]:
    """The scores of a training's folds together.

    Args:
        runs: one per fold, scored on the test split; a set of `fold_sets`.
        bootstrap: how the pooled scores' intervals are made; None: 1,000 draws over dialogs, 95 %.

    Returns:
        {"by", "folds", "pooled", "over_folds", "per_fold"}: "pooled" is as an entry of
        evaluation.json, its thresholds without values as each fold has its own; "over_folds" has
        {"mean", "deviation"} of each score, "emotions" and "average"; "per_fold" has each fold's
        run, test units, clips, thresholds, scores and weights.

    Raises:
        ValueError: a fold is missing or there twice, runs are of other corpora, or a run is not
            scored, or with other weights than it has.
    """
    check_each_fold(runs)
    corpora = [_corpus(run) for run in runs]
    first = runs[0]
    if any(corpus.identity["files"] != corpora[0].identity["files"] for corpus in corpora):
        raise ValueError(
            f"{first.path} and {len(runs) - 1} more: were trained on corpora that were prepared "
            "differently; train all folds on one"
        )
    decided, predictions = [], []
    for run in runs:
        _check(run)
        own = run.predictions(SPLIT)
        predictions.append(own)
        decided.append(run.thresholds().decide(own.logits))
    decisions = torch.cat(decided)
    labels = torch.cat([own.labels for own in predictions])
    dialogs = [dialog for own in predictions for dialog in own.dialogs]
    how = bootstrap or Bootstrap(cluster="dialog")
    # Decisions as logits: thresholds differ from fold to fold.
    logits, task = torch.where(decisions, 1.0, -1.0), first.task
    decider = task.decider("0.5", len(first.emotions), lambda: (logits, labels))
    scores = task.score(logits, labels, decider, first.emotions, first.scoring.f1)
    facts = {key: first.scores[key] for key in ("features",) if key in first.scores}
    pooled = {
        "split": SPLIT,
        "model": first.system,
        "headline": first.accuracy_name,
        **facts,
        **scores,
        "threshold": {"policy": first.scores["threshold"]["policy"]},
        "intervals": intervals(
            *(decisions, labels.bool(), dialogs, first.emotions, how), measures=task.measures
        ),
        **_calibration(runs, predictions),
    }
    return {
        "by": _fold(first).by,
        "folds": len(runs),
        "pooled": pooled,
        "over_folds": _over_folds([run.scores for run in runs]),
        "per_fold": [
            {
                "fold": _fold(run).index,
                "run": run.path.name,
                "test": corpus.units["test"],
                **{key: run.scores[key] for key in ("clips", "threshold", "emotions", "average")},
                "weights": run.scores.get("weights"),
            }
            for run, corpus in zip(runs, corpora, strict=True)
        ],
    }


def _calibration(runs: Sequence[Run], predictions: Sequence[Predictions]) -> dict[str, Any]:
    """{"calibration"}, at each fold's own temperatures; nothing where a run was scored without."""
    if not all("calibration" in run.scores for run in runs):
        return {}
    own = [run.temperatures for run in runs]
    known = [one for one in own if one is not None]
    sizes = [len(one.labels) for one in predictions]
    temperatures = FoldTemperatures.of(known, sizes) if len(known) == len(own) else None
    logits = torch.cat([one.logits for one in predictions])
    labels = torch.cat([one.labels for one in predictions])
    emotions = runs[0].emotions
    return {"calibration": runs[0].task.calibration(logits, labels, emotions, temperatures)}


def _over_folds(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    def summed(tables: Sequence[Mapping[str, float]]) -> dict[str, Any]:
        return {
            name: {
                "mean": fmean(table[name] for table in tables),
                "deviation": stdev(table[name] for table in tables),
            }
            for name in SHORT_NAMES
            if all(name in table for table in tables)
        }

    return {
        "emotions": {
            emotion: summed([one["emotions"][emotion] for one in scores])
            for emotion in scores[0]["emotions"]
        },
        "average": summed([one["average"] for one in scores]),
    }


def format_pooled(found: Mapping[str, Any]) -> str:
    """A table in percent: pooled scores with intervals, and mean ± deviation over the folds.

    Args:
        found: from `pool`.
    """
    pooled, over = found["pooled"], found["over_folds"]
    bounds, single = pooled["intervals"], is_single_label(pooled)

    def cells(name: str, values: Any, ends: Any, spread: Any) -> str:
        shown = f"{100 * values[name]:>8.1f}{_interval(ends[name]):>16}"
        return shown + f"{_spread(spread[name]) if name in spread else '–':>14}"

    def heads(columns: Sequence[str]) -> str:
        level = f"{100 * bounds['level']:g} %"
        return "".join(f"{SHORT_NAMES[name]:>8}{level:>16}{'over folds':>14}" for name in columns)

    columns = emotion_columns(pooled, pooled["headline"])
    lines = [f"{'pooled':<12}{heads(columns)}{'clips':>8}"]
    for emotion, values in pooled["emotions"].items():
        row = (values, bounds["emotions"][emotion], over["emotions"][emotion])
        shown = "".join(cells(name, *row) for name in columns)
        lines.append(f"{emotion:<12}{shown}{values['positives']:>8}")
    average = (pooled["average"], bounds["average"], over["average"])
    if single:
        lines += [
            f"{SHORT_NAMES[name]:<12}{cells(name, *average)}"
            for name in overall_columns(pooled, pooled["headline"])
        ]
    else:
        shown = "".join(cells(name, *average) for name in columns)
        lines.append(f"{'average':<12}{shown}{pooled['clips']:>8}")
    how = (
        "the most probable emotion is decided for"
        if single
        else f"threshold: {pooled['threshold']['policy']}, each fold its own; "
        f"F1: {pooled['f1_variant']}"
    )
    lines.append(
        f"{found['folds']} folds by {found['by']}; {how}; intervals: bootstrap over "
        f"{bounds['units']} {bounds['cluster']}s, {bounds['draws']} draws; over folds: mean ± "
        "sample deviation"
    )
    return "\n".join(lines)


def _interval(ends: Sequence[float] | None) -> str:
    return "–" if ends is None else f"[{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"


def _spread(values: Mapping[str, float]) -> str:
    return f"{100 * values['mean']:.1f} ± {100 * values['deviation']:.1f}"


def _fold(run: Run) -> FoldSettings:
    assert run.fold is not None
    return run.fold


def _corpus(run: Run) -> FoldedCorpus:
    assert isinstance(run.corpus, FoldedCorpus)
    return run.corpus


def _check(run: Run) -> None:
    """Refuse a run whose scores and predictions are not those of its weights."""
    record = run.scores.get("weights") or {}
    if record.get("sha256") != run.origin["weights"] or not run.folder.predictions(SPLIT).is_file():
        raise ValueError(
            f"{run.path}: its scores or predictions are not of its weights; run `mesm evaluate "
            f"{run.path}`"
        )
