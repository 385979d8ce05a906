"""The tables of the report, as plain values for the template: heads, rows, captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mesm.config.experiment import ExperimentConfig
from mesm.corpora.manifest import Manifest
from mesm.corpora.registry import find_corpus
from mesm.evaluation.metrics import SHORT_NAMES, overall_columns
from mesm.runs.scores import is_single_label
from mesm.tables.costs import sweep_points
from mesm.tables.names import describe_value, run_name
from mesm.tables.notes import (
    averages_group,
    features_note,
    flops_note,
    folds_note,
    latency_method,
    metric_notes,
    policy_note,
    whose_note,
)
from mesm.tables.results import Line, scores_table
from mesm.tables.splits import faces_note, labels_note, splits_table
from mesm.tables.table import DASH, Row, Table, percent, row

UNMEASURED = f"{DASH}: mesm sweep measures them, of FE2E and MESM."
OTHER_RATIOS = {
    "among_candidates": "candidates",
    "by_area": "area",
    "by_attention_mass": "mass",
    "other_clips_sites": "habit",
}


def corpus_table(manifest: Manifest) -> dict[str, Any]:
    """The paper's Table 1 or 2, a sentence above and one below it, and what was skipped."""
    return {
        "sentence": faces_note(manifest),
        "labels": labels_note(manifest),
        "table": splits_table(manifest, name="corpus", title="Corpus"),
        "skipped": [clip.line() for clip in manifest.skipped],
    }


def results_table(
    scored: Sequence[tuple[ExperimentConfig, Mapping[str, Any], float | None]],
    corpus: str,
    synthetic: bool,
    names: Sequence[str] | None = None,
    folds: Sequence[Sequence[Mapping[str, Any]]] = (),
) -> Table:
    """Accuracy and F1 per emotion, one line per run; the paper's lines too if the corpus is real.

    Args:
        scored: per run its config, its scores, and its FLOPs per clip where they were measured.
        corpus: its name.
        synthetic: whether the corpus is a miniature one.
        names: of the runs; None: by their settings.
        folds: per run each fold's scores, where its scores are those of all folds pooled; else
            none.
    """
    called = names or [run_name(config) for config, _, _ in scored]
    lines = [
        Line(config.model.name, name, [scores], [flops], [[one] for one in own])
        for name, (config, scores, flops), own in zip(
            called, scored, folds or [()] * len(scored), strict=True
        )
    ]
    single = any(is_single_label(scores) for _, scores, _ in scored)
    figures = None if single else find_corpus(corpus).paper
    beside = figures is not None and not synthetic
    whose = whose_note(figures.results_table if figures else None, beside, True)
    features = sorted({scores["features"] for _, scores, _ in scored if "features" in scores})
    return scores_table(
        lines,
        name="results",
        title="Results",
        paper=figures.results if figures and beside else (),
        seeds=False,
        notes=[
            *metric_notes(scores for _, scores, _ in scored),
            *([folds_note(scored[0][1])] if any(folds) else []),
            flops_note(beside),
            *([UNMEASURED] if any(flops is None for _, _, flops in scored) else []),
            *(features_note(text) or "" for text in features),
            *([whose] if whose else []),
        ],
    )


