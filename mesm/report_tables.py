"""The tables of the report, as plain values for the template: heads, rows, captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mesm.block_p import p_text
from mesm.config import ExperimentConfig
from mesm.corpora.prepared import Manifest
from mesm.paper_figures import PAPER_TABLES

NAMES = {
    "fe2e": "FE2E",
    "mesm": "MESM",
    "lf_lstm": "LF-LSTM",
    "lf_transformer": "LF-TRANS",
    "emo_embs": "EmoEmbs",
    "mult": "MulT",
}
OTHER_RATIOS = {
    "among_candidates": "candidates",
    "by_area": "area",
    "by_attention_mass": "mass",
    "other_clips_sites": "habit",
}
SHORT = {"accuracy": "Acc", "weighted_accuracy": "WAcc"}


def percent(share: float | None, digits: int = 1) -> str:
    """0.5 → "50.0"; None → a dash."""
    return "–" if share is None else f"{100 * share:.{digits}f}"


def _row(kind: str, *cells: object) -> dict[str, Any]:
    return {"kind": kind, "cells": [str(cell) for cell in cells]}


def run_name(config: ExperimentConfig) -> str:
    """Name a run as "FE2E", "MESM (p = 0.5)" or "MESM (p = 0.7/0.5/0.5, query: audio)".

    With its modalities where some are left out.
    """
    model = config.model
    facts = []
    if model.name == "mesm":
        facts.append(f"p = {p_text(model.p)}")
        facts += [f"query: {model.query}"] if model.query != "text" else []
    facts += [model.modalities.upper()] if model.modalities != "tav" else []
    return NAMES[model.name] + (f" ({', '.join(facts)})" if facts else "")


def corpus_table(manifest: Manifest) -> dict[str, Any]:
    """The paper's Table 1 or 2: per emotion the average lengths and the size of each split."""
    splits = manifest.counts
    rows = []
    for emotion in manifest.emotions:
        lengths = manifest.averages.get(emotion)
        rows.append(
            _row(
                "",
                emotion,
                f"{lengths.words:.2f}" if lengths else "–",
                f"{lengths.seconds:.2f}" if lengths else "–",
                *(counts.labels.get(emotion, 0) for counts in splits.values()),
            )
        )
    lengths = manifest.averages.get("all")
    rows.append(
        _row(
            "",
            "all clips",
            f"{lengths.words:.2f}" if lengths else "–",
            f"{lengths.seconds:.2f}" if lengths else "–",
            *(counts.clips for counts in splits.values()),
        )
    )
    faces = manifest.faces
    return {
        "sentence": (
            f"{sum(counts.clips for counts in splits.values())} clips; a face was found in "
            f"{faces.found} of {faces.frames} sampled frames "
            f"({percent(faces.found / max(faces.frames, 1))} %)."
        ),
        "table": {
            "groups": [("", 1), ("average", 2), ("clips", len(splits))],
            "head": ["", "words", "seconds", *splits],
            "rows": rows,
        },
        "skipped": [clip.line() for clip in manifest.skipped],
    }


def results_table(
    scored: Sequence[tuple[ExperimentConfig, Mapping[str, Any], float | None]],
    corpus: str,
    synthetic: bool,
) -> dict[str, Any]:
    """Accuracy and F1 per emotion, one line per run; the paper's lines below if the corpus is real.

    Args:
        scored: per run its config, its scores, and its FLOPs per clip where they were measured.
        corpus: "iemocap" or "mosei".
        synthetic: whether the corpus is a miniature one.
    """
    first = scored[0][1]
    accuracy = first["headline"]
    emotions = list(first["emotions"])
    head = ["", "GFLOPs"]
    rows = []
    for _ in [*emotions, "average"]:
        head += [SHORT[accuracy], "F1"]
    for config, scores, flops in scored:
        cells = ["–" if flops is None else f"{flops / 1e9:.2f}"]
        for values in [*scores["emotions"].values(), scores["average"]]:
            cells += [percent(values[accuracy]), percent(values["f1"])]
        rows.append(_row(config.model.name, run_name(config), *cells))
    if not synthetic:
        for line in PAPER_TABLES[corpus]:
            pairs = [*line.emotions, line.average]
            cells = ["–" if line.gflops is None else f"{2 * line.gflops:.2f}"]
            cells += [f"{value:.1f}" for pair in pairs for value in pair]
            rows.append(_row("paper", f"{line.model} (the paper)", *cells))
    policies = sorted({scores["threshold"]["policy"] for _, scores, _ in scored})
    caption = (
        f"Percent on the {first.get('split', 'test')} split, {first['clips']} clips. Threshold per "
        f"emotion: {'; '.join(policies)}. GFLOPs: feature extraction per clip, "
        "2 per multiply–accumulate"
    )
    caption += "." if synthetic else "; the paper counts 1, so its figures are doubled here."
    features = sorted({scores["features"] for _, scores, _ in scored if "features" in scores})
    caption += "".join(f" Hand-crafted features: {text.rstrip('.')}." for text in features)
    return {
        "groups": [("", 2)] + [(emotion, 2) for emotion in [*emotions, "average"]],
        "head": head,
        "rows": rows,
        "caption": caption,
    }


