"""The query's worth where the text says where to look: MESM asked by its own clip and by others.

Faces show two emotions, and the sentence names the half whose emotion is the label
(`mesm miniature --variant where`). The shipped experiment `where` says what is trained. Resumable
run by run.

    python -m benchmarks.studies.where_study OUT
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.studies.miniature_study import CLIPS, make_corpus, rows_so_far
from mesm.analysis.attention_score import score_attention
from mesm.evaluation.evaluate import evaluate_run
from mesm.experiment.run import PLAN, run_experiment
from mesm.runs.environment import describe
from mesm.runs.files import write_beside

EXPERIMENT = "where"
RESULTS = Path(__file__).parents[1] / "results" / "where.json"
CORPORA = (31, 32)
WANTED = 0.1  # F1 of the own query above another clip's


def run_corpus(out: Path, clips: int, seed: int) -> list[dict[str, Any]]:
    """Make one corpus, train and measure; a row per run.

    Args:
        out: folder of this corpus.
        clips: how many.
        seed: of the corpus and its split.

    Returns:
        Per run its corpus_seed, seed, system, settings, clips, f1 and branches on the test split,
        and the hash of its weights. MESM has f1_of_another_query, own_minus_other (paired, with
        its interval), named_half and other_half: hits of its faces' kept sites on the action units
        of either half over chance.

    Raises:
        RuntimeError: a training failed.
    """
    experiment = out / "experiment"
    _, prepared, truth = make_corpus(out, clips, seed, "where")
    failures = run_experiment(EXPERIMENT, experiment, [f"corpus={prepared}"])
    if failures:
        raise RuntimeError(f"{len(failures)} trainings failed: {', '.join(failures)}")
    cells = json.loads((experiment / PLAN).read_text())["cells"]
    return [
        {"corpus_seed": seed} | measure_run(experiment / cell["folder"], cell["settings"], truth)
        for cell in cells.values()
    ]


def measure_run(run: Path, settings: dict[str, Any], truth: Path) -> dict[str, Any]:
    """One run's row, kept in RUN/where.json; see `run_corpus`."""
    scores = json.loads((run / "evaluation.json").read_text())["test"]
    kept = run / "where.json"
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text())
        if found["weights"] == scores["weights"]["sha256"]:
            return found
    row: dict[str, Any] = {
        "system": settings["model"]["name"],
        "seed": settings["training"]["seed"],
        "settings": {name: settings[name] for name in ("model", "training", "evaluation")},
        "clips": scores["clips"],
        "f1": scores["average"]["f1"],
        "branches": {
            branch: found["average"]["f1"] for branch, found in scores.get("branches", {}).items()
        },
        "weights": scores["weights"]["sha256"],
    }
    if row["system"] == "mesm":
        with contextlib.redirect_stdout(io.StringIO()):
            other = evaluate_run(run, query="other")
        face = score_attention(run, truth, "test")["face"]
        row |= {
            "f1_of_another_query": other["average"]["f1"],
            "own_minus_other": other["own_minus_other"]["average"]["f1"],
            "named_half": hits(face["all"]),
            "other_half": hits(face["other_half"]),
        }
    write_beside(kept, json.dumps(row, indent=1) + "\n")
    return row


def hits(scored: dict[str, Any]) -> list[float]:
    """Hits of kept sites over chance: blocks 1 to 3, then pixels that all keep."""
    return [place["sites"]["ratio"] for place in (*scored["blocks"], scored["final"])]


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the runs, and whether the goals are reached.

    Args:
        rows: of `run_corpus`.
    """
    ours = [row for row in rows if row["system"] == "mesm"]
    dense = fmean(row["f1"] for row in rows if row["system"] == "fe2e")
    own = fmean(row["f1"] for row in ours)
    other = fmean(row["f1_of_another_query"] for row in ours)
    return {
        "fe2e": dense,
        "mesm": own,
        "mesm_asked_by_another": other,
        "own_query_10_points_above_anothers": own - other >= WANTED,
        "above_fe2e": own > dense,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.where_study",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="folder for corpora and runs; resumed if it exists")
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--corpora", type=int, nargs="+", default=list(CORPORA), metavar="SEED")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    for seed in chosen.corpora:
        print(f"corpus seed {seed}", flush=True)
        folder = chosen.out / f"clips{chosen.clips}_seed{seed}"
        summary = publish(chosen.results, chosen.clips, run_corpus(folder, chosen.clips, seed))
        print(json.dumps(summary, indent=1))


def publish(results: Path, clips: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Put rows into the results, in the place of older ones of the same corpora; the summary.

    Raises:
        ValueError: the results are of another number of clips.
    """
    new = {row["corpus_seed"] for row in rows}
    old = rows_so_far(results, clips)
    rows = [row for row in old if row["corpus_seed"] not in new] + rows
    rows.sort(key=lambda row: (row["corpus_seed"], row["system"], row["seed"]))
    result = {
        "clips": clips,
        "summary": summarise(rows),
        "rows": rows,
        "environment": describe(),
    }
    results.parent.mkdir(parents=True, exist_ok=True)
    write_beside(results, json.dumps(result, indent=1) + "\n")
    return summarise(rows)


if __name__ == "__main__":
    main()