def sweep_tables(sweep: Mapping[str, Any]) -> list[Table]:
    """One line per p, FE2E first: scores, GFLOPs, latency and ratios; then the active sites."""
    first, baseline = sweep["points"][0], sweep["baseline"]
    metrics = overall_columns(first, sweep["metric"])

    def line(kind: str, name: str, point: Mapping[str, Any]) -> Row:
        flops, latency = point["flops_per_clip"], point["latency_ms_per_clip"]
        share = flops["total"] / baseline["flops_per_clip"]["total"] if baseline else None
        faster = baseline["latency_ms_per_clip"]["model"] / latency["model"] if baseline else None
        return row(
            kind,
            name,
            *(percent(point["average"][metric]) for metric in metrics),
            f"{flops['total'] / 1e9:.3f}",
            percent(share),
            percent(flops["attention"] / flops["total"]) if kind == "mesm" else DASH,
            f"{latency['model']:.1f}",
            DASH if faster is None else f"{faster:.2f}",
            f"{latency['extraction']:.1f}",
        )

    rows = [line("fe2e", "FE2E", baseline)] if baseline else []
    rows += [
        line("mesm", f"p = {describe_value(point['p'])}", point) for point in sweep_points(sweep)
    ]
    setting = sweep["latency_setting"]
    costs = Table(
        name="costs",
        title="Quality and costs per p",
        groups=(
            ("", 1),
            (f"{averages_group(first)}, %", len(metrics)),
            ("feature extraction per clip", 3),
            ("latency per clip", 3),
        ),
        head=(
            *("", *(SHORT_NAMES[metric] for metric in metrics)),
            *("GFLOPs", "of FE2E, %", "attention, %"),
            *("ms", "speed-up", "extraction, ms"),
        ),
        rows=tuple(rows),
        notes=(
            f"Latency: {latency_method(setting)}; the speed-up is over FE2E.",
            "Attention: its share of the FLOPs.",
            policy_note(first),
        ),
    )
    return [costs, _active_sites(sweep)]


def _active_sites(sweep: Mapping[str, Any]) -> Table:
    names = {"face": "faces", "audio": "spectrogram chunks"}
    first = sweep["points"][0]["active_sites"]
    blocks = [f"block {i}" for shares in first.values() for i in range(1, len(shares) + 1)]
    return Table(
        name="active_sites",
        title="Active sites per p",
        groups=(("", 1), *((names[name], len(shares)) for name, shares in first.items())),
        head=("", *blocks),
        rows=tuple(
            row(
                "mesm",
                f"p = {describe_value(point['p'])}",
                *(percent(share) for shares in point["active_sites"].values() for share in shares),
            )
            for point in sweep_points(sweep)
        ),
        notes=(
            "Active sites, %: those a block convolves over all sites of its maps, mean over "
            "frames.",
        ),
    )


def score_tables(scores: Mapping[str, Any]) -> list[Table]:
    """Per modality: hit rates of each block and of the final sites, against chance."""
    titles = {"face": "Faces: planted action units", "audio": "Sound: planted cues"}
    tables = []
    for modality, title in titles.items():
        group = scores.get(modality, {}).get("all")
        if not group:
            continue
        rows = []
        for entry in [*group["blocks"], group["final"]]:
            final = entry["block"] == "final"
            name = "all three, in pixels" if final else f"attention {entry['block']}"
            cells = [f"{entry['height']}×{entry['width']}", str(entry["kept_sites"])]
            sites = entry["sites"]
            low, high = sites["interval"]
            cells += [percent(sites["hit"]), percent(sites["chance"])]
            cells += [f"{sites['ratio']:.2f}", f"{low:.2f}–{high:.2f}"]
            for rate in OTHER_RATIOS:
                cells.append(f"{entry[rate]['ratio']:.2f}" if rate in entry else DASH)
            rows.append(row("", name, *cells))
        tables.append(
            Table(
                name=f"hits_{modality}",
                title=title,
                groups=((title, 3), ("kept sites against chance", 4), ("other ratios", 4)),
                head=(
                    *("", "grid", "kept", "hit, %", "chance, %", "ratio", "95 %"),
                    *OTHER_RATIOS.values(),
                ),
                rows=tuple(rows),
                notes=(
                    f"{group['blocks'][0]['frames']} frames of {group['blocks'][0]['clips']} clips "
                    f"of the {scores['split']} split, p = {describe_value(scores['p'])}; "
                    "intervals: bootstrap over clips.",
                    "Candidates: against the sites the block was given.",
                    "Area: planted share of the kept area.",
                    "Mass: of the attention itself.",
                    "Habit: against the other clips' kept sites; above 1, the attention follows "
                    "the frame.",
                ),
            )
        )
    return tables
