"""Runs compared by chosen settings, e.g. hard against weighted attention at every p."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mesm.evaluation.metrics import SHORT_NAMES, overall_columns
from mesm.evaluation.run import Run
from mesm.tables.folds import flops_of
from mesm.tables.names import describe_value
from mesm.tables.notes import (
    averages_group,
    corpus_note,
    features_note,
    flops_note,
    folds_note,
    metric_notes,
    seeds_note,
)
from mesm.tables.results import by_condition, difference_notes, provenance
from mesm.tables.runs import INCIDENTAL, Group, flatten, read_runs
from mesm.tables.table import Cell, Table, row, spread


def comparison_tables(
    places: Sequence[Path],
    by: Sequence[str],
    split: str = "test",
    *,
    synthetic: bool | None = None,
    corpora: Sequence[Path] = (),
) -> list[Table]:
    """Compare evaluated runs by settings; one row per combination that occurs, over its seeds.

    Args:
        places: folders of runs, or above them.
        by: settings such as "model.p" or "model.selection"; a run that lacks one has a dash.
        split: whose scores are shown.
        synthetic: whether the corpus is a miniature one; None: as its manifest has it.
        corpora: as of `mesm.tables.runs.read_runs`.

    Raises:
        ValueError: no setting, one that no run has, runs of one row that differ in other settings
            too (they are named), the same run twice; or as in `read_runs`.
    """
    if not by:
        raise ValueError("table runs: wanted at least one setting, e.g. --by model.p")
    runs = read_runs(places, split, corpora)
    for key in by:
        if all(_setting(run, key) is None for run in runs):
            known = sorted({name for run in runs for name in flatten(run.settings)})
            raise ValueError(f"--by {key}: no run has it; known are {', '.join(known)}")
    conditions = by_condition(runs)
    tables = []
    for place, condition in enumerate(conditions):
        manifest = condition.runs[0].manifest
        known_synthetic = manifest.synthetic if synthetic is None else synthetic
        groups = _groups(condition.runs, by)
        first = condition.runs[0].scores
        metrics = overall_columns(first, first["headline"])
        columns = [SHORT_NAMES[metric] for metric in metrics]
        rows = []
        for group in groups:
            values = [_setting(group.runs[0], key) for key in by]
            flops = [flops_of(run, condition.runs) for run in group.runs]
            rows.append(
                row(
                    group.system,
                    *(Cell(describe_value(value), value) for value in values),
                    len(group.runs),
                    *(spread(group.values("average", metric), scale=100) for metric in metrics),
                    *(
                        spread(group.fold_values("average", metric), scale=100)
                        for metric in (metrics if group.folds else ())
                    ),
                    spread(flops, 3, 1e-9),
                )
            )
        notes = [
            corpus_note(manifest, known_synthetic),
            *metric_notes(run.scores for run in condition.runs),
            seeds_note(len(group.runs) for group in groups),
            folds_note(groups[0].runs[0].scores) if groups[0].folds else "",
            features_note(condition.features),
            flops_note(paper=False),
            *difference_notes(conditions, place),
        ]
        suffix = f"_{place + 1}" if len(conditions) > 1 else ""
        title = manifest.title
        stem = "_".join(key.rpartition(".")[2] for key in by)
        tables.append(
            Table(
                name=f"runs_by_{stem}_{manifest.corpus}_{split}{suffix}",
                title=f"{'A miniature ' * bool(known_synthetic)}{title}: runs by "
                f"{' and '.join(by)}",
                groups=(
                    *(("", len(by) + 1), (averages_group(first), len(metrics))),
                    *([("over folds", len(metrics))] if groups[0].folds else []),
                    ("", 1),
                ),
                head=(*by, "seeds", *columns, *(columns if groups[0].folds else ()), "GFLOPs"),
                rows=tuple(rows),
                notes=tuple(note for note in notes if note),
                provenance=provenance(groups),
            )
        )
    return tables


def _setting(run: Run, key: str) -> Any:
    value: Any = run.settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _groups(runs: Sequence[Run], by: Sequence[str]) -> list[Group]:
    """Groups in the order of the settings' values; numbers by size."""
    groups: dict[str, Group] = {}
    for run in runs:
        values = [_setting(run, key) for key in by]
        name = ", ".join(f"{key} = {describe_value(v)}" for key, v in zip(by, values, strict=True))
        groups.setdefault(json.dumps(values), Group(name)).runs.append(run)
    for group in groups.values():
        group.runs.sort(key=lambda run: run.seed)
        _check(group)
    return sorted(
        groups.values(), key=lambda group: [_rank(_setting(group.runs[0], key)) for key in by]
    )


def _rank(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return not number, float(value) if number else 0.0, describe_value(value)


def _check(group: Group) -> None:
    """Runs that are averaged must differ in their seed alone, and in it they must."""
    first = group.runs[0]
    flat = flatten(first.settings)
    for before, run in zip(group.runs, group.runs[1:], strict=False):
        other = flatten(run.settings)
        keys = [
            key
            for key in sorted(flat | other)
            if key not in INCIDENTAL and flat.get(key) != other.get(key)
        ]
        if keys:
            raise ValueError(
                f"{first.path} and {run.path} would be averaged as {group.name}, but differ in "
                f"{', '.join(keys)}: add --by {keys[0]}, or leave one out"
            )
        if run.seed == before.seed:
            raise ValueError(
                f"{before.path} and {run.path} have the same settings and the same seed "
                f"{run.seed}: leave one of them out"
            )
