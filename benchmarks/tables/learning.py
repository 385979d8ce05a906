"""Measured learning: the planted task, and the study on the miniature corpus."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from benchmarks.report import markdown
from benchmarks.tables.registry import one, results, table

SELECTIONS = {
    "weighted": "`weighted`",
    "straight_through": "`straight_through`",
    "positive_start": "`straight_through`, positive start, as MESM's configs",
    "hard": "`hard`, as the authors' code",
}
SYSTEMS = {
    "lf_lstm": "LF-LSTM",
    "lf_transformer": "LF-TRANS",
    "emo_embs": "EmoEmbs",
    "mult": "MulT",
    "fe2e": "FE2E",
    "mesm": "MESM, p = 0.5",
}
SIDES = ("audio", "face")
PRECISIONS = {"no": "float32", "bf16": "bfloat16", "fp16": "float16"}
UNMEASURED = markdown(("rows",), [("not measured yet",)])
# Per goal of the study: what is wanted, and how the figure (or, second, its hundredfold) is told.
GOALS = {
    "mean_not_below_fe2e": ("F1 not below FE2E's on the mean", "{1:+.1f} points"),
    "no_corpus_a_point_below": ("on no corpus a point below", "{1:+.1f} points on the worst"),
    "audio_branch_within_2_points": ("sound branch within 2 points", "{1:+.1f} points"),
    "face_branch_within_2_points": ("face branch within 2 points", "{1:+.1f} points"),
    "p_0.3_within_2_points": ("F1 at p = 0.3 within 2 points", "{1:+.1f} points"),
    "at_most_40_percent_of_the_flops": ("at most 40 % of FE2E's FLOPs", "{1:.1f} %"),
    "at_most_12_percent_of_the_blocks_flops": ("at most 12 % in the blocks", "{1:.1f} %"),
    "faces_3_times_chance": ("kept face pixels 3 times chance on planted units", "{0:.2f}"),
    "sound_1.5_times_chance_in_every_run": (
        "kept sound sites 1.5 times chance on planted cues, every run",
        "{0:.2f} in the worst",
    ),
    "every_block_of_sound_above_chance_in_every_run": (
        "each block of sound above chance, every run",
        "{0:.2f} in the worst",
    ),
    "one_model_for_all_p_within_2_points": (
        "one model within 2 points of the model trained for that p",
        "{1:+.1f} points at the worst p",
    ),
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


@table("study")
def study() -> str:
    """FE2E, MESM at two p, and MESM with the paper's selection."""
    return _compared("headline")


@table("study-parts")
def study_parts() -> str:
    """MESM with one part left out or replaced, per row."""
    return _compared("parts")


