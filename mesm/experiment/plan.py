"""The cells of an experiment: one training each, named by how it differs from its config."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mesm.config.experiment import ExperimentConfig
from mesm.config.files import dump_config, load_config
from mesm.corpora.manifest import read_manifest
from mesm.corpora.prepared import PreparedCorpus
from mesm.data.corpus_modalities import with_modalities_of
from mesm.evaluation.pooled import without_index
from mesm.experiment.folds import Corpora, as_overrides, not_of_fold
from mesm.experiment.grid import Experiment, Grid
from mesm.features.store import FeatureStore
from mesm.runs.checkpoints import read_progress
from mesm.runs.folder import RunFolder
from mesm.training.check import check_run, missing_start


@dataclass(frozen=True)
class Cell:
    """One training of the grid.

    Args:
        name: of its run folder.
        source: the config it starts from.
        config: its settings.
        changes: what differs from the config, the seed apart: key to value.
        groups: the grids it stands in.
        teacher: name of the cell that teaches it.
    """

    name: str
    source: str
    config: ExperimentConfig
    changes: dict[str, Any]
    groups: list[str] = field(default_factory=list)
    teacher: str | None = None

    def folder(self, out: Path) -> Path:
        """Its run folder."""
        return out / "runs" / self.name


class _Problems:
    """Collects what is wrong with the cells, so that all of it is said at once."""

    def __init__(self) -> None:
        self.cells: dict[str, list[str]] = {}

    def add(self, message: object, cell: str) -> None:
        self.cells.setdefault(str(message), []).append(cell)

    def refuse(self) -> None:
        """ValueError if there is any; the same problem of many cells is told once."""
        if not self.cells:
            return
        lines = []
        for message, cells in self.cells.items():
            names = list(dict.fromkeys(cells))
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            lines.append(f"{names[0]}{more}: {message}")
        head = [f"{len(lines)} problems:"] if len(lines) > 1 else []
        raise ValueError("\n  ".join([*head, *lines]))


def expand(experiment: Experiment, overrides: Sequence[str] = (), out: Path = Path()) -> list[Cell]:
    """Make the cells; those with the same settings in several groups are one.

    Args:
        experiment: the grids.
        overrides: further changes to all configs, such as "training.epochs=3": stronger than the
            file's and a grid's own, weaker than what a cell varies.
        out: the experiment's folder, in which teachers' runs lie.

    Returns:
        In the file's order; of each grid, everything with the first seed comes first.

    Raises:
        ValueError: names every cell whose config does not exist, whose settings do not fit, or
            whose teacher is no cell.
    """
    common = [] if experiment.corpus is None else [f"corpus={_yaml(str(experiment.corpus))}"]
    common += experiment.overrides
    problems = _Problems()
    corpora = Corpora()
    cells: dict[str, Cell] = {}
    for group, grids in experiment.grids.items():
        for grid in grids:
            folds = grid.folds or experiment.folds
            base = [*common, *as_overrides(folds), *grid.overrides, *overrides]
            for source, seed, varied in _combinations(grid, experiment.seeds):
                where = f"{group}: {_name(source, varied, seed)}"
                changes = [f"{key}={_yaml(value)}" for key, value in varied.items()]
                changes += [f"training.seed={seed}"]
                try:
                    each = corpora.indices(source, [*base, *changes]) if folds else [None]
                    for fold in each:
                        own = [] if fold is None else [f"fold.index={fold}"]
                        teacher = grid.teacher and _name(grid.teacher, {}, seed, fold)
                        if teacher:
                            own += [f"training.teacher={_yaml(str(out / 'runs' / teacher))}"]
                        config = _load(source, [*base, *changes, *own])
                        settings = dump_config(config)
                        if settings not in cells:
                            differing = _differing(source, [*common, *overrides], config, varied)
                            if teacher:
                                differing["training.teacher"] = grid.teacher
                            if fold is not None:
                                differing = not_of_fold(differing)
                            name = _name(source, differing, seed, fold)
                            cells[settings] = Cell(name, source, config, differing, teacher=teacher)
                        if group not in cells[settings].groups:
                            cells[settings].groups.append(group)
                except (ValueError, OSError) as error:
                    problems.add(error, where)
    found = _with_unique_names(cells)
    names = {cell.name for cell in found}
    for cell in found:
        if cell.teacher is not None and cell.teacher not in names:
            problems.add(f"its teacher, {cell.teacher}, is no cell of the experiment", cell.name)
    problems.refuse()
    return found


def check_cells(cells: Iterable[Cell], out: Path, splits: Sequence[str]) -> None:
    """Look at everything outside the settings that would stop a cell.

    Args:
        cells: whose corpora, pretrained weights and folders are looked at; nothing is written.
        out: the experiment's folder.
        splits: that will be scored.

    Raises:
        ValueError: names every cell whose corpus, hand-crafted features or pretrained weights are
            not there, or whose folder holds a run with other settings or a checkpoint that cannot
            be read.
    """
    problems = _Problems()
    corpora = Corpora()
    features: dict[Path, str | None] = {}
    for cell in cells:
        corpus = cell.config.corpus
        refused = corpora.refused(corpus, cell.config.fold, splits)
        model = cell.config.model
        if refused is None and model.reads_features:
            if corpus not in features:
                features[corpus] = _refused_features(corpora.open(corpus))
            refused = features[corpus]
        if refused is not None:
            problems.add(refused, cell.name)
        for missing in missing_start(cell.config):
            problems.add(missing, cell.name)
        folder = RunFolder(cell.folder(out))
        try:
            check_run(cell.config, folder, corpora.content(corpus))
            read_progress(folder)
            corpora.check_begun(cell.config, folder)
        except (ValueError, OSError) as error:
            problems.add(error, cell.name)
    problems.refuse()


def choose(cells: Sequence[Cell], pattern: str | None) -> list[Cell]:
    """The cells whose name, or one of whose groups, matches a pattern such as "*--seed-0".

    The teachers of these cells are chosen with them.

    Raises:
        ValueError: none does.
    """
    if pattern is None:
        return list(cells)
    chosen = [
        cell
        for cell in cells
        if any(fnmatchcase(name, pattern) for name in (cell.name, *cell.groups))
    ]
    if not chosen:
        groups = sorted({group for cell in cells for group in cell.groups})
        raise ValueError(
            f"--only {pattern}: matches no cell, such as {cells[0].name}, and no group "
            f"({', '.join(groups)})"
        )
    teachers = {cell.teacher for cell in chosen}
    return [cell for cell in cells if cell in chosen or cell.name in teachers]


def fold_sets(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """The cells that have folds, those together that differ in the fold alone.

    Returns:
        A name, as the cells' but without the fold, to the cells.
    """
    sets: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.config.fold is not None:
            shared = without_index(cell.config.model_dump(mode="json"))
            sets.setdefault(json.dumps(shared, sort_keys=True), []).append(cell)
    return {re.sub(r"--fold-\d+", "", own[0].name): own for own in sets.values()}


def describe_plan(experiment: Experiment, cells: Sequence[Cell]) -> dict[str, Any]:
    """The content of experiment.json: groups, folds, and cells with folders and settings."""
    sets = {name: [cell.name for cell in own] for name, own in fold_sets(cells).items()}
    return {
        **({"folds": sets} if sets else {}),
        "splits": list(experiment.splits),
        "groups": {
            group: [cell.name for cell in cells if group in cell.groups]
            for group in experiment.grids
        },
        "cells": {
            cell.name: {
                "folder": f"runs/{cell.name}",
                "config": cell.source,
                "seed": cell.config.training.seed,
                "changes": cell.changes,
                "groups": cell.groups,
                "settings": cell.config.model_dump(mode="json"),
            }
            for cell in cells
        },
    }


def _combinations(grid: Grid, seeds: Sequence[int]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for seed in grid.seeds if grid.seeds is not None else seeds:
        for source in grid.configs:
            for values in itertools.product(*grid.vary.values()):
                yield source, seed, dict(zip(grid.vary, values, strict=True))


def _load(source: str, overrides: Sequence[str]) -> ExperimentConfig:
    """A config with its corpus' modalities, where the corpus can be read; errors of both."""
    config = load_config(source, overrides)
    try:
        manifest = read_manifest(config.corpus)
    except (ValueError, OSError):
        return config  # `check_cells` tells what is wrong
    return config if manifest is None else with_modalities_of(config, manifest)


