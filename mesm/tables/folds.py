"""The folds of a training as one run of a table: their pooled scores, and each fold's own."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from mesm.config.fold import FoldSettings
from mesm.corpora.manifest import Manifest, SplitCounts
from mesm.evaluation.bootstrap import Bootstrap
from mesm.evaluation.pooled import (
    SPLIT,
    fold_sets,
    kept_fold,
    missing_folds,
    pool,
    without_index,
)
from mesm.evaluation.run import Run
from mesm.tables.costs import flops_per_clip

# Tables show no intervals of single runs.
_ONE_DRAW = Bootstrap(draws=1, cluster="dialog")


class FoldsAsOne(Run):
    """A run whose scores are those of all folds pooled.

    Args:
        runs: one per fold, by ascending fold.

    Attributes:
        runs: likewise.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__(runs[0].path, SPLIT)
        self.runs = list(runs)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings that the folds share."""
        return without_index(self.runs[0].settings)

    @property
    def fold(self) -> FoldSettings | None:
        """None: it is of all folds."""
        return None

    @property
    def manifest(self) -> Manifest:
        """The corpus' manifest, whose options say that it was cut into folds."""
        return manifest_of_folds(self.runs[0].corpus.manifest, self.runs[0])

    @cached_property
    def pooled(self) -> Mapping[str, Any]:
        """The result of `mesm.evaluation.pooled.pool`."""
        return pool(self.runs, _ONE_DRAW)

    @property
    def is_scored(self) -> bool:
        """It is made of scored runs."""
        return True

    @property
    def scores(self) -> Mapping[str, Any]:
        """The pooled scores, with the weights of every fold."""
        weights = [fold["weights"] for fold in self.pooled["per_fold"]]
        return {**self.pooled["pooled"], "weights": weights}

    @property
    def sweep(self) -> Mapping[str, Any] | None:
        """None: each fold has its own."""
        return None

    @property
    def attention(self) -> Mapping[str, Any] | None:
        """None: each fold has its own."""
        return None

    @property
    def per_fold(self) -> list[Mapping[str, Any]]:
        """The scores of each fold."""
        return list(self.pooled["per_fold"])


def parts_of(run: Run) -> list[Run]:
    """The runs that were trained: the folds, or the run itself."""
    return run.runs if isinstance(run, FoldsAsOne) else [run]


def flops_of(run: Run, others: Sequence[Run]) -> float | None:
    """As `flops_per_clip`; of folds the mean over all clips, each fold as it was swept itself."""
    if not isinstance(run, FoldsAsOne):
        return flops_per_clip(run, others)
    total, clips = 0.0, 0
    for own in run.runs:
        same = [part for other in others for part in parts_of(other) if part.fold == own.fold]
        flops = flops_per_clip(own, same)
        if flops is None:
            return None
        total += flops * own.scores["clips"]
        clips += own.scores["clips"]
    return total / clips


def with_folds_as_one(runs: Sequence[Run], split: str) -> list[Run]:
    """Runs on the corpus' own splits as they are, and the folds of a training as one.

    Where folds are missing, those that are there are reported and left out.

    Raises:
        ValueError: folds are all there is, and none of their sets is whole; or another split than
            the test split is asked for.
    """
    folded = [run for run in runs if run.settings.get("fold") is not None]
    if not folded:
        return list(runs)
    if split != SPLIT:
        raise ValueError(
            f"{folded[0].path}: is of a fold, and folds are scored together on the {SPLIT} split "
            f"alone, not on {split}"
        )
    found = [run for run in runs if run.settings.get("fold") is None]
    sets = whole_sets(folded, "scored", alone=len(folded) == len(runs))
    found += [FoldsAsOne(own) for own in sets]
    if not found:
        raise ValueError("no training of which all folds are scored; see the lines above")
    return found


def whole_sets(folded: Sequence[Run], done: str, *, alone: bool) -> list[list[Run]]:
    """The sets of `fold_sets` that lack no fold; others are reported and left out.

    Args:
        folded: runs on folds.
        done: what was done with all of them, e.g. "scored".
        alone: whether these runs are all that was asked for.

    Raises:
        ValueError: they are one set, which lacks folds, and were all that was asked for.
    """
    whole = []
    for own in fold_sets(folded):
        missing = missing_folds(own)
        if not missing:
            whole.append(own)
            continue
        message = (
            f"{own[0].path}{f' and {len(own) - 1} more' if len(own) > 1 else ''}: not all folds "
            f"are there and {done}, {', '.join(map(str, missing))} of "
            f"{len(missing) + len(own)} are not; give them too"
        )
        if alone and len(folded) == len(own):
            raise ValueError(message)
        print(f"left out: {message}", file=sys.stderr)
    return whole


def manifest_of_folds(manifest: Manifest, run: Run) -> Manifest:
    """A corpus' manifest, whose options say into which folds it was cut; all clips are tested.

    Args:
        manifest: of the corpus, or of a fold of it.
        run: on one of the folds.
    """
    about = {"by": run.settings["fold"]["by"], "folds": kept_fold(run)["folds"]}
    options = {**manifest.options, "split": "folds", "fold": about}
    parts = list(manifest.counts.values())
    counts = SplitCounts(
        clips=sum(part.clips for part in parts),
        labels={
            emotion: sum(part.labels.get(emotion, 0) for part in parts)
            for emotion in manifest.emotions
        },
        no_emotion=sum(part.no_emotion for part in parts),
    )
    return manifest.model_copy(update={"options": options, "counts": {SPLIT: counts}})
