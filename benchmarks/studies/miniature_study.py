"""Checks the whole chain's promises on miniature corpora of several seeds, into one JSON.

Every seed draws its own corpus, split and initial weights, and trains FE2E and MESM on all three
modalities and FE2E on each one alone. Resumable: finished parts are not done again.

    python -m benchmarks.studies.miniature_study OUT --clips 800 --seeds 3 4 5
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mesm.analysis.attention_score import score_attention
from mesm.analysis.sweep import sweep
from mesm.config.files import load_config
from mesm.corpora.miniature.generate import generate
from mesm.corpora.prepare import PrepareOptions, prepare
from mesm.evaluation.evaluate import evaluate_run
from mesm.runs.environment import describe
from mesm.runs.files import write_beside
from mesm.training.loop import train

RESULTS = Path(__file__).parents[1] / "results" / "miniature.json"
P = 0.5
# name of the run: (config, overrides)
RUNS = {
    "fe2e": ("miniature_fe2e", ()),
    "mesm": ("miniature_mesm", (f"model.p={P}",)),
    "fe2e_t": ("miniature_fe2e", ("model.modalities=t",)),
    "fe2e_a": ("miniature_fe2e", ("model.modalities=a",)),
    "fe2e_v": ("miniature_fe2e", ("model.modalities=v",)),
}


def run_seed(out: Path, clips: int, seed: int, overrides: Sequence[str]) -> dict[str, Any]:
    """Corpus, trainings and measurements of one seed; returns its figures."""
    raw, prepared = out / "raw", out / "prepared"
    truth = raw / "ground_truth.jsonl"
    if not truth.is_file():
        generate(raw, clips=clips, seed=seed)
    prepare("iemocap", raw, prepared, PrepareOptions(seed=seed, min_face_size=60))
    figures: dict[str, Any] = {"seed": seed, "runs": {}}
    for name, (config, changes) in RUNS.items():
        run = out / "runs" / name
        settings = [f"corpus={prepared}", f"training.seed={seed}", *changes, *overrides]
        train(load_config(config, settings), run)
        figures["runs"][name] = _scores(run)
    mesm, fe2e = out / "runs" / "mesm", out / "runs" / "fe2e"
    if not (mesm / "sweep.json").is_file():
        sweep(mesm, [P], baseline=fe2e)
    swept = json.loads((mesm / "sweep.json").read_text())
    figures["flops_per_clip"] = {
        "fe2e": swept["baseline"]["flops_per_clip"],
        "mesm": swept["points"][0]["flops_per_clip"],
    }
    figures["latency_ms_per_clip"] = {
        "fe2e": swept["baseline"]["latency_ms_per_clip"]["model"],
        "mesm": swept["points"][0]["latency_ms_per_clip"]["model"],
    }
    scored = mesm / "explain" / "action_units.json"
    if not scored.is_file():
        score_attention(mesm, truth, "test")
    attention = json.loads(scored.read_text())
    figures["attention"] = {
        name: attention[name]["all"] for name in ("face", "audio") if "all" in attention[name]
    }
    return figures


def _scores(run: Path) -> dict[str, Any]:
    file = run / "evaluation.json"
    if not file.is_file():
        evaluate_run(run, "test")
    scores = json.loads(file.read_text())["test"]
    return {key: scores[key] for key in ("clips", "average", "emotions", "threshold")}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (None for one value), and the values themselves."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "deviation": deviation, "values": list(values)}


def summarise(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Figures over the seeds, and which promises the figures keep.

    Args:
        seeds: the result of `run_seed` for each seed.
    """
    f1 = {
        name: [seed["runs"][name]["average"]["f1"] for seed in seeds] for name in seeds[0]["runs"]
    }
    flops = [
        seed["flops_per_clip"]["mesm"]["total"] / seed["flops_per_clip"]["fe2e"]["total"]
        for seed in seeds
    ]
    latency = [
        seed["latency_ms_per_clip"]["fe2e"] / seed["latency_ms_per_clip"]["mesm"] for seed in seeds
    ]
    attention = {
        modality: {
            str(place): spread([_entry(seed, modality, place)["sites"]["ratio"] for seed in seeds])
            for place in (1, 2, 3, "final")
        }
        for modality in seeds[0]["attention"]
    }
    summary: dict[str, Any] = {
        "f1": {name: spread(values) for name, values in f1.items()},
        "mesm_minus_fe2e_f1": spread(
            [ours - theirs for ours, theirs in zip(f1["mesm"], f1["fe2e"], strict=True)]
        ),
        "flops_ratio": spread(flops),
        "speed_up": spread(latency),
        "attention_ratio": attention,
    }
    alone = max(summary["f1"][name]["mean"] for name in f1 if name.startswith("fe2e_"))
    summary["holds"] = {
        "mesm_within_2_points_of_fe2e": summary["mesm_minus_fe2e_f1"]["mean"] >= -0.02,
        "both_at_least_0.60": min(summary["f1"][name]["mean"] for name in ("fe2e", "mesm")) >= 0.6,
        "at_most_60_percent_of_the_flops": summary["flops_ratio"]["mean"] <= 0.6,
        "three_modalities_better_than_any_one": all(
            summary["f1"][name]["mean"] > alone for name in ("fe2e", "mesm")
        ),
        "kept_face_pixels_twice_as_often_as_chance": attention["face"]["final"]["mean"] >= 2,
    }
    return summary


def _entry(seed: Mapping[str, Any], modality: str, place: int | str) -> Mapping[str, Any]:
    group = seed["attention"][modality]
    return group["final"] if place == "final" else group["blocks"][int(place) - 1]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.miniature_study",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="folder for corpora and runs; resumed if it exists")
    parser.add_argument("--clips", type=int, default=800)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="config overrides"
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    seeds = []
    for number, seed in enumerate(arguments.seeds, start=1):
        print(f"seed {seed} ({number} of {len(arguments.seeds)})", flush=True)
        folder = arguments.out / f"clips{arguments.clips}_seed{seed}"
        seeds.append(run_seed(folder, arguments.clips, seed, arguments.set))
    summary = summarise(seeds)
    result = {
        "clips": arguments.clips,
        "p": P,
        "overrides": arguments.set,
        "conventions": {
            "f1": "average over the emotions, test split; thresholds are named per run",
            "deviation": "sample standard deviation over the seeds, each with its own corpus",
            "flops_ratio": "MESM over FE2E, feature extraction, attention included",
            "attention_ratio": "hits of kept sites over chance; see mesm/analysis/hit_rates.py",
        },
        "summary": summary,
        "seeds": seeds,
        "environment": describe(),
    }
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    write_beside(arguments.results, json.dumps(result, indent=2) + "\n")
    for name, values in summary["f1"].items():
        around = "" if values["deviation"] is None else f" ± {100 * values['deviation']:.1f}"
        print(f"{name:<8} average F1 {100 * values['mean']:.1f}{around}")
    print(f"FLOPs, MESM over FE2E: {summary['flops_ratio']['mean']:.3f}")
    for modality, places in summary["attention_ratio"].items():
        ratios = ", ".join(f"{place} {values['mean']:.2f}" for place, values in places.items())
        print(f"kept sites against chance, {modality}: {ratios}")
    for promise, kept in summary["holds"].items():
        print(f"{'holds ' if kept else 'FAILS '} {promise}")
    print(arguments.results)


if __name__ == "__main__":
    main()
