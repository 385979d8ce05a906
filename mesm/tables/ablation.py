"""The paper's Table 5: average scores of models that see a part of the modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mesm.config.modalities import ALL, parse_modalities
from mesm.corpora.registry import find_corpus
from mesm.evaluation.metrics import SHORT_NAMES, overall_columns
from mesm.runs.scores import is_single_label
from mesm.tables.names import MODALITIES, run_name, system_order
from mesm.tables.notes import (
    PAPER_MARK,
    averages_group,
    corpus_note,
    features_note,
    folds_note,
    metric_notes,
    no_paper_note,
    paper_note,
    seeds_note,
)
from mesm.tables.results import by_condition, difference_notes, provenance
from mesm.tables.runs import Group, group_by_seed, read_runs
from mesm.tables.table import DASH, Cell, Row, Table, printed, row, spread

TABLE = 5


def ablation_tables(
    places: Sequence[Path],
    split: str = "test",
    *,
    synthetic: bool | None = None,
    corpora: Sequence[Path] = (),
) -> list[Table]:
    """Make Table 5 of every evaluated run at or below some folders; see `results_tables`.

    The paper has it for IEMOCAP alone.
    """
    conditions = by_condition(read_runs(places, split, corpora))
    tables = []
    for place, condition in enumerate(conditions):
        manifest = condition.runs[0].manifest
        known = manifest.synthetic if synthetic is None else synthetic
        corpus = find_corpus(manifest.corpus)
        paper = corpus.paper.ablation if corpus.paper and known is False else {}
        groups = group_by_seed(condition.runs)
        first = condition.runs[0].scores
        metrics = overall_columns(first, first["headline"])
        single = is_single_label(first)
        paper = {} if single else paper  # which decides for each emotion by itself
        beside = known is False or corpus.paper is None or single
        whose = "" if beside else no_paper_note(known)
        notes = [
            corpus_note(manifest, known),
            *metric_notes(run.scores for run in condition.runs),
            seeds_note(len(group.runs) for group in groups),
            folds_note(groups[0].runs[0].scores) if groups[0].folds else "",
            features_note(condition.features),
            "T, A and V: text, audio and video.",
            paper_note(TABLE) if paper else whose,
            *difference_notes(conditions, place),
        ]
        suffix = f"_{place + 1}" if len(conditions) > 1 else ""
        columns = tuple(SHORT_NAMES[metric] for metric in metrics)
        tables.append(
            Table(
                name=f"ablation_{manifest.corpus}_{split}{suffix}",
                title=f"Modalities on {'a miniature ' * bool(known)}"
                f"{manifest.title} (as the paper's Table {TABLE})",
                groups=(
                    *(("", 3), (averages_group(first), len(metrics))),
                    *([("over folds", len(metrics))] if groups[0].folds else []),
                    *([(PAPER_MARK, 2)] if paper else []),
                ),
                head=(
                    *("", "modalities", "seeds", *columns),
                    *(columns if groups[0].folds else ()),
                    *(columns if paper else ()),
                ),
                rows=tuple(_rows(groups, metrics, paper)),
                notes=tuple(note for note in notes if note),
                provenance=provenance(groups),
            )
        )
    return tables


def _rows(
    groups: Sequence[Group],
    metrics: Sequence[str],
    paper: Mapping[tuple[str, str], tuple[float, float]],
) -> list[Row]:
    """One row per group, and one for each of the paper's rows that we have no run for."""
    keyed: list[tuple[tuple[int, int, str], Row]] = []
    seen = set()
    for group in groups:
        modalities = parse_modalities(group.model_settings.get("modalities") or ALL)
        whole = run_name({**group.model_settings, "modalities": ALL})
        # Brackets behind the name tell groups of one name apart.
        whole += group.name.removeprefix(run_name(group.model_settings))
        figures = paper.get((group.system, modalities))
        seen.add((group.system, modalities))
        cells: list[object] = [whole, modalities.upper(), len(group.runs)]
        cells += [spread(group.values("average", metric), scale=100) for metric in metrics]
        if group.folds:
            cells += [spread(group.fold_values("average", one), scale=100) for one in metrics]
        cells += _printed(figures) if paper else []
        order = system_order(group.system), MODALITIES.index(modalities), whole
        keyed.append((order, row(group.system, *cells)))
    for (system, modalities), figures in paper.items():
        if (system, modalities) not in seen:
            name = run_name({"name": system})
            ours = [Cell(DASH)] * (4 if groups[0].folds else 2)
            cells = [name, modalities.upper(), 0, *ours, *_printed(figures)]
            order = system_order(system), MODALITIES.index(modalities), name
            keyed.append((order, row(system, *cells)))
    return [line for _, line in sorted(keyed, key=lambda pair: pair[0])]


def _printed(figures: tuple[float, float] | None) -> list[Cell]:
    return [Cell(DASH)] * 2 if figures is None else [printed(value) for value in figures]
