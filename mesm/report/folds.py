"""Runs of folds on the page: all folds of a training as one, or a single fold as any run."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mesm.evaluation.pooled import SPLIT, fold_sets, missing_folds
from mesm.evaluation.run import Run
from mesm.tables.folds import FoldsAsOne, parts_of
from mesm.tables.sweeps import sweep_tables
from mesm.tables.table import Table


def with_folds_as_one(runs: Sequence[Run], split: str) -> list[Run]:
    """The runs of a page: as they are where all have one split, else each training's folds as one.

    Args:
        runs: at least one.
        split: whose scores are shown.

    Raises:
        ValueError: folds beside runs on other splits or on other folds, a training without some of
            its folds, or folds on another split than the test split.
    """
    if len({run.fold for run in runs}) == 1:
        return list(runs)
    ways = {
        run.fold and run.fold.model_copy(update={"index": 1}): (
            f"folds by {run.fold.by} ({run.path})"
            if run.fold
            else f"the corpus' own split ({run.path})"
        )
        for run in runs
    }
    if len(ways) > 1:
        raise ValueError(
            "report: wanted runs on one split, or on folds that were cut alike, got "
            f"{'; '.join(sorted(ways.values()))}; write a page of each"
        )
    if split != SPLIT:
        raise ValueError(
            f"report: folds are scored together on the {SPLIT} split alone, not on {split}"
        )
    sets = fold_sets(runs)
    for own in sets:
        missing = missing_folds(own)
        if missing:
            raise ValueError(
                f"report: {own[0].path}{f' and {len(own) - 1} more' if len(own) > 1 else ''}: "
                f"wanted a run for each fold, got none for {', '.join(map(str, missing))} of "
                f"{len(missing) + len(own)}; name them too, or one fold alone"
            )
    return [FoldsAsOne(own) for own in sets]


def folder_name(run: Run) -> str:
    """The name of a run's folder, without which fold it is."""
    name = run.path.name
    return re.sub(r"--fold-\d+", "", name) if isinstance(run, FoldsAsOne) else name


def sweeps_of(run: Run) -> list[Table]:
    """Tables of the sweeps of a training's folds, pooled; none where a fold was not swept."""
    parts = parts_of(run)
    if len(parts) == 1 or any(part.sweep is None for part in parts):
        return []
    return sweep_tables([part.path for part in parts], corpora=[parts[0].corpus.path])