def sweep_points(sweep: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The points of a sweep, and that of the run's own p where it is another for each block."""
    own = sweep.get("own_point")
    return [*sweep["points"], *([own] if own else [])]


def sweep_tables(sweep: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One line per p, FE2E first: scores, GFLOPs, latency and ratios; then the active sites."""
    accuracy, baseline = sweep["metric"], sweep["baseline"]

    def line(kind: str, name: str, point: Mapping[str, Any]) -> dict[str, Any]:
        flops, latency = point["flops_per_clip"], point["latency_ms_per_clip"]
        share = flops["total"] / baseline["flops_per_clip"]["total"] if baseline else None
        faster = baseline["latency_ms_per_clip"]["model"] / latency["model"] if baseline else None
        return _row(
            kind,
            name,
            percent(point["average"][accuracy]),
            percent(point["average"]["f1"]),
            f"{flops['total'] / 1e9:.3f}",
            percent(share),
            percent(flops["attention"] / flops["total"]) if kind == "mesm" else "–",
            f"{latency['model']:.1f}",
            "–" if faster is None else f"{faster:.2f}",
            f"{latency['extraction']:.1f}",
        )

    rows = [line("fe2e", "FE2E", baseline)] if baseline else []
    rows += [line("mesm", f"p = {p_text(point['p'])}", point) for point in sweep_points(sweep)]
    setting, policy = sweep["latency_setting"], sweep["points"][0]["threshold"]["policy"]
    costs = {
        "groups": [
            ("", 1),
            ("average, %", 2),
            ("feature extraction per clip", 3),
            ("latency per clip", 3),
        ],
        "head": [
            *("", SHORT[accuracy], "F1", "GFLOPs", "of FE2E, %", "attention, %"),
            *("ms", "speed-up", "extraction, ms"),
        ],
        "rows": rows,
        "caption": (
            f"Latency: median of {setting['repeats']} forward passes over {setting['batch_size']} "
            f"clips at once, {setting['device']}, {setting['threads']} "
            f"thread{'s' if setting['threads'] > 1 else ''}, {setting['dtype']}; the speed-up is "
            "over FE2E. Attention: its share of the FLOPs. Threshold: "
            f"{policy}{', anew at every p' if 'tuned' in policy else ''}."
        ),
    }
    return [costs, _active_sites(sweep)]


def _active_sites(sweep: Mapping[str, Any]) -> dict[str, Any]:
    names = {"face": "faces", "audio": "spectrogram chunks"}
    first = sweep["points"][0]["active_sites"]
    return {
        "groups": [("", 1)] + [(names[name], len(blocks)) for name, blocks in first.items()],
        "head": [""]
        + [f"block {i}" for blocks in first.values() for i in range(1, len(blocks) + 1)],
        "rows": [
            _row(
                "mesm",
                f"p = {p_text(point['p'])}",
                *(percent(share) for blocks in point["active_sites"].values() for share in blocks),
            )
            for point in sweep_points(sweep)
        ],
        "caption": (
            "Active sites, %: those a block convolves over all sites of its maps, mean over frames."
        ),
    }


def score_tables(scores: Mapping[str, Any]) -> list[dict[str, Any]]:
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
                cells.append(f"{entry[rate]['ratio']:.2f}" if rate in entry else "–")
            rows.append(_row("", name, *cells))
        tables.append(
            {
                "groups": [(title, 3), ("kept sites against chance", 4), ("other ratios", 4)],
                "head": [
                    *("", "grid", "kept", "hit, %", "chance, %", "ratio", "95 %"),
                    *OTHER_RATIOS.values(),
                ],
                "rows": rows,
                "caption": (
                    f"{group['blocks'][0]['frames']} frames of {group['blocks'][0]['clips']} clips "
                    f"of the {scores['split']} split, p = {p_text(scores['p'])}; intervals: "
                    "bootstrap over clips. Candidates: against the sites the block was given. "
                    "Area: planted share of the kept area. Mass: of the attention itself. Habit: "
                    "against the other clips' kept sites; above 1, the attention follows the frame."
                ),
            }
        )
    return tables
