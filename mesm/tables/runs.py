"""Evaluated runs on disk: finding them, what their settings say, and groups that share them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from mesm.config.modalities import ALL
from mesm.corpora.manifest import MANIFEST, Manifest, read_manifest
from mesm.data.corpus_folder import kept_place
from mesm.evaluation.run import Run
from mesm.runs.folder import RunFolder
from mesm.tables.folds import FoldsAsOne, with_folds_as_one
from mesm.tables.names import describe_value, run_name, system_order

SEED = "training.seed"
# Settings that two runs may differ in and still be the same experiment: where things lie on the
# machine, and how many processes decode.
INCIDENTAL = ("corpus", SEED, "training.workers")


@dataclass
class Group:
    """Runs that differ in their seed alone, by ascending seed; `name` is their row's."""

    name: str
    runs: list[Run] = field(default_factory=list)

    @property
    def system(self) -> str:
        """As of its runs."""
        return self.runs[0].system

    @property
    def model_settings(self) -> Mapping[str, Any]:
        """As of its runs."""
        return self.runs[0].model_settings

    def values(self, *keys: str) -> list[float]:
        """One score of each run; "average", "f1" for instance are its keys."""
        found = []
        for run in self.runs:
            value: Any = run.scores
            for key in keys:
                value = value[key]
            found.append(float(value))
        return found

    @property
    def folds(self) -> list[list[Mapping[str, Any]]]:
        """The scores of each fold, one per seed; empty: its runs have no folds."""
        each = [run.per_fold for run in self.runs if isinstance(run, FoldsAsOne)]
        return [list(scores) for scores in zip(*each, strict=True)]

    def fold_values(self, *keys: str) -> list[float]:
        """One score of each fold, the mean over the seeds."""
        found = []
        for scores in self.folds:
            values: list[Any] = list(scores)
            for key in keys:
                values = [value[key] for value in values]
            found.append(fmean(values))
        return found


def run_folders(places: Sequence[Path]) -> list[Path]:
    """Every folder at or below the given ones that holds a config.yaml, each once, in order.

    Raises:
        ValueError: a place is no folder, or there is no run at or below it.
    """
    found: dict[Path, Path] = {}
    for place in places:
        if not place.is_dir():
            raise ValueError(f"{place}: no such folder; name folders of runs, or above them")
        here = []
        for folder, below, files in os.walk(place):
            # In order on every disk; a checkpoint inside a run is no run.
            below[:] = sorted(name for name in below if not name.startswith("."))
            if "config.yaml" in files:
                here.append(Path(folder))
                below.clear()
        if not here:
            raise ValueError(f"{place}: no run in it or below it; `mesm train` makes runs")
        for path in here:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def read_runs(
    places: Sequence[Path], split: str = "test", corpora: Sequence[Path] = ()
) -> list[Run]:
    """Every evaluated run at or below the given folders; the folds of a training are one.

    A run below them that was not evaluated yet is reported and left out, so that an experiment
    under way has tables too.

    Args:
        places: the folders.
        split: whose scores are wanted.
        corpora: folders of prepared corpora, each for the runs that were trained on it.

    Raises:
        ValueError: there is none, one that was named itself or all of them were not evaluated on
            the split, files are damaged, or a corpus is not where its config says.
    """
    found = [Run(path, split, corpus=corpus_for(path, corpora)) for path in run_folders(places)]
    missing = [run for run in found if not run.is_scored]
    for run in missing:
        try:
            run.check_scored()
        except ValueError as error:
            if run.path in places or len(missing) == len(found):
                raise
            print(f"left out: {error}", file=sys.stderr)
    runs = [run for run in found if run.is_scored]
    for run in runs:
        _ = run.settings, run.sweep  # a damaged file is refused here, not in the middle of a table
        try:
            _ = run.corpus
        except ValueError as error:
            raise ValueError(f"{run.path}: its corpus cannot be read: {error}") from error
    return with_folds_as_one(runs, split)


def corpus_for(run: Path, corpora: Sequence[Path]) -> Path | None:
    """The one of some folders that holds a run's corpus; None: the run finds its own.

    Args:
        run: its folder.
        corpora: folders of prepared corpora. An earlier run, which does not say what its corpus
            holds, takes one only where there is no other.

    Raises:
        ValueError: one of the folders is no prepared corpus, or an earlier run has a choice.
    """
    manifests = {place: read_manifest(place) for place in corpora}
    for place, manifest in manifests.items():
        if manifest is None:
            raise ValueError(f"--corpus {place}: not a prepared corpus, as it has no {MANIFEST}")
    kept = kept_place(RunFolder(run))
    if kept is None and len(corpora) > 1:
        raise ValueError(
            f"{run}: does not say which of the {len(corpora)} --corpus it was trained on; make its "
            "table with that one alone"
        )
    right = (
        place
        for place, manifest in manifests.items()
        if kept is None or (manifest and manifest.identity == kept["identity"])
    )
    return next(right, None)


def corpus_identity(manifest: Manifest) -> str:
    """The same for corpora with the same content, wherever they lie."""
    return json.dumps([manifest.corpus, sorted(manifest.files.items())])


def group_by_seed(runs: Iterable[Run]) -> list[Group]:
    """Put runs together that differ in their seed alone, in the order of the paper's tables.

    Groups that would be named alike are told apart by the settings they differ in.

    Raises:
        ValueError: two runs have the same settings and the same seed.
    """
    groups: dict[str, Group] = {}
    flat: dict[str, dict[str, Any]] = {}
    for run in runs:
        settings = flatten(run.settings)
        shared = {key: value for key, value in settings.items() if key not in INCIDENTAL}
        key = json.dumps(shared, sort_keys=True)
        group = groups.setdefault(key, Group(run_name(run.model_settings)))
        flat[key] = shared
        twin = next((other for other in group.runs if other.seed == run.seed), None)
        if twin is not None:
            raise ValueError(
                f"{twin.path} and {run.path} have the same settings and the same seed "
                f"{run.seed}: leave one of them out"
            )
        group.runs.append(run)
    for group in groups.values():
        group.runs.sort(key=lambda run: run.seed)
    for key, name in tell_apart({key: group.name for key, group in groups.items()}, flat).items():
        groups[key].name = name
    return sorted(groups.values(), key=_order)


def _order(group: Group) -> tuple[int, bool, str]:
    # All modalities first, then by name; names of one system differ in p above all.
    return (
        system_order(group.system),
        group.model_settings.get("modalities", ALL) != ALL,
        group.name,
    )


def tell_apart(
    names: Mapping[str, str], settings: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """Names that are alike get the settings they differ in: "FE2E [epochs 5]".

    Args:
        names: by any key.
        settings: flat ones, by the same keys.
    """
    alike: dict[str, list[str]] = {}
    for key, name in names.items():
        alike.setdefault(name, []).append(key)
    told: dict[str, str] = {}
    for name, keys in alike.items():
        known = sorted({setting for key in keys for setting in settings[key]})
        differing = [one for one in known if len({repr(settings[k].get(one)) for k in keys}) > 1]
        for key in keys:
            facts = [
                f"{setting.rpartition('.')[2]} {describe_value(settings[key].get(setting))}"
                for setting in differing
            ]
            told[key] = name + (f" [{', '.join(facts)}]" if facts else "")
    return told


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"training.seed": 0, ...}; lists stay whole."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat
