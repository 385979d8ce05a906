"""The folds of an experiment: how many a corpus has, and their scores together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mesm.config.experiment import ExperimentConfig
from mesm.config.files import load_config
from mesm.config.fold import FoldSettings, FoldsSettings
from mesm.corpora.folds import FoldedCorpus, folds_of
from mesm.corpora.prepared import PreparedCorpus
from mesm.data.corpus_folder import check_fold
from mesm.evaluation.pooled import format_pooled, missing_folds, pool
from mesm.evaluation.run import Run
from mesm.experiment.jobs import Job
from mesm.runs.folder import RunFolder

POOLED = "folds.json"


class Corpora:
    """The prepared corpora of an experiment, each opened once."""

    def __init__(self) -> None:
        self._opened: dict[Path, PreparedCorpus | str] = {}
        self._refused: dict[str, str | None] = {}
        self._folded: dict[str, FoldedCorpus] = {}

    def open(self, path: Path) -> PreparedCorpus:
        """The corpus in a folder; errors as of `PreparedCorpus.open`, as a ValueError."""
        if path not in self._opened:
            try:
                self._opened[path] = PreparedCorpus.open(path)
            except (ValueError, OSError) as error:
                self._opened[path] = str(error)
        found = self._opened[path]
        if isinstance(found, str):
            raise ValueError(found)
        return found

    def content(self, path: Path) -> str | None:
        """The `PreparedCorpus.content` of the corpus in a folder; None: it cannot be opened."""
        try:
            return self.open(path).content
        except ValueError:
            return None

    def indices(self, source: str, overrides: Sequence[str]) -> list[int | None]:
        """The folds of a config, from 1, as its corpus has them.

        Args:
            source: the config.
            overrides: changes to it, which name the folds; their index does not matter.

        Raises:
            ValueError: settings, corpus or folds do not fit.
        """
        config = load_config(source, [*overrides, "fold.index=1"])
        assert config.fold is not None
        return list(range(1, len(folds_of(self.open(config.corpus), config.fold)) + 1))

    def refused(self, path: Path, fold: FoldSettings | None, splits: Sequence[str]) -> str | None:
        """Why a corpus cannot be trained on in a fold; None: it can."""
        key = _key(path, fold)
        if key not in self._refused:
            self._refused[key] = self._look(path, fold, splits)
        return self._refused[key]

    def _look(self, path: Path, fold: FoldSettings | None, splits: Sequence[str]) -> str | None:
        try:
            corpus = self.open(path) if fold is None else self._in_fold(path, fold)
            wanted = dict.fromkeys(["train", "valid", *splits])
            empty = [split for split in wanted if not len(corpus.split(split))]
        except (ValueError, OSError) as error:
            return str(error)
        return f"{path}: no clip in the {', '.join(empty)} split" if empty else None

    def check_begun(self, config: ExperimentConfig, folder: RunFolder) -> None:
        """Refuse, with a ValueError, a run that began on a fold of another corpus."""
        if config.fold is not None and folder.config.is_file() and not folder.diverged.is_file():
            check_fold(self._in_fold(config.corpus, config.fold), folder)

    def _in_fold(self, path: Path, fold: FoldSettings) -> FoldedCorpus:
        key = _key(path, fold)
        if key not in self._folded:
            self._folded[key] = FoldedCorpus(self.open(path), fold)
        return self._folded[key]


def _key(path: Path, fold: FoldSettings | None) -> str:
    return json.dumps([str(path), fold and fold.model_dump(mode="json")])


def as_overrides(folds: FoldsSettings | None) -> list[str]:
    """An experiment's folds as changes to a config."""
    values = {} if folds is None else folds.model_dump(mode="json")
    return [f"fold.{key}={json.dumps(value)}" for key, value in values.items()]


def not_of_fold(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes to a config without those that say which fold it is."""
    return {key: value for key, value in changes.items() if not key.startswith("fold.")}


def pool_jobs(sets: Mapping[str, Sequence[Job]], out: Path) -> None:
    """Score the folds together where all of them are done: OUT/folds.json, and a table each.

    Args:
        sets: name to the jobs that differ in the fold alone.
        out: the experiment's folder; without sets nothing is written.
    """
    found = {}
    for name, jobs in sets.items():
        runs = [Run(job.folder.path) for job in jobs if job.done()]
        left = len(jobs) - len(runs)
        if left or missing_folds(runs):
            what = (
                f"{left} of {len(jobs)} folds are not done" if left else "not all folds are cells"
            )
            print(f"{name}: not pooled, as {what}")
            continue
        try:
            found[name] = pool(runs)
        except ValueError as error:
            print(f"{name}: not pooled: {error}")
            continue
        print(f"{name}\n{format_pooled(found[name])}")
    if sets:
        RunFolder(out).write_json(out / POOLED, found)
