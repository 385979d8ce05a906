"""The paper's Table 3 (IEMOCAP) and Table 4 (CMU-MOSEI): scores per emotion and average."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from mesm.corpora.paper_figures import PaperRow
from mesm.corpora.registry import find_corpus
from mesm.evaluation.metrics import SHORT_NAMES, emotion_columns, overall_columns
from mesm.evaluation.run import Run
from mesm.runs.environment import describe
from mesm.runs.scores import is_single_label
from mesm.tables.folds import flops_of
from mesm.tables.names import reads_features, system_order
from mesm.tables.notes import (
    PAPER_MARK,
    as_paper,
    averages_group,
    check_one_task,
    corpus_note,
    f1_variant,
    features_note,
    flops_note,
    folds_note,
    metric_notes,
    seeds_note,
    whose_note,
)
from mesm.tables.runs import Group, corpus_identity, group_by_seed, read_runs
from mesm.tables.table import DASH, PAPER, Cell, Row, Table, printed, row, spread


@dataclass(frozen=True)
class Line:
    """One row to be: a system with the scores and the FLOPs per clip of each of its seeds.

    `folds`: the scores are pooled ones, and a row of these below them is over the folds: each
    fold's scores, one per seed.
    """

    system: str
    name: str
    scores: Sequence[Mapping[str, Any]]
    flops: Sequence[float | None] = ()
    folds: Sequence[Sequence[Mapping[str, Any]]] = ()


def scores_table(
    lines: Sequence[Line],
    *,
    name: str,
    title: str,
    paper: Sequence[PaperRow] = (),
    seeds: bool = True,
    notes: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
) -> Table:
    """Accuracy and F1 per emotion and average, the paper's line below our last of its system.

    Args:
        lines: what was run; not empty, all with the same task, emotions and accuracy.
        name: of the table.
        title: of the table.
        paper: the paper's lines, or none; none where clips have exactly one emotion.
        seeds: whether a column says how many seeds there were.
        notes: sentences below.
        provenance: for the JSON file.
    """
    first = lines[0].scores[0]
    check_one_task(scores for line in lines for scores in line.scores)
    metrics = emotion_columns(first, first["headline"])
    together = overall_columns(first, first["headline"])
    columns: list[tuple[str, ...]]
    columns = [("emotions", emotion, metric) for emotion in first["emotions"] for metric in metrics]
    columns += [("average", metric) for metric in together]
    rows: list[tuple[int, Row]] = []
    for line in lines:
        name_shown = f"{line.name}, pooled" if line.folds else line.name
        cells: list[object] = [name_shown, *([len(line.scores)] if seeds else [])]
        cells.append(spread(line.flops, 2, 1e-9))
        for place in columns:
            values = [_look_up(scores, *place) for scores in line.scores]
            cells.append(spread(values, scale=100))
        rows.append((system_order(line.system), row(line.system, *cells)))
        if line.folds:
            cells = [f"{line.name}, over folds", *([len(line.scores)] if seeds else [])]
            cells.append(Cell(DASH))
            for place in columns:
                values = [fmean(_look_up(scores, *place) for scores in fold) for fold in line.folds]
                cells.append(spread(values, scale=100))
            rows.append((system_order(line.system), row(line.system, *cells)))
    for figures in paper:
        cells = [f"{figures.model}, {PAPER_MARK}", *([Cell(DASH)] if seeds else [])]
        cells.append(printed(figures.gflops, 2, 2))
        cells += [printed(value) for pair in (*figures.emotions, figures.average) for value in pair]
        rows.append((system_order(figures.system), row(PAPER, *cells)))
    # Stable: within a system ours first, in the given order.
    rows.sort(key=lambda pair: pair[0]) if paper else None
    groups = [("", 2 + seeds), *((emotion, len(metrics)) for emotion in first["emotions"])]
    groups.append((averages_group(first), len(together)))
    head = ["", *(["seeds"] if seeds else []), "GFLOPs"]
    head += [SHORT_NAMES[place[-1]] for place in columns]
    return Table(
        name=name,
        title=title,
        groups=tuple(groups),
        head=tuple(head),
        rows=tuple(line for _, line in rows),
        notes=tuple(notes),
        provenance=provenance or {},
    )


def _look_up(scores: Mapping[str, Any], *keys: str) -> float:
    value: Any = scores
    for key in keys:
        value = value[key]
    return float(value)


@dataclass
class Condition:
    """Runs whose scores may stand in one table, and what they have in common."""

    facts: Mapping[str, str]
    features: object
    runs: list[Run] = field(default_factory=list)


def by_condition(runs: Sequence[Run]) -> list[Condition]:
    """Runs apart by corpus and its split, emotions a clip, threshold policy, F1 and features.

    Systems without hand-crafted features stand beside every set of features.
    """
    conditions: dict[str, Condition] = {}
    for run in runs:
        facts = {
            "corpus": corpus_identity(run.manifest),
            "clips": f"{run.scores.get('split')}: {run.scores['clips']}",
            "emotions a clip": "one" if is_single_label(run.scores) else "several",
            "threshold policy": str(run.scores["threshold"]["policy"]),
            "F1": f1_variant(run.scores),
            "folds": json.dumps(run.settings.get("fold")),
        }
        key = json.dumps(facts)
        conditions.setdefault(key, Condition(facts, None)).runs.append(run)
    apart = []
    for condition in conditions.values():
        kinds: dict[str, object] = {}
        for run in condition.runs:
            features = run.scores.get("features")
            if features and reads_features(run.system):
                kinds.setdefault(json.dumps(features, sort_keys=True), features)
        for key, features in sorted(kinds.items()) or [("", None)]:
            own = [
                run
                for run in condition.runs
                if not reads_features(run.system)
                or not run.scores.get("features")
                or json.dumps(run.scores["features"], sort_keys=True) == key
            ]
            apart.append(Condition(condition.facts, features, own))
    return apart


def difference_notes(conditions: Sequence[Condition], place: int) -> list[str]:
    """Say that other runs stand in other tables, and in what they differ."""
    own = conditions[place]
    differing = {
        fact for other in conditions for fact in own.facts if other.facts[fact] != own.facts[fact]
    }
    if any(other.features != own.features for other in conditions):
        differing.add("features")
    if not differing:
        return []
    return [f"Other runs differ in {', '.join(sorted(differing))} and have a table of their own."]


def provenance(groups: Sequence[Group]) -> dict[str, Any]:
    """Which runs, seeds and corpora the figures are of, and where the table was made."""
    return {
        "runs": [
            {
                "row": group.name,
                "folder": run.path.name,
                "seed": run.seed,
                "weights": run.scores.get("weights"),
            }
            for group in groups
            for run in group.runs
        ],
        "made_with": describe(),
    }


def results_tables(
    places: Sequence[Path],
    split: str = "test",
    *,
    synthetic: bool | None = None,
    paper: bool | None = None,
    corpora: Sequence[Path] = (),
) -> list[Table]:
    """Make Table 3 or 4 of every evaluated run at or below some folders.

    Runs that differ in their seed alone are one row. Runs on different corpora, splits, with
    one or several emotions a clip, different threshold policies, F1 or features are never in one
    table, nor are folds and others. The folds of a training are two rows: their pooled scores, and
    mean and deviation over them.

    Args:
        places: folders of runs, or above them.
        split: whose scores are shown.
        synthetic: whether the corpus is a miniature one; None: as its manifest has it.
        paper: whether the paper's lines are there; None: if the corpus is known to be real.
        corpora: as of `mesm.tables.runs.read_runs`.

    Raises:
        ValueError: no run, one that was not evaluated on the split, or the same run twice.
    """
    conditions = by_condition(read_runs(places, split, corpora))
    tables = []
    for place, condition in enumerate(conditions):
        manifest = condition.runs[0].manifest
        known = manifest.synthetic if synthetic is None else synthetic
        corpus = find_corpus(manifest.corpus)
        # The paper decides for each emotion by itself.
        figures = None if is_single_label(condition.runs[0].scores) else corpus.paper
        beside = figures is not None and (known is False if paper is None else paper)
        groups = group_by_seed(condition.runs)
        lines = [
            Line(
                group.system,
                group.name,
                [run.scores for run in group.runs],
                [flops_of(run, condition.runs) for run in group.runs],
                group.folds,
            )
            for group in groups
        ]
        number = figures.results_table if figures else None
        notes = [
            corpus_note(manifest, known),
            *metric_notes(run.scores for run in condition.runs),
            seeds_note(len(group.runs) for group in groups),
            folds_note(groups[0].runs[0].scores) if groups[0].folds else "",
            features_note(condition.features),
            flops_note(beside),
            whose_note(number, beside, known),
            *difference_notes(conditions, place),
        ]
        suffix = f"_{place + 1}" if len(conditions) > 1 else ""
        tables.append(
            scores_table(
                lines,
                name=f"results_{manifest.corpus}_{split}{suffix}",
                title=f"Results on {'a miniature ' * bool(known)}{manifest.title}"
                f"{as_paper(number)}",
                paper=figures.results if figures and beside else (),
                notes=[note for note in notes if note],
                provenance=provenance(groups),
            )
        )
    return tables
