"""Measured learning: the planted task, and the study on the miniature corpus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.report import markdown
from benchmarks.tables.registry import one, results, table

SELECTIONS = {"weighted": "`weighted`", "hard": "`hard`, as the authors' code"}
MODELS = {
    "fe2e": "FE2E, text + audio + video",
    "mesm": "MESM p = {p:g}, text + audio + video",
    "fe2e_t": "FE2E, text",
    "fe2e_a": "FE2E, audio",
    "fe2e_v": "FE2E, video",
}


@table("routing")
def routing() -> str:
    """Test accuracy after the last epoch, every seed, per selection and p."""
    outcomes = results("routing")["outcomes"]
    p_values = sorted({row["p"] for row in outcomes} - {None})
    lines = [
        (words, *(_accuracies(outcomes, mode, p) for p in p_values))
        for mode, words in SELECTIONS.items()
    ]
    dense = _accuracies(outcomes, "dense", None)
    lines.append(("dense, without the query", dense, *[""] * (len(p_values) - 1)))
    return markdown(("selection", *(f"p = {p:g}" for p in p_values)), lines)


@table("routing-best")
def routing_best() -> str:
    """The best accuracy that is possible without the query."""
    return f"{results('routing')['best_without_query']:.4f}"


def _accuracies(outcomes: list[dict[str, Any]], mode: str, p: float | None) -> str:
    seeds = sorted(row["seed"] for row in outcomes if (row["mode"], row["p"]) == (mode, p))
    rows = (one(outcomes, mode=mode, p=p, seed=seed) for seed in seeds)
    return " / ".join(f"{row['test_accuracy'][-1]:.3f}" for row in rows)


@table("miniature")
def miniature() -> str:
    """Average F1 of every model of the study, in percent."""
    study = results("miniature")
    lines = []
    for name, words in MODELS.items():
        f1 = study["summary"]["f1"][name]
        mean = f"{f1['mean']:.1%} ± {f1['deviation']:.1%}".replace("%", "")
        lines.append((words.format(p=study["p"]), mean, _percents(f1["values"])))
    return markdown(("model", "average F1", "seeds"), lines)


@table("miniature-short")
def miniature_short() -> str:
    """FE2E and MESM in a few words."""
    study = results("miniature")
    summary = study["summary"]
    fe2e, mesm = (100 * summary["f1"][name]["mean"] for name in ("fe2e", "mesm"))
    share = summary["flops_ratio"]["mean"]
    return (
        f"F1 {fe2e:.1f} for FE2E, {mesm:.1f} for MESM at p = {study['p']:g} and {share:.0%} of "
        f"the feature extraction's FLOPs ({study['clips']} clips, {len(study['seeds'])} seeds)"
    )


@table("miniature-goals")
def miniature_goals() -> str:
    """The wanted and the measured figures of the study."""
    summary = results("miniature")["summary"]
    f1 = {name: found["mean"] for name, found in summary["f1"].items()}
    gap, faces = summary["mesm_minus_fe2e_f1"], summary["attention_ratio"]["face"]
    both = f"FE2E {100 * f1['fe2e']:.1f}, MESM {100 * f1['mesm']:.1f}"
    single = max(f1[name] for name in ("fe2e_t", "fe2e_a", "fe2e_v"))
    measured = {
        "mesm_within_2_points_of_fe2e": (
            "MESM within 2 points of FE2E",
            f"{100 * gap['mean']:.1f} points ({_percents(gap['values'])})",
        ),
        "both_at_least_0.60": ("both at least 60", both),
        "at_most_60_percent_of_the_flops": (
            "at most 60 % of FE2E's feature-extraction FLOPs",
            f"{100 * summary['flops_ratio']['mean']:.1f} %",
        ),
        "three_modalities_better_than_any_one": (
            "three modalities better than any one, both models",
            f"{both}, best single {100 * single:.1f}",
        ),
        "kept_face_pixels_twice_as_often_as_chance": (
            "kept face pixels hit planted action units twice as often as chance",
            f"{_spread(faces['final'])}; first block {_spread(faces['1'])}",
        ),
    }
    held = summary["holds"]
    if held.keys() != measured.keys():
        raise LookupError(f"the study's goals are {sorted(held)}, those shown {sorted(measured)}")
    lines = [(*measured[goal], "holds" if holds else "**missed**") for goal, holds in held.items()]
    return markdown(("wanted", "measured", "verdict"), lines)


@table("miniature-audio")
def miniature_audio() -> str:
    """How often kept sites of spectrograms hit what was planted, over chance."""
    return f"{results('miniature')['summary']['attention_ratio']['audio']['final']['mean']:.2f}"


def _percents(values: Iterable[float]) -> str:
    return ", ".join(f"{100 * value:.1f}" for value in values)


def _spread(ratio: dict[str, Any]) -> str:
    return f"{ratio['mean']:.2f} ({', '.join(f'{value:.2f}' for value in ratio['values'])})"


@table("padding")
def padding() -> str:
    """Average F1 per filling of the last chunk, in percent, and by how much silence is above."""
    study = results("padding")
    lines = []
    for system, words in (("fe2e", "FE2E, audio"), ("mesm", "MESM p = 0.5, text + audio")):
        summary = study["summary"][system]
        more = summary["silence"]
        above = [
            one(study["rows"], system=system, fill="silence", seed=row["seed"])["f1"] - row["f1"]
            for row in study["rows"]
            if (row["system"], row["fill"]) == (system, "mean")
        ]
        lines.append(
            (
                words,
                *(f"{100 * summary[fill]['f1']:.1f}" for fill in ("mean", "silence")),
                f"{100 * more['above_mean']:+.1f} ± {100 * more['deviation']:.1f}",
                ", ".join(f"{100 * value:+.1f}" for value in above),
            )
        )
    return markdown(("model", "mean", "silence", "silence above mean", "seeds"), lines)


@table("padding-kept")
def padding_kept() -> str:
    """Block 1, seed by seed: how much rather sites are kept in padding than in sound beside it."""
    rows = [row for row in results("padding")["rows"] if "kept_in_padding" in row]
    first = {
        fill: ", ".join(f"{row['kept_in_padding'][0]:.2f}" for row in rows if row["fill"] == fill)
        for fill in ("mean", "silence")
    }
    return f"{first['mean']} with the mean, {first['silence']} with silence"