def _differing(
    source: str, common: Sequence[str], config: ExperimentConfig, varied: dict[str, Any]
) -> dict[str, Any]:
    """The settings that differ from the config's own, the seed apart.

    A cell's name says these and not what its grid varies, so that one cell of two groups has one
    name, and an experiment can grow without a name changing.
    """
    if any(change.startswith("fold.") for change in common):
        common = [*common, "fold.index=1"]
    try:
        base = _load(source, common)
    except ValueError:  # it fits with the varied settings only
        return varied
    one, two = (dict(flat(kind.model_dump(mode="json"))) for kind in (base, config))
    seed = "training.seed"
    return {k: v for k, v in two.items() if k != seed and (k not in one or one[k] != v)}


def flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each leaf of nested settings with its dotted key."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _name(source: str, changes: dict[str, Any], seed: int, fold: int | None = None) -> str:
    parts = [_plain(Path(source).stem)]
    for key, value in changes.items():
        parts.append(f"{_plain(key.partition('.')[2] or key)}-{_plain(_text(value))}")
    parts += [] if fold is None else [f"fold-{fold}"]
    return "--".join([*parts, f"seed-{seed}"])


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_text, value)) or "none"
    return value if isinstance(value, str) else _yaml(value)


def _plain(text: str) -> str:
    """Only what every file system and shell takes as it is."""
    return re.sub(r"[^A-Za-z0-9._,+]+", "_", text)[:60]


def _yaml(value: Any) -> str:
    # JSON is YAML on one line; default: YAML reads dates, which are no settings but have a text.
    return json.dumps(value, ensure_ascii=False, default=str)


def _with_unique_names(cells: dict[str, Cell]) -> list[Cell]:
    """Tell cells with one name apart by a hash of their settings."""
    counts = Counter(cell.name for cell in cells.values())
    unique = []
    for settings, cell in cells.items():
        name = cell.name
        if counts[name] > 1 or len(name) > 200:
            name = f"{name[:190]}--{hashlib.sha256(settings.encode()).hexdigest()[:8]}"
        unique.append(replace(cell, name=name))
    return unique


def _refused_features(corpus: PreparedCorpus) -> str | None:
    """Why a corpus' hand-crafted features cannot be read; None: they can."""
    try:
        FeatureStore.open(corpus)
    except (ValueError, OSError) as error:
        return str(error)
    return None