@table("study-systems")
def study_systems() -> str:
    """F1 per emotion, calibration and time per epoch of the systems; one row each."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in results("study")["rows"]:
        if row["row"] in SYSTEMS:
            rows.setdefault(row["row"], []).append(row)
    if not rows:
        return UNMEASURED
    emotions = list(next(iter(rows.values()))[0]["emotions"])
    lines = []
    for name, words in SYSTEMS.items():
        found = rows.get(name, [])
        if not found:
            continue
        lines.append(
            (
                *(words, str(len(found)), f"{100 * fmean(row['f1'] for row in found):.1f}"),
                *(
                    f"{100 * fmean(row['emotions'][emotion] for row in found):.1f}"
                    for emotion in emotions
                ),
                f"{100 * fmean(row['ece'] for row in found):.1f}",
                f"{fmean(row['epoch_seconds'] for row in found):.0f}",
            )
        )
    return markdown(("system", "runs", "F1", *emotions, "ECE", "s per epoch"), lines)


@table("study-curve")
def study_curve() -> str:
    """One model at every p, and beside it a model per p, on the same corpora and seeds."""
    rows = results("study")["rows"]
    swept = [row for row in rows if row["row"] == "mesm"]
    if not swept:
        return UNMEASURED
    trained: dict[float, list[float]] = {}
    for row in rows:
        if "p_curve" in row["groups"] or row["row"] == "mesm":
            trained.setdefault(row["settings"]["model"]["p"], []).append(row["f1"])
    lines = []
    for place, p in enumerate(point["p"] for point in swept[0]["p_curve"]):
        points = [row["p_curve"][place] for row in swept]
        f1 = fmean(point["f1"] for point in points)
        share = fmean(
            point["flops"] / row["flops"]["fe2e"] for point, row in zip(points, swept, strict=True)
        )
        own = trained.get(p, [])
        lines.append(
            (
                f"{p:g}",
                f"{100 * f1:.1f} ({len(points)})",
                f"{100 * fmean(own):.1f} ({len(own)})" if own else "",
                f"{100 * share:.0f} %",
            )
        )
    head = ("p", "F1, one model (runs)", "F1, a model per p (runs)", "FLOPs, share of FE2E's")
    return markdown(head, lines)


@table("study-choosing")
def study_choosing() -> str:
    """The runs that the recipe was chosen by: one corpus, one seed, one run each."""
    lines = []
    for row in results("study-choosing")["rows"]:
        curve = row.get("p_curve", {})
        other = (f"{100 * curve[p]['counted']['f1']:.1f}" if curve else "" for p in ("1.0", "0.3"))
        kept, hits = row.get("sites_kept", {}), row.get("attention", {})
        lines.append(
            (
                *(row["what"], f"{100 * row['f1']:.1f}"),
                *(f"{100 * row['branches'][side]:.1f}" for side in SIDES),
                *other,
                *(
                    "/".join(f"{100 * share:.0f}" for share in kept[side]) + " %" if kept else ""
                    for side in SIDES
                ),
                *("/".join(f"{rate:.2f}" for rate in hits[side]) if hits else "" for side in SIDES),
            )
        )
    head = (
        *("run", "F1", "sound", "faces", "F1 at p = 1", "at 0.3", "sound kept", "faces kept"),
        *("sound: hits / chance", "faces: hits / chance"),
    )
    return markdown(head, lines)


@table("study-runs")
def study_runs() -> str:
    """How much of the study is measured."""
    rows = results("study")["rows"]
    corpora = {row["corpus_seed"] for row in rows}
    precisions = {row["settings"]["training"]["mixed_precision"] for row in rows}
    return (
        f"{_count(len(rows), 'run', 'runs')} on {_count(len(corpora), 'corpus', 'corpora')} "
        f"(seed {', '.join(map(str, sorted(corpora)))}), trained in "
        f"{' and '.join(sorted(PRECISIONS[name] for name in precisions))}"
    )


@table("trained-density")
def trained_density() -> str:
    """The paper's networks at the densities that the study's MESM keeps."""
    row = results("trained-density-2cores")["row"]
    low, high = row["ratio_quartiles"]
    return (
        f"{row['ratio']:.2f} times as fast as FE2E's ({row['ms']:.0f} against "
        f"{row['rival_ms']:.0f} ms, quartiles of the ratio {low:.2f} and {high:.2f}; "
        f"{row['clips']}, {row['threads']} threads, {row['dtype']})"
    )


@table("study-short")
def study_short() -> str:
    """FE2E and MESM in a few words."""
    found = results("study")
    rows = found["summary"]["rows"]
    if "mesm" not in rows:
        return "no figures yet"
    corpora = {corpus for corpus, _ in rows["mesm"]["runs"]}
    return (
        f"F1 {_f1(rows['fe2e']['f1'])} for FE2E, {_f1(rows['mesm']['f1'])} for MESM at p = 0.5 "
        f"with {100 * rows['mesm']['flops']['mean']:.0f} % of the feature extraction's FLOPs "
        f"({found['clips']:,} clips, {_count(len(corpora), 'corpus', 'corpora')}, "
        f"{len(rows['mesm']['runs'])} runs each)"
    )


@table("study-goals")
def study_goals() -> str:
    """The wanted and the measured figures of the study, a column per MESM."""
    found = results("study")["summary"]["goals"]
    names = [name for name in GOALS if any(name in goals for goals in found.values())]
    if not names:
        return UNMEASURED
    unknown = {name for goals in found.values() for name in goals} - GOALS.keys()
    if unknown:
        raise LookupError(f"the study has goals without words: {sorted(unknown)}")
    lines = [
        (GOALS[name][0], *(_verdict(name, goals.get(name)) for goals in found.values()))
        for name in names
    ]
    return markdown(("wanted at p = 0.5", *map(_called, found)), lines)


def _verdict(name: str, goal: dict[str, Any] | None) -> str:
    if goal is None:
        return ""
    told = GOALS[name][1].format(goal["measured"], 100 * goal["measured"])
    return f"{told}: {'reached' if goal['reached'] else '**missed**'}"


@table("where")
def where() -> str:
    """F1 by the own and by another clip's query where texts say where to look; a row per run."""
    found = results("where")
    lines = []
    for row in sorted(found["rows"], key=lambda row: row["system"]):
        asked = ""
        kept = [""] * 2
        if row["system"] == "mesm":
            low, high = row["own_minus_other"]["interval"]
            above = f"{100 * row['own_minus_other']['difference']:.1f}"
            asked = f"{100 * row['f1_of_another_query']:.1f} ({above}; {100 * low:.1f} to "
            asked += f"{100 * high:.1f})"
            kept = [f"{row[half][3]:.2f}" for half in ("named_half", "other_half")]
        lines.append(
            (
                *(row["system"], str(row["corpus_seed"]), str(row["seed"])),
                *(f"{100 * row['f1']:.1f}", asked, *kept),
            )
        )
    head = (
        *("system", "corpus", "seed", "F1", "F1 asked by another clip's text (own above it; 95 %)"),
        *("hits / chance: named half", "other half"),
    )
    return markdown(head, lines)


def _study_rows(group: str) -> dict[str, dict[str, Any]]:
    """The study's rows of one group of its experiment."""
    rows: dict[str, dict[str, Any]] = results("study")["summary"]["rows"]
    found = {name: row for name, row in rows.items() if group in row["groups"]}
    return dict(sorted(found.items(), key=lambda item: (item[1]["system"], item[0])))


def _compared(group: str) -> str:
    rows = _study_rows(group)
    if len(rows) < 2:
        return UNMEASURED
    lines = []
    for name, row in rows.items():
        above, flops, blocks = "", "100 %", "100 %"
        kept, hits = ["100 %"] * 2, [""] * 2
        if row["system"] == "mesm":
            above = f"{100 * row['above_fe2e']['mean']:+.1f}"
            flops, blocks = (f"{100 * row[part]['mean']:.0f} %" for part in ("flops", "blocks"))
            kept = [
                "/".join(f"{100 * share:.0f}" for share in row["active_sites"][side]) + " %"
                for side in SIDES
            ]
            hits = [f"{row['attention'][side][3]['mean']:.2f}" for side in SIDES]
        branches = (f"{100 * row['branches'][side]['mean']:.1f}" for side in ("text", *SIDES))
        lines.append(
            (
                *(_called(name), str(len(row["runs"])), _f1(row["f1"]), above, *branches),
                *(flops, blocks, *kept, *hits),
            )
        )
    head = (
        *("", "runs", "F1", "above FE2E", "text", "sound", "faces", "FLOPs", "of the blocks"),
        *("sound: sites kept", "faces: sites kept", "sound: hits / chance", "faces: hits / chance"),
    )
    return markdown(head, lines)


def _called(row: str) -> str:
    """A row's name in a table, where a setting's whole name would take half of the line."""
    return row.replace("attention_learning_rate_factor=", "attention's rate=")


def _f1(found: dict[str, Any]) -> str:
    deviation = found["deviation"]
    return f"{100 * found['mean']:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")


def _count(number: int, one_of: str, many: str) -> str:
    return f"{number} {one_of if number == 1 else many}"


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
